package oracle

import (
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// identity is who a worker is.
type identity struct {
	uid, gid uint32
	groups   []uint32
	umask    int
}

var identities = []identity{
	{umask: 0},
	{uid: 1001, gid: 1001, groups: []uint32{2001}, umask: 0o022},
	{uid: 1002, gid: 1002, groups: []uint32{1001, 2001}, umask: 0o027},
}

// worker is a thread that differs from others. It does what it is sent.
type worker chan func()

// startWorker starts a thread and has it become what it is to be.
func startWorker(become func() error) (worker, error) {
	w, started := make(worker), make(chan error)
	go func() {
		runtime.LockOSThread() // for ever: nobody else is to have such a thread
		err := become()
		started <- err
		if err != nil {
			return
		}
		for f := range w {
			f()
		}
	}()
	return w, <-started
}

// hire starts a thread for each identity, with that root.
func hire(root string) ([]worker, error) {
	var workers []worker
	for _, who := range identities {
		w, err := startWorker(func() error { return become(who, root) })
		if err != nil {
			return nil, fmt.Errorf("become user %d: %w", who.uid, err)
		}
		workers = append(workers, w)
	}
	return workers, nil
}

// become changes the calling thread alone, which the functions of package syscall do not.
func become(who identity, root string) error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	if err := unix.Chroot(root); err != nil {
		return err
	}
	unix.Umask(who.umask)
	groups := append(who.groups, 0) // so that there is something to point at
	for _, call := range [][4]uintptr{
		{unix.SYS_SETGROUPS, uintptr(len(who.groups)), uintptr(unsafe.Pointer(&groups[0]))},
		{unix.SYS_SETRESGID, uintptr(who.gid), uintptr(who.gid), uintptr(who.gid)},
		{unix.SYS_SETRESUID, uintptr(who.uid), uintptr(who.uid), uintptr(who.uid)},
	} {
		if _, _, errno := syscall.RawSyscall(call[0], call[1], call[2], call[3]); errno != 0 {
			return errno
		}
	}
	runtime.KeepAlive(groups)
	return nil
}

// do runs f in the worker's thread.
func (w worker) do(f func()) {
	done := make(chan struct{})
	w <- func() {
		defer close(done)
		f()
	}
	<-done
}
