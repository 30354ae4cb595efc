package client

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/client/clienttest"
	"github.com/distrifs/distrifs/pipeline/loan"
	"github.com/distrifs/distrifs/proto"
)

// lender lends what the nodes of a cluster hold, as it is at that moment, in files.
type lender struct {
	t       *testing.T
	cluster *clienttest.Cluster

	mu    sync.Mutex
	loans []string // paths of the files, in order
	node  *clienttest.Node
}

const lentCapacity = 1 << 20

func (l *lender) borrow(address string, chunk uuid.UUID, _ proto.Version) (*loan.Replica, error) {
	for _, n := range l.cluster.Nodes {
		if n.Address != address {
			continue
		}
		if content, _, ok := n.Content(chunk); ok {
			return l.lend(n, content)
		}
	}
	return nil, proto.NoReplica
}

func (l *lender) lend(n *clienttest.Node, content []byte) (*loan.Replica, error) {
	content = append(content, make([]byte, lentCapacity-len(content))...)
	file := bytes.Clone(content)
	table := crc32.MakeTable(crc32.Castagnoli)
	zero := crc32.Checksum(make([]byte, proto.BlockSize), table)
	for ; len(content) > 0; content = content[proto.BlockSize:] {
		file = binary.LittleEndian.AppendUint32(file, crc32.Checksum(content[:proto.BlockSize], table)^zero)
	}
	g := loan.Geometry{Capacity: lentCapacity, TableAt: lentCapacity, SealAt: int64(len(file))}
	path := filepath.Join(l.t.TempDir(), "chunk")
	if err := os.WriteFile(path, append(file, g.Seal[:]...), 0o644); err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.loans, l.node = append(l.loans, path), n
	l.mu.Unlock()
	opened, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return loan.NewReplica(opened, g), nil
}

func (l *lender) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.loans)
}

// served is how often c read without a chunkserver.
func (c *Client) served() uint64 {
	c.shortcuts.mu.Lock()
	defer c.shortcuts.mu.Unlock()
	return c.shortcuts.served
}

// lending is a cluster under leases and a client that borrows, with a file of which a
// chunk is borrowed.
func lending(t *testing.T, content []byte) (*lender, *Client, *File) {
	t.Helper()
	l := &lender{t: t, cluster: leasing(t)}
	c := connect(t, l.cluster, checked, func(o *Options) { o.Borrow = l.borrow; o.ReadAhead = -1 })
	f := create(t, c, "/f")
	mustWrite(t, f, content, 0)
	must(t, f.Close())
	f = open(t, c, "/f", unix.O_RDWR)
	l.read(c, f, content)
	if l.count() != 1 {
		t.Fatalf("%d loans, want 1", l.count())
	}
	return l, c, f
}

// read reads until what is read comes of a loan.
func (l *lender) read(c *Client, f *File, want []byte) {
	l.t.Helper()
	before := c.served()
	eventually(l.t, "a read without a chunkserver", func() bool {
		l.same(f, want)
		return c.served() > before
	})
}

func (l *lender) same(f *File, want []byte) {
	l.t.Helper()
	got := make([]byte, len(want))
	if n, err := f.ReadAt(got, 0); n != len(want) || err != nil || !bytes.Equal(got, want) {
		l.t.Fatalf("read %d bytes, %v, or wrong ones", n, err)
	}
}

func TestAChunkReadAgainIsBorrowed(t *testing.T) {
	l, c, f := lending(t, noise(1, 100_000))
	asked := 0
	for _, n := range l.cluster.Nodes {
		asked += n.Count("read")
	}
	for range 10 {
		l.same(f, noise(1, 100_000))
	}
	for _, n := range l.cluster.Nodes {
		asked -= n.Count("read")
	}
	if asked != 0 || l.count() != 1 {
		t.Errorf("%d reads of a borrowed chunk, and %d loans", -asked, l.count())
	}
	must(t, f.Close())
	if c.shortcuts.used.Len() != 0 || len(c.shortcuts.files) != 0 {
		t.Error("a closed file is borrowed still")
	}
}

func TestNothingIsBorrowedWithoutLeases(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"no-leases":        func(o *Options) { o.NoLeases = true },
		"no-short-circuit": func(o *Options) { o.NoShortCircuit = true },
	} {
		l := &lender{t: t, cluster: leasing(t)}
		c := connect(t, l.cluster, checked, func(o *Options) { o.Borrow = l.borrow }, change)
		f := create(t, c, "/f")
		mustWrite(t, f, noise(1, 5000), 0)
		must(t, f.Flush(t.Context()))
		for range 10 {
			l.same(f, noise(1, 5000))
		}
		if must(t, c.Close()); l.count() != 0 {
			t.Errorf("%s: %d loans", name, l.count())
		}
	}
}

// G3: what another client wrote is read, though the file that was borrowed is a copy that
// nobody writes to any more, as that of a replica is that has left the chain.
func TestALoanEndsWithTheLease(t *testing.T) {
	l, c, f := lending(t, noise(1, 9000))
	other := connect(t, l.cluster, checked)
	for round := range uint64(5) {
		g := open(t, other, "/f", unix.O_WRONLY)
		mustWrite(t, g, noise(2+round, 9000), 0)
		l.same(f, noise(2+round, 9000)) // before anything was flushed
		must(t, g.Close())
		l.read(c, f, noise(2+round, 9000))
	}
	if n := l.count(); n < 6 {
		t.Errorf("%d loans: some served after their lease", n)
	}
}

// G3: the client that raised the version reads nothing of the old one.
func TestALoanEndsWithItsVersion(t *testing.T) {
	l, c, f := lending(t, noise(1, 9000))
	l.cluster.Bump(f.Inode())
	mustWrite(t, f, noise(2, 9000), 0) // is refused, and sent again at the new version
	must(t, f.Flush(t.Context()))
	l.same(f, noise(2, 9000))
	l.read(c, f, noise(2, 9000))
	if l.count() != 2 {
		t.Errorf("%d loans, want one of each version", l.count())
	}
}

// G5, L13: rot is found, the bytes come from elsewhere, and the replica's own chunkserver
// is asked, so that it knows.
func TestARottenLoan(t *testing.T) {
	l, _, f := lending(t, noise(1, 9000))
	file, err := os.OpenFile(l.loans[0], os.O_WRONLY, 0)
	must(t, err)
	defer file.Close()
	if _, err := file.WriteAt([]byte("rot"), 5000); err != nil {
		t.Fatal(err)
	}
	l.node.CorruptAll()
	l.same(f, noise(1, 9000))
	eventually(t, "the master hears of it", func() bool {
		reports := l.cluster.Corrupt()
		return len(reports) > 0 && reports[0].Node == uint32(l.node.ID)
	})
}

// A chunkserver that is not on this host is not tried at every read.
func TestNobodyOnThisHost(t *testing.T) {
	var mu sync.Mutex
	tried := map[string]int{}
	l := &lender{t: t, cluster: leasing(t)}
	c := connect(t, l.cluster, checked, func(o *Options) {
		o.ReadAhead = -1
		o.Borrow = func(address string, _ uuid.UUID, _ proto.Version) (*loan.Replica, error) {
			mu.Lock()
			defer mu.Unlock()
			tried[address]++
			return nil, proto.Unavailable
		}
	})
	f := create(t, c, "/f")
	mustWrite(t, f, noise(1, 5000), 0)
	must(t, f.Flush(t.Context()))
	for range 50 {
		l.same(f, noise(1, 5000))
	}
	must(t, c.Close())
	if len(tried) != 3 {
		t.Errorf("tried %v, want each of 3 replicas", tried)
	}
	for address, n := range tried {
		if n != 1 {
			t.Errorf("%s was tried %d times", address, n)
		}
	}
}

// What is not read for a while is given back, also while the file is open.
func TestUnusedLoansAreGivenBack(t *testing.T) {
	l, c, f := lending(t, noise(1, 5000))
	c.shortcuts.sweep()
	l.same(f, noise(1, 5000))
	if c.shortcuts.sweep(); c.shortcuts.used.Len() != 1 {
		t.Error("given back though it was used since")
	}
	if c.shortcuts.sweep(); c.shortcuts.used.Len() != 0 {
		t.Error("not given back")
	}
	l.read(c, f, noise(1, 5000))
}
