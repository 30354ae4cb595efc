package sim

import "testing"

// The check after a blackout finds what is missing of what was synced, and nothing else.
func TestCheckOfDurabilityBites(t *testing.T) {
	write := func(number uint8) fileCall { return fileCall{what: "write", n: 100, number: number} }
	sync, cut := fileCall{what: "sync"}, fileCall{what: "truncate"}
	for what, c := range map[string]struct {
		right bool
		did   []fileCall
		left  uint8
	}{
		"synced":                            {true, []fileCall{write(1), sync}, 1},
		"synced and missing":                {false, []fileCall{write(1), sync}, 0},
		"synced and unreadable":             {false, []fileCall{write(1), sync}, unreadable},
		"not synced":                        {true, []fileCall{write(1)}, 1},
		"not synced and missing":            {true, []fileCall{write(1)}, 0},
		"not synced and unreadable":         {true, []fileCall{write(1)}, unreadable},
		"overwritten":                       {true, []fileCall{write(1), sync, write(2)}, 2},
		"overwritten, which was not synced": {true, []fileCall{write(1), sync, write(2)}, 1},
		"overwritten, which was synced":     {false, []fileCall{write(1), sync, write(2), sync}, 1},
		"overwritten, and neither is there": {false, []fileCall{write(1), sync, write(2)}, 0},
		"cut off":                           {true, []fileCall{write(1), sync, cut}, 0},
		"cut off and there":                 {false, []fileCall{write(1), sync, cut}, 1},
		"never written":                     {false, []fileCall{write(1), sync}, 3},
	} {
		h := newHistory()
		for _, call := range c.did {
			h.end(h.begin(0, "f0", call), nil, nil)
		}
		if err := checkDurable(h.operations("f0"), content{{100, c.left}}); (err == nil) != c.right {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A record that was synced is there, and whole.
func TestCheckOfTheLogBites(t *testing.T) {
	h := newHistory()
	for _, call := range []fileCall{{what: "append", n: 50, number: 1}, {what: "sync"}, {what: "append", n: 60, number: 2}} {
		h.end(h.begin(0, logFile, call), nil, nil)
	}
	for left, right := range map[string]bool{"": false, "#1": true, "half of #1": false, "both": true} {
		c := map[string]content{"#1": {{50, 1}}, "half of #1": {{25, 1}, {25, 0}}, "both": {{50, 1}, {60, 2}}}[left]
		if err := checkLogDurable(h.operations(logFile), c); (err == nil) != right {
			t.Errorf("%q is left: %v", left, err)
		}
	}
}
