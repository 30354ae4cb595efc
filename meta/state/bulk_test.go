package state

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
)

// bulk is a state of many files with names of 16 bytes and one chunk of three replicas, in
// directories of a thousand.
type bulk struct {
	*State
	files  int
	dirs   []proto.InodeID
	inodes []proto.InodeID // of the files
	bytes  uint64          // live heap that the state takes
}

const bulkPerDir = 1000

func bulkName(i int) []byte { return fmt.Appendf(nil, "file-%011d", i) }

// bulkUser owns everything.
var bulkUser = Cred{UID: 1000, GID: 1000}

var bulkTime = Time{Sec: 1_700_000_000}

func bulkChain(i int) []proto.NodeID {
	n := proto.NodeID(i%8 + 1)
	return []proto.NodeID{n, n + 1, n + 2}
}

func newBulk(files int) *bulk {
	b := &bulk{State: New(), inodes: make([]proto.InodeID, 0, files)}
	before := liveHeap()
	b.Apply(0, &Init{Cluster: proto.ClusterID{1}, ChunkSize: proto.DefaultChunkSize, Replicas: 3, MinReplicas: 2, Seed: 42, Now: bulkTime})
	for i := range 10 {
		b.Apply(0, &RegisterNode{Instance: uuid.UUID{byte(i + 1)}, Address: "host:1"})
	}
	b.grow(files)
	b.bytes = liveHeap() - before
	return b
}

// grow adds files up to a number.
func (b *bulk) grow(files int) {
	now := bulkTime
	for i := b.files; i < files; i++ {
		if i%bulkPerDir == 0 {
			r := b.Apply(0, &Make{Header: Header{Now: now}, Parent: proto.RootInode, Name: fmt.Appendf(nil, "dir-%d", i), Mode: typeDir | 0o777})
			b.dirs = append(b.dirs, r.Inode)
		}
		now.Nsec = uint32(i % 1e9)
		r := b.Apply(0, &Make{
			Header: Header{Now: now, Cred: bulkUser}, Parent: b.dir(i), Name: bulkName(i), Mode: typeFile | 0o644, Chain: bulkChain(i),
		})
		now.Nsec = uint32((i + 1000) % 1e9)
		b.Apply(0, &Commit{Header: Header{Now: now, Cred: bulkUser}, Inode: r.Inode, Size: 1000, Chunks: []proto.ChunkID{r.Chunks[0].ID}, Mtime: now})
		b.inodes = append(b.inodes, r.Inode)
	}
	b.files = files
}

// dir is the directory of a file.
func (b *bulk) dir(i int) proto.InodeID { return b.dirs[i/bulkPerDir] }

func liveHeap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// tableBytes is what the tables take.
func (b *bulk) tableBytes() float64 {
	m := b.Stats().Memory
	return float64(m.Inodes + m.Directories + m.Chunks + m.FileMaps + m.Arena)
}

// What a file of one chunk with a name of 16 bytes takes at most of the tables, when there
// are enough of them that pages which are only begun do not count.
func TestBytesPerFile(t *testing.T) {
	const fewer, more = 20_000, 100_000
	b := newBulk(fewer)
	before := b.tableBytes()
	b.grow(more)
	if each := (b.tableBytes() - before) / (more - fewer); each > 100 {
		t.Errorf("%.1f bytes a file, want at most 100", each)
	} else {
		t.Logf("%.1f bytes a file", each)
	}
}
