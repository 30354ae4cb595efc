package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/distrifs/distrifs/test/cluster"
)

// The tests here mount a whole cluster of real processes.

func TestInTheBackground(t *testing.T) {
	c := cluster.Start(t, cluster.Options{})
	dir := filepath.Join(c.Dir, "folder with space")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(c.Dir, "background.log")
	mount := func() error {
		out, err := c.Command(c.Dir, cluster.Binary(t, "distrifs-mount"), "--log-file", log, c.Master.Address, filepath.Base(dir)).Wait(cluster.StartLimit)
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	if err := mount(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Command("/", "umount", "-l", dir).Wait(cluster.StopLimit) })
	c.Shell(dir, "echo hello >file; grep hello file") // the mount answers as soon as the program has returned
	if err := mount(); err == nil || !strings.Contains(err.Error(), "busy") || !strings.Contains(err.Error(), dir) {
		t.Errorf("a second mount in the same place: %v", err)
	}
	c.Command("/", "umount", dir).Must()
	cluster.Until(t, cluster.StopLimit, "the process in the background says goodbye", func() error {
		text, err := os.ReadFile(log)
		if err == nil && !strings.Contains(string(text), "msg=unmounted") {
			err = fmt.Errorf("its log is %s", text)
		}
		return err
	})
}

func TestASubfolderReadOnly(t *testing.T) {
	c := cluster.Start(t, cluster.Options{})
	m := c.Mount()
	c.Shell(m.Path, "mkdir -p a/b; echo inner >a/b/file")
	sub := c.NewMount("-o", "ro,fsname=subfolder")
	sub.Args[len(sub.Args)-2] += ":/a"
	sub.Launch()
	sub.WaitReady()
	c.Shell(sub.Path, `grep inner b/file; test "$(ls -a | xargs)" = ". .. b"
		! touch b/new 2>&1 | grep -q "Read-only"
		test "$(stat -c %i .)" = "$(stat -c %i `+m.Path+`/a)"
		test "$(df --output=source . | tail -1)" = subfolder
		cd b; test "$(ls -di ..)" = "$(ls -di `+sub.Path+` | sed 's| .*| ..|')"`)
}

// With leases and without, and where one mount has none.
func TestAnOpenSeesWhatWasClosedElsewhere(t *testing.T) {
	c := cluster.Start(t, cluster.Options{ChunkSize: 1 << 20})
	plain, other := c.Mount("-o", "no-leases").Path, c.Mount("-o", "no-leases").Path
	closedAndOpened(c, plain, other)
	c.Shell(plain, "rm log file")
	closedAndOpened(c, plain, c.Mount().Path)
}

func closedAndOpened(c *cluster.Cluster, a, b string) {
	// Before each change the other mount has just looked, and caches what it can.
	c.Shell("/", `set -u
		for i in $(seq 30); do
			cat `+b+`/log `+b+`/file >/dev/null 2>&1 || true
			echo "a $i" >>`+a+`/log
			test "$(tail -n 1 `+b+`/log)" = "a $i" || { echo "append $i of a not seen"; exit 1; }
			echo "b $i" >>`+b+`/log
			test "$(tail -n 1 `+a+`/log)" = "b $i" || { echo "append $i of b not seen"; exit 1; }
			head -c $((i * 79190 % 3000000)) /dev/urandom >`+a+`/file
			cmp `+a+`/file `+b+`/file
			test $(stat -c %s `+a+`/file) = $(stat -c %s `+b+`/file)
		done
		test $(wc -l <`+a+`/log) = 60`)
}

func TestAStopSavesWhatIsWrittenThoughTheMountIsInUse(t *testing.T) {
	c := cluster.Start(t, cluster.Options{})
	m := c.Mount()
	ready := filepath.Join(c.Dir, "ready")
	user := c.Command(m.Path, "bash", "-c", "exec 3>open; head -c 3000000 /dev/zero >&3; echo end >&3; touch "+ready+"; sleep 1000")
	cluster.Until(t, cluster.JobLimit, "the file is written", func() error {
		_, err := os.Stat(ready)
		return err
	})
	m.Stop()
	user.Kill()
	m.Launch()
	m.WaitReady()
	c.Shell(m.Path, `test $(stat -c %s open) = 3000004; test "$(tail -c 4 open)" = end`)
}

func TestADeadMountIsTakenOver(t *testing.T) {
	c := cluster.Start(t, cluster.Options{})
	m := c.Mount()
	c.Shell(m.Path, "echo before >file")
	for range 2 {
		m.Kill()
		if out, err := c.Command("/", "stat", m.Path).Wait(cluster.JobLimit); err == nil {
			t.Fatalf("a dead mount answers: %s", out)
		}
		m.Launch()
		m.WaitReady()
		c.Shell(m.Path, "grep before file")
	}
}
