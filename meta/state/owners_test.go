package state

import (
	"fmt"
	"testing"
)

// More pairs of user and group than an inode's own record can number.
func TestOwnersBeyond16Bits(t *testing.T) {
	f := newFixture(t)
	for f.owners.length < 1<<16-50 {
		f.owners.extend()
	}
	const files = 100
	var inodes [files]uint32
	for i := range uint32(files) {
		ino := f.make(root, top, fmt.Sprint(i), typeFile)
		f.ok(&SetAttr{Header: f.header(root), Inode: ino, Set: SetUID | SetGID, UID: i, GID: i * 3})
		inodes[i] = ino.Slot()
	}
	check := func(s *State) {
		t.Helper()
		for i, slot := range inodes {
			if o := s.owner(s.inodes.get(slot)); o.uid != uint32(i) || o.gid != uint32(i*3) {
				t.Fatalf("file %d belongs to %v", i, o)
			}
		}
	}
	check(f.State)
	check(reload(t, f.State))
	if live := f.owners.live; live != files {
		t.Errorf("%d pairs are known for %d in use", live, files)
	}
	for i, slot := range inodes {
		f.ok(&SetAttr{Header: f.header(root), Inode: f.inodeID(slot), Set: SetUID | SetGID, UID: uint32(i % 2)})
	}
	if live := f.owners.live; live != 2 || len(f.owners.numbers) != 2 {
		t.Errorf("%d pairs are known, %d by name, and 2 are in use", live, len(f.owners.numbers))
	}
	reload(t, f.State)
}
