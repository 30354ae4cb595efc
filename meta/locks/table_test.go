package locks

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/distrifs/distrifs/internal/ranges"
	"github.com/distrifs/distrifs/proto"
)

var roomy = Limits{Held: 1000, HeldBySession: 1000, Waits: 1000, WaitsOfSession: 1000}

// script runs steps against a table. A step is "WHO WHAT [FILE:]FIRST-LAST", with
// the answer behind "=":
//
//	a1 x 0-9 = ok      owner 1 of session a locks exclusively
//	b1 s 0-9 = locked  shared
//	b1 w 0-9 = queued  waits for an exclusive lock; "v" waits for a shared one
//	a1 u 0-9 = ok, b1  unlocks; then it is the turn of b1
//	a end = ok, b1     session a ends
//	c1 ? x 0-9 = a1    asks what is in the way
//
// The number of an owner is his pid and his ticket too. Flock locks are in capitals.
func script(t *testing.T, table *Table, steps string) {
	t.Helper()
	for step := range strings.Lines(steps) {
		step, want, ok := strings.Cut(strings.TrimSpace(step), " = ")
		if !ok {
			continue
		}
		got := perform(table, strings.Fields(step))
		for _, turn := range table.TakeTurns() {
			got += fmt.Sprintf(", %c%d", 'a'-1+rune(turn.Session), turn.Ticket)
		}
		if got != strings.TrimSpace(want) {
			t.Errorf("%s: %s, want %s", step, got, want)
		}
	}
}

func perform(table *Table, words []string) string {
	session := proto.SessionID(words[0][0] - 'a' + 1)
	if words[1] == "end" {
		table.EndSession(session)
		return "ok"
	}
	ask := words[1] == "?"
	if ask {
		words = append(words[:1], words[2:]...)
	}
	l := Lock{Inode: 1, Owner: Owner{Session: session}}
	fmt.Sscan(words[0][1:], &l.Owner.ID)
	l.Process = uint32(l.Owner.ID)
	where := words[2]
	if file, rest, ok := strings.Cut(where, ":"); ok {
		fmt.Sscan(file, &l.Inode)
		where = rest
	}
	fmt.Sscanf(where, "%d-%d", &l.Range.Start, &l.Range.End)
	what := strings.ToLower(words[1])
	if what != words[1] {
		l.Space = Flock
	}
	l.Mode = map[string]Mode{"x": Exclusive, "w": Exclusive, "s": Shared, "v": Shared}[what]
	switch {
	case ask:
		other, conflict := table.Test(l)
		if !conflict {
			return "free"
		}
		return fmt.Sprintf("%c%d %d %d-%d", 'a'-1+rune(other.Owner.Session), other.Owner.ID, other.Mode, other.Range.Start, other.Range.End)
	case what == "u":
		return table.Unlock(l).String()
	}
	wait := what == "w" || what == "v"
	queued, kind := table.Set(l, wait, l.Owner.ID)
	if queued {
		return "queued"
	}
	return kind.String()
}

var scripts = map[string]string{
	"ranges of one owner split and merge": `
		a1 x 0-29 = ok
		a1 u 10-19 = ok
		b1 x 10-19 = ok
		b1 x 9-9 = locked
		b1 x 20-20 = locked
		b1 u 10-19 = ok
		a1 s 5-24 = ok
		b1 s 5-24 = ok
		b1 s 4-5 = locked
		b1 ? x 0-100 = a1 2 0-4
		b1 ? s 5-100 = a1 2 25-29
		b1 ? x 30-100 = free
		a1 ? u 3-100 = a1 2 0-4
		a1 ? u 30-100 = free
		b1 ? u 0-100 = b1 1 5-24
		a1 u 0-100 = ok
		b1 x 0-100 = ok`,
	"the spaces and the files do not see each other": `
		a1 x 0-9 = ok
		b1 X 0-9 = ok
		c1 x 2:0-9 = ok
		c1 x 0-9 = locked
		c1 X 0-9 = locked`,
	"waiters are served in order, readers together": `
		a1 x 0-9 = ok
		b1 v 0-9 = queued
		c1 v 0-9 = queued
		d1 w 0-9 = queued
		e1 v 0-9 = queued
		a1 u 0-9 = ok, b1, c1
		b1 u 0-9 = ok
		c1 u 0-9 = ok, d1
		d1 u 0-9 = ok, e1`,
	"a newcomer does not overtake who waits for the same": `
		a1 s 0-9 = ok
		b1 w 0-9 = queued
		c1 s 0-9 = locked
		c1 s 10-19 = ok
		d1 v 5-14 = queued
		a1 u 0-9 = ok, b1
		b1 u 0-9 = ok, d1`,
	"a process that holds a lock overtakes: it may be the one they wait for": `
		a1 s 0-9 = ok
		b1 w 0-9 = queued
		a1 s 0-19 = ok
		c1 x 2:0-9 = ok
		c1 s 0-9 = ok
		a1 u 0-19 = ok
		c1 u 0-9 = ok, b1`,
	"a wait that ends lets those behind it go on": `
		a1 s 0-9 = ok
		b1 w 0-9 = queued
		c1 v 0-9 = queued
		b1 x 0-9 = locked, c1
		a1 u 0-9 = ok
		c1 u 0-9 = ok`,
	"a wait that ends as its turn has come keeps the lock": `
		a1 x 0-9 = ok
		b1 w 0-9 = queued
		a1 u 0-9 = ok, b1
		b1 x 0-9 = ok
		a1 x 0-9 = locked`,
	"asking again keeps the place": `
		a1 x 0-9 = ok
		b1 w 0-9 = queued
		c1 w 0-9 = queued
		b1 w 0-9 = queued
		a1 u 0-9 = ok, b1
		b1 w 0-9 = ok
		c1 w 0-9 = queued`,
	"part of what was waited for": `
		a1 x 0-9 = ok
		b1 w 5-14 = queued
		a1 u 0-4 = ok
		a1 s 5-9 = ok
		a1 u 5-9 = ok, b1
		a1 x 0-4 = ok`,
	"a trade of exclusive for shared frees others": `
		a1 x 0-9 = ok
		b1 v 0-9 = queued
		a1 s 0-9 = ok, b1`,
	"a circle of two sessions is refused": `
		a1 x 1:0-0 = ok
		b1 x 2:0-0 = ok
		a1 w 2:0-0 = queued
		b1 w 1:0-0 = deadlock
		b1 u 2:0-0 = ok, a1
		b1 w 1:0-0 = queued`,
	"a circle of three through ranges of one file": `
		a1 x 0-0 = ok
		b1 x 1-1 = ok
		c1 x 2-2 = ok
		a1 w 1-1 = queued
		b1 w 2-2 = queued
		c1 w 0-1 = deadlock
		c1 u 2-2 = ok, b1`,
	"two readers who both want to write": `
		a1 s 0-9 = ok
		b1 s 0-9 = ok
		a1 w 0-9 = queued
		b1 w 0-9 = deadlock
		b1 u 0-9 = ok, a1`,
	"flock knows no circles and loses what it trades": `
		a1 S 0-9 = ok
		b1 S 0-9 = ok
		a1 W 0-9 = queued
		b1 W 0-9 = ok
		b1 U 0-9 = ok, a1
		a1 U 0-9 = ok
		b1 S 0-9 = ok
		c1 S 0-9 = ok
		b1 X 0-9 = locked
		c1 X 0-9 = ok`,
	"a session that ends gives everything back": `
		a1 x 0-9 = ok
		a2 x 10-19 = ok
		a3 X 0-9 = ok
		b1 w 0-9 = queued
		b2 W 0-9 = queued
		a4 w 0-9 = queued
		c1 w 15-15 = queued
		b1 end = ok
		c2 x 0-9 = locked
		a1 end = ok, c1
		c3 x 0-9 = ok
		c4 X 0-9 = ok`,
}

func TestScripts(t *testing.T) {
	for name, steps := range scripts {
		t.Run(name, func(t *testing.T) {
			table := New(roomy)
			table.Thaw()
			script(t, table, steps)
		})
	}
}

// After a restart nothing is given before all have claimed what they hold; waits
// queue up.
func TestFrozenTable(t *testing.T) {
	table := New(roomy)
	claim := func(session proto.SessionID, r ranges.Range) proto.Kind {
		return table.Claim(Lock{Inode: 1, Owner: Owner{session, 1}, Mode: Exclusive, Range: r, Process: 1})
	}
	if kind := claim(1, ranges.Range{Start: 0, End: 9}); kind != proto.OK {
		t.Fatal(kind)
	}
	script(t, table, `
		a1 x 0-9 = ok
		a1 x 0-10 = unavailable
		b1 x 50-59 = unavailable
		b2 w 50-59 = queued
		c2 w 20-29 = queued
		a1 u 5-9 = ok
		c1 w 5-9 = queued`)
	if kind := claim(4, ranges.Range{Start: 20, End: 29}); kind != proto.OK {
		t.Fatal(kind)
	}
	if kind := claim(2, ranges.Range{Start: 0, End: 0}); kind != proto.Conflict {
		t.Errorf("a claim of what another holds: %v", kind)
	}
	table.Thaw()
	table.Thaw() // does nothing
	turns := map[Turn]bool{}
	for _, turn := range table.TakeTurns() {
		turns[turn] = true
	}
	if len(turns) != 2 || !turns[Turn{2, 2}] || !turns[Turn{3, 1}] {
		t.Errorf("turns %v", turns)
	}
	script(t, table, "d1 u 20-29 = ok, c2")
}

func TestLimits(t *testing.T) {
	table := New(Limits{Held: 4, HeldBySession: 3, Waits: 2, WaitsOfSession: 1})
	table.Thaw()
	script(t, table, `
		a1 x 0-9 = ok
		a1 u 4-5 = ok
		a1 x 20-29 = ok
		a1 x 40-49 = no locks available
		a1 u 25-26 = no locks available
		a1 x 10-30 = ok
		a2 x 60-69 = ok
		a2 x 80-89 = no locks available
		b1 x 80-89 = ok
		b1 x 91-95 = no locks available
		b2 w 0-9 = queued
		b3 w 0-9 = no locks available
		c1 w 0-9 = queued
		d1 w 0-9 = no locks available
		a end = ok, b2
		b end = ok, c1
		c end = ok`)
	if held, waiting := table.Len(); held != 0 || waiting != 0 || len(table.files) != 0 || len(table.accounts) != 1 { // d asked in vain
		t.Errorf("left: %d held, %d waiting, files %v, accounts %v", held, waiting, table.files, table.accounts)
	}
}

// A process that turns out to hold a lock overtakes those whom it waited behind: they may wait for it.
func TestClaimedLocksOvertake(t *testing.T) {
	table := New(Limits{Held: 8, HeldBySession: 8, Waits: 8, WaitsOfSession: 8})
	table.Thaw()
	lock := func(ino proto.InodeID, session proto.SessionID, mode Mode) Lock {
		return Lock{Inode: ino, Owner: Owner{session, 1}, Mode: mode, Range: ranges.All, Process: uint32(session)}
	}
	set := func(l Lock, ticket uint64, want bool) {
		t.Helper()
		if queued, kind := table.Set(l, true, ticket); queued != want || kind != proto.OK {
			t.Fatalf("%+v: queued %v, %v", l, queued, kind)
		}
	}
	set(lock(1, 1, Shared), 1, false)
	set(lock(1, 2, Exclusive), 1, true)
	set(lock(1, 3, Shared), 1, true) // behind 2
	if kind := table.Claim(lock(2, 3, Exclusive)); kind != proto.OK {
		t.Fatal(kind)
	}
	if table.Claimed(3); !slices.Equal(table.TakeTurns(), []Turn{{3, 1}}) {
		t.Error("it did not overtake")
	}
	if table.Claimed(9); table.Knows(3) || !table.Knows(2) {
		t.Error("the table does not know what it knows")
	}
}

// There may be an eighth more of what is claimed than of what is asked for.
func TestClaimsBeyondTheLimits(t *testing.T) {
	table := New(Limits{Held: 16, HeldBySession: 8})
	table.Thaw()
	lock := func(n uint64) Lock {
		return Lock{Inode: 1, Owner: Owner{1, 1}, Mode: Shared, Range: ranges.Range{Start: 2 * n, End: 2 * n}}
	}
	for n := range uint64(8) {
		if _, kind := table.Set(lock(n), false, 0); kind != proto.OK {
			t.Fatal(kind)
		}
	}
	_, full := table.Set(lock(8), false, 0)
	if got := []proto.Kind{full, table.Claim(lock(8)), table.Claim(lock(9))}; !slices.Equal(got, []proto.Kind{proto.NoLocks, proto.OK, proto.NoLocks}) {
		t.Errorf("answered %v", got)
	}
}
