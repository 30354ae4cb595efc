package fusefs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/proto"
	"github.com/hanwen/go-fuse/v2/fuse"
)

const (
	maxWrite      = 1 << 20 // bytes of a READ or WRITE at most
	maxBackground = 128     // read-ahead and asynchronous requests that the kernel sends at once

	defaultReadAhead = 4 << 20
)

// capabilities that go-fuse does not ask for by itself: READDIRPLUS only when a
// program looks at attributes; O_TRUNC as part of OPEN; modes without the umask
// taken off, which is the master's to do; set-id bits as privileges.go tells;
// asynchronous O_DIRECT requests side by side; mappings of files opened past the cache;
// handles of inodes that the kernel has forgotten (export.go).
const capabilities = fuse.CAP_READDIRPLUS_AUTO | fuse.CAP_ATOMIC_O_TRUNC | fuse.CAP_DONT_MASK |
	fuse.CAP_HANDLE_KILLPRIV_V2 | fuse.CAP_ASYNC_DIO | fuse.CAP_DIRECT_IO_ALLOW_MMAP |
	fuse.CAP_EXPORT_SUPPORT

// Server is a mount.
type Server struct {
	mountpoint string
	device     string // as in the kernel's table: "0:57"
	ended      chan struct{}
}

// Mount mounts the root of a client on a folder and serves it until it is
// unmounted. The caller keeps the client, and closes it after that.
//
// It returns an error that says what to do when the folder is missing, is no
// folder, or is in use; a mount that a crash left dead there is taken over. It
// waits for the master for as long as the client does.
func Mount(c *client.Client, mountpoint string, opts Options) (*Server, error) {
	return mount(clientBackend{c}, mountpoint, opts)
}

func mount(b backend, mountpoint string, opts Options) (*Server, error) {
	opts.setDefaults()
	path, err := prepareMountpoint(mountpoint)
	if err != nil {
		return nil, err
	}
	fs := newFileSystem(b, opts.Logger)
	fs.localLocks = opts.LocalLocks
	fs.description = opts.Description
	if err := fs.checkRoot(context.Background()); err != nil {
		return nil, err
	}
	fd, err := attach(path, &opts)
	if err != nil {
		return nil, err
	}
	kernel, err := connect(fs, fd, &opts)
	if err != nil {
		if err := detach(path); err != nil {
			opts.Logger.Error("unmount after a failed start", "mountpoint", path, "error", err)
		}
		return nil, fmt.Errorf("mount %s: speak with the kernel: %w", path, err)
	}
	s := &Server{mountpoint: path, ended: make(chan struct{})}
	stopWatching := s.adjust(fs, &opts)
	go func() {
		defer close(s.ended)
		kernel.serve()
		fs.OnUnmount()
		stopWatching()
	}()
	return s, nil
}

// connect begins to speak with the kernel over the descriptor of a mount.
func connect(fs *fileSystem, fd int, opts *Options) (*device, error) {
	d, err := newDevice(fd, fs, fuseOptions(opts), fs.arrivals.come, opts.Logger)
	if err != nil {
		return nil, err
	}
	major, minor, err := d.greet()
	if err != nil {
		return nil, errors.Join(err, d.file.Close())
	}
	fs.arrivals.come(step) // that request
	fs.expires = major > 7 || major == 7 && minor >= 38
	fs.waits = d.waits
	fs.attach(d)
	return d, nil
}

// adjust sets what goes by the kernel's entry of the mount: how far it reads ahead, and
// which reads update access times. Nothing here touches the mount itself.
func (s *Server) adjust(fs *fileSystem, opts *Options) (stop func()) {
	fs.backend.SetAtime(opts.atime())
	entry, ok, err := mountAt(s.mountpoint)
	if err != nil || !ok {
		opts.Logger.Error("the mount is not in the kernel's table", "mountpoint", s.mountpoint, "error", err)
		return func() {}
	}
	s.device = entry.device
	if err := raiseReadAhead(entry.device, opts.KernelReadAhead); err != nil {
		opts.Logger.Warn("the kernel's read-ahead stays at its default: sequential reads are slower", "error", err)
	}
	watcher := watchFlags(entry.device, fs.backend, opts.Logger)
	fs.remounted = watcher.look
	return watcher.close
}

func (o *Options) setDefaults() {
	if o.FSName == "" {
		o.FSName = "distrifs"
	}
	if o.Subtype == "" {
		o.Subtype = "distrifs"
	}
	if o.KernelReadAhead == 0 {
		o.KernelReadAhead = defaultReadAhead
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

func fuseOptions(opts *Options) *fuse.MountOptions {
	level := slog.LevelWarn
	if opts.Debug {
		level = slog.LevelDebug
	}
	return &fuse.MountOptions{
		MaxWrite:             maxWrite,
		MaxBackground:        maxBackground,
		Name:                 opts.Subtype,
		DisableSplice:        true, // answers are bytes in memory: a pipe would be a detour
		EnableSymlinkCaching: true,
		EnableAcl:            true,
		EnableLocks:          !opts.LocalLocks,
		ExtraCapabilities:    capabilities,
		DisabledCapabilities: fuse.CAP_PASSTHROUGH,
		Debug:                opts.Debug,
		Logger:               slog.NewLogLogger(opts.Logger.Handler(), level),
		PanicHandler: func(cause any) fuse.Status {
			opts.Logger.Error("a request failed by a panic: please report it", "cause", cause, "stack", string(debug.Stack()))
			return fuse.EIO
		},
	}
}

// Mountpoint is the absolute path of the mount.
func (s *Server) Mountpoint() string { return s.mountpoint }

// Wait returns when the mount has ended: by Unmount, or from outside.
func (s *Server) Wait() { <-s.ended }

// Ended is closed when the mount has ended.
func (s *Server) Ended() <-chan struct{} { return s.ended }

// Unmount ends the mount and waits for the requests under way. It fails with
// Busy, and changes nothing, while a program uses the mount.
func (s *Server) Unmount() error {
	if err := s.takeDown(unmount); err != nil {
		select {
		case <-s.ended: // from outside, meanwhile
			return nil
		default:
			return fmt.Errorf("unmount %s: %w", s.mountpoint, err)
		}
	}
	s.Wait()
	return nil
}

// Detach takes the mount out of the tree of files though programs use it; those
// are served on until they are done, or this process ends.
func (s *Server) Detach() error {
	if err := s.takeDown(detach); err != nil && !errors.Is(err, errDetached) {
		return fmt.Errorf("detach %s: %w", s.mountpoint, err)
	}
	return nil
}

var errDetached = proto.E(proto.Busy, "unmount", "", "it was detached before, and programs still use it")

// takeDown takes the mount away, unless that was done from outside already: what is
// mounted there now may be somebody else's.
func (s *Server) takeDown(how func(mountpoint string) error) error {
	entry, ok, err := mountAt(s.mountpoint)
	if err != nil {
		return err
	}
	if s.device != "" && (!ok || entry.device != s.device) {
		return errDetached
	}
	return how(s.mountpoint)
}

// IsBusy tells whether Unmount failed because the mount is in use.
func IsBusy(err error) bool { return proto.KindOf(err) == proto.Busy }

// raiseReadAhead sets how far the kernel reads ahead in each open file, which
// it allows root alone.
func raiseReadAhead(device string, bytes int64) error {
	if os.Geteuid() != 0 {
		return nil
	}
	file := filepath.Join("/sys/class/bdi", device, "read_ahead_kb")
	return os.WriteFile(file, strconv.AppendInt(nil, bytes>>10, 10), 0)
}
