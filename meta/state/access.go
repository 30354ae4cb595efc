package state

import "github.com/distrifs/distrifs/proto"

// accessDay is the age in seconds at which a relative read updates an access time.
const accessDay = 24 * 60 * 60

// AccessDue tells whether a read that is to be noted relatively (relatime of
// mount(8)) would move the access time: when that is not after the last change, or
// a day old. False if the inode is gone.
func (s *State) AccessDue(read Read) bool {
	slot, ok := s.inode(read.Inode)
	if !ok {
		return false
	}
	w, at := s.times(slot), read.At
	return at.after(w.atime) && (!w.atime.after(w.mtime) || !w.atime.after(w.ctime) || at.Sec-accessDay >= w.atime.Sec)
}

// access moves access times forward.
func (s *State) access(c *Access) Result {
	for _, read := range c.Reads {
		slot, ok := s.inode(read.Inode)
		if !ok {
			continue
		}
		if w := s.times(slot); read.At.after(w.atime) {
			w.atime = read.At
			s.putTimes(slot, w)
		}
	}
	return Result{Kind: proto.OK}
}
