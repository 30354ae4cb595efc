package meta

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// G2, G8: what was acknowledged is there after a crash of the master.
func TestCrashKeepsEverythingAcknowledged(t *testing.T) {
	for seed := range uint64(8) {
		inCluster(t, 3, Config{}, func(c *cluster) {
			one := c.connect(&pb.Hello{})
			var files []*pb.CreateReply
			for i := range 20 {
				f := one.file(fmt.Sprintf("f%02d", i))
				one.write(f)
				files = append(files, f)
			}
			must[*pb.RenameReply](c.t)(one.api().Rename(c.t.Context(), &pb.RenameRequest{Caller: one.changes(), Parent: 1, Name: []byte("f00"), NewParent: 1, NewName: []byte("moved")}))
			cluster := c.status().Cluster
			one.vanish()
			c.crash(seed)
			one = c.connect(&pb.Hello{Resume: one.welcome.Session, Cluster: cluster})
			defer one.vanish()
			if one.welcome.Epoch != 2 {
				t.Errorf("epoch %d", one.welcome.Epoch)
			}
			names := strings.Fields(list(t, c, one, 1, 100))
			if len(names) != 20 || names[0] != "f01" || names[19] != "moved" {
				t.Errorf("names %v", names)
			}
			time.Sleep(5 * time.Second)
			for _, f := range files {
				if got := show(one.locate(f)); strings.Contains(got, "(") {
					t.Errorf("location %s", got)
				}
			}
			if s := c.status(); s.SafeMode || s.Chunks.UnderReplicated+s.Chunks.Missing != 0 {
				t.Errorf("after the reports: %v", s.Chunks)
			}
		})
	}
}

// L1: a chain change that was logged and that nobody heard of is completed after a
// restart, not counted as a loss.
func TestLoggedChangeIsCompleted(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		f := one.file("f")
		one.write(f)
		time.Sleep(time.Minute)
		for _, n := range c.nodes {
			n.set(func() {
				n.refuse = func(command *pb.NodeCommand) proto.Kind {
					n.deaf = command.GetSetVersion().GetVersion() != 1 // they are asked about that before
					return proto.OK
				}
			})
		}
		go one.fail(f, 1, c.nodes[2].id)
		time.Sleep(time.Second)
		one.vanish()
		c.crash(3)
		for _, n := range c.nodes {
			n.set(func() { n.deaf, n.refuse = false, nil })
		}
		c.take()
		time.Sleep(20 * time.Second)
		one = c.connect(&pb.Hello{Resume: one.welcome.Session, Open: []*pb.OpenCount{{Inode: f.Attr.Inode, Count: 1}}})
		defer one.vanish()
		time.Sleep(time.Minute)
		if text := c.take(); !strings.Contains(text, "1: set version 2 = ok") || !strings.Contains(text, "2: copy version 2 from [1] = ok") {
			t.Errorf("it went\n%s", text)
		}
		if got := show(one.locate(f)); got != "3: 1 2 3" {
			t.Errorf("location %s", got)
		}
	})
}

// L2: after a start, nothing is repaired or deleted until enough has reported.
func TestSafeMode(t *testing.T) {
	inCluster(t, 4, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		f := one.file("f")
		one.write(f)
		time.Sleep(time.Minute)
		one.vanish()
		nodes := c.nodes
		for _, n := range nodes {
			n.kill()
		}
		c.nodes = c.nodes[3:] // the one without a replica
		c.take()
		c.crash(4)
		time.Sleep(50 * time.Second)
		s := c.status()
		if !s.SafeMode || s.Chunks.Missing != 1 {
			t.Errorf("with no replica reported: %v, %v", s.SafeMode, s.Chunks)
		}
		story(c.t, c.take(), "")
		c.nodes = nodes
		c.nodes[0].restart()
		time.Sleep(3 * time.Second)
		if s := c.status(); s.SafeMode || s.Chunks.UnderReplicated != 1 {
			t.Errorf("with one replica reported: %v, %v", s.SafeMode, s.Chunks)
		}
	})
}

// L2: a master that has lost its state empties no chunkserver.
func TestEmptyMasterDeletesNothing(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		f := one.file("f")
		one.write(f)
		one.vanish()
		c.disk = disk.NewMem()
		c.crash(5)
		time.Sleep(10 * time.Minute)
		for _, n := range c.nodes {
			if n.has(f.Chunk.Chunk) == 0 {
				t.Errorf("chunkserver %d was emptied", n.id)
			}
		}
		if s := c.status(); len(s.Nodes) != 0 {
			t.Errorf("chunkservers of another cluster: %v", s.Nodes)
		}
	})
}

func TestStoredPropertiesWin(t *testing.T) {
	fs := disk.NewMem()
	open := func(c Config) error {
		c.Dir, c.FS = "/master", fs
		m, err := Open(c)
		if err == nil {
			err = m.Close()
		}
		return err
	}
	if err := open(Config{ChunkSize: 1 << 20, Replicas: 2}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		cfg  Config
		want string // "": accepted
	}{
		{Config{}, ""},
		{Config{ChunkSize: 1 << 20, Replicas: 2, MinReplicas: 2}, ""},
		{Config{ChunkSize: 2 << 20}, "--chunk-size 1048576"},
		{Config{Replicas: 3}, "--replicas 2"},
		{Config{MinReplicas: 1}, "--min-replicas 2"},
	} {
		switch err := open(c.cfg); {
		case c.want == "" && err != nil:
			t.Errorf("%+v: %v", c.cfg, err)
		case c.want != "" && (proto.KindOf(err) != proto.Invalid || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%+v: %v", c.cfg, err)
		}
	}
	for _, bad := range []Config{{ChunkSize: 3 << 20}, {Replicas: 9}, {Replicas: 2, MinReplicas: 3}, {ChunkSize: 4096}} {
		if err := open(bad); proto.KindOf(err) != proto.Invalid {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestFolderInUse(t *testing.T) {
	fs := disk.NewMem()
	m, err := Open(Config{Dir: "/master", FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	_, err = Open(Config{Dir: "/master", FS: fs})
	wantKind(t, err, proto.InUse) // L15
}

// A log with an operation of a later version is refused, and stays as it is for
// the program that knows it: no checkpoint may skip it.
func TestUnknownOperationIsRefusedAndKept(t *testing.T) { // G8
	fs := disk.NewMem()
	m, err := Open(Config{Dir: "/master", FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.group.Propose(t.Context(), 200, []byte("of a later version"))
	wantKind(t, err, proto.NewerFormat)
	crashed := fs.CrashClone(1)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first refusal changes nothing
		_, err = Open(Config{Dir: "/master", FS: crashed})
		wantKind(t, err, proto.NewerFormat)
	}
}
