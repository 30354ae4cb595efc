package client

import (
	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/proto"
)

// Walks. Programs go through trees directory by directory: find, grep -r, git status, rm -r. Who
// lists a second subfolder of a directory is likely to list the others; so some of those that
// follow are listed with it, twice as many each time, and their listings kept (listed.go); soon with what is in them.

const (
	walkFrom  = 2  // subfolders that are listed before others are with them
	walkFirst = 4  // so many the first time
	walkMost  = 64 // and at most, at a time
	walkVain  = 32 // that were listed with others: if no quarter of them was asked for, it is begun anew
)

// walk is how this client goes through trees. Guarded by leases.mu.
type walk struct {
	steps int // subfolders that the master was asked for
	ahead int // that were listed with the last one
	given int // that were listed with others, since it was begun
	used  int // of them, those that somebody has asked for
}

// walkOn gives the directories to be listed together with one; deep: so many, with those that are found
// in them; alone: exclusive, for this walk takes names away.
func (l *leases) walkOn(dir proto.InodeID) (also []uint64, deep uint32, alone bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	also, deep = l.stepOn(dir)
	return also, deep, l.takesTree()
}

// stepOn is walkOn but for alone; l.mu is held.
func (l *leases) stepOn(dir proto.InodeID) (also []uint64, deep uint32) {
	above := l.above[dir]
	up, upper := l.listedOnce(above), l.listedOnce(l.above[above])
	w := &l.walk
	if up == nil {
		return nil, 0
	}
	if w.given >= walkVain && 4*w.used < w.given { // these were no walks
		*w = walk{}
	}
	if w.steps++; w.steps < walkFrom {
		return nil, 0
	}
	if w.ahead >= walkFirst {
		deep = uint32(min(2*w.ahead, walkMost))
	}
	if 2*w.used >= w.given {
		w.ahead = min(max(2*w.ahead, walkFirst), walkMost)
	}
	also = l.follow(up, dir, w.ahead, also)
	if upper == nil {
		return also, deep
	}
	for _, e := range upper.behind(above) { // and what is in the folders behind the one above
		if len(also) >= w.ahead {
			break
		}
		if aunt := l.listedOnce(e.Inode); aunt != nil {
			also = l.follow(aunt, 0, w.ahead, also)
		}
	}
	return also, deep
}

// follow adds the subfolders of a directory behind one that are not listed yet, until there are most.
func (l *leases) follow(up *listed, dir proto.InodeID, most int, also []uint64) []uint64 {
	for _, e := range up.behind(dir) {
		if len(also) >= most {
			break
		}
		if e.Type == unix.S_IFDIR && l.listedOf(e.Inode) == nil && !l.distrusted.has(e.Inode) {
			also = append(also, uint64(e.Inode))
		}
	}
	return also
}

// behind gives the entries behind a subfolder; 0: all.
func (k *listed) behind(dir proto.InodeID) []DirEntry {
	for i := range k.entries {
		if k.entries[i].Inode == dir {
			return k.entries[i+1:]
		}
	}
	return k.entries
}
