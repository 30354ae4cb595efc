package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// fuseMagic is the type that statfs(2) gives for FUSE, as stat(1) prints it.
const fuseMagic = "65735546"

// Mount is a mount of the cluster. Jobs work in its Path.
type Mount struct {
	*Process
	Path string

	c *Cluster
}

// Mount mounts the cluster once more, with further arguments of distrifs-mount
// before the master's address, and returns when the mount answers.
func (c *Cluster) Mount(args ...string) *Mount {
	c.t.Helper()
	m := c.NewMount(args...)
	m.Launch()
	m.WaitReady()
	return m
}

// NewMount prepares a mount and leaves it to the test to Launch it.
func (c *Cluster) NewMount(args ...string) *Mount {
	c.t.Helper()
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		// No skip: a run that mounts nothing would prove nothing.
		c.t.Fatalf("these tests mount: %v: load the module (modprobe fuse), or give the container --device /dev/fuse --cap-add SYS_ADMIN", err)
	}
	f.Close()
	name := fmt.Sprintf("mount-%d", len(c.Mounts))
	m := &Mount{Process: c.process(name, "distrifs-mount"), Path: filepath.Join(c.Dir, name), c: c}
	m.Address, m.Host = m.Path, c.o.Network.Host(c.t, name)
	m.Args = append(append([]string{"-f"}, args...), c.Master.Address, m.Path)
	if err := os.Mkdir(m.Path, 0o755); err != nil {
		c.t.Fatal(err)
	}
	c.Mounts = append(c.Mounts, m)
	return m
}

// WaitReady waits until the mount answers a statfs, which asks the master.
func (m *Mount) WaitReady() {
	m.t.Helper()
	Until(m.t, StartLimit, m.Name+" answers", func() error {
		if !m.Running() {
			m.t.Fatalf("%s ended with exit code %d: %s", m.Name, m.ExitCode(), m.Output())
		}
		if !mounted(m.Path) {
			return fmt.Errorf("%s is not in the mount table", m.Path)
		}
		out, err := m.c.Command("/", "stat", "-f", "-c", "%t", m.Path).Wait(StopLimit)
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		// Where a dead mount is taken over, the folder below it shows for a moment.
		if strings.TrimSpace(out) != fuseMagic {
			return fmt.Errorf("%s is a file system of type %s", m.Path, out)
		}
		return nil
	})
}

// Remount unmounts cleanly and mounts again: nothing is cached any more.
func (m *Mount) Remount() {
	m.t.Helper()
	m.Stop()
	if mounted(m.Path) {
		m.t.Fatalf("%s is still mounted after SIGTERM", m.Path)
	}
	m.Launch()
	m.WaitReady()
}

// DropCaches empties the kernel's caches. Needs root; without it, it remounts.
func (m *Mount) DropCaches() {
	m.t.Helper()
	if os.Geteuid() != 0 || os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0) != nil {
		m.Remount()
	}
}

// cleanUp unmounts whatever the state of the mount.
func (m *Mount) cleanUp() {
	m.Process.cleanUp()
	if !mounted(m.Path) {
		return
	}
	command := []string{"fusermount3", "-u", "-z", m.Path}
	if os.Geteuid() == 0 {
		command = []string{"umount", "-f", "-l", m.Path} // requests that nobody answers end, too
	}
	if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		m.t.Errorf("%v: %v: %s", command, err, out)
	}
	if err := poll(10*time.Second, func() error {
		if mounted(m.Path) {
			return fmt.Errorf("%s is still mounted", m.Path)
		}
		return nil
	}); err != nil {
		m.t.Error(err)
	}
}

// mounted looks into the kernel's table, which no hanging mount can block.
func mounted(path string) bool {
	table, err := os.ReadFile("/proc/self/mountinfo")
	return err == nil && strings.Contains(string(table), " "+path+" ")
}
