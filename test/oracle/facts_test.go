package oracle

import (
	"fmt"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// facts are what a look at an inode tells.
type facts struct {
	errno               syscall.Errno
	about               string
	kind                uint32
	inode               uint64
	mtime, ctime, btime unix.StatxTimestamp
}

// lookUp asks statx, as root.
func lookUp(dir int, path string, flags int) facts {
	var st unix.Statx_t
	if err := unix.Statx(dir, path, flags, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st); err != nil {
		return facts{errno: err.(syscall.Errno)}
	}
	same := unix.Stat_t{Mode: uint32(st.Mode), Nlink: uint64(st.Nlink), Uid: st.Uid, Gid: st.Gid, Size: int64(st.Size), Rdev: unix.Mkdev(st.Rdev_major, st.Rdev_minor)}
	return facts{about: about(&same), kind: same.Mode & unix.S_IFMT, inode: st.Ino, mtime: st.Mtime, ctime: st.Ctime, btime: st.Btime}
}

// known is what was last seen of one inode on both sides.
type known struct {
	inode          uint64 // on the cluster
	local, cluster facts
	vague          bool // its times may have changed on one side alone
	// tick is the kernel's coarse clock at the first call after the look that borrows.
	tick unix.Timespec
}

// target is something that a call was about.
type target struct {
	slot, view int // -1: it is a path
	path       string
	follow     bool
}

func (t target) String() string {
	switch {
	case t.slot >= 0:
		return fmt.Sprintf("slot %d", t.slot)
	case t.view >= 0:
		return fmt.Sprintf("view %d", t.view)
	}
	return quoted(t.path)
}

// targets of a call: the files it works on, by whatever they are named, and the folders that
// paths lead through.
func (c *call) targets() []target {
	var list []target
	add := func(t target) {
		if !slices.Contains(list, t) {
			list = append(list, t)
		}
	}
	for _, o := range c.op.operands {
		switch o.key {
		case "slot":
			add(target{slot: int(c.slot), view: -1})
		case "other":
			add(target{slot: int(c.other), view: -1})
		case "view":
			add(target{slot: -1, view: int(c.other)})
		case "path", "to":
			path := c.path
			if o.key == "to" {
				path = c.to
			}
			add(target{slot: -1, view: -1, path: path})
			path = strings.TrimRight(relative(path), "/")
			if i := strings.LastIndexByte(path, '/'); i > 0 && path[0] != '@' {
				add(target{slot: -1, view: -1, path: path[:i]})
			} else if i < 0 {
				add(target{slot: -1, view: -1, path: "."})
			} else if len(path) > 2 && path[0] == '@' && path[2] == '/' {
				add(target{slot: int(path[1] - '0'), view: -1})
			}
		}
	}
	return list
}

// look looks at a target on one side. ok is false if there is nothing.
func (s *side) look(t target, mount int) (f facts, ok bool) {
	switch {
	case t.slot >= 0:
		return lookUp(s.slots[t.slot].fd, "", unix.AT_EMPTY_PATH), s.slots[t.slot].used
	case t.view >= 0:
		return lookUp(s.views[t.view].fd, "", unix.AT_EMPTY_PATH), s.views[t.view].memory != nil
	}
	if len(t.path) > 2 && t.path[0] == '@' {
		mount = s.slots[t.path[1]-'0'].mount
	}
	dir, path, ok := s.at(mount, t.path)
	flags := unix.AT_SYMLINK_NOFOLLOW
	if t.follow {
		flags = 0
	}
	return unlessStale(func() (facts, syscall.Errno) {
		f := lookUp(dir, path, flags)
		return f, f.errno
	}), ok
}

// query has the local kernel know that somebody has seen the times of what a call is about. Only then
// it gives it a time that is certainly later, and not the last tick's.
func (x *execution) query(c *call) {
	for _, t := range c.targets() {
		for _, t.follow = range []bool{false, true} {
			f, ok := x.local.look(t, c.mount)
			if k := x.known[f.inode]; ok && c.op.borrows && k != nil && k.tick == (unix.Timespec{}) {
				unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &k.tick)
			}
		}
	}
}

// examine looks at all that a call was about, on both sides.
func (x *execution) examine(c *call) *fault {
	for _, t := range c.targets() {
		if c.op.vague || c.op.data {
			x.blur(t, c)
		}
		if c.look == noLook {
			continue
		}
		f := x.inspect(t, c.look)
		if f == nil && t.slot < 0 && t.view < 0 && x.lastKind == unix.S_IFLNK {
			t.follow = true
			f = x.inspect(t, c.look)
		}
		if f != nil {
			return f
		}
	}
	return nil
}

// blur marks what changes its times as each filesystem likes. What goes into FIFOs and devices is
// no filesystem's business.
func (x *execution) blur(t target, c *call) {
	for _, t.follow = range []bool{false, true} {
		if f, ok := x.local.look(t, 0); ok && (c.op.vague || f.kind != unix.S_IFREG) {
			if k := x.known[f.inode]; k != nil {
				k.vague = true
			}
		}
	}
}

// inspect looks at one target on both sides.
func (x *execution) inspect(t target, mount int) *fault {
	local, ok := x.local.look(t, mount)
	cluster, too := x.cluster.look(t, mount)
	what := t.String()
	if ok != too {
		return &fault{"presence", fmt.Sprintf("%s is there on one side only", what)}
	}
	if !ok {
		return nil
	}
	x.lastKind = local.kind
	return x.agree(what, local, cluster)
}

// agree compares two looks at what should be one inode, and what changed since the looks
// before.
func (x *execution) agree(what string, local, cluster facts) *fault {
	if local.errno != cluster.errno {
		return &fault{"look errno", fmt.Sprintf("stat of %s: cluster %s, local %s", what, name(cluster.errno), name(local.errno))}
	}
	if local.errno != 0 {
		return nil
	}
	if local.about != cluster.about {
		return &fault{"attributes", fmt.Sprintf("%s:\n  cluster %s\n  local   %s", what, cluster.about, local.about)}
	}
	k := x.known[local.inode]
	if k == nil {
		x.known[local.inode] = &known{inode: cluster.inode, local: local, cluster: cluster}
		return nil
	}
	if k.inode != cluster.inode {
		return &fault{"inode", fmt.Sprintf("%s: inode %d on the cluster was %d", what, cluster.inode, k.inode)}
	}
	if k.cluster.btime != cluster.btime {
		return &fault{"btime", fmt.Sprintf("%s: was made %v, and before %v", what, stamp(cluster.btime), stamp(k.cluster.btime))}
	}
	var f *fault
	if !k.vague && !k.hides(k.local.mtime, local.mtime) {
		f = change("mtime", what, k.local.mtime, local.mtime, k.cluster.mtime, cluster.mtime)
	}
	if f == nil && !k.vague && !k.hides(k.local.ctime, local.ctime) {
		f = change("ctime", what, k.local.ctime, local.ctime, k.cluster.ctime, cluster.ctime)
	}
	k.local, k.cluster, k.vague, k.tick = local, cluster, false, unix.Timespec{}
	return f
}

// hides tells whether the local side may have changed a time without showing it: calls that borrow
// a time give one of the last tick, even if the folder was looked at since.
func (k *known) hides(was, now unix.StatxTimestamp) bool {
	return k.tick != unix.Timespec{} && was == now && !earlier(now, k.tick)
}

func earlier(t unix.StatxTimestamp, than unix.Timespec) bool {
	return t.Sec < than.Sec || t.Sec == than.Sec && int64(t.Nsec) < than.Nsec
}

// change compares whether a time changed; and the time itself if it was set by a program.
func change(which, what string, wasLocal, local, wasCluster, cluster unix.StatxTimestamp) *fault {
	set := local.Sec < 1_500_000_000 || local.Sec > 4_000_000_000
	if set && local == cluster || (wasLocal == local) == (wasCluster == cluster) && (!set || local == wasLocal) {
		return nil
	}
	return &fault{which, fmt.Sprintf("%s of %s:\n  cluster %v, was %v\n  local   %v, was %v", which, what, stamp(cluster), stamp(wasCluster), stamp(local), stamp(wasLocal))}
}

func stamp(t unix.StatxTimestamp) string { return fmt.Sprintf("%d.%09d", t.Sec, t.Nsec) }

func name(errno syscall.Errno) string {
	if errno == 0 {
		return "0"
	}
	return unix.ErrnoName(errno)
}
