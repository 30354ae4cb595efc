package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/distrifs/distrifs/test/cluster"
)

// kind of fault. At most one chunkserver is faulty at a time, unless nothing is lost by
// it: what a killed process had acknowledged is in the page cache of its machine.
type kind struct {
	name              string
	shortest, longest time.Duration // of its hold
	needs             need
	do                func(*stage, fault) // from the first moment to the last, but for the healing
}

// need is what a kind of fault cannot do without.
type need int

const (
	nothing  need = iota
	hosts         // network namespaces
	ownDisks      // file systems of their own
)

// Holds stay below what the programs are promised to get over: a mount that does not hear of the
// master for the lease time (10 s) loses what it holds, and is not cut off for longer.
var kinds = []*kind{
	{"kill a chunkserver", 0, 15 * time.Second, nothing, killChunkserver},
	{"stop a chunkserver", 5 * time.Second, 30 * time.Second, nothing, stopChunkserver},
	{"kill the master", 0, 8 * time.Second, nothing, killMaster},
	{"stop the master", 5 * time.Second, 20 * time.Second, nothing, stopMaster},
	{"kill all chunkservers", 0, 5 * time.Second, nothing, killAllChunkservers},
	{"kill all servers", 0, 5 * time.Second, nothing, killAllServers},
	{"fill a disk", 3 * time.Second, 10 * time.Second, ownDisks, fillDisk},
	{"flip bits", 0, 0, nothing, damageFiles("flip bits in", flip)},
	{"cut files short", 0, 0, nothing, damageFiles("cut short", cutShort)},
	{"remove files", 0, 0, nothing, damageFiles("remove", remove)},
	{"part a chunkserver from the master", 4 * time.Second, 20 * time.Second, hosts, partFromMaster},
	{"part a chunkserver from the clients", 4 * time.Second, 20 * time.Second, hosts, partFromClients},
	{"part a chunkserver from another", 4 * time.Second, 20 * time.Second, hosts, partFromPeer},
	{"part a chunkserver from everybody", 4 * time.Second, 20 * time.Second, hosts, partFromAll},
	{"part a client from the master", 2 * time.Second, 4 * time.Second, hosts, partClientFromMaster},
}

func killChunkserver(s *stage, f fault) {
	p := s.c.Chunkservers[f.server]
	s.say("kill -9 %s, for %v", p.Name, f.hold)
	p.Kill()
	s.hold(f.hold)
	s.say("start %s", p.Name)
	s.launch(p)
}

func stopChunkserver(s *stage, f fault) { s.stop(s.c.Chunkservers[f.server], f.hold) }
func stopMaster(s *stage, f fault)      { s.stop(s.c.Master, f.hold) }

func (s *stage) stop(p *cluster.Process, hold time.Duration) {
	s.say("SIGSTOP %s, for %v", p.Name, hold)
	p.Pause()
	s.hold(hold)
	s.say("SIGCONT %s", p.Name)
	p.Resume()
}

func killMaster(s *stage, f fault) {
	s.say("kill -9 %s, for %v", s.c.Master.Name, f.hold)
	s.c.Master.Kill()
	s.hold(f.hold)
	s.say("start %s", s.c.Master.Name)
	s.launch(s.c.Master)
}

func killAllChunkservers(s *stage, f fault) { s.killAll(s.c.Chunkservers, f.hold) }

func killAllServers(s *stage, f fault) {
	s.killAll(append([]*cluster.Process{s.c.Master}, s.c.Chunkservers...), f.hold)
}

func (s *stage) killAll(processes []*cluster.Process, hold time.Duration) {
	var names []string
	for _, p := range processes {
		names = append(names, p.Name)
	}
	s.say("kill -9 %s, for %v", strings.Join(names, ", "), hold)
	for _, p := range processes {
		p.Signal(syscall.SIGKILL)
	}
	for _, p := range processes {
		p.Wait(cluster.StopLimit)
	}
	s.hold(hold)
	s.say("start them")
	s.launch(processes...)
}

// fillDisk takes all the room that there is on a chunkserver's disk.
func fillDisk(s *stage, f fault) {
	p := s.c.Chunkservers[f.server]
	s.say("fill the disk of %s, for %v", p.Name, f.hold)
	filler := filepath.Join(p.Dir, "filler")
	if err := fill(filler); err != nil {
		s.t.Fatal(err)
	}
	s.hold(f.hold)
	s.say("make room on the disk of %s", p.Name)
	if err := os.Remove(filler); err != nil {
		s.t.Fatal(err)
	}
}

// fill writes a file until there is no room for another byte of it.
func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		switch _, err := f.Write(make([]byte, size)); {
		case err == nil:
		case strings.Contains(err.Error(), syscall.ENOSPC.Error()):
			size /= 2
		default:
			return fmt.Errorf("fill a disk: %w", err)
		}
	}
	return nil
}
