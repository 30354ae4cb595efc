package oracle

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// chunkSize is the cluster's, the smallest there is: offsets are drawn around its
// multiples.
const chunkSize = 1 << 20

// generate draws a program. Every program has weights of its own for the operations, with
// some of them left out: what is rare in one is frequent in another.
func generate(seed uint64, calls, mounts int) program {
	r := &drawer{Rand: rand.New(rand.NewPCG(seed, 1))}
	weights, total := make([]int, len(operations)), 0
	r.locks = r.IntN(3) == 0
	for i := range operations {
		weights[i] = operations[i].weight * pick(r, 0, 1, 1, 2, 6)
		if r.locks && operations[i].locks {
			weights[i] = operations[i].weight * 20
		}
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
			c = call{op: operationNamed(pick(r, "mkdir", "mkdir", "open"))}
		}
		r.op = c.op
		if c.mount, c.look = r.IntN(mounts), pick(r, 0, 0, 1, 1, noLook); c.look == 1 && mounts == 1 {
			c.look = 0
		}
		for _, o := range c.op.operands {
			o.draw(&c, r)
		}
		r.remember(&c)
		p = append(p, c)
	}
	return p
}

// drawer draws operands. It keeps an idea of what calls may have left where, so that many of those
// behind find something there; what it thinks may be wrong.
type drawer struct {
	*rand.Rand
	op    *operation
	there []place
	locks bool // the program is about locks, most of them on one file
}

// place is a path with something at it.
type place struct {
	path   string
	folder bool
}

// remember changes the idea by what a call does if it succeeds.
func (r *drawer) remember(c *call) {
	switch c.op.name {
	case "mkdir":
		r.add(c.path, true)
	case "symlink", "mknod", "linkfd":
		r.add(c.path, false)
	case "open":
		if c.flags&unix.O_CREAT != 0 {
			r.add(c.path, false)
		}
	case "link":
		r.add(c.to, false)
	case "unlink", "rmdir":
		r.take(c.path)
	case "rename":
		if c.flags&unix.RENAME_EXCHANGE == 0 {
			if was, ok := r.take(c.path); ok {
				r.take(c.to)
				r.add(c.to, was.folder)
			}
		}
	}
}

func (r *drawer) add(path string, folder bool) {
	if !slices.ContainsFunc(r.there, func(p place) bool { return p.path == path }) && len(path) < 100 {
		r.there = append(r.there, place{path, folder})
	}
}

func (r *drawer) take(path string) (p place, ok bool) {
	for i, p := range r.there {
		if p.path == path {
			r.there = slices.Delete(r.there, i, i+1)
			return p, true
		}
	}
	return place{}, false
}

// existing gives something that may be there; "." is.
func (r *drawer) existing(folder bool) string {
	var among []string
	for _, p := range r.there {
		if p.folder == folder {
			among = append(among, p.path)
		}
	}
	if len(among) == 0 {
		return "."
	}
	return pick(r, among...)
}

// fresh gives a name in a folder that may be there.
func (r *drawer) fresh() string {
	name := string("abcdef"[r.IntN(6)])
	if folder := r.existing(true); folder != "." && r.IntN(3) != 0 && strings.Count(folder, "/") < 3 {
		return folder + "/" + name
	}
	return name
}

func pick[T any](r *drawer, from ...T) T { return from[r.IntN(len(from))] }

func drawSlot(r *drawer) int64 { return r.Int64N(slots) }

func drawPath(r *drawer) string { return r.path(r.op.makes) }

// drawTo draws where something is to go.
func drawTo(r *drawer) string { return r.path(true) }

// path draws from few names, so that calls meet.
func (r *drawer) path(fresh bool) string {
	if r.locks && r.op.name == "open" && r.IntN(4) != 0 {
		return "f"
	}
	fresh = fresh || r.op.name == "open" && r.IntN(2) == 0
	switch r.IntN(25) {
	case 0:
		return pick(r, ".", "..", "a/..", "", "a/", "b/.", "c/", "/", "a//b")
	case 1:
		return pick(r, "\xff\xfe", "a\nb", strings.Repeat("n", 255), strings.Repeat("n", 256), "a/"+strings.Repeat("é", 127))
	case 2:
		return fmt.Sprintf("@%d/%c", r.IntN(slots), "abcdef"[r.IntN(6)])
	case 3:
		return r.existing(false) + "/" + r.fresh()
	case 4:
		return r.fresh()
	}
	if fresh == (r.IntN(5) == 0) {
		return r.existing(r.op.folders == (r.IntN(6) != 0))
	}
	if fresh {
		return r.fresh()
	}
	return r.existing(r.op.folders == (r.IntN(6) != 0))
}

func drawTarget(r *drawer) string {
	switch r.IntN(12) {
	case 0:
		return strings.Repeat("t", pick(r, 255, 256, 4000))
	case 1:
		return pick(r, "..", ".", "nonexistent/x", "a/")
	case 2:
		return "../" + r.fresh()
	}
	// Never an absolute one: it would lead out of the program's folder, to the machine's own files.
	return strings.TrimLeft(drawPath(r), "/")
}

func drawOffset(r *drawer) int64 {
	switch r.IntN(11) {
	case 10:
		return chunkSize * r.Int64N(3)
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

func drawSize(r *drawer) int64 {
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

// drawLength also draws whole chunks.
func drawLength(r *drawer) int64 {
	if r.IntN(3) == 0 {
		return chunkSize*(1+r.Int64N(3)) - r.Int64N(5000)*int64(r.IntN(2))
	}
	return drawSize(r)
}

func drawPermissions(r *drawer) int64 {
	if r.IntN(2) == 0 {
		return pick[int64](r, 0o666, 0o777, 0o644, 0o755)
	}
	return pick[int64](r, 0o777, 0o700, 0o070, 0o007, 0o600, 0o664, 0o444, 0o222, 0, 0o2777, 0o4755, 0o2755, 0o2745, 0o1777, 0o6777, r.Int64N(0o10000))
}

func drawOpen(r *drawer) int64 {
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

func drawAttribute(r *drawer) string {
	switch r.IntN(12) {
	case 0:
		return "trusted.t"
	case 1:
		return "security.s"
	case 2:
		return pick(r, "user.", "user", "nothing.x", "system.y", "", "user."+strings.Repeat("x", 250), "user."+strings.Repeat("x", 251))
	}
	return pick(r, "user.a", "user.b")
}

// Times of utimensat, in nanoseconds but for two that have a meaning of their own. They
// lie outside of what a clock says today, so that they are recognised.
const (
	timeOmit = 0
	timeNow  = 1
)

func drawTime(r *drawer) int64 {
	return pick[int64](r, timeOmit, timeNow, 2, 1_000_000_000_123_456_789, -1, -7_000_000_000_000_000_001, 1<<62, 2_147_483_648_000_000_000, 1_234_567_890_999_999_999)
}
