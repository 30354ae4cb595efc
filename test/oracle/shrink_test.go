package oracle

import (
	"slices"
	"strings"
	"testing"
)

// shrink looks for a short and simple program that fails as p does. It gives up looking
// when again says so.
func shrink(p program, fails func(program) bool, again func() bool) program {
	for {
		smaller := simplify(remove(p, fails, again), fails, again)
		if slices.Equal(lines(smaller), lines(p)) || !again() {
			return smaller
		}
		p = smaller
	}
}

func lines(p program) []string { return strings.Split(p.String(), "\n") }

// remove takes out as many calls as it can, many at a time first.
func remove(p program, fails func(program) bool, again func() bool) program {
	for size := max(1, len(p)/2); size > 0; size /= 2 {
		for end := len(p); end > 0 && again(); end = min(end-size, len(p)) {
			without := slices.Concat(p[:max(0, end-size)], p[end:])
			if fails(without) {
				p = without
			}
		}
	}
	return p
}

// simplify makes each call as simple as it can.
func simplify(p program, fails func(program) bool, again func() bool) program {
	for i := range p {
		for retry := true; retry && again(); {
			retry = false
			for _, c := range simpler(p[i]) {
				q := slices.Clone(p)
				if q[i] = c; fails(q) {
					p, retry = q, true
					break
				}
			}
		}
	}
	return p
}

// simpler lists calls that are a little simpler.
func simpler(c call) (list []call) {
	if c.worker != 0 {
		d := c
		d.worker = 0
		list = append(list, d)
	}
	if c.mount != 0 {
		d := c
		d.mount = 0
		list = append(list, d)
	}
	if c.look != noLook {
		d := c
		d.look = noLook
		list = append(list, d)
	}
	for _, o := range c.op.operands {
		list = append(list, o.simpler(c)...)
	}
	return list
}

// A program of hundreds of calls that fails because of two of them shrinks to these two.
func TestShrinking(t *testing.T) {
	p := generate(7, 300, 2)
	needed, err := parseProgram(`
		w1 BA open slot=3 path=a/b flags=O_RDWR|O_CREAT|O_EXCL mode=0640
		w2 AB pwrite slot=3 at=5000 size=777 fill=3`)
	if err != nil {
		t.Fatal(err)
	}
	p = slices.Insert(p, 100, needed[0])
	p = slices.Insert(p, 220, needed[1])
	tries := 0
	fails := func(p program) bool {
		tries++
		opened := false
		for _, c := range p {
			opened = opened || c.op.name == "open" && c.slot == 3 && c.flags&0o100 != 0 && strings.HasSuffix(c.path, "b")
			if opened && c.op.name == "pwrite" && c.at >= 4096 && c.size > 0 {
				return true
			}
		}
		return false
	}
	if !fails(p) {
		t.Fatal("the program does not fail")
	}
	small := shrink(p, fails, func() bool { return true })
	want := "w0 A- open slot=3 path=b flags=O_CREAT mode=0666\nw0 A- pwrite slot=0 at=4096 size=1 fill=1\n"
	got := small.String()
	if len(small) != 2 || !fails(small) || !strings.Contains(got, "at=4096 size=1 ") {
		t.Errorf("after %d tries:\n%swant something like:\n%s", tries, got, want)
	}
}

// What is printed can be read again: a printed program is a program.
func TestProgramsAreReadAsWritten(t *testing.T) {
	for seed := range uint64(20) {
		p := generate(seed, 500, 2)
		again, err := parseProgram(p.String())
		if err != nil {
			t.Fatal(err)
		}
		if p.String() != again.String() {
			t.Fatalf("seed %d: written\n%s\nread and written\n%s", seed, p, again)
		}
	}
}
