package locks

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/distrifs/distrifs/internal/ranges"
	"github.com/distrifs/distrifs/proto"
)

// oracle is a table done naively: for each byte of each file, who holds it how.
const (
	oracleBytes = 12
	oracleFiles = 2
)

type oracle struct {
	bytes [oracleFiles][2][oracleBytes]map[Owner]Mode
	queue []*waiter // of all files, in order
	turns []Turn
}

func newOracle() *oracle {
	o := &oracle{}
	for file := range o.bytes {
		for space := range o.bytes[file] {
			for i := range o.bytes[file][space] {
				o.bytes[file][space][i] = map[Owner]Mode{}
			}
		}
	}
	return o
}

func (o *oracle) over(l Lock) []map[Owner]Mode {
	return o.bytes[l.Inode][l.Space][l.Range.Start : l.Range.End+1]
}

// blockers of a lock that are holders.
func (o *oracle) blockers(l Lock) map[Owner]bool {
	found := map[Owner]bool{}
	for _, holders := range o.over(l) {
		for owner, mode := range holders {
			if owner != l.Owner && (mode == Exclusive || l.Mode == Exclusive) {
				found[owner] = true
			}
		}
	}
	return found
}

// holdsAny tells whether the owner, a process here, holds any byte anywhere.
func (o *oracle) holdsAny(owner Owner) bool {
	for file := range o.bytes {
		for space := range o.bytes[file] {
			for _, holders := range o.bytes[file][space] {
				if holders[owner] != 0 {
					return true
				}
			}
		}
	}
	return false
}

func (o *oracle) blocked(l Lock, before []*waiter) bool {
	if len(o.blockers(l)) > 0 {
		return true
	}
	if o.holdsAny(l.Owner) {
		return false
	}
	for _, w := range before {
		other := w.lock
		if other.Inode == l.Inode && other.Space == l.Space && other.Owner != l.Owner &&
			other.Range.Start <= l.Range.End && l.Range.Start <= other.Range.End && (other.Mode == Exclusive || l.Mode == Exclusive) {
			return true
		}
	}
	return false
}

func (o *oracle) give(l Lock) {
	for _, holders := range o.over(l) {
		holders[l.Owner] = l.Mode
	}
}

func (o *oracle) take(l Lock) {
	for _, holders := range o.over(l) {
		delete(holders, l.Owner)
	}
}

func (o *oracle) deal() {
	for i := 0; i < len(o.queue); i++ {
		if w := o.queue[i]; !o.blocked(w.lock, o.queue[:i]) {
			o.give(w.lock)
			o.turns = append(o.turns, Turn{w.lock.Owner.Session, w.ticket})
			o.queue = slices.Delete(o.queue, i, i+1)
			i = -1
		}
	}
}

// circle follows every wait for as many steps as there are waiters.
func (o *oracle) circle(l Lock) bool {
	reached := o.blockers(l)
	for range o.queue {
		for _, w := range o.queue {
			if w.lock.Space == Record && reached[w.lock.Owner] {
				for owner := range o.blockers(w.lock) {
					reached[owner] = true
				}
			}
		}
	}
	return reached[l.Owner]
}

func (o *oracle) set(l Lock, wait bool, ticket uint64) (bool, proto.Kind) {
	has := true
	for _, holders := range o.over(l) {
		has = has && holders[l.Owner] >= l.Mode
	}
	switch {
	case has || !o.blocked(l, o.queue):
		o.give(l)
		o.deal()
		return false, proto.OK
	case l.Space == Flock:
		o.take(l)
		o.deal()
	}
	if !wait {
		return false, proto.Conflict
	}
	if l.Space == Record && o.circle(l) {
		return false, proto.Deadlock
	}
	o.queue = append(o.queue, &waiter{l, ticket})
	return true, proto.OK
}

// cancel takes a waiter that another call of its owner replaces out of the queue.
func (o *oracle) cancel(ticket uint64) {
	o.queue = slices.DeleteFunc(o.queue, func(w *waiter) bool { return w.ticket == ticket })
	o.deal()
}

func (o *oracle) end(id proto.SessionID) {
	for file := range o.bytes {
		for space := range o.bytes[file] {
			for _, holders := range o.bytes[file][space] {
				for owner := range holders {
					if owner.Session == id {
						delete(holders, owner)
					}
				}
			}
		}
	}
	o.queue = slices.DeleteFunc(o.queue, func(w *waiter) bool { return w.lock.Owner.Session == id })
	o.deal()
}

// compare checks every byte, and that no two hold what they may not share.
func (o *oracle) compare(table *Table) error {
	for file := range o.bytes {
		for space := range o.bytes[file] {
			f := table.files[fileKey{proto.InodeID(file), Space(space)}]
			for i, want := range o.bytes[file][space] {
				got := map[Owner]Mode{}
				if f != nil {
					for owner, h := range f.holdings {
						for _, e := range h.ranges.Over(ranges.Range{Start: uint64(i), End: uint64(i)}) {
							got[owner] = e.Value
						}
					}
				}
				if fmt.Sprint(got) != fmt.Sprint(want) {
					return fmt.Errorf("file %d space %d byte %d: held by %v, want %v", file, space, i, got, want)
				}
				for _, mode := range got {
					if mode == Exclusive && len(got) > 1 {
						return fmt.Errorf("file %d space %d byte %d: %v", file, space, i, got)
					}
				}
			}
		}
	}
	if _, waiting := table.Len(); waiting != len(o.queue) {
		return fmt.Errorf("%d wait, want %d", waiting, len(o.queue))
	}
	return nil
}

// A table does what the oracle does, in every answer, turn and byte.
func TestAgainstOracle(t *testing.T) {
	answers := map[string]int{}
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 1))
		table, naive := New(roomy), newOracle()
		table.Thaw()
		for step := uint64(1); step <= 150; step++ {
			what, got, want := randomStep(random, step, table, naive)
			sortTurns := func(turns []Turn) []Turn {
				slices.SortFunc(turns, func(a, b Turn) int { return int(a.Ticket) - int(b.Ticket) })
				return turns
			}
			turns, wantTurns := sortTurns(table.TakeTurns()), sortTurns(naive.turns)
			naive.turns = nil
			if got != want || !slices.Equal(turns, wantTurns) {
				t.Fatalf("seed %d step %d: %s: %s and turns %v, want %s and %v", seed, step, what, got, turns, want, wantTurns)
			}
			if err := naive.compare(table); err != nil {
				t.Fatalf("seed %d step %d: %s: %v", seed, step, what, err)
			}
			answers[got]++
		}
	}
	for answer, least := range map[string]int{"ok": 1000, "locked": 1000, "queued": 1000, "deadlock": 5} {
		if answers[answer] < least {
			t.Errorf("only %d steps were answered %q: %v", answers[answer], answer, answers)
		}
	}
}

// randomStep makes one call of both. An owner that waits makes no further call, but
// may give its wait up.
func randomStep(random *rand.Rand, step uint64, table *Table, naive *oracle) (what, got, want string) {
	session := proto.SessionID(1 + random.IntN(3))
	if random.IntN(40) == 0 {
		table.EndSession(session)
		naive.end(session)
		return fmt.Sprintf("end %d", session), "ended", "ended"
	}
	id := uint64(1 + random.IntN(3))
	a, b := random.Uint64N(oracleBytes), random.Uint64N(oracleBytes)
	l := Lock{
		Inode: proto.InodeID(random.IntN(oracleFiles)), Space: Space(random.IntN(2)), Owner: Owner{session, id},
		Mode: Mode(1 + random.IntN(2)), Range: ranges.Range{Start: min(a, b), End: max(a, b)}, Process: uint32(id),
	}
	if l.Space == Flock {
		l.Range = ranges.Range{Start: 0, End: oracleBytes - 1}
	}
	wait, ticket := random.IntN(2) == 0, step
	for _, w := range naive.queue {
		if w.lock.Owner == l.Owner {
			l, wait, ticket = w.lock, false, w.ticket
			naive.cancel(ticket)
			break
		}
	}
	if ticket == step && random.IntN(3) == 0 {
		naive.take(l)
		naive.deal()
		return fmt.Sprintf("unlock %+v", l), table.Unlock(l).String(), "ok"
	}
	answer := func(queued bool, kind proto.Kind) string {
		if queued {
			return "queued"
		}
		return kind.String()
	}
	return fmt.Sprintf("set %+v wait %v", l, wait), answer(table.Set(l, wait, ticket)), answer(naive.set(l, wait, ticket))
}
