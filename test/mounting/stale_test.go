package mounting

import (
	"testing"

	"github.com/distrifs/distrifs/test/cluster"
)

func TestAFolderThatVanishedIsStale(t *testing.T) {
	c := cluster.Start(t, cluster.Options{})
	m, other := c.Mount(), c.Mount()
	c.Shell(m.Path, "mkdir folder mounted")
	part := c.NewMount()
	part.Args[len(part.Args)-2] += ":/mounted"
	part.Launch()
	part.WaitReady()

	user := c.Command("/", "bash", "-uc", `cd "$0"; exec 4>"$1"; ls >&4
		while [ -e "$2" ]; do sleep 0.02; done
		for i in $(seq 500); do
			message=$(ls -d . 2>&1; stat . 2>&1 >/dev/null) && { sleep 0.02; continue; }
			case "$message" in *"Stale file handle"*) exit 0;; *) echo "$message"; exit 1;; esac
		done
		echo "it is there for ever"; exit 1`, m.Path+"/folder", c.Dir+"/entered", other.Path+"/folder")
	cluster.Until(t, cluster.JobLimit, "a program is in the folder", func() error {
		_, err := c.Command(c.Dir, "test", "-e", "entered").Wait(cluster.JobLimit)
		return err
	})
	c.Shell(other.Path, "rmdir folder mounted")
	user.Must()
	c.Shell("/", `for i in $(seq 500); do
			message=$(stat `+part.Path+` 2>&1 >/dev/null) || case "$message" in *"Stale file handle"*) exit 0;; *) echo "$message"; exit 1;; esac
			sleep 0.02
		done
		echo "the mount of a folder that is gone answers for ever"; exit 1`)
}
