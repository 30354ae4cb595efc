package meta

import (
	"slices"

	"github.com/distrifs/distrifs/meta/leases"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Opens here: those of clients that did not ask. A client with a lease on a file opens it
// for reading without a call, and says so when the lease goes:
//
//   - Somebody else takes the file's last name: its leases are recalled before that, and
//     whoever has it open says so with the answer, before the lease is given back.
//   - The client itself does: its leases stay. So an orphan that somebody has a lease on may
//     be open. It is not reaped; the leases are asked for (leases.Table.Ask), and the answers
//     tell. Nothing new is opened so, for a client looks at the links it knows of.
//   - The session's stream breaks, or the master is started anew: Hello has all of them, and
//     nothing is opened so until it is answered.
//   - The session ends: its opens end with it, as they all do.
//
// The stream of the session puts opens and closes in order. What an earlier stream says
// after a Hello is out of date.

// maxOpensHere of a session; a client keeps to it.
const maxOpensHere = 1 << 16

// openedHere takes in what an answer to a recall says is open, and what not any more.
func (s *sessions) openedHere(one *session, f *feed, answer *pb.Returned) {
	if len(answer.OpenedHere) == 0 && len(answer.ClosedHere) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byID[one.id] != one || one.feed != f {
		return
	}
	for _, ino := range inodesOf(answer.OpenedHere) {
		s.keep(one, ino)
	}
	for _, ino := range inodesOf(answer.ClosedHere) {
		if one.here[ino] {
			delete(one.here, ino)
			s.uncount(ino, 1)
		}
	}
}

// keep counts an inode as open here; s.mu is held.
func (s *sessions) keep(one *session, ino proto.InodeID) {
	if !one.here[ino] && len(one.here) < maxOpensHere {
		if one.here == nil {
			one.here = map[proto.InodeID]bool{}
		}
		one.here[ino] = true
		s.opens[ino]++
	}
}

// forgetHere takes all opens here of a session off; s.mu is held.
func (s *sessions) forgetHere(one *session) {
	for ino := range one.here {
		s.uncount(ino, 1)
	}
	clear(one.here)
}

// ask gives those orphans that nobody has a lease on. The leases on the others are asked for,
// and until the next call none are granted to who does not have them open.
func (k *leasing) ask(orphans []proto.InodeID) (free []proto.InodeID) {
	all := make(map[proto.InodeID]bool, len(orphans))
	for _, ino := range orphans {
		all[ino] = true
	}
	k.use(func(*leases.Table) { k.orphans = all })
	for batch := range slices.Chunk(orphans, maxReturns) {
		var leased []proto.InodeID
		k.use(func(t *leases.Table) { leased = t.Ask(batch) })
		for _, ino := range batch { // leased are some of them, in the same order
			if len(leased) > 0 && leased[0] == ino {
				leased = leased[1:]
			} else {
				free = append(free, ino)
			}
		}
	}
	return free
}
