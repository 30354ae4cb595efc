package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/proto/pb"
)

// Options of a cluster; the zero value is three chunkservers, three replicas of
// each chunk, and the program's default for everything else.
type Options struct {
	Chunkservers int      // 3 if 0
	Replicas     int      // 3, or the number of chunkservers if less, if 0
	MinReplicas  int      // 2, or Replicas if less, if 0
	ChunkSize    int64    // bytes; the program's default if 0
	Memory       bool     // stores on /dev/shm and not on the disk: for speed, not for durability
	DiskBytes    int64    // if not 0, each chunkserver has a file system of its own, of that size; needs root
	Network      *Network // if not nil, each server and mount is on a host of its own
	MasterArgs   []string
	ChunkdArgs   []string
}

// Cluster is a running cluster. The exported processes may be killed, stopped,
// paused and started at will.
type Cluster struct {
	Dir          string
	Master       *Process
	Chunkservers []*Process
	Mounts       []*Mount

	t     testing.TB
	o     Options
	disks []string // that are file systems of their own
}

// Start runs master and chunkservers and returns when all of them answer.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	if o.Chunkservers == 0 {
		o.Chunkservers = 3
	}
	if o.Replicas == 0 {
		o.Replicas = min(3, o.Chunkservers)
	}
	if o.MinReplicas == 0 {
		o.MinReplicas = min(2, o.Replicas)
	}
	c := &Cluster{Dir: folder(t, o.Memory), t: t, o: o}
	t.Cleanup(c.cleanUp)

	args := []string{"--replicas", strconv.Itoa(o.Replicas), "--min-replicas", strconv.Itoa(o.MinReplicas)}
	if o.ChunkSize != 0 {
		args = append(args, "--chunk-size", strconv.FormatInt(o.ChunkSize, 10))
	}
	if withoutLeases() {
		args = append(args, "--lease-time", "0")
	}
	c.Master = c.server("master", "distrifs-master", append(args, o.MasterArgs...)...)
	c.Master.Launch()
	for range o.Chunkservers {
		c.AddChunkserver()
	}
	c.WaitAlive()
	return c
}

// withoutLeases tells whether clusters grant no leases, as with DISTRIFS_TEST_LEASES=off in the
// environment: mounts then see what others did up to a second late.
func withoutLeases() bool { return os.Getenv("DISTRIFS_TEST_LEASES") == "off" }

// NeedsLeases skips a test of what only leases promise, where there are none.
func NeedsLeases(t testing.TB) {
	t.Helper()
	if withoutLeases() {
		t.Skip("without leases other mounts are seen late, and files are cached from close to open")
	}
}

// Bare is a cluster without servers: it runs jobs, for tests that start the
// programs their own way.
func Bare(t testing.TB) *Cluster {
	t.Helper()
	return &Cluster{Dir: t.TempDir(), t: t}
}

// folder is where a cluster keeps everything, removed behind the test. Programs of
// other users reach the mounts in it.
func folder(t testing.TB, memory bool) string {
	if !memory {
		dir := t.TempDir()
		if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	dir, err := os.MkdirTemp("/dev/shm", "distrifs-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// AddChunkserver launches one more chunkserver, with an empty folder.
func (c *Cluster) AddChunkserver() *Process {
	c.t.Helper()
	name := fmt.Sprintf("chunkserver-%d", len(c.Chunkservers))
	p := c.server(name, "distrifs-chunkd", append([]string{"--master", c.Master.Address}, c.o.ChunkdArgs...)...)
	if c.o.DiskBytes != 0 {
		c.ownDisk(p.Dir, c.o.DiskBytes)
	}
	c.Chunkservers = append(c.Chunkservers, p)
	p.Launch()
	return p
}

func (c *Cluster) server(name, program string, args ...string) *Process {
	c.t.Helper()
	p := c.process(name, program)
	p.Dir = filepath.Join(c.Dir, name)
	if p.Host = c.o.Network.Host(c.t, name); p.Host != nil {
		p.Address = p.Host.Address + ":9420"
	} else {
		p.Address = fmt.Sprintf("127.0.0.1:%d", FreePort(c.t))
	}
	p.Args = append([]string{"--dir", p.Dir, "--listen", p.Address}, args...)
	return p
}

func (c *Cluster) process(name, program string) *Process {
	return &Process{Name: name, Log: filepath.Join(c.Dir, name+".log"), t: c.t, program: Binary(c.t, program)}
}

// Restart stops the servers that run, then starts master and chunkservers, and
// waits until all answer.
func (c *Cluster) Restart() {
	c.t.Helper()
	c.Stop()
	c.Master.Launch()
	for _, p := range c.Chunkservers {
		p.Launch()
	}
	c.WaitAlive()
}

// Stop stops the servers that run, chunkservers first.
func (c *Cluster) Stop() {
	c.t.Helper()
	for _, p := range append(append([]*Process{}, c.Chunkservers...), c.Master) {
		if p.Running() {
			p.Stop()
		}
	}
}

// Client connects a client in the test's own process; it is closed with the test.
func (c *Cluster) Client() *client.Client {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), StartLimit)
	defer cancel()
	cl, err := client.Dial(ctx, c.Master.Address, client.Options{Name: c.t.Name(), DialTimeout: StartLimit})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { cl.Close() })
	return cl
}

// Status is what the master says of the cluster. It is asked without a session, so
// that looking changes nothing.
func (c *Cluster) Status() (*pb.StatusReply, error) {
	ctx, cancel := context.WithTimeout(context.Background(), StopLimit)
	defer cancel()
	conn, err := grpc.NewClient("passthrough:///"+c.Master.Address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(c.operator().dial))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return pb.NewMasterClient(conn).Status(ctx, &pb.StatusRequest{})
}

// operator is the host of those who look after the cluster; nil without a network.
func (c *Cluster) operator() *Host { return c.o.Network.Host(c.t, "operator") }

// WaitAlive waits until the master answers and exactly the chunkservers that run
// are alive for it.
func (c *Cluster) WaitAlive() {
	c.t.Helper()
	Until(c.t, StartLimit, "the chunkservers that run are alive for the master", func() error {
		for _, p := range append([]*Process{c.Master}, c.Chunkservers...) {
			if !p.Running() && p.ExitCode() > 0 {
				c.t.Fatalf("%s ended with exit code %d: %s", p.Name, p.ExitCode(), p.Output())
			}
		}
		reply, err := c.Status()
		if err != nil {
			return err
		}
		alive := map[string]bool{}
		for _, node := range reply.Nodes {
			alive[node.Address] = node.Alive
		}
		for _, p := range c.Chunkservers {
			if alive[p.Address] != p.Running() {
				err = errors.Join(err, fmt.Errorf("%s runs: %v, alive for the master: %v", p.Name, p.Running(), alive[p.Address]))
			}
		}
		return err
	})
}

// WaitHealthy waits until every chunk has all its replicas.
func (c *Cluster) WaitHealthy(limit time.Duration) {
	c.t.Helper()
	Until(c.t, limit, "no chunk lacks a replica", func() error {
		reply, err := c.Status()
		if err != nil {
			return err
		}
		if n := reply.Chunks; n.UnderReplicated != 0 || n.Missing != 0 || n.CorruptReplicas != 0 {
			return fmt.Errorf("%d chunks under-replicated, %d missing, %d replicas corrupt", n.UnderReplicated, n.Missing, n.CorruptReplicas)
		}
		return nil
	})
}

// ChunkFile is one replica on the disk of a chunkserver.
type ChunkFile struct {
	Path   string
	UUID   string
	Server *Process
}

// ChunkFiles lists the replicas of all chunkservers, running or not, by UUID.
// Unfinished and quarantined ones are left out.
func (c *Cluster) ChunkFiles() map[string][]ChunkFile {
	c.t.Helper()
	found := map[string][]ChunkFile{}
	for _, server := range c.Chunkservers {
		err := filepath.WalkDir(server.Dir, func(path string, d os.DirEntry, err error) error {
			if errors.Is(err, os.ErrNotExist) {
				return nil // removed meanwhile
			}
			if err != nil {
				return err
			}
			if d.IsDir() && (d.Name() == "tmp" || d.Name() == "quarantine") {
				return filepath.SkipDir
			}
			if uuid, ok := strings.CutPrefix(d.Name(), "chunk-"); ok && d.Type().IsRegular() {
				found[uuid] = append(found[uuid], ChunkFile{Path: path, UUID: uuid, Server: server})
			}
			return nil
		})
		if err != nil {
			c.t.Fatal(err)
		}
	}
	return found
}

// cleanUp ends everything, mounts first, and prints the logs of a test that failed.
func (c *Cluster) cleanUp() {
	for _, m := range c.Mounts {
		m.cleanUp()
	}
	processes := append([]*Process{}, c.Chunkservers...)
	if c.Master != nil {
		processes = append(processes, c.Master)
	}
	for _, p := range processes {
		p.cleanUp()
	}
	c.removeDisks()
	for _, m := range c.Mounts {
		processes = append(processes, m.Process)
	}
	for _, p := range processes {
		if err := p.complaints(); err != nil {
			c.t.Error(err)
		}
	}
	if c.t.Failed() {
		printLogs(c.t, processes)
	}
}
