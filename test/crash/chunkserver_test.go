package crash

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/distrifs/distrifs/test/cluster"
)

// quickDeath makes the master give up a silent chunkserver, and repair, sooner than by default.
var quickDeath = []string{"--dead-after", "2s", "--repair-delay", "1s"}

// Each chunkserver in turn is killed under a writer and a reader. Neither sees an
// error, every byte is right, and the cluster gets back to three replicas.
func TestChunkserverKilledUnderLoad(t *testing.T) { // G1, G3, G6, G7
	t.Parallel()
	c := cluster.Start(t, cluster.Options{ChunkSize: 1 << 20, MasterArgs: quickDeath})
	m := c.Mount()
	oracle := filepath.Join(t.TempDir(), "read")
	c.Shell(m.Path, "head -c 8M /dev/urandom >"+oracle+"; cp "+oracle+" read")
	random := rand.New(rand.NewPCG(1, 1))
	for i, victim := range c.Chunkservers {
		c.WaitHealthy(cluster.StartLimit)
		stop := filepath.Join(t.TempDir(), "stop")
		written := fmt.Sprintf("written-%d", i)
		reader := c.Job("read until", m.Path+"/read", oracle, stop)
		writer := c.Job("write until", filepath.Join(m.Path, written), oracle+written, stop)
		pause(random, time.Second)
		victim.Kill()
		pause(random, 3*time.Second)
		if err := os.WriteFile(stop, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		reader.Must()
		writer.Must()
		m.DropCaches()
		c.Shell(m.Path, fmt.Sprintf("cmp %s %s; cmp read %s; stat -c '%%s bytes' %[1]s", written, oracle+written, oracle))
		victim.Launch()
	}
	c.WaitHealthy(cluster.StartLimit)
}

func init() {
	cluster.Register("read until", readUntil)
	cluster.Register("write until", writeUntil)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// readUntil reads a file past the kernel's cache, again and again, and compares.
func readUntil(args []string) error {
	want, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	for !exists(args[2]) {
		if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("1"), 0); err != nil {
			return err
		}
		got, err := os.ReadFile(args[0])
		if err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			return errors.New("the bytes read are not those written")
		}
	}
	return nil
}

// writeUntil appends to a file and to its oracle, with an fsync now and then.
func writeUntil(args []string) error {
	f, err := os.Create(args[0])
	if err != nil {
		return err
	}
	oracle, err := os.Create(args[1])
	if err != nil {
		return err
	}
	piece := make([]byte, 100_000)
	for n := uint64(0); !exists(args[2]); n++ {
		rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)}).Read(piece)
		if _, err := oracle.Write(piece); err != nil {
			return err
		}
		if _, err := f.Write(piece); err != nil {
			return err
		}
		if n%8 == 0 {
			if err := f.Sync(); err != nil {
				return err
			}
		}
	}
	return f.Close()
}

// A flipped byte in a chunk file is never returned: another replica answers, and
// the bad one is replaced.
func TestFlippedByteIsNeverReturned(t *testing.T) { // G5
	t.Parallel()
	c := cluster.Start(t, cluster.Options{ChunkSize: 1 << 20, MasterArgs: quickDeath})
	m := c.Mount()
	oracle := filepath.Join(t.TempDir(), "oracle")
	c.Shell(m.Path, "head -c 1M /dev/urandom >"+oracle+"; cp "+oracle+" file")
	for i, server := range c.Chunkservers {
		c.WaitHealthy(cluster.StartLimit)
		for _, replicas := range c.ChunkFiles() {
			for _, r := range replicas {
				if r.Server == server {
					flipByte(t, r.Path, int64(1000+i*100_000))
				}
			}
		}
		for range 6 { // whichever replica is asked
			m.Remount()
			m.DropCaches()
			c.Shell(m.Path, "cmp file "+oracle)
		}
	}
}

// With fewer live chunkservers than replicas, writes go on down to min-replicas;
// below, they are refused and never acknowledged.
func TestWritesNeedMinReplicas(t *testing.T) { // G6
	t.Parallel()
	c := cluster.Start(t, cluster.Options{ChunkSize: 1 << 20, MasterArgs: quickDeath})
	m := c.Mount("--io-timeout", "5s")
	c.Chunkservers[0].Kill()
	c.Shell(m.Path, "seq 400000 >two; sync two")
	c.Chunkservers[1].Kill()
	if out, err := c.Command(m.Path, "dd", "if=/dev/zero", "of=one", "bs=1M", "count=1", "conv=fsync").Wait(cluster.JobLimit); err == nil {
		t.Errorf("with one of three chunkservers a write was acknowledged: %s", out)
	}
	m.DropCaches()
	c.Shell(m.Path, "seq 400000 | cmp - two")
	c.Chunkservers[0].Launch()
	c.Chunkservers[1].Launch()
	c.WaitHealthy(cluster.StartLimit)
	c.Shell(m.Path, "seq 400000 >three; sync three; cmp two three")
}

// A file system that is full says ENOSPC, and deleting makes room again.
func TestFullChunkservers(t *testing.T) {
	t.Parallel()
	store := filepath.Join(t.TempDir(), "small")
	c := cluster.Start(t, cluster.Options{Chunkservers: 1, ChunkSize: 1 << 20, MasterArgs: quickDeath})
	c.Chunkservers[0].Stop()
	smallDisk(t, store, 64<<20)
	c.Chunkservers[0].Args[1] = store
	c.Chunkservers[0].Launch()
	c.WaitAlive()
	m := c.Mount()
	out, err := c.Command(m.Path, "dd", "if=/dev/zero", "of=big", "bs=1M", "count="+strconv.Itoa(200)).Wait(cluster.JobLimit)
	if err == nil || !bytes.Contains([]byte(out), []byte("No space left")) {
		t.Errorf("200 MiB into 64 MiB: %v: %s", err, out)
	}
	c.Shell(m.Path, "rm big")
	cluster.Until(t, cluster.StartLimit, "deleting makes room", func() error {
		out, err := c.Command(m.Path, "dd", "if=/dev/zero", "of=fits", "bs=1M", "count=20", "conv=fsync").Wait(cluster.JobLimit)
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// When all chunkservers die at once, what was acknowledged is read as soon as they
// are back, and who was writing goes on as if nothing had been.
func TestAllChunkserversKilled(t *testing.T) { // G1, G3
	t.Parallel()
	c := cluster.Start(t, cluster.Options{ChunkSize: 1 << 20, MasterArgs: quickDeath})
	m := c.Mount()
	c.Shell(m.Path, "seq 400000 >file")
	folder := t.TempDir()
	stop, oracle := filepath.Join(folder, "stop"), filepath.Join(folder, "oracle")
	writer := c.Job("write until", filepath.Join(m.Path, "written"), oracle, stop)
	random := rand.New(rand.NewPCG(1, 2))
	for range 3 {
		pause(random, time.Second)
		for _, server := range c.Chunkservers {
			server.Kill()
		}
		for _, server := range c.Chunkservers {
			server.Launch()
		}
		c.WaitAlive()
		c.Shell(m.Path, "echo 3 >/proc/sys/vm/drop_caches; seq 400000 | cmp - file")
	}
	pause(random, time.Second)
	if err := os.WriteFile(stop, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	writer.Must()
	m.Remount()
	c.Shell(m.Path, "cmp written "+oracle+"; seq 400000 | cmp - file; echo more >>file; sync file")
	c.WaitHealthy(cluster.StartLimit)
}
