package state

import (
	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
)

// Op is the operation code of a command: the first byte of its log record. The
// numbers are part of the log's format and never change.
type Op uint8

// The operation codes.
const (
	OpInit Op = 1 + iota
	OpBeginEpoch
	OpOpenSession
	OpEndSession
	OpRegisterNode
	OpMake
	OpLink
	OpUnlink
	OpRename
	OpSetAttr
	OpSetXattr
	OpRemoveXattr
	OpAssignChunks
	OpCommit
	OpSetChain
	OpReap
	OpDropAssigned
	OpMakeMasked // a Make with a umask
	OpFallocate
	OpMakeUnnamed
	OpAccess
	OpCopyChunks
	OpTakeClone
	OpOperate
	OpReserve
	OpMakeReserved
	opEnd
)

// Limits of what a command may ask for. Apply answers Invalid, TooBig or the errno
// that POSIX has for it when one is passed.
const (
	MaxSlots      = 1024      // slots of a session
	MaxChain      = 16        // replicas of a chunk
	MaxAssign     = 1024      // chunks of one AssignChunks
	MaxNodes      = 1<<16 - 1 // chunkservers ever registered
	MaxSessions   = 1 << 16   // at a time
	MaxLinks      = 65000     // names of a file
	MaxXattrName  = 255       // bytes
	MaxXattrValue = 1 << 16   // bytes
	MaxXattrList  = 1 << 16   // bytes of all names of an inode, each with a NUL
	MaxAddress    = 512       // bytes of a node's address and of a client's name
	MaxFileSize   = 1<<63 - 1
)

// Command is a change of the state. Pointers to the structs below implement it.
type Command interface {
	Op() Op
	// Encode appends the payload to dst. It does not contain the operation code.
	Encode(dst []byte) []byte
}

// Time is a point in time as in struct timespec: 0 <= Nsec < 1e9. The state keeps
// -2^31 <= Sec < 2^34-2^31 (years 1901 to 2446) and takes the nearest for anything beyond.
type Time struct {
	Sec  int64
	Nsec uint32
}

// Cred says who asks. UID 0 may do everything.
type Cred struct {
	UID, GID uint32
	Groups   []uint32 // supplementary
}

// Origin names the request of a client that a command stems from. Sequence 0 is a
// command of the master's own, which no slot remembers.
type Origin struct {
	Session  proto.SessionID
	Slot     uint32 // below MaxSlots
	Sequence uint64 // grows in each slot
}

// StreamSlot is a slot of a session like no other: its commands are carried out in the
// order of their sequences, 1, 2, 3, ..., without a gap. One that fails leaves a gap, so
// that none behind it is carried out. One that was carried out before answers Repeated.
const StreamSlot = MaxSlots - 1

// Header opens the commands of clients.
type Header struct {
	Origin
	Cred Cred
	Now  Time // the master's clock; of StreamSlot: the client's reckoning of it
}

// Init makes an empty state a filesystem with an empty root directory.
type Init struct {
	Cluster     proto.ClusterID
	ChunkSize   uint64 // bytes; a power of two in [proto.MinChunkSize, proto.MaxChunkSize]
	Replicas    uint32 // of a chunk: 1 to MaxChain
	MinReplicas uint32 // 1 to Replicas
	Seed        uint64 // of the hash of names; random, secret from users
	Now         Time
}

// BeginEpoch is the first command of a master that starts. Epochs only grow.
type BeginEpoch struct{ Epoch proto.Epoch }

// OpenSession answers with Result.Session.
type OpenSession struct {
	Client string // for people; at most MaxAddress bytes
	Now    Time
}

// EndSession forgets a session and its slots.
type EndSession struct {
	Session proto.SessionID
	Now     Time
}

// RegisterNode answers with Result.Node: the id that Instance has for ever. Address and
// incarnation replace those before.
type RegisterNode struct {
	Instance    uuid.UUID
	Address     string // host:port; at most MaxAddress bytes
	Incarnation uint64 // of the chunkserver's present start; only grows (L3), else OldEpoch
}

// Make creates a file, directory, symlink, device, FIFO or socket.
type Make struct {
	Header
	Parent proto.InodeID
	Name   []byte
	Mode   uint32         // type and permission bits; no type: a regular file
	Umask  uint32         // taken off the mode, unless the parent has a default ACL
	Rdev   uint32         // of devices
	Target []byte         // of symlinks
	Chain  []proto.NodeID // not empty: assign chunk 0 of a regular file
}

// Link gives an inode that is no directory another name.
type Link struct {
	Header
	Inode, Parent proto.InodeID
	Name          []byte
}

// Unlink takes a name away; the inode that loses its last one becomes an orphan.
type Unlink struct {
	Header
	Parent proto.InodeID
	Name   []byte
	Dir    bool // rmdir
}

// Rename moves a name. Exchange swaps two; NoReplace fails when the new one exists.
type Rename struct {
	Header
	Parent              proto.InodeID
	Name                []byte
	NewParent           proto.InodeID
	NewName             []byte
	NoReplace, Exchange bool
}

// AttrMask says which attributes SetAttr changes.
type AttrMask uint32

// The attributes. Times come from the field of that name or, with ...Now, from
// Header.Now: the latter needs less permission, as utimensat(2) says.
const (
	SetMode AttrMask = 1 << iota
	SetUID
	SetGID
	SetSize
	SetAtime
	SetMtime
	SetAtimeNow
	SetMtimeNow
	// SetOpened says that the caller holds the file open for writing, so that
	// SetSize needs no permission any more (ftruncate, O_TRUNC of a new file).
	SetOpened
	// DropSetIDs and DropCapability take away what a file may lose because it is
	// written to: the set-id bits, and the attribute security.capability. A change of
	// owner and one of size do both by themselves, the latter the first only unless root
	// makes it.
	DropSetIDs
	DropCapability
	attrMaskEnd
)

// SetAttr changes attributes as chmod, chown, truncate and utimensat do.
type SetAttr struct {
	Header
	Inode          proto.InodeID
	Set            AttrMask
	Mode, UID, GID uint32
	Size           uint64 // bytes; chunks wholly beyond it are freed
	Atime, Mtime   Time
}

// SetXattr sets an extended attribute.
type SetXattr struct {
	Header
	Inode       proto.InodeID
	Name, Value []byte
	Create      bool // fail with Exists if it is there
	Replace     bool // fail with NoAttr if it is not
}

// RemoveXattr removes an extended attribute.
type RemoveXattr struct {
	Header
	Inode proto.InodeID
	Name  []byte
}

// AssignChunks attaches new chunks at the indexes First, First+1, ... of a regular
// file. An index that has a chunk keeps it, so assigning twice is safe. Where a shared
// chunk stands it goes on standing, and the chunk assigned is to become its clone.
// Result.Chunks has one chunk for each chain, in order.
type AssignChunks struct {
	Header
	Inode  proto.InodeID
	First  uint64
	Chains [][]proto.NodeID // 1 to MaxAssign
}

// Commit makes written data part of the file: its chunks become committed and its
// size grows to at least Size. It fails with NotFound, and changes nothing, when one of
// the chunks is not (any more) the file's: a truncation came between.
type Commit struct {
	Header
	Inode  proto.InodeID
	Size   uint64 // bytes; a commit never shrinks a file
	Chunks []proto.ChunkID
	Mtime  Time // of the last write
}

// SetChain is a compare-and-set of a chunk's version and chain (L3). It fails with
// WrongVersion, and Result.Chunks says what stands, unless the version is From.
type SetChain struct {
	Chunk    proto.ChunkID
	From, To proto.Version  // From < To < 2^32
	Chain    []proto.NodeID // at least MinReplicas (L4)
}

// Reap frees orphans and their chunks. Inodes that are no orphans are passed over.
type Reap struct{ Inodes []proto.InodeID }

// DropAssigned frees chunks of a file that were assigned and never committed. Others
// are passed over.
type DropAssigned struct {
	Inode  proto.InodeID
	Chunks []proto.ChunkID
}

// Fallocate changes what space a regular file has, as fallocate(2) does: committed
// chunks that lie wholly within a range are taken from the file, which reads zero
// there from then on, and the size grows. The caller has made the parts of chunks at
// both ends of the range zero, and what a greater size brings to light.
type Fallocate struct {
	Header
	Inode          proto.InodeID
	Offset, Length uint64 // bytes of the hole; Length 0: none
	Tail           bool   // the chunk that the file ends in may go if the hole reaches from its start to the end of the file
	Size           uint64 // bytes; the size grows to at least this, and never shrinks
}

// MakeUnnamed makes a regular file that has no name, as O_TMPFILE does: an orphan
// that, unlike others, Link may give one.
type MakeUnnamed struct {
	Header
	Parent proto.InodeID  // a directory that the caller may make names in
	Mode   uint32         // permission bits
	Umask  uint32         // taken off the mode, unless the directory has a default ACL
	Chain  []proto.NodeID // not empty: assign chunk 0
}

// Access moves access times forward, and changes nothing else: no ctime, no change
// counter. Inodes that are gone are passed over.
type Access struct{ Reads []Read }

// Read is when an inode was last read.
type Read struct {
	Inode proto.InodeID
	At    Time
}

// CopyChunks makes chunks of one file stand in another, or elsewhere in the same, too:
// whole ones, without a byte being copied. From then on they are shared and nobody
// writes to them. What stood in those places of To is freed, holes are copied as holes,
// and the size of To grows to at least Size. The caller has made sure that nobody
// writes to the chunks of From any more, nor will without asking where to, and has made
// zero what a greater size brings to light.
//
// Bytes that From has not are never brought to light: the last chunk may be one that
// From ends in only if To ends there as well, or before. Busy: that is not so (any
// more), or From has changed. Invalid: no chunks, too many, or overlapping ranges of one
// file.
type CopyChunks struct {
	Header
	From, To           proto.InodeID
	FromIndex, ToIndex uint64
	Count              uint64 // indexes, 1 to MaxAssign
	Size               uint64 // bytes
	FromChange         uint64 // Attr.Change that From must have
}

// TakeClone puts a clone into the place of the shared chunk that it was made of. The
// clone is what AssignChunks gives for a place of a shared chunk, and its replicas hold
// the same bytes. NotFound: it is not (any more) the clone of what stands there.
type TakeClone struct{ Clone proto.ChunkID }

// Operate begins or ends what an operator wants of a chunkserver, or of the cluster. To
// begin what has begun, or end what has not, is no error. It fails with NotFound, or
// Invalid.
type Operate struct {
	Node  proto.NodeID // 0 with Rebalance
	Move  Move
	On    bool
	Until Time // of Maintenance: when it ends by itself
}

// Move is what an operator wants.
type Move uint8

// The moves.
const (
	Decommission Move = 1 + iota // the chunkserver is to give up all it has
	Maintenance                  // the chunkserver will be away for a while, and nothing of it is to be replaced
	Rebalance                    // chunks are to move to where there is more room

	started // in checkpoints alone: the incarnation that registered last
)

// Reserve makes inodes that are to become what a client makes without waiting: empty
// files that nobody owns and that have no name, like those of MakeUnnamed. Result.Inodes
// are their ids, Result.Chunks the chunks of those that got one.
type Reserve struct {
	Header
	Chains [][]proto.NodeID // one for each inode, 1 to MaxAssign; not empty: assign chunk 0
}

// MakeReserved is a Make of an inode that was reserved, and is as it was then: otherwise
// it fails with Stale. Chain is empty: a file has the chunk that was reserved with it, and
// anything else is made of an inode without one.
type MakeReserved struct {
	Make
	Inode proto.InodeID
}

// Which operation code each command has.

func (*Init) Op() Op         { return OpInit }
func (*BeginEpoch) Op() Op   { return OpBeginEpoch }
func (*OpenSession) Op() Op  { return OpOpenSession }
func (*EndSession) Op() Op   { return OpEndSession }
func (*RegisterNode) Op() Op { return OpRegisterNode }
func (*Link) Op() Op         { return OpLink }
func (*Unlink) Op() Op       { return OpUnlink }
func (*Rename) Op() Op       { return OpRename }
func (*SetAttr) Op() Op      { return OpSetAttr }
func (*SetXattr) Op() Op     { return OpSetXattr }
func (*RemoveXattr) Op() Op  { return OpRemoveXattr }
func (*AssignChunks) Op() Op { return OpAssignChunks }
func (*Commit) Op() Op       { return OpCommit }
func (*SetChain) Op() Op     { return OpSetChain }
func (*Reap) Op() Op         { return OpReap }
func (*DropAssigned) Op() Op { return OpDropAssigned }
func (*Fallocate) Op() Op    { return OpFallocate }
func (*MakeUnnamed) Op() Op  { return OpMakeUnnamed }
func (*Access) Op() Op       { return OpAccess }
func (*CopyChunks) Op() Op   { return OpCopyChunks }
func (*Operate) Op() Op      { return OpOperate }
func (*TakeClone) Op() Op    { return OpTakeClone }
func (*Reserve) Op() Op      { return OpReserve }

// Op is OpMakeReserved.
func (*MakeReserved) Op() Op { return OpMakeReserved }

// Op is OpMake, as it was before there was a umask, or OpMakeMasked.
func (c *Make) Op() Op {
	if c.Umask != 0 {
		return OpMakeMasked
	}
	return OpMake
}
