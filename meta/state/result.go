package state

import (
	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
)

// Result is the answer to a command. Which fields are filled depends on the command;
// Kind is OK when it was carried out.
type Result struct {
	Kind     proto.Kind
	Attr     Attr            // of the inode made, linked or changed
	Inode    proto.InodeID   // made, linked, unlinked, moved or changed
	Replaced proto.InodeID   // Rename: what lost the new name; with Exchange what moved the other way; 0: none
	Nlink    uint32          // Unlink: names left. Rename: names that Replaced has left
	Session  proto.SessionID // OpenSession
	Node     proto.NodeID    // RegisterNode
	Chunks   []Chunk         // assigned (or found assigned), or as SetChain left it
	Inodes   []proto.InodeID // reserved. Not kept for a repeated request
	Freed    []Chunk         // lost their file: replicas are to be deleted. Not kept for a repeated request
	Repeated bool            // answered from the slot: nothing was changed
}

// Attr is what stat(2) tells.
type Attr struct {
	Inode                      proto.InodeID
	Mode                       uint32 // type and permission bits
	Nlink                      uint32
	UID, GID                   uint32
	Rdev                       uint32
	Size                       uint64 // bytes
	Blocks                     uint64 // 512-byte units
	Atime, Mtime, Ctime, Btime Time
	Change                     uint64 // raised by every change of the inode
	Plain                      bool   // no extended attributes; false, as a slot recalls it: perhaps some
}

// Chunk is a chunk as the log knows it: who may be trusted at which version.
type Chunk struct {
	ID        proto.ChunkID
	Version   proto.Version
	Index     uint64         // in its file
	Inode     proto.InodeID  // 0, as is Index: a shared chunk that was not found by its file
	Committed bool           // false: assigned
	Chain     []proto.NodeID // in write order, head first

	// References is in how many places a shared chunk stands, and 0 of any other. The
	// bytes of a chunk that has ever been shared do not change any more. Not kept for a
	// repeated request.
	References uint32
}

// Shared tells whether the chunk may not be written to.
func (c *Chunk) Shared() bool { return c.References > 0 }

// DirEntry is an entry of a directory. Name is valid until the callback returns.
type DirEntry struct {
	Name   []byte
	Inode  proto.InodeID
	Type   uint32 // S_IFMT bits of the mode
	Cookie uint64 // 3 <= cookie < 2^63
}

// Fate is what became of a chunk id.
type Fate uint8

// The fates. A replica of a chunk that was never issued is never deleted (L1, L2).
const (
	NeverIssued Fate = iota
	Live
	Freed
)

// Config is what Init and BeginEpoch said. The zero value is an empty state's.
type Config struct {
	Cluster     proto.ClusterID
	ChunkSize   uint64 // bytes
	Replicas    uint32
	MinReplicas uint32
	Seed        uint64
	Epoch       proto.Epoch
}

// LastChunk is the largest index of a chunk that a file can have.
func (c Config) LastChunk() uint64 { return MaxFileSize / c.ChunkSize }

// SessionInfo is a session in a listing.
type SessionInfo struct {
	ID     proto.SessionID
	Client string
	Slots  uint32 // in use
}

// NodeInfo is a chunkserver in a listing.
type NodeInfo struct {
	ID       proto.NodeID
	Instance uuid.UUID
	Address  string

	Incarnation uint64 // of the start that registered last; 0: not known

	Decommissioned bool // it is to give up all it has
	Maintenance    Time // until then it may be away; zero: it may not
}

// Stats counts what there is.
type Stats struct {
	Files       uint64
	Directories uint64
	Others      uint64 // symlinks, devices, FIFOs, sockets
	Orphans     uint64 // of all of these
	Bytes       uint64 // sum of the files' sizes
	Chunks      uint64
	Assigned    uint64 // of the chunks: not committed
	References  uint64 // places where shared chunks stand
	Sessions    uint64
	Nodes       uint64
	Memory      Memory
}

// Memory is what the tables occupy in bytes (L16).
type Memory struct {
	Inodes      uint64
	Directories uint64
	Chunks      uint64
	FileMaps    uint64
	Sessions    uint64
	Nodes       uint64
	Arena       uint64
}
