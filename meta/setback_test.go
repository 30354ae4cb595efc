package meta

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// G3: a chunkserver that comes back with an older copy of its folders is not registered
// before it has doubted all that it holds; then that is made equal to what others have. The
// log knows its last start, also after a restart of the master.
func TestSetBackChunkserverIsMadeEqual(t *testing.T) {
	for _, restart := range []bool{false, true} {
		inCluster(t, 3, Config{}, func(c *cluster) {
			one := c.connect(&pb.Hello{})
			files := one.files(5)
			n := c.nodes[1]
			n.restart()
			time.Sleep(time.Minute)
			one.vanish()
			n.kill()
			earlier := n.incarnation - 1<<20
			if restart {
				c.crash(3)
				n.kill()
			}
			n.incarnation = earlier // its next start is one that the log has seen another of
			newest := c.master.newest(uuid.MustParse(n.instance))
			if next := proto.Incarnation(earlier).Next(n.starts + 1); next.Continues(newest) {
				t.Fatalf("%d goes on from %d: this shows nothing", next, newest)
			}
			n.start()
			c.take()
			time.Sleep(time.Minute)
			if last := c.master.newest(uuid.MustParse(n.instance)); last.Start() <= newest.Start() {
				t.Errorf("the log knows start %d, it was %d", last.Start(), newest.Start())
			}
			for _, f := range files {
				chunk, _ := c.master.machine.chunk(proto.ChunkID(f.Chunk.Chunk))
				if held := c.master.nodes.Holds(proto.NodeID(n.id), chunk); held.Unclean || held.Version != chunk.Version || chunk.Version == 1 {
					t.Errorf("restart %v: chunk %v of version %d is held as %+v", restart, chunk.ID, chunk.Version, held)
				}
			}
		})
	}
}

// L3: an incarnation in the log only grows.
func TestIncarnationsInTheLogOnlyGrow(t *testing.T) {
	inCluster(t, 1, Config{}, func(c *cluster) {
		n := c.nodes[0]
		for _, step := range []struct {
			incarnation uint64
			want        proto.Kind
		}{{n.incarnation - 1, proto.OldEpoch}, {n.incarnation, proto.OK}, {n.incarnation + 1, proto.OK}, {n.incarnation, proto.OldEpoch}} {
			result, err := c.master.propose(&state.RegisterNode{Instance: uuid.MustParse(n.instance), Address: n.address, Incarnation: step.incarnation})
			if got := max(result.Kind, proto.KindOf(err)); got != step.want {
				t.Errorf("%d: %v, want %v", step.incarnation, got, step.want)
			}
		}
	})
}
