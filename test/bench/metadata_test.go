package bench

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/distrifs/distrifs/test/cluster"
)

// How many calls each process of a storm makes.
var calls = map[int]int{1: 5000, 8: 1000}

// head start of the processes of a storm: all begin at one moment.
const headStart = 500 * time.Millisecond

func init() { cluster.Register("metadata", metadataCalls) }

// operations of a storm, on the n-th name of a process. They run in this order:
// each needs what those before it left.
var operations = map[string]func(name string) error{
	"mkdir":  func(name string) error { return os.Mkdir(name+".d", 0o755) },
	"create": func(name string) error { return create(name, nil) },
	"stat":   func(name string) error { _, err := os.Lstat(name); return err },
	"rename": func(name string) error { return os.Rename(name, name+".r") },
	"unlink": func(name string) error { return os.Remove(name + ".r") },
	"small":  func(name string) error { return create(name+".s", block) },
}

var block = make([]byte, 4096)

func create(name string, content []byte) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		return err
	}
	return f.Close()
}

// metadataCalls is a process of a storm. Its arguments: operation, folder, number
// of calls, and when to begin, in nanoseconds of Unix time. It prints when its
// first call began and its last ended.
func metadataCalls(args []string) error {
	operation, folder := operations[args[0]], args[1]
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	begin, err := strconv.ParseInt(args[3], 10, 64)
	if err != nil {
		return err
	}
	if _, err := rand.Read(block); err != nil {
		return err
	}
	time.Sleep(time.Until(time.Unix(0, begin)))
	first := time.Now()
	for i := range n {
		if err := operation(filepath.Join(folder, fmt.Sprintf("f%06d", i))); err != nil {
			return err
		}
	}
	_, err = fmt.Println(first.UnixNano(), time.Now().UnixNano())
	return err
}

// storm has processes make the same call in a folder each, all at once, and gives
// calls a second from the first that began to the last that ended.
func storm(operation string, processes int) func(*testing.B, *stage) float64 {
	return func(b *testing.B, s *stage) float64 {
		n := calls[processes]
		begin := strconv.FormatInt(time.Now().Add(headStart).UnixNano(), 10)
		var jobs []*cluster.Job
		for p := range processes {
			folder := filepath.Join(s.m.Path, fmt.Sprintf("storm-%d-%d", processes, p))
			if operation == "mkdir" {
				s.c.Command("/", "mkdir", folder).Must()
			}
			jobs = append(jobs, s.c.Job("metadata", operation, folder, strconv.Itoa(n), begin))
		}
		var first, last int64
		for _, job := range jobs {
			out, err := job.Wait(workLimit)
			if err != nil {
				b.Fatalf("%s: %v\n%s", operation, err, out)
			}
			var began, ended int64
			if _, err := fmt.Sscan(strings.TrimSpace(out), &began, &ended); err != nil {
				b.Fatalf("%s printed %q: %v", operation, out, err)
			}
			if first == 0 || began < first {
				first = began
			}
			last = max(last, ended)
		}
		return float64(processes*n) / (float64(last-first) / 1e9)
	}
}
