package chunk

import (
	"bytes"
	"testing"

	"github.com/distrifs/distrifs/internal/disk"
)

// A replica that was being written when its process died lacks nothing as long as the
// machine goes on; once the machine has been down it may, until the master has settled it.
func TestCompleteUntilTheMachineStops(t *testing.T) {
	mem := disk.NewMem()
	at := func(boot string) *Store {
		t.Helper()
		o := testOptions(mem, "/data")
		o.Boot = boot
		return openStore(t, o)
	}
	expect := func(s *Store, complete bool) {
		t.Helper()
		if st := s.replicaState(1); !st.Unclean || st.Complete != complete {
			t.Errorf("%v, want complete %v", st, complete)
		}
	}
	s := at("first")
	must(t, write(s, testChunk(1), 1, 0, bytes.Repeat([]byte("a"), 20_000), true))
	s.abandon()
	s = at("first")
	expect(s, true)
	must(t, s.Close()) // cleanly: it stays unclean all the same
	s = at("second")   // and nothing was lost by that
	expect(s, true)
	s.abandon()
	s = at("third")
	expect(s, false)
	s.abandon()
	s = at("third") // of which the second process knows
	expect(s, false)
	must(t, s.LetStand(1, 1))
	must(t, s.settle(0, 1))
	s.abandon()
	s = at("fourth")
	if st := s.replicaState(1); st.Unclean {
		t.Errorf("settled and not written since: %v", st)
	}
	s.abandon()
	if s = at(""); s.folders[0].intact {
		t.Error("a boot without a name counts as known")
	}
	s.abandon()
}

func TestThisBootHasAName(t *testing.T) {
	if name := ThisBoot(); len(name) < 32 || len(name) > bootLimit || name != ThisBoot() {
		t.Errorf("this boot is named %q", name)
	}
}
