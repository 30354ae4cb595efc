package proto

import "testing"

// The digest is part of the wire format: these values must never change.
func TestReplicaDigest(t *testing.T) {
	for _, c := range []struct {
		chunk            ChunkID
		version          Version
		unclean, corrupt bool
		want             uint64
	}{
		{1, 1, false, false, 0xdef434e398051d63},
		{1, 1, true, false, 0x7716da39cba275b2},
		{1, 2, false, true, 0xc35eefae596bcd39},
		{ChunkID(MakeID(7, 3)), 5, true, true, 0xb19ee25a88c9fc7c},
	} {
		if got := ReplicaDigest(c.chunk, c.version, c.unclean, c.corrupt); got != c.want {
			t.Errorf("ReplicaDigest(%v, %d, %v, %v) = %#x, want %#x", c.chunk, c.version, c.unclean, c.corrupt, got, c.want)
		}
	}
}

func TestBucketOf(t *testing.T) {
	if got := BucketOf(ChunkID(MakeID(1027, 9)), 1024); got != 3 {
		t.Errorf("bucket %d, want 3", got)
	}
}
