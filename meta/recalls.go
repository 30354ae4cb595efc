package meta

import (
	"slices"

	"github.com/distrifs/distrifs/meta/leases"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Recalls on their way to sessions, the answers, and the sessions that give none.

// take gives the recalls that a stream has to send. The stream before the session's last
// one gets none: nobody would see what it sent.
func (k *leasing) take(one *session, f *feed) []leases.Recall {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.sessions.isFed(one, f) {
		return nil
	}
	return k.table.Take(one.id)
}

// unanswered gives the recalls that earlier streams have sent, and what is to be sent now.
func (k *leasing) unanswered(one *session) []leases.Recall {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append(k.table.Unanswered(one.id), k.table.Take(one.id)...)
}

// maxReturns is how many inodes of an answer are worked on before others get their turn.
const maxReturns = 1 << 12

// returned takes an answer.
func (k *leasing) returned(one *session, answer *pb.Returned) {
	if answer.Keep < 0 || answer.Keep > pb.LeaseMode_LEASE_EXCLUSIVE {
		return
	}
	for inodes := range slices.Chunk(inodesOf(answer.Inodes), maxReturns) {
		k.use(func(t *leases.Table) { t.Return(one.id, answer.Number, leases.Mode(answer.Keep), inodes) })
	}
}

func inodesOf(numbers []uint64) []proto.InodeID {
	inodes := make([]proto.InodeID, len(numbers))
	for i, ino := range numbers {
		inodes[i] = proto.InodeID(ino)
	}
	return inodes
}

// forget drops the leases on inodes that are no more.
func (k *leasing) forget(inodes []proto.InodeID) {
	k.use(func(t *leases.Table) {
		for _, ino := range inodes {
			t.Forget(ino)
		}
	})
}

// overdue lists the sessions that owe answers and whose leases have run out (L8).
func (k *leasing) overdue() (list []*session) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, id := range k.table.Owing() {
		if one := k.sessions.unheard(id, k.period); one != nil {
			list = append(list, one)
		}
	}
	return list
}

// stubborn tells whether a session has owed an answer for too long. Its keepalives are
// not answered any more: when its leases have run out, it is ended like a silent one.
func (k *leasing) stubborn(one *session) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	since, owes := k.table.OwesSince(one.id)
	return owes && k.sessions.now().Sub(since) >= maxOwing
}

func (k *leasing) stats() leases.Stats {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.table.Stats()
}

func (m *Master) sendRecalls(stream sessionStream, recalls []leases.Recall) error {
	for _, r := range recalls {
		recall := &pb.Recall{Number: r.Number, Keep: pb.LeaseMode(r.Keep), Unnamed: r.Unnamed}
		for _, ino := range r.Inodes {
			recall.Inodes = append(recall.Inodes, uint64(ino))
		}
		if err := stream.Send(&pb.SessionEvent{Event: &pb.SessionEvent_Recall{Recall: recall}}); err != nil {
			return err
		}
	}
	return nil
}
