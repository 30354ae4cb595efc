package chunk

import (
	"context"
	"os"
	"path/filepath"
	"time"
)

// The probe of a data folder writes 4 KiB to the file "probe" and syncs it, every
// probeEvery: so an idle disk that fails or is read-only is found as well as a busy one,
// and how long it takes says how fast the disk is, whatever it is used for (pulse.go).
const (
	probeName  = "probe"
	probeEvery = 10 * time.Second
	probeGrace = time.Second // for a probe under way at the end of the service
)

// probe runs the probes of a folder until ctx ends. One that hangs counts, each time that
// another would be due, as one that took as long as it hangs by then.
func (s *Store) probe(ctx context.Context, f *folder) {
	ticker := time.NewTicker(probeEvery)
	defer ticker.Stop()
	done := make(chan time.Duration, 1)
	var began time.Time // of the probe under way; zero: none is
	for {
		select {
		case <-ticker.C:
			if now := time.Now(); began.IsZero() {
				began = now
				go func() { done <- f.probe() }()
			} else {
				f.measured(now, now.Sub(began))
			}
		case took := <-done:
			began = time.Time{}
			if took >= 0 {
				f.measured(time.Now(), took)
			}
		case <-ctx.Done():
			if !began.IsZero() {
				select {
				case <-done:
				case <-time.After(probeGrace): // a disk that hangs is not waited for
				}
			}
			return
		}
	}
}

// probe does the work once and tells how long it took; negative: the disk failed, which is
// noted.
func (f *folder) probe() time.Duration {
	if f.writable() != nil {
		return -1
	}
	began := time.Now()
	if err := f.writeProbe(); err != nil {
		_ = f.failed("probe", f.path, err) // noted: the folder is out of service and reported
		return -1
	}
	return time.Since(began)
}

func (f *folder) writeProbe() error {
	file, err := f.fs.OpenFile(filepath.Join(f.path, probeName), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer file.Close() // it was synced, or has failed already
	if _, err := file.WriteAt(zeroBlock[:], 0); err != nil {
		return err
	}
	return file.Sync()
}

// measured takes a sample of the disk's speed in.
func (f *folder) measured(now time.Time, took time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.pulse.add(now, took) {
		return
	}
	if f.pulse.slow {
		f.log.Error("disk is slow: folder takes no new chunks, and its replicas are to move elsewhere", "why", f.pulse.reason())
	} else {
		f.log.Info("disk is as fast as others again: folder is in service")
	}
	f.judge()
}

// compareWith takes in what the cluster's disks take as a rule.
func (s *Store) compareWith(typical time.Duration) {
	for _, f := range s.folders {
		f.mu.Lock()
		f.pulse.typical = typical
		f.mu.Unlock()
	}
}
