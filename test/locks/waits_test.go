package locks

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/test/cluster"
)

var (
	seedFlag = flag.Uint64("seed", 1, "seed of random waits; at random if 0")
	waitFlag = flag.Int("waits", 300, "how many locks each process asks for in random waits")
)

func init() {
	cluster.Register("queue", queueJob)
	cluster.Register("compete", competeJob)
}

// Who waits longer is served first, whichever mount he is on.
func TestWaitersAreServedInOrder(t *testing.T) {
	const waiters = 4
	c, files := two(t)
	for _, kind := range []string{"fcntl", "ofd"} {
		turns := filepath.Join(t.TempDir(), "turns")
		f, err := os.OpenFile(files[0], os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := set(f, unix.F_OFD_SETLK, unix.F_RDLCK, 0, 100); err != nil {
			t.Fatal(err)
		}
		var jobs []*cluster.Job
		want := ""
		for i := range waiters {
			jobs = append(jobs, c.Job("queue", kind, files[i%2], fmt.Sprint(i), turns))
			want += fmt.Sprint(i)
			// Nobody shares what somebody waits for to have alone.
			cluster.Until(t, cluster.JobLimit, "a job waits", func() error { return notWanted(files[1], i) })
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		for _, job := range jobs {
			job.Must()
		}
		if got, err := os.ReadFile(turns); err != nil || string(got) != want {
			t.Errorf("%s: served in the order %q: %v", kind, got, err)
		}
	}
}

// queueJob waits for all bytes up to one, and notes that it has them.
func queueJob(args []string) error {
	f, err := os.OpenFile(args[1], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	last, err := strconv.ParseInt(args[2], 10, 64)
	if err != nil {
		return err
	}
	command := map[string]int{"fcntl": unix.F_SETLKW, "ofd": unix.F_OFD_SETLKW}[args[0]]
	if err := set(f, command, unix.F_WRLCK, 0, last+1); err != nil {
		return err
	}
	turns, err := os.OpenFile(args[3], os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = turns.WriteString(args[2])
	return err
}

// notWanted is an error if a byte can be had to read.
func notWanted(file string, at int) error {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := set(f, unix.F_OFD_SETLK, unix.F_RDLCK, int64(at), 1); !errors.Is(err, unix.EAGAIN) {
		return fmt.Errorf("nobody waits for byte %d: %v", at, err)
	}
	return nil
}

func set(f *os.File, command int, how int16, at, size int64) error {
	return again(func() error {
		return unix.FcntlFlock(f.Fd(), command, &unix.Flock_t{Type: how, Start: at, Len: size})
	})
}

// Processes on two mounts lock ranges of two files at random, several each and for as long as
// it takes: nobody has what another has, every circle of waits ends with EDEADLK for
// who holds something, signals that break waits off do no harm, and all come to an end.
func TestRandomWaits(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64N(1 << 40)
	}
	t.Logf("-seed %d", seed)
	c, files := two(t)
	shared := filepath.Join(t.TempDir(), "truth")
	if err := os.WriteFile(shared, make([]byte, unsafe.Sizeof(truth{})), 0o644); err != nil {
		t.Fatal(err)
	}
	var jobs []*cluster.Job
	for i := range 6 {
		kind := []string{"fcntl", "fcntl", "ofd"}[i/2]
		jobs = append(jobs, c.Job("compete", kind, filepath.Dir(files[i%2]), shared, fmt.Sprint(seed), fmt.Sprint(i), fmt.Sprint(*waitFlag)))
	}
	all := ""
	for _, job := range jobs {
		all += job.Must()
	}
	if !strings.Contains(all, "deadlock") {
		t.Errorf("no wait was refused: %s", all)
	}
	t.Logf("%s", all)
}

// span is how many bytes of each file are locked.
const span = 8

// truth is memory that all processes share: of each byte how many read it, or -1 for one
// who has it alone. It says no more than what is certain: it is taken back before a lock is.
type truth [2][span]int32

// competitor is one process.
type competitor struct {
	*rand.Rand
	truth  *truth
	files  [2]*os.File
	holds  [2][span]int16 // F_UNLCK, F_RDLCK, F_WRLCK
	ofd    int            // the one file that it locks as an open file, which no other goes with; -1: all, as a process
	refuse int            // waits that ended with EDEADLK
}

func competeJob(args []string) error {
	seed, err := strconv.ParseUint(args[3], 10, 64)
	if err != nil {
		return err
	}
	id, err := strconv.ParseUint(args[4], 10, 64)
	if err != nil {
		return err
	}
	rounds, err := strconv.Atoi(args[5])
	if err != nil {
		return err
	}
	p := &competitor{Rand: rand.New(rand.NewPCG(seed, id)), ofd: -1}
	if args[0] == "ofd" {
		p.ofd = int(id % 2)
	}
	if p.truth, err = shareTruth(args[2]); err != nil {
		return err
	}
	for i, name := range []string{"file", "other"} {
		if p.files[i], err = os.OpenFile(filepath.Join(args[1], name), os.O_RDWR, 0); err != nil {
			return err
		}
		for b := range p.holds[i] {
			p.holds[i][b] = unix.F_UNLCK
		}
	}
	runtime.LockOSThread()
	go pester(unix.Gettid())
	for range rounds {
		if err := p.act(); err != nil {
			return err
		}
	}
	fmt.Printf("%s %d: %d locks, %d times a deadlock\n", args[0], id, rounds, p.refuse)
	return p.letGo()
}

func shareTruth(file string) (*truth, error) {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	memory, err := unix.Mmap(int(f.Fd()), 0, int(unsafe.Sizeof(truth{})), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return (*truth)(unsafe.Pointer(&memory[0])), f.Close()
}

// pester breaks off what a thread waits for, again and again. The kernel makes it wait anew.
func pester(thread int) {
	for {
		time.Sleep(time.Duration(1+rand.IntN(20)) * time.Millisecond)
		unix.Tgkill(os.Getpid(), thread, unix.SIGURG) // Go takes it as a wish to preempt
	}
}

// act locks or unlocks one range.
func (p *competitor) act() error {
	file, at := p.IntN(2), p.IntN(span)
	if p.ofd >= 0 {
		file = p.ofd
	}
	size := 1 + p.IntN(span-at)
	how := []int16{unix.F_UNLCK, unix.F_RDLCK, unix.F_WRLCK, unix.F_WRLCK}[p.IntN(4)]
	before := p.holds
	if err := p.claim(file, at, size, how, false); err != nil {
		return err
	}
	err := p.set(file, at, size, how)
	if errors.Is(err, unix.EDEADLK) {
		p.refuse++
		if before == nothing() {
			return errors.New("EDEADLK for who holds nothing")
		}
		return p.letGo()
	}
	if err != nil {
		return fmt.Errorf("lock %d bytes from %d of file %d: %w", size, at, file, err)
	}
	return p.claim(file, at, size, how, true)
}

func nothing() (none [2][span]int16) {
	for file := range none {
		for b := range none[file] {
			none[file][b] = unix.F_UNLCK
		}
	}
	return none
}

// set has the lock set, waiting for it, by who locks in this process.
func (p *competitor) set(file, at, size int, how int16) error {
	command := unix.F_SETLKW
	if p.ofd >= 0 {
		command = unix.F_OFD_SETLKW
	}
	return set(p.files[file], command, how, int64(at), int64(size))
}

// claim notes in the truth what a lock changes: before it is set what it gives up, behind
// it (got) what it gains.
func (p *competitor) claim(file, at, size int, how int16, got bool) error {
	for b := at; b < at+size; b++ {
		word, has := &p.truth[file][b], &p.holds[file][b]
		was, is := share(*has), share(how)
		switch {
		case !got && (*has == how || *has == unix.F_RDLCK && how == unix.F_WRLCK || *has == unix.F_UNLCK):
			continue // gives nothing up
		case got && *has == how:
			continue
		}
		if !exchange(word, was, is) {
			return fmt.Errorf("byte %d of file %d is had by others, by what they say %d, while this process goes from %d to %d", b, file, atomic.LoadInt32(word), was, is)
		}
		*has = how
	}
	return nil
}

// share is what a lock counts in the truth.
func share(how int16) int32 {
	return map[int16]int32{unix.F_UNLCK: 0, unix.F_RDLCK: 1, unix.F_WRLCK: -1}[how]
}

// exchange replaces a process's share in a word; it fails if others' do not go with it.
func exchange(word *int32, was, is int32) bool {
	for {
		now := atomic.LoadInt32(word)
		others := now - was
		if now < 0 && was >= 0 || was < 0 && now != -1 || is < 0 && others != 0 {
			return false
		}
		if atomic.CompareAndSwapInt32(word, now, others+is) {
			return true
		}
	}
}

// letGo unlocks all.
func (p *competitor) letGo() error {
	for file := range p.files {
		if err := p.claim(file, 0, span, unix.F_UNLCK, false); err != nil {
			return err
		}
		if err := p.set(file, 0, span, unix.F_UNLCK); err != nil {
			return err
		}
	}
	return nil
}
