package main

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/distrifs/distrifs/test/cluster"
)

// TestMain lets the test binary stand in for the program; its child in the
// background, too.
func TestMain(m *testing.M) {
	if os.Getenv("MOUNT_TEST_MAIN") != "" {
		main()
	}
	cluster.Main(m)
}

// run gives what the program prints to standard error, but for its log, and its
// exit code.
func run(t *testing.T, args ...string) (string, int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "MOUNT_TEST_MAIN=1")
	cmd.Dir = t.TempDir()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	var text string
	for line := range strings.Lines(stderr.String()) {
		if !strings.HasPrefix(line, "time=") {
			text += line
		}
	}
	return text, cmd.ProcessState.ExitCode()
}

func TestParseSource(t *testing.T) {
	for text, want := range map[string]source{
		"localhost":                   {"localhost:9420", "/"},
		"localhost:1234":              {"localhost:1234", "/"},
		"localhost:/a/b/":             {"localhost:9420", "/a/b"},
		"10.0.0.1:99:/a":              {"10.0.0.1:99", "/a"},
		"host:9420:/":                 {"host:9420", "/"},
		"host:9420:/with:/colon":      {"host:9420", "/with:/colon"},
		"[::1]":                       {"[::1]:9420", "/"},
		"[::1]:99":                    {"[::1]:99", "/"},
		"[fe80::1]:99:/a/../../b":     {"[fe80::1]:99", "/b"},
		"master.example.com:9420:/ä ": {"master.example.com:9420", "/ä "},
	} {
		got, err := parseSource(text)
		if err != nil || got != want {
			t.Errorf("parseSource(%q) = %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", ":/a", ":9420", "host:", "::1", "::1:/a", "[host]", "a/b", "/a", "ho st", "host:1:2"} {
		if got, err := parseSource(text); err == nil {
			t.Errorf("parseSource(%q) = %+v, want an error", text, got)
		}
	}
}

func TestAwaitReady(t *testing.T) {
	died := func() error { return errors.New("signal: killed") }
	for said, want := range map[string]string{
		"mounted\n":               "",
		"connect: no such host\n": "connect: no such host",
		"":                        "signal: killed",
		"cut o":                   "cut o",
	} {
		err := awaitReady(strings.NewReader(said), died)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("a child that said %q: %v, want %q", said, err, want)
		}
	}
}

func TestFailuresAreOneLine(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := listener.Addr().String()
	listener.Close()
	mountpoint := t.TempDir()
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"localhost"}, "see 'distrifs-mount --help'"},
		{[]string{"a/b", mountpoint}, `"a/b" is no master`},
		{[]string{"-o", "sync", nobody, mountpoint}, `"sync"`},
		{[]string{"--log-file", "no/such/folder", nobody, mountpoint}, "log file: open no/such/folder"},
		{[]string{"--dial-timeout=200ms", nobody, mountpoint}, "connect to master " + nobody},
	} {
		for _, mode := range []string{"-f", "--foreground=false"} {
			text, code := run(t, append([]string{mode}, c.args...)...)
			program := filepath.Base(os.Args[0]) + ": "
			if code != 1 || strings.Count(text, "\n") != 1 || !strings.HasPrefix(text, program) || !strings.Contains(text, c.want) {
				t.Errorf("%s %q: code %d, %q; want %q", mode, c.args, code, text, c.want)
			}
		}
	}
	if entries, err := os.ReadDir(mountpoint); err != nil || len(entries) != 0 {
		t.Errorf("the mountpoint holds %v, %v", entries, err)
	}
}
