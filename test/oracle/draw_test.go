package oracle

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"golang.org/x/sys/unix"
)

// chunkSize is the cluster's, the smallest there is: offsets are drawn around its
// multiples.
const chunkSize = 1 << 20

// generate draws a program. Every program has weights of its own for the operations, with
// some of them left out: what is rare in one is frequent in another.
func generate(seed uint64, calls, mounts int) program {
	r := rand.New(rand.NewPCG(seed, 1))
	weights, total := make([]int, len(operations)), 0
	for i := range operations {
		weights[i] = operations[i].weight * pick(r, 0, 1, 1, 2, 6)
		if operations[i].basic {
			weights[i] = max(weights[i], operations[i].weight)
		}
		total += weights[i]
	}
	p := make(program, 0, calls)
	for len(p) < calls {
		n, i := r.IntN(total), 0
		for n >= weights[i] {
			n -= weights[i]
			i++
		}
		c := call{op: &operations[i], worker: pick(r, 0, 0, 0, 1, 1, 2)}
		if len(p) < calls/20 { // something to work on
			c = call{op: pick(r, operationNamed("mkdir"), operationNamed("open"))}
		}
		if c.mount, c.look = r.IntN(mounts), pick(r, 0, 0, 1, 1, noLook); c.look == 1 && mounts == 1 {
			c.look = 0
		}
		for _, o := range c.op.operands {
			o.draw(&c, r)
		}
		p = append(p, c)
	}
	return p
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func drawSlot(r *rand.Rand) int64 { return r.Int64N(slots) }

// drawPath draws from few names, so that calls meet.
func drawPath(r *rand.Rand) string {
	name := func() string { return string("abcd"[r.IntN(4)]) }
	switch r.IntN(40) {
	case 0:
		return pick(r, ".", "..", "a/..", "", "a/", "b/.", "c/", "/", "a//b")
	case 1:
		return pick(r, "\xff\xfe", "a\nb", strings.Repeat("n", 255), strings.Repeat("n", 256), "a/"+strings.Repeat("é", 127))
	case 2, 3:
		return fmt.Sprintf("@%d/%s", r.IntN(slots), name())
	case 4, 5, 6:
		return name() + "/" + name() + "/" + name()
	}
	if r.IntN(2) == 0 {
		return name()
	}
	return name() + "/" + name()
}

func drawTarget(r *rand.Rand) string {
	switch r.IntN(12) {
	case 0:
		return strings.Repeat("t", pick(r, 255, 256, 4000))
	case 1:
		return pick(r, "..", ".", "../..", "/nonexistent", "a/")
	case 2:
		return "../" + string("abcd"[r.IntN(4)])
	}
	return drawPath(r)
}

func drawOffset(r *rand.Rand) int64 {
	switch r.IntN(10) {
	case 0, 1, 2:
		return 0
	case 3, 4:
		return r.Int64N(200)
	case 5, 6:
		return 4096 * r.Int64N(6)
	case 7:
		return chunkSize*r.Int64N(3) + r.Int64N(8192)
	case 8:
		return max(0, chunkSize*(1+r.Int64N(2))-r.Int64N(8192))
	}
	return r.Int64N(30000)
}

func drawSize(r *rand.Rand) int64 {
	switch r.IntN(12) {
	case 0:
		return 0
	case 1, 2, 3, 4:
		return 1 + r.Int64N(100)
	case 5, 6, 7:
		return 4096 * (1 + r.Int64N(3))
	case 8:
		return 1 + r.Int64N(100000)
	}
	return 1 + r.Int64N(10000)
}

func drawPermissions(r *rand.Rand) int64 {
	if r.IntN(2) == 0 {
		return pick[int64](r, 0o666, 0o777, 0o644, 0o755)
	}
	return pick[int64](r, 0o777, 0o700, 0o070, 0o007, 0o600, 0o664, 0o444, 0o222, 0, 0o2777, 0o4755, 0o2755, 0o2745, 0o1777, 0o6777, r.Int64N(0o10000))
}

func drawOpen(r *rand.Rand) int64 {
	flags := pick[int64](r, unix.O_RDWR, unix.O_RDWR, unix.O_RDWR, unix.O_RDONLY, unix.O_WRONLY)
	some := func(n int, f int64) {
		if r.IntN(n) == 0 {
			flags |= f
		}
	}
	if r.IntN(3) != 0 {
		flags |= unix.O_CREAT
	}
	some(8, unix.O_EXCL)
	some(6, unix.O_TRUNC)
	some(6, unix.O_APPEND)
	some(10, unix.O_DIRECT)
	some(30, unix.O_SYNC)
	some(30, unix.O_DSYNC)
	some(15, unix.O_NOFOLLOW)
	some(50, unix.O_NOATIME)
	some(60, unix.O_PATH)
	if r.IntN(12) == 0 {
		flags = flags&^unix.O_CREAT | unix.O_TMPFILE
	} else if r.IntN(8) == 0 {
		flags = flags&^(unix.O_CREAT|unix.O_RDWR|unix.O_WRONLY|unix.O_TRUNC) | unix.O_DIRECTORY
	}
	return flags
}

func drawAttribute(r *rand.Rand) string {
	switch r.IntN(12) {
	case 0:
		return "trusted.t"
	case 1:
		return "security.s"
	case 2:
		return pick(r, "user.", "user", "nothing.x", "system.y", "", "user."+strings.Repeat("x", 250), "user."+strings.Repeat("x", 251))
	}
	return pick(r, "user.a", "user.b", "user.c")
}

// Times of utimensat, in nanoseconds but for two that have a meaning of their own. They
// lie outside of what a clock says today, so that they are recognised.
const (
	timeOmit = 0
	timeNow  = 1
)

func drawTime(r *rand.Rand) int64 {
	return pick[int64](r, timeOmit, timeNow, 2, 1_000_000_000_123_456_789, -1, -5_000_000_001, 1<<62, 2_147_483_648_000_000_000, 1_234_567_890_999_999_999)
}
