package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test binary stand in for the servers: it says what it is,
// and at SIGTERM writes its role to the file "ends" of its cluster and ends.
func TestMain(m *testing.M) {
	mode, dir := os.Getenv("SERVER_TEST_MODE"), os.Getenv("SERVER_TEST_DIR")
	if mode == "" {
		os.Exit(m.Run())
	}
	role := os.Args[1]
	if mode == "failing "+role {
		fmt.Println("reading the folder")
		fmt.Println(role + ": data folder: in use: by another")
		os.Exit(1)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	fmt.Println("serving")
	<-signals
	ends, err := os.OpenFile(filepath.Join(dir, "ends"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		fmt.Fprintln(ends, role)
	}
	os.Exit(0)
}

// fixture is a supervisor over stand-ins.
type fixture struct {
	*supervisor
	dir    string
	cancel context.CancelFunc
	ended  chan error
	up     chan struct{}
}

func newFixture(t *testing.T, mode string, restart bool) *fixture {
	t.Helper()
	t.Setenv("SERVER_TEST_MODE", mode)
	dir := t.TempDir()
	t.Setenv("SERVER_TEST_DIR", dir)
	var children []*child
	for i, role := range []string{roleMaster, roleChunkserver, roleChunkserver, roleMount} {
		children = append(children, &child{
			process: process{Role: role, Index: i % 2, Address: fmt.Sprintf("%s/nowhere-%d", dir, i), Log: fmt.Sprintf("%s/%s-%d.log", dir, role, i%2)},
			argv:    []string{os.Args[0], role},
		})
	}
	boot, err := bootID()
	if err != nil {
		t.Fatal(err)
	}
	self := process{Role: "supervisor", Pid: os.Getpid()}
	file := &clusterFile{Boot: boot, Supervisor: &self, Settings: settings{Port: 1, Chunkservers: 2, Replicas: 2, ChunkSize: 1 << 20}}
	serving := func(_ context.Context, role string, addresses []string) error {
		for _, c := range children {
			if text, _ := os.ReadFile(c.Log); c.Role == role && slices.Contains(addresses, c.Address) && !strings.Contains(string(text), "serving\n") {
				return errors.New("not yet")
			}
		}
		return nil
	}
	return &fixture{
		supervisor: newSupervisor(dir, file, children, serving, restart, slog.New(slog.NewTextHandler(io.Discard, nil))),
		dir:        dir, ended: make(chan error, 1), up: make(chan struct{}),
	}
}

func (f *fixture) start(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	go func() { f.ended <- f.run(ctx, func() { close(f.up) }) }()
	t.Cleanup(func() {
		cancel()
		select {
		case f.ended <- nil: // the test has taken the result
		default:
		}
	})
}

func (f *fixture) recorded(t *testing.T) []process {
	t.Helper()
	file, err := readClusterFile(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	return file.Processes
}

// eventually waits for a condition; only a fault reaches the limit.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func TestSupervisorStartsAgainWhatDiesAndEndsInOrder(t *testing.T) {
	f := newFixture(t, "serving", true)
	f.start(t)
	<-f.up
	before := f.recorded(t)
	if len(before) != 4 {
		t.Fatalf("cluster.json lists %v", before)
	}
	for _, p := range before {
		if !p.runs() {
			t.Errorf("%s, pid %d, does not run", p, p.Pid)
		}
	}
	victim := before[1]
	if err := victim.signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the chunkserver runs again", func() bool {
		now := f.recorded(t)
		return len(now) == 4 && now[1].Address == victim.Address && now[1].Pid != victim.Pid && now[1].runs()
	})
	after := f.recorded(t)
	eventually(t, "the new one serves", func() bool {
		text, _ := os.ReadFile(victim.Log)
		return strings.Count(string(text), "serving\n") == 2
	})
	f.cancel()
	if err := <-f.ended; err != nil {
		t.Fatal(err)
	}
	for _, p := range after {
		if p.runs() {
			t.Errorf("%s, pid %d, was left running", p, p.Pid)
		}
	}
	if left := f.recorded(t); len(left) != 0 {
		t.Errorf("cluster.json still lists %v", left)
	}
	ends, err := os.ReadFile(filepath.Join(f.dir, "ends"))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Fields(string(ends)); !slices.Equal(got, []string{roleMount, roleChunkserver, roleChunkserver, roleMaster}) {
		t.Errorf("ended in the order %v", got)
	}
}

func TestNoRestartLeavesDead(t *testing.T) {
	f := newFixture(t, "serving", false)
	f.start(t)
	<-f.up
	victim := f.recorded(t)[0]
	if err := victim.signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "cluster.json no longer lists it", func() bool { return len(f.recorded(t)) == 3 })
	f.cancel()
	if err := <-f.ended; err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(victim.Log); strings.Count(string(text), "serving") != 1 {
		t.Errorf("it was started again: %s", text)
	}
}

func TestFailedStartSaysWhyAndLeavesNothing(t *testing.T) {
	for _, role := range []string{roleMaster, roleChunkserver, roleMount} {
		t.Run(role, func(t *testing.T) {
			f := newFixture(t, "failing "+role, true)
			f.start(t)
			err := <-f.ended
			var failed *startError
			if !errors.As(err, &failed) || !strings.HasPrefix(failed.What, role) || len(failed.Tail) != 2 {
				t.Fatalf("error %v", err)
			}
			if text := err.Error(); !strings.Contains(text, "exit status 1: "+role+": data folder: in use") || !strings.Contains(text, failed.Log) {
				t.Errorf("error %q", text)
			}
			if left := f.recorded(t); len(left) != 0 {
				t.Errorf("left running: %v", left)
			}
			for _, c := range f.children {
				if c.running() {
					t.Errorf("left running: %s", c)
				}
			}
		})
	}
}

func TestAnUnmountedMountStaysAway(t *testing.T) {
	f := newFixture(t, "serving", true)
	f.start(t)
	<-f.up
	mount := f.recorded(t)[3]
	if err := mount.signal(syscall.SIGTERM); err != nil { // as umount(8) makes it: exit code 0
		t.Fatal(err)
	}
	eventually(t, "cluster.json no longer lists it", func() bool { return len(f.recorded(t)) == 3 })
	f.cancel()
	if err := <-f.ended; err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(mount.Log); strings.Count(string(text), "serving") != 1 {
		t.Errorf("it was mounted again: %s", text)
	}
}

func TestNextDelayGrowsByTimeAndForgets(t *testing.T) {
	c := &child{started: time.Now()}
	last := time.Duration(0)
	for range 20 {
		d := c.nextDelay()
		if d < max(last, firstDelay) || d > longestWait {
			t.Fatalf("delay %v behind %v", d, last)
		}
		last = d
	}
	if last != longestWait {
		t.Errorf("the longest delay was %v", last)
	}
	c.started = time.Now().Add(-steadyAfter)
	if d := c.nextDelay(); d != 0 {
		t.Errorf("delay %v for one that lived long", d)
	}
}

func TestLeftoversOfAKilledSupervisorAreTakenDown(t *testing.T) {
	f := newFixture(t, "serving", true)
	for _, c := range f.children {
		if err := f.supervisor.start(c); err != nil {
			t.Fatal(err)
		}
	}
	go func() { // nobody supervises them, but someone must wait for them
		for range f.children {
			<-f.exits
		}
	}()
	for _, c := range f.children {
		eventually(t, "it serves", func() bool { text, _ := os.ReadFile(c.Log); return strings.Contains(string(text), "serving") })
	}
	file, err := readClusterFile(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	// A process of another boot, or that only has the pid of ours, is no business of ours.
	foreign := *file
	foreign.Boot = "another"
	if err := takeDown(&foreign); err != nil {
		t.Fatal(err)
	}
	foreign = *file
	foreign.Processes = slices.Clone(file.Processes)
	for i := range foreign.Processes {
		foreign.Processes[i].Started--
	}
	if err := takeDown(&foreign); err != nil {
		t.Fatal(err)
	}
	for _, p := range file.Processes {
		if !p.runs() {
			t.Fatalf("%s was ended as if it were another", p)
		}
	}
	if err := takeDown(file); err != nil {
		t.Fatal(err)
	}
	for _, p := range file.Processes {
		if p.runs() {
			t.Errorf("%s still runs", p)
		}
	}
}
