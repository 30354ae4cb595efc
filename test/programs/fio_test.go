package programs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/distrifs/distrifs/test/cluster"
)

// Every block that fio writes says what and where it is. All ways to write, each to a
// file of its own that has contents already, run at once, and every block is read back
// and verified: while others are being written, and again by a new mount.
func TestFioVerifies(t *testing.T) { // G3, G5
	t.Parallel()
	c := cluster.Start(t, cluster.Options{ChunkSize: 1 << 20})
	m := c.Mount()
	var jobs strings.Builder
	fmt.Fprintf(&jobs, "[global]\ndirectory=%s\nsize=4m\noverwrite=1\nfallocate=none\nverify=crc32c\nverify_fatal=1\nverify_state_save=0\nend_fsync=1\n", m.Path)
	for _, engine := range []string{"psync", "libaio\niodepth=16", "mmap"} {
		for _, direct := range []int{0, 1} {
			for _, pattern := range []string{"write", "randwrite"} {
				name, _, _ := strings.Cut(engine, "\n")
				if name == "mmap" && direct == 1 {
					continue // a mapping has no O_DIRECT
				}
				block := map[string]string{"write": "64k", "randwrite": "4k"}[pattern]
				fmt.Fprintf(&jobs, "[%s-%d-%s]\nioengine=%s\ndirect=%d\nrw=%s\nbs=%s\n", name, direct, pattern, engine, direct, pattern, block)
			}
		}
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "jobs")
	if err := os.WriteFile(file, []byte(jobs.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, c, dir, `fio --verify_backlog=64 "$1"`, file)
	m.Remount()
	run(t, c, dir, `fio --verify_only "$1"`, file)
}
