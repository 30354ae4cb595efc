package fusefs

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/proto"
	"golang.org/x/sys/unix"
)

// What the kernel does itself when a local file is written to or truncated is
// left to us by the capability HANDLE_KILLPRIV_V2: an unprivileged writer clears
// the set-id bits, and any writer drops the capabilities of an executable. In
// return it asks for security.capability not before every write, but before the
// first to each inode. What chown clears is the master's affair.

// capabilityXattr holds the capabilities of an executable.
const capabilityXattr = "security.capability"

// incapableSlots is a power of two: how many inodes an incapableTable remembers.
const incapableSlots = 1 << 12

// incapableTable remembers inodes that a moment ago had no capabilities: because
// they were made, or because somebody looked. Thus the kernel's question before
// the first write to a new file costs nothing. An inode is forgotten when another
// takes its slot.
type incapableTable struct {
	slots [incapableSlots]atomic.Pointer[incapableInode]
}

type incapableInode struct {
	ino   proto.InodeID
	until time.Time
}

func (t *incapableTable) slot(ino proto.InodeID) *atomic.Pointer[incapableInode] {
	return &t.slots[ino.Slot()%incapableSlots]
}

func (t *incapableTable) set(ino proto.InodeID, until time.Time) {
	t.slot(ino).Store(&incapableInode{ino, until})
}

func (t *incapableTable) clear(ino proto.InodeID) { t.slot(ino).Store(nil) }

func (t *incapableTable) has(ino proto.InodeID, now time.Time) bool {
	known := t.slot(ino).Load()
	return known != nil && known.ino == ino && now.Before(known.until)
}

// getXattr reads an extended attribute. That a file has no capabilities it may
// know without asking.
func (s *fileSystem) getXattr(ctx context.Context, cred client.Cred, ino proto.InodeID, name string) ([]byte, error) {
	if name != capabilityXattr {
		return s.backend.GetXattr(ctx, cred, ino, name)
	}
	now := s.now()
	if s.incapable.has(ino, now) {
		return nil, proto.NoAttr
	}
	value, err := s.backend.GetXattr(ctx, cred, ino, name)
	if errors.Is(err, proto.NoAttr) {
		s.incapable.set(ino, now.Add(s.backend.CacheTTL()))
	}
	return value, err
}

// killPrivileges comes before bytes are written through a handle.
func (s *fileSystem) killPrivileges(ctx context.Context, h *fileHandle, setID bool) error {
	if !setID && h.incapable.Load() {
		return nil
	}
	attr := h.file.Attr()
	if setID && clearSetID(attr.Mode) != attr.Mode {
		if err := s.killSetID(ctx, attr.Inode); err != nil {
			return err
		}
		s.notifier.drop(s.node(attr.Inode))
	}
	if h.incapable.Load() {
		return nil
	}
	if err := s.killCapability(ctx, attr.Inode); err != nil {
		return err
	}
	h.incapable.Store(true)
	return nil
}

// killSetID clears the set-id bits of an inode.
func (s *fileSystem) killSetID(ctx context.Context, ino proto.InodeID) error {
	attr, err := s.backend.GetAttr(ctx, ino)
	if err != nil {
		return err
	}
	mode := clearSetID(attr.Mode)
	if mode == attr.Mode {
		return nil
	}
	mode &^= unix.S_IFMT
	_, err = s.backend.SetAttr(ctx, privileged, ino, client.SetAttr{Mode: &mode})
	return err
}

// clearSetID clears set-user-id, and set-group-id where it is not the mark of
// mandatory locking.
func clearSetID(mode uint32) uint32 {
	mode &^= unix.S_ISUID
	if mode&unix.S_IXGRP != 0 {
		mode &^= unix.S_ISGID
	}
	return mode
}

// killCapability drops the capabilities of an inode. It looks first: that is
// cheaper than a change at the master which changes nothing.
func (s *fileSystem) killCapability(ctx context.Context, ino proto.InodeID) error {
	_, err := s.getXattr(ctx, privileged, ino, capabilityXattr)
	if err == nil {
		err = s.backend.RemoveXattr(ctx, privileged, ino, capabilityXattr)
	}
	if errors.Is(err, proto.NoAttr) {
		return nil
	}
	return err
}
