package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/distrifs/distrifs/cmd/internal/cli"
	"github.com/spf13/pflag"
)

func TestClusterFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := readClusterFile(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty folder: %v", err)
	}
	file := &clusterFile{
		Boot: "b", Settings: settings{Port: 9420, Chunkservers: 3, Replicas: 2, ChunkSize: 64 << 20},
		Supervisor: &process{Role: "supervisor", Pid: 7, Started: 70, Address: dir},
		Processes:  []process{{Role: roleMaster, Pid: 8, Started: 80, Address: "127.0.0.1:9420", Log: "x"}},
	}
	if err := file.write(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(clusterFilePath(dir))
	if err != nil {
		t.Fatal(err)
	}
	// What scripts rely on.
	var script struct {
		Processes []struct {
			Role, Address string
			Pid           int
		}
	}
	if err := json.Unmarshal(text, &script); err != nil || len(script.Processes) != 1 ||
		script.Processes[0].Role != "master" || script.Processes[0].Pid != 8 || script.Processes[0].Address != "127.0.0.1:9420" {
		t.Errorf("a script reads %+v, %v", script, err)
	}
	again, err := readClusterFile(dir)
	if err != nil || again.Settings != file.Settings || *again.Supervisor != *file.Supervisor || !slices.Equal(again.Processes, file.Processes) {
		t.Errorf("read back %+v, %v", again, err)
	}
	empty := &clusterFile{}
	if err := empty.write(dir); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(clusterFilePath(dir)); !bytes.Contains(text, []byte(`"processes": []`)) {
		t.Errorf("without processes: %s", text)
	}
	for bad, want := range map[string]string{
		`{"format": 2}`: "format 2",
		`{"format"`:     "damaged",
		``:              "damaged",
		"[1]":           "damaged",
	} {
		if err := os.WriteFile(clusterFilePath(dir), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readClusterFile(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v", bad, err)
		}
	}
}

func TestPurgeRemovesOnlyOurs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cluster")
	for _, name := range []string{"master/log", "chunkserver-0/a", "chunkserver-12/b", "log/x", "precious/file"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := (&clusterFile{}).write(dir); err != nil {
		t.Fatal(err)
	}
	if err := purgeFolder(dir); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "precious" {
		t.Fatalf("left: %v, %v", entries, err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "precious")); err != nil {
		t.Fatal(err)
	}
	if err := (&clusterFile{}).write(dir); err != nil {
		t.Fatal(err)
	}
	if err := purgeFolder(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the empty folder is still there: %v", err)
	}
}

func TestSettle(t *testing.T) {
	old := settings{Port: 9500, Chunkservers: 3, Replicas: 2, ChunkSize: 1 << 20}
	for _, c := range []struct {
		name string
		old  settings
		args string
		want settings // zero: refused
		say  string
	}{
		{"a new one", settings{}, "", settings{9420, 3, 3, 64 << 20}, ""},
		{"a new small one", settings{}, "--chunkservers 1", settings{9420, 1, 1, 64 << 20}, ""},
		{"the same again", old, "", old, ""},
		{"the same, spelled out", old, "--port 9500 --chunkservers 3 --replicas 2 --chunk-size 1MiB", old, ""},
		{"another port and one server more", old, "--port 9600 --chunkservers 4", settings{9600, 4, 2, 1 << 20}, ""},
		{"fewer servers", old, "--chunkservers 2", settings{}, "has 3"},
		{"other replicas", old, "--replicas 3", settings{}, "has 2"},
		{"another chunk size", old, "--chunk-size 64MiB", settings{}, "has 1MiB"},
		{"replicas wanted later", settings{}, "--chunkservers 2 --replicas 3", settings{9420, 2, 3, 64 << 20}, ""},
		{"too few for any write", settings{}, "--chunkservers 1 --replicas 2", settings{}, "--replicas 2"},
		{"a crooked chunk size", settings{}, "--chunk-size 3MiB", settings{}, "power of two"},
		{"a small chunk size", settings{}, "--chunk-size 512KiB", settings{}, "power of two"},
		{"no servers", settings{}, "--chunkservers 0", settings{}, "--chunkservers 0"},
		{"no port", settings{}, "--port 65535", settings{}, "--port 65535"},
	} {
		o := &upOptions{dir: "/x", flags: pflag.NewFlagSet("up", pflag.ContinueOnError), chunkSize: new(cli.Size)}
		*o.chunkSize = 64 << 20
		o.flags.IntVar(&o.port, "port", defaultPort, "")
		o.flags.IntVar(&o.chunkservers, "chunkservers", 3, "")
		o.flags.IntVar(&o.replicas, "replicas", 3, "")
		o.flags.Var(o.chunkSize, "chunk-size", "")
		if err := o.flags.Parse(strings.Fields(c.args)); err != nil {
			t.Fatal(err)
		}
		got, err := o.settle(c.old)
		if c.say != "" {
			if err == nil || !strings.Contains(err.Error(), c.say) {
				t.Errorf("%s: error %v, want one that says %q", c.name, err, c.say)
			}
		} else if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", c.name, got, err, c.want)
		}
	}
}

func TestLogsAreBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	log, size, err := openLog(path)
	if err != nil || size != 0 {
		t.Fatal(size, err)
	}
	defer log.Close()
	if _, err := log.WriteString(strings.Repeat("old line\n", 10)); err != nil {
		t.Fatal(err)
	}
	if got := tail(path, 9*8, 3); !slices.Equal(got, []string{"old line", "old line"}) {
		t.Errorf("tail %q", got)
	}
	if err := rotate(path); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path + ".1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a short log was rotated: %v", err)
	}
	if err := os.Truncate(path, maxLog); err != nil {
		t.Fatal(err)
	}
	if err := rotate(path); err != nil {
		t.Fatal(err)
	}
	if _, err := log.WriteString("new line\n"); err != nil { // the writer notices nothing
		t.Fatal(err)
	}
	if got := tail(path, 90, 3); !slices.Equal(got, []string{"new line"}) {
		t.Errorf("tail behind the rotation %q", got)
	}
	if info, err := os.Stat(path + ".1"); err != nil || info.Size() != maxLog {
		t.Errorf("the part before: %v, %v", info, err)
	}
}
