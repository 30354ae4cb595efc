package oracle

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// compareTrees compares all that a program has left in its folder, through one mount.
func (x *execution) compareTrees(mount int) *fault {
	f := x.compareBelow(mount, ".")
	if f != nil {
		f.text = fmt.Sprintf("at the end, through mount %c: %s", letters[mount], f.text)
	}
	return f
}

func (x *execution) compareBelow(mount int, path string) *fault {
	t := target{slot: -1, view: -1, path: path}
	if f := x.inspect(t, mount); f != nil {
		return f
	}
	local, cluster := through(x.local.roots[mount], path), through(x.cluster.roots[mount], path)
	for _, part := range []func(path string) (string, error){attributesOf, contentOf} {
		want, err := part(local)
		if err != nil {
			return &fault{"local tree", err.Error()}
		}
		got, err := part(cluster)
		if err != nil {
			return &fault{"tree", err.Error()}
		}
		if got != want {
			return &fault{"tree", fmt.Sprintf("%s: %s", path, difference(got, want))}
		}
	}
	if x.lastKind != unix.S_IFDIR {
		return nil
	}
	for _, name := range namesIn(local) {
		if f := x.compareBelow(mount, path+"/"+name); f != nil {
			return f
		}
	}
	return nil
}

// attributesOf writes down all extended attributes.
func attributesOf(path string) (string, error) {
	names := make([]byte, 4096)
	n, err := unix.Llistxattr(path, names)
	if err != nil {
		return "", fmt.Errorf("llistxattr of %s: %w", path, err)
	}
	all := strings.Split(string(names[:n]), "\x00")
	slices.Sort(all)
	var text strings.Builder
	for _, name := range all {
		if name == "" {
			continue
		}
		value := make([]byte, 4096)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return "", fmt.Errorf("lgetxattr %s of %s: %w", name, path, err)
		}
		fmt.Fprintf(&text, "%s=%q\n", name, value[:n])
	}
	return text.String(), nil
}

// contentOf is the bytes of a file, the names in a folder, the target of a symlink.
func contentOf(path string) (string, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	switch info.Mode().Type() {
	case 0:
		data, err := os.ReadFile(path)
		return string(data), err
	case os.ModeDir:
		return strings.Join(namesIn(path), "\x00"), nil
	case os.ModeSymlink:
		return os.Readlink(path)
	}
	return "", nil
}

// namesIn gives the names in a folder, in order. An error shows as a difference.
func namesIn(path string) []string {
	list, err := os.ReadDir(path)
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	if err != nil {
		names = append(names, err.Error())
	}
	return names
}

// difference shows where two strings begin to differ.
func difference(got, want string) string {
	i := 0
	for i < min(len(got), len(want)) && got[i] == want[i] {
		i++
	}
	part := func(s string) string {
		if s = s[i:]; len(s) > 40 {
			return fmt.Sprintf("%q...", s[:40])
		}
		return fmt.Sprintf("%q", s)
	}
	zeros := func(s string) string {
		if n := len(s) - len(strings.TrimLeft(s, "\x00")); n > 0 && bytes.Count([]byte(s[:n]), []byte{0}) == n {
			return fmt.Sprintf(" (%d zeros)", n)
		}
		return ""
	}
	return fmt.Sprintf("from byte %d:\n  cluster %d bytes: %s%s\n  local   %d bytes: %s%s", i, len(got), part(got), zeros(got[i:]), len(want), part(want), zeros(want[i:]))
}
