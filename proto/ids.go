package proto

import (
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/google/uuid"
)

// BlockSize is the unit of checksums in bytes, on disk and on the wire.
const BlockSize = 4096

// MaxName is the longest name of a directory entry in bytes (NAME_MAX).
const MaxName = 255

// MaxSymlink is the longest target of a symlink in bytes (PATH_MAX less the NUL).
const MaxSymlink = 4095

// Chunk sizes are powers of two within these bounds, in bytes.
const (
	MinChunkSize     = 1 << 20
	MaxChunkSize     = 1 << 30
	DefaultChunkSize = 64 << 20
)

// InodeID names an inode for ever: the low 32 bits are its slot in the master's
// inode table, the high 32 bits the generation of that slot. An id is never used
// again, so a stale one is recognised and answered with Stale.
type InodeID uint64

// RootInode is the directory "/". It equals FUSE_ROOT_ID, so a mount needs no translation.
const RootInode InodeID = 1

// ChunkID names a chunk for ever, built like InodeID. Zero is no chunk: a hole.
type ChunkID uint64

// MakeID builds the number of an InodeID or ChunkID from slot and generation.
func MakeID(slot, generation uint32) uint64 { return uint64(generation)<<32 | uint64(slot) }

// Slot is the index in the master's inode table.
func (id InodeID) Slot() uint32 { return uint32(id) }

// Generation tells apart the inodes that have lived in one slot.
func (id InodeID) Generation() uint32 { return uint32(id >> 32) }

// Slot is the index in the master's chunk table.
func (id ChunkID) Slot() uint32 { return uint32(id) }

// Generation tells apart the chunks that have lived in one slot.
func (id ChunkID) Generation() uint32 { return uint32(id >> 32) }

func (id InodeID) String() string { return strconv.FormatUint(uint64(id), 10) }
func (id ChunkID) String() string { return fmt.Sprintf("%016x", uint64(id)) }

// Version of a chunk's chain. The first is 1. It is a number of two parts: its low bits
// count the changes of the chain; its high bits are its age, which is raised together with the
// count when the bytes that stand may lack some that were acknowledged at lower ages
// and not yet synced. So a client that holds no such bytes need not care, and the
// other one knows (L9).
type Version uint64

// ageShift is where the age begins. In 32 bits there is room for a million changes
// of a chain, and for 4095 losses.
const ageShift = 20

// Age counts the losses of acknowledged, unsynced bytes that are possible.
func (v Version) Age() uint64 { return uint64(v) >> ageShift }

// Next is the version after a change that loses nothing.
func (v Version) Next() Version { return v + 1 }

// NextAge is the version after a change that may lose bytes which were not synced.
func (v Version) NextAge() Version { return v + 1 + 1<<ageShift }

// Precedes tells whether w came right after v.
func (v Version) Precedes(w Version) bool { return w == v.Next() || w == v.NextAge() }

// NodeID names a chunkserver in its cluster. Zero is none.
type NodeID uint32

// SessionID names a client's session. Zero is none.
type SessionID uint64

// Epoch counts the starts of masters of one cluster.
type Epoch uint64

// ClusterID names a cluster. The zero value is no cluster.
type ClusterID uuid.UUID

// ParseClusterID reads the textual form of a UUID; the empty string is no cluster.
func ParseClusterID(s string) (ClusterID, error) {
	if s == "" {
		return ClusterID{}, nil
	}
	id, err := uuid.Parse(s)
	if err != nil {
		return ClusterID{}, &Error{Kind: Invalid, Op: "parse cluster id", Subject: s, Err: err}
	}
	return ClusterID(id), nil
}

func (id ClusterID) String() string {
	if id == (ClusterID{}) {
		return ""
	}
	return uuid.UUID(id).String()
}

// ChunkUUID is the name of a chunk outside its cluster, on disk and on the wire:
// the first 8 bytes of the cluster's id, then the chunk's id, big endian.
func (id ClusterID) ChunkUUID(chunk ChunkID) uuid.UUID {
	var u uuid.UUID
	copy(u[:8], id[:8])
	binary.BigEndian.PutUint64(u[8:], uint64(chunk))
	return u
}

// ChunkOf is the inverse of ChunkUUID; ok is false for a chunk of another cluster.
func (id ClusterID) ChunkOf(u uuid.UUID) (chunk ChunkID, ok bool) {
	if string(u[:8]) != string(id[:8]) {
		return 0, false
	}
	return ChunkID(binary.BigEndian.Uint64(u[8:])), true
}
