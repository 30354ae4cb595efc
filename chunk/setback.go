package chunk

import (
	"errors"

	"golang.org/x/sync/errgroup"

	"github.com/distrifs/distrifs/proto"
)

// A data folder can be set back to what it was earlier: from a backup, or with the snapshot
// of a machine. Its replicas then match their checksums, many have the right version,
// and what was written since is missing in them. What gives it away is the
// incarnation: the master's log has one that these folders have not seen. Then
// everything in them is doubted, durably, before any of it is reported: made equal to
// replicas of others, like what a power cut has left, or, where there is none, the best.

const doubters = 16 // replicas at once

// setBack doubts every replica, and begins an incarnation behind the newest that the
// master knows. An error: it has to be done again.
func (s *Store) setBack(newest uint64) error {
	replicas := s.replicas(func(proto.ChunkID) bool { return true })
	s.log.Error("the data folders are an older copy of themselves: what they hold is compared with other replicas",
		"incarnation", s.incarnation, "newest", newest, "replicas", len(replicas))
	var group errgroup.Group
	group.SetLimit(doubters)
	for _, r := range replicas {
		group.Go(r.doubt)
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return s.begins(max(newest, s.incarnation))
}

// doubt has the replica be unclean, with gaps, durably. One that is lost already, or is by
// that, is replaced anyway.
func (r *replica) doubt() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != whole || r.lost.Load() != nil {
		return nil
	}
	if err := r.open(); err != nil {
		return r.lose(err)
	}
	r.unclean, r.gaps = true, true
	if err := r.writeFooter(r.flags | flagUnclean); err != nil {
		return r.lose(err)
	}
	return r.harden()
}

// begins starts an incarnation behind last in every folder that is in service, durably
// before it is used.
func (s *Store) begins(last uint64) error {
	next := nextIncarnation(last)
	var errs []error
	for _, f := range s.folders {
		if f.writable() == nil {
			errs = append(errs, f.updateSuperblock(func(sb *superblock) { sb.Incarnation = next }))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	s.incarnation = next
	return nil
}
