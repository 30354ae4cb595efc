package chunk

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/proto"
)

// A chunkserver serves from when a master has answered it until the dead-after time after
// it sent what was answered last (L8).
func TestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := openStore(t, testOptions(disk.NewMem(), "/data"))
		must(t, write(store, testChunk(1), 1, 0, []byte("bytes"), true))
		l := newLease()
		s := &leased{store, l}
		expect := func(when string, want proto.Kind) {
			t.Helper()
			buffer, sums := make([]byte, 5), make([]uint32, 1)
			_, err := s.Read(testChunk(1), 1, 0, buffer, sums)
			wantKind(t, when+": read", err, want)
			wantKind(t, when+": write", s.Write(testChunk(1), 1, 0, []byte("x"), sumsOf(0, []byte("x")), false), want)
			wantKind(t, when+": zero", s.Zero(testChunk(1), 1, 1, 1, false), want)
			wantKind(t, when+": sync", s.Sync(testChunk(1), 1), want)
			_, _, err = s.Extent(testChunk(1), 1, 0, 5)
			wantKind(t, when+": extent", err, want)
			_, _, err = s.Sums(testChunk(1), 1, 0, 5, nil)
			wantKind(t, when+": sums", err, want)
		}
		expect("before any answer", proto.Unavailable)
		sent := time.Now()
		time.Sleep(3 * time.Second)
		l.renew(sent, 10*time.Second)
		expect("after an answer", proto.OK)
		time.Sleep(7*time.Second - time.Nanosecond)
		l.renew(sent.Add(-time.Second), 10*time.Second) // an answer that comes late
		expect("shortly before the end", proto.OK)
		time.Sleep(time.Nanosecond)
		expect("at the end", proto.Unavailable)
		l.renew(time.Now(), 10*time.Second)
		expect("answered again", proto.OK)
		must(t, store.Close())
	})
}

// The agent renews the lease with every acknowledged heartbeat.
func TestHeartbeatsRenewTheLease(t *testing.T) {
	s := &session{agent: newAgent(nil, agentOptions{}), terms: terms{deadAfter: time.Minute}}
	now := time.Now()
	s.acknowledged() // of nothing
	if s.lease.until.Load() != 0 {
		t.Error("renewed by nothing")
	}
	for i := range 3 {
		s.sending(now.Add(time.Duration(i) * time.Second))
	}
	s.acknowledged()
	s.acknowledged()
	if got := time.Duration(s.lease.until.Load()); got != now.Add(time.Minute+time.Second).Sub(s.lease.start) {
		t.Errorf("the lease lasts until %v", got)
	}
}
