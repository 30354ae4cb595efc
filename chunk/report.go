package chunk

import (
	"context"
	"time"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

const (
	maxBuckets  = 1 << 16 // that a master may ask for
	maxReported = 20_000  // replicas in one message, unless one bucket alone holds more
)

// reports sends a block report at once, and then every interval.
func (s *session) reports(ctx context.Context) error {
	ticker := time.NewTicker(s.report)
	defer ticker.Stop()
	for {
		wanted, err := s.sendReport(ctx, &pb.BlockReportRequest{}, s.addDigests)
		// Buckets that heartbeats have overtaken are asked for again.
		for err == nil && len(wanted) > 0 {
			if wanted, err = s.sendBuckets(ctx, wanted); err != nil || len(wanted) == 0 {
				break
			}
			select {
			case <-time.After(s.heartbeat):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sendReport draws the sequence, then fills the report, then sends it (L5).
func (s *session) sendReport(ctx context.Context, request *pb.BlockReportRequest, fill func(*pb.BlockReportRequest)) (wanted []uint32, err error) {
	request.Node = uint32(s.store.membership.Load().node)
	request.Incarnation = s.store.incarnation
	request.Sequence = s.sequence.Add(1)
	fill(request)
	ctx, cancel := context.WithTimeout(ctx, max(callTimeout, s.deadAfter))
	defer cancel()
	reply, err := s.nodes.BlockReport(ctx, request)
	if err != nil {
		return nil, proto.FromStatus(err)
	}
	return reply.Wanted, nil
}

func (s *session) addDigests(request *pb.BlockReportRequest) {
	request.Digests = make([]uint64, s.buckets)
	for _, r := range s.store.replicaStates(func(proto.ChunkID) bool { return true }) {
		id := proto.ChunkID(r.Chunk)
		request.Digests[proto.BucketOf(id, s.buckets)] += proto.ReplicaDigest(id, proto.Version(r.Version), proto.FlagsOf(r.Unclean, r.Corrupt, r.Complete, r.Broken).OnDisk(r.Slow, r.Failing))
	}
}

// sendBuckets sends buckets in full, as many in a message as fit; it returns those
// that the master wants again.
func (s *session) sendBuckets(ctx context.Context, wanted []uint32) (again []uint32, err error) {
	sizes := s.bucketSizes()
	for len(wanted) > 0 {
		n, replicas := 0, 0
		for n < len(wanted) && (n == 0 || replicas+sizes[wanted[n]%s.buckets] <= maxReported) {
			replicas += sizes[wanted[n]%s.buckets]
			n++
		}
		some := wanted[:n]
		more, err := s.sendReport(ctx, &pb.BlockReportRequest{}, func(request *pb.BlockReportRequest) { s.addBuckets(request, some) })
		if err != nil {
			return nil, err
		}
		again, wanted = append(again, more...), wanted[n:]
	}
	return again, nil
}

// bucketSizes counts the replicas in each bucket.
func (s *session) bucketSizes() []int {
	sizes := make([]int, s.buckets)
	s.store.mu.RLock()
	defer s.store.mu.RUnlock()
	for id := range s.store.index {
		sizes[proto.BucketOf(id, s.buckets)]++
	}
	return sizes
}

func (s *session) addBuckets(request *pb.BlockReportRequest, wanted []uint32) {
	byNumber := map[uint32]*pb.Bucket{}
	for _, number := range wanted {
		if byNumber[number] == nil {
			byNumber[number] = &pb.Bucket{Bucket: number}
			request.Buckets = append(request.Buckets, byNumber[number])
		}
	}
	for _, r := range s.store.replicaStates(func(id proto.ChunkID) bool { return byNumber[proto.BucketOf(id, s.buckets)] != nil }) {
		b := byNumber[proto.BucketOf(proto.ChunkID(r.Chunk), s.buckets)]
		b.Replicas = append(b.Replicas, r)
	}
}
