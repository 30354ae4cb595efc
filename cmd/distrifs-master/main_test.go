package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// try runs the command until it ends by itself, or for a moment if it serves.
func try(t *testing.T, args ...string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	none := func(string) (string, bool) { return "", false }
	return command().Execute(ctx, append(args, "--log-level", "error"), io.Discard, none)
}

// A start that is refused says why in one line and leaves log and checkpoints as they were.
func TestRefusedStarts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "master")
	if err := try(t, "--dir", dir, "--listen", "127.0.0.1:0", "--chunk-size", "1MiB"); err != nil {
		t.Fatal(err)
	}
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	before := content(t, dir)
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"no folder", []string{"--listen", "127.0.0.1:0"}, "--dir is missing"},
		{"port in use", []string{"--dir", dir, "--listen", busy.Addr().String()}, "another process has the port"},
		{"no address", []string{"--dir", dir, "--listen", "nowhere"}, "listen on nowhere"},
		{"other chunk size", []string{"--dir", dir, "--listen", "127.0.0.1:0", "--chunk-size", "2MiB"}, "made with --chunk-size"},
		{"odd chunk size", []string{"--dir", dir, "--listen", "127.0.0.1:0", "--chunk-size", "3MiB"}, "power of two"},
		{"folder is a file", []string{"--dir", "/dev/null", "--listen", "127.0.0.1:0"}, "/dev/null"},
	} {
		err := try(t, c.args...)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if after := content(t, dir); after != before {
		t.Error("a refused start changed log or checkpoints")
	}
	if err := try(t, "--dir", dir, "--listen", "127.0.0.1:0"); err != nil {
		t.Errorf("what is stored was not taken: %v", err)
	}
}

func TestDamagedLogIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "master")
	if err := try(t, "--dir", dir, "--listen", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	checkpoints, err := filepath.Glob(filepath.Join(dir, "checkpoint-*"))
	if err != nil || len(checkpoints) == 0 {
		t.Fatalf("no checkpoint after a clean stop: %v", err)
	}
	for _, name := range append(checkpoints, logs(t, dir)...) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text[20] ^= 0xff
		if err := os.WriteFile(name, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := try(t, "--dir", dir, "--listen", "127.0.0.1:0"); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("started from damaged files: %v", err)
	}
}

func logs(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "master-*.log"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no log: %v", err)
	}
	return names
}

// content is names and bytes of all files of a folder, but for the lock, which says who
// held it last, and the zeros that are prepared behind the log's last record.
func content(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if e.Name() != "lock" {
			b.WriteString(e.Name())
			b.Write(bytes.TrimRight(text, "\x00"))
		}
	}
	return b.String()
}
