package proto

import "testing"

// The digest is part of the wire format: these values must never change.
func TestReplicaDigest(t *testing.T) {
	for _, c := range []struct {
		chunk   ChunkID
		version Version
		flags   ReplicaFlags
		want    uint64
	}{
		{1, 1, 0, 0xdef434e398051d63},
		{1, 1, ReplicaUnclean, 0x7716da39cba275b2},
		{1, 2, ReplicaCorrupt, 0xc35eefae596bcd39},
		{ChunkID(MakeID(7, 3)), 5, ReplicaUnclean | ReplicaCorrupt, 0xb19ee25a88c9fc7c},
		{ChunkID(MakeID(7, 3)), 5, ReplicaUnclean | ReplicaComplete, 0x8cf9e164a21f5995},
		{ChunkID(MakeID(7, 3)), 5, ReplicaBroken, 0xa644dc31fad1c7c1},
	} {
		if got := ReplicaDigest(c.chunk, c.version, c.flags); got != c.want {
			t.Errorf("ReplicaDigest(%v, %d, %v) = %#x, want %#x", c.chunk, c.version, c.flags, got, c.want)
		}
	}
}

func TestBucketOf(t *testing.T) {
	if got := BucketOf(ChunkID(MakeID(1027, 9)), 1024); got != 3 {
		t.Errorf("bucket %d, want 3", got)
	}
}
