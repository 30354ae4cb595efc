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
	steps := []struct {
		section uint8
		record  func()
		after   func()
	}{
		{sectionConfig, l.loadConfig, l.afterConfig},
		{sectionNodes, l.loadNode, nil},
		{sectionInodes, l.loadInode, l.afterInodes},
		{sectionFreeInodes, l.loadFreeInode, l.afterFreeInodes},
		{sectionSymlinks, l.loadSymlink, l.afterSymlinks},
		{sectionXattrs, l.loadXattr, nil},
		{sectionEntries, l.loadEntry, l.afterEntries},
		{sectionChunks, l.loadChunk, l.afterChunks},
		{sectionFreeChunks, l.loadFreeChunk, l.afterFreeChunks},
		{sectionSessions, l.loadSession, l.afterSessions},
		{sectionMoves, l.loadMove, nil},
	}
	l.header()
	l.nextBlock()
	for _, step := range steps {
		l.last = 0
		for l.err == nil && l.section == step.section {
			if len(l.rest) == 0 {
				l.nextBlock()
				continue
			}
			step.record()
			l.check(!l.bad, "a record is cut short or out of range")
		}
		if l.err == nil && step.after != nil {
			step.after()
		}
	}
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
		l.err = proto.E(proto.Damaged, "load", "checkpoint", fmt.Sprintf("in the block that ends at byte %d: %s", l.offset, why))
	}
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

// liveInode checks that a slot holds an inode.
func (l *loader) liveInode(slot uint32) bool {
	ok := slot != 0 && slot < l.inodes.length && l.inodes.get(slot).mode != 0
	l.check(ok, "a reference to an inode that does not exist")
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
	order := uint32(c.Node)<<2 | uint32(c.Move)
	ends := c.Until.Sec == 0
	if c.Move == Maintenance {
		ends = c.Until.Sec > 0
	}
	l.check(order > l.last && ends && l.operate(c).Kind == proto.OK, "a move out of order or range")
	l.last = order
}

func (l *loader) loadInode() {
	form, generation := l.u8(), l.u32()
	l.check(form <= formInodeFar, "unknown form of an inode")
	l.check(l.inodes.length < l.limits.slots, "too many inodes")
	if l.bad || l.err != nil {
		return
	}
	slot := l.inodes.extend()
	if form == formFree {
		l.inodes.mut(slot).generation = generation
		return
	}
	mode, nlink, uid, gid, rdev, size := l.u16(), l.u32(), l.u32(), l.u32(), l.u32(), l.u64()
	mtime, btime, change := l.stamp(), l.stamp(), l.u64()
	w := l.times(form, mtime, btime)
	l.check(generation != retired && change <= maxChange, "an inode out of range")
	if l.bad || l.err != nil {
		return
	}
	l.inodes.live++
	n := l.inodes.mut(slot)
	*n = inode{generation: generation, mode: mode}
	l.putTimes(slot, w)
	l.putOwner(slot, uid, gid)
	l.putSize(slot, size)
	l.putChange(slot, change)
	l.loadContent(n, nlink, size, rdev)
	l.counts.add(n.kind(), 1)
}

// times reads what a form has besides two stamps, and gives all times. Each form is for
// times that the one before cannot hold.
func (l *loader) times(form uint8, mtime, btime stamp) times {
	w := times{atime: btime.time(), mtime: mtime.time(), ctime: mtime.time(), btime: btime.time()}
	switch form {
	case formInodeTimes:
		atime, ctime := l.stamp(), l.stamp()
		l.check(atime != btime || ctime != mtime, "times written in the wrong form")
		w.atime, w.ctime = atime.time(), ctime.time()
	case formInodeFar:
		w = times{atime: l.time(), mtime: l.time(), ctime: l.time(), btime: l.time()}
		l.check(mtime == 0 && btime == 0 && w.far(), "times written in the wrong form")
	}
	return w
}

// loadContent fills in what depends on the type.
func (l *loader) loadContent(n *inode, nlink uint32, size uint64, rdev uint32) {
	isDevice := n.kind() == typeChar || n.kind() == typeBlock
	l.check(rdev == 0 || isDevice, "a device number without a device")
	switch n.kind() {
	case typeDir:
		l.check(size == 0 && (nlink == 0 || nlink >= 2) && nlink <= maxDirLinks, "a directory out of range")
		n.content = l.dirs.alloc()
		*l.dirs.mut(n.content) = directory{nlink: nlink}
		return
	case typeFile:
		l.check(size <= MaxFileSize, "size of a file out of range")
		l.counts.bytes += size
	case typeLink:
		l.check(size >= 1 && size <= proto.MaxSymlink, "size of a symlink out of range")
		l.symlinks++
	case typeChar, typeBlock, typeFIFO, typeSocket:
		l.check(size == 0, "size of a special file out of range")
		n.content = rdev
	default:
		l.check(false, "unknown type of an inode")
	}
	l.check(nlink <= MaxLinks || nlink == unnamed && n.kind() == typeFile, "too many names")
	n.nlink = uint16(nlink)
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
