package chunk

import (
	"testing"

	"github.com/distrifs/distrifs/internal/disk"
)

// A write that failed elsewhere in the chain is reported until the version is raised, and
// is not forgotten by a stop, clean or not: the replica counts as unclean afterwards (G3).
func TestBrokenUntilTheVersionIsRaised(t *testing.T) {
	for _, clean := range []bool{true, false} {
		mem := disk.NewMem()
		s := openStore(t, testOptions(mem, "/data"))
		must(t, write(s, testChunk(1), 1, 0, []byte("not acknowledged"), true))
		s.noteBroken(testChunk(1), 2)
		if st := s.replicaState(1); st.Broken {
			t.Errorf("of another version: %v", st)
		}
		s.noteBroken(testChunk(1), 1)
		s.noteBroken(testChunk(9), 1)
		must(t, s.settle(0, 1))
		if st := s.replicaState(1); !st.Broken || st.Unclean {
			t.Errorf("after a failed write: %v", st)
		}
		if clean {
			must(t, s.Close())
		} else {
			s.abandon()
		}
		s = openStoreAt(t, mem)
		if st := s.replicaState(1); !st.Unclean || st.Complete != clean {
			t.Errorf("after a stop, clean %v: %v", clean, st)
		}
		must(t, s.LetStand(1, 2))
		must(t, s.Close())
		s = openStoreAt(t, mem)
		if st := s.replicaState(1); st.Unclean || st.Broken {
			t.Errorf("settled: %v", st)
		}
		must(t, s.Close())
	}
}
