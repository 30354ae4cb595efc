package leases

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/distrifs/distrifs/proto"
)

var runs = flag.Int("leases.runs", 100, "random runs of the model test")

// TestRandomInterleavings runs sessions that do anything the protocol allows, with
// answers, recalls and their answers delivered late and out of order, against one table,
// and looks after every step that
//
//   - leases of two sessions on an inode never conflict, nor do they with granted claims;
//   - what a session believes to have, the table knows;
//   - who has a file exclusive is not made to wait for it;
//   - once everybody answers, all claims are granted: nobody starves, nobody waits in a
//     circle.
func TestRandomInterleavings(t *testing.T) {
	for seed := range *runs {
		w := newWorld(t, uint64(seed))
		for range 400 {
			w.step()
			w.check()
		}
		w.drain()
		if t.Failed() {
			t.Fatalf("seed %d:\n%s", seed, w.story)
		}
	}
}

// world is a table with those who use it.
type world struct {
	t       *testing.T
	rnd     *rand.Rand
	table   *Table
	clients []*believer
	last    proto.SessionID
	claims  []*Claim // queued
	story   string
}

// believer is a session as its client sees it.
type believer struct {
	id      proto.SessionID
	belief  map[proto.InodeID]Mode
	seen    map[proto.InodeID]uint64 // highest recall
	answers []answer                 // grants under way to it
	recalls []Recall                 // under way to it
	owed    []Recall                 // arrived and not answered
	said    []Recall                 // answered: may be said again
}

// answer carries a grant.
type answer struct {
	inode   proto.InodeID
	mode    Mode
	recalls uint64
}

const modelInodes = 3

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		t: t, rnd: rand.New(rand.NewPCG(seed, 7)),
		table: New(Limits{Held: 9, HeldBySession: 4}, func() time.Time { return time.Unix(1, 0) }),
	}
	if seed%3 != 0 {
		w.table.limits = Limits{Held: 100, HeldBySession: 100}
	}
	for range 4 {
		w.clients = append(w.clients, w.join())
	}
	return w
}

func (w *world) join() *believer {
	w.last++
	w.table.Open(w.last)
	return &believer{id: w.last, belief: map[proto.InodeID]Mode{}, seen: map[proto.InodeID]uint64{}}
}

func (w *world) tell(format string, args ...any) { w.story += fmt.Sprintf(format+"\n", args...) }

func (w *world) inode() proto.InodeID { return proto.InodeID(w.rnd.IntN(modelInodes) + 1) }

// step is one random event.
func (w *world) step() {
	i := w.rnd.IntN(len(w.clients))
	c := w.clients[i]
	switch dice := w.rnd.IntN(100); {
	case dice < 20:
		w.grant(c, w.inode(), Mode(1+w.rnd.IntN(2)))
	case dice < 40:
		w.claim(c.id)
	case dice < 42:
		w.claim(0)
	case dice < 60:
		if n := len(w.claims); n > 0 {
			w.finish(w.rnd.IntN(n))
		}
	case dice < 70:
		w.send(c)
	case dice < 78:
		w.deliverAnswer(c)
	case dice < 86:
		w.deliverRecall(c)
	case dice < 95:
		w.answer(c)
	case dice < 97:
		ino := w.inode()
		c.belief[ino] = None
		w.table.Return(c.id, 0, None, []proto.InodeID{ino})
		w.tell("%d gives %d back", c.id, ino)
	case dice < 97+w.rnd.IntN(2):
		ino := w.inode()
		leased := w.table.Ask([]proto.InodeID{ino})
		w.tell("asked for %d: leased %v", ino, leased)
		for _, c := range w.clients {
			if c.belief[ino] != None && len(leased) == 0 {
				w.t.Errorf("nobody has a lease on %d, but %d believes to have one", ino, c.id)
			}
		}
	case dice < 98:
		if n := len(c.said); n > 0 {
			r := c.said[w.rnd.IntN(n)]
			w.table.Return(c.id, r.Number, r.Keep, r.Inodes)
			w.tell("%d says %v again", c.id, r)
		}
	case dice < 99:
		// The stream is another one: what was sent and not answered is sent again.
		c.recalls = w.table.Unanswered(c.id)
		c.owed = nil
	default:
		w.end(i)
	}
}

func (w *world) grant(c *believer, ino proto.InodeID, mode Mode) {
	got := w.table.Grant(c.id, ino, mode)
	w.tell("%d asks for %d of %d: %d at %d", c.id, mode, ino, got, w.table.Sent(c.id))
	if got != None {
		c.answers = append(c.answers, answer{ino, got, w.table.Sent(c.id)})
	}
}

// claim makes a claim of one inode of any want, or of several of one of two wants.
func (w *world) claim(id proto.SessionID) {
	c := &Claim{Session: id}
	want := Want(w.rnd.IntN(4))
	if id == 0 {
		want = Write
	}
	c.Add(w.inode(), want)
	if want == Read || want == Write {
		for range w.rnd.IntN(3) {
			c.Add(w.inode(), want)
		}
	}
	mine := c.count == 1 && want == Write && w.table.Holds(id, c.items[0].inode) == Exclusive
	granted := w.table.Make(c)
	w.claims = append(w.claims, c)
	w.tell("%d claims %s: %v", id, describe(c), granted)
	if mine && !granted {
		w.t.Errorf("%d waits for what it has exclusive", id)
	}
}

func describe(c *Claim) (text string) {
	for _, it := range c.items[:c.count] {
		text += fmt.Sprintf("%d(%d) ", it.inode, it.want)
	}
	return text
}

// finish ends a claim: granted, with the lease it was made for, or given up.
func (w *world) finish(i int) {
	c := w.claims[i]
	if !c.IsGranted() && w.rnd.IntN(4) != 0 {
		return
	}
	w.claims = append(w.claims[:i], w.claims[i+1:]...)
	if c.IsGranted() && (c.items[0].want == Share || c.items[0].want == Own) {
		if client := w.find(c.Session); client != nil {
			got := w.table.Acquire(c)
			w.tell("%d acquires %d of %d at %d", c.Session, got, c.items[0].inode, w.table.Sent(c.Session))
			if got != None {
				client.answers = append(client.answers, answer{c.items[0].inode, got, w.table.Sent(c.Session)})
			}
		}
	}
	w.tell("%d releases %s", c.Session, describe(c))
	w.table.Release(c)
	w.table.Release(c)
}

func (w *world) find(id proto.SessionID) *believer {
	for _, c := range w.clients {
		if c.id == id {
			return c
		}
	}
	return nil
}

// send puts what is to be sent to a session under way.
func (w *world) send(c *believer) {
	for _, r := range w.table.Take(c.id) {
		w.tell("to %d: %v", c.id, r)
		c.recalls = append(c.recalls, r)
	}
}

func (w *world) deliverAnswer(c *believer) {
	if len(c.answers) == 0 {
		return
	}
	i := w.rnd.IntN(len(c.answers))
	a := c.answers[i]
	c.answers = append(c.answers[:i], c.answers[i+1:]...)
	if c.seen[a.inode] <= a.recalls {
		c.belief[a.inode] = max(c.belief[a.inode], a.mode)
	}
	w.tell("%d hears of its %v", c.id, a)
}

func (w *world) deliverRecall(c *believer) {
	if len(c.recalls) == 0 {
		return
	}
	r := c.recalls[0]
	c.recalls = c.recalls[1:]
	for _, ino := range r.Inodes {
		c.seen[ino] = max(c.seen[ino], r.Number)
	}
	c.owed = append(c.owed, r)
	w.tell("%d hears %v", c.id, r)
}

// answer answers any recall that has arrived, one inode of it or all.
func (w *world) answer(c *believer) {
	if len(c.owed) == 0 {
		return
	}
	i := w.rnd.IntN(len(c.owed))
	r := c.owed[i]
	if len(r.Inodes) > 1 && w.rnd.IntN(2) == 0 {
		c.owed[i].Inodes = r.Inodes[1:]
		r.Inodes = r.Inodes[:1]
	} else {
		c.owed = append(c.owed[:i], c.owed[i+1:]...)
	}
	if w.rnd.IntN(4) == 0 {
		r.Keep = None
	}
	for _, ino := range r.Inodes {
		c.belief[ino] = min(c.belief[ino], r.Keep)
	}
	w.table.Return(c.id, r.Number, r.Keep, r.Inodes)
	c.said = append(c.said, r)
	w.tell("%d answers %v", c.id, r)
}

// end replaces a session.
func (w *world) end(i int) {
	w.tell("%d ends", w.clients[i].id)
	gone := w.table.Exclusive(w.clients[i].id)
	w.table.End(w.clients[i].id)
	for _, ino := range gone {
		if ino == 0 || ino > modelInodes {
			w.t.Errorf("abandoned %d", ino)
		}
	}
	w.clients[i] = w.join()
}

// check looks at everything.
func (w *world) check() {
	held := 0
	for ino := proto.InodeID(1); ino <= modelInodes; ino++ {
		sharers, owners := 0, 0
		for _, c := range w.clients {
			mode := w.table.Holds(c.id, ino)
			switch mode {
			case Shared:
				sharers++
			case Exclusive:
				owners++
			}
			if c.belief[ino] > mode {
				w.t.Errorf("%d believes to have %d of %d, and has %d", c.id, c.belief[ino], ino, mode)
			}
		}
		if owners > 1 || owners == 1 && sharers > 0 {
			w.t.Errorf("inode %d: %d exclusive, %d shared", ino, owners, sharers)
		}
		held += sharers + owners
	}
	if stats := w.table.Stats(); stats.Held != held {
		w.t.Errorf("%d leases are counted, and there are %d", stats.Held, held)
	}
	waiting := 0
	for i, c := range w.claims {
		if !c.IsGranted() {
			waiting++
			continue
		}
		w.checkGranted(c, w.claims[i+1:])
	}
	if stats := w.table.Stats(); stats.Waiting != waiting {
		w.t.Errorf("%d claims are counted as waiting, and there are %d", stats.Waiting, waiting)
	}
	if w.t.Failed() {
		w.t.Fatal(w.story)
	}
}

// checkGranted looks at what a granted claim excludes.
func (w *world) checkGranted(c *Claim, others []*Claim) {
	for _, it := range c.items[:c.count] {
		for _, client := range w.clients {
			if client.id != c.Session && w.table.Holds(client.id, it.inode) > it.want.keep() {
				w.t.Errorf("%d has %d against the claim %s of %d", client.id, it.inode, describe(c), c.Session)
			}
		}
		for _, other := range others {
			for _, x := range other.items[:other.count] {
				if other.IsGranted() && other.Session != c.Session && x.inode == it.inode && excludes(x.want, it.want) {
					w.t.Errorf("both granted: %s of %d, %s of %d", describe(c), c.Session, describe(other), other.Session)
				}
			}
		}
	}
}

// drain has everybody answer, and expects that all claims are granted. Claims are
// finished one at a time, in a random order.
func (w *world) drain() {
	for len(w.claims) > 0 {
		before := len(w.claims)
		for _, c := range w.clients {
			w.send(c)
			for len(c.recalls) > 0 {
				w.deliverRecall(c)
			}
			for len(c.owed) > 0 {
				w.answer(c)
			}
			w.check()
		}
		var granted []int
		for i, c := range w.claims {
			if c.IsGranted() {
				granted = append(granted, i)
			}
		}
		if len(granted) > 0 {
			w.finish(granted[w.rnd.IntN(len(granted))])
			w.check()
		}
		if len(w.claims) == before && len(granted) == 0 && !w.busy() {
			w.t.Errorf("%d claims wait for ever, the first one: %s of %d", before, describe(w.claims[0]), w.claims[0].Session)
			return
		}
	}
	if len(w.table.points) != 0 {
		w.t.Errorf("%d points are left", len(w.table.points))
	}
}

// busy tells whether there are recalls to be sent or answered.
func (w *world) busy() bool {
	for _, a := range w.table.accounts {
		if len(a.debts) > 0 {
			return true
		}
	}
	return false
}
