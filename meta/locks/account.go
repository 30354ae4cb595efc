package locks

import "github.com/distrifs/distrifs/proto"

// account is what one session has in a table.
type account struct {
	held      int                 // ranges
	holdings  map[holdingKey]bool // where it holds something
	processes map[uint32]int      // holdings, by pid
	waiters   map[uint64]*waiter  // by ticket
	waits     map[uint64]int      // waiters in the space Record, by owner
}

// holdingKey is one owner of a session in one file.
type holdingKey struct {
	file  fileKey
	owner uint64
}

// account finds or makes the account of a session.
func (t *Table) account(id proto.SessionID) *account {
	a := t.accounts[id]
	if a == nil {
		a = &account{
			holdings: map[holdingKey]bool{}, processes: map[uint32]int{},
			waiters: map[uint64]*waiter{}, waits: map[uint64]int{},
		}
		t.accounts[id] = a
	}
	return a
}

// holds tells whether the process that wants a lock holds any lock anywhere.
func (t *Table) holds(l Lock) bool {
	a := t.accounts[l.Owner.Session]
	return a != nil && a.processes[l.Process] > 0
}

// book takes a holding over into the accounts: before and after are what its owner
// held there, nil for nothing.
func (t *Table) book(key fileKey, owner Owner, before, after *holding) {
	a := t.account(owner.Session)
	if before != nil {
		t.held -= before.ranges.Len()
		a.held -= before.ranges.Len()
		if a.processes[before.process]--; a.processes[before.process] == 0 {
			delete(a.processes, before.process)
		}
	}
	where := holdingKey{key, owner.ID}
	if after == nil {
		delete(a.holdings, where)
		return
	}
	t.held += after.ranges.Len()
	a.held += after.ranges.Len()
	a.processes[after.process]++
	a.holdings[where] = true
}
