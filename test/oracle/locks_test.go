package oracle

import (
	"fmt"
	"io"
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// Locks of flock(2) belong to the open file, those of fcntl(2) to the open file or to a process. Each
// mount has processes of its own, for a process with a file open through two mounts is two to the
// cluster, and one to a local filesystem.

// What c.flags of a lock says beside its type.
const (
	lockWaits = 1 << 8 // F_SETLKW, flock without LOCK_NB, where that ends
	lockOFD   = 1 << 9 // the open file's own, by F_OFD_*
	lockEnd   = 1 << 10
	lockHere  = 1 << 11
)

// lettingGo is how long the last close of an open file may take to be heard by another mount.
const lettingGo = 5 * time.Second

// whole is how many bytes locks are drawn from: few, so that they meet.
const whole = 12

// locking runs a call on the regular file in a slot, in the thread of a process.
func locking(s *side, c *call, f func(fd int) answer) (a answer) {
	slot := &s.slots[c.slot]
	if !slot.used || slot.kind != unix.S_IFREG {
		return skip // the kernel has no filesystem lock folders, FIFOs and devices
	}
	p := s.processes[slot.mount][c.process]
	if slot.copies[c.process] == 0 {
		fd, err := p.inherit(slot.fd)
		if err != nil {
			return result(0, err)
		}
		slot.copies[c.process] = fd
	}
	p.do(func() { a = f(slot.copies[c.process]) })
	return a
}

// flock locks the whole file for whoever has the open file.
func flock(s *side, c *call) answer {
	return locking(s, c, func(fd int) answer {
		how := int(c.flags &^ lockWaits)
		if !s.waits(c) {
			how |= unix.LOCK_NB
		}
		return s.locked(c, true, again(func() error { return unix.Flock(fd, how) }))
	})
}

// lock locks or unlocks a range.
func lock(s *side, c *call) answer {
	return locking(s, c, func(fd int) answer {
		commands := map[bool][2]int{false: {unix.F_SETLK, unix.F_OFD_SETLK}, true: {unix.F_SETLKW, unix.F_OFD_SETLKW}}[s.waits(c)]
		l, ofd, err := c.lock(fd)
		if err == nil {
			err = again(func() error { return unix.FcntlFlock(uintptr(fd), commands[ofd], &l) })
		}
		return s.locked(c, ofd == 1, err)
	})
}

// getLock asks what is in the way of a lock. Of several locks any may be told: that there is one counts, and
// which if there can be one alone.
func getLock(s *side, c *call) answer {
	return locking(s, c, func(fd int) answer {
		l, ofd, err := c.lock(fd)
		if err == nil {
			err = unix.FcntlFlock(uintptr(fd), [2]int{unix.F_GETLK, unix.F_OFD_GETLK}[ofd], &l)
		}
		a := result(0, err)
		switch {
		case err != nil:
		case l.Type == unix.F_UNLCK:
			a.data = "free"
		case c.size == 1 && l.Type == unix.F_WRLCK:
			a.data = fmt.Sprintf("locked from %d, %d bytes", l.Start, l.Len)
		default:
			a.data = "locked"
		}
		return a
	})
}

// lock gives what fcntl takes; ofd is 1 for the open file's. The kernel goes by the size that it last heard:
// fstat has it hear.
func (c *call) lock(fd int) (l unix.Flock_t, ofd int, err error) {
	l = unix.Flock_t{Type: int16(c.flags & 0xff), Start: c.at, Len: c.size}
	switch {
	case c.flags&lockEnd != 0:
		var st unix.Stat_t
		l.Whence, err = unix.SEEK_END, unix.Fstat(fd, &st)
	case c.flags&lockHere != 0:
		l.Whence = unix.SEEK_CUR
	}
	if c.flags&lockOFD != 0 {
		ofd = 1
	}
	return l, ofd, err
}

// leave closes the file in one process, which the others go on sharing.
func leave(s *side, c *call) answer { return s.leave(c.slot, c.process) }

func (s *side) leave(slot, process int64) answer {
	f := &s.slots[slot]
	fd := f.copies[process]
	if fd == 0 {
		return skip
	}
	f.copies[process] = 0
	var err error
	s.processes[f.mount][process].do(func() { err = unix.Close(fd) })
	return result(0, err)
}

// waits tells whether a call is to wait for its lock: on the cluster, when it was to be had on the local
// side, so that it comes.
func (s *side) waits(c *call) bool { return c.flags&lockWaits != 0 && c.free && !s.local }

// locked notes whether the open file in a slot has got a lock of its own.
func (s *side) locked(c *call, own bool, err error) answer {
	if err == nil && own {
		s.slots[c.slot].locked = true
	}
	return result(0, err)
}

// unlessLetGo runs a call on locks again as long as it finds locked what is not. The kernel tells a
// filesystem of the last close of an open file, with which its own locks go, without waiting: another
// mount may find them for a moment. One of the same mount never does.
func (x *execution) unlessLetGo(c *call, local answer, run func() answer) answer {
	for until := time.Now().Add(lettingGo); ; time.Sleep(time.Millisecond) {
		a := run()
		if !c.op.locks || a == local || time.Now().After(until) {
			return a
		}
		if f := x.cluster.slots[c.slot]; !x.cluster.letGo[openFile{1 - f.mount, f.inode}] {
			return a
		}
	}
}

// openFile is a file as it is open through one mount.
type openFile struct {
	mount int
	inode uint64
}

// again repeats a wait that a signal of Go's own has ended.
func again(try func() error) error {
	for {
		if err := try(); err != unix.EINTR {
			return err
		}
	}
}

// process has a table of open files of its own, which owns locks of fcntl.
type process struct {
	worker
	send, receive int // ends of a socket that open files come through
}

// ofMount is how many processes of each mount lock, and processes are all of them.
const ofMount = 2

type processes [2][ofMount]*process

func forkAll() (all processes, err error) {
	for mount := range all {
		for i := range all[mount] {
			if all[mount][i], err = fork(); err != nil {
				return all, err
			}
		}
	}
	return all, nil
}

// fork starts a thread that is a process but for its memory.
func fork() (*process, error) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	w, err := startWorker(func() error { return unix.Unshare(unix.CLONE_FILES) })
	return &process{w, ends[0], ends[1]}, err
}

// inherit gives a process an open file of the caller's, and tells by which descriptor it has it.
func (p *process) inherit(fd int) (copy int, err error) {
	if err := unix.Sendmsg(p.send, []byte{0}, unix.UnixRights(fd), nil, 0); err != nil {
		return 0, err
	}
	p.do(func() { copy, err = receiveFile(p.receive) })
	return copy, err
}

func receiveFile(socket int) (int, error) {
	control := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(socket, make([]byte, 1), control, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return 0, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil || len(messages) == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	files, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return 0, err
	}
	return files[0], nil
}

func drawLockAt(r *drawer) int64 {
	if r.IntN(20) == 0 {
		return pick[int64](r, math.MaxInt64, math.MaxInt64-1, math.MaxInt64-3, -1)
	}
	return r.Int64N(whole)
}

func drawLockSize(r *drawer) int64 {
	if r.IntN(20) == 0 {
		return pick[int64](r, math.MaxInt64, -3, -1)
	}
	return pick[int64](r, 0, 1, 1, 1, 2, 4, whole)
}

func drawLock(r *drawer) int64 {
	flags := pick[int64](r, unix.F_RDLCK, unix.F_WRLCK, unix.F_WRLCK, unix.F_WRLCK, unix.F_UNLCK)
	flags |= pick[int64](r, 0, 0, lockOFD) | pick[int64](r, 0, 0, lockWaits)
	return flags | pick[int64](r, 0, 0, 0, 0, 0, 0, 0, 0, lockEnd, lockHere)
}
