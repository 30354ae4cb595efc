package cli

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// program is a command like ours, and what its last run saw.
type program struct {
	*Command
	ran      string
	args     []string
	master   *string
	size     *Size
	patience *time.Duration
	deep     *bool
	dirs     *[]string
}

func newProgram() *program {
	p := &program{Command: New("tool", "does things")}
	p.Long, p.Examples = "A long story.", "tool cp a b\n  tool rm a"
	p.master = p.Flags().String("master", "127.0.0.1:9420", "address of the master")
	cp := p.Sub("cp", "copy")
	cp.Args, cp.MinArgs, cp.MaxArgs = "SRC... DST", 2, -1
	p.deep = cp.Flags().BoolP("recursive", "r", false, "folders too")
	p.size = cp.SizeFlag("chunk-size", 64<<20, "size of a chunk")
	p.patience = cp.Flags().Duration("io-timeout", time.Minute, "patience")
	p.dirs = cp.Flags().StringSlice("dir", nil, "folders")
	cp.Run = p.record("cp")
	rm := p.Sub("rm", "remove")
	rm.Args, rm.MinArgs, rm.MaxArgs = "PATH", 1, 1
	rm.Run = func(_ context.Context, args []string) error {
		if args[0] == "/" {
			return Usagef("%s cannot be removed", args[0])
		}
		return p.record("rm")(nil, args)
	}
	return p
}

func (p *program) record(name string) func(context.Context, []string) error {
	return func(_ context.Context, args []string) error {
		p.ran, p.args = name, args
		return nil
	}
}

func (p *program) exec(env map[string]string, args ...string) (stdout string, err error) {
	var out bytes.Buffer
	err = p.Execute(context.Background(), args, &out, func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	})
	return out.String(), err
}

func TestVerbsAndFlags(t *testing.T) {
	for _, line := range []string{
		"--master=h:1 cp -r a b c --io-timeout 3s --chunk-size 1GiB --dir x --dir y",
		"cp --master h:1 a --recursive b c --io-timeout=3s --chunk-size=1GiB --dir x,y",
	} {
		p := newProgram()
		if _, err := p.exec(nil, strings.Fields(line)...); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if p.ran != "cp" || !slices.Equal(p.args, []string{"a", "b", "c"}) || *p.master != "h:1" || !*p.deep ||
			*p.patience != 3*time.Second || *p.size != 1<<30 || !slices.Equal(*p.dirs, []string{"x", "y"}) {
			t.Errorf("%s: ran %q %q, master %s, recursive %v, %v, %v, %q", line, p.ran, p.args, *p.master, *p.deep, *p.patience, *p.size, *p.dirs)
		}
	}
}

func TestFlagWinsOverEnvironmentOverDefault(t *testing.T) {
	env := map[string]string{"DISTRIFS_MASTER": "env:1", "DISTRIFS_CHUNK_SIZE": "2MiB", "DISTRIFS_IO_TIMEOUT": "", "DISTRIFS_DIR": "x,y", "DISTRIFS_HELP": "1"}
	p := newProgram()
	if _, err := p.exec(env, "cp", "--chunk-size=4MiB", "a", "b"); err != nil {
		t.Fatal(err)
	}
	if *p.master != "env:1" || *p.size != 4<<20 || *p.patience != time.Minute || !slices.Equal(*p.dirs, []string{"x", "y"}) {
		t.Errorf("master %s, size %v, patience %v, dirs %q", *p.master, *p.size, *p.patience, *p.dirs)
	}
}

func TestErrorsAreOneLineWithARemedyAndNothingRuns(t *testing.T) {
	for _, c := range []struct {
		line string
		env  map[string]string
		want []string
	}{
		{"", nil, []string{"a command is missing", "cp, rm", "see 'tool --help'"}},
		{"mv a b", nil, []string{`unknown command "mv"`, "cp, rm"}},
		{"cp a", nil, []string{`behind "a"`, "SRC... DST", "see 'tool cp --help'"}},
		{"rm", nil, []string{"missing: PATH"}},
		{"rm a b", nil, []string{`unexpected argument "b"`}},
		{"rm --force a", nil, []string{"unknown flag: --force", "see 'tool rm --help'"}},
		{"cp --chunk-size 64MB a b", nil, []string{"--chunk-size", "64MiB"}},
		{"cp a b", map[string]string{"DISTRIFS_CHUNK_SIZE": "much"}, []string{"DISTRIFS_CHUNK_SIZE", `"much"`, "64MiB"}},
		{"cp a b", map[string]string{"DISTRIFS_IO_TIMEOUT": "3"}, []string{"DISTRIFS_IO_TIMEOUT", "--io-timeout"}},
		{"rm /", nil, []string{"/ cannot be removed: see 'tool rm --help'"}},
	} {
		p := newProgram()
		_, err := p.exec(c.env, strings.Fields(c.line)...)
		if err == nil || p.ran != "" {
			t.Errorf("%q: error %v, ran %q", c.line, err, p.ran)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %q does not say %q", c.line, err, want)
			}
		}
		var out bytes.Buffer
		printError(&out, "tool", err)
		if strings.Count(out.String(), "\n") != 1 || !strings.HasPrefix(out.String(), "tool: ") {
			t.Errorf("%q: printed %q", c.line, out.String())
		}
	}
}

func TestOneLine(t *testing.T) {
	if got := OneLine("open x:\n\tbad\r\n\nuse y\n"); got != "open x: bad; use y" {
		t.Errorf("OneLine = %q", got)
	}
}

func TestHelpAndVersion(t *testing.T) {
	for line, wants := range map[string][]string{
		"--help":    {"tool: does things", "tool [FLAGS] COMMAND", "A long story.", "cp   copy", "--master", "tool rm a", "DISTRIFS_LOG_LEVEL"},
		"-h":        {"tool: does things"},
		"help":      {"tool: does things"},
		"cp --help": {"tool cp: copy", "tool cp [FLAGS] SRC... DST", "--chunk-size size", "(default 64MiB)", "--master", "-r, --recursive"},
		"cp -h":     {"tool cp: copy"},
		"help cp":   {"tool cp: copy"},
		"--version": {"tool " + Version() + "\n"},
	} {
		p := newProgram()
		out, err := p.exec(map[string]string{"DISTRIFS_CHUNK_SIZE": "bad"}, strings.Fields(line)...)
		if err != nil || p.ran != "" {
			t.Errorf("%q: error %v, ran %q", line, err, p.ran)
		}
		for _, want := range wants {
			if !strings.Contains(out, want) {
				t.Errorf("%q does not print %q:\n%s", line, want, out)
			}
		}
	}
}

func TestBuildVersion(t *testing.T) {
	vcs := []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.modified", Value: "true"}}
	for _, c := range []struct {
		info debug.BuildInfo
		want string
	}{
		{debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}, Settings: vcs}, "v1.2.3"},
		{debug.BuildInfo{Main: debug.Module{Version: "(devel)"}, Settings: vcs}, "devel-0123456789ab+dirty"},
		{debug.BuildInfo{}, "devel"},
	} {
		if got := buildVersion(&c.info); got != c.want {
			t.Errorf("version %q, want %q", got, c.want)
		}
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{"0": 0, "4096": 4096, "7B": 7, "3KiB": 3 << 10, "64MiB": 64 << 20, "1GiB": 1 << 30, "2TiB": 2 << 40, "8191PiB": 8191 << 50, "007": 7} {
		got, err := ParseSize(text)
		if err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", text, got, err, want)
		}
		if again, err := ParseSize(got.String()); err != nil || again != got {
			t.Errorf("%d prints as %q, which reads as %d, %v", got, got.String(), again, err)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "+1", "1.5GiB", "64 MiB", " 64", "64MB", "64M", "64mib", "0x10", "1_000", "1e3", "8192PiB", "9223372036854775808", "1MiBMiB", "٣"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", text, got)
		}
	}
	if got := Size(64 << 20).String(); got != "64MiB" {
		t.Errorf("64 MiB prints as %q", got)
	}
}

func TestLogging(t *testing.T) {
	c := New("tool", "logs")
	logging := LogFlags(c.Flags())
	if err := c.Flags().Parse([]string{"--log-level", "WARN", "--log-format", "json"}); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	logger := logging.LoggerTo(&out)
	logger.Info("quiet")
	logger.Warn("loud", "path", "/x")
	if text := out.String(); strings.Contains(text, "quiet") || !strings.Contains(text, `"msg":"loud","path":"/x"`) {
		t.Errorf("logged %q", text)
	}
	if got := strings.Join(logging.Args(), " "); got != "--log-level=warn --log-format=json" {
		t.Errorf("Args = %q", got)
	}
	logging.SetLevel(slog.LevelDebug)
	if !logging.LoggerTo(&out).Enabled(context.Background(), slog.LevelDebug) {
		t.Error("SetLevel had no effect")
	}
	for _, bad := range []string{"--log-level=loud", "--log-level=info+1", "--log-format=xml"} {
		if err := c.Flags().Parse([]string{bad}); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

// TestMain lets the test binary stand in for a program that waits for signals, and for a server that
// tells its settings.
func TestMain(m *testing.M) {
	mode := os.Getenv("CLI_TEST_MODE")
	switch mode {
	case "":
		os.Exit(m.Run())
	case "awake":
		tellSettings()
	}
	c := New("waiter", "waits")
	c.Run = func(ctx context.Context, _ []string) error {
		os.Stdout.WriteString("ready\n")
		<-ctx.Done()
		if mode == "stubborn" {
			os.Stdout.WriteString("going\n")
			select {}
		}
		return errors.New("wait:\n" + context.Cause(ctx).Error())
	}
	os.Args = []string{"/usr/bin/waiter"}
	c.Main()
}

// child is a process of this binary that has said it is ready.
func child(t *testing.T, mode string) (cmd *exec.Cmd, expect func(string), stderr *bytes.Buffer) {
	t.Helper()
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "CLI_TEST_MODE="+mode)
	stderr = &bytes.Buffer{}
	cmd.Stderr = stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	expect = func(line string) {
		t.Helper()
		buf := make([]byte, len(line)+1)
		if n, _ := out.Read(buf); string(buf[:n]) != line+"\n" {
			t.Fatalf("the child said %q, want %q", buf[:n], line)
		}
	}
	expect("ready")
	return cmd, expect, stderr
}

func TestASignalEndsTheContext(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		cmd, _, stderr := child(t, "polite")
		cmd.Process.Signal(sig)
		cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 1 || stderr.String() != "waiter: wait: interrupted by a signal\n" {
			t.Errorf("%v: exit code %d, stderr %q", sig, code, stderr)
		}
	}
}

func TestASecondSignalExitsAtOnce(t *testing.T) {
	cmd, expect, _ := child(t, "stubborn")
	cmd.Process.Signal(syscall.SIGTERM)
	expect("going")
	cmd.Process.Signal(syscall.SIGINT)
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit code %d (%v)", code, cmd.ProcessState)
	}
}
