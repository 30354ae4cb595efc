package main

import (
	"encoding/json"
	"testing"
)

// FuzzClusterFile: a cluster.json that is understood is what would be written, and no
// pid in it that kill(2) takes for many is believed.
func FuzzClusterFile(f *testing.F) {
	good := clusterFile{Format: clusterFileFormat, Boot: "b", Settings: settings{Port: 9420, Chunkservers: 3, Replicas: 3, ChunkSize: 64 << 20},
		Supervisor: &process{Role: "supervisor", Pid: 12, Started: 99}, Processes: []process{{Role: roleMaster, Pid: 13, Address: "127.0.0.1:9420", Log: "/l"}}}
	text, err := json.Marshal(good)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"format":1,"processes":[{"pid":-1}]}`))
	f.Add([]byte(`{"format":1,"settings":{"chunk_size":-4}}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := decodeClusterFile(text)
		if err != nil {
			return
		}
		for _, p := range file.Processes {
			if p.Pid <= 1 && p.runs() {
				t.Fatalf("%+v runs", p)
			}
		}
		again, err := json.Marshal(file)
		if err == nil {
			_, err = decodeClusterFile(again)
		}
		if err != nil {
			t.Fatalf("%+v cannot be written and read: %v", file, err)
		}
	})
}

// FuzzMountTable: whatever the kernel's table of mounts and the command line hold.
func FuzzMountTable(f *testing.F) {
	f.Add("36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 - fuse.distrifs /dev/root rw,errors=continue\n", "host:9420:/docs")
	f.Add("a - b\n - \n\\04", "[::1]:/x")
	f.Add("", ":")
	f.Fuzz(func(t *testing.T, table, argument string) {
		for _, entry := range parseMountInfo(table) {
			if entry.fstype == "" {
				t.Fatalf("%+v", entry)
			}
		}
		if l := parseLocation(argument, "m:1"); l.text != argument {
			t.Fatalf("%q became %+v", argument, l)
		}
	})
}
