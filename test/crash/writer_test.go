package crash

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/distrifs/distrifs/test/cluster"
)

// A mount is killed while it overwrites a file, and a chunkserver with it, so that some
// replicas have what others lack. Afterwards all replicas are equal, byte by byte, and
// they hold nothing but what was written.
func TestWriterKilledInMidWrite(t *testing.T) { // G3, G7
	const chunk, size = 1 << 20, 2 << 20
	c := cluster.Start(t, cluster.Options{ChunkSize: chunk, MasterArgs: append([]string{"--session-timeout", "3s", "--lease-time", "2s"}, quickDeath...)})
	m := c.Mount()
	file := filepath.Join(m.Path, "file")
	c.Shell(m.Path, fmt.Sprintf("head -c %d /dev/zero >file; sync file", size))
	random := rand.New(rand.NewPCG(8, 3))
	for round := range 2 {
		c.WaitHealthy(cluster.StartLimit)
		job := c.Job("scribble", file, fmt.Sprint(size))
		time.Sleep(200 * time.Millisecond)
		pause(random, 500*time.Millisecond)
		victim := c.Chunkservers[random.IntN(len(c.Chunkservers))]
		victim.Kill()
		m.Kill()
		if out, err := job.Wait(cluster.JobLimit); err == nil {
			t.Fatalf("round %d: the writer noticed nothing: %s", round, out)
		}
		victim.Launch()
		c.WaitAlive()
		cluster.Until(t, cluster.StartLimit, "all replicas are equal", func() error { return equalReplicas(c, chunk) })
		c.WaitHealthy(cluster.StartLimit)
		m.Launch()
		m.WaitReady()
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if i := bytes.IndexFunc(got, func(r rune) bool { return r != 0 && (r < 'a' || r > 'z') }); i >= 0 || len(got) != size {
			t.Errorf("round %d: %d bytes, of which byte %d was never written", round, len(got), i)
		}
	}
}

// equalReplicas compares the bytes of all replicas of each chunk.
func equalReplicas(c *cluster.Cluster, chunk int64) error {
	for id, replicas := range c.ChunkFiles() {
		if len(replicas) != len(c.Chunkservers) {
			return fmt.Errorf("chunk %s has %d replicas", id, len(replicas))
		}
		var first []byte
		for i, r := range replicas {
			f, err := os.Open(r.Path)
			if err != nil {
				return err
			}
			bytesOf, err := io.ReadAll(io.LimitReader(f, chunk))
			f.Close()
			if err != nil {
				return err
			}
			if i == 0 {
				first = bytesOf
			} else if !bytes.Equal(first, bytesOf) {
				return fmt.Errorf("chunk %s differs between %s and %s", id, replicas[0].Server.Name, r.Server.Name)
			}
		}
	}
	return nil
}

func init() { cluster.Register("scribble", scribble) }

// scribble writes letters to random places of a file until it cannot.
func scribble(args []string) error {
	f, err := os.OpenFile(args[0], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var size int64
	if _, err := fmt.Sscan(args[1], &size); err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(5, 5))
	deadline := time.Now().Add(cluster.JobLimit / 2)
	for n := 0; time.Now().Before(deadline); n++ {
		piece := bytes.Repeat([]byte{byte('a' + n%26)}, 1+random.IntN(200_000))
		if _, err := f.WriteAt(piece, random.Int64N(size-int64(len(piece)))); err != nil {
			return err
		}
	}
	return nil
}
