package fusefs

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

func TestOnlyADyingCallerEndsACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dying atomic.Bool
		s := &fileSystem{dying: func(thread uint32) bool { return thread == 7 && dying.Load() }}
		interrupt := make(chan struct{})
		c := s.begin(interrupt, &fuse.InHeader{Caller: fuse.Caller{Pid: 7}})
		child, cancel := context.WithTimeout(c, time.Hour)
		defer cancel()
		ended := func() bool { time.Sleep(2 * killPoll); synctest.Wait(); return child.Err() != nil }
		if ended() {
			t.Fatal("the call ended by itself")
		}
		close(interrupt)
		if ended() || c.Err() != nil {
			t.Fatal("a signal with a handler ended the call")
		}
		dying.Store(true)
		if !ended() || !errors.Is(c.Err(), context.Canceled) {
			t.Fatal("the caller is dying, and the call goes on")
		}
		c.end()
	})
}

func TestACallWithoutAVisibleCallerEndsWhenInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fileSystem{dying: func(uint32) bool { return false }}
		interrupt := make(chan struct{})
		c := s.begin(interrupt, &fuse.InHeader{})
		defer c.end()
		close(interrupt)
		<-c.Done()
	})
}

func TestACallLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which fails if a goroutine remains
		s := &fileSystem{}
		unused := s.begin(nil, &fuse.InHeader{})
		if unused.Err() != nil || unused.ctx != nil {
			t.Error("a call that nobody watches has a context")
		}
		unused.end()
		watched := s.begin(make(chan struct{}), &fuse.InHeader{Caller: fuse.Caller{Pid: 7}})
		done := watched.Done()
		watched.end()
		<-done
	})
}

func TestThreadStatus(t *testing.T) {
	const text = "Name:\tx\nPid:\t5\nGroups:\t4 24 1000 \nSigPnd:\t0000000000000000\nShdPnd:\t%\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001000\nSigCgt:\t0000000000000002\n"
	for pending, want := range map[string]bool{
		"0000000000000000": false,
		"0000000000000100": true,  // SIGKILL
		"0000000000004000": true,  // SIGTERM
		"0000000000000002": false, // SIGINT has a handler
		"0000000000001000": false, // SIGPIPE is ignored
		"0000000000400000": false, // SIGURG does nothing
		"0000000000000004": true,  // SIGQUIT
	} {
		status := parseThreadStatus([]byte(replace(text, pending)))
		if got := status.pending&^status.masked&^harmless != 0; got != want {
			t.Errorf("pending %s: dying %v", pending, got)
		}
		if len(status.groups) != 3 || status.groups[2] != 1000 {
			t.Errorf("groups %v", status.groups)
		}
	}
	if threadDying(uint32(os.Getpid())) {
		t.Error("this process is said to be dying")
	}
	if !threadDying(1<<31 - 1) {
		t.Error("a thread that does not exist is said to live")
	}
}

func replace(text, pending string) string {
	out := make([]byte, 0, len(text)+len(pending))
	for _, b := range []byte(text) {
		if b == '%' {
			out = append(out, pending...)
		} else {
			out = append(out, b)
		}
	}
	return string(out)
}

func TestGroupsAreRememberedForAMoment(t *testing.T) {
	now, reads := time.Unix(1, 0), 0
	g := groupCache{now: func() time.Time { return now }, read: func(uint32) (threadStatus, error) {
		reads++
		return threadStatus{groups: []uint32{uint32(reads)}}, nil
	}}
	caller := &fuse.Caller{Owner: fuse.Owner{Uid: 5}, Pid: 9}
	for range 3 {
		if got := g.of(caller); len(got) != 1 || got[0] != 1 {
			t.Fatalf("groups %v", got)
		}
	}
	now = now.Add(groupsTTL)
	if got := g.of(caller); got[0] != 2 {
		t.Errorf("groups %v after a second", got)
	}
	for i := range uint32(3 * groupsMax) {
		g.of(&fuse.Caller{Pid: i})
	}
	if len(g.groups) > groupsMax {
		t.Errorf("%d threads are remembered", len(g.groups))
	}
}
