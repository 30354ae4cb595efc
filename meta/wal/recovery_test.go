package wal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/proto"
)

// written is a folder with so many entries in its log, one batch each, as after
// kill -9: without the checkpoint of Close.
func written(t testing.TB, opts Options, entries int) *disk.Mem {
	t.Helper()
	m := disk.NewMem()
	opts.FS = m
	g, _ := start(t, opts)
	propose(t, g, numbered(0, entries)...)
	clone := crash(m)
	must(t, g.Close())
	return clone
}

// withCheckpoints has checkpoints after 20 and 40 of 60 entries.
func withCheckpoints(t testing.TB) *disk.Mem {
	t.Helper()
	m := disk.NewMem()
	g, _ := start(t, tiny(m))
	for i := range 3 {
		propose(t, g, numbered(20*i, 20*i+20)...)
		if i < 2 {
			must(t, g.Checkpoint(context.Background()))
		}
	}
	clone := crash(m)
	must(t, g.Close())
	return clone
}

// recovered is what a start finds; a second start after that finds the same.
func recovered(t testing.TB, opts Options) []string {
	t.Helper()
	g, j := start(t, opts)
	first := j.list(t)
	again := opts
	again.FS = crash(opts.FS.(*disk.Mem)) // before Close adds a checkpoint
	must(t, g.Close())
	for _, o := range []Options{again, opts} {
		g, j := start(t, o)
		equal(t, j.list(t), first)
		must(t, g.Close())
	}
	return first
}

func warnings(opts *Options) *bytes.Buffer {
	var out bytes.Buffer
	opts.Logger = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelWarn}))
	return &out
}

func TestRecoveryFromLogAlone(t *testing.T) {
	m := written(t, tiny(nil), 200)
	if n := len(segmentFiles(t, m)); n < 5 {
		t.Fatalf("%d segments", n)
	}
	opts := tiny(m)
	out := warnings(&opts)
	equal(t, recovered(t, opts), numbered(0, 200))
	if out.Len() > 0 {
		t.Errorf("warnings: %s", out)
	}
}

func TestRecoveryFromCheckpointAndLog(t *testing.T) {
	m := withCheckpoints(t)
	j := &replayCounter{}
	g, err := Open(tiny(m), j)
	must(t, err)
	equal(t, j.list(t), numbered(0, 60))
	if j.applied != 20 {
		t.Errorf("%d records were replayed, want 20", j.applied)
	}
	must(t, g.Close())
}

type replayCounter struct {
	journal
	applied int
}

func (c *replayCounter) Apply(r Record) any {
	c.applied++
	return c.journal.Apply(r)
}

// G8: every byte of the newer checkpoint may be damaged; the older one serves.
func TestRecoveryFromTheOlderCheckpoint(t *testing.T) {
	m := withCheckpoints(t)
	newest := checkpointName(40)
	good := read(t, m, newest)
	for i := 0; i < len(good); i += 7 {
		clone := crash(m)
		bad := slices.Clone(good)
		bad[i] ^= 1 << (i % 8)
		write(t, clone, newest, bad)
		opts := tiny(clone)
		out := warnings(&opts)
		equal(t, recovered(t, opts), numbered(0, 60))
		if !strings.Contains(out.String(), newest) || !strings.Contains(out.String(), "damaged") {
			t.Fatalf("byte %d: no warning: %s", i, out)
		}
		if got := read(t, clone, newest+".damaged"); !bytes.Equal(got, bad) {
			t.Fatalf("byte %d: the damaged checkpoint was not kept", i)
		}
	}
	for size := 0; size < len(good); size += 13 {
		clone := crash(m)
		write(t, clone, newest, good[:size])
		equal(t, recovered(t, tiny(clone)), numbered(0, 60))
	}
	write(t, m, newest, append(slices.Clone(good), 0))
	equal(t, recovered(t, tiny(m)), numbered(0, 60))
}

func TestRecoveryWithEveryCheckpointDamaged(t *testing.T) {
	m := written(t, tiny(nil), 30)
	g, _ := start(t, tiny(m))
	must(t, g.Checkpoint(context.Background()))
	must(t, g.Close())
	write(t, m, checkpointName(30), []byte("nonsense"))
	withoutLog := crash(m)
	equal(t, recovered(t, tiny(m)), numbered(0, 30)) // the whole log is still there

	for _, name := range segmentFiles(t, withoutLog) {
		must(t, withoutLog.Remove("/meta/"+name))
	}
	refused(t, tiny(withoutLog), proto.Damaged, checkpointName(30)+" offset 0", "there is no log", "restore")

	m = withCheckpoints(t)
	write(t, m, checkpointName(20), []byte("nonsense"))
	write(t, m, checkpointName(40), []byte("nonsense"))
	g, _ = start(t, tiny(m)) // 20 was the first checkpoint, so no log was removed
	propose(t, g, numbered(60, 100)...)
	must(t, g.Checkpoint(context.Background()))
	propose(t, g, numbered(100, 150)...)
	must(t, g.Checkpoint(context.Background()))
	must(t, g.Close())
	write(t, m, checkpointName(100), []byte("nonsense"))
	write(t, m, checkpointName(150), []byte("nonsense"))
	refused(t, tiny(m), proto.Damaged, "records 1 to", "are missing", checkpointName(150)+" is damaged", "restore")
}

func TestOperatorGivesTheLogUp(t *testing.T) {
	m := withCheckpoints(t)
	for _, name := range segmentFiles(t, m) {
		must(t, m.Remove("/meta/"+name))
	}
	opts := tiny(m)
	out := warnings(&opts)
	equal(t, recovered(t, opts), numbered(0, 40))
	if !strings.Contains(out.String(), "there is no log") {
		t.Errorf("no warning: %s", out)
	}
	g, _ := start(t, tiny(m))
	propose(t, g, numbered(40, 50)...)
	must(t, g.Close())
	equal(t, recovered(t, tiny(m)), numbered(0, 50))
}

func TestMissingSegments(t *testing.T) {
	m := written(t, tiny(nil), 200)
	names := segmentFiles(t, m)
	for i, name := range names {
		clone := crash(m)
		must(t, clone.Remove("/meta/"+name))
		if i == len(names)-1 {
			// Nothing on disk tells that there was another: only a checkpoint could.
			if got := recovered(t, tiny(clone)); len(got) >= 200 || !slices.Equal(got, numbered(0, len(got))) {
				t.Errorf("%d entries", len(got))
			}
			continue
		}
		first, _ := parseName(name, "master-", ".log")
		refused(t, tiny(clone), proto.Damaged, names[i+1]+" offset 0", fmt.Sprintf("records %d to", first), "missing", "restore")
	}
}

func TestLogThatEndsBeforeTheCheckpoint(t *testing.T) {
	m := withCheckpoints(t)
	for _, name := range segmentFiles(t, m) {
		if first, _ := parseName(name, "master-", ".log"); first > 20 {
			must(t, m.Remove("/meta/"+name))
		}
	}
	refused(t, tiny(m), proto.Damaged, "the log ends after record", checkpointName(40), "offset", "move all master-*.log files elsewhere")
}

// A log may be cut anywhere, or end in zeros anywhere: what is left of it counts.
func TestTornTailAtEveryByte(t *testing.T) {
	m := written(t, tiny(nil), 8)
	name := segmentName(1)
	good := read(t, m, name)
	ends := append([]int{segmentHeader}, recordEnds(t, good)...)
	for size := range len(good) {
		whole := 0 // records
		for whole < 8 && ends[whole+1] <= size {
			whole++
		}
		cut, zeroed := crash(m), crash(m)
		write(t, cut, name, good[:size])
		write(t, zeroed, name, append(slices.Clone(good[:size]), make([]byte, len(good)-size)...))
		for _, clone := range []*disk.Mem{cut, zeroed} {
			opts := tiny(clone)
			out := warnings(&opts)
			if len(read(t, clone, name)) < segmentHeader || !bytes.HasPrefix(read(t, clone, name), good[:segmentHeader]) {
				refused(t, opts, proto.Damaged, name+" offset 0", "header", "restore")
				continue
			}
			equal(t, recovered(t, opts), numbered(0, whole))
			torn := size > ends[whole] && len(bytes.TrimRight(good[ends[whole]:size], "\x00")) > 0
			if torn != strings.Contains(out.String(), "torn tail") {
				t.Fatalf("size %d, torn %v, warnings: %s", size, torn, out)
			}
		}
	}
}

// recordEnds is the offset behind each record of a segment.
func recordEnds(t testing.TB, segment []byte) (ends []int) {
	t.Helper()
	for at := segmentHeader; ; {
		_, _, n, err := parseRecord(segment[at:])
		if err != nil {
			return ends
		}
		at += n
		ends = append(ends, at)
	}
}

// G8: after any flipped bit the log is cut at its tail or refused, never skipped.
func TestBitFlipAtEveryByte(t *testing.T) {
	const entries = 60
	m := written(t, tiny(nil), entries)
	names := segmentFiles(t, m)
	if len(names) < 3 {
		t.Fatalf("%d segments", len(names))
	}
	refusals := 0
	for s, name := range names {
		good := read(t, m, name)
		ends := recordEnds(t, good)
		for i := range good {
			if s > 0 && s < len(names)-1 && i%5 != 0 {
				continue
			}
			clone := crash(m)
			bad := slices.Clone(good)
			bad[i] ^= 1 << (i % 8)
			write(t, clone, name, bad)
			j := &journal{}
			g, err := Open(tiny(clone), j)
			if err != nil {
				refusals++
				if !errors.Is(err, proto.Damaged) || !strings.Contains(err.Error(), name+" offset ") {
					t.Fatalf("%s byte %d: %v", name, i, err)
				}
				continue
			}
			want := entries
			if last := s == len(names)-1; !last {
				t.Fatalf("%s byte %d: damage before synced records was passed over", name, i)
			} else if i < ends[len(ends)-1] {
				want-- // only the last batch has no proof that it was synced
				if i < ends[len(ends)-2] {
					t.Fatalf("%s byte %d: damage before synced records was passed over", name, i)
				}
			}
			equal(t, j.list(t), numbered(0, want))
			must(t, g.Close())
		}
	}
	if refusals < 1000 {
		t.Errorf("only %d refusals", refusals)
	}
}

// A damaged record that a checkpoint proves to have been durable is no torn tail,
// even at the end of the log.
func TestDamageThatACheckpointProves(t *testing.T) {
	m := disk.NewMem()
	g, _ := start(t, tiny(m))
	propose(t, g, numbered(0, 5)...)
	must(t, g.Close())
	data := read(t, m, segmentName(1))
	ends := recordEnds(t, data)
	data[ends[3]+20] ^= 1
	write(t, m, segmentName(1), data)
	refused(t, tiny(m), proto.Damaged, fmt.Sprintf("%s offset %d", segmentName(1), ends[3]), "where record 5 should be", "go on from "+checkpointName(5))
	must(t, m.Remove("/meta/"+segmentName(1))) // as the error says
	equal(t, recovered(t, tiny(m)), numbered(0, 5))
}

// The records of a batch reach the disk in any order: the later ones of a torn
// batch must not come back when new records are written in front of them.
func TestRestOfATornBatchDoesNotComeBack(t *testing.T) {
	m := written(t, tiny(nil), 3)
	data := read(t, m, segmentName(1))
	end := recordEnds(t, data)[2]
	entry := func(i int, text string) []byte {
		return appendRecord(nil, Record{Op: 1, Index: uint64(4 + i), Term: 1, Data: []byte(text)}, 3)
	}
	first, second := entry(0, "torn"), entry(1, "stale")
	for _, hole := range []int{1, len(first)} { // of the first record, sectors that did not arrive
		clone := crash(m)
		batch := append(slices.Clone(first), second...)
		clear(batch[:hole])
		write(t, clone, segmentName(1), slices.Concat(data[:end], batch, data[end+len(batch):]))
		g, j := start(t, tiny(clone))
		equal(t, j.list(t), numbered(0, 3))
		propose(t, g, "new!")
		after := crash(clone)
		must(t, g.Close())
		equal(t, recovered(t, tiny(after)), append(numbered(0, 3), "new!"))
	}
}

func TestNewerFormatIsRefused(t *testing.T) {
	m := written(t, tiny(nil), 3)
	good := read(t, m, segmentName(1))
	data := slices.Clone(good)
	binary.LittleEndian.PutUint32(data[8:], segmentVersion+1)
	binary.LittleEndian.PutUint32(data[28:], crc32.Checksum(data[:28], castagnoli))
	write(t, m, segmentName(1), data)
	refused(t, tiny(m), proto.NewerFormat, segmentName(1), "format version 2", "start the program that wrote it")

	m = withCheckpoints(t)
	data = read(t, m, checkpointName(40))
	binary.LittleEndian.PutUint32(data[8:], checkpointVersion+1)
	binary.LittleEndian.PutUint32(data[60:], crc32.Checksum(data[:60], castagnoli))
	write(t, m, checkpointName(40), data)
	refused(t, tiny(m), proto.NewerFormat, checkpointName(40), "format version 2")
}

func TestRefusedStartChangesNothing(t *testing.T) {
	m := withCheckpoints(t)
	damaged := segmentName(1)
	data := read(t, m, damaged)
	data[100] ^= 1
	write(t, m, damaged, data)
	write(t, m, checkpointName(40), []byte("nonsense"))
	write(t, m, checkpointName(20), []byte("nonsense"))
	write(t, m, checkpointName(60)+temporary, []byte("unfinished"))
	before := map[string]string{}
	for _, name := range files(t, m) {
		before[name] = string(read(t, m, name))
	}
	refused(t, tiny(m), proto.Damaged, damaged)
	if after := files(t, m); len(after) != len(before) {
		t.Errorf("files %v", after)
	}
	for name, content := range before {
		if string(read(t, m, name)) != content {
			t.Errorf("%s was changed", name)
		}
	}
}

func TestLeftoversAreRemoved(t *testing.T) {
	m := written(t, tiny(nil), 3)
	write(t, m, checkpointName(3)+temporary, []byte("half a checkpoi"))
	write(t, m, segmentName(4)+temporary, nil)
	write(t, m, "notes.tmp", []byte("not ours"))
	g, j := start(t, tiny(m))
	equal(t, j.list(t), numbered(0, 3))
	if got := files(t, m); !slices.Equal(got, []string{segmentName(1), "notes.tmp"}) {
		t.Errorf("files %v", got)
	}
	must(t, g.Close())
}

func TestUnreadableDiskIsNotATornTail(t *testing.T) {
	m := written(t, tiny(nil), 20)
	remove := m.Inject(disk.Fault{Op: disk.OpRead, Path: "*.log", Times: 1})
	if _, err := Open(tiny(m), &journal{}); !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), segmentName(1)) {
		t.Errorf("open: %v", err)
	}
	remove()
	equal(t, recovered(t, tiny(m)), numbered(0, 20))
}

func TestRecordThatTheMachineRefuses(t *testing.T) {
	m := written(t, tiny(nil), 5)
	_, err := Open(tiny(m), &journal{refuse: numbered(3, 4)[0]})
	if !errors.Is(err, proto.Malformed) || !strings.Contains(err.Error(), "record 4, op 1") || !strings.Contains(err.Error(), segmentName(1)) {
		t.Errorf("open: %v", err)
	}
}

func TestOpenMakesItsFolder(t *testing.T) {
	opts := tiny(disk.NewMem())
	opts.Dir = "/a/b/c"
	g, _ := start(t, opts)
	propose(t, g, "x")
	clone := opts.FS.(*disk.Mem).CrashClone(0) // whatever the seed: the folder is durable
	must(t, g.Close())
	opts.FS = clone
	g, j := start(t, opts)
	equal(t, j.list(t), []string{"x"})
	must(t, g.Close())
	if _, err := Open(Options{}, &journal{}); !errors.Is(err, proto.Invalid) {
		t.Errorf("no folder: %v", err)
	}
}

func TestOnRealDisk(t *testing.T) {
	opts := tiny(nil)
	opts.FS, opts.Dir = disk.OS, t.TempDir()
	for round := range 3 {
		g, j := start(t, opts)
		equal(t, j.list(t), numbered(0, 100*round))
		propose(t, g, numbered(100*round, 100*round+100)...)
		if round == 1 {
			must(t, g.Checkpoint(context.Background()))
		}
		must(t, g.Close())
	}
	list, err := os.ReadDir(opts.Dir)
	must(t, err)
	checkpoints := 0
	for _, e := range list {
		if strings.HasPrefix(e.Name(), checkpointPrefix) {
			checkpoints++
		}
	}
	if checkpoints != 2 {
		t.Errorf("%d checkpoints", checkpoints)
	}
}
