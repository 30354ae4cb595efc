package fusefs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The tests here speak with the kernel: this binary, started again, serves a
// memory backend on a mountpoint, and the test's own process does the syscalls.

const serveVariable = "FUSEFS_TEST_SERVE"

func TestMain(m *testing.M) {
	if mountpoint := os.Getenv(serveVariable); mountpoint != "" {
		os.Exit(serve(mountpoint))
	}
	os.Exit(m.Run())
}

// serve answers on standard output when the mount is there, releases what hangs
// when it is told "release", and unmounts when standard input ends.
func serve(mountpoint string) int {
	var opts Options
	if err := opts.Parse(os.Getenv("FUSEFS_TEST_OPTIONS"), nil); err != nil {
		fmt.Println(err)
		return 1
	}
	opts.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	m := newMemory()
	m.page, m.release = 1000, make(chan struct{})
	m.hanging = func() { fmt.Println("hanging") }
	s, err := mount(m, mountpoint, opts)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("mounted")
	go func() {
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			close(m.release)
		}
		if err := s.Unmount(); IsBusy(err) {
			fmt.Println("busy")
			s.Detach()
		}
	}()
	s.Wait()
	fmt.Println("ended")
	return 0
}

type served struct {
	path  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *bufio.Reader
}

func (s *served) line() string {
	line, _ := s.out.ReadString('\n')
	return strings.TrimSuffix(line, "\n")
}

func startServing(t testing.TB, mountpoint, options string) *served {
	t.Helper()
	if _, err := os.Stat(fuseDevice); err != nil {
		t.Fatalf("these tests mount: %v: load the module (modprobe fuse), or give the container this device", err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serveVariable+"="+mountpoint, "FUSEFS_TEST_OPTIONS="+options)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &served{path: mountpoint, cmd: cmd, stdin: stdin, out: bufio.NewReader(stdout)}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		detach(mountpoint) // an error says that nothing is mounted any more
	})
	return s
}

func serving(t *testing.T, options string) *served {
	t.Helper()
	s := startServing(t, t.TempDir(), options)
	if line := s.line(); line != "mounted" {
		t.Fatalf("mount: %s", line)
	}
	return s
}

func (s *served) join(name string) string { return filepath.Join(s.path, name) }

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErrno(t *testing.T, what string, err error, want syscall.Errno) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func TestKernelFiles(t *testing.T) {
	s := serving(t, "")
	name := s.join("file")
	data := make([]byte, 3<<20+777)
	for i := range data {
		data[i] = byte(i * 7 >> 3)
	}
	noError(t, os.WriteFile(name, data, 0o640))
	got, err := os.ReadFile(name)
	noError(t, err)
	if !slices.Equal(got, data) {
		t.Fatal("other bytes came back")
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	noError(t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte("patch"), 1<<20-2)
	noError(t, err)
	copy(data[1<<20-2:], "patch")
	noError(t, f.Truncate(2<<20))
	noError(t, f.Sync())
	noError(t, os.Truncate(name, 2<<20+100))
	got, err = os.ReadFile(name)
	noError(t, err)
	if !slices.Equal(got, append(slices.Clone(data[:2<<20]), make([]byte, 100)...)) {
		t.Fatal("other bytes came back after truncation")
	}
	mapped, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	noError(t, err)
	copy(mapped, "mapped")
	noError(t, unix.Msync(mapped, unix.MS_SYNC))
	noError(t, unix.Munmap(mapped))
	head := make([]byte, 8)
	_, err = f.ReadAt(head, 0)
	noError(t, err)
	if string(head[:6]) != "mapped" {
		t.Errorf("after a write through a mapping: %q", head)
	}
	_, err = unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	wantErrno(t, "ioctl", err, unix.ENOTTY)
	noError(t, unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}))
	noError(t, unix.Flock(int(f.Fd()), unix.LOCK_EX))
	clone, err := os.Create(s.join("clone"))
	noError(t, err)
	defer clone.Close()
	n, err := unix.CopyFileRange(int(f.Fd()), new(int64), int(clone.Fd()), nil, 1<<20, 0)
	if err != nil || n == 0 {
		t.Errorf("copy_file_range: %d, %v", n, err)
	}
	copied, err := os.ReadFile(clone.Name())
	noError(t, err)
	original, err := os.ReadFile(name)
	noError(t, err)
	if !slices.Equal(copied, original[:n]) {
		t.Errorf("%d bytes were copied, and there are %d others", n, len(copied))
	}
	_, err = unix.CopyFileRange(int(f.Fd()), new(int64), int(f.Fd()), new(int64), 100, 0)
	wantErrno(t, "copy onto itself", err, unix.EINVAL)
	wantErrno(t, "FICLONE", unix.IoctlFileClone(int(clone.Fd()), int(f.Fd())), unix.EOPNOTSUPP)
}

func TestKernelAppends(t *testing.T) {
	s := serving(t, "")
	name := s.join("log")
	a, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o644)
	noError(t, err)
	defer a.Close()
	b, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	noError(t, err)
	defer b.Close()
	var want string
	for i := range 50 {
		line := fmt.Sprintf("line %d\n", i)
		want += line
		_, err := []*os.File{a, b}[i%2].WriteString(line)
		noError(t, err)
	}
	got, err := os.ReadFile(name)
	noError(t, err)
	if string(got) != want {
		t.Errorf("read %q", got)
	}
	mapped, err := unix.Mmap(int(a.Fd()), 0, 8, unix.PROT_READ, unix.MAP_SHARED)
	noError(t, err)
	if string(mapped) != want[:8] {
		t.Errorf("mapped %q", mapped)
	}
	noError(t, unix.Munmap(mapped))
}

func TestKernelNames(t *testing.T) {
	s := serving(t, "")
	old := unix.Umask(0o027)
	defer unix.Umask(old)
	noError(t, os.Mkdir(s.join("d"), 0o777))
	noError(t, os.WriteFile(s.join("d/a"), []byte("a"), 0o666))
	noError(t, os.WriteFile(s.join("b"), []byte("b"), 0o666))
	for name, want := range map[string]os.FileMode{"d": os.ModeDir | 0o750, "b": 0o640} {
		if info, err := os.Lstat(s.join(name)); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", name, info.Mode(), err, want)
		}
	}
	rename := func(flags uint) error {
		return unix.Renameat2(unix.AT_FDCWD, s.join("d/a"), unix.AT_FDCWD, s.join("b"), flags)
	}
	wantErrno(t, "RENAME_NOREPLACE", rename(unix.RENAME_NOREPLACE), unix.EEXIST)
	wantErrno(t, "RENAME_WHITEOUT", rename(unix.RENAME_WHITEOUT), unix.EINVAL)
	noError(t, rename(unix.RENAME_EXCHANGE))
	if got, err := os.ReadFile(s.join("b")); err != nil || string(got) != "a" {
		t.Errorf("after the exchange: %q, %v", got, err)
	}
	noError(t, rename(0))
	noError(t, os.Link(s.join("b"), s.join("hard")))
	noError(t, os.Symlink("to/where", s.join("soft")))
	if target, err := os.Readlink(s.join("soft")); err != nil || target != "to/where" {
		t.Errorf("symlink: %q, %v", target, err)
	}
	noError(t, unix.Mkfifo(s.join("fifo"), 0o600))
	var st unix.Stat_t
	noError(t, unix.Stat(s.join("hard"), &st))
	if st.Nlink != 2 {
		t.Errorf("nlink %d", st.Nlink)
	}
	wantErrno(t, "rmdir", os.Remove(s.join("d/none")), unix.ENOENT)
	noError(t, os.Remove(s.join("d")))
	wantErrno(t, "a long name", os.Mkdir(s.join(strings.Repeat("n", 256)), 0o777), unix.ENAMETOOLONG)
	when := time.Unix(-12345, 678)
	noError(t, unix.UtimesNanoAt(unix.AT_FDCWD, s.join("b"), []unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(when.UnixNano())}, 0))
	if info, err := os.Stat(s.join("b")); err != nil || !info.ModTime().Equal(when) {
		t.Errorf("mtime %v, %v; want %v", info.ModTime(), err, when)
	}
	var stx unix.Statx_t
	noError(t, unix.Statx(unix.AT_FDCWD, s.join("b"), 0, unix.STATX_BTIME, &stx))
	if stx.Mask&unix.STATX_BTIME == 0 || time.Since(time.Unix(stx.Btime.Sec, 0)) > time.Hour {
		t.Errorf("time of birth: mask %#x, %v", stx.Mask, stx.Btime)
	}
}

func must2(_ int, err error) error { return err }

func TestKernelXattrs(t *testing.T) {
	s := serving(t, "")
	name := s.join("file")
	noError(t, os.WriteFile(name, nil, 0o644))
	noError(t, unix.Setxattr(name, "user.a", []byte("value"), unix.XATTR_CREATE))
	wantErrno(t, "create again", unix.Setxattr(name, "user.a", nil, unix.XATTR_CREATE), unix.EEXIST)
	if n, err := unix.Getxattr(name, "user.a", nil); n != 5 || err != nil {
		t.Errorf("size probe: %d, %v", n, err)
	}
	wantErrno(t, "small buffer", must2(unix.Getxattr(name, "user.a", make([]byte, 4))), unix.ERANGE)
	buf := make([]byte, 100)
	if n, err := unix.Getxattr(name, "user.a", buf); err != nil || string(buf[:n]) != "value" {
		t.Errorf("%q, %v", buf[:n], err)
	}
	if n, err := unix.Listxattr(name, buf); err != nil || string(buf[:n]) != "user.a\x00" {
		t.Errorf("%q, %v", buf[:n], err)
	}
	noError(t, unix.Removexattr(name, "user.a"))
	wantErrno(t, "absent", must2(unix.Getxattr(name, "user.a", nil)), unix.ENODATA)
	wantErrno(t, "a wrong ACL", unix.Setxattr(name, "system.posix_acl_access", []byte{2, 0, 0, 0, 0}, 0), unix.EINVAL)
}

func TestKernelDirectories(t *testing.T) {
	s := serving(t, "")
	const n = 2500
	for i := range n {
		noError(t, unix.Mknod(s.join(fmt.Sprintf("f%04d", i)), unix.S_IFREG|0o644, 0))
	}
	entries, err := os.ReadDir(s.path)
	noError(t, err)
	if len(entries) != n || entries[0].Name() != "f0000" || entries[n-1].Name() != fmt.Sprintf("f%04d", n-1) {
		t.Fatalf("%d entries", len(entries))
	}
	out, err := exec.Command("ls", "-lU", s.path).Output() // READDIRPLUS
	if lines := strings.Count(string(out), "\n"); err != nil || lines != n+1 {
		t.Errorf("ls -l: %d lines, %v", lines, err)
	}
	// rm -r reads and removes by turns
	noError(t, os.RemoveAll(s.join("f0001")))
	out, err = exec.Command("sh", "-c", "rm -r "+s.path+"/*").CombinedOutput()
	if err != nil {
		t.Errorf("rm -r: %v: %s", err, out)
	}
	if entries, err = os.ReadDir(s.path); err != nil || len(entries) != 0 {
		t.Errorf("%d entries are left, %v", len(entries), err)
	}
}

func TestKernelSeekdir(t *testing.T) {
	s := serving(t, "")
	for i := range 300 {
		noError(t, unix.Mknod(s.join(fmt.Sprintf("f%04d", i)), unix.S_IFREG|0o644, 0))
	}
	dir, err := os.Open(s.path)
	noError(t, err)
	defer dir.Close()
	type place struct {
		offset int64
		name   string
	}
	read := func() (places []place) {
		buf := make([]byte, 512)
		for {
			n, err := unix.Getdents(int(dir.Fd()), buf)
			noError(t, err)
			if n == 0 {
				return places
			}
			for b := buf[:n]; len(b) > 0; {
				off := int64(b[8]) | int64(b[9])<<8 | int64(b[10])<<16 | int64(b[11])<<24
				size := int(b[16]) | int(b[17])<<8
				name, _, _ := strings.Cut(string(b[19:size]), "\x00")
				places = append(places, place{off, name})
				b = b[size:]
			}
		}
	}
	all := read()
	if len(all) != 302 || all[0].name != "." || all[1].name != ".." {
		t.Fatalf("%d entries", len(all))
	}
	for _, i := range []int{250, 0, 1, 100, 99, 301} {
		_, err := dir.Seek(all[i].offset, io.SeekStart)
		noError(t, err)
		if got := read(); !slices.Equal(got, all[i+1:]) {
			t.Errorf("behind %s: %d entries, want %d", all[i].name, len(got), len(all)-i-1)
		}
	}
}

func TestKernelOptions(t *testing.T) {
	isRoot := os.Geteuid() == 0 // others get no set-id bits nor devices, and may not ask for read-ahead
	s := serving(t, "ro,noexec,noatime,nodev,fsname=host:9420:/a b,subtype=sub")
	wantErrno(t, "write to a read-only mount", os.WriteFile(s.join("a"), nil, 0o644), unix.EROFS)
	entry, ok, err := mountAt(s.path)
	noError(t, err)
	if !ok || entry.fstype != "fuse.sub" || entry.source != "host:9420:/a b" {
		t.Errorf("%+v, %v", entry, ok)
	}
	all := slices.Concat(entry.flags, entry.super)
	for _, want := range []string{"ro", "noexec", "noatime", "nodev", "default_permissions", "max_read=1048576"} {
		if !slices.Contains(all, want) {
			t.Errorf("%q is not in %q", want, all)
		}
	}
	if slices.Contains(all, "nosuid") == isRoot || slices.Contains(all, "allow_other") != isRoot {
		t.Errorf("nosuid or allow_other is wrong in %q", all)
	}
	kb, err := os.ReadFile(filepath.Join("/sys/class/bdi", entry.device, "read_ahead_kb"))
	if isRoot && (err != nil || string(kb) != "4096\n") {
		t.Errorf("read-ahead %q KiB, %v", kb, err)
	}
}

func TestAKilledCallerIsLetGo(t *testing.T) {
	s := serving(t, "")
	for _, signal := range []syscall.Signal{unix.SIGTERM, unix.SIGKILL, unix.SIGQUIT} {
		cmd := exec.Command("stat", s.join("hang"))
		noError(t, cmd.Start())
		if line := s.line(); line != "hanging" {
			t.Fatal(line)
		}
		noError(t, cmd.Process.Signal(signal))
		cmd.Wait()
		if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != signal {
			t.Errorf("sent %v, ended by %v", signal, cmd.ProcessState)
		}
	}
}

func TestASignalWithAHandlerBreaksNothingOff(t *testing.T) {
	s := serving(t, "")
	thread, answer := make(chan int), make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		thread <- unix.Gettid()
		answer <- unix.Stat(s.join("hang"), new(unix.Stat_t))
	}()
	tid := <-thread
	if line := s.line(); line != "hanging" {
		t.Fatal(line)
	}
	noError(t, unix.Tgkill(os.Getpid(), tid, unix.SIGURG)) // as the Go runtime does to preempt
	time.Sleep(3 * killPoll)                               // for the server to have it noticed
	_, err := io.WriteString(s.stdin, "release\n")
	noError(t, err)
	wantErrno(t, "stat", <-answer, unix.ENOENT)
}

func TestUnmountEndsTheServer(t *testing.T) {
	s := serving(t, "")
	noError(t, unmount(s.path))
	if line := s.line(); line != "ended" {
		t.Errorf("after an unmount from outside it said %q", line)
	}
	s = serving(t, "")
	s.stdin.Close()
	if line := s.line(); line != "ended" {
		t.Errorf("after its own unmount it said %q", line)
	}
}

func TestABusyMountIsDetached(t *testing.T) {
	s := serving(t, "")
	f, err := os.Create(s.join("file"))
	noError(t, err)
	s.stdin.Close()
	if line := s.line(); line != "busy" {
		t.Fatalf("with an open file it said %q", line)
	}
	_, err = f.WriteString("still served")
	noError(t, err)
	noError(t, f.Close())
	if line := s.line(); line != "ended" {
		t.Errorf("after the last close it said %q", line)
	}
}

func TestMountpointThatWillNotDo(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	noError(t, os.WriteFile(file, nil, 0o644))
	alive := serving(t, "fsname=alive")
	for path, want := range map[string]string{
		filepath.Join(dir, "missing"): "mkdir -p",
		file:                          "not a directory",
		alive.path:                    "alive (fuse.distrifs) is mounted there",
	} {
		if line := startServing(t, path, "").line(); !strings.Contains(line, want) || !strings.Contains(line, path) {
			t.Errorf("%s: %q does not say %q", path, line, want)
		}
	}
	noError(t, os.WriteFile(alive.join("still"), nil, 0o644))
}

func TestADeadMountIsTakenOver(t *testing.T) {
	s := serving(t, "")
	link := filepath.Join(t.TempDir(), "link")
	noError(t, os.Symlink(s.path, link))
	for _, path := range []string{s.path, link} {
		noError(t, s.cmd.Process.Kill())
		s.cmd.Wait()
		if _, err := os.Stat(path); !errors.Is(err, unix.ENOTCONN) {
			t.Fatalf("a dead mount answers %v", err)
		}
		s = startServing(t, path, "")
		if line := s.line(); line != "mounted" {
			t.Fatalf("mount over a dead one: %s", line)
		}
		noError(t, os.WriteFile(filepath.Join(path, "a"), nil, 0o644))
	}
}
