package client

import "github.com/distrifs/distrifs/proto"

// Commits ahead. A sync of what was written within the file has nothing to tell the master but the
// time. That does not wait until the chains have the bytes: both go to stable storage at once.
// Should the write fail, or this client die, the file has got a later time, and bytes of
// before or after the write, as ever. The size, and chunks that are new, are told behind the
// bytes alone: nobody is to find a file that is longer than what was written.

// commitAhead is called before what was written is waited for; i.mu is held, and let go meanwhile.
func (i *inode) commitAhead() {
	p, ok := i.proposeAhead()
	if !ok || !i.committing.try() {
		return
	}
	defer i.committing.release()
	i.mu.Unlock()
	defer i.mu.Lock()
	attr, at, done := i.commitHere(&p)
	if !done {
		return
	}
	i.mu.Lock()
	if i.content == p.content {
		i.mtimeDirty = false
	}
	i.mu.Unlock()
	i.took(attr, at)
	i.c.behind.hurry()
}

// proposeAhead is propose for what is not on its chains yet; ok is false if more than the time will be new
// to the master. i.mu is held.
func (i *inode) proposeAhead() (p proposal, ok bool) {
	p = proposal{mtime: i.mtime, writer: i.writer, content: i.content, within: uint64(i.end)}
	for _, st := range i.streams {
		if st.gathering == nil && len(st.kept) == 0 && !st.uncommitted {
			continue
		}
		if !st.working {
			st.adoptAssigned()
		}
		if !st.loc.committed || len(p.streams) > 0 {
			return proposal{}, false
		}
		p.streams = append(p.streams, st)
		p.chunks = append(p.chunks, uint64(st.loc.chunk))
	}
	return p, i.mtimeDirty && len(p.streams) > 0
}

// knows tells whether the master knows all of a proposal, for it was committed ahead.
func (i *inode) knows(p *proposal) bool {
	defer i.settle()
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.mtimeDirty || !p.last {
		return false
	}
	for _, st := range p.streams {
		if !st.loc.committed {
			return false
		}
	}
	if size, sure := i.c.leases.ownSize(i.id); !sure || p.size > size {
		return false
	}
	i.committed(*p, nil)
	return true
}

// ownSize is the size of a file that nobody else can change.
func (l *leases) ownSize(ino proto.InodeID) (size uint64, sure bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.owned(ino)
	if h == nil {
		return 0, false
	}
	return h.attr.Size, true
}
