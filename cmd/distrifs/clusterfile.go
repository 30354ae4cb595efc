package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/distrifs/distrifs/cmd/internal/cli"
	"github.com/distrifs/distrifs/internal/disk"
)

// clusterFileFormat is raised when an older distrifs could misread cluster.json.
const clusterFileFormat = 1

// maxClusterFile bounds what is read of a cluster.json, in bytes.
const maxClusterFile = 1 << 20

// Roles of the processes of a cluster.
const (
	roleMaster      = "master"
	roleChunkserver = "chunkserver"
	roleMount       = "mount"
)

// clusterFile is DIR/cluster.json.
type clusterFile struct {
	Format     int       `json:"format"`
	Settings   settings  `json:"settings"`
	Boot       string    `json:"boot"`                 // of the kernel that the pids belong to
	Supervisor *process  `json:"supervisor,omitempty"` // absent when the cluster is down
	Processes  []process `json:"processes"`            // in the order they were started
}

// settings are what makes a later `up` start the same cluster again.
type settings struct {
	Port         int      `json:"port"` // of the master; chunkserver n listens on port+1+n
	Chunkservers int      `json:"chunkservers"`
	Replicas     int      `json:"replicas"`
	ChunkSize    cli.Size `json:"chunk_size"` // bytes
}

// process is one that runs, or ran when the file was written.
type process struct {
	Role    string `json:"role"`
	Index   int    `json:"index"`
	Pid     int    `json:"pid"`
	Started uint64 `json:"started"` // clock ticks since boot: tells the process from a later one with its pid
	Address string `json:"address"` // host:port; of a mount, its mountpoint
	Log     string `json:"log,omitempty"`
}

func (p process) String() string {
	if p.Role == roleChunkserver {
		return fmt.Sprintf("%s %d", p.Role, p.Index)
	}
	return p.Role
}

func clusterFilePath(dir string) string { return filepath.Join(dir, "cluster.json") }

// readClusterFile gives fs.ErrNotExist when dir is no cluster folder.
func readClusterFile(dir string) (*clusterFile, error) {
	path := clusterFilePath(dir)
	text, err := disk.ReadFile(disk.OS, path, maxClusterFile)
	if err != nil {
		return nil, err
	}
	file, err := decodeClusterFile(text)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return file, nil
}

func decodeClusterFile(text []byte) (*clusterFile, error) {
	var file clusterFile
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("%w: it is not ours or damaged; if no process of that cluster runs, remove the file", err)
	}
	if file.Format != clusterFileFormat {
		return nil, fmt.Errorf("format %d, this program knows %d: use the distrifs that wrote it", file.Format, clusterFileFormat)
	}
	return &file, nil
}

func (f *clusterFile) write(dir string) error {
	f.Format = clusterFileFormat
	if f.Processes == nil {
		f.Processes = []process{}
	}
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	return disk.ReplaceFile(disk.OS, clusterFilePath(dir), append(text, '\n'), 0o644)
}

// noCluster explains a missing cluster.json.
func noCluster(dir string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: no cluster there: --dir names the folder that 'distrifs up' was given", dir)
	}
	return err
}

// bootID names this run of the kernel; pids and start times mean nothing in another.
func bootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	return string(id[:max(0, len(id)-1)]), nil
}
