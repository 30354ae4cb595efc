package proto

// A block report is cheap when nothing changed: the chunkserver sends one digest
// for each bucket of chunk ids, and lists only the buckets whose digest is not the
// one the master computes from what it has heard.
//
// The bucket of a chunk is its id modulo the number of buckets that the master
// gave at registration. A bucket's digest is the sum, modulo 2^64, of
// ReplicaDigest over every replica that the chunkserver would list in it; an empty
// bucket's is 0. A sum does not depend on order, so either side may add and
// subtract as replicas come and go.
//
// The sequence of a report, and of a heartbeat, is drawn before the replicas are
// looked at: whatever changes during that is in a later message as well (L5).

// BucketOf is the bucket of a chunk, 0 <= BucketOf < buckets. There is at least one.
func BucketOf(chunk ChunkID, buckets uint32) uint32 { return uint32(uint64(chunk) % uint64(buckets)) }

// ReplicaDigest is what a replica adds to the digest of its bucket. With s the
// finaliser of SplitMix64 (below) it is
//
//	s(s(chunk) + version * 4 + flags)
func ReplicaDigest(chunk ChunkID, version Version, flags ReplicaFlags) uint64 {
	return splitMix(splitMix(uint64(chunk)) + uint64(version)<<2 + uint64(flags))
}

// ReplicaFlags are what is said of a replica beside its version; see ReplicaState.
type ReplicaFlags uint64

// The flags.
const (
	ReplicaUnclean  ReplicaFlags = 1
	ReplicaCorrupt  ReplicaFlags = 2
	ReplicaFailing  ReplicaFlags = 1 << 60
	ReplicaSlow     ReplicaFlags = 1 << 61
	ReplicaComplete ReplicaFlags = 1 << 62
	ReplicaBroken   ReplicaFlags = 1 << 63
)

// FlagsOf collects the flags that are true.
func FlagsOf(unclean, corrupt, complete, broken bool) (flags ReplicaFlags) {
	for _, f := range [...]struct {
		flag ReplicaFlags
		is   bool
	}{{ReplicaUnclean, unclean}, {ReplicaCorrupt, corrupt}, {ReplicaComplete, complete}, {ReplicaBroken, broken}} {
		if f.is {
			flags |= f.flag
		}
	}
	return flags
}

// OnDisk adds what is said of the replica's disk.
func (f ReplicaFlags) OnDisk(slow, failing bool) ReplicaFlags {
	if slow {
		f |= ReplicaSlow
	}
	if failing {
		f |= ReplicaFailing
	}
	return f
}

// splitMix is the step and finaliser of SplitMix64: a bijection that mixes well.
func splitMix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
