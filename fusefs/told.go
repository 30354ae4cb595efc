package fusefs

import (
	"sync/atomic"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/proto"
)

// toldSlots is a power of two: how many inodes are remembered, in 512 KiB.
const toldSlots = 1 << 16

// toldTable remembers, as fingerprints, which state of an inode the kernel was
// last told. Two inodes may share a slot: the kernel is then made to ask once
// more than needed, and never once too little.
type toldTable struct {
	slots [toldSlots]atomic.Uint64
}

func (t *toldTable) set(attr *client.Attr) {
	t.slot(attr.Inode).Store(fingerprint(attr))
}

func (t *toldTable) is(attr *client.Attr) bool {
	return t.slot(attr.Inode).Load() == fingerprint(attr)
}

// slot follows the inode's slot at the master: those are handed out in sequence.
func (t *toldTable) slot(ino proto.InodeID) *atomic.Uint64 {
	return &t.slots[ino.Slot()%toldSlots]
}

// fingerprint mixes inode and change counter (the finaliser of SplitMix64).
func fingerprint(attr *client.Attr) uint64 {
	x := uint64(attr.Inode)*0x9e3779b97f4a7c15 + attr.Change
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
