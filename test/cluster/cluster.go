package cluster

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/distrifs/distrifs/proto/pb"
)

// Patience is how long a wait for a condition lasts before it fails the test.
const Patience = 60 * time.Second

// Options of a cluster. The zero value is one master and three chunkservers
// with three replicas of 64 MiB chunks, stores in the test's temporary folder.
type Options struct {
	Chunkservers int      // 0: 3
	Replicas     int      // 0: 3
	MinReplicas  int      // 0: the program's default
	ChunkSize    string   // "": the program's default
	Dir          string   // stores go below it; "": t.TempDir()
	MasterFlags  []string // more flags for the master
	NodeFlags    []string // more flags for each chunkserver
}

// Cluster is a running one.
type Cluster struct {
	Dir    string // everything of the cluster is below it
	Master *Process
	Nodes  []*Process

	t      testing.TB
	bin    string
	mounts []*Mount
	conn   *grpc.ClientConn
}

// Start brings up a cluster and waits until all its chunkservers are registered.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	o = o.withDefaults(t)
	c := &Cluster{t: t, bin: Binaries(t), Dir: o.Dir}
	t.Cleanup(c.cleanUp)
	c.watch()
	c.addMaster(o)
	for i := range o.Chunkservers {
		c.addNode(i, o)
	}
	conn, err := grpc.NewClient(c.Master.Address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: time.Second}))
	if err != nil {
		t.Fatal(err)
	}
	c.conn = conn
	c.WaitUp()
	return c
}

func (o Options) withDefaults(t testing.TB) Options {
	if o.Chunkservers == 0 {
		o.Chunkservers = 3
	}
	if o.Replicas == 0 {
		o.Replicas = 3
	}
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	return o
}

func (c *Cluster) addMaster(o Options) {
	c.Master = c.process("master", freeAddress(c.t), filepath.Join(c.Dir, "master"), "distrifs-master")
	c.Master.args = append([]string{"--dir", c.Master.Dir, "--listen", c.Master.Address, "--replicas", strconv.Itoa(o.Replicas)}, o.MasterFlags...)
	if o.MinReplicas != 0 {
		c.Master.args = append(c.Master.args, "--min-replicas", strconv.Itoa(o.MinReplicas))
	}
	if o.ChunkSize != "" {
		c.Master.args = append(c.Master.args, "--chunk-size", o.ChunkSize)
	}
	c.Master.Start()
}

func (c *Cluster) addNode(i int, o Options) {
	name := fmt.Sprintf("chunkserver-%d", i)
	node := c.process(name, freeAddress(c.t), filepath.Join(c.Dir, name), "distrifs-chunkd")
	node.args = append([]string{"--dir", node.Dir, "--master", c.Master.Address, "--listen", node.Address}, o.NodeFlags...)
	c.Nodes = append(c.Nodes, node)
	node.Start()
}

func (c *Cluster) process(name, address, dir, program string) *Process {
	if dir != "" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			c.t.Fatal(err)
		}
	}
	return &Process{Name: name, Address: address, Dir: dir, t: c.t, path: filepath.Join(c.bin, program), logPath: filepath.Join(c.Dir, name+".log")}
}

// nextPort spreads the ports of the clusters of one test binary.
var nextPort atomic.Uint64

// freeAddress picks a loopback port that nothing listens on now, below the range
// that the kernel takes for outgoing connections, so that it stays free while
// its process is down.
func freeAddress(t testing.TB) string {
	t.Helper()
	for range 200 {
		port := 10000 + int(nextPort.Add(1)+uint64(os.Getpid()*37))%20000
		listener, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err == nil {
			listener.Close()
			return listener.Addr().String()
		}
	}
	t.Fatal("no free port on loopback between 10000 and 30000")
	return ""
}

// Processes are all servers and mounts.
func (c *Cluster) Processes() []*Process {
	all := append([]*Process{c.Master}, c.Nodes...)
	for _, m := range c.mounts {
		all = append(all, m.Process)
	}
	return all
}

// Status asks the master; it fails while the master is away.
func (c *Cluster) Status() (*pb.StatusReply, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return pb.NewMasterClient(c.conn).Status(ctx, &pb.StatusRequest{}, grpc.WaitForReady(true))
}

// WaitUp waits until the master answers and every chunkserver is alive.
func (c *Cluster) WaitUp() {
	c.t.Helper()
	c.WaitStatus("all chunkservers alive", func(s *pb.StatusReply) bool {
		alive := 0
		for _, node := range s.Nodes {
			if node.Alive {
				alive++
			}
		}
		return alive == len(c.Nodes)
	})
}

// WaitHealthy waits until every chunkserver is alive and every chunk has all its replicas.
func (c *Cluster) WaitHealthy() {
	c.t.Helper()
	c.WaitUp()
	c.WaitStatus("every chunk fully replicated", func(s *pb.StatusReply) bool {
		return !s.SafeMode && s.Chunks.UnderReplicated == 0 && s.Chunks.Missing == 0 && s.Chunks.CorruptReplicas == 0
	})
}

// WaitStatus waits for a condition on the master's status.
func (c *Cluster) WaitStatus(what string, ok func(*pb.StatusReply) bool) {
	c.t.Helper()
	var last string
	c.Wait(what, func() bool {
		status, err := c.Status()
		if err != nil {
			last = err.Error()
			return false
		}
		last = status.String()
		return ok(status)
	}, func() string { return last })
}

// Wait polls a condition until it holds or Patience is at its end.
func (c *Cluster) Wait(what string, ok func() bool, explain func() string) {
	c.t.Helper()
	deadline := time.Now().Add(Patience)
	for !ok() {
		if time.Now().After(deadline) {
			c.t.Fatalf("waited %v for: %s; last seen: %s", Patience, what, explain())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Tool runs the distrifs command against this cluster and gives what it printed;
// args start with the verb.
func (c *Cluster) Tool(args ...string) (string, error) {
	verb, rest := args[0], args[1:]
	output, err := runTool(nil, filepath.Join(c.bin, "distrifs"), append([]string{verb, "--master", c.Master.Address}, rest...)...)
	return string(output), err
}

// Bin is the path of one of the programs under test.
func (c *Cluster) Bin(program string) string { return filepath.Join(c.bin, program) }

// watch kills the cluster shortly before the test binary's deadline: whoever
// hangs on a mount then comes back, and the logs are seen.
func (c *Cluster) watch() {
	t, ok := c.t.(*testing.T)
	if !ok {
		return
	}
	deadline, ok := t.Deadline()
	if !ok {
		return
	}
	timer := time.AfterFunc(time.Until(deadline)-15*time.Second, func() {
		c.t.Errorf("the test's time is up: killing the cluster")
		for _, m := range c.mounts {
			m.Signal(sigquit)
		}
		time.Sleep(2 * time.Second)
		for _, p := range c.Processes() {
			p.Kill()
		}
	})
	c.t.Cleanup(func() { timer.Stop() })
}

func (c *Cluster) cleanUp() {
	for _, m := range c.mounts {
		m.remove()
	}
	if c.conn != nil {
		c.conn.Close()
	}
	for _, p := range append(c.Nodes, c.Master) {
		if p != nil {
			p.Signal(sigcont)
			p.Kill()
		}
	}
	for _, p := range c.Processes() {
		if p == nil {
			continue
		}
		p.checkLog()
	}
	if c.t.Failed() {
		for _, p := range c.Processes() {
			if p != nil {
				p.showLog()
			}
		}
	}
}

// LogContains tells whether a process wrote the text to its log.
func (p *Process) LogContains(text string) bool { return bytes.Contains(p.Log(), []byte(text)) }
