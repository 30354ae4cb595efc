package sim

import (
	"fmt"
	"maps"
	"slices"

	"github.com/anishathalye/porcupine"
)

// What is promised of reads is promised of each byte (G3): one that waits for a server half way
// may see of a write that is made meanwhile the one half, as on other filesystems. So a file
// whose bytes are overwritten is checked cell by cell, a cell being bytes in a row that every
// call has seen and changed alike, and its size for itself.

// absent is the value of a cell behind the end of the file; others are numbers of writes.
const absent = -1

// cellCall is a call, as far as one cell is concerned.
type cellCall struct {
	set    bool // to value
	extend bool // it becomes part of the file, if it is not
	value  int  // that is set, or was read
}

// oneCell says what can be read: what was set last.
var oneCell = porcupine.Model{
	Init: func() any { return absent },
	Step: func(before, input, _ any) (bool, any) {
		s, c := before.(int), input.(cellCall)
		switch {
		case c.set:
			return true, c.value
		case c.extend && s == absent:
			return true, 0
		case c.extend:
			return true, s
		}
		return s == c.value, s
	},
}

// oneSize says which sizes are right.
var oneSize = porcupine.Model{
	Init: func() any { return int64(0) },
	Step: func(before, input, output any) (bool, any) {
		s, c := before.(int64), input.(fileCall)
		switch c.what {
		case "write":
			return true, max(s, c.off+c.n)
		case "truncate":
			return true, c.n
		case "size":
			return output.(int64) == s, s
		}
		return true, s
	},
}

// borders are where cells of a file begin, in order.
func borders(operations []porcupine.Operation) []int64 {
	at := map[int64]bool{0: true}
	for _, op := range operations {
		switch c := op.Input.(fileCall); c.what {
		case "write":
			at[c.off], at[c.off+c.n] = true, true
		case "truncate":
			at[c.n] = true
		case "read":
			off := c.off
			at[off], at[off+c.n] = true, true
			for _, r := range op.Output.(content) {
				off += r.n
				at[off] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(at))
}

// inCell is what a call is to the cell from off to end; false: nothing.
func inCell(op porcupine.Operation, off, end int64) (cellCall, bool) {
	switch c := op.Input.(fileCall); c.what {
	case "write":
		switch {
		case c.off <= off && end <= c.off+c.n:
			return cellCall{set: true, value: int(c.number)}, true
		case end <= c.off:
			return cellCall{extend: true}, true
		}
	case "truncate":
		if end <= c.n {
			return cellCall{extend: true}, true
		}
		return cellCall{set: true, value: absent}, true
	case "read":
		if c.off <= off && end <= c.off+c.n {
			value := absent
			if part := op.Output.(content).part(off-c.off, 1); len(part) > 0 {
				value = int(part[0].number)
			}
			return cellCall{value: value}, true
		}
	}
	return cellCall{}, false
}

// checkCells checks a file cell by cell.
func checkCells(operations []porcupine.Operation) error {
	all := borders(operations)
	seen := map[string]bool{} // cells alike need not be checked twice
	for i, off := range all[:len(all)-1] {
		end := all[i+1]
		var calls []porcupine.Operation
		reads := false
		for _, op := range operations {
			if c, ok := inCell(op, off, end); ok {
				op.Input = c
				calls = append(calls, op)
				reads = reads || !c.set && !c.extend
			}
		}
		alike := fmt.Sprint(calls)
		if !reads || seen[alike] {
			continue
		}
		seen[alike] = true
		if err := checkModel(oneCell, calls); err != nil {
			return fmt.Errorf("bytes %d to %d: %w", off, end, err)
		}
	}
	return nil
}
