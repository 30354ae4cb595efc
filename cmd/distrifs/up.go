package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/distrifs/distrifs/cmd/internal/cli"
	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/proto"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
)

const (
	defaultDir    = "/tmp/distrifs"
	defaultPort   = 9420
	defaultMaster = "127.0.0.1:9420"
	maxChunkd     = 256 // chunkservers on one machine
)

// reportFD names the environment variable with the descriptor on which a detached
// supervisor reports to the process that started it.
const reportFD = "DISTRIFS_REPORT_FD"

// upOptions are the flags of `distrifs up`.
type upOptions struct {
	flags        *pflag.FlagSet
	logging      *cli.Logging
	dir, mount   string
	port         int
	chunkservers int
	replicas     int
	chunkSize    *cli.Size
	detach       bool
	noRestart    bool
}

func addUp(program *cli.Command) {
	c := program.Sub("up", "start a cluster on this machine, and mount it")
	c.Long = `Starts a master, chunkservers and, with --mount, a mount as processes of their own,
starts again what dies, and stays in front until Ctrl-C takes everything down.
With --detach it returns when the mount answers and leaves them in the background.

On the folder of an earlier cluster it starts that one again, with its port,
replicas and chunk size. Several clusters run side by side with other --dir,
--mount and --port. 'distrifs down' stops a cluster; its files stay.`
	c.Examples = `distrifs up --detach --mount /mnt/distrifs
distrifs up --dir /srv/two --mount /mnt/two --port 9520 --chunkservers 5`
	o := &upOptions{flags: c.Flags()}
	o.flags.StringVar(&o.dir, "dir", defaultDir, "folder of the cluster")
	o.flags.StringVar(&o.mount, "mount", "", "mount it here; without it there are only the servers")
	o.flags.IntVar(&o.chunkservers, "chunkservers", 3, "how many chunkservers")
	o.flags.IntVar(&o.replicas, "replicas", 3, "on how many of them each chunk is kept")
	o.chunkSize = c.SizeFlag("chunk-size", proto.DefaultChunkSize, "size of a chunk: a power of two from 1MiB to 1GiB")
	o.flags.IntVar(&o.port, "port", defaultPort, "port of the master on loopback; the chunkservers take those behind it")
	o.flags.BoolVar(&o.detach, "detach", false, "return when the mount answers, leaving the cluster in the background")
	o.flags.BoolVar(&o.noRestart, "no-restart", false, "leave dead what dies")
	o.logging = cli.LogFlags(o.flags)
	c.Run = func(ctx context.Context, _ []string) error { return o.run(ctx) }
}

func (o *upOptions) run(ctx context.Context) error {
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return err
	}
	o.dir = dir
	err = os.MkdirAll(filepath.Join(dir, "log"), 0o755)
	if err == nil {
		err = unix.Access(dir, unix.W_OK)
	}
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%s: %w: another user's; choose another folder with --dir, and --port if that cluster is up", dir, os.ErrPermission)
	}
	if err != nil {
		return err
	}
	if o.detach {
		return o.detached(ctx)
	}
	report, err := newReporter()
	if err != nil {
		return err
	}
	err = o.supervise(ctx, report)
	if errors.Is(err, cli.ErrInterrupted) && report.pipe == nil {
		return nil // Ctrl-C before it was up: everything is down again, as asked
	}
	return report.failure(err)
}

// supervise holds the cluster's lock from before the first look at its folder
// until nothing runs any more.
func (o *upOptions) supervise(ctx context.Context, report *reporter) error {
	lock, err := lockDir(o.dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	file, err := o.prepare()
	if err != nil {
		forget(o.dir)
		return err
	}
	children, err := o.children(file.Settings)
	if err != nil {
		return err
	}
	probe := newProbe(file.Settings.address(0))
	s := newSupervisor(o.dir, file, children, probe.answers, !o.noRestart, o.logging.Logger().With("cluster", o.dir))
	return s.run(ctx, func() {
		probe.close()
		report.ready(o.summary(file.Settings))
	})
}

// forget removes what a start that was refused has made in a folder that holds no
// cluster; nothing else is touched. The lock is held.
func forget(dir string) {
	if _, err := os.Lstat(clusterFilePath(dir)); !errors.Is(err, fs.ErrNotExist) {
		return
	}
	for _, name := range []string{"lock", "log/supervisor.log", "log", "."} {
		_ = os.Remove(filepath.Join(dir, name)) // refused for a folder with something in it, as it should be
	}
}

// lockDir makes this process the only one that starts or stops the cluster.
func lockDir(dir string) (lock interface{ Close() error }, err error) {
	lock, err = disk.OS.Lock(filepath.Join(dir, "lock"))
	if !errors.Is(err, proto.InUse) {
		return lock, err
	}
	if file, readErr := readClusterFile(dir); readErr == nil && file.Supervisor != nil {
		return nil, fmt.Errorf("%s: already up, supervisor pid %d: stop it with 'distrifs down --dir %s', or choose another --dir", dir, file.Supervisor.Pid, dir)
	}
	return nil, err
}

// prepare settles what the cluster is, ends what an earlier supervisor left, and
// writes cluster.json with ourselves as its supervisor.
func (o *upOptions) prepare() (*clusterFile, error) {
	file, err := readClusterFile(o.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		file = &clusterFile{}
	case err != nil:
		return nil, err
	}
	if file.Settings, err = o.settle(file.Settings); err != nil {
		return nil, err
	}
	if err := takeDown(file); err != nil {
		return nil, err
	}
	if o.mount != "" {
		if o.mount, err = checkMountpoint(o.mount); err != nil {
			return nil, err
		}
	}
	if err := checkPorts(file.Settings); err != nil {
		return nil, err
	}
	if file.Boot, err = bootID(); err != nil {
		return nil, err
	}
	self := process{Role: "supervisor", Pid: os.Getpid(), Address: o.dir}
	self.Started, _ = startTime(self.Pid)
	file.Supervisor, file.Processes = &self, nil
	return file, file.write(o.dir)
}

// settle merges the flags with the settings of an existing cluster: a flag that
// was given must agree with what cannot change any more.
func (o *upOptions) settle(old settings) (settings, error) {
	now := settings{Port: o.port, Chunkservers: o.chunkservers, Replicas: o.replicas, ChunkSize: *o.chunkSize}
	if old != (settings{}) {
		if !o.flags.Changed("port") {
			now.Port = old.Port
		}
		if !o.flags.Changed("chunkservers") {
			now.Chunkservers = old.Chunkservers
		}
		refuse := func(flag string, is, wanted any) error {
			return fmt.Errorf("--%s %v: the cluster in %s has %v: leave the flag out, or start a new cluster with another --dir", flag, wanted, o.dir, is)
		}
		switch {
		case now.Chunkservers < old.Chunkservers:
			return old, refuse("chunkservers", old.Chunkservers, now.Chunkservers)
		case o.flags.Changed("replicas") && now.Replicas != old.Replicas:
			return old, refuse("replicas", old.Replicas, now.Replicas)
		case o.flags.Changed("chunk-size") && now.ChunkSize != old.ChunkSize:
			return old, refuse("chunk-size", old.ChunkSize, now.ChunkSize)
		}
		now.Replicas, now.ChunkSize = old.Replicas, old.ChunkSize
	} else if !o.flags.Changed("replicas") {
		now.Replicas = min(now.Replicas, now.Chunkservers)
	}
	return now, now.check()
}

func (s settings) check() error {
	switch {
	case s.Chunkservers < 1 || s.Chunkservers > maxChunkd:
		return cli.Usagef("--chunkservers %d: from 1 to %d", s.Chunkservers, maxChunkd)
	case s.Replicas < 1:
		return cli.Usagef("--replicas %d: at least 1", s.Replicas)
	case s.minReplicas() > s.Chunkservers:
		return cli.Usagef("--replicas %d: nothing could be written with %d chunkservers: at least %d are needed", s.Replicas, s.Chunkservers, s.minReplicas())
	case s.ChunkSize < proto.MinChunkSize || s.ChunkSize > proto.MaxChunkSize || s.ChunkSize&(s.ChunkSize-1) != 0:
		return cli.Usagef("--chunk-size %v: a power of two from %v to %v", s.ChunkSize, cli.Size(proto.MinChunkSize), cli.Size(proto.MaxChunkSize))
	case s.Port < 1 || s.Port+s.Chunkservers > 65535:
		return cli.Usagef("--port %d: from 1 to %d", s.Port, 65535-s.Chunkservers)
	}
	return nil
}

// minReplicas is how many replicas a write has to reach.
func (s settings) minReplicas() int { return min(2, s.Replicas) }

// address of the server that listens n ports behind the master.
func (s settings) address(n int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port+n)) }

// checkPorts finds a port in use before anything is started.
func checkPorts(s settings) error {
	for n := range s.Chunkservers + 1 {
		l, err := net.Listen("tcp", s.address(n))
		if err != nil {
			return fmt.Errorf("%w: another program has it: choose another --port (the cluster takes %d to %d)", err, s.Port, s.Port+s.Chunkservers)
		}
		l.Close()
	}
	return nil
}

// children describes the processes of the cluster, in starting order.
func (o *upOptions) children(s settings) ([]*child, error) {
	var children []*child
	var missing error
	add := func(role string, index int, address, program string, args ...string) {
		path, err := findProgram(program)
		missing = errors.Join(missing, err)
		children = append(children, &child{
			process: process{Role: role, Index: index, Address: address,
				Log: filepath.Join(o.dir, "log", fmt.Sprintf("%s-%d.log", role, index))},
			argv: append(append([]string{path}, args...), o.logging.Args()...),
		})
	}
	add(roleMaster, 0, s.address(0), "distrifs-master",
		"--dir", filepath.Join(o.dir, "master"), "--listen", s.address(0),
		"--replicas", strconv.Itoa(s.Replicas), "--min-replicas", strconv.Itoa(s.minReplicas()), "--chunk-size", s.ChunkSize.String())
	for n := range s.Chunkservers {
		add(roleChunkserver, n, s.address(n+1), "distrifs-chunkd",
			"--dir", filepath.Join(o.dir, fmt.Sprintf("chunkserver-%d", n)), "--master", s.address(0), "--listen", s.address(n+1))
	}
	if o.mount != "" {
		add(roleMount, 0, o.mount, "distrifs-mount", "-f", s.address(0), o.mount)
	}
	return children, missing
}

func (o *upOptions) summary(s settings) string {
	var b strings.Builder
	replicas := fmt.Sprintf("each chunk on %d of them", s.Replicas)
	if s.Replicas > s.Chunkservers {
		replicas = fmt.Sprintf("too few for %d replicas of each chunk", s.Replicas)
	}
	fmt.Fprintf(&b, "DistriFS is up: master on %s, %d chunkservers, %s, in %s\n", s.address(0), s.Chunkservers, replicas, o.dir)
	master, dir := "", ""
	if s.address(0) != defaultMaster {
		master = " --master " + s.address(0)
	}
	if o.dir != defaultDir {
		dir = " --dir " + o.dir
	}
	if o.mount != "" {
		fmt.Fprintf(&b, "  mounted on       %s\n", o.mount)
	}
	fmt.Fprintf(&b, "  look at it with  distrifs%s status\n  stop it with     distrifs down%s\n", master, dir)
	return b.String()
}

// detached runs the same command in the background and waits for its report.
func (o *upOptions) detached(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	logPath := filepath.Join(o.dir, "log", "supervisor.log")
	log, _, err := openLog(logPath)
	if err != nil {
		return err
	}
	defer log.Close()
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	cmd := exec.Command(self, append(os.Args[1:], "--detach=false")...)
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, []*os.File{write}
	cmd.Env = append(os.Environ(), reportFD+"=3")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	write.Close()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	var message report
	if err := json.NewDecoder(read).Decode(&message); err != nil {
		return fmt.Errorf("the supervisor died: %v: see %s", cmd.Wait(), logPath)
	}
	if message.Ready {
		fmt.Print(message.Text)
		return nil
	}
	cmd.Wait()
	return message.failure(os.Stderr)
}

// report is what a supervisor tells whoever waits for it, as one JSON object.
type report struct {
	Ready bool
	Text  string   // the summary, or the error
	Log   string   // of the process that failed
	Tail  []string // its last lines
}

// failure prints the log's end and gives the error.
func (r report) failure(w *os.File) error {
	if len(r.Tail) > 1 {
		fmt.Fprintf(w, "the last lines of %s:\n  %s\n", r.Log, strings.Join(r.Tail, "\n  "))
	}
	return errors.New(r.Text)
}

// reporter sends the report through the pipe of a detached start, or prints it.
type reporter struct{ pipe *os.File }

func newReporter() (*reporter, error) {
	text := os.Getenv(reportFD)
	if text == "" {
		return &reporter{}, nil
	}
	fd, err := strconv.Atoi(text)
	if err != nil {
		return nil, fmt.Errorf("%s=%s: %w", reportFD, text, err)
	}
	syscall.CloseOnExec(fd) // or the children would keep it open
	os.Unsetenv(reportFD)
	return &reporter{pipe: os.NewFile(uintptr(fd), "report")}, nil
}

func (r *reporter) ready(summary string) {
	if r.pipe == nil {
		fmt.Print(summary)
		return
	}
	r.send(report{Ready: true, Text: summary})
	r.pipe = nil
}

func (r *reporter) failure(err error) error {
	if err == nil {
		return nil
	}
	message := report{Text: cli.OneLine(err.Error())}
	var start *startError
	if errors.As(err, &start) {
		message.Log, message.Tail = start.Log, start.Tail
	}
	if r.pipe == nil {
		return message.failure(os.Stderr)
	}
	r.send(message)
	return err
}

// send fails only when whoever waited is gone; then nobody is left to tell.
func (r *reporter) send(message report) {
	if err := json.NewEncoder(r.pipe).Encode(message); err != nil {
		slog.Warn("nobody waits for the report", "error", err)
	}
	r.pipe.Close()
}
