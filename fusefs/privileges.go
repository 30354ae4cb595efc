package fusefs

import (
	"context"
	"errors"
	"time"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/proto"
	"golang.org/x/sys/unix"
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

// killPrivileges comes before bytes are written through a handle. It looks first what
// there is to take away: that is cheaper than a change which changes nothing.
func (s *fileSystem) killPrivileges(ctx context.Context, h *fileHandle, setID bool) error {
	isIncapable := s.isIncapable(h)
	if !setID && isIncapable {
		return nil
	}
	known, attr := s.nowIncapable(), h.file.Attr()
	set := client.SetAttr{DropSetIDs: setID && hasSetID(attr.Mode)}
	if !isIncapable {
		_, err := s.getXattr(ctx, privileged, attr.Inode, capabilityXattr)
		if err != nil && !errors.Is(err, proto.NoAttr) {
			return err
		}
		set.DropCapability = err == nil
	}
	if set.DropSetIDs || set.DropCapability {
		if _, err := s.backend.SetAttr(ctx, privileged, attr.Inode, set); err != nil {
			return err
		}
		s.notifier.drop(s.node(attr.Inode))
	}
	if !isIncapable {
		h.incapable.Store(known)
	}
	return nil
}

// hasSetID tells whether a mode has bits that writing clears: set-group-id without
// group execution is the mark of mandatory locking.
func hasSetID(mode uint32) bool {
	const setGIDExec = unix.S_ISGID | unix.S_IXGRP
	return mode&unix.S_ISUID != 0 || mode&setGIDExec == setGIDExec
}
