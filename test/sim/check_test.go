package sim

import (
	"testing"

	"github.com/distrifs/distrifs/proto"
)

// The check finds what must not be.
func TestCheckBites(t *testing.T) {
	type did struct {
		worker int
		object string
		in     any
		out    any
	}
	write := did{0, "f0", fileCall{what: "write", off: 5000, n: 100, number: 1}, nil}
	create := did{0, namesObject, nameCall{what: "create", from: 1}, nameAnswer{inode: 7}}
	rename := did{1, namesObject, nameCall{what: "rename", from: 1, to: 3}, nameAnswer{}}
	stat := func(s slot, a nameAnswer) did { return did{2, namesObject, nameCall{what: "stat", from: s}, a} }
	read := func(c content) did { return did{1, "f0", fileCall{what: "read", off: 4950, n: 100}, c} }
	for what, c := range map[string]struct {
		right bool
		did   []did
	}{
		"what was written":       {true, []did{write, read(content{{50, 0}, {50, 1}})}},
		"too little":             {false, []did{write, read(content{{50, 0}, {49, 1}})}},
		"nothing":                {false, []did{write, read(nil)}},
		"what nobody wrote":      {false, []did{write, read(content{{50, 0}, {50, garbage}})}},
		"cut off":                {true, []did{write, {0, "f0", fileCall{what: "truncate", n: 4960}, nil}, read(content{{10, 0}})}},
		"renamed":                {true, []did{create, rename, stat(3, nameAnswer{inode: 7, nlink: 1}), stat(1, nameAnswer{kind: proto.NotFound})}},
		"renamed and still here": {false, []did{create, rename, stat(1, nameAnswer{inode: 7, nlink: 1})}},
		"another file":           {false, []did{create, rename, stat(3, nameAnswer{inode: 8, nlink: 1})}},
	} {
		h := newHistory()
		for _, d := range c.did {
			h.end(h.begin(d.worker, d.object, d.in), d.out, nil)
		}
		if got := h.check(); (len(got) == 0) != c.right {
			t.Errorf("%s: %v", what, got)
		}
	}
}

// What was written is understood when it is read at its place, and not elsewhere.
func TestPattern(t *testing.T) {
	p := append(pattern(9, 4000, 200), 0, 0)
	if got := decode(p, 4000).String(); got != "200*#9 2*#0" {
		t.Error(got)
	}
	if got := decode(p[10:20], 4000); len(got) == 1 && got[0].number == 9 {
		t.Errorf("bytes of another place pass for right: %v", got)
	}
	if got := decode(pattern(9, appended, 30), appended).String(); got != "30*#9" {
		t.Error(got)
	}
}
