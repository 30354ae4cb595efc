package meta

import (
	"slices"

	"github.com/distrifs/distrifs/meta/leases"
	"github.com/distrifs/distrifs/meta/registry"
	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Chunks that were assigned and are not committed, on chunkservers that are to give up what they
// have. Status counts them, for somebody may write there at any moment. They go like this:
//
//   - of a file that nobody has open, the reaper drops them after a while (reaper.go)
//   - of an inode that is reserved, the lease is asked for. The client gives the inode back,
//     unless it has made a file of it, and the reaper takes it. Nothing is made of it
//     later, for the client has it exclusive no more. So it is with those on chunkservers that
//     are dead, or in maintenance: writers would find out one by one
//   - of a file that somebody has open, those that were written to move as committed ones do.
//     For the others the lease is asked for, too: whoever has written there commits that first.
//     Then they are settled: all members get a replica at the next version, an
//     empty one if nothing was written, and then they move, too. Who knew the chunk at its
//     first version cannot write to it any more, and asks where it is now

// recallReserves asks for reserved inodes whose chunks are in the wrong place.
func (m *Master) recallReserves(inodes []proto.InodeID) {
	for batch := range slices.Chunk(inodes, maxReturns) {
		m.leases.use(func(t *leases.Table) { t.Ask(batch) })
	}
}

// settleAssigned makes all members of an assigned chunk have a replica, as if its writer had
// found the chain broken. Where nobody has one, nothing was acknowledged; but who has not said
// yet what he has is waited for. The caller has the chunk to itself.
func (m *Master) settleAssigned(c state.Chunk) {
	leased := false
	m.leases.use(func(t *leases.Table) { leased = len(t.Ask([]proto.InodeID{c.Inode})) > 0 })
	if leased { // what its holder has written may have been lost with the power of all members
		return
	}
	unwritten := true
	for _, member := range m.members(c) {
		if member.Alive && !(member.Connected && member.Known) {
			return
		}
		unwritten = unwritten && member.Holds == registry.Replica{}
	}
	if _, err := m.chainFor(c, &pb.ReportChainFailureRequest{Version: uint64(c.Version), Unwritten: unwritten}); err != nil {
		m.log.Info("an assigned chunk cannot leave yet", "chunk", c.ID, "version", c.Version, "error", err)
	}
}
