package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/cespare/xxhash/v2"
	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
)

// everything is a small state in which every section has records.
func everything(t *testing.T) *fixture {
	f := newFixture(t)
	f.ok(&BeginEpoch{Epoch: 3})
	dir := f.make(alice, f.make(root, top, "home", typeDir|0o1777), "dir", typeDir|0o755)
	file := f.ok(&Make{Header: f.header(alice), Parent: dir, Name: []byte("file"), Mode: 0o644, Chain: []proto.NodeID{1, 2, 3}})
	f.ok(&Commit{Header: f.header(alice), Inode: file.Inode, Size: 5, Chunks: []proto.ChunkID{file.Chunks[0].ID}})
	f.ok(&AssignChunks{Header: f.header(alice), Inode: file.Inode, First: 1 << 40, Chains: [][]proto.NodeID{{1, 2, 3, 4}, {2, 3}}})
	f.ok(&Link{Header: f.header(alice), Inode: file.Inode, Parent: dir, Name: []byte("second name")})
	f.make(alice, dir, "symlink", typeLink)
	f.ok(&Make{Header: f.header(root), Parent: dir, Name: []byte("device"), Mode: typeBlock | 0o600, Rdev: 0x801})
	f.make(alice, dir, "fifo", typeFIFO|0o600)
	old := f.make(alice, dir, "old", typeFile|0o600)
	f.ok(&SetAttr{Header: f.header(alice), Inode: old, Set: SetMtime, Mtime: Time{Sec: -1 << 40, Nsec: 9}})
	f.ok(&SetXattr{Header: f.header(alice), Inode: file.Inode, Name: []byte("user.b"), Value: []byte("2")})
	f.ok(&SetXattr{Header: f.header(alice), Inode: file.Inode, Name: []byte("user.a"), Value: []byte("1")})
	f.ok(&SetXattr{Header: f.header(alice), Inode: dir, Name: []byte("user.c"), Value: []byte("3")})
	for _, name := range []string{"x", "y", "z"} {
		r := f.ok(&Make{Header: f.header(root), Parent: top, Name: []byte(name), Chain: []proto.NodeID{1, 2}})
		f.ok(&Unlink{Header: f.header(root), Parent: top, Name: []byte(name)})
		if name != "z" {
			defer f.ok(&Reap{Inodes: []proto.InodeID{r.Inode}})
		}
	}
	f.make(root, top, "gone", typeDir)
	f.ok(&Unlink{Header: f.header(root), Parent: top, Name: []byte("gone"), Dir: true})
	session := f.ok(&OpenSession{Client: "client"}).Session
	f.ok(&OpenSession{Client: "idle client"})
	for slot := range uint32(3) {
		h := f.header(root)
		h.Origin = Origin{Session: session, Slot: slot * 100, Sequence: 9}
		f.ok(&AssignChunks{Header: h, Inode: file.Inode, First: uint64(slot), Chains: [][]proto.NodeID{{2, 4}}})
	}
	copied := f.make(alice, dir, "copy", typeFile|0o600)
	f.copies(file.Inode, copied, 1, 5)
	f.copyOK(CopyChunks{From: copied, To: copied, ToIndex: 1 << 42, Count: 1})
	f.ok(&AssignChunks{Header: f.header(alice), Inode: copied, Chains: [][]proto.NodeID{{4, 2}}})
	f.ok(&Operate{Node: 3, Move: Decommission, On: true})
	f.ok(&Operate{Node: 3, Move: Maintenance, On: true, Until: Time{Sec: 1_000_000}})
	f.ok(&Operate{Move: Rebalance, On: true})
	f.ok(&RegisterNode{Instance: uuid.UUID{3}, Address: "host:1", Incarnation: 5<<20 | 77})
	return f
}

func TestGoldenCheckpoint(t *testing.T) {
	image := checkpointOf(t, everything(t).State)
	golden(t, "testdata/checkpoint.golden", image)
	sections := map[byte]bool{}
	eachBlock(image, func(head, payload []byte) { sections[head[0]] = true })
	for section := sectionConfig; section <= sectionMoves; section++ {
		if !sections[section] {
			t.Errorf("section %d has no record", section)
		}
	}
}

// Checkpoints of older formats are still read, and go on in the present one.
func TestCheckpointsOfOlderFormats(t *testing.T) {
	for format := 1; format < checkpointFormat; format++ {
		image, err := os.ReadFile(fmt.Sprintf("testdata/checkpoint%d.golden", format))
		if err != nil {
			t.Fatal(err)
		}
		s, err := Load(bytes.NewReader(image))
		if err != nil {
			t.Fatalf("format %d: %v", format, err)
		}
		if written := binary.LittleEndian.Uint64(image[len(image)-8:]); s.Hash() != written {
			t.Errorf("format %d: hash %x, loaded from a checkpoint of %x", format, s.Hash(), written)
		}
		reload(t, s)
	}
}

// A state goes on from a checkpoint as if nothing had been: same answers, same ids (L6).
func TestGoingOnFromACheckpoint(t *testing.T) {
	f := everything(t)
	g := &fixture{t: t, State: reload(t, f.State), now: f.now}
	for i := range 20 {
		for _, x := range []*fixture{f, g} {
			x.ok(&Make{Header: x.header(root), Parent: top, Name: fmt.Append(nil, i), Chain: []proto.NodeID{1, 2}})
		}
	}
	if f.Hash() != g.Hash() {
		t.Error("the states went different ways")
	}
	reload(t, f.State)
}

func TestDamagedCheckpointsAreRefused(t *testing.T) {
	image := checkpointOf(t, everything(t).State)
	load := func(b []byte) proto.Kind {
		_, err := Load(bytes.NewReader(b))
		return proto.KindOf(err)
	}
	for i := range image {
		bad := bytes.Clone(image)
		bad[i] ^= 0x10
		if kind := load(bad); kind != proto.Damaged {
			t.Fatalf("byte %d flipped: %v", i, kind)
		}
		if kind := load(image[:i]); kind != proto.Damaged {
			t.Fatalf("cut to %d bytes: %v", i, kind)
		}
	}
	if kind := load(append(bytes.Clone(image), 0)); kind != proto.Damaged {
		t.Errorf("a byte too many: %v", kind)
	}
	newer := bytes.Clone(image)
	newer[8] = checkpointFormat + 1
	binary.LittleEndian.PutUint32(newer[20:], crc32.Checksum(newer[:20], castagnoli))
	if kind := load(newer); kind != proto.NewerFormat {
		t.Errorf("a newer format: %v", kind)
	}
	broken := errors.New("the disk is on fire")
	_, err := Load(io.MultiReader(bytes.NewReader(image[:100]), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) {
		t.Errorf("a failing reader: %v", err)
	}
}

func TestCheckpointToAFailingWriter(t *testing.T) {
	f := everything(t)
	sn := f.Snapshot()
	if _, err := sn.WriteTo(failingWriter{}); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("error %v", err)
	}
	sn.Release()
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

// eachBlock calls fn for the blocks of an image, as far as it has any.
func eachBlock(image []byte, fn func(head, payload []byte)) {
	for rest := image[min(checkpointHead, len(image)):]; len(rest) >= blockHeader; {
		n := int(binary.LittleEndian.Uint32(rest[1:]))
		if n > len(rest)-blockHeader {
			return
		}
		fn(rest[:blockHeader], rest[blockHeader:blockHeader+n])
		rest = rest[blockHeader+n:]
	}
}

// reseal makes the checksums of an image right, so that what is wrong in it gets past them.
func reseal(image []byte) {
	if len(image) < checkpointHead {
		return
	}
	binary.LittleEndian.PutUint32(image[20:], crc32.Checksum(image[:20], castagnoli))
	digest := xxhash.New()
	eachBlock(image, func(head, payload []byte) {
		if head[0] != sectionEnd {
			_, _ = digest.Write(payload)
		} else if len(payload) >= 8 {
			binary.LittleEndian.PutUint64(payload, digest.Sum64())
		}
		crc := crc32.Update(crc32.Checksum(head[:5], castagnoli), castagnoli, payload)
		binary.LittleEndian.PutUint32(head[5:], crc)
	})
}

// tryImage loads what may be anything: it is refused, or a state like any other.
func tryImage(t *testing.T, image []byte) bool {
	s, err := Load(bytes.NewReader(image))
	if err != nil {
		if kind := proto.KindOf(err); kind != proto.Damaged && kind != proto.NewerFormat {
			t.Fatal(err)
		}
		return false
	}
	if written := binary.LittleEndian.Uint64(image[len(image)-8:]); s.Hash() != written {
		t.Fatalf("hash %x, loaded from a checkpoint of %x", s.Hash(), written)
	}
	if s.Config() == (Config{}) {
		return true
	}
	var dirs []proto.InodeID
	for slot := uint32(1); slot < s.inodes.length; slot++ {
		if n := s.inodes.get(slot); n.mode != 0 {
			s.attr(slot)
			if n.isDir() {
				dirs = append(dirs, s.inodeID(slot))
			}
		}
	}
	for i, dir := range dirs {
		s.ReadDir(dir, 0, func(e DirEntry) bool {
			s.Lookup(dir, e.Name, root)
			return true
		})
		s.Apply(0, &Make{Parent: dir, Name: []byte("new"), Chain: []proto.NodeID{1, 2}})
		s.Apply(0, &Rename{Parent: dir, Name: []byte("new"), NewParent: dirs[i/2], NewName: []byte("newer")})
	}
	s.EachChunk(0, func(c Chunk) bool {
		s.Apply(0, &SetAttr{Inode: c.Inode, Set: SetSize, Size: 1})
		return true
	})
	var orphans []proto.InodeID
	s.EachOrphan(func(ino proto.InodeID) bool { orphans = append(orphans, ino); return true })
	s.Apply(0, &Reap{Inodes: orphans})
	for _, session := range s.Sessions() {
		s.Apply(0, &EndSession{Session: session.ID})
	}
	reload(t, s)
	return true
}

// Every byte is changed, with checksums that hold: references that lead nowhere are
// found by looking at them.
func TestWrongContentUnderRightChecksums(t *testing.T) {
	image := checkpointOf(t, everything(t).State)
	refused := 0
	for i := checkpointHead; i < len(image); i++ {
		bad := bytes.Clone(image)
		bad[i] ^= 1 << (i % 8)
		reseal(bad)
		if !tryImage(t, bad) {
			refused++
		}
	}
	if all := len(image) - checkpointHead; refused < all/4 {
		t.Errorf("%d of %d were refused", refused, all)
	}
}

// What no flipped bit gives: directories that have names, but only from each other.
func TestCircleInACheckpointIsRefused(t *testing.T) {
	f := newFixture(t)
	a := f.make(root, top, "a", typeDir)
	b := f.make(root, a, "b", typeDir)
	_, cookie := f.findEntry(top.Slot(), []byte("a"))
	f.removeEntry(top.Slot(), cookie)
	_, cookie = f.findEntry(b.Slot(), []byte("a"))
	f.addEntry(b.Slot(), []byte("a"), cookie, a.Slot())
	f.mutDirectory(top.Slot()).nlink--
	f.mutDirectory(b.Slot()).nlink++
	_, err := Load(bytes.NewReader(checkpointOf(t, f.State)))
	if proto.KindOf(err) != proto.Damaged || !strings.Contains(err.Error(), "circle") {
		t.Errorf("directories in a circle: %v", err)
	}
}

func FuzzLoad(f *testing.F) {
	var t testing.T
	f.Add(checkpointOf(f, New()))
	f.Add(checkpointOf(f, newFixture(&t).State))
	f.Add(checkpointOf(f, everything(&t).State))
	f.Fuzz(func(t *testing.T, image []byte) {
		tryImage(t, bytes.Clone(image))
		reseal(image)
		tryImage(t, image)
	})
}

// A snapshot is what was there when it was taken, whatever is applied meanwhile, and
// so are several.
func TestSnapshotsStandStill(t *testing.T) {
	m := newModel(t, 11)
	type shot struct {
		sn   *Snapshot
		want []byte
	}
	var shots []shot
	check := func(s shot) {
		var b bytes.Buffer
		if _, err := s.sn.WriteTo(&b); err != nil || !bytes.Equal(b.Bytes(), s.want) {
			t.Fatalf("a snapshot changed: %v", err)
		}
		s.sn.Release()
	}
	for range 60 {
		shots = append(shots, shot{m.f.Snapshot(), checkpointOf(t, m.f.State)})
		for range 100 {
			m.step()
		}
		if len(shots) == 3 {
			check(shots[1])
			shots[0].sn.Release() // unwritten
			shots = shots[2:]
		}
	}
	for _, s := range shots {
		check(s)
	}
	if pins := len(m.f.arena.pins.epochs) + len(m.f.inodes.pins.epochs); pins != 0 {
		t.Errorf("%d pins are left", pins)
	}
}

// WriteTo runs beside Apply (with -race: it shares nothing that changes).
func TestSnapshotIsWrittenBesideApply(t *testing.T) {
	m := newModel(t, 12)
	for range 20 {
		for range 100 {
			m.step()
		}
		want := m.f.Hash()
		sn := m.f.Snapshot()
		var b bytes.Buffer
		done := make(chan error)
		go func() {
			_, err := sn.WriteTo(&b)
			sn.Release()
			done <- err
		}()
		for range 200 {
			m.step()
		}
		if err := <-done; err != nil || sn.Hash() != want {
			t.Fatalf("written %x, want %x: %v", sn.Hash(), want, err)
		}
		if s, err := Load(&b); err != nil || s.Hash() != want {
			t.Fatal(err)
		}
	}
}

// Sections of many blocks are loaded in stages that run beside each other: what is wrong
// in one of them ends them all.
func TestCheckpointOfManyBlocks(t *testing.T) {
	s := newBulk(30_000).State
	image := checkpointOf(t, s)
	if loaded, err := Load(bytes.NewReader(image)); err != nil || loaded.Hash() != s.Hash() {
		t.Fatalf("loaded: %v", err)
	}
	blocks := map[byte]int{}
	eachBlock(image, func(head, payload []byte) { blocks[head[0]]++ })
	for _, section := range []byte{sectionInodes, sectionEntries, sectionChunks} {
		if blocks[section] < 3 {
			t.Fatalf("section %d has %d blocks", section, blocks[section])
		}
	}
	refused, at := 0, checkpointHead
	eachBlock(image, func(_, payload []byte) {
		at += blockHeader + len(payload)
		bad := bytes.Clone(image)
		bad[at-1-len(payload)/2] ^= 0xff
		for _, sealed := range []bool{false, true} {
			if sealed {
				reseal(bad)
			}
			_, err := Load(bytes.NewReader(bad))
			if err != nil {
				refused++
			}
			if kind := proto.KindOf(err); err != nil && kind != proto.Damaged || err == nil && !sealed {
				t.Errorf("damaged before byte %d, sealed %v: %v", at, sealed, err)
			}
		}
		broken := errors.New("the disk is on fire")
		if _, err := Load(io.MultiReader(bytes.NewReader(image[:at-1]), iotest.ErrReader(broken))); !errors.Is(err, broken) {
			t.Errorf("a reader that fails at byte %d: %v", at, err)
		}
	})
	if refused < 10 {
		t.Errorf("%d were refused", refused)
	}
}

// What is refused when it is put into the state is the first that is wrong, also if the
// blocks behind it have been decoded.
func TestTwoChunksAtOneIndexFarFromTheEnd(t *testing.T) {
	s := newBulk(30_000)
	s.chunks.mut(10).inode = s.chunks.get(9).inode
	for slot := uint32(20_000); slot < s.chunks.length; slot++ {
		s.chunks.mut(slot).version = 0
	}
	_, err := Load(bytes.NewReader(checkpointOf(t, s.State)))
	if proto.KindOf(err) != proto.Damaged || !strings.Contains(err.Error(), twoChunks) {
		t.Errorf("loaded with %v", err)
	}
}
