package chunk

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/proto"
)

// L15: a folder that does not belong here is refused in one line, and nothing is
// changed in any folder.
func TestFoldersRefused(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, mem *disk.Mem)
		dirs    []string
		want    proto.Kind
		says    string
	}{
		{"none", nil, nil, proto.Invalid, "none given"},
		{"twice", nil, []string{"/a", "/a/"}, proto.Invalid, "given twice"},
		{"in use", func(t *testing.T, mem *disk.Mem) {
			s := openStore(t, testOptions(mem, "/a"))
			t.Cleanup(s.abandon)
		}, []string{"/b", "/a"}, proto.InUse, fmt.Sprint(os.Getpid())},
		{"other cluster", func(t *testing.T, mem *disk.Mem) {
			member(t, mem, "/a", testCluster, 1)
			member(t, mem, "/b", proto.ClusterID(uuid.New()), 1)
		}, []string{"/a", "/b"}, proto.WrongCluster, "start them separately"},
		{"other node", func(t *testing.T, mem *disk.Mem) {
			member(t, mem, "/a", testCluster, 1)
			member(t, mem, "/b", testCluster, 2)
		}, []string{"/a", "/b"}, proto.InUse, "chunkserver 2"},
		{"newer format", func(t *testing.T, mem *disk.Mem) {
			member(t, mem, "/a", testCluster, 1)
			put(t, mem, "/a/superblock", superblockFirst+"2\n")
		}, []string{"/a"}, proto.NewerFormat, "format 2"},
		{"damaged superblock", func(t *testing.T, mem *disk.Mem) {
			member(t, mem, "/a", testCluster, 1)
			flip(t, mem, "/a/superblock", 60)
		}, []string{"/a"}, proto.Damaged, "checksum"},
		{"superblock lost", func(t *testing.T, mem *disk.Mem) {
			s := openStore(t, testOptions(mem, "/a"))
			must(t, write(s, testChunk(1), 1, 0, []byte("x"), true))
			must(t, s.Close())
			must(t, mem.Remove("/a/superblock"))
		}, []string{"/a"}, proto.Damaged, "bring the superblock back"},
		{"somebody's folder", func(t *testing.T, mem *disk.Mem) {
			must(t, mem.Mkdir("/a", 0o755))
			put(t, mem, "/a/thesis.tex", "x")
		}, []string{"/a"}, proto.Invalid, "thesis.tex"},
		{"a file", func(t *testing.T, mem *disk.Mem) { put(t, mem, "/a", "x") }, []string{"/a"}, proto.NotDir, ""},
		{"chunk of newer format", func(t *testing.T, mem *disk.Mem) {
			s := openStore(t, testOptions(mem, "/data"))
			must(t, write(s, testChunk(1), 1, 0, []byte("x"), true))
			must(t, s.Close())
			page := (&footer{chunk: testChunk(1), version: 1, capacity: testCapacity}).page()
			page[8] = 2
			resum(page)
			f, err := mem.OpenFile(chunkFile(1), os.O_RDWR, 0)
			must(t, err)
			_, err = f.WriteAt(page, testCapacity)
			must(t, err)
		}, []string{"/data"}, proto.NewerFormat, chunkFile(1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			mem := disk.NewMem()
			if c.prepare != nil {
				c.prepare(t, mem)
			}
			before := superblocks(mem)
			s, err := OpenStore(testOptions(mem, c.dirs...))
			if err == nil {
				_ = s.Close()
				t.Fatal("accepted")
			}
			if proto.KindOf(err) != c.want || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("refused with %q (%v), want %v and %q", err, proto.KindOf(err), c.want, c.says)
			}
			if c.name != "chunk of newer format" && before != superblocks(mem) {
				t.Error("a superblock was changed")
			}
		})
	}
}

func superblocks(mem *disk.Mem) string {
	var all []string
	for _, dir := range []string{"/a", "/b"} {
		text, err := disk.ReadFile(mem, filepath.Join(dir, superblockName), superblockLimit)
		all = append(all, string(text), fmt.Sprint(errors.Is(err, os.ErrNotExist)))
	}
	return strings.Join(all, "|")
}

func member(t *testing.T, mem *disk.Mem, dir string, cluster proto.ClusterID, node proto.NodeID) {
	t.Helper()
	s, err := OpenStore(testOptions(mem, dir))
	must(t, err)
	must(t, s.join(cluster, node, testCapacity, 1))
	must(t, s.Close())
}

func put(t *testing.T, mem *disk.Mem, name, text string) {
	t.Helper()
	f, err := mem.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	must(t, err)
	_, err = f.WriteAt([]byte(text), 0)
	must(t, err)
}

func TestSecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, testOptions(disk.OS, dir))
	_, err := OpenStore(testOptions(disk.OS, dir))
	wantKind(t, "second start", err, proto.InUse)
	must(t, s.Close())
	s = openStore(t, testOptions(disk.OS, dir))
	must(t, s.Close())
}

func TestIncarnationGrowsAndNewFoldersJoin(t *testing.T) {
	mem := disk.NewMem()
	for i := range uint64(4) {
		s := openStore(t, testOptions(mem, "/a"))
		if proto.Incarnation(s.incarnation).Start() != i+1 {
			t.Errorf("start %d is incarnation %d", i+1, s.incarnation)
		}
		if i%2 == 0 {
			s.abandon()
		} else {
			must(t, s.Close())
		}
	}
	s, err := OpenStore(testOptions(mem, "/new", "/a"))
	must(t, err)
	for _, f := range s.folders {
		if f.sb.Incarnation != s.incarnation || proto.Incarnation(s.incarnation).Start() != 5 || f.sb.Node != 1 || f.sb.Cluster != clusterText(testCluster) || f.sb.Instance != s.instance {
			t.Errorf("%s has %+v", f.path, f.sb)
		}
	}
	must(t, s.Close())
}

func TestLeftoversInTmpGo(t *testing.T) {
	mem := disk.NewMem()
	s := openStore(t, testOptions(mem, "/data"))
	must(t, s.Close())
	put(t, mem, "/data/tmp/chunk-x.1", "half a chunk")
	s = openStoreAt(t, mem)
	if left, err := mem.ReadDir("/data/tmp"); err != nil || len(left) != 0 {
		t.Errorf("left in tmp: %v, %v", left, err)
	}
	must(t, s.Close())
}

func TestTwoFilesOfOneChunk(t *testing.T) {
	mem := disk.NewMem()
	s := openStore(t, testOptions(mem, "/data", "/b"))
	for n := range 40 { // in both folders
		must(t, write(s, testChunk(n), 1, 0, []byte("old"), true))
	}
	var id proto.ChunkID
	for s.find(id).folder.path != "/b" {
		id++
	}
	name := chunkPrefix + testChunk(int(id)).String()
	must(t, s.Close())
	older, err := disk.ReadFile(mem, filepath.Join("/b", bucketDir(id), name), 4<<20)
	must(t, err)
	s, err = OpenStore(testOptions(mem, "/data", "/b"))
	must(t, err)
	must(t, s.SetVersion(id, 2, false))
	must(t, s.Close())
	put(t, mem, filepath.Join("/data", bucketDir(id), name), string(older))
	s, err = OpenStore(testOptions(mem, "/data", "/b"))
	must(t, err)
	if got, err := read(t, s, testChunk(int(id)), 2, 0, 3); err != nil || string(got) != "old" {
		t.Errorf("%q, %v", got, err)
	}
	if kept, err := mem.ReadDir("/data/quarantine"); err != nil || len(kept) != 1 { // L2
		t.Errorf("quarantine: %v, %v", kept, err)
	}
	must(t, s.Close())
}

func TestPlacementByFreeSpace(t *testing.T) {
	s := openStore(t, testOptions(disk.NewMem(), "/a", "/b", "/c"))
	a, b, c := s.folders[0], s.folders[1], s.folders[2]
	a.free, b.free, c.free = 30<<20, 20<<20, 0
	count := map[*folder]int{}
	for n := range 50 {
		must(t, write(s, testChunk(n), 1, 0, []byte("x"), true))
		count[s.find(proto.ChunkID(n)).folder]++
	}
	if count[a] != 30 || count[b] != 20 {
		t.Errorf("placed %d, %d, %d; want 30, 20, 0", count[a], count[b], count[c])
	}
}

func TestFailedDiskLeavesService(t *testing.T) {
	mem := disk.NewMem()
	s := openStore(t, testOptions(mem, "/a", "/b"))
	for n := range 10 {
		must(t, write(s, testChunk(n), 1, 0, []byte("x"), true))
	}
	mem.Inject(disk.Fault{Op: disk.OpWrite, Path: "/a/*/chunk-*"})
	for n := range 10 {
		in := s.find(proto.ChunkID(n)).folder.path
		err := write(s, testChunk(n), 1, 0, []byte("y"), false)
		if want := map[string]proto.Kind{"/a": proto.IO, "/b": proto.OK}[in]; proto.KindOf(err) != want {
			t.Errorf("write in %s: %v", in, err)
		}
	}
	for n := 10; n < 20; n++ {
		must(t, write(s, testChunk(n), 1, 0, []byte("x"), true))
		if in := s.find(proto.ChunkID(n)).folder.path; in != "/b" {
			t.Errorf("new replica in %s", in)
		}
	}
	for n := range 20 { // reads go on
		if got, err := read(t, s, testChunk(n), 1, 0, 1); err != nil || string(got) != "x" && string(got) != "y" {
			t.Errorf("read: %q, %v", got, err)
		}
	}
	disks := s.disks()
	if disks[0].Fault == "" || disks[1].Fault != "" {
		t.Errorf("reported: %v", disks)
	}
}

func TestNoSpace(t *testing.T) {
	mem := disk.NewMem()
	s := openStore(t, testOptions(mem, "/data"))
	must(t, write(s, testChunk(0), 1, 0, make([]byte, 1), true))
	mem.SetCapacity(8 << 20)
	s.refresh()
	var err error
	n := 1
	for ; err == nil; n++ {
		err = write(s, testChunk(n), 1, 0, randomBytes(rand.New(rand.NewPCG(1, 1)), testCapacity), true)
	}
	wantKind(t, "full", err, proto.NoSpace)
	if s.disks()[0].Fault == "" && s.disks()[0].FreeBytes >= minFree {
		t.Errorf("a full disk is reported as %v", s.disks()[0])
	}
	if left, err := mem.ReadDir("/data/tmp"); err != nil || len(left) != 0 {
		t.Errorf("left in tmp: %v, %v", left, err)
	}
	for old := 1; old < n-1; old++ { // what was acknowledged is still good
		if got, err := read(t, s, testChunk(old), 1, 0, testCapacity); err != nil || len(got) != testCapacity {
			t.Errorf("chunk %d: %d bytes, %v", old, len(got), err)
		}
	}
	for old := 1; old < n-1; old++ {
		must(t, s.Delete(proto.ChunkID(old), 1, 1))
	}
	s.refresh()
	must(t, write(s, testChunk(100), 1, 0, []byte("room again"), true))
	if s.disks()[0].Fault != "" {
		t.Errorf("reported: %v", s.disks()[0])
	}
}

// Different replicas in parallel, and readers, syncs and reports beside writers.
func TestParallel(t *testing.T) {
	o := testOptions(disk.NewMem(), "/data")
	o.OpenChunks = 4
	s := openStore(t, o)
	var group sync.WaitGroup
	for n := range 8 {
		group.Go(func() {
			random := rand.New(rand.NewPCG(uint64(n), 7))
			var m model
			for range 150 {
				randomOp(t, s, random, testChunk(n), &m)
			}
			checkReplica(t, s, testChunk(n), m)
		})
	}
	stop := make(chan struct{})
	var beside sync.WaitGroup
	beside.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			s.replicaStates(func(proto.ChunkID) bool { return true })
			s.changes.take(100)
			if err := s.settle(0, 2); err != nil {
				t.Error(err)
			}
			n := rand.IntN(8)
			if _, err := read(t, s, testChunk(n), 1, 0, 100_000); err != nil && !errors.Is(err, proto.NoReplica) {
				t.Error(err)
			}
		}
	})
	group.Wait()
	close(stop)
	beside.Wait()
	must(t, s.Close())
}

// Making, raising, copying and deleting one chunk at once ends in one of the states
// that an order of these could have.
func TestParallelOrders(t *testing.T) {
	mem := disk.NewMem()
	s := openStore(t, testOptions(mem, "/data"))
	must(t, write(s, testChunk(9), 1, 0, []byte("source"), true))
	for range 200 {
		var group sync.WaitGroup
		group.Go(func() { _ = write(s, testChunk(1), 1, 0, []byte("written"), true) })
		group.Go(func() { _ = s.SetVersion(1, 2, true) })
		group.Go(func() { _ = s.Copy(t.Context(), 1, 1, sourceOf(s, 9)) })
		group.Go(func() { _ = s.Delete(1, 1, 1) })
		group.Go(func() { _ = s.Sync(testChunk(1), 1) })
		group.Wait()
		if st := s.replicaState(1); st != nil {
			got, err := read(t, s, testChunk(1), proto.Version(st.Version), 0, 100)
			if err != nil || string(got) != "" && string(got) != "written" && string(got) != "source" {
				t.Fatalf("%v: %q, %v", st, got, err)
			}
			must(t, s.Delete(1, 9, 1))
		}
		if _, err := mem.Stat(chunkFile(1)); !errors.Is(err, syscall.ENOENT) {
			t.Fatalf("the file stays: %v", err)
		}
	}
	if n := s.count(); n != 1 {
		t.Errorf("%d replicas are left", n)
	}
	must(t, s.Close())
}
