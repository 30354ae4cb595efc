package wal

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/proto"
)

// A full disk refuses proposals, and nothing of them comes back after a crash; when there
// is room again the group goes on by itself. What was answered is there throughout.
func TestFullDiskRefusesAndGoesOn(t *testing.T) {
	for _, segment := range []int64{4 << 10, 16 << 20} { // a new segment, or the preparation of one, finds the disk full
		t.Run(fmt.Sprint(segment), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := disk.NewMem()
				opts := tiny(m)
				opts.SegmentSize = segment
				g, j := start(t, opts)
				propose(t, g, "first")
				total, free, err := m.Usage("/meta")
				must(t, err)
				m.SetCapacity(total - free + 8<<10)
				var kept []string
				kept = append(kept, "first")
				refused := 0
				put := func(i int) {
					e := fmt.Sprintf("%04d%01000d", i, 0)
					switch _, err := g.Propose(context.Background(), 1, []byte(e)); {
					case err == nil:
						kept = append(kept, e)
					case errors.Is(err, proto.NoSpace) && errors.Is(err, syscall.ENOSPC):
						refused++
					default:
						t.Fatal(err)
					}
				}
				for i := 0; refused < 20 && i < 10_000; i++ {
					put(i)
				}
				if refused < 20 || g.Status().Full == nil {
					t.Fatalf("%d refused, status %+v", refused, g.Status())
				}
				equal(t, j.list(t), kept)
				m.SetCapacity(0)
				time.Sleep(roomAgain)
				before := refused
				for i := range 100 {
					put(10_000 + i)
				}
				if refused != before || g.Status().Full != nil {
					t.Errorf("%d refused with room, status %+v", refused-before, g.Status())
				}
				must(t, g.Close())
				equal(t, j.list(t), kept)
				g, j = start(t, opts)
				equal(t, j.list(t), kept)
				must(t, g.Close())
			})
		})
	}
}

// A crash while the disk is full leaves a log that a start with room reads.
func TestCrashWithAFullDisk(t *testing.T) {
	m := disk.NewMem()
	g, j := start(t, tiny(m))
	total, free, err := m.Usage("/meta")
	must(t, err)
	m.SetCapacity(total - free + 8<<10)
	for err == nil {
		_, err = g.Propose(context.Background(), 1, make([]byte, 500))
	}
	if !errors.Is(err, proto.NoSpace) {
		t.Fatal(err)
	}
	held := len(j.list(t))
	for seed := range uint64(20) {
		left := m.CrashClone(seed)
		left.SetCapacity(0)
		again, j := start(t, tiny(left))
		if got := len(j.list(t)); got != held {
			t.Errorf("seed %d: %d records, %d were answered", seed, got, held)
		}
		must(t, again.Close())
	}
	_ = g.Close() // there is no room for a checkpoint
}
