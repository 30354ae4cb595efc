package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/distrifs/distrifs/proto/pb"
)

func TestParseLocation(t *testing.T) {
	for text, want := range map[string]location{
		":/":               {master: "m:1", path: "/", folder: true},
		":/a/../b":         {master: "m:1", path: "/b"},
		":/docs/":          {master: "m:1", path: "/docs", folder: true},
		"host:9420:/docs":  {master: "host:9420", path: "/docs"},
		"host:/docs":       {master: "host:9420", path: "/docs"},
		"[::1]:9999:/x y":  {master: "[::1]:9999", path: "/x y"},
		"[::1]:/x":         {master: "[::1]:9420", path: "/x"},
		"host:9420:/a:/b":  {master: "host:9420", path: "/a:/b"},
		"file":             {path: "file"},
		"./a:/b":           {path: "./a:/b"},
		"dir/host:9420:/x": {path: "dir/host:9420:/x"},
		"/abs/":            {path: "/abs/", folder: true},
		"host:9420":        {path: "host:9420"},
		"a:b":              {path: "a:b"},
		":":                {path: ":"},
	} {
		want.text = text
		if got := parseLocation(text, "m:1"); got != want {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
	}
	if _, err := parseRemote("docs", "m:1"); err == nil || !strings.Contains(err.Error(), ":/docs") {
		t.Errorf("a local path where a remote one is needed: %v", err)
	}
}

func TestParseMountInfo(t *testing.T) {
	const table = `22 28 0:21 / /proc rw,nosuid shared:12 - proc proc rw
36 35 98:0 /mnt1 /mnt/a\040b rw,noatime master:1 - fuse.distrifs 127.0.0.1:9420 rw
37 35 98:0 / /back\134slash rw - ext4 /dev/sda1 rw
broken
`
	want := []mountEntry{{"/proc", "proc"}, {"/mnt/a b", "fuse.distrifs"}, {`/back\slash`, "ext4"}}
	if got := parseMountInfo(table); !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

func TestModeText(t *testing.T) {
	for mode, want := range map[uint32]string{
		syscall.S_IFREG | 0o644:  "-rw-r--r--",
		syscall.S_IFDIR | 0o1777: "drwxrwxrwt",
		syscall.S_IFREG | 0o4755: "-rwsr-xr-x",
		syscall.S_IFREG | 0o6600: "-rwS--S---",
		syscall.S_IFLNK | 0o777:  "lrwxrwxrwx",
		0:                        "?---------",
	} {
		if got := modeText(mode); got != want {
			t.Errorf("%o: %s, want %s", mode, got, want)
		}
	}
}

func TestStatusIsStableJSON(t *testing.T) {
	reply := &pb.StatusReply{
		Cluster: "c", Files: 1 << 40,
		Nodes:  []*pb.NodeStatus{{Node: 1, Address: "a", Alive: true, Disks: []*pb.DiskStatus{{Path: "/d", Fault: "EIO"}}}, {Node: 2}},
		Chunks: &pb.ChunkStatus{Total: 5},
	}
	text, err := json.Marshal(plain(reply.ProtoReflect()))
	if err != nil {
		t.Fatal(err)
	}
	var script struct {
		Files  uint64
		Nodes  []struct{ Alive *bool }
		Chunks struct {
			Total           uint64
			UnderReplicated *uint64 `json:"under_replicated"`
		}
		Sessions []any
		SafeMode *bool `json:"safe_mode"`
	}
	if err := json.Unmarshal(text, &script); err != nil {
		t.Fatal(err)
	}
	if script.Files != 1<<40 || len(script.Nodes) != 2 || script.Nodes[1].Alive == nil || script.Chunks.Total != 5 ||
		script.Chunks.UnderReplicated == nil || script.Sessions == nil || script.SafeMode == nil {
		t.Errorf("a script reads %+v from %s", script, text)
	}
	var table bytes.Buffer
	if err := printStatus(&table, reply); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"1 dead  <---", "DEAD", "none have too few replicas", "/d OUT OF SERVICE: EIO"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table does not say %q:\n%s", want, table.String())
		}
	}
}

func TestNodeState(t *testing.T) {
	for want, n := range map[string]*pb.NodeStatus{
		"alive": {Alive: true},
		"DEAD":  {},
		"alive, being decommissioned: 1,234 chunks left": {Alive: true, Decommissioned: true, ToMove: 1234},
		"DEAD, being decommissioned: 1 chunk left":       {Decommissioned: true, ToMove: 1},
		"away, decommissioned: it may go":                {Decommissioned: true},
		"alive, 1 of 2 disks OUT OF SERVICE":             {Alive: true, Disks: []*pb.DiskStatus{{Path: "/a", Fault: "full"}, {Path: "/b"}}},
	} {
		if got := nodeState(n); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := nodeState(&pb.NodeStatus{Maintenance: 1}); !strings.HasPrefix(got, "away, in maintenance until ") {
		t.Errorf("%q", got)
	}
}

func TestRepairText(t *testing.T) {
	for want, r := range map[string]*pb.RepairStatus{
		"nothing to do": nil,
		"3 chunks waiting (1 of them only to move), 2 being copied, 5.0 MiB left, at 1.0 MiB/s (at most 2.0 MiB/s for each chunkserver), about 5s to go": {
			Waiting: 3, Moving: 1, Active: 2, BytesLeft: 5 << 20, BytesPerSecond: 1 << 20, Limit: 2 << 20, SecondsLeft: 5},
		"0 chunks waiting, 1 being copied, 1 B left, at 0 B/s (no limit)": {Active: 1, BytesLeft: 1},
	} {
		if got := repairText(r); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestFindNode(t *testing.T) {
	nodes := []*pb.NodeStatus{{Node: 1, Address: "a:1"}, {Node: 2, Address: "b:1"}}
	for _, name := range []string{"2", "b:1"} {
		if got, err := findNode(nodes, name); got != 2 || err != nil {
			t.Errorf("%s: %d, %v", name, got, err)
		}
	}
	nodes = append(nodes, &pb.NodeStatus{Node: 3, Address: "a:1"}) // came back with empty folders
	if got, err := findNode(nodes, "3"); got != 3 || err != nil {
		t.Errorf("3: %d, %v", got, err)
	}
	for _, name := range []string{"4", "b", "", "a:1"} {
		if got, err := findNode(nodes, name); err == nil {
			t.Errorf("%q is %d", name, got)
		}
	}
}

func TestSummaryTellsOfTooFewChunkservers(t *testing.T) {
	o := &upOptions{dir: "/d"}
	for replicas, want := range map[int]string{3: "each chunk on 3 of them", 4: "too few for 4 replicas"} {
		if text := o.summary(settings{Port: 1, Chunkservers: 3, Replicas: replicas}); !strings.Contains(text, want) {
			t.Errorf("%d replicas: %q", replicas, text)
		}
	}
}
