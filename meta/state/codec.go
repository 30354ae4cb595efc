package state

import (
	"encoding/binary"
	"math"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
)

// The payload of a command, as it stands in the log. Integers are little-endian;
// nothing is padded. The operation code, length, index and checksum are the log's.
//
//	u8 u16 u32 u64 i64   integers of so many bits
//	flag                 u8: 0 or 1
//	bytes                u32 length, then so many bytes
//	uuid                 16 bytes
//	time                 i64 seconds, u32 nanoseconds (below 1e9)
//	list of x            u32 count, then so many x
//	header               u64 session, u32 slot, u64 sequence, u32 uid, u32 gid,
//	                     list of u32 (groups), time (now)
//
//	 1 Init          uuid cluster, u64 chunk size, u32 replicas, u32 min-replicas, u64 seed, time
//	 2 BeginEpoch    u64 epoch
//	 3 OpenSession   bytes client, time
//	 4 EndSession    u64 session, time
//	 5 RegisterNode  uuid instance, bytes address, u64 incarnation
//	 6 Make          header, u64 parent, bytes name, u32 mode, u32 rdev, bytes target, list of u32 (chain)
//	 7 Link          header, u64 inode, u64 parent, bytes name
//	 8 Unlink        header, u64 parent, bytes name, flag dir
//	 9 Rename        header, u64 parent, bytes name, u64 new parent, bytes new name, flag no-replace, flag exchange
//	10 SetAttr       header, u64 inode, u32 set, u32 mode, u32 uid, u32 gid, u64 size, time atime, time mtime
//	11 SetXattr      header, u64 inode, bytes name, bytes value, flag create, flag replace
//	12 RemoveXattr   header, u64 inode, bytes name
//	13 AssignChunks  header, u64 inode, u64 first, list of list of u32 (chains)
//	14 Commit        header, u64 inode, u64 size, list of u64 (chunks), time mtime
//	15 SetChain      u64 chunk, u64 from, u64 to, list of u32 (chain)
//	16 Reap          list of u64 (inodes)
//	17 DropAssigned  u64 inode, list of u64 (chunks)
//	18 MakeMasked    like Make, then u32 umask (not 0)
//	19 Fallocate     header, u64 inode, u64 offset, u64 length, flag tail, u64 size
//	20 MakeUnnamed   header, u64 parent, u32 mode, u32 umask, list of u32 (chain)
//	21 Access        list of (u64 inode, time)
//	22 CopyChunks    header, u64 from, u64 to, u64 from index, u64 to index, u64 count, u64 size,
//	                 u64 change of from
//	23 TakeClone     u64 clone
//	24 Operate       u32 node, u8 move, flag on, time until
//	25 Reserve       header, list of list of u32 (chains)
//	26 MakeReserved  like Make, then u32 umask, u64 inode
//
// An answer that a session's slot keeps:
//
//	u32 kind, u64 inode, u64 replaced, u32 nlink, flag, if 1 attr, list of chunk
//	attr   u64 inode, u32 mode, u32 nlink, u32 uid, u32 gid, u32 rdev, u64 size, u64 blocks,
//	       time atime, time mtime, time ctime, time btime, u64 change
//	chunk  u64 id, u64 version, u64 index, u64 inode, flag committed, list of u32 (chain)
//
// A command of a later version gets an operation code of its own.

// put appends the parts of a payload.
type put []byte

func (p *put) u8(v uint8)   { *p = append(*p, v) }
func (p *put) u16(v uint16) { *p = binary.LittleEndian.AppendUint16(*p, v) }
func (p *put) u32(v uint32) { *p = binary.LittleEndian.AppendUint32(*p, v) }
func (p *put) u64(v uint64) { *p = binary.LittleEndian.AppendUint64(*p, v) }

func (p *put) flag(v bool) {
	if v {
		p.u8(1)
	} else {
		p.u8(0)
	}
}

func (p *put) bytes(b []byte) {
	p.u32(uint32(len(b)))
	*p = append(*p, b...)
}

func (p *put) uuid(u uuid.UUID) { *p = append(*p, u[:]...) }

func (p *put) time(t Time) {
	p.u64(uint64(t.Sec))
	p.u32(t.Nsec)
}

func (p *put) header(h *Header) {
	p.u64(uint64(h.Session))
	p.u32(h.Slot)
	p.u64(h.Sequence)
	p.u32(h.Cred.UID)
	p.u32(h.Cred.GID)
	put32s(p, h.Cred.Groups)
	p.time(h.Now)
}

func (p *put) chains(list [][]proto.NodeID) {
	p.u32(uint32(len(list)))
	for _, chain := range list {
		put32s(p, chain)
	}
}

func put32s[T ~uint32](p *put, list []T) {
	p.u32(uint32(len(list)))
	for _, v := range list {
		p.u32(uint32(v))
	}
}

func put64s[T ~uint64](p *put, list []T) {
	p.u32(uint32(len(list)))
	for _, v := range list {
		p.u64(uint64(v))
	}
}

// take reads the parts of a payload. The first part that is not there makes it bad;
// from then on it gives zeros. Lists and bytes are never longer than what is left.
type take struct {
	rest []byte
	bad  bool
}

func (t *take) next(n int) []byte {
	if t.bad || n > len(t.rest) {
		t.bad = true
		return nil
	}
	b := t.rest[:n:n]
	t.rest = t.rest[n:]
	return b
}

func (t *take) u8() uint8 {
	if b := t.next(1); b != nil {
		return b[0]
	}
	return 0
}

func (t *take) u16() uint16 {
	if b := t.next(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (t *take) u32() uint32 {
	if b := t.next(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (t *take) u64() uint64 {
	if b := t.next(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (t *take) flag() bool {
	v := t.u8()
	t.bad = t.bad || v > 1
	return v == 1
}

// count reads the length of a list whose elements take at least so many bytes each.
func (t *take) count(each int) int {
	n := t.u32()
	if uint64(n)*uint64(each) > uint64(len(t.rest)) {
		t.bad = true
		return 0
	}
	return int(n)
}

// bytes gives a copy, nil for none.
func (t *take) bytes() []byte { return append([]byte(nil), t.next(t.count(1))...) }

func (t *take) uuid() (u uuid.UUID) {
	copy(u[:], t.next(len(u)))
	return u
}

func (t *take) time() Time {
	v := Time{Sec: int64(t.u64()), Nsec: t.u32()}
	t.bad = t.bad || v.Nsec > 999_999_999
	return v
}

func (t *take) header() (h Header) {
	h.Session = proto.SessionID(t.u64())
	h.Slot = t.u32()
	h.Sequence = t.u64()
	h.Cred.UID = t.u32()
	h.Cred.GID = t.u32()
	h.Cred.Groups = take32s[uint32](t)
	h.Now = t.time()
	return h
}

func take32s[T ~uint32](t *take) []T {
	n := t.count(4)
	if n == 0 {
		return nil
	}
	list := make([]T, n)
	for i := range list {
		list[i] = T(t.u32())
	}
	return list
}

func take64s[T ~uint64](t *take) []T {
	n := t.count(8)
	if n == 0 {
		return nil
	}
	list := make([]T, n)
	for i := range list {
		list[i] = T(t.u64())
	}
	return list
}

func (t *take) inode() proto.InodeID { return proto.InodeID(t.u64()) }

// Encode appends the payload to dst.
func (c *Init) Encode(dst []byte) []byte {
	p := (*put)(&dst)
	p.uuid(uuid.UUID(c.Cluster))
	p.u64(c.ChunkSize)
	p.u32(c.Replicas)
	p.u32(c.MinReplicas)
	p.u64(c.Seed)
	p.time(c.Now)
	return dst
}

// Encode appends the payload to dst.
func (c *BeginEpoch) Encode(dst []byte) []byte {
	return binary.LittleEndian.AppendUint64(dst, uint64(c.Epoch))
}

// Encode appends the payload to dst.
func (c *OpenSession) Encode(dst []byte) []byte {
	p := (*put)(&dst)
	p.bytes([]byte(c.Client))
	p.time(c.Now)
	return dst
}

// Encode appends the payload to dst.
func (c *EndSession) Encode(dst []byte) []byte {
	p := (*put)(&dst)
	p.u64(uint64(c.Session))
	p.time(c.Now)
	return dst
}

// Encode appends the payload to dst.
func (c *RegisterNode) Encode(dst []byte) []byte {
	p := (*put)(&dst)
	p.uuid(c.Instance)
	p.bytes([]byte(c.Address))
	p.u64(c.Incarnation)
	return dst
}

// Encode appends the payload to dst.
func (c *Make) Encode(dst []byte) []byte {
	p := (*put)(&dst)
	p.header(&c.Header)
	p.u64(uint64(c.Parent))
	p.bytes(c.Name)
	p.u32(c.Mode)
	p.u32(c.Rdev)
	p.bytes(c.Target)
	put32s(p, c.Chain)
	if c.Umask != 0 {
		p.u32(c.Umask)
	}
	return dst
}

// Encode appends the payload to dst.
func (c *MakeReserved) Encode(dst []byte) []byte {
	dst = c.Make.Encode(dst)
	p := (*put)(&dst)
	if c.Umask == 0 {
		p.u32(0)
	}
	p.u64(uint64(c.Inode))
	return dst
}

// Encode appends the payload to dst.
func (c *Link) Encode(dst []byte) []byte {
	p := (*put)(&dst)
	p.header(&c.Header)
	p.u64(uint64(c.Inode))
	p.u64(uint64(c.Parent))
	p.bytes(c.Name)
	return dst
}

// Encode appends the payload to dst.
func (c *Unlink) Encode(dst []byte) []byte {
	p := (*put)(&dst)
	p.header(&c.Header)
	p.u64(uint64(c.Parent))
	p.bytes(c.Name)
	p.flag(c.Dir)
	return dst
}

// Encode appends the payload to dst.
func (c *Rename) Encode(dst []byte) []byte {
	p := (*put)(&dst)
	p.header(&c.Header)
	p.u64(uint64(c.Parent))
	p.bytes(c.Name)
	p.u64(uint64(c.NewParent))
	p.bytes(c.NewName)
	p.flag(c.NoReplace)
	p.flag(c.Exchange)
	return dst
}

// Encode appends the payload to dst.
func (c *SetAttr) Encode(dst []byte) []byte {
	p := (*put)(&dst)
	p.header(&c.Header)
	p.u64(uint64(c.Inode))
	p.u32(uint32(c.Set))
	p.u32(c.Mode)
	p.u32(c.UID)
	p.u32(c.GID)
	p.u64(c.Size)
	p.time(c.Atime)
	p.time(c.Mtime)
	return dst
}

// Encode appends the payload to dst.
func (c *SetXattr) Encode(dst []byte) []byte {
	p := (*put)(&dst)
	p.header(&c.Header)
	p.u64(uint64(c.Inode))
	p.bytes(c.Name)
	p.bytes(c.Value)
	p.flag(c.Create)
	p.flag(c.Replace)
	return dst
}

// Encode appends the payload to dst.
func (c *RemoveXattr) Encode(dst []byte) []byte {
	p := (*put)(&dst)
	p.header(&c.Header)
	p.u64(uint64(c.Inode))
	p.bytes(c.Name)
	return dst
}

// Encode appends the payload to dst.
func (c *AssignChunks) Encode(dst []byte) []byte {
	p := (*put)(&dst)
	p.header(&c.Header)
	p.u64(uint64(c.Inode))
	p.u64(c.First)
	p.chains(c.Chains)
	return dst
}

// Encode appends the payload to dst.
func (c *Reserve) Encode(dst []byte) []byte {
	p := (*put)(&dst)
	p.header(&c.Header)
	p.chains(c.Chains)
	return dst
}

// Encode appends the payload to dst.
func (c *Commit) Encode(dst []byte) []byte {
	p := (*put)(&dst)
	p.header(&c.Header)
	p.u64(uint64(c.Inode))
	p.u64(c.Size)
	put64s(p, c.Chunks)
	p.time(c.Mtime)
	return dst
}

// Encode appends the payload to dst.
func (c *SetChain) Encode(dst []byte) []byte {
	p := (*put)(&dst)
	p.u64(uint64(c.Chunk))
	p.u64(uint64(c.From))
	p.u64(uint64(c.To))
	put32s(p, c.Chain)
	return dst
}

// Encode appends the payload to dst.
func (c *Reap) Encode(dst []byte) []byte {
	put64s((*put)(&dst), c.Inodes)
	return dst
}

// Encode appends the payload to dst.
func (c *DropAssigned) Encode(dst []byte) []byte {
	p := (*put)(&dst)
	p.u64(uint64(c.Inode))
	put64s(p, c.Chunks)
	return dst
}

// Encode appends the payload to dst.
func (c *Fallocate) Encode(dst []byte) []byte {
	p := (*put)(&dst)
	p.header(&c.Header)
	p.u64(uint64(c.Inode))
	p.u64(c.Offset)
	p.u64(c.Length)
	p.flag(c.Tail)
	p.u64(c.Size)
	return dst
}

// Encode appends the payload to dst.
func (c *MakeUnnamed) Encode(dst []byte) []byte {
	p := (*put)(&dst)
	p.header(&c.Header)
	p.u64(uint64(c.Parent))
	p.u32(c.Mode)
	p.u32(c.Umask)
	put32s(p, c.Chain)
	return dst
}

// Encode appends the payload to dst.
func (c *Access) Encode(dst []byte) []byte {
	p := (*put)(&dst)
	p.u32(uint32(len(c.Reads)))
	for _, read := range c.Reads {
		p.u64(uint64(read.Inode))
		p.time(read.At)
	}
	return dst
}

// Encode appends the payload to dst.
func (c *CopyChunks) Encode(dst []byte) []byte {
	p := (*put)(&dst)
	p.header(&c.Header)
	for _, v := range []uint64{uint64(c.From), uint64(c.To), c.FromIndex, c.ToIndex, c.Count, c.Size, c.FromChange} {
		p.u64(v)
	}
	return dst
}

// Encode appends the payload to dst.
func (c *TakeClone) Encode(dst []byte) []byte {
	return binary.LittleEndian.AppendUint64(dst, uint64(c.Clone))
}

// Encode appends the payload to dst.
func (c *Operate) Encode(dst []byte) []byte {
	p := (*put)(&dst)
	p.u32(uint32(c.Node))
	p.u8(uint8(c.Move))
	p.flag(c.On)
	p.time(c.Until)
	return dst
}

// Decode reads the payload of a log record back into a command. It keeps nothing of
// payload. Malformed: payload is not what Encode writes, to the last byte.
func Decode(op Op, payload []byte) (Command, error) {
	t := &take{rest: payload}
	c := decode(op, t)
	switch {
	case c == nil:
		return nil, proto.E(proto.Malformed, "decode", "command", "unknown operation code")
	case t.bad:
		return nil, proto.E(proto.Malformed, "decode", "command", "a field is cut short or out of range")
	case len(t.rest) > 0:
		return nil, proto.E(proto.Malformed, "decode", "command", "bytes left over")
	}
	return c, nil
}

func decode(op Op, t *take) Command {
	switch op {
	case OpInit:
		return &Init{
			Cluster: proto.ClusterID(t.uuid()), ChunkSize: t.u64(), Replicas: t.u32(), MinReplicas: t.u32(),
			Seed: t.u64(), Now: t.time(),
		}
	case OpBeginEpoch:
		return &BeginEpoch{Epoch: proto.Epoch(t.u64())}
	case OpOpenSession:
		return &OpenSession{Client: string(t.bytes()), Now: t.time()}
	case OpEndSession:
		return &EndSession{Session: proto.SessionID(t.u64()), Now: t.time()}
	case OpRegisterNode:
		return &RegisterNode{Instance: t.uuid(), Address: string(t.bytes()), Incarnation: t.u64()}
	case OpSetChain:
		return &SetChain{
			Chunk: proto.ChunkID(t.u64()), From: proto.Version(t.u64()), To: proto.Version(t.u64()),
			Chain: take32s[proto.NodeID](t),
		}
	case OpReap:
		return &Reap{Inodes: take64s[proto.InodeID](t)}
	case OpDropAssigned:
		return &DropAssigned{Inode: t.inode(), Chunks: take64s[proto.ChunkID](t)}
	case OpAccess:
		return &Access{Reads: t.reads()}
	case OpOperate:
		return &Operate{Node: proto.NodeID(t.u32()), Move: Move(t.u8()), On: t.flag(), Until: t.time()}
	case OpTakeClone:
		return &TakeClone{Clone: proto.ChunkID(t.u64())}
	}
	return decodeOfClient(op, t)
}

// decodeOfClient reads the commands that open with a header.
func decodeOfClient(op Op, t *take) Command {
	switch op {
	case OpMake:
		return t.make()
	case OpMakeMasked:
		c := t.make()
		c.Umask = t.u32()
		t.bad = t.bad || c.Umask == 0
		return c
	case OpMakeReserved:
		c := &MakeReserved{Make: *t.make()}
		c.Umask, c.Inode = t.u32(), t.inode()
		return c
	case OpReserve:
		return &Reserve{Header: t.header(), Chains: t.chains()}
	case OpLink:
		return &Link{Header: t.header(), Inode: t.inode(), Parent: t.inode(), Name: t.bytes()}
	case OpUnlink:
		return &Unlink{Header: t.header(), Parent: t.inode(), Name: t.bytes(), Dir: t.flag()}
	case OpRename:
		return &Rename{
			Header: t.header(), Parent: t.inode(), Name: t.bytes(), NewParent: t.inode(), NewName: t.bytes(),
			NoReplace: t.flag(), Exchange: t.flag(),
		}
	case OpSetAttr:
		return &SetAttr{
			Header: t.header(), Inode: t.inode(), Set: AttrMask(t.u32()), Mode: t.u32(), UID: t.u32(), GID: t.u32(),
			Size: t.u64(), Atime: t.time(), Mtime: t.time(),
		}
	case OpSetXattr:
		return &SetXattr{
			Header: t.header(), Inode: t.inode(), Name: t.bytes(), Value: t.bytes(),
			Create: t.flag(), Replace: t.flag(),
		}
	case OpRemoveXattr:
		return &RemoveXattr{Header: t.header(), Inode: t.inode(), Name: t.bytes()}
	case OpAssignChunks:
		return &AssignChunks{Header: t.header(), Inode: t.inode(), First: t.u64(), Chains: t.chains()}
	case OpCommit:
		return &Commit{
			Header: t.header(), Inode: t.inode(), Size: t.u64(), Chunks: take64s[proto.ChunkID](t), Mtime: t.time(),
		}
	case OpFallocate:
		return &Fallocate{
			Header: t.header(), Inode: t.inode(), Offset: t.u64(), Length: t.u64(), Tail: t.flag(), Size: t.u64(),
		}
	case OpCopyChunks:
		return &CopyChunks{
			Header: t.header(), From: t.inode(), To: t.inode(), FromIndex: t.u64(), ToIndex: t.u64(), Count: t.u64(), Size: t.u64(),
			FromChange: t.u64(),
		}
	case OpMakeUnnamed:
		return &MakeUnnamed{Header: t.header(), Parent: t.inode(), Mode: t.u32(), Umask: t.u32(), Chain: take32s[proto.NodeID](t)}
	}
	return nil
}

func (t *take) make() *Make {
	return &Make{
		Header: t.header(), Parent: t.inode(), Name: t.bytes(), Mode: t.u32(), Rdev: t.u32(),
		Target: t.bytes(), Chain: take32s[proto.NodeID](t),
	}
}

func (t *take) chains() [][]proto.NodeID {
	n := t.count(4)
	if n == 0 {
		return nil
	}
	if n > MaxAssign { // so many that the slices would outweigh the payload
		t.bad = true
		return nil
	}
	chains := make([][]proto.NodeID, n)
	for i := range chains {
		chains[i] = take32s[proto.NodeID](t)
	}
	return chains
}

func (t *take) reads() []Read {
	n := t.count(8 + 12)
	if n == 0 {
		return nil
	}
	reads := make([]Read, n)
	for i := range reads {
		reads[i] = Read{Inode: t.inode(), At: t.time()}
	}
	return reads
}

// encodeResult appends the part of an answer that a slot keeps.
func encodeResult(dst []byte, r *Result) []byte {
	p := (*put)(&dst)
	p.u32(uint32(r.Kind))
	p.u64(uint64(r.Inode))
	p.u64(uint64(r.Replaced))
	p.u32(r.Nlink)
	p.flag(r.Attr != Attr{})
	if a := &r.Attr; *a != (Attr{}) {
		p.u64(uint64(a.Inode))
		for _, v := range []uint32{a.Mode, a.Nlink, a.UID, a.GID, a.Rdev} {
			p.u32(v)
		}
		p.u64(a.Size)
		p.u64(a.Blocks)
		for _, v := range []Time{a.Atime, a.Mtime, a.Ctime, a.Btime} {
			p.time(v)
		}
		p.u64(a.Change)
	}
	p.u32(uint32(len(r.Chunks)))
	for i := range r.Chunks {
		c := &r.Chunks[i]
		p.u64(uint64(c.ID))
		p.u64(uint64(c.Version))
		p.u64(c.Index)
		p.u64(uint64(c.Inode))
		p.flag(c.Committed)
		put32s(p, c.Chain)
	}
	return dst
}

// decodeResult is the inverse of encodeResult; false: these are not its bytes.
func decodeResult(b []byte) (r Result, ok bool) {
	t := &take{rest: b}
	kind := t.u32()
	t.bad = t.bad || kind > math.MaxUint16
	r.Kind, r.Inode, r.Replaced, r.Nlink = proto.Kind(kind), t.inode(), t.inode(), t.u32()
	if t.flag() {
		r.Attr = Attr{
			Inode: t.inode(), Mode: t.u32(), Nlink: t.u32(), UID: t.u32(), GID: t.u32(), Rdev: t.u32(),
			Size: t.u64(), Blocks: t.u64(),
			Atime: t.time(), Mtime: t.time(), Ctime: t.time(), Btime: t.time(), Change: t.u64(),
		}
		t.bad = t.bad || r.Attr == Attr{}
	}
	const chunkBytes = 4*8 + 1 + 4
	if n := t.count(chunkBytes); n > 0 {
		r.Chunks = make([]Chunk, n)
		for i := range r.Chunks {
			r.Chunks[i] = Chunk{
				ID: proto.ChunkID(t.u64()), Version: proto.Version(t.u64()), Index: t.u64(), Inode: t.inode(),
				Committed: t.flag(), Chain: take32s[proto.NodeID](t),
			}
		}
	}
	return r, !t.bad && len(t.rest) == 0
}
