package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/distrifs/distrifs/cmd/internal/cli"
)

// supervisorGrace is how long a supervisor may take to end all its children.
const supervisorGrace = 3*(stopGrace+killGrace) + 10*time.Second

func addDown(program *cli.Command) {
	c := program.Sub("down", "stop a cluster of this machine; its files stay")
	c.Long = `Unmounts and stops the cluster that 'distrifs up' started in the folder. Its files
stay and are there again after the next 'distrifs up'. --purge removes them.`
	c.Examples = "distrifs down\ndistrifs down --dir /srv/two --purge"
	dir := c.Flags().String("dir", defaultDir, "folder of the cluster")
	purge := c.Flags().Bool("purge", false, "remove the cluster's files as well, for ever")
	c.Run = func(ctx context.Context, _ []string) error { return down(*dir, *purge) }
}

func down(dir string, purge bool) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	file, err := readClusterFile(dir)
	if err != nil {
		return noCluster(dir, err)
	}
	wasUp := len(file.Processes) > 0
	if err := stopSupervisor(file); err != nil {
		return err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := stopLeftovers(dir); err != nil {
		return err
	}
	switch {
	case purge:
		if err := purgeFolder(dir); err != nil {
			return err
		}
		fmt.Printf("%s: down, and its files removed\n", dir)
	case wasUp:
		fmt.Printf("%s: down; 'distrifs up' starts it again with all its files\n", dir)
	default:
		fmt.Printf("%s: was down already\n", dir)
	}
	return nil
}

// stopSupervisor has the supervisor take everything down. One that does not
// manage is killed; what it leaves is seen to afterwards.
func stopSupervisor(file *clusterFile) error {
	boot, err := bootID()
	if err != nil {
		return err
	}
	if file.Supervisor == nil || file.Boot != boot {
		return nil
	}
	return file.Supervisor.end(supervisorGrace)
}

// stopLeftovers ends what a killed supervisor left running. The lock is held.
func stopLeftovers(dir string) error {
	file, err := readClusterFile(dir)
	if err != nil {
		return noCluster(dir, err)
	}
	if err := takeDown(file); err != nil {
		return err
	}
	file.Supervisor, file.Processes = nil, nil
	return file.write(dir)
}

// purgeFolder removes what `distrifs up` and the servers put into the folder, by
// name, and the folder itself if nothing else is in it. It never goes through a mount.
func purgeFolder(dir string) error {
	mounts, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	if len(mounts) > 0 {
		return fmt.Errorf("purge %s: %s is mounted below it: unmount it first", dir, mounts[0])
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := entry.Name()
		if name == "cluster.json" || !isOurs(name) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	// The file that makes the folder ours goes last: an interrupted purge can be repeated.
	if err := os.Remove(clusterFilePath(dir)); err != nil {
		return err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, syscall.ENOTEMPTY) && !errors.Is(err, syscall.EBUSY) {
		return err
	}
	return nil
}

// isOurs tells the names that a cluster folder has of us.
func isOurs(name string) bool {
	switch name {
	case "cluster.json", "cluster.json.tmp", "lock", "log", "master":
		return true
	}
	return strings.HasPrefix(name, "chunkserver-")
}
