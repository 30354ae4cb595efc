package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	sigquit = syscall.SIGQUIT
	sigcont = syscall.SIGCONT
)

// fuseMagic is f_type of a FUSE mount (statfs(2)).
const fuseMagic = 0x65735546

// Mount is a mounted client; its process serves Dir.
type Mount struct {
	*Process
	Dir string // the mountpoint
}

// Mount mounts the cluster's root at a new mountpoint.
func (c *Cluster) Mount(options ...string) *Mount {
	c.t.Helper()
	return c.MountAt("", options...)
}

// MountAt mounts a subfolder ("" or "/path").
func (c *Cluster) MountAt(subfolder string, options ...string) *Mount {
	c.t.Helper()
	name := fmt.Sprintf("mount-%d", len(c.mounts))
	dir := filepath.Join(c.Dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		c.t.Fatal(err)
	}
	source := c.Master.Address
	if subfolder != "" {
		source += ":" + subfolder
	}
	m := &Mount{Process: c.process(name, dir, "", "distrifs-mount"), Dir: dir}
	m.args = append(append([]string{"-f"}, options...), source, dir)
	c.mounts = append(c.mounts, m)
	m.Mount()
	return m
}

// Mount starts the process and waits until the mount answers.
func (m *Mount) Mount() {
	m.t.Helper()
	m.Start()
	deadline := time.Now().Add(Patience)
	for !m.Answers() {
		if !m.Running() {
			m.t.Fatalf("%s ended instead of mounting: %s", m.Name, m.Log())
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("%s does not answer after %v", m.Name, Patience)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Answers tells whether a live mount is there.
func (m *Mount) Answers() bool {
	var stat unix.Statfs_t
	return unix.Statfs(m.Dir, &stat) == nil && stat.Type == fuseMagic
}

// Unmount takes the mount away as umount(8) does: when it returns, everything
// written is safe and the process has ended.
func (m *Mount) Unmount() {
	m.t.Helper()
	deadline := time.Now().Add(Patience)
	for {
		err := unix.Unmount(m.Dir, 0)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			m.t.Fatalf("umount %s: %v", m.Dir, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	_, ended := m.current()
	select {
	case <-ended:
	case <-time.After(stopGrace):
		m.t.Errorf("%s still runs %v after umount", m.Name, stopGrace)
		m.Kill()
	}
}

// Remount unmounts and mounts again: the new mount has no caches.
func (m *Mount) Remount() {
	m.t.Helper()
	m.Unmount()
	m.Mount()
}

// KillMount ends the process without warning and clears the dead mount away.
func (m *Mount) KillMount() {
	m.Kill()
	unix.Unmount(m.Dir, unix.MNT_DETACH)
}

// Path of a name below the mountpoint.
func (m *Mount) Path(elements ...string) string {
	return filepath.Join(append([]string{m.Dir}, elements...)...)
}

func (m *Mount) remove() {
	m.Signal(sigcont)
	m.Signal(syscall.SIGTERM)
	_, ended := m.current()
	if ended != nil {
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
		}
	}
	m.Kill()
	unix.Unmount(m.Dir, unix.MNT_DETACH|unix.MNT_FORCE)
}

// DropCaches writes back and drops the kernel's page, entry and inode caches.
func DropCaches() error {
	unix.Sync()
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0)
}
