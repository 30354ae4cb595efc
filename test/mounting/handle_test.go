package mounting

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/test/cluster"
)

func init() {
	cluster.Register("save handle", func(args []string) error { return saveHandle(args[0], args[1]) })
	cluster.Register("open handle", func(args []string) error { return openHandle(args[0], args[1]) })
}

// saveHandle writes the handle of a path to a file: its type, then its bytes.
func saveHandle(path, to string) error {
	handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, path, 0)
	if err != nil {
		return fmt.Errorf("name_to_handle_at %s: %w", path, err)
	}
	return os.WriteFile(to, append(binary.LittleEndian.AppendUint32(nil, uint32(handle.Type())), handle.Bytes()...), 0o600)
}

// openHandle opens a saved handle in a mount. It prints the errno, or the path below the
// mount and the content of what it opened.
func openHandle(mount, from string) error {
	saved, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	root, err := unix.Open(mount, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	handle := unix.NewFileHandle(int32(binary.LittleEndian.Uint32(saved)), saved[4:])
	fd, err := unix.OpenByHandleAt(root, handle, unix.O_RDONLY)
	if errno := unix.Errno(0); errors.As(err, &errno) {
		fmt.Print(unix.ErrnoName(errno))
		return nil
	}
	f := os.NewFile(uintptr(fd), "handle")
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.IsDir() {
		path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(mount, path)
		fmt.Print("folder ", relative)
		return err
	}
	content, err := io.ReadAll(f)
	fmt.Printf("file %s", content)
	return err
}

func TestFileHandles(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("open_by_handle_at needs root")
	}
	c := cluster.Start(t, cluster.Options{})
	m, other := c.Mount(), c.Mount()
	c.Shell(m.Path, "mkdir -p a/b/c; echo -n deep >a/b/c/file; echo -n top >file; touch gone")
	handles := map[string]string{"a/b/c/file": "file deep", "file": "file top", "a/b/c": "folder a/b/c", ".": "folder .", "gone": "file "}
	saved := func(name string) string {
		return filepath.Join(c.Dir, "handle-"+strings.ReplaceAll(name, "/", "-"))
	}
	for name := range handles {
		c.Job("save handle", filepath.Join(m.Path, name), saved(name)).Must()
	}
	check := func(when string, m *cluster.Mount) {
		t.Helper()
		for name, want := range handles {
			if got := c.Job("open handle", m.Path, saved(name)).Must(); got != want {
				t.Errorf("%s, the handle of %s opens %q, want %q", when, name, got, want)
			}
		}
	}
	check("at once", m)
	check("on another mount", other)
	m.Remount() // the kernel has forgotten all
	check("after a remount", m)
	c.Restart()
	m.Remount()
	check("after a restart of the servers", m)

	c.Shell(other.Path, "mv a/b moved; rm gone; for i in $(seq 20); do touch new-$i; done") // may take the inode's slot
	m.Remount()
	handles["gone"], handles["a/b/c"] = "ESTALE", "folder moved/c"
	check("after changes", m)
}

func TestAHandleFromOutsideTheMountedFolder(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("open_by_handle_at needs root")
	}
	c := cluster.Start(t, cluster.Options{})
	m := c.Mount()
	c.Shell(m.Path, "mkdir -p in/side out/side")
	part := c.NewMount()
	part.Args[len(part.Args)-2] += ":/in"
	part.Launch()
	part.WaitReady()
	for name, want := range map[string]string{"in/side": "folder side", "out/side": "ESTALE"} {
		file := filepath.Join(c.Dir, filepath.Dir(name))
		c.Job("save handle", filepath.Join(m.Path, name), file).Must()
		if got := c.Job("open handle", part.Path, file).Must(); got != want {
			t.Errorf("the handle of %s opens %q, want %q", name, got, want)
		}
	}
}
