package state

import "encoding/binary"

// Most inodes have two different times that a stamp can hold, and their record has
// room for them. Where atime is not btime, or ctime not mtime, there is a cold record with
// the other two. When one of the four is out of a stamp's range, all of them are far: they stand
// in a block of the arena, to which the cold record leads.

// times are the four times of an inode.
type times struct{ atime, mtime, ctime, btime Time }

// after compares two times.
func (t Time) after(u Time) bool { return t.Sec > u.Sec || t.Sec == u.Sec && t.Nsec > u.Nsec }

// stamp is a Time in 64 bits: 34 of seconds since 1901 and 30 of nanoseconds. With all
// 30 bits set, which no nanoseconds have, it leads to far times: the others are a ref.
type stamp uint64

const (
	stampNsecBits = 30
	stampNsecMask = 1<<stampNsecBits - 1
	stampEpoch    = -1 << 31 // seconds of stamp 0
	stampSeconds  = 1 << 34
)

// stampOf gives the stamp of a time that is not far.
func stampOf(t Time) stamp { return stamp(t.Sec-stampEpoch)<<stampNsecBits | stamp(t.Nsec) }

func (s stamp) time() Time {
	return Time{Sec: int64(s>>stampNsecBits) + stampEpoch, Nsec: uint32(s & stampNsecMask)}
}

// far says whether a time has no stamp.
func (t Time) far() bool { return t.Sec < stampEpoch || t.Sec >= stampEpoch+stampSeconds }

func (w *times) far() bool { return w.atime.far() || w.mtime.far() || w.ctime.far() || w.btime.far() }

// far says whether a stamp leads to far times.
func (s stamp) far() bool { return s&stampNsecMask == stampNsecMask }

// cold is what an inode has besides when its four times are not two, when they are
// far, when it has extended attributes, or when it has a number that is too large for its own
// record.
type cold struct {
	atime, ctime stamp  // atime may lead to far times, and ctime is nothing then
	xattrs       ref    // first of the list
	sizeHigh     uint32 // of inode.size, as the others
	changeHigh   uint32
	ownerHigh    uint16
}

func (c *cold) freeLink() *uint32 { return &c.sizeHigh }

func (t *tables) times(slot uint32) times {
	n := t.inodes.get(slot)
	m, b := n.mtime.time(), n.btime.time()
	if n.cold == 0 {
		return times{atime: b, mtime: m, ctime: m, btime: b}
	}
	c := t.colds.get(n.cold)
	if c.atime.far() {
		return t.farTimes(c.atime)
	}
	return times{atime: c.atime.time(), mtime: m, ctime: c.ctime.time(), btime: b}
}

// setTimes sets all times and counts a change.
func (t *tables) setTimes(slot uint32, w times) {
	t.putTimes(slot, w)
	t.putChange(slot, t.change(slot)+1)
}

// putTimes sets all times.
func (t *tables) putTimes(slot uint32, w times) {
	n, far := t.inodes.mut(slot), w.far()
	if n.cold != 0 {
		t.freeFar(t.colds.get(n.cold).atime)
	} else if far || w.atime != w.btime || w.ctime != w.mtime {
		t.needCold(slot)
	}
	switch {
	case far:
		n.btime = 0
		n.mtime = 0
		c := t.colds.mut(n.cold)
		c.atime, c.ctime = t.newFar(w), 0
	case n.cold != 0:
		c := t.colds.mut(n.cold)
		c.atime, c.ctime = stampOf(w.atime), stampOf(w.ctime)
		fallthrough
	default:
		n.btime = stampOf(w.btime)
		n.mtime = stampOf(w.mtime)
	}
}

// needCold makes sure that an inode has a cold record and gives its slot.
func (t *tables) needCold(slot uint32) uint32 {
	n := t.inodes.mut(slot)
	if n.cold == 0 {
		n.cold = t.colds.alloc()
		*t.colds.mut(n.cold) = cold{atime: n.btime, ctime: n.mtime}
	}
	return n.cold
}

// The block of far times: those of reading, content, change and birth, each in 8 bytes of
// seconds since 1970, which may be negative, and 4 of nanoseconds.
const (
	farTime  = 8 + 4
	farBlock = 4 * farTime
)

// newFar makes a block and gives the stamp that leads to it.
func (t *tables) newFar(w times) stamp {
	r := t.arena.alloc(farBlock)
	b := t.arena.mut(r)
	for i, v := range [...]Time{w.atime, w.mtime, w.ctime, w.btime} {
		binary.LittleEndian.PutUint64(b[i*farTime:], uint64(v.Sec))
		binary.LittleEndian.PutUint32(b[i*farTime+8:], v.Nsec)
	}
	return stamp(r)<<stampNsecBits | stampNsecMask
}

// farTimes reads the block that a stamp leads to.
func (t *tables) farTimes(s stamp) times {
	b := t.arena.block(ref(s >> stampNsecBits))
	at := func(i int) Time {
		return Time{
			Sec:  int64(binary.LittleEndian.Uint64(b[i*farTime:])),
			Nsec: binary.LittleEndian.Uint32(b[i*farTime+8:]),
		}
	}
	return times{atime: at(0), mtime: at(1), ctime: at(2), btime: at(3)}
}

// freeFar frees the block that a stamp leads to, if it does.
func (t *tables) freeFar(s stamp) {
	if s.far() {
		t.arena.release(ref(s >> stampNsecBits))
	}
}

// changed marks ctime; modified marks mtime and ctime.
func (t *tables) changed(slot uint32, now Time) {
	w := t.times(slot)
	w.ctime = now
	t.setTimes(slot, w)
}

func (t *tables) modified(slot uint32, now Time) {
	w := t.times(slot)
	w.mtime, w.ctime = now, now
	t.setTimes(slot, w)
}

// committed are the times behind a commit of what was last written at mtime. The change time
// is that of the write or of a later change of attributes, as the writer has shown it to
// programs since; but never ahead of the master's clock. With the mtime that is there
// nothing was written that is not known: one was set since.
func (w times) committed(mtime, now Time) times {
	if mtime == w.mtime {
		return w
	}
	w.mtime = mtime
	if now.after(mtime) {
		now = mtime
	}
	if now.after(w.ctime) {
		w.ctime = now
	}
	return w
}
