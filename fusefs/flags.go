package fusefs

import (
	"log/slog"
	"time"
)

// flagsTTL is how long the kernel's flags of the mount are believed.
const flagsTTL = 30 * time.Second

// flagWatcher follows the kernel's flags of a mount, which a remount changes without
// telling the filesystem: it has the backend update access times as they say. It looks
// now and then, and when it is asked to: Remount does so. poll(2) on the table would be
// no help, for kernels do not report each remount.
type flagWatcher struct {
	device  string
	backend backend
	log     *slog.Logger
	stop    chan struct{}
}

func watchFlags(device string, b backend, log *slog.Logger) *flagWatcher {
	w := &flagWatcher{device: device, backend: b, log: log, stop: make(chan struct{})}
	w.look()
	go w.run()
	return w
}

func (w *flagWatcher) run() {
	ticker := time.NewTicker(flagsTTL)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			w.look()
		case <-w.stop:
			return
		}
	}
}

// look reads the flags, without touching the mount. One that is in no table, being
// detached, keeps its own.
func (w *flagWatcher) look() {
	entry, ok, err := mountOfDevice(w.device)
	if err != nil {
		w.log.Error("read the mount's flags", "error", err)
	}
	if ok {
		var opts Options
		opts.setFlags(&entry)
		w.backend.SetAtime(opts.atime())
	}
}

func (w *flagWatcher) close() { close(w.stop) }
