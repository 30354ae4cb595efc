package main

import (
	"errors"
	"strings"
	"testing"
)

func TestRatiosTellWhoIsBetter(t *testing.T) {
	ours, peer := &system{name: "ours"}, &system{name: "peer"}
	table := newTable([]*system{ours, peer})
	fast, quick, broken := &workload{name: "fast", unit: "MB/s"}, &workload{name: "quick", unit: "s"}, &workload{name: "broken", unit: "IOPS"}
	table.add(fast, ours, 800, nil)
	table.add(fast, peer, 100, nil)
	table.add(quick, ours, 3, nil)
	table.add(quick, peer, 6, nil)
	table.add(broken, ours, 1, nil)
	table.add(broken, peer, 0, errors.New("no luck"))
	var out strings.Builder
	table.print(&out)
	for _, want := range []string{"| fast | 8.00 | MB/s | 800 | 100 |", "| quick | 2.00 | s | 3.00 | 6.00 |", "| broken | - | IOPS | 1.00 | failed |",
		"| **geometric mean** | **4.00** |", "broken on peer failed: no luck"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
}
