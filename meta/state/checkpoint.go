package state

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"runtime"

	"github.com/cespare/xxhash/v2"

	"github.com/distrifs/distrifs/proto"
)

// A checkpoint is the whole state in a stream of bytes. Parts are written as in
// codec.go (little-endian, nothing padded); name is u8 length and so many bytes.
//
//	header  8 bytes "DFSCHECK", u32 format (3), u64 log index applied last,
//	        u32 CRC-32C of the 20 bytes before
//	block   u8 section, u32 length (1 to 2^20), u32 CRC-32C of the 5 bytes before and
//	        the payload, payload
//
// Sections come in the order of their numbers. A section is as many blocks as its
// records need, none if there is none; records do not straddle blocks.
//
//	1 config       one record: uuid cluster, u64 chunk size, u32 replicas, u32 min-replicas,
//	               u64 seed, u64 epoch, u64 last session. All zero: the state is empty
//	2 nodes        in order of ids from 1: uuid instance, bytes address
//	3 inodes       in order of slots from 1: u8 form, u32 generation. Form 0: the slot is free.
//	               The others go on: u16 mode, u32 nlink, u32 uid, u32 gid, u32 rdev, u64 size,
//	               stamp mtime, stamp btime, u64 change (below 2^48), in form 2 also: stamp atime, stamp ctime;
//	               nlink 65535 is a file that never had a name and may get one;
//	               form 1 when atime = btime and ctime = mtime. Form 3 (a time without a stamp):
//	               like form 1 with both stamps 0, then time atime, mtime, ctime, btime
//	4 free inodes  u32 slot: the next one to be used first. Generation 2^32-1 is never used
//	5 symlinks     in order of slots: u32 slot, bytes target
//	6 xattrs       in order of slots and names: u32 slot, name, bytes value
//	7 entries      for each directory that has entries, in order of slots:
//	               u32 slot, u32 count; then so many records, in order of cookies:
//	               u32 inode slot, u8 discriminator, name
//	8 chunks       in order of slots from 1: u8 form, u32 generation. Form 0: the slot is free.
//	               Form 1 (assigned) and 2 (committed) go on: u32 version, u32 inode slot,
//	               u64 index, list of u32 (chain). Form 3 (shared): u32 version, list of u32
//	               (chain). Form 4 (reference): u32 inode slot, u64 index, u32 slot of the
//	               shared chunk; an assigned chunk of the same inode and index is its clone
//	9 free chunks  like free inodes
//	10 sessions    in order of ids: u64 id, bytes client, u32 count; then so many records, in
//	               order of slots: u32 slot, u64 sequence, bytes answer
//	11 moves       what operators want, in order: u32 node, u8 move, u64 end of maintenance in
//	               seconds since 1970; node 0 with move 3 (rebalance). Behind those of a node: move 4
//	               with the incarnation of its start that registered last
//	255 end        u64 XXH64 of all payloads before, in order: the state's hash
//
// stamp is u64: 34 bits of seconds since -2^31, shifted by 30, and nanoseconds below 1e9; time
// is i64 seconds since 1970 and u32 nanoseconds below 1e9. What
// can be derived (tries, parents, orphans, counters, which chunks a file has) is not
// written, so it cannot contradict.
//
// Older formats are still read: 3 is the same without move 4, 2 also without form 3 of inodes, 1 also
// without forms 3 and 4 of chunks.
const (
	checkpointMagic  = "DFSCHECK"
	checkpointFormat = 4
	checkpointHead   = 8 + 4 + 8 + 4
	blockHeader      = 1 + 4 + 4
	maxBlockPayload  = 1 << 20
	// blockTarget ends a block. The largest record, an answer with MaxAssign long
	// chains, still fits behind it.
	blockTarget = 1 << 18
)

const (
	sectionConfig uint8 = 1 + iota
	sectionNodes
	sectionInodes
	sectionFreeInodes
	sectionSymlinks
	sectionXattrs
	sectionEntries
	sectionChunks
	sectionFreeChunks
	sectionSessions
	sectionMoves
	sectionEnd uint8 = 255
)

const (
	formFree = iota
	formInode
	formInodeTimes // with four times
	formInodeFar   // with four far times
)

const (
	formAssigned = 1 + iota
	formCommitted
	formShared
	formReference
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Snapshot is the state at one moment. It shares pages with the state it was taken
// from; one goroutine uses it, beside Apply.
type Snapshot struct {
	tables
	sum uint64
}

// Snapshot freezes the state as it is, in time proportional to the number of pages.
// The caller holds off Apply meanwhile.
func (s *State) Snapshot() *Snapshot { return &Snapshot{tables: s.freeze()} }

// Release lets go of the pages; it may be called more than once.
func (sn *Snapshot) Release() { sn.thaw() }

// WriteTo writes the checkpoint and lets go of pages as soon as they are written: it
// can be called once. It writes in pieces of about 256 KiB.
func (sn *Snapshot) WriteTo(w io.Writer) (int64, error) {
	cw := &checkpointWriter{w: w}
	cw.header(&sn.tables)
	cw.names(&sn.tables)
	sn.inodes.thaw()
	sn.colds.thaw()
	sn.dirs.thaw()
	sn.owners.thaw()
	cw.contents(&sn.tables)
	sn.thaw()
	sn.sum = cw.end()
	return cw.written, cw.err
}

// Hash is that of the state, once WriteTo has written it (L6).
func (sn *Snapshot) Hash() uint64 { return sn.sum }

// Hash is a hash of the logical state: equal after the same commands. It takes
// as long as writing a checkpoint.
func (s *State) Hash() uint64 {
	cw := &checkpointWriter{w: io.Discard}
	cw.names(&s.tables)
	cw.contents(&s.tables)
	return cw.end()
}

// checkpointWriter gathers records into blocks.
type checkpointWriter struct {
	w       io.Writer
	put     // the payload of the block being gathered
	section uint8
	digest  xxhash.Digest
	written int64
	err     error // the first; nothing is written after it
}

func (w *checkpointWriter) header(t *tables) {
	var p put
	p = append(p, checkpointMagic...)
	p.u32(checkpointFormat)
	p.u64(t.applied)
	p.u32(crc32.Checksum(p, castagnoli))
	w.write(p)
}

func (w *checkpointWriter) write(b []byte) {
	if w.err != nil {
		return
	}
	n, err := w.w.Write(b)
	w.written += int64(n)
	w.err = err
}

// begin starts a section.
func (w *checkpointWriter) begin(section uint8) {
	w.flush()
	if section == sectionConfig {
		w.digest.Reset()
	}
	w.section = section
}

// next ends a record.
func (w *checkpointWriter) next() {
	if len(w.put) >= blockTarget {
		w.flush()
	}
}

// flush writes the block, if there is one.
func (w *checkpointWriter) flush() {
	if len(w.put) == 0 {
		return
	}
	if w.section != sectionEnd {
		_, _ = w.digest.Write(w.put)
	}
	head := make([]byte, blockHeader)
	head[0] = w.section
	binary.LittleEndian.PutUint32(head[1:], uint32(len(w.put)))
	crc := crc32.Update(crc32.Checksum(head[:5], castagnoli), castagnoli, w.put)
	binary.LittleEndian.PutUint32(head[5:], crc)
	w.write(head)
	w.write(w.put)
	w.put = w.put[:0]
	runtime.Gosched() // a command that waits for a processor goes first (L16)
}

// end writes the last section and gives the hash.
func (w *checkpointWriter) end() uint64 {
	w.begin(sectionEnd)
	hash := w.digest.Sum64()
	w.u64(hash)
	w.flush()
	return hash
}

// name appends a length of one byte and the bytes.
func (w *checkpointWriter) name(b []byte) {
	w.u8(uint8(len(b)))
	w.put = append(w.put, b...)
}

// names writes the sections up to the entries, which need inodes and directories.
func (w *checkpointWriter) names(t *tables) {
	w.config(t)
	w.nodes(t)
	w.inodes(t)
	w.freeInodes(t)
	w.symlinks(t)
	w.xattrs(t)
	w.entries(t)
}

// contents writes the sections that do without inodes.
func (w *checkpointWriter) contents(t *tables) {
	w.chunks(t)
	w.freeChunks(t)
	w.sessions(t)
	w.moves(t)
}

func (w *checkpointWriter) moves(t *tables) {
	w.begin(sectionMoves)
	move := func(node uint32, m Move, until int64) {
		w.u32(node)
		w.u8(uint8(m))
		w.u64(uint64(until))
		w.next()
	}
	if t.rebalancing {
		move(0, Rebalance, 0)
	}
	for i := uint32(1); i < t.nodes.length; i++ {
		n := t.nodes.get(i)
		if n.leaving {
			move(i, Decommission, 0)
		}
		if n.away != 0 {
			move(i, Maintenance, n.away)
		}
		if n.incarnation != 0 {
			move(i, started, int64(n.incarnation))
		}
	}
}

func (w *checkpointWriter) config(t *tables) {
	w.begin(sectionConfig)
	w.uuid([16]byte(t.config.Cluster))
	w.u64(t.config.ChunkSize)
	w.u32(t.config.Replicas)
	w.u32(t.config.MinReplicas)
	w.u64(t.config.Seed)
	w.u64(uint64(t.config.Epoch))
	w.u64(uint64(t.lastSession))
}

func (w *checkpointWriter) nodes(t *tables) {
	w.begin(sectionNodes)
	for i := uint32(1); i < t.nodes.length; i++ {
		n := t.nodes.get(i)
		w.uuid(n.instance)
		w.blob(t, n.address)
		w.next()
	}
}

// blob appends the content of a blob as bytes.
func (w *checkpointWriter) blob(t *tables, r ref) {
	w.u32(uint32(t.arena.blobLen(r)))
	w.put = t.arena.blob(w.put, r)
}

func (w *checkpointWriter) inodes(t *tables) {
	w.begin(sectionInodes)
	for i := uint32(1); i < t.inodes.length; i++ {
		n := t.inodes.get(i)
		if n.mode == 0 {
			w.u8(formFree)
			w.u32(n.generation)
		} else {
			w.inode(t, i, n)
		}
		w.next()
	}
}

func (w *checkpointWriter) inode(t *tables, slot uint32, n *inode) {
	form, rdev, owner := t.timesForm(slot), uint32(0), t.owner(n)
	if n.kind() == typeChar || n.kind() == typeBlock {
		rdev = n.content
	}
	w.u8(form)
	w.u32(n.generation)
	w.u16(n.mode)
	if n.nlink == unnamed {
		w.u32(unnamed)
	} else {
		w.u32(t.nlink(slot))
	}
	w.u32(owner.uid)
	w.u32(owner.gid)
	w.u32(rdev)
	w.u64(t.size(n))
	if form == formInodeFar {
		w.u64(0)
		w.u64(0)
	} else {
		w.u64(uint64(n.mtime))
		w.u64(uint64(n.btime))
	}
	w.u64(t.change(slot))
	switch form {
	case formInodeTimes:
		c := t.colds.get(n.cold)
		w.u64(uint64(c.atime))
		w.u64(uint64(c.ctime))
	case formInodeFar:
		v := t.times(slot)
		w.time(v.atime)
		w.time(v.mtime)
		w.time(v.ctime)
		w.time(v.btime)
	}
}

// timesForm is the form of a live inode's record.
func (t *tables) timesForm(slot uint32) uint8 {
	n := t.inodes.get(slot)
	if n.cold == 0 {
		return formInode
	}
	switch c := t.colds.get(n.cold); {
	case c.atime.far():
		return formInodeFar
	case c.atime != n.btime || c.ctime != n.mtime:
		return formInodeTimes
	}
	return formInode
}

func (w *checkpointWriter) freeInodes(t *tables) {
	w.begin(sectionFreeInodes)
	for i := t.inodes.free; i != 0; i = *t.inodes.get(i).freeLink() {
		w.u32(i)
		w.next()
	}
}

func (w *checkpointWriter) symlinks(t *tables) {
	w.begin(sectionSymlinks)
	for i := uint32(1); i < t.inodes.length; i++ {
		if n := t.inodes.get(i); n.kind() == typeLink {
			w.u32(i)
			w.blob(t, n.content)
			w.next()
		}
	}
}

func (w *checkpointWriter) xattrs(t *tables) {
	w.begin(sectionXattrs)
	for i := uint32(1); i < t.inodes.length; i++ {
		if n := t.inodes.get(i); n.mode == 0 || n.cold == 0 {
			continue
		}
		for r := t.xattrs(i); r != 0; {
			x := t.arena.block(r)
			w.u32(i)
			w.name(xattrName(x))
			w.blob(t, xattrValue(x))
			w.next()
			r = xattrNext(x)
		}
	}
}

func (w *checkpointWriter) entries(t *tables) {
	w.begin(sectionEntries)
	for i := uint32(1); i < t.inodes.length; i++ {
		if !t.inodes.get(i).isDir() {
			continue
		}
		d := t.directory(i)
		if d.entries == 0 {
			continue
		}
		w.u32(i)
		w.u32(d.entries)
		w.next()
		t.entryTrie().walk(d.root, func(entry uint32) bool {
			e := t.arena.block(entry)
			w.u32(entryInode(e))
			w.u8(e[4])
			w.name(entryName(e))
			w.next()
			return true
		})
	}
}

func (w *checkpointWriter) chunks(t *tables) {
	w.begin(sectionChunks)
	var chain []proto.NodeID
	for i := uint32(1); i < t.chunks.length; i++ {
		c := t.chunks.get(i)
		switch {
		case !c.live():
			w.u8(formFree)
			w.u32(c.generation)
			w.next()
			continue
		case c.reference():
			w.reference(c)
			continue
		case c.shared():
			w.u8(formShared)
		case c.committed():
			w.u8(formCommitted)
		default:
			w.u8(formAssigned)
		}
		w.u32(c.generation)
		w.u32(c.version)
		if !c.shared() {
			w.u32(c.inode)
			w.u64(c.index())
		}
		chain = t.appendChain(chain[:0], c)
		put32s(&w.put, chain)
		w.next()
	}
}

func (w *checkpointWriter) reference(c *chunk) {
	w.u8(formReference)
	w.u32(c.generation)
	w.u32(c.inode)
	w.u64(c.index())
	w.u32(c.target())
	w.next()
}

func (w *checkpointWriter) freeChunks(t *tables) {
	w.begin(sectionFreeChunks)
	for i := t.chunks.free; i != 0; i = *t.chunks.get(i).freeLink() {
		w.u32(i)
		w.next()
	}
}

func (w *checkpointWriter) sessions(t *tables) {
	w.begin(sectionSessions)
	t.sessionTrie().walk(t.sessionRoot, func(i uint32) bool {
		s := t.sessions.get(i)
		w.u64(s.id)
		w.blob(t, s.client)
		w.u32(s.count)
		w.next()
		return t.slotTrie().walk(s.slots, func(slot uint32) bool {
			r := t.slots.get(slot)
			w.u32(r.number)
			w.u64(r.sequence)
			w.blob(t, r.answer)
			w.next()
			return true
		})
	})
}
