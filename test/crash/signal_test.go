package crash

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/distrifs/distrifs/test/cluster"
)

// A call that waits for servers which do not answer ends with the signal that ends its
// process, whatever it waits for: nobody has to wait for --io-timeout, and nothing is
// answered that is not known.
func TestSignalsEndBlockedCalls(t *testing.T) { // L11
	t.Parallel()
	c := cluster.Start(t, cluster.Options{ChunkSize: 1 << 20})
	m := c.Mount("--hard", "-o", "no-leases")
	signals := []syscall.Signal{syscall.SIGINT, syscall.SIGKILL}
	c.Shell(m.Path, "mkdir dir")
	for _, sig := range signals { // through no mount, so that no page is cached
		c.Tool("cp", "/bin/true", fmt.Sprintf(":/dir/read-%d", sig)).Must()
	}
	pause := func(servers ...*cluster.Process) (resume func()) {
		for _, s := range servers {
			s.Pause()
		}
		return func() {
			for _, s := range servers {
				s.Resume()
			}
		}
	}
	for _, k := range []struct {
		name    string
		servers []*cluster.Process
		script  string
	}{
		{"the master", []*cluster.Process{c.Master}, "exec cat dir/absent"},
		{"the master, listing", []*cluster.Process{c.Master}, "exec ls dir"},
		{"the master, changing", []*cluster.Process{c.Master}, "exec mkdir dir/new"},
		{"the chunkservers, reading", c.Chunkservers, "exec cat dir/read-$1"},
		{"the chunkservers, closing", c.Chunkservers, "exec cp /bin/true dir/write-$1"},
	} {
		for _, sig := range signals {
			resume := pause(k.servers...)
			job := c.Command("/", "bash", "-c", "cd $0; "+k.script, m.Path, fmt.Sprint(int(sig)))
			cluster.Until(t, cluster.JobLimit, fmt.Sprintf("waiting for %s blocks", k.name), job.Blocked)
			job.Signal(sig)
			out, err := job.Wait(20 * time.Second)
			if err == nil || job.Ended() != sig {
				t.Errorf("waiting for %s, %v: ended with %v, %q", k.name, sig, err, out)
			}
			resume()
		}
	}
	c.WaitAlive()
	c.Shell(m.Path, "ls dir; for f in dir/read-*; do cmp /bin/true $f; done")
}
