package locks

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/test/cluster"
)

func TestMain(m *testing.M) { cluster.Main(m) }

func init() {
	cluster.Register("count", countJob)
	cluster.Register("hold", holdJob)
	cluster.Register("try", tryJob)
	cluster.Register("alarm", alarmJob)
}

// locker is one kind of lock, on the whole file or, for fcntl, on its first bytes.
type locker func(f *os.File, how int16, wait bool) error

var lockers = map[string]locker{
	"flock": func(f *os.File, how int16, wait bool) error {
		flags := map[int16]int{unix.F_RDLCK: unix.LOCK_SH, unix.F_WRLCK: unix.LOCK_EX, unix.F_UNLCK: unix.LOCK_UN}[how]
		if !wait {
			flags |= unix.LOCK_NB
		}
		return again(func() error { return unix.Flock(int(f.Fd()), flags) })
	},
	"fcntl": func(f *os.File, how int16, wait bool) error {
		command := unix.F_SETLK
		if wait {
			command = unix.F_SETLKW
		}
		return again(func() error { return unix.FcntlFlock(f.Fd(), command, &unix.Flock_t{Type: how}) })
	},
	"ofd": func(f *os.File, how int16, wait bool) error {
		command := unix.F_OFD_SETLK
		if wait {
			command = unix.F_OFD_SETLKW
		}
		return again(func() error { return unix.FcntlFlock(f.Fd(), command, &unix.Flock_t{Type: how}) })
	},
}

// again repeats a call that a signal of Go's own interrupted.
func again(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// countJob adds to the number in a file, under a lock: its arguments are the kind of
// lock, the file, and how often.
func countJob(args []string) error {
	lock := lockers[args[0]]
	times, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	f, err := os.OpenFile(args[1], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	for range times {
		if err := lock(f, unix.F_WRLCK, true); err != nil {
			return fmt.Errorf("lock: %w", err)
		}
		if err := increment(f); err != nil {
			return err
		}
		if err := lock(f, unix.F_UNLCK, true); err != nil {
			return fmt.Errorf("unlock: %w", err)
		}
	}
	return f.Close()
}

// increment adds one to the number that is the file.
func increment(f *os.File) error {
	text := make([]byte, 32)
	n, err := f.ReadAt(text, 0)
	if n == 0 {
		return fmt.Errorf("read: %w", err)
	}
	count, err := strconv.Atoi(strings.TrimSpace(string(text[:n])))
	if err != nil {
		return err
	}
	_, err = f.WriteAt(fmt.Appendf(nil, "%d\n", count+1), 0)
	return err
}

// holdJob locks a file, prints "held", and holds on until it is killed, or until the
// file named by a third argument is there: then it locks that one too, waiting.
func holdJob(args []string) error {
	f, err := os.OpenFile(args[1], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := lockers[args[0]](f, unix.F_WRLCK, true); err != nil {
		return err
	}
	fmt.Println("held")
	if len(args) == 2 {
		select {}
	}
	next, err := os.OpenFile(args[2], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	for { // until the test says go
		if _, err := os.Lstat(args[3]); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := lockers[args[0]](next, unix.F_WRLCK, true); err != nil {
		return err
	}
	fmt.Println("held both")
	return nil
}

// tryJob fails unless the lock is to be had at once.
func tryJob(args []string) error {
	f, err := os.OpenFile(args[1], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return lockers[args[0]](f, unix.F_WRLCK, false)
}

// alarmJob waits for a lock that another holds until an alarm ends the wait, with EINTR
// since the handler is installed without SA_RESTART. Go installs its own with it, so
// perl does the waiting.
func alarmJob(args []string) error {
	return unix.Exec("/usr/bin/perl", []string{"perl", "-MFcntl=:flock", "-MPOSIX", "-e", `
		POSIX::sigaction(SIGALRM, POSIX::SigAction->new(sub {}));
		open(my $f, "+<", $ARGV[0]) or die "open: $!";
		alarm 1;
		die "the lock was given" if flock($f, LOCK_EX);
		die "$!" unless $!{EINTR};
		print "interrupted\n";`, args[0]}, os.Environ())
}
