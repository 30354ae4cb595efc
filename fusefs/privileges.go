package fusefs

import (
	"context"
	"errors"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/proto"
	"golang.org/x/sys/unix"
)

// What the kernel does itself when a local file is written to or truncated is
// left to us by the capability HANDLE_KILLPRIV_V2: an unprivileged writer clears
// the set-id bits, and any writer drops the capabilities of an executable. In
// return it does not ask for security.capability before every write. What chown
// clears is the master's affair.

// capabilityXattr holds the capabilities of an executable.
const capabilityXattr = "security.capability"

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
	_, err := s.backend.GetXattr(ctx, privileged, ino, capabilityXattr)
	if err == nil {
		err = s.backend.RemoveXattr(ctx, privileged, ino, capabilityXattr)
	}
	if errors.Is(err, proto.NoAttr) {
		return nil
	}
	return err
}
