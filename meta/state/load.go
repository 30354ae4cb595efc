package state

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
)

// Load reads a checkpoint to the end of r. Every reference is checked, and memory
// grows only with what was read. Damaged: it is not what was written, with the
// offset; NewerFormat; or the error of r.
func Load(r io.Reader) (*State, error) {
	l := &loader{State: New(), r: bufio.NewReaderSize(r, 1<<18)}
	l.header()
	l.nextBlock()
	l.each(sectionConfig, l.loadConfig)
	l.after(l.afterConfig)
	l.each(sectionNodes, l.loadNode)
	inStages(l, sectionInodes, l.decodeInode, nil, l.putInode)
	l.after(l.afterInodes)
	l.each(sectionFreeInodes, l.loadFreeInode)
	l.after(l.afterFreeInodes)
	l.each(sectionSymlinks, l.loadSymlink)
	l.after(l.afterSymlinks)
	l.each(sectionXattrs, l.loadXattr)
	inStages(l, sectionEntries, l.decodeEntry, l.checkChildren, l.putEntry)
	l.after(l.afterEntries)
	inStages(l, sectionChunks, l.decodeChunk, nil, l.putChunk)
	l.after(l.afterChunks)
	l.each(sectionFreeChunks, l.loadFreeChunk)
	l.after(l.afterFreeChunks)
	l.each(sectionSessions, l.loadSession)
	l.after(l.afterSessions)
	l.each(sectionMoves, l.loadMove)
	l.end()
	if l.err != nil {
		return nil, l.err
	}
	return l.State, nil
}

// loader is a state in the making.
type loader struct {
	*State
	r      *bufio.Reader
	offset int64 // of the block behind the present one
	err    error // the first

	take    // what is left of the block
	section uint8
	buffer  []byte
	digest  xxhash.Digest

	format     uint32
	configured bool
	instances  map[uuid.UUID]bool // of nodes
	names      []uint32           // by inode slot: names found; 1 for a free slot found in the free list
	freeChunks []bool             // by slot: found in the free list
	last       uint32             // slot of the record before, where records are in order
	counted    uint32             // records so far, where there is one for each slot
	symlinks   int                // without a target yet
	tail       xattrTail
	dir        dirGroup
	answers    slotGroup
}

// xattrTail is the end of the list of attributes of the inode read last.
type xattrTail struct {
	name          []byte
	block         ref
	names, values int // bytes
}

// dirGroup is the directory being read.
type dirGroup struct {
	slot, left uint32
	cookie     uint64 // of the entry before
	twins      []byte // names, each behind its length, of entries before whose cookies differ in the last byte alone
}

// slotGroup is the session being read.
type slotGroup struct {
	session, left uint32
	number        int64 // of the slot before
	id            uint64
}

// check makes the load fail unless ok.
func (l *loader) check(ok bool, why string) {
	if !ok && l.err == nil {
		l.err = wrongBlock(l.offset, why)
	}
}

// after runs what follows a section.
func (l *loader) after(f func()) {
	if l.err == nil {
		f()
	}
}

// countSlot counts a slot of a section.
func (l *loader) countSlot(tooMany string) {
	l.counted++
	l.check(l.counted < l.limits.slots, tooMany)
}

// read fills b from the stream.
func (l *loader) read(b []byte) bool {
	if l.err != nil {
		return false
	}
	n, err := io.ReadFull(l.r, b)
	l.offset += int64(n)
	switch err {
	case nil:
		return true
	case io.EOF, io.ErrUnexpectedEOF:
		l.check(false, "it ends too early")
	default:
		l.err = &proto.Error{Kind: proto.KindOf(err), Op: "load", Subject: "checkpoint", Err: err}
	}
	return false
}

func (l *loader) header() {
	head := make([]byte, checkpointHead)
	if !l.read(head) {
		return
	}
	l.check(string(head[:8]) == checkpointMagic, "it does not begin like a checkpoint")
	l.check(crc32.Checksum(head[:20], castagnoli) == binary.LittleEndian.Uint32(head[20:]), "wrong checksum")
	l.format = binary.LittleEndian.Uint32(head[8:])
	if l.err == nil && (l.format == 0 || l.format > checkpointFormat) {
		l.err = proto.E(proto.NewerFormat, "load", "checkpoint", fmt.Sprintf("format %d: use the version that wrote it", l.format))
	}
	l.applied = binary.LittleEndian.Uint64(head[12:])
	l.digest.Reset()
}

// nextBlock reads a block into take.
func (l *loader) nextBlock() {
	var head [blockHeader]byte
	if !l.read(head[:]) {
		return
	}
	length := binary.LittleEndian.Uint32(head[1:])
	l.check(length >= 1 && length <= maxBlockPayload, "length of a block out of range")
	l.check(head[0] >= l.section, "sections out of order")
	if l.err != nil {
		return
	}
	l.buffer = slices.Grow(l.buffer[:0], int(length))[:length]
	if !l.read(l.buffer) {
		return
	}
	crc := crc32.Update(crc32.Checksum(head[:5], castagnoli), castagnoli, l.buffer)
	l.check(crc == binary.LittleEndian.Uint32(head[5:]), "wrong checksum")
	l.section = head[0]
	l.rest = l.buffer
	if l.section != sectionEnd {
		_, _ = l.digest.Write(l.buffer)
	}
}

func (l *loader) end() {
	if l.err != nil {
		return
	}
	l.check(l.section == sectionEnd, "unknown section")
	l.check(l.u64() == l.digest.Sum64() && len(l.rest) == 0 && !l.bad, "wrong hash of the whole")
	if l.err == nil {
		if _, err := l.r.ReadByte(); err != io.EOF {
			l.check(false, "bytes behind the end")
		}
	}
}

// view is bytes without the copy: valid until the next block.
func (l *loader) view() []byte { return l.next(l.count(1)) }

// name reads a length of one byte and the bytes.
func (l *loader) name() []byte { return l.next(int(l.u8())) }

func (l *loader) stamp() stamp {
	v := stamp(l.u64())
	l.bad = l.bad || v&stampNsecMask > 999_999_999
	return v
}

// inOrder checks that records of a section come in order of slots.
func (l *loader) inOrder(slot uint32, repeats bool) {
	l.check(slot > l.last || repeats && slot == l.last, "records out of order")
	l.last = slot
}

const noSuchInode = "a reference to an inode that does not exist"

// liveInode checks that a slot holds an inode.
func (l *loader) liveInode(slot uint32) bool {
	ok := slot != 0 && slot < l.inodes.length && l.inodes.get(slot).mode != 0
	l.check(ok, noSuchInode)
	return ok && l.err == nil
}

func (l *loader) loadConfig() {
	l.check(!l.configured, "two configurations")
	l.configured = true
	l.config = Config{
		Cluster: proto.ClusterID(l.uuid()), ChunkSize: l.u64(), Replicas: l.u32(), MinReplicas: l.u32(),
		Seed: l.u64(), Epoch: proto.Epoch(l.u64()),
	}
	l.lastSession = proto.SessionID(l.u64())
	l.check(l.lastSession < 1<<63, "last session out of range")
	if l.config == (Config{}) && l.lastSession == 0 {
		return
	}
	l.check(l.config.valid(), "configuration out of range")
}

func (l *loader) afterConfig() {
	l.check(l.configured, "no configuration")
	if l.config == (Config{}) {
		l.check(l.section == sectionEnd, "content without a configuration")
	}
}

func (l *loader) loadNode() {
	instance, address := l.uuid(), l.view()
	l.check(instance != uuid.Nil && !l.instances[instance] && len(address) <= MaxAddress, "a node out of range")
	l.check(l.nodes.live < MaxNodes, "too many nodes")
	if l.bad || l.err != nil {
		return
	}
	if l.instances == nil {
		l.instances = map[uuid.UUID]bool{}
	}
	l.instances[instance] = true
	l.addNode(instance, address)
}

func (l *loader) loadMove() {
	c := &Operate{Node: proto.NodeID(l.u32()), Move: Move(l.u8()), On: true, Until: Time{Sec: int64(l.u64())}}
	if l.bad {
		return
	}
	order := uint32(c.Node)<<3 | uint32(c.Move)
	ends := c.Until.Sec == 0
	if c.Move == Maintenance {
		ends = c.Until.Sec > 0
	}
	if c.Move == started {
		l.check(order > l.last && !ends && c.Node != 0 && uint32(c.Node) < l.nodes.length, "a start out of order or range")
		if !l.bad && l.err == nil {
			l.nodes.mut(uint32(c.Node)).incarnation = uint64(c.Until.Sec)
		}
	} else {
		l.check(order > l.last && ends && l.operate(c).Kind == proto.OK, "a move out of order or range")
	}
	l.last = order
}

// afterInodes looks at the root, without which there is nothing.
func (l *loader) afterInodes() {
	l.names = make([]uint32, l.inodes.length)
	if l.config == (Config{}) {
		return
	}
	root := proto.RootInode.Slot()
	ok := l.inodes.length > root && l.inodes.get(root).isDir() && l.inodes.get(root).generation == 0 && l.nlink(root) != 0
	l.check(ok, "there is no root directory")
}

func (l *loader) loadFreeInode() {
	slot := l.u32()
	ok := slot != 0 && slot < l.inodes.length && l.inodes.get(slot).mode == 0 &&
		l.inodes.get(slot).generation != retired && l.names[slot] == 0
	l.check(ok, "a free inode is not free")
	if l.err == nil {
		l.names[slot] = 1
		l.inodes.appendFree(slot, l.last)
		l.last = slot
	}
}

func (l *loader) afterFreeInodes() {
	for slot := uint32(1); slot < l.inodes.length; slot++ {
		if n := l.inodes.get(slot); n.mode == 0 && n.generation != retired && l.names[slot] == 0 {
			l.check(false, "a free inode is not in the free list")
			return
		}
	}
}

func (l *loader) loadSymlink() {
	slot, target := l.u32(), l.view()
	l.inOrder(slot, false)
	if l.bad || !l.liveInode(slot) {
		return
	}
	n := l.inodes.mut(slot)
	ok := n.kind() == typeLink && uint64(len(target)) == l.size(n) && bytes.IndexByte(target, 0) < 0
	l.check(ok, "target of a symlink out of range")
	if l.err == nil {
		n.content = l.arena.newBlob(target)
		l.symlinks--
	}
}

func (l *loader) afterSymlinks() {
	l.check(l.symlinks == 0, "a symlink without a target")
}

func (l *loader) loadXattr() {
	slot, name, value := l.u32(), l.name(), l.view()
	if slot != l.last {
		l.tail = xattrTail{}
	}
	l.inOrder(slot, true)
	if l.bad || !l.liveInode(slot) {
		return
	}
	tail := &l.tail
	l.check(len(name) > 0 && len(value) <= MaxXattrValue && bytes.Compare(tail.name, name) < 0, "an attribute out of range")
	tail.names += len(name) + 1
	tail.values += len(value)
	l.check(tail.names <= MaxXattrList && tail.values <= MaxXattrTotal, "attributes too large")
	l.check(!isACL(name) || l.isWhatACLsAre(slot, name, value), "an access control list out of range")
	if l.err != nil {
		return
	}
	tail.block = l.addXattr(slot, tail.block, name, value)
	tail.name = append(tail.name[:0], name...)
}
