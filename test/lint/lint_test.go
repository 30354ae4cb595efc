package lint

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/distrifs/distrifs"

// maxLines is the length a hand-written file stays under.
const maxLines = 800

// rules says what each part may import of ours, without tests; the longest
// matching folder decides. "x/..." allows x and everything below it.
// Every part may import internal/..., which imports nothing but proto.
var rules = []struct {
	folder  string
	allowed []string
}{
	{"cmd/distrifs-master", []string{"meta/...", "proto/...", "cmd/internal/..."}},
	{"cmd/distrifs-chunkd", []string{"chunk/...", "proto/...", "cmd/internal/..."}},
	{"cmd/distrifs-mount", []string{"fusefs", "client", "proto/...", "cmd/internal/..."}},
	{"cmd/distrifs", []string{"client", "proto/...", "cmd/internal/..."}},
	{"cmd/internal", []string{"cmd/internal/...", "proto/..."}},
	{"fusefs", []string{"fusefs/...", "client", "proto/..."}},
	{"client", []string{"client/...", "pipeline/...", "proto/..."}},
	{"chunk", []string{"chunk/...", "pipeline/...", "proto/..."}},
	{"pipeline", []string{"pipeline/...", "proto/..."}},
	{"meta", []string{"meta/...", "proto/..."}},
	{"internal", []string{"proto/..."}},
	{"proto", []string{"proto/..."}},
	{"test", []string{"..."}},
}

type goPackage struct {
	ImportPath string
	Dir        string
	Name       string
	GoFiles    []string
	Imports    []string
}

func (p goPackage) folder() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Dir,Name,GoFiles,Imports", module+"/...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var list []goPackage
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		list = append(list, p)
	}
	if len(list) < 10 {
		t.Fatalf("go list found %d packages of %s: the check looks in the wrong place", len(list), module)
	}
	return list
}

// within tells whether folder is base or below it.
func within(folder, base string) bool {
	return folder == base || strings.HasPrefix(folder, base+"/")
}

func allowedFor(folder string) (allowed []string, ok bool) {
	best := -1
	for _, rule := range rules {
		if within(folder, rule.folder) && len(rule.folder) > best {
			best, allowed, ok = len(rule.folder), rule.allowed, true
		}
	}
	return allowed, ok
}

func mayImport(allowed []string, imported string) bool {
	if within(imported, "internal") {
		return true
	}
	for _, pattern := range allowed {
		base, tree := strings.CutSuffix(pattern, "...")
		base = strings.TrimSuffix(base, "/")
		if imported == base || tree && (base == "" || within(imported, base)) {
			return true
		}
	}
	return false
}

func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		allowed, ok := allowedFor(p.folder())
		if !ok {
			t.Errorf("%s: no rule for this folder; add one to test/lint and to the table of docs/ARCHITECTURE.md", p.ImportPath)
			continue
		}
		for _, path := range p.Imports {
			if !within(path, module) {
				continue
			}
			imported := strings.TrimPrefix(path, module+"/")
			if !mayImport(allowed, imported) {
				t.Errorf("%s imports %s; it may import %s: the parts meet in proto", p.folder(), imported, strings.Join(allowed, ", "))
			}
		}
	}
}

func TestImportRulesBite(t *testing.T) {
	for _, c := range []struct {
		from, to string
		want     bool
	}{
		{"meta", "chunk", false},
		{"meta/wal", "meta/state", true},
		{"chunk", "meta/state", false},
		{"client", "pipeline", true},
		{"client", "fusefs", false},
		{"fusefs", "pipeline", false},
		{"pipeline", "proto/pb", true},
		{"cmd/distrifs", "chunk", false},
		{"cmd/distrifs-master", "meta", true},
		{"cmd/distrifs-mount", "pipeline", false},
		{"chunk", "internal/disk", true},
		{"test/cluster", "client", true},
	} {
		allowed, ok := allowedFor(c.from)
		if !ok || mayImport(allowed, c.to) != c.want {
			t.Errorf("%s importing %s: allowed %v, want %v", c.from, c.to, !c.want, c.want)
		}
	}
}

func TestEveryPackageExplainsItself(t *testing.T) {
	for _, p := range packages(t) {
		if p.folder() == "proto/pb" { // generated
			continue
		}
		text, err := os.ReadFile(filepath.Join(p.Dir, "doc.go"))
		if errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s has no doc.go: write purpose, words, invariants, lock order, what may block", p.folder())
			continue
		}
		if err != nil {
			t.Error(err)
			continue
		}
		want := "// Package " + p.Name + " "
		if p.Name == "main" {
			want = "// Command "
		}
		if !bytes.HasPrefix(text, []byte(want)) {
			t.Errorf("%s/doc.go does not begin with %q", p.folder(), want)
		}
	}
}

func TestFilesAreShort(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatalf("go list -m: %v", err)
	}
	root := strings.TrimSpace(string(out))
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == ".git" {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		generated := bytes.HasPrefix(text, []byte("// Code generated "))
		if lines := bytes.Count(text, []byte("\n")); lines >= maxLines && !generated {
			t.Errorf("%s has %d lines; split it below %d, one idea a file", strings.TrimPrefix(path, root+"/"), lines, maxLines)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
