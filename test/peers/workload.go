package main

import (
	"errors"
	"os"
	"path/filepath"
	"time"
)

// workload measures one figure of a folder.
type workload struct {
	name  string
	unit  string // of the figure; "s": less is better
	cold  bool
	ready func(dir string) error // not measured; nil: nothing to prepare
	run   func(dir string) (float64, error)
}

func (w *workload) lessIsBetter() bool { return w.unit == "s" }

// measure runs a workload in a system's folder.
func measure(w *workload, s *system) (float64, error) {
	if w.ready != nil {
		if err := w.ready(s.folder); err != nil {
			return 0, err
		}
	}
	if w.cold {
		if err := s.cold(); err != nil {
			return 0, err
		}
	}
	return w.run(s.folder)
}

// workloads in the order in which they run: later ones use what earlier ones left.
func workloads(o *options) []*workload {
	return append(append(fioWorkloads(o), nameWorkloads(o)...), programWorkloads(o)...)
}

// scaled is a share of an amount of work, at least 1.
func (o *options) scaled(n int) int { return max(1, n*o.scale/100) }

// timed is how long f took, in seconds.
func timed(f func() error) (float64, error) {
	start := time.Now()
	err := f()
	return time.Since(start).Seconds(), err
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, os.ErrNotExist)
}

func in(dir string, name ...string) string { return filepath.Join(append([]string{dir}, name...)...) }
