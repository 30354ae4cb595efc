package cluster

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// ownDisk makes the folder of a chunkserver a file system of its own, in memory and of so many bytes.
func (c *Cluster) ownDisk(dir string, bytes int64) {
	c.t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+strconv.FormatInt(bytes, 10)); err != nil {
		c.t.Fatalf("mount a file system on %s: %v", dir, err)
	}
	c.disks = append(c.disks, dir)
}

// removeDisks is called when nobody uses them any more.
func (c *Cluster) removeDisks() {
	for _, dir := range c.disks {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			c.t.Errorf("unmount %s: %v", dir, err)
		}
	}
}
