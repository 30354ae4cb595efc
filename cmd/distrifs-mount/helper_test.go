package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/cmd/internal/cli"
	"github.com/distrifs/distrifs/fusefs"
)

// planned are the settings and the plan that options lead to.
func planned(t *testing.T, options ...string) (*settings, plan, error) {
	t.Helper()
	_, s := newCommand(nil)
	*s.options = options
	p, err := s.plan("host:1:/a,b", "mountpoint")
	return s, p, err
}

func TestOwnFlagsAsOptions(t *testing.T) {
	s, p, err := planned(t, "ro,io-timeout=5m,read-ahead=1MiB", "write-buffer=8MiB,dial-timeout=1s,log-file=/l,log-level=debug,hard")
	if err != nil {
		t.Fatal(err)
	}
	if !p.options.ReadOnly || *s.ioTimeout != 5*time.Minute || *s.readAhead != 1<<20 || *s.writeBuffer != 8<<20 ||
		*s.dialTimeout != time.Second || *s.logFile != "/l" || s.effectiveIOTimeout() != forever {
		t.Errorf("%+v, %v", p.options, s.values())
	}
	if s, _, err := planned(t, "hard,io-timeout=5m,soft"); err != nil || s.effectiveIOTimeout() != 5*time.Minute {
		t.Errorf("soft: %v, %v", s.effectiveIOTimeout(), err)
	}
	for _, bad := range []string{"hard=1", "io-timeout", "io-timeout=", "read-ahead=much", "foreground=true", "options=ro", "sloppy=true", "help=true", "nodiratime"} { // L14
		if _, _, err := planned(t, bad); !cli.IsUsage(err) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestWhatARemountMayChange(t *testing.T) {
	_, p, err := planned(t, "io-timeout=5m,hard,nosuid,fsname=name")
	if err != nil {
		t.Fatal(err)
	}
	running := fusefs.Options{FSName: "name", Subtype: "distrifs", NoSuid: true, Description: p.options.Description}
	overlay := func(source string, options ...string) (fusefs.Options, error) {
		sloppy := false
		call := mountCall{options: &options, sloppy: &sloppy}
		return call.overlay(running, source)
	}
	got, err := overlay("host:1:/a,b", "rw,nosuid,user_id=0,group_id=0,max_read=1048576,default_permissions,allow_other", "remount,ro,noatime,io-timeout=300s,hard,fsname=name")
	if err != nil || !got.ReadOnly || !got.NoAtime || !got.NoSuid {
		t.Errorf("%+v, %v", got, err)
	}
	for _, source := range []string{"none", "name"} {
		if got, err := overlay(source, "remount"); err != nil || got.NoSuid {
			t.Errorf("from %s: %+v, %v", source, got, err)
		}
	}
	for _, bad := range []string{"io-timeout=4m", "soft", "write-buffer=1GiB", "subtype=x", "fsname=x", "debug", "fd=3"} {
		if _, err := overlay("none", "remount,"+bad); err == nil || !strings.Contains(err.Error(), strings.Split(bad, "=")[0]) && bad != "soft" {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if _, err := overlay("other:1", "remount"); err == nil {
		t.Error("another source was accepted")
	}
}

func TestExitCode(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		ctx  context.Context
		err  error
		want int
	}{
		{t.Context(), nil, 0},
		{t.Context(), fmt.Errorf("mount: %w", cli.Usagef("no")), exitUsage},
		{t.Context(), fmt.Errorf("mount: %w", unix.EPERM), exitUsage},
		{t.Context(), fmt.Errorf("%w: no memory", errStart), exitSystem},
		{t.Context(), errors.New("no master"), exitFailed},
		{ended, errors.New("no master"), exitInterrupted},
	} {
		if got := exitCode(c.ctx, c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
}

func TestHelperNames(t *testing.T) {
	for program, want := range map[string]bool{
		"/sbin/mount.distrifs": true, "mount.fuse.distrifs": true, "/sbin/umount.fuse.distrifs": true, "umount.distrifs": true,
		"/usr/bin/distrifs-mount": false, "mount.ext4": false, "distrifs": false,
	} {
		if got := helperOf(program) != nil; got != want {
			t.Errorf("%s is a helper: %v", program, got)
		}
	}
}

func TestWithoutNamespace(t *testing.T) {
	for _, args := range []string{"m -N 7 a b", "m a -N7 b", "m a b --namespace 7", "m --namespace=7 a b"} {
		if got := withoutNamespace(strings.Fields(args)); !slices.Equal(got, []string{"m", "a", "b"}) {
			t.Errorf("%s: %q", args, got)
		}
	}
}
