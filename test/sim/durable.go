package sim

import (
	"fmt"

	"github.com/anishathalye/porcupine"
)

// After a blackout each byte is that of a write, or nothing, that nothing firm has taken the place of.
// Firm is what is promised to be durable: a truncation when it returned, and a write that its
// client has synced (G1). But what was cut off may be seen again where a write that was not synced,
// and of which only the size was left, had the file grow again: chunkservers keep the bytes.

// firm tells whether a change is durable for sure.
func firm(op porcupine.Operation, operations []porcupine.Operation) bool {
	if op.Input.(fileCall).what == "truncate" {
		return true
	}
	for _, sync := range operations {
		if sync.Input.(fileCall).what == "sync" && sync.ClientId == op.ClientId && sync.Call > op.Return {
			return true
		}
	}
	return false
}

// checkDurable compares what a file has after a blackout with what was done to it before.
func checkDurable(operations []porcupine.Operation, left content) error {
	look := porcupine.Operation{Input: fileCall{what: "read", n: 3 * chunkSize}, Output: left}
	all := borders(append(operations[:len(operations):len(operations)], look))
	for i, off := range all[:len(all)-1] {
		end := all[i+1]
		if end > 3*chunkSize {
			break
		}
		seen, _ := inCell(look, off, end)
		if !changesOf(operations, off, end).mayLeave(max(seen.value, 0)) {
			return fmt.Errorf("bytes %d to %d are #%d: something that was synced is missing", off, end, seen.value)
		}
	}
	return nil
}

// change is one of a cell.
type change struct {
	cellCall
	began, ended int64
	firm         bool
}

type changes []change

// changesOf are those of a cell.
func changesOf(operations []porcupine.Operation, off, end int64) (list changes) {
	for _, op := range operations {
		if c, ok := inCell(op, off, end); ok && (c.set || c.extend) {
			list = append(list, change{c, op.Call, op.Return, firm(op, operations)})
		}
	}
	return list
}

// mayLeave tells whether the cell may have a value, 0 for nothing, after a blackout.
func (list changes) mayLeave(value int) bool {
	if value == unreadable {
		return !list.holdsSynced()
	}
	if value == 0 && !list.replaced(0) {
		return true // as it was at first
	}
	for _, c := range list {
		if c.set && max(c.value, 0) == value && !list.replaced(c.ended) {
			return true
		}
	}
	return false
}

// holdsSynced tells whether the cell has bytes that were synced: then its chunk is there.
func (list changes) holdsSynced() bool {
	for _, c := range list {
		if c.firm && c.set && c.value != absent && !list.cutSince(c.began) {
			return true
		}
	}
	return false
}

func (list changes) cutSince(since int64) bool {
	for _, c := range list {
		if c.set && c.value == absent && c.ended > since {
			return true
		}
	}
	return false
}

// replaced tells whether what was there then has been replaced firmly.
func (list changes) replaced(since int64) bool {
	for _, c := range list {
		if c.firm && c.set && c.began > since && (c.value != absent || !list.grownSince(c.began)) {
			return true
		}
	}
	return false
}

// grownSince tells whether the cell may have become part of the file since then, by a write
// that was not synced.
func (list changes) grownSince(since int64) bool {
	for _, c := range list {
		if !c.firm && c.ended > since {
			return true
		}
	}
	return false
}

// checkLogDurable wants every record that was synced, whole.
func checkLogDurable(operations []porcupine.Operation, left content) error {
	has := map[uint8]int64{}
	for _, r := range left {
		has[r.number] += r.n
	}
	for _, op := range operations {
		c := op.Input.(fileCall)
		if c.what == "append" && firm(op, operations) && has[c.number] != c.n {
			return fmt.Errorf("of record #%d, which was synced, %d bytes of %d are left", c.number, has[c.number], c.n)
		}
	}
	return nil
}

// checkAftermath checks all files after a blackout, if there was one.
func (h *history) checkAftermath() (violations []string) {
	for _, name := range dataFiles {
		for _, look := range h.operations(after(name)) {
			left, ok := look.Output.(content)
			if !ok {
				continue // it failed, which is told elsewhere
			}
			check := checkDurable
			if name == logFile {
				check = checkLogDurable
			}
			if err := check(h.operations(name), left); err != nil {
				violations = append(violations, fmt.Sprintf("%s: %v", after(name), err))
			}
		}
	}
	return violations
}
