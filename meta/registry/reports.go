package registry

import (
	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Heartbeat takes a message of a stream in. It returns the replicas it speaks of
// whose chunks are not (any more) live; ok is false when the message was old and
// nothing was done (L5).
func (r *Registry) Heartbeat(s *Stream, req *pb.HeartbeatRequest, view Chunks) (homeless []Stray, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.nodes[proto.NodeID(req.Node)]
	if n == nil || n.stream != s || n.incarnation != req.Incarnation || req.Sequence <= n.heartbeat {
		return nil, false
	}
	n.heartbeat = req.Sequence
	n.hear(r.opts.Now())
	n.disks, n.chunks, n.load, n.placed, n.full, n.suspect = req.Disks, req.Chunks, req.Load, 0, false, false
	note := func(found *Stray) {
		if found != nil {
			homeless = append(homeless, *found)
		}
	}
	for _, changed := range req.Changed {
		note(r.learn(n, changed, view, req.Sequence))
	}
	for _, chunk := range req.Removed {
		id := proto.ChunkID(chunk)
		n.touched[proto.BucketOf(id, Buckets)] = req.Sequence
		r.set(n, id, r.live(view, id), Replica{})
	}
	for _, result := range req.Results {
		note(r.finish(n, result, view, req.Sequence))
	}
	return homeless, true
}

// Report takes a block report, or a part of one, in: digests, buckets in full, or both.
// It returns the buckets to be sent (again) and the replicas whose chunks are not live;
// with digests, all of those that were freed.
// Unavailable: register first. Malformed.
func (r *Registry) Report(req *pb.BlockReportRequest, view Chunks) (wanted []uint32, homeless []Stray, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := proto.NodeID(req.Node)
	n := r.nodes[id]
	switch {
	case n == nil || n.incarnation == 0 || n.incarnation != req.Incarnation:
		return nil, nil, proto.E(proto.Unavailable, "block report", nodeName(id), "this incarnation is not registered with this master")
	case len(req.Digests) != 0 && len(req.Digests) != Buckets:
		return nil, nil, proto.E(proto.Malformed, "block report", nodeName(id), "the number of digests is not that of the buckets")
	case req.Sequence < n.report:
		return nil, nil, nil // L5
	}
	n.report = req.Sequence
	n.hear(r.opts.Now())
	for _, bucket := range req.Buckets {
		if bucket.Bucket >= Buckets {
			return nil, nil, proto.E(proto.Malformed, "block report", nodeName(id), "a bucket that does not exist")
		}
		if req.Sequence < n.touched[bucket.Bucket] {
			wanted = append(wanted, bucket.Bucket) // a heartbeat has overtaken it
			continue
		}
		some, doubtful := r.bucket(n, bucket, view)
		homeless = append(homeless, some...)
		if doubtful {
			wanted = append(wanted, bucket.Bucket)
		}
		delete(n.wanted, bucket.Bucket)
	}
	if len(req.Digests) != 0 {
		clear(n.wanted)
		for b, digest := range req.Digests {
			if digest != n.digests[b] {
				n.wanted[uint32(b)] = struct{}{}
				wanted = append(wanted, uint32(b))
			}
		}
		homeless = append(homeless, n.left(view)...)
	}
	n.known = n.known || len(n.wanted) == 0
	return wanted, homeless, nil
}

// left are the replicas of freed chunks that are known of: those whose deletion failed,
// too. Their digests agree, so that no bucket with them is asked for.
func (n *node) left(view Chunks) (list []Stray) {
	for id, held := range n.strays {
		if view.Fate(id) == state.Freed {
			list = append(list, Stray{Node: n.id, Alive: n.alive, Chunk: id, Replica: held})
		}
	}
	return list
}

// bucket replaces what is known of a bucket by what is in it, as far as it is not doubtful.
func (r *Registry) bucket(n *node, b *pb.Bucket, view Chunks) (homeless []Stray, doubtful bool) {
	var digest uint64
	for _, s := range b.Replicas {
		id := proto.ChunkID(s.Chunk)
		if proto.BucketOf(id, Buckets) != b.Bucket {
			continue // it is none of this bucket's: not believed
		}
		digest += replicaOf(s).digest(id)
		if found := r.learn(n, s, view, 0); found != nil {
			homeless = append(homeless, *found)
		}
	}
	if n.digests[b.Bucket] == digest {
		return homeless, false // nothing is missing
	}
	listed := make(map[proto.ChunkID]struct{}, len(b.Replicas))
	for _, s := range b.Replicas {
		listed[proto.ChunkID(s.Chunk)] = struct{}{}
	}
	return homeless, r.forgetOthers(n, b.Bucket, listed, view)
}

// forgetOthers drops from a bucket what is not listed. A chunk that was committed a moment
// ago may be so because the report was under way: it is in doubt, and dropped if the bucket,
// which is to be asked for again then, still does not list it.
func (r *Registry) forgetOthers(n *node, bucket uint32, listed map[proto.ChunkID]struct{}, view Chunks) (doubtful bool) {
	for id := range n.strays {
		if _, ok := listed[id]; !ok && proto.BucketOf(id, Buckets) == bucket {
			r.set(n, id, r.live(view, id), Replica{})
		}
	}
	for slot := uint64(bucket); slot < uint64(len(r.presence)); slot += Buckets {
		if r.presence[slot] == 0 {
			continue
		}
		view.EachChunk(uint32(slot), func(c state.Chunk) bool {
			if _, is := listed[c.ID]; is || uint64(c.ID.Slot()) != slot {
				return false
			}
			if _, before := n.doubts[c.ID]; r.recent.has(c.ID) && !before && r.holds(n, c.ID, &c).Version != 0 {
				n.doubts[c.ID] = struct{}{}
				doubtful = true
				return false
			}
			r.set(n, c.ID, &c, Replica{})
			return false
		})
	}
	return doubtful
}
