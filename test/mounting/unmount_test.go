package mounting

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/distrifs/distrifs/test/cluster"
)

func TestUmountWaitsForWhatIsUnwritten(t *testing.T) {
	c := cluster.Start(t, cluster.Options{ChunkSize: 1 << 20})
	s := enter(t, c)
	other := c.Mount()
	for round := range 5 {
		// The writers are killed: their files are closed by nobody but the kernel.
		size := 1_000_000*round + 7
		s.run(fmt.Sprintf(`mount -t distrifs $master $dir
			for i in 1 2 3; do
				{ exec 3>$dir/file-$i; head -c %d /dev/zero >&3; echo -n end-%d-$i >&3; kill -KILL $BASHPID; } 2>/dev/null &
			done
			wait 2>/dev/null || true
			until umount $dir 2>$work/error; do grep -q busy $work/error; done`, size, round))
		for i := 1; i <= 3; i++ {
			if err := holds(c, other, fmt.Sprintf("file-%d", i), strings.Repeat("\x00", size)+fmt.Sprintf("end-%d-%d", round, i)); err != nil {
				t.Errorf("after umount: %v", err)
			}
		}
	}
}

func TestALazyUmountLosesNothing(t *testing.T) {
	for _, how := range []string{"umount -l", "umount -i -l", "fusermount3 -uz"} {
		t.Run(strings.ReplaceAll(how, " ", "_"), func(t *testing.T) {
			c := cluster.Start(t, cluster.Options{ChunkSize: 1 << 20})
			s := enter(t, c)
			other := c.Mount()
			s.run(`mount -t distrifs $master $dir; echo -n before >$dir/closed
				exec 3>$dir/open; { head -c 3000000 /dev/zero; echo -n before; } >&3
				` + how + ` $dir
				! findmnt $dir
				mount -t distrifs $master $dir # a new one in its place
				{ head -c 3000000 /dev/zero; echo -n after; } >&3
				exec 3>&-
				test -e $dir/open; umount $dir`)
			zeros := strings.Repeat("\x00", 3_000_000)
			for name, content := range map[string]string{"closed": "before", "open": zeros + "before" + zeros + "after"} {
				if err := holds(c, other, name, content); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// A mount that was detached, and is told to end, leaves the one in its place alone.
func TestADetachedMountLeavesItsSuccessorAlone(t *testing.T) {
	c := cluster.Start(t, cluster.Options{})
	m := c.Mount()
	ready := filepath.Join(c.Dir, "ready")
	user := c.Command(m.Path, "bash", "-c", "exec 3>file; echo -n hello >&3; touch "+ready+"; sleep 1000")
	cluster.Until(t, cluster.JobLimit, "a file is open", func() error {
		_, err := os.Stat(ready)
		return err
	})
	c.Command("/", "fusermount3", "-uz", m.Path).Must()
	successor := c.NewMount()
	successor.Path = m.Path
	successor.Args[len(successor.Args)-1] = m.Path
	successor.Launch()
	successor.WaitReady()
	m.Stop()
	if err := holds(c, successor, "file", "hello"); err != nil {
		t.Errorf("on the mount that took the place: %v", err)
	}
	user.Kill()
	successor.Stop()
}
