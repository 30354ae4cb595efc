package main

import (
	"os"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress is the bar of a copy. Its methods may be called from any goroutine.
type progress struct {
	bar   *progressbar.ProgressBar // nil: not on a terminal
	total int64
}

func newProgress(out *os.File) *progress {
	if !term.IsTerminal(int(out.Fd())) {
		return &progress{}
	}
	return &progress{bar: progressbar.NewOptions64(0,
		progressbar.OptionSetWriter(out),
		progressbar.OptionSetDescription("copying"),
		progressbar.OptionShowBytes(true),
		progressbar.OptionUseIECUnits(true),
		progressbar.OptionFullWidth(),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
	)}
}

func (p *progress) shown() bool { return p.bar != nil }

// expect raises the number of bytes to come. It is called before any of them.
func (p *progress) expect(bytes int64) {
	p.total += bytes
	p.bar.ChangeMax64(p.total)
}

// file gives a function that is told how many bytes of one file are done, by one
// goroutine at a time; what goes backwards is ignored.
func (p *progress) file() func(done int64) {
	if p.bar == nil {
		return func(int64) {}
	}
	var shown atomic.Int64
	return func(done int64) {
		if before := shown.Load(); done > before {
			shown.Store(done)
			p.bar.Add64(done - before)
		}
	}
}

func (p *progress) finish() {
	if p.bar != nil {
		p.bar.Finish()
	}
}
