package leases

import (
	"testing"
	"time"

	"github.com/distrifs/distrifs/proto"
)

// newTable makes a table with sessions 1 to n.
func newTable(n int) *Table {
	t := New(Limits{Held: 1000, HeldBySession: 100}, func() time.Time { return time.Unix(100, 0) })
	for id := range n {
		t.Open(proto.SessionID(id + 1))
	}
	return t
}

// claims makes a claim of one session.
func claims(t *Table, id proto.SessionID, want Want, inodes ...proto.InodeID) *Claim {
	c := &Claim{Session: id}
	for _, ino := range inodes {
		c.Add(ino, want)
	}
	t.Make(c)
	return c
}

// answers has a session answer all that was recalled from it.
func answers(t *Table, id proto.SessionID) (recalls []Recall) {
	recalls = t.Take(id)
	for _, r := range recalls {
		t.Return(id, r.Number, r.Keep, r.Inodes)
	}
	return recalls
}

// A change waits for all others and nobody is granted anything meanwhile, its own session
// excepted.
func TestClaimExcludes(t *testing.T) {
	x := newTable(3)
	x.Grant(1, 7, Shared)
	x.Grant(2, 7, Shared)
	c := claims(x, 3, Write, 7)
	if c.IsGranted() || len(x.News()) != 2 {
		t.Fatal("nobody was asked")
	}
	answers(x, 1)
	if c.IsGranted() || x.Grant(1, 7, Shared) != None {
		t.Error("the claim does not exclude")
	}
	answers(x, 2)
	if <-c.Granted(); x.Grant(1, 7, Shared) != None || x.Grant(3, 7, Shared) != Shared {
		t.Error("granted to the wrong session")
	}
	x.Release(c)
	if x.Grant(1, 7, Shared) != Shared {
		t.Error("not granted after the claim")
	}
}

// The answer to a recall does not take what was granted behind it.
func TestAnswerCountsForWhatWasRecalled(t *testing.T) {
	x := newTable(2)
	x.Grant(1, 7, Exclusive)
	read := claims(x, 2, Read, 7)
	first := x.Take(1)[0]
	write := claims(x, 2, Write, 7)
	second := x.Take(1)[0]
	if first.Keep != Shared || second.Keep != None || second.Number != 2 {
		t.Fatalf("recalls %v, %v", first, second)
	}
	if sent := x.Unanswered(1); len(sent) != 1 || sent[0].Number != 2 {
		t.Errorf("unanswered: %v", sent)
	}
	x.Return(1, second.Number, None, second.Inodes)
	if !read.IsGranted() || !write.IsGranted() {
		t.Fatal("the second answer is not enough")
	}
	x.Release(read)
	x.Release(write)
	if x.Grant(1, 7, Exclusive) != Exclusive {
		t.Fatal("not granted again")
	}
	x.Return(1, first.Number, Shared, first.Inodes)
	if x.Holds(1, 7) != Exclusive {
		t.Error("the late answer took a lease that was granted after it")
	}
}

// Who upgrades is before one who has nothing; who changes what it holds before all.
func TestUpgradeGoesFirst(t *testing.T) {
	x := newTable(3)
	x.Grant(1, 7, Shared)
	sharing := claims(x, 2, Share, 7)
	stranger := claims(x, 3, Own, 7)
	upgrade := claims(x, 1, Own, 7)
	back := claims(x, 1, Write, 7)
	if !sharing.IsGranted() || stranger.IsGranted() || upgrade.IsGranted() || len(x.Take(1)) != 0 {
		t.Fatal("the first claim excludes the others")
	}
	x.Acquire(sharing)
	x.Release(sharing)
	answers(x, 2)
	if !back.IsGranted() || !upgrade.IsGranted() || stranger.IsGranted() {
		t.Fatalf("change %v, upgrade %v, stranger %v", back.IsGranted(), upgrade.IsGranted(), stranger.IsGranted())
	}
	if x.Acquire(upgrade) != Exclusive {
		t.Error("not acquired")
	}
	x.Release(upgrade)
	x.Release(back)
	answers(x, 1)
	if !stranger.IsGranted() || x.Acquire(stranger) != Exclusive {
		t.Error("the other one is never served")
	}
}

// Who wants again what it has been asked for comes behind those it was asked for.
func TestNobodyHasItsTurnAgainAndAgain(t *testing.T) {
	x := newTable(2)
	x.Grant(1, 7, Exclusive)
	other := claims(x, 2, Own, 7)
	again := claims(x, 1, Own, 7)
	answers(x, 1)
	if !other.IsGranted() || again.IsGranted() {
		t.Errorf("the other %v, again %v", other.IsGranted(), again.IsGranted())
	}
}

// What a session gives back of its own accord stays its own until it has answered: a
// grant may be on its way.
func TestGivingBackIsRecalled(t *testing.T) {
	x := newTable(1)
	x.Grant(1, 7, Shared)
	x.Return(1, 0, None, []proto.InodeID{7, 8})
	if x.Holds(1, 7) != Shared || x.Grant(1, 7, Shared) != None {
		t.Error("given back at once, or granted meanwhile")
	}
	if recalls := answers(x, 1); len(recalls) != 1 || len(recalls[0].Inodes) != 1 {
		t.Errorf("recalls %v", recalls)
	}
	if x.Holds(1, 7) != None || x.Stats().Held != 0 {
		t.Error("not given back")
	}
}

// At the bound nothing more is granted, and what was granted longest ago and not used
// since is recalled.
func TestBoundOfSession(t *testing.T) {
	x := newTable(2)
	for ino := range proto.InodeID(100) {
		x.Grant(1, ino+1, Shared)
	}
	x.Grant(1, 1, Shared)
	if x.Grant(1, 101, Shared) != None {
		t.Fatal("granted above the bound")
	}
	r := x.Take(1)
	if len(r) != 1 || len(r[0].Inodes) != share(100) || r[0].Inodes[0] != 2 {
		t.Fatalf("recalled %v", r)
	}
	if x.Grant(1, 102, Shared) != None || len(x.Take(1)) != 0 {
		t.Error("asked again before it answered")
	}
	if own := claims(x, 1, Own, 103); x.Acquire(own) != Exclusive {
		t.Error("what is asked for by itself is refused")
	}
	x.Return(1, r[0].Number, None, r[0].Inodes)
	if x.Grant(1, 101, Shared) != Shared || x.Grant(2, 101, Shared) != Shared {
		t.Error("not granted below the bound")
	}
}

// At the bound of all together, who has most gives back.
func TestBoundOfAll(t *testing.T) {
	x := newTable(12)
	for ino := range proto.InodeID(1000) {
		x.Grant(proto.SessionID(2+ino/100), ino+1, Shared)
	}
	x.Return(2, 0, None, []proto.InodeID{1})
	answers(x, 2)
	x.Grant(1, 1, Shared)
	if x.Grant(1, 2, Shared) != None || len(x.Take(1)) != 0 {
		t.Error("granted above the bound, or asked of one who has little")
	}
	asked := 0
	for id := range proto.SessionID(11) {
		asked += len(answers(x, id+1))
	}
	if asked != 1 || x.Grant(1, 2, Shared) != Shared {
		t.Errorf("%d sessions were asked", asked)
	}
}

// A claim by a session that ends, or is given up, leaves nothing behind.
func TestEndAndGivingUp(t *testing.T) {
	x := newTable(3)
	x.Grant(1, 7, Exclusive)
	x.Grant(1, 8, Shared)
	wants := claims(x, 2, Own, 7)
	after := claims(x, 3, Own, 7)
	x.Release(wants)
	gone := x.Exclusive(1)
	x.End(1)
	if len(gone) != 1 || gone[0] != 7 {
		t.Errorf("it had %v exclusive", gone)
	}
	if !after.IsGranted() {
		t.Error("still waiting for who is gone")
	}
	x.Release(after)
	if s := x.Stats(); s != (Stats{}) || len(x.points) != 0 || len(x.byInode) != 0 {
		t.Errorf("left: %v", s)
	}
	if x.Grant(1, 7, Shared) != None {
		t.Error("granted to a session that has ended")
	}
	x.Open(4)
	if x.Grant(4, 7, Shared) != Shared || x.find(4, 7) == nil {
		t.Error("the next session has no account of its own")
	}
}

// Exclusive leases of before a start are given again, or asked for if they are another's.
func TestRestore(t *testing.T) {
	x := newTable(2)
	x.Grant(2, 8, Shared)
	if !x.Restore(1, 7) || x.Restore(1, 8) {
		t.Fatal("restored the wrong one")
	}
	if x.Holds(1, 7) != Exclusive || x.Grant(1, 8, Shared) != None {
		t.Error("not restored, or granted before what was written has come")
	}
	answers(x, 1)
	if x.Holds(1, 7) != Exclusive || x.Grant(1, 8, Shared) != Shared {
		t.Error("still owed")
	}
}

// Many inodes are recalled with few messages.
func TestRecallsAreGathered(t *testing.T) {
	x := newTable(2)
	x.limits.HeldBySession, x.limits.Held = 1<<20, 1<<20
	for ino := range proto.InodeID(maxInodes + 10) {
		x.Grant(1, ino+1, Shared)
	}
	for ino := range proto.InodeID(maxInodes + 10) {
		claims(x, 2, Write, ino+1)
	}
	if got := x.Take(1); len(got) != 2 || len(got[0].Inodes) != maxInodes || len(got[1].Inodes) != 10 {
		t.Errorf("%d recalls", len(got))
	}
	if got := x.Unanswered(1); len(got) != 2 || got[0].Number != 1 {
		t.Errorf("%d to be sent again", len(got))
	}
	if owing := x.Owing(); len(owing) != 1 || owing[0] != 1 {
		t.Errorf("%v owe", owing)
	}
	if since, owes := x.OwesSince(1); !owes || since != time.Unix(100, 0) {
		t.Errorf("owes %v since %v", owes, since)
	}
}
