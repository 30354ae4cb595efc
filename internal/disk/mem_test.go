package disk

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
)

// seen collects what CrashClone can leave over many seeds.
func seen(m *Mem, look func(clone *Mem) string) map[string]bool {
	all := map[string]bool{}
	for seed := range uint64(500) {
		all[look(m.CrashClone(seed))] = true
	}
	return all
}

func expect(t *testing.T, got map[string]bool, want ...string) {
	t.Helper()
	wanted := map[string]bool{}
	for _, w := range want {
		wanted[w] = true
		if !got[w] {
			t.Errorf("no crash left %q", w)
		}
	}
	for g := range got {
		if !wanted[g] {
			t.Errorf("a crash left %q", g)
		}
	}
}

func text(t *testing.T, m *Mem, name string) string {
	data, err := ReadFile(m, name, 1<<20)
	if errors.Is(err, os.ErrNotExist) {
		return "none"
	}
	must(t, err)
	return string(data)
}

func TestCrashKeepsWhatWasSynced(t *testing.T) {
	m := NewMem()
	f := open(t, m, "/f")
	f.WriteAt([]byte("old"), 0)
	must(t, f.Sync())
	look := func(c *Mem) string { return text(t, c, "/f") }
	expect(t, seen(m, look), "none", "old") // the bytes are durable, the name is not
	must(t, m.SyncDir("/"))
	expect(t, seen(m, look), "old")
	f.WriteAt([]byte("new"), 0)
	expect(t, seen(m, look), "old", "new")
	must(t, f.Sync())
	expect(t, seen(m, look), "new")
}

func TestCrashTearsBetweenSectors(t *testing.T) {
	m := NewMem()
	f := open(t, m, "/f")
	must(t, f.Truncate(3*sectorSize))
	must(t, f.Sync())
	must(t, m.SyncDir("/"))
	f.WriteAt(bytes.Repeat([]byte{1}, 3*sectorSize), 0)
	var want []string
	for bits := range 8 {
		want = append(want, fmt.Sprintf("%03b", bits))
	}
	expect(t, seen(m, func(c *Mem) string {
		data := text(t, c, "/f")
		pattern := ""
		for i := 0; i < len(data); i += sectorSize {
			sector := data[i : i+sectorSize]
			if strings.Count(sector, sector[:1]) != sectorSize {
				t.Fatal("a torn sector")
			}
			pattern += fmt.Sprint(sector[0])
		}
		return pattern
	}), want...)
}

func TestCrashOfSizes(t *testing.T) {
	m := NewMem()
	f := open(t, m, "/f")
	f.WriteAt([]byte("abc"), 0)
	must(t, f.Sync())
	must(t, m.SyncDir("/"))
	f.WriteAt([]byte("d"), 3)
	look := func(c *Mem) string { return text(t, c, "/f") }
	expect(t, seen(m, look), "abc", "abcd", "abc\x00")
	must(t, f.Sync())
	must(t, f.Truncate(1))
	expect(t, seen(m, look), "a", "abcd", "a\x00\x00\x00")
	clone := m.CrashClone(1)
	g := open(t, clone, "/f")
	must(t, g.Truncate(0))
	must(t, g.Truncate(4))
	if got := text(t, clone, "/f"); got != "\x00\x00\x00\x00" {
		t.Errorf("bytes from beyond the end came back: %q", got)
	}
}

func TestCrashOfNames(t *testing.T) {
	m := NewMem()
	look := func(c *Mem) string { return names(t, c, "/") }
	open(t, m, "/a")
	open(t, m, "/b")
	expect(t, seen(m, look), "", "a", "b", "a b")
	must(t, m.SyncDir("/"))
	must(t, m.Rename("/a", "/c"))
	expect(t, seen(m, look), "a b", "b c") // a rename is atomic
	must(t, m.Remove("/c"))
	expect(t, seen(m, look), "a b", "b c", "b")
	must(t, m.SyncDir("/"))
	expect(t, seen(m, look), "b")
}

func TestRenameBetweenDirectoriesIsAtomic(t *testing.T) {
	m := NewMem()
	must(t, m.MkdirAll("/tmp", 0o755))
	must(t, m.MkdirAll("/data", 0o755))
	open(t, m, "/tmp/x")
	must(t, m.SyncDir("/"))
	must(t, m.SyncDir("/tmp"))
	look := func(c *Mem) string { return names(t, c, "/tmp") + ":" + names(t, c, "/data") }
	must(t, m.Rename("/tmp/x", "/data/x"))
	expect(t, seen(m, look), "x:", ":x")
	must(t, m.SyncDir("/data"))
	expect(t, seen(m, look), ":x")
}

func TestDirectoryNeedsItsParentSynced(t *testing.T) {
	m := NewMem()
	must(t, m.Mkdir("/d", 0o755))
	open(t, m, "/d/f")
	must(t, m.SyncDir("/d"))
	expect(t, seen(m, func(c *Mem) string { return names(t, c, "/") }), "", "d")
	must(t, m.SyncDir("/"))
	expect(t, seen(m, func(c *Mem) string { return names(t, c, "/d") }), "f")
}

func TestReplaceFileSurvivesCrashes(t *testing.T) {
	m := NewMem()
	must(t, ReplaceFile(m, "/id", []byte("first"), 0o644))
	calls := 0
	m.SetHook(func(op Op, name string) error {
		calls++
		for got := range seen(m, func(c *Mem) string { return text(t, c, "/id") }) {
			if got != "first" && got != "second" {
				t.Errorf("before %s %s a crash left %q", op, name, got)
			}
		}
		return nil
	})
	must(t, ReplaceFile(m, "/id", []byte("second"), 0o644))
	m.SetHook(nil)
	expect(t, seen(m, func(c *Mem) string { return text(t, c, "/id") }), "second")
	if calls < 5 {
		t.Errorf("only %d calls were watched", calls)
	}
}

func TestCloneDependsOnSeedAlone(t *testing.T) {
	m := NewMem()
	for i := range 10 {
		f := open(t, m, fmt.Sprint("/", i))
		f.WriteAt(bytes.Repeat([]byte{7}, 5000), 100)
	}
	look := func(c *Mem) string {
		all := names(t, c, "/")
		for name := range strings.FieldsSeq(all) {
			all += text(t, c, "/"+name)
		}
		return all
	}
	for seed := range uint64(50) {
		if first, second := look(m.CrashClone(seed)), look(m.CrashClone(seed)); first != second {
			t.Fatalf("seed %d gives two clones", seed)
		}
	}
	if n := len(seen(m, look)); n < 100 {
		t.Errorf("500 seeds give %d clones", n)
	}
}

func TestFaults(t *testing.T) {
	m := NewMem()
	f := open(t, m, "/f")
	remove := m.Inject(Fault{Op: OpWrite, Path: "f", After: 1, Times: 2, Err: syscall.ENOSPC, Partial: true})
	for i, want := range []error{nil, syscall.ENOSPC, syscall.ENOSPC, nil} {
		must(t, f.Truncate(0))
		n, err := f.WriteAt([]byte("abcd"), 0)
		size, _ := f.Size()
		if !errors.Is(err, want) || int(size) != n || (n < 4) != (want != nil) {
			t.Errorf("write %d: %d bytes, %v, size %d", i, n, err, size)
		}
	}
	remove()
	remove = m.Inject(Fault{Op: OpRename, Path: "/x*"})
	if err := m.Rename("/f", "/xyz"); !errors.Is(err, syscall.EIO) {
		t.Errorf("rename: %v", err)
	}
	remove()
	must(t, m.Rename("/f", "/xyz"))
	if m.Calls(OpRename) != 2 {
		t.Errorf("%d renames counted", m.Calls(OpRename))
	}
	m.SetHook(func(op Op, name string) error { return fmt.Errorf("hook: %s %s", op, name) })
	if err := m.Remove("/xyz"); err == nil || !strings.Contains(err.Error(), "hook: remove /xyz") {
		t.Errorf("hook: %v", err)
	}
}

// L9: after a failed fsync, a later one says 0 of bytes that never arrived.
func TestFailedSyncIsNotMadeGoodByTheNext(t *testing.T) {
	m := NewMem()
	f := open(t, m, "/f")
	f.WriteAt([]byte("old"), 0)
	must(t, f.Sync())
	must(t, m.SyncDir("/"))
	g := open(t, m, "/f")
	m.Inject(Fault{Op: OpSync, Times: 1})
	f.WriteAt([]byte("new"), 0)
	for _, file := range []File{f, g} { // each open file is told, once
		if err := file.Sync(); !errors.Is(err, syscall.EIO) {
			t.Fatalf("sync: %v", err)
		}
		must(t, file.Sync())
	}
	look := func(c *Mem) string { return text(t, c, "/f") }
	expect(t, seen(m, look), "old", "new")
	f.WriteAt([]byte("new"), 0)
	must(t, f.Sync())
	expect(t, seen(m, look), "new")
}

func TestCapacity(t *testing.T) {
	m := NewMem()
	m.SetCapacity(3 * pageSize)
	f := open(t, m, "/f")
	must(t, f.Truncate(1<<30)) // a hole takes no space
	_, err := f.WriteAt(make([]byte, 3*pageSize), 1<<20)
	must(t, err)
	if _, err := f.WriteAt([]byte{1}, 0); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write beyond the capacity: %v", err)
	}
	if total, free, err := m.Usage("/"); total != 3*pageSize || free != 0 || err != nil {
		t.Errorf("total %d, free %d, %v", total, free, err)
	}
	must(t, f.PunchHole(1<<20, pageSize))
	_, err = f.WriteAt([]byte{1}, 0)
	must(t, err)
}

func TestWriteSynced(t *testing.T) {
	m := NewMem()
	f := open(t, m, "/f")
	f.WriteAt(bytes.Repeat([]byte{1}, 3*sectorSize), 0)
	must(t, f.Sync())
	must(t, m.SyncDir("/"))
	f.WriteAt(bytes.Repeat([]byte{2}, 3*sectorSize), 0)
	must(t, f.WriteSynced(bytes.Repeat([]byte{3}, sectorSize), sectorSize))
	look := func(c *Mem) string {
		data := text(t, c, "/f")
		return fmt.Sprint(data[0], data[sectorSize], data[2*sectorSize])
	}
	expect(t, seen(m, look), "1 3 1", "1 3 2", "2 3 1", "2 3 2")
	m.Inject(Fault{Op: OpSync, Times: 1})
	if err := f.WriteSynced(bytes.Repeat([]byte{4}, sectorSize), sectorSize); !errors.Is(err, syscall.EIO) {
		t.Errorf("write synced: %v", err)
	}
	must(t, f.Sync()) // L9
	expect(t, seen(m, look), "1 3 1", "1 3 2", "2 3 1", "2 3 2", "1 4 1", "1 4 2", "2 4 1", "2 4 2")
}

func TestWriteSyncedOnTheMachinesDisk(t *testing.T) {
	name := t.TempDir() + "/f"
	f, err := OS.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	must(t, err)
	must(t, f.WriteSynced([]byte("there"), 3))
	must(t, f.Close())
	if got, err := os.ReadFile(name); err != nil || string(got) != "\x00\x00\x00there" {
		t.Errorf("%q, %v", got, err)
	}
}
