package locks

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/test/cluster"
)

func init() {
	cluster.Register("write under a lock", writeJob)
}

// writeJob locks a file, prints "held", waits for another file, and then writes to the
// first until that fails.
func writeJob(args []string) error {
	f, err := os.OpenFile(args[0], os.O_RDWR, 0)
	if err == nil {
		err = lockers["fcntl"](f, unix.F_WRLCK, true)
	}
	if err != nil {
		return err
	}
	fmt.Println("held")
	for {
		if _, err := os.Lstat(args[1]); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	for err == nil {
		if _, err = f.WriteAt([]byte("mine"), 0); err == nil {
			err = f.Sync()
		}
		time.Sleep(10 * time.Millisecond)
	}
	if !errors.Is(err, unix.EIO) {
		return err
	}
	fmt.Println("lost")
	return nil
}

// A mount that the master has not heard of for too long has lost its locks (L8), and who
// goes on writing under one is told.
func TestASilentMountIsToldOfItsLostLocks(t *testing.T) {
	c, files := two(t)
	goOn := filepath.Join(c.Dir, "go-on")
	writer := c.Job("write under a lock", files[0], goOn)
	printed(t, writer, "held\n")
	c.Mounts[0].Pause()
	waiter := hold(t, c, "fcntl", files[1])
	c.Mounts[0].Resume()
	c.Shell("/", "touch "+goOn)
	writer.Must()
	waiter.Kill()
}
