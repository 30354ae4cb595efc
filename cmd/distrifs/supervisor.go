package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"syscall"
	"time"
)

// How long the supervisor is patient.
const (
	startLimit  = 2 * time.Minute  // for a part to come up; a master may have a long log to read
	stopGrace   = 30 * time.Second // for a process to end by itself; a mount may have data to flush
	killGrace   = 10 * time.Second // for a killed process to be gone
	logInterval = 10 * time.Second // between looks at the size of the logs
)

// supervisor runs the processes of one cluster. One goroutine owns all of it.
type supervisor struct {
	dir      string
	file     *clusterFile // what cluster.json says
	restart  bool         // start again what dies
	log      *slog.Logger
	children []*child // in starting order
	answers  answers  // does a part that was started do its work?

	exits chan exit   // from the goroutines that wait for the children
	due   chan *child // from the timers: start it again
}

// answers is nil when all processes of the role, at these addresses, do their work.
type answers func(ctx context.Context, role string, addresses []string) error

func newSupervisor(dir string, file *clusterFile, children []*child, answers answers, restart bool, log *slog.Logger) *supervisor {
	return &supervisor{
		dir: dir, file: file, restart: restart, log: log, children: children, answers: answers,
		exits: make(chan exit), due: make(chan *child),
	}
}

// run brings the cluster up, announces it, and keeps it up until the context
// ends. It returns when nothing runs any more.
func (s *supervisor) run(ctx context.Context, announce func()) error {
	err := s.bringUp(ctx)
	if err == nil {
		announce()
		s.keepUp(ctx)
	}
	return errors.Join(err, s.takeDown())
}

// bringUp starts the children in order, each when the ones before it answer. A
// child that ends meanwhile fails the start: its message tells more than a retry.
func (s *supervisor) bringUp(ctx context.Context) error {
	for _, role := range []string{roleMaster, roleChunkserver, roleMount} {
		started := s.role(role)
		if len(started) == 0 {
			continue
		}
		for _, c := range started {
			if err := s.start(c); err != nil {
				return err
			}
		}
		addresses := make([]string, len(started))
		for i, c := range started {
			addresses[i] = c.Address
		}
		if err := s.await(ctx, started, func(ctx context.Context) error { return s.answers(ctx, role, addresses) }); err != nil {
			return err
		}
	}
	return nil
}

// await repeats the probe until it succeeds, a child ends, or patience does.
func (s *supervisor) await(ctx context.Context, started []*child, probe func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, context.DeadlineExceeded)
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- poll(ctx, probe) }()
	select {
	case e := <-s.exits:
		cancel()
		<-result // nobody asks any more
		s.noteExit(e)
		return newStartError(e.child, e.ending)
	case err := <-result:
		switch {
		case err == nil:
			return nil
		case errors.Is(context.Cause(ctx), context.DeadlineExceeded):
			return newStartError(started[0], fmt.Sprintf("no answer for %v: %v", startLimit, err))
		default:
			return context.Cause(ctx)
		}
	}
}

// poll tries again and again; it returns the last error when the context ends.
func poll(ctx context.Context, probe func(context.Context) error) error {
	for {
		err := probe(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(pollInterval):
		case <-ctx.Done():
			return err
		}
	}
}

// keepUp starts again whatever dies, until the context ends.
func (s *supervisor) keepUp(ctx context.Context) {
	logs := time.NewTicker(logInterval)
	defer logs.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-s.exits:
			s.noteExit(e)
			s.revive(ctx, e.child)
		case c := <-s.due:
			s.log.Info("starting again", "process", c.String())
			if err := s.start(c); err != nil {
				s.log.Error("cannot start", "process", c.String(), "error", err)
				s.revive(ctx, c)
			}
		case <-logs.C:
			for _, c := range s.children {
				if err := rotate(c.Log); err != nil {
					s.log.Warn("cannot rotate a log", "file", c.Log, "error", err)
				}
			}
		}
	}
}

// revive has a dead child started again after its delay. A mount that ended
// without an error was unmounted by someone, who does not want it back.
func (s *supervisor) revive(ctx context.Context, c *child) {
	if !s.restart {
		return
	}
	if c.Role == roleMount && c.clean {
		s.log.Info("unmounted, and left so", "mountpoint", c.Address)
		return
	}
	time.AfterFunc(c.nextDelay(), func() {
		select {
		case s.due <- c:
		case <-ctx.Done():
		}
	})
}

// takeDown ends everything: the mount, which flushes, then the chunkservers, then
// the master. cluster.json then says that nothing runs.
func (s *supervisor) takeDown() error {
	var errs []error
	for _, role := range []string{roleMount, roleChunkserver, roleMaster} {
		errs = append(errs, s.end(s.role(role)))
	}
	for _, c := range s.role(roleMount) {
		errs = append(errs, detachLeftover(c.Address))
	}
	s.file.Supervisor = nil
	errs = append(errs, s.writeFile())
	return errors.Join(errs...)
}

// end stops children side by side, and kills those that take too long.
func (s *supervisor) end(children []*child) error {
	var errs []error
	for _, step := range []struct {
		signal syscall.Signal
		limit  time.Duration
	}{{syscall.SIGTERM, stopGrace}, {syscall.SIGKILL, killGrace}} {
		for _, c := range children {
			if !c.running() {
				continue
			}
			if step.signal == syscall.SIGKILL {
				errs = append(errs, fmt.Errorf("%s did not stop for %v and was killed: see %s", c, stopGrace, c.Log))
			}
			if err := c.signal(step.signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
				errs = append(errs, fmt.Errorf("stop %s: %w", c, err))
			}
		}
		if s.awaitEnd(children, step.limit) {
			break
		}
	}
	return errors.Join(errs...)
}

// awaitEnd takes exits until none of the children runs, or the limit is over.
func (s *supervisor) awaitEnd(children []*child, limit time.Duration) bool {
	deadline := time.After(limit)
	for anyRuns(children) {
		select {
		case e := <-s.exits:
			s.noteExit(e)
		case <-deadline:
			return false
		}
	}
	return true
}

func anyRuns(children []*child) bool {
	for _, c := range children {
		if c.running() {
			return true
		}
	}
	return false
}

func (s *supervisor) start(c *child) error {
	if err := c.start(s.exits); err != nil {
		return err
	}
	s.log.Info("started", "process", c.String(), "pid", c.Pid, "address", c.Address)
	return s.writeFile()
}

func (s *supervisor) noteExit(e exit) {
	level := slog.LevelWarn
	if e.clean {
		level = slog.LevelInfo
	}
	s.log.Log(context.Background(), level, "ended", "process", e.child.String(), "pid", e.child.Pid, "how", e.ending)
	e.child.ended(e)
	if err := s.writeFile(); err != nil {
		s.log.Error("cannot write cluster.json", "error", err)
	}
}

// writeFile brings cluster.json up to date with the children.
func (s *supervisor) writeFile() error {
	s.file.Processes = nil
	for _, c := range s.children {
		if c.running() {
			s.file.Processes = append(s.file.Processes, c.process)
		}
	}
	return s.file.write(s.dir)
}

func (s *supervisor) role(role string) []*child {
	var found []*child
	for _, c := range s.children {
		if c.Role == role {
			found = append(found, c)
		}
	}
	return found
}

// startError says why a cluster did not come up.
type startError struct {
	What   string   // which process
	Reason string   // how it ended, or what it did not do
	Log    string   // the file
	Tail   []string // the last lines of it
}

func newStartError(c *child, reason string) *startError {
	return &startError{What: c.String(), Reason: reason, Log: c.Log, Tail: c.logTail(10)}
}

func (e *startError) Error() string {
	reason := e.Reason
	if len(e.Tail) > 0 {
		reason += ": " + e.Tail[len(e.Tail)-1]
	}
	return fmt.Sprintf("%s did not come up: %s (log: %s)", e.What, reason, e.Log)
}
