package state

import (
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/distrifs/distrifs/internal/cputime"
	"github.com/distrifs/distrifs/proto"
)

var benchFiles = flag.String("files", "10000,1000000,10000000", "how many files BenchmarkFiles has, one after the other; 100 million take 10 GB")

// BenchmarkFiles shows what the number of files costs: the memory of each, the time of
// every operation on random ones, of a collection, of a checkpoint and of a restart.
func BenchmarkFiles(b *testing.B) {
	if testing.Short() {
		b.Skip("needs 2 GiB and a minute")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(10))
	for _, count := range strings.Split(*benchFiles, ",") {
		b.Run(count, func(b *testing.B) {
			files, err := strconv.Atoi(count)
			if err != nil {
				b.Fatal(err)
			}
			all := newBulk(files)
			b.Run("memory", all.benchMemory)
			b.Run("reads", all.benchReads)
			b.Run("changes", all.benchChanges)
			b.Run("checkpoint", all.benchCheckpoint)
			checkpoint := all.save(b)
			all = nil // a second state has its room
			b.Run("load", func(b *testing.B) { benchLoad(b, checkpoint, files) })
		})
	}
}

// benchMemory is a garbage collection, and what a file takes.
func (s *bulk) benchMemory(b *testing.B) {
	for range b.N {
		runtime.GC()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "gc-ms")
	b.ReportMetric(float64(s.bytes)/float64(s.files), "bytes/file")
	each := func(bytes uint64) float64 { return float64(bytes) / float64(s.files) }
	m := s.Stats().Memory
	b.Logf("of them: inodes %.1f, chunks %.1f, names and tries %.1f, directories %.1f", each(m.Inodes), each(m.Chunks), each(m.Arena), each(m.Directories))
}

// benchBatch is how many files a batch of operations takes; an operation of the benchmark
// is a batch.
const benchBatch = 10_000

// stopwatch adds up the processor time that the kinds of operations take.
type stopwatch struct {
	b     *testing.B
	spent map[string]time.Duration
}

func newStopwatch(b *testing.B) *stopwatch {
	runtime.LockOSThread()
	return &stopwatch{b, map[string]time.Duration{}}
}

// times does an operation for each of a batch.
func (w *stopwatch) times(what string, operation func(i int) proto.Kind) {
	start := cputime.Thread()
	for i := range benchBatch {
		if kind := operation(i); kind != proto.OK {
			w.b.Fatalf("%s: %v", what, kind)
		}
	}
	w.spent[what] += cputime.Thread() - start
}

func (w *stopwatch) report() {
	runtime.UnlockOSThread()
	for what, spent := range w.spent {
		w.b.ReportMetric(float64(spent.Nanoseconds())/benchBatch/float64(w.b.N), what+"-cpu-ns")
	}
}

func (s *bulk) benchReads(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	w := newStopwatch(b)
	names, picks := make([][]byte, benchBatch), make([]int, benchBatch)
	for range b.N {
		for i := range picks {
			picks[i] = r.IntN(s.files)
			names[i] = bulkName(picks[i])
		}
		w.times("lookup", func(i int) proto.Kind {
			_, kind := s.Lookup(s.dir(picks[i]), names[i], bulkUser)
			return kind
		})
		for i := range picks {
			picks[i] = r.IntN(s.files)
		}
		w.times("stat", func(i int) proto.Kind {
			_, kind := s.Attr(s.inodes[picks[i]])
			return kind
		})
	}
	w.report()
}

// benchChanges makes files in random directories, and takes them away again.
func (s *bulk) benchChanges(b *testing.B) {
	r := rand.New(rand.NewPCG(3, 4))
	w := newStopwatch(b)
	header := Header{Cred: bulkUser, Now: bulkTime}
	names, dirs, files, chunks := make([][]byte, benchBatch), make([]proto.InodeID, benchBatch), make([]proto.InodeID, benchBatch), make([]proto.ChunkID, benchBatch)
	for i := range names {
		names[i] = fmt.Appendf(nil, "more-%011d", i)
	}
	for range b.N {
		for i := range dirs {
			dirs[i] = s.dirs[r.IntN(len(s.dirs))]
		}
		w.times("create", func(i int) proto.Kind {
			r := s.Apply(0, &Make{Header: header, Parent: dirs[i], Name: names[i], Mode: typeFile | 0o644})
			files[i] = r.Inode
			return r.Kind
		})
		w.times("assign", func(i int) proto.Kind {
			r := s.Apply(0, &AssignChunks{Header: header, Inode: files[i], Chains: [][]proto.NodeID{bulkChain(i)}})
			chunks[i] = r.Chunks[0].ID
			return r.Kind
		})
		w.times("commit", func(i int) proto.Kind {
			return s.Apply(0, &Commit{Header: header, Inode: files[i], Size: 1000, Chunks: chunks[i : i+1], Mtime: header.Now}).Kind
		})
		w.times("rename", func(i int) proto.Kind {
			return s.Apply(0, &Rename{Header: header, Parent: dirs[i], Name: names[i], NewParent: dirs[benchBatch-1-i], NewName: names[i]}).Kind
		})
		w.times("unlink", func(i int) proto.Kind {
			return s.Apply(0, &Unlink{Header: header, Parent: dirs[benchBatch-1-i], Name: names[i]}).Kind
		})
		w.times("reap", func(i int) proto.Kind { return s.Apply(0, &Reap{Inodes: files[i : i+1]}).Kind })
	}
	w.report()
}

// benchCheckpoint: nobody waits more than 20 ms, neither for the snapshot nor for a
// command while the checkpoint is written. Elapsed time contains what other processes
// take of the machine; -cpu-ms is what the slowest command did itself.
func (s *bulk) benchCheckpoint(b *testing.B) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var hold, slowest, slowestCPU, write, writeCPU time.Duration
	var over, commands int
	var size int64
	for range b.N {
		start := time.Now()
		sn := s.Snapshot()
		hold = max(hold, time.Since(start))
		done := make(chan int64)
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			before := cputime.Thread()
			n, _ := sn.WriteTo(io.Discard)
			writeCPU += cputime.Thread() - before
			done <- n
		}()
		for i, writing := 0, true; writing; i++ {
			select {
			case size = <-done:
				writing = false
			default:
				before, beforeCPU := time.Now(), cputime.Thread()
				s.Apply(0, &SetAttr{Inode: s.inodes[i*7919%s.files], Set: SetMode, Mode: 0o644})
				slowestCPU = max(slowestCPU, cputime.Thread()-beforeCPU)
				took := time.Since(before)
				slowest = max(slowest, took)
				commands++
				if took > 20*time.Millisecond {
					over++
				}
			}
		}
		write += time.Since(start)
	}
	b.ReportMetric(float64(hold.Microseconds())/1000, "snapshot-hold-ms")
	b.ReportMetric(float64(slowest.Microseconds())/1000, "slowest-command-ms")
	b.ReportMetric(float64(slowestCPU.Microseconds())/1000, "slowest-command-cpu-ms")
	b.ReportMetric(float64(over)/float64(commands)*1e6, "over-20ms-ppm")
	b.ReportMetric(write.Seconds()/float64(b.N), "write-s")
	b.ReportMetric(writeCPU.Seconds()/float64(b.N), "write-cpu-s")
	b.ReportMetric(float64(size)/(1<<20), "checkpoint-MiB")
}

// save writes a checkpoint into a file.
func (s *bulk) save(b *testing.B) *os.File {
	file, err := os.Create(b.TempDir() + "/checkpoint")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { file.Close() })
	if _, err := s.Snapshot().WriteTo(file); err != nil {
		b.Fatal(err)
	}
	return file
}

func benchLoad(b *testing.B, checkpoint *os.File, files int) {
	var spent time.Duration
	for range b.N {
		runtime.GC()
		before := cputime.Process()
		if _, err := checkpoint.Seek(0, io.SeekStart); err != nil {
			b.Fatal(err)
		}
		if _, err := Load(checkpoint); err != nil {
			b.Fatal(err)
		}
		spent += cputime.Process() - before
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "load-s")
	b.ReportMetric(spent.Seconds()/float64(b.N), "load-cpu-s")
	b.ReportMetric(float64(b.N)*float64(files)/b.Elapsed().Seconds(), "files/s")
}

// BenchmarkDecode reads the command that is most frequent.
func BenchmarkDecode(b *testing.B) {
	payload := (&Make{Parent: 1, Name: bulkName(1), Mode: typeFile, Chain: []proto.NodeID{1, 2, 3}}).Encode(nil)
	b.SetBytes(int64(len(payload)))
	for range b.N {
		if _, err := Decode(OpMake, payload); err != nil {
			b.Fatal(err)
		}
	}
}
