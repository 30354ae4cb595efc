package client

import (
	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Opens here: a file is opened for reading without asking the master where this client has
// a lease on it and knows its attributes, with a name among them. Nobody else takes its last
// name before this lease is given back, and it is not given back without saying that the
// file is open; nor does the master let a file go that lost its last name by this client,
// while the lease is there. So:
//
//   - whether the lease is there and the note that the file is open are one step, before or
//     after the answer to a recall, and before or after a Hello, which has all such opens;
//   - what the master was told is open it is told to be closed, over the same stream.
//
// Opens for writing are always the master's: it lets those change a file that have it open
// for writing, whatever its permissions are by then.

// maxHere is how many inodes may be open here. Beyond, the master is asked.
const maxHere = 1 << 16

// opensHere are the inodes that are open so. sessions.mu guards them.
type opensHere struct {
	open map[proto.InodeID]bool     // whether the master was told
	left map[proto.InodeID]struct{} // it was told of, and are not open any more
}

// add notes an open.
func (h *opensHere) add(ino proto.InodeID) {
	if _, open := h.open[ino]; open {
		return
	}
	if h.open == nil {
		h.open, h.left = map[proto.InodeID]bool{}, map[proto.InodeID]struct{}{}
	}
	_, told := h.left[ino]
	h.open[ino] = told
	delete(h.left, ino)
}

// close notes that nothing of an inode is open any more, and tells whether the master
// should hear of that.
func (h *opensHere) close(ino proto.InodeID) (tell bool) {
	told := h.open[ino]
	delete(h.open, ino)
	if told {
		h.left[ino] = struct{}{}
	}
	return told
}

// all is what is open, for a Hello: it tells all.
func (h *opensHere) all() (list []uint64) {
	for ino := range h.open {
		h.open[ino] = true
		list = append(list, uint64(ino))
	}
	clear(h.left)
	return list
}

// openHere is OpenInode of a held inode; nil if the master has to be asked.
func (c *Client) openHere(cred Cred, i *inode, flags uint32) *File {
	if flags&unix.O_ACCMODE != unix.O_RDONLY || flags&unix.O_TRUNC != 0 {
		return nil
	}
	attr, ok := c.sessions.openHere(i.id, func(attr *Attr) bool { return cred.mayRead(attr, flags) && c.knowsWay(attr) })
	if !ok {
		return nil
	}
	same := c.locations.saw(i.id, attr.Change, c.locations.asking())
	c.readFilesAhead(i.id)
	return i.attach(cred, flags, attr, same)
}

// knowsWay tells whether reading may well begin without a question to the master: the answer to
// an open has the locations of many chunks, which reads ahead would ask for one by one.
func (c *Client) knowsWay(attr *Attr) bool {
	if attr.Size <= uint64(c.chunkSize) {
		return true
	}
	_, known := c.locations.get(attr.Inode, 1)
	return known
}

// openHere notes an open of an inode, if it may be opened without asking.
func (s *sessions) openHere(ino proto.InodeID, may func(*Attr) bool) (Attr, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil || len(s.here.open)+len(s.here.left) >= maxHere {
		return Attr{}, false
	}
	attr, ok := s.leases.openable(ino)
	if !ok || !may(&attr) {
		return Attr{}, false
	}
	s.here.add(ino)
	return attr, true
}

// openable gives the attributes of a file that may be opened for reading without asking.
func (l *leases) openable(ino proto.InodeID) (Attr, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.usable(ino)
	if h == nil || l.suspended || !h.hasAttr || h.recall != nil || h.busy > 0 || l.distrusted.has(ino) {
		return Attr{}, false
	}
	return h.attr, h.attr.isRegular() && h.attr.Nlink > 0
}

// fmodeExec is FMODE_EXEC of Linux, which FUSE passes on for execve(2).
const fmodeExec = 0x20

// mayRead tells whether the caller may surely open a file for reading, or execution: where
// there are extended attributes, one may be an ACL.
func (c Cred) mayRead(attr *Attr, flags uint32) bool {
	mask := uint32(4)
	if flags&fmodeExec != 0 {
		mask = 1
	}
	switch {
	case c.UID == 0:
		return mask == 4 || attr.Mode&0o111 != 0
	case c.UID != attr.UID && !attr.Plain:
		return false
	}
	return c.bits(attr)&mask == mask
}

// tellOpens adds to answers which of their inodes are open here, and what is not any more.
func (s *sessions) tellOpens(answers []*pb.Returned) []*pb.Returned {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range answers {
		for _, id := range r.Inodes {
			if told, open := s.here.open[proto.InodeID(id)]; open && !told {
				s.here.open[proto.InodeID(id)] = true
				r.OpenedHere = append(r.OpenedHere, id)
			}
		}
	}
	if len(s.here.left) > 0 {
		closed := &pb.Returned{}
		for ino := range s.here.left {
			closed.ClosedHere = append(closed.ClosedHere, uint64(ino))
		}
		clear(s.here.left)
		answers = append(answers, closed)
	}
	return answers
}
