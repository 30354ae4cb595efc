package fusefs

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/proto"
)

// What the kernel does itself when a local file is written to is left to us by the
// capability HANDLE_KILLPRIV_V2: an unprivileged writer clears the set-id bits, and
// any writer drops the capabilities of an executable. What chown and truncate take
// away is the master's affair.

// capabilityXattr holds the capabilities of an executable.
const capabilityXattr = "security.capability"

// incapable is what an open file knows: it had no capabilities when somebody looked.
type incapable struct {
	sets  uint64    // fileSystem.capabilitySets then
	until time.Time // it may be believed, for another mount may set some
}

// isIncapable tells whether an open file is known to have no capabilities.
func (s *fileSystem) isIncapable(h *fileHandle) bool {
	known := h.incapable.Load()
	return known != nil && known.sets == s.capabilitySets.Load() && s.now().Before(known.until)
}

// nowIncapable is called before it is made sure that a file has no capabilities;
// the caller keeps the answer with the open file after that.
func (s *fileSystem) nowIncapable() *incapable {
	return &incapable{sets: s.capabilitySets.Load(), until: s.now().Add(s.backend.CacheTTL())}
}

// killPrivileges comes before a caller's bytes are written through a handle. It looks first what
// there is to take away: that is cheaper than a change which changes nothing.
func (s *fileSystem) killPrivileges(ctx context.Context, h *fileHandle, caller *fuse.Caller, setID bool) error {
	isIncapable := s.isIncapable(h)
	if !setID && isIncapable {
		return nil
	}
	known, attr := s.nowIncapable(), h.file.Attr()
	if setID && s.backend.CacheTTL() == 0 { // leases: it costs nothing to see what another mount set since
		now, err := s.backend.GetAttr(ctx, attr.Inode)
		if err != nil {
			return err
		}
		attr = now
	}
	cred, set := privileged, client.SetAttr{}
	if setID && attr.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 {
		writer := s.cred(caller, 0)
		if set.DropSetIDs = losesSetID(&attr, &writer); set.DropSetIDs {
			cred = writer
		}
	}
	if !isIncapable {
		_, err := s.getXattr(ctx, privileged, attr.Inode, capabilityXattr)
		if err != nil && !errors.Is(err, proto.NoAttr) {
			return err
		}
		set.DropCapability = err == nil
	}
	if set.DropSetIDs || set.DropCapability {
		if _, err := s.backend.SetAttr(ctx, cred, attr.Inode, set); err != nil {
			return err
		}
		s.notifier.drop(s.node(attr.Inode))
	}
	if !isIncapable {
		h.incapable.Store(known)
	}
	return nil
}

// losesSetID tells whether a file has bits that this writer clears: set-group-id without group
// execution is the mark of mandatory locking, which members of the group leave.
func losesSetID(attr *client.Attr, writer *client.Cred) bool {
	if attr.Mode&unix.S_ISUID != 0 || attr.Mode&unix.S_IXGRP != 0 {
		return true
	}
	return writer.UID != 0 && writer.GID != attr.GID && !slices.Contains(writer.Groups, attr.GID)
}
