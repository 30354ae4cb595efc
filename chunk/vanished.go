package chunk

import (
	"path/filepath"

	"github.com/distrifs/distrifs/proto"
)

// A disk can be gone while its folder's files are still open and its checksums are in
// memory: pulled out, unmounted, dropped by its controller. The superblock is looked
// for at every refresh; without it the whole folder is out of service and
// everything in it counts as lost, so that it is replaced elsewhere while the process goes
// on with its other folders. Nothing is deleted: when the disk is back, the next start
// takes in what it holds.

// vanishedAfter is how many looks in a row do not find the superblock.
const vanishedAfter = 2

// vanished tells, once, that the folder's disk is gone.
func (f *folder) vanished() (bool, error) {
	_, err := f.fs.Stat(filepath.Join(f.path, superblockName))
	f.mu.Lock()
	if err == nil {
		f.absences = 0
	} else {
		f.absences++
	}
	now := f.absences == vanishedAfter
	f.mu.Unlock()
	if now {
		err = f.failed("find superblock", f.path, err)
	}
	return now, err
}

// loseFolder gives up all replicas of a folder and has the master told at once.
func (s *Store) loseFolder(f *folder, cause error) {
	count := 0
	for _, item := range s.scrubList(f, 0) {
		r := s.find(item.id)
		if r == nil || !r.isIn(f) || !r.lost.CompareAndSwap(nil, &lostCause{cause}) {
			continue
		}
		s.changes.note(item.id, false)
		count++
	}
	s.changes.kick()
	s.log.Error("a disk is gone: its replicas are lost", "folder", f.path, "replicas", count, "error", cause)
}

func (r *replica) isIn(f *folder) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.folder == f
}

// lookForFolders gives up the folders whose disks are gone.
func (s *Store) lookForFolders() {
	for _, f := range s.folders {
		if gone, err := f.vanished(); gone {
			s.loseFolder(f, proto.E(proto.IO, "use", f.path, "the disk is gone: "+err.Error()))
		}
	}
}
