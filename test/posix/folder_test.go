package posix

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/test/cluster"
)

var folderEntries = flag.Int("folder.entries", 20_000, "entries of the big folder; with a million and more the memory that listing takes is checked too")

// maxListing is by how much the memory of master and mount may grow while a folder of any
// size is listed, in bytes.
const maxListing = 128 << 20

func init() {
	cluster.Register("fill", fillJob)
	cluster.Register("churn", churnJob)
	cluster.Register("walk", walkJob)
}

// TestBigFolder lists a folder while names come and go through another mount (L17).
func TestBigFolder(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Memory: true})
	one, two := c.Mount(), c.Mount()
	n := strconv.Itoa(*folderEntries)
	limit := cluster.JobLimit + time.Duration(*folderEntries)*time.Millisecond
	do := func(function string, args ...string) {
		t.Helper()
		start := time.Now()
		out, err := c.Job(function, args...).Wait(limit)
		if err != nil {
			t.Fatalf("%s: %v: %s", function, err, out)
		}
		t.Logf("%s took %v: %s; resident: master %d MiB, mounts %d and %d MiB", function, time.Since(start).Round(time.Millisecond),
			strings.TrimSpace(out), resident(t, c.Master)>>20, resident(t, one.Process)>>20, resident(t, two.Process)>>20)
	}
	c.Shell(one.Path, "mkdir big")
	do("fill", c.Master.Address, "/big", n)
	before := []int64{resident(t, c.Master), resident(t, two.Process)}
	churn := c.Job("churn", one.Path+"/big", c.Dir+"/enough")
	do("walk", two.Path+"/big", n)
	for i, p := range []*cluster.Process{c.Master, two.Process} {
		if grown := resident(t, p) - before[i]; *folderEntries >= 1_000_000 && grown > maxListing {
			t.Errorf("%s took %d MiB for the listing", p.Name, grown>>20)
		}
	}
	c.Shell(c.Dir, "touch enough")
	t.Logf("meanwhile: %s", strings.TrimSpace(churn.Must()))
	do("walk", one.Path+"/big", n)
}

// resident is the memory of a process in bytes.
func resident(t *testing.T, p *cluster.Process) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := bytes.Cut(text, []byte("VmRSS:"))
	var kilobytes int64
	if _, err := fmt.Sscan(string(line), &kilobytes); err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}

// fillJob makes entries in a folder, many at once: not through a mount, where the kernel
// lets one call at a time change a folder.
func fillJob(args []string) error {
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	ctx := context.Background()
	c, err := client.Dial(ctx, args[0], client.Options{})
	if err != nil {
		return err
	}
	defer c.Close()
	dir, err := c.Stat(ctx, args[1])
	if err != nil {
		return err
	}
	const workers = 64
	var group sync.WaitGroup
	failed := make([]error, workers)
	for w := range workers {
		group.Go(func() {
			for i := w; i < n && failed[w] == nil; i += workers {
				_, failed[w] = c.Mknod(ctx, client.Cred{}, dir.Inode, fmt.Sprintf("stays-%07d", i), unix.S_IFREG|0o644, 0)
			}
		})
	}
	group.Wait()
	return errors.Join(failed...)
}

// churnJob makes, renames and removes names until a file exists.
func churnJob(args []string) error {
	for i := 0; ; i++ {
		if _, err := os.Stat(args[1]); err == nil {
			fmt.Println(i, "names came and went")
			return nil
		}
		name, other := fmt.Sprintf("%s/comes-%d", args[0], i), fmt.Sprintf("%s/goes-%d", args[0], i)
		err := unix.Mknod(name, unix.S_IFREG|0o644, 0)
		if err == nil {
			err = unix.Rename(name, other)
		}
		if err == nil && i >= 100 { // a hundred of them are there at any time
			err = unix.Unlink(fmt.Sprintf("%s/goes-%d", args[0], i-100))
		}
		if err != nil {
			return err
		}
	}
}

// dirent is an entry with the offset that readdir goes on behind.
type dirent struct {
	name   string
	offset int64
}

// entries reads some entries behind the offset of an open folder: none at the end.
func entries(fd int, buffer []byte) (list []dirent, err error) {
	n, err := unix.Getdents(fd, buffer)
	if err != nil {
		return nil, err
	}
	for rest := buffer[:n]; len(rest) > 0; {
		length := binary.NativeEndian.Uint16(rest[16:])
		name, _, _ := bytes.Cut(rest[19:length], []byte{0})
		list = append(list, dirent{string(name), int64(binary.NativeEndian.Uint64(rest[8:]))})
		rest = rest[length:]
	}
	return list, nil
}

// walkJob lists a folder: everything that stays exactly once, and then again from places
// in the middle.
func walkJob(args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	fd, err := unix.Open(args[0], unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	start := time.Now()
	seen, others, places, err := walk(fd, n)
	if err != nil {
		return err
	}
	for i, times := range seen {
		if times != 1 {
			return fmt.Errorf("stays-%07d came %d times", i, times)
		}
	}
	for name, times := range others {
		if times != 1 {
			return fmt.Errorf("%s came %d times", name, times)
		}
	}
	fmt.Printf("%d entries in %v; ", n+len(others), time.Since(start).Round(time.Millisecond))
	if err := seek(fd, places); err != nil {
		return err
	}
	return rewind(fd, args[0])
}

// place is an offset, and a name that came behind it.
type place struct {
	offset int64
	name   string
}

// walk lists an open folder from its start. The places have names that stay.
func walk(fd, n int) (seen []uint8, others map[string]int, places []place, err error) {
	seen, others = make([]uint8, n), map[string]int{}
	offset := int64(0)
	for buffer := make([]byte, 32<<10); ; {
		list, err := entries(fd, buffer)
		if err != nil || len(list) == 0 {
			return seen, others, places, err
		}
		for i, entry := range list {
			number, ok := strings.CutPrefix(entry.name, "stays-")
			if !ok {
				others[entry.name]++
			} else {
				index, err := strconv.Atoi(number)
				if err != nil || index >= n {
					return nil, nil, nil, fmt.Errorf("a name that nobody made: %s", entry.name)
				}
				seen[index]++
				if i%100 == 1 {
					places = append(places, place{offset, entry.name})
				}
			}
			offset = entry.offset
		}
	}
}

// seek goes back to places in any order. What stays is found behind each, after some that
// came meanwhile.
func seek(fd int, places []place) error {
	rand.Shuffle(len(places), func(i, j int) { places[i], places[j] = places[j], places[i] })
	buffer := make([]byte, 4096)
	for _, p := range places[:min(len(places), 200)] {
		if _, err := unix.Seek(fd, p.offset, unix.SEEK_SET); err != nil {
			return err
		}
		list, err := entries(fd, buffer)
		if err != nil {
			return err
		}
		for len(list) > 0 && !strings.HasPrefix(list[0].name, "stays-") {
			list = list[1:]
		}
		if len(list) == 0 || list[0].name != p.name {
			return fmt.Errorf("behind offset %d there was %s, and now there is %v", p.offset, p.name, list)
		}
	}
	return nil
}

// rewind finds a name that was made after the folder had been opened.
func rewind(fd int, dir string) error {
	name := fmt.Sprintf("new-%d", os.Getpid())
	if err := unix.Mkdir(dir+"/"+name, 0o755); err != nil {
		return err
	}
	if _, err := unix.Seek(fd, 0, unix.SEEK_SET); err != nil {
		return err
	}
	for buffer := make([]byte, 32<<10); ; {
		list, err := entries(fd, buffer)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return fmt.Errorf("%s is not listed after rewinddir", name)
		}
		for _, entry := range list {
			if entry.name == name {
				return nil
			}
		}
	}
}
