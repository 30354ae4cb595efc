package meta

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// What a chain comes to, whatever its members hold when its writer reports it: as soon
// as all of them are back, the writer has a chain that works, the replicas are equal,
// and the bytes that stand are those of the member that is most to be trusted. Where
// nobody can have the bytes, the writer is told so at once.

var chainRounds = flag.Int("chain-rounds", 30, "random chains that TestAnyChainRecovers tries")

// holding is what a member has when its chunkserver comes up.
type holding int

const (
	nothing     holding = iota
	current             // the logged version, sound
	before              // the version before, sound
	currentTorn         // unclean, and complete
	beforeTorn
	currentUnclean
	beforeUnclean
	currentCorrupt
	holdings
)

var holdingNames = [...]string{"-", "v", "v-1", "v*", "v-1*", "v!", "v-1!", "v?"}

// distrust ranks what a chain can go on with; 0: not with this.
func (h holding) distrust() int { return [...]int{0, 1, 2, 3, 3, 4, 5, 0}[h] }

// mayLack is the distrust from which on acknowledged bytes may be missing.
const mayLack = 4

// replica of a chunk that is at version v in the log.
func (h holding) replica(chunk, v, content uint64) *pb.ReplicaState {
	r := &pb.ReplicaState{Chunk: chunk, Version: v, Length: content}
	switch h {
	case nothing:
		return nil
	case before, beforeTorn, beforeUnclean:
		r.Version--
	}
	r.Complete = h == currentTorn || h == beforeTorn
	r.Unclean = r.Complete || h == currentUnclean || h == beforeUnclean
	r.Corrupt = h == currentCorrupt
	return r
}

// predicament is a chain of three at version 2 whose writer reports a failure.
type predicament struct {
	members   [3]holding
	late      [3]bool // its chunkserver comes up some time after the first reports
	committed bool
	unwritten bool   // nothing was acknowledged; never of a committed chunk
	suspects  []int  // members
	version   uint64 // that the writer knows
}

func (p predicament) String() string {
	var words []string
	for i, h := range p.members {
		word := holdingNames[h]
		if p.late[i] {
			word += "~"
		}
		words = append(words, word)
	}
	return fmt.Sprintf("%s committed=%v unwritten=%v suspects=%v version=%d", strings.Join(words, " "), p.committed, p.unwritten, p.suspects, p.version)
}

// content stands for the bytes of a member. Replicas of a version that was confirmed to
// somebody are equal; in others, bytes that nobody has acknowledged may differ.
func (p predicament) content(member int) uint64 {
	if p.members[member] == current && p.version < 2 {
		return 100
	}
	return uint64(member + 1)
}

// best are the contents of which one must stand in the end, in every replica. Who comes
// late may be passed over for another that has all that was acknowledged.
func (p predicament) best() (contents []uint64, distrust int) {
	late := p.late != [3]bool{}
	for i, h := range p.members {
		d := h.distrust()
		if late && d < mayLack {
			d = min(d, 1)
		}
		if d == 0 || distrust != 0 && d > distrust {
			continue
		}
		if d != distrust {
			contents, distrust = nil, d
		}
		contents = append(contents, p.content(i))
	}
	return contents, distrust
}

// arrange makes the predicament: what the log says and what the chunkservers have.
func (p predicament) arrange(one *client) (*pb.CreateReply, []*fakeNode) {
	c := one.c
	f := one.file("f")
	id := proto.ChunkID(f.Chunk.Chunk)
	chain := c.chainOf(f.Chunk)
	if p.committed {
		one.write(f)
	}
	var nodes []proto.NodeID
	for _, n := range chain {
		nodes = append(nodes, proto.NodeID(n.id))
	}
	if _, err := c.master.propose(&state.SetChain{Chunk: id, From: 1, To: 2, Chain: nodes}); err != nil {
		c.t.Fatal(err)
	}
	for i, n := range chain {
		n.kill()
		n.set(func() { delete(n.replicas, id) })
		if r := p.members[i].replica(uint64(id), 2, p.content(i)); r != nil {
			n.hold(r, false)
		}
	}
	return f, chain
}

// outcome reports like a writer that does not give up, for a minute.
func (p predicament) outcome(one *client, f *pb.CreateReply, chain []*fakeNode, tries int) (*pb.ChunkLocation, proto.Kind) {
	req := &pb.ReportChainFailureRequest{
		Caller: one.asks(), Inode: f.Attr.Inode, Chunk: f.Chunk.Chunk, Version: p.version, Unwritten: p.unwritten, Reason: "test",
	}
	for _, i := range p.suspects {
		req.Failed = append(req.Failed, chain[i].id)
	}
	kind := proto.OK
	for range tries {
		reply, err := one.api().ReportChainFailure(one.c.t.Context(), req)
		kind = proto.KindOf(proto.FromStatus(err))
		if kind != proto.Unavailable && kind != proto.TooFewReplicas {
			return reply, kind
		}
		time.Sleep(500 * time.Millisecond)
	}
	return nil, kind
}

// run tells how it ended: "equal", "lost", "another chunk", or what is wrong.
func (p predicament) run(t *testing.T) (ended string) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		f, chain := p.arrange(one)
		for i, n := range chain {
			if !p.late[i] {
				n.start()
			}
		}
		synctest.Wait()
		l, kind := p.outcome(one, f, chain, 4)
		for i, n := range chain {
			if p.late[i] {
				n.start()
			}
		}
		if kind == proto.Unavailable || kind == proto.TooFewReplicas {
			synctest.Wait()
			l, kind = p.outcome(one, f, chain, 60)
		}
		time.Sleep(5 * time.Minute) // repair does the rest
		ended = p.judge(c, l, kind)
	})
	return ended
}

func (p predicament) judge(c *cluster, l *pb.ChunkLocation, kind proto.Kind) string {
	switch {
	case kind == proto.IO:
		return "lost"
	case kind == proto.NotFound:
		return "another chunk"
	case kind != proto.OK:
		return "the writer waits for ever: " + kind.String()
	case slices.ContainsFunc(l.Chain, func(r *pb.Replica) bool { return r.Address == "" }):
		return "the chain is not whole: " + show(l)
	case l.Version <= p.version:
		return "the version is not raised: " + show(l)
	}
	want := c.node(l.Chain[0].Node).replica(l.Chunk).GetLength()
	best, distrust := p.best()
	if !p.unwritten && !slices.Contains(best, want) {
		return fmt.Sprintf("the bytes %d stand, and not of %d", want, best)
	}
	if lost := proto.Version(l.Version).Age() > 0; lost != (distrust >= mayLack) {
		return fmt.Sprintf("version %x", l.Version) // L9
	}
	for _, r := range l.Chain {
		held := c.node(r.Node).replica(l.Chunk)
		if held.GetVersion() < l.Version || held.GetLength() != want {
			return fmt.Sprintf("node %d has %v, and not the bytes %d", r.Node, held, want)
		}
	}
	return "equal"
}

func (n *fakeNode) replica(id uint64) *pb.ReplicaState {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.replicas[proto.ChunkID(id)]
}

// wanted is how it has to end.
func (p predicament) wanted() string {
	switch _, distrust := p.best(); {
	case distrust != 0:
		return "equal"
	case p.unwritten:
		return "another chunk"
	default:
		return "lost"
	}
}

// Each state of a member counts once as the best there is.
func TestChainRecovers(t *testing.T) { // G7, L1
	for _, members := range [][3]holding{
		{current, current, current},
		{currentUnclean, beforeUnclean, current},
		{currentUnclean, before, nothing},
		{before, beforeUnclean, before},
		{currentCorrupt, beforeUnclean, currentUnclean},
		{currentUnclean, currentUnclean, currentUnclean},
		{currentTorn, currentTorn, currentTorn},
		{currentUnclean, beforeTorn, currentTorn},
		{beforeUnclean, nothing, beforeUnclean},
		{beforeUnclean, beforeUnclean, beforeUnclean},
		{nothing, nothing, nothing},
		{currentCorrupt, nothing, currentCorrupt},
	} {
		for _, p := range []predicament{
			{members: members, version: 1},
			{members: members, version: 2, suspects: []int{0}},
			{members: members, version: 1, unwritten: true},
			{members: members, version: 1, committed: true},
			{members: members, version: 1, late: [3]bool{true, false, true}},
		} {
			t.Run(p.String(), func(t *testing.T) {
				if ended := p.run(t); ended != p.wanted() {
					t.Errorf("it ended with %q, not %q", ended, p.wanted())
				}
			})
		}
	}
}

// The same for chains at random.
func TestAnyChainRecovers(t *testing.T) { // G7, L1
	random := rand.New(rand.NewPCG(4, 7))
	for range *chainRounds {
		p := predicament{version: 1 + random.Uint64N(2)}
		for i := range p.members {
			p.members[i] = holding(random.IntN(int(holdings)))
			p.late[i] = random.IntN(3) == 0
		}
		if random.IntN(2) == 0 {
			p.suspects = []int{random.IntN(3)} // who answered names one
		}
		switch random.IntN(3) {
		case 0:
			p.committed = true
		case 1:
			p.unwritten = true
		}
		t.Run(p.String(), func(t *testing.T) {
			if ended := p.run(t); ended != p.wanted() {
				t.Errorf("it ended with %q, not %q", ended, p.wanted())
			}
		})
	}
}
