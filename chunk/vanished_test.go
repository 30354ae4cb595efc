package chunk

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/proto"
)

// A disk that is gone takes what was on it out of service, which the master is told at
// once; the other folder goes on, and gets the new replicas.
func TestDiskIsGone(t *testing.T) {
	mem := disk.NewMem()
	s := openStore(t, testOptions(mem, "/a", "/b"))
	var there, gone []proto.ChunkID
	for n := 1; n <= 20; n++ {
		must(t, write(s, testChunk(n), 1, 0, []byte("content"), true))
		if s.find(proto.ChunkID(n)).folder.path == "/b" {
			gone = append(gone, proto.ChunkID(n))
		} else {
			there = append(there, proto.ChunkID(n))
		}
	}
	if len(there) == 0 || len(gone) == 0 {
		t.Fatalf("%d and %d: this shows nothing", len(there), len(gone))
	}
	s.changes.take(100)
	repaired := mem.Inject(disk.Fault{Op: disk.OpStat, Path: "/b/" + superblockName, Err: syscall.EIO, Times: 1})
	s.lookForFolders() // one look alone may have failed for another reason
	s.lookForFolders()
	repaired()
	if len(bad(s)) != 0 {
		t.Errorf("lost after one look: %v", bad(s))
	}
	mem.Inject(disk.Fault{Op: disk.OpStat, Path: "/b/" + superblockName, Err: syscall.ENOENT})
	for range 5 {
		s.lookForFolders()
	}
	if got := bad(s); !slices.Equal(got, gone) {
		t.Errorf("reported %v, on the disk are %v", got, gone)
	}
	if ids, _ := s.changes.take(100); !slices.Equal(ids, gone) || len(s.changes.wake) != 1 {
		t.Errorf("told with the next heartbeat: %v", ids)
	}
	if a, b := s.folders[0].status(), s.folders[1].status(); a.Fault != "" || b.Fault == "" || b.FreeBytes != 0 {
		t.Errorf("status %v, %v", a, b)
	}
	for _, id := range there {
		must(t, write(s, testChunk(int(id)), 1, 0, []byte("x"), false))
	}
	// What stands in its place, an empty mountpoint, is not made to look like the folder.
	must(t, mem.Remove("/b/"+superblockName))
	must(t, s.obey(9))
	newScrubber(s, s.folders[1], time.Hour).save()
	must(t, s.setBack(s.incarnation))
	for _, name := range []string{superblockName, progressName} {
		if _, err := disk.ReadFile(mem, "/b/"+name, superblockLimit); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for n := 21; n <= 30; n++ {
		must(t, write(s, testChunk(n), 1, 0, []byte("new"), true))
		if path := s.find(proto.ChunkID(n)).folder.path; path != "/a" {
			t.Errorf("a new replica went to %s", path)
		}
	}
}

// Replacing a disk: the chunkserver starts with an empty folder in the place of the one
// that failed, knows who it is, keeps what the others hold, and fills the new one.
func TestDiskIsReplaced(t *testing.T) {
	mem := disk.NewMem()
	s := openStore(t, testOptions(mem, "/a", "/b"))
	for n := 1; n <= 20; n++ {
		must(t, write(s, testChunk(n), 1, 0, []byte("content"), true))
	}
	kept := len(s.scrubList(s.folders[0], 0))
	instance := s.instance
	must(t, s.Close())

	s, err := OpenStore(testOptions(mem, "/a", "/new"))
	must(t, err)
	if m := s.membership.Load(); s.instance != instance || m == nil || m.cluster != testCluster || m.node != 1 {
		t.Errorf("it is %v, %+v", s.instance, m)
	}
	if s.count() != kept || kept == 0 || kept == 20 {
		t.Errorf("%d replicas of %d are known", s.count(), kept)
	}
	for n := 31; n <= 50; n++ {
		must(t, write(s, testChunk(n), 1, 0, []byte("new"), true))
	}
	if len(s.scrubList(s.folders[1], 0)) == 0 {
		t.Error("the new disk gets nothing")
	}
	must(t, s.Close())
	if _, err := mem.Stat(filepath.Join("/new", superblockName)); err != nil {
		t.Error(err)
	}
}
