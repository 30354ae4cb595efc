package meta

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

var linearRuns = flag.Int("linear.runs", 12, "runs of the test of caches")

// G3, G4: clients that cache as leases permit behave as one. Three sessions with two
// workers each look names up, make, remove and list them, and change and read the mode
// of a file, with whatever they have cached, while messages and answers take random
// times and overtake each other; the history must be that of one filesystem.
func TestCachesBehaveAsOne(t *testing.T) {
	for seed := range *linearRuns {
		inCluster(t, 0, withLeases, func(c *cluster) {
			h := &history{}
			var file uint64
			var sessions []*cacher
			for range 3 {
				sessions = append(sessions, newCacher(c, uint64(seed), len(sessions)))
			}
			file = sessions[0].mkdir(1, "file").Attr.Inode
			var workers sync.WaitGroup
			for i, s := range sessions {
				for w := range 2 {
					rnd := rand.New(rand.NewPCG(uint64(seed), uint64(10+2*i+w)))
					workers.Go(func() { s.work(h, rnd, uint32(w+2), 2*i+w, file, 30) })
				}
			}
			workers.Wait()
			if seed == 0 && h.cached.Load() == 0 {
				t.Error("nothing was answered from caches")
			}
			if got, _ := porcupine.CheckOperationsVerbose(oneFilesystem, h.operations, 0); got != porcupine.Ok {
				t.Errorf("seed %d: the history is %v", seed, got)
			}
			for _, s := range sessions {
				s.vanish()
				<-s.stopped
			}
		})
	}
}

// history is what all workers did.
type history struct {
	clock  atomic.Int64
	cached atomic.Int64 // answers that cost no call

	mu         sync.Mutex
	operations []porcupine.Operation
}

// act is the input of an operation.
type act struct {
	what string // "make", "remove", "find", "list", "set", "get"
	name int
	mode uint32
}

const linearNames = 3

// oneState is names that are there, as bits, and the mode of the file.
type oneState struct{ names, mode uint32 }

// oneFilesystem says which answers are right.
var oneFilesystem = porcupine.Model{
	Init: func() any { return oneState{mode: 0o777} },
	Step: func(before, input, output any) (bool, any) {
		s, a, answer := before.(oneState), input.(act), output.(uint32)
		bit := uint32(1) << a.name
		is := s.names >> a.name & 1
		switch a.what {
		case "make":
			s.names |= bit
			return answer == 1-is, s
		case "remove":
			s.names &^= bit
			return answer == is, s
		case "find":
			return answer == is, s
		case "list":
			return answer == s.names, s
		case "set":
			s.mode = a.mode
			return true, s
		default:
			return answer == s.mode, s
		}
	},
}

// cacher is a client that caches names of the root, and modes.
type cacher struct {
	*client
	delays  *rand.Rand // belongs to hear
	stopped chan struct{}

	mu       sync.Mutex // protects below
	leases   map[uint64]bool
	recalled map[uint64]uint64 // highest number by inode
	floor    map[uint64]uint64 // change of an inode that is known to have been: older answers say nothing
	names    map[string]known  // while the root's lease is held
	modes    map[uint64]known  // while the inode's is
	flying   map[string]int    // changes of its own under way, by name or "mode"
	sequence map[uint32]uint64 // by slot
}

// known is what is cached, and as of which change.
type known struct {
	value  uint32
	change uint64
}

func newCacher(c *cluster, seed uint64, i int) *cacher {
	s := &cacher{
		client: c.holder(), delays: rand.New(rand.NewPCG(seed, uint64(i))), stopped: make(chan struct{}),
		leases: map[uint64]bool{}, recalled: map[uint64]uint64{}, names: map[string]known{}, modes: map[uint64]known{},
		flying: map[string]int{}, sequence: map[uint32]uint64{}, floor: map[uint64]uint64{},
	}
	go s.hear()
	return s
}

// hear answers recalls, after a while.
func (s *cacher) hear() {
	defer close(s.stopped)
	var answers sync.WaitGroup
	defer answers.Wait()
	for event := range s.events {
		r := event.GetRecall()
		if r == nil {
			continue
		}
		s.mu.Lock()
		for _, ino := range r.Inodes {
			s.recalled[ino] = max(s.recalled[ino], r.Number)
		}
		s.mu.Unlock()
		wait := time.Duration(s.delays.IntN(5)) * time.Millisecond
		answers.Go(func() {
			time.Sleep(wait)
			s.mu.Lock()
			for _, ino := range r.Inodes {
				s.drop(ino)
			}
			s.mu.Unlock()
			s.answers(r)
		})
	}
}

// drop needs mu.
func (s *cacher) drop(ino uint64) {
	delete(s.leases, ino)
	delete(s.modes, ino)
	if ino == 1 {
		clear(s.names)
	}
}

// granted takes the leases that came with an answer. It needs mu.
func (s *cacher) granted(g *pb.Grants, ino, change uint64) {
	for _, granted := range append(g.GetShared(), g.GetExclusive()...) {
		if granted == ino && s.recalled[ino] <= g.Recalls && !s.leases[ino] {
			s.leases[ino] = true
			s.floor[ino] = max(s.floor[ino], change)
		}
	}
}

// changed notes a change of its own: it recalls nothing, and yet answers from before it
// are out of date. It needs mu.
func (s *cacher) changed(ino, change uint64) { s.floor[ino] = max(s.floor[ino], change) }

// learn caches what an answer said of a name. It needs mu.
func (s *cacher) learn(name string, there bool, change uint64) {
	if !s.leases[1] || change < s.floor[1] || change < s.names[name].change || s.flying[name] > 0 {
		return
	}
	k := known{change: change}
	if there {
		k.value = 1
	}
	s.names[name] = k
}

// work does some operations in a row.
func (s *cacher) work(h *history, rnd *rand.Rand, slot uint32, id int, file uint64, count int) {
	for range count {
		time.Sleep(time.Duration(rnd.IntN(8)) * time.Millisecond)
		late := time.Duration(rnd.IntN(4)) * time.Millisecond
		a := act{name: rnd.IntN(linearNames), mode: uint32(rnd.IntN(0o777))}
		name := fmt.Sprint("n", a.name)
		began := h.clock.Add(1)
		var answer uint32
		switch dice := rnd.IntN(20); {
		case dice < 3:
			a.what, answer = "make", s.make(slot, name, late)
		case dice < 6:
			a.what, answer = "remove", s.remove(slot, name, late)
		case dice < 13:
			a.what, answer = "find", s.find(h, name, late)
		case dice < 14:
			a.what, answer = "list", s.list()
		case dice < 16:
			a.what, answer = "set", a.mode
			s.set(slot, file, a.mode, late)
		default:
			a.what, answer = "get", s.get(h, file, late)
		}
		h.mu.Lock()
		h.operations = append(h.operations, porcupine.Operation{ClientId: id, Input: a, Call: began, Output: answer, Return: h.clock.Add(1)})
		h.mu.Unlock()
	}
}

// caller is that of a worker's next change. What it changes is unknown until it has
// landed, and after it too if its answer is out of date already.
func (s *cacher) caller(slot uint32, key string) *pb.Caller {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sequence[slot]++
	s.flying[key]++
	if delete(s.names, key); key == "mode" {
		clear(s.modes)
	}
	return &pb.Caller{Session: s.welcome.Session, Slot: slot, Sequence: s.sequence[slot]}
}

// landed has mu held afterwards.
func (s *cacher) landed(key string, late time.Duration) {
	time.Sleep(late)
	s.mu.Lock()
	s.flying[key]--
}

// says reads the outcome of a change: 1 if it was made, 0 if it failed as it may.
func (s *cacher) says(err error, may proto.Kind) uint32 {
	if err == nil {
		return 1
	}
	if kind := proto.KindOf(proto.FromStatus(err)); kind != may {
		s.c.t.Error(errors.New("unexpected"), err)
	}
	return 0
}

func (s *cacher) make(slot uint32, name string, late time.Duration) uint32 {
	reply, err := s.api().Mkdir(s.c.t.Context(), &pb.MkdirRequest{Caller: s.caller(slot, name), Parent: 1, Name: []byte(name), Mode: 0o777})
	s.landed(name, late)
	defer s.mu.Unlock()
	if err == nil {
		s.changed(1, reply.ParentChange)
		s.granted(reply.Grants, 1, reply.ParentChange)
		s.learn(name, true, reply.ParentChange)
	}
	return s.says(err, proto.Exists)
}

func (s *cacher) remove(slot uint32, name string, late time.Duration) uint32 {
	reply, err := s.api().Rmdir(s.c.t.Context(), &pb.UnlinkRequest{Caller: s.caller(slot, name), Parent: 1, Name: []byte(name)})
	s.landed(name, late)
	defer s.mu.Unlock()
	if err == nil {
		s.changed(1, reply.ParentChange)
		s.learn(name, false, reply.ParentChange)
	}
	return s.says(err, proto.NotFound)
}

func (s *cacher) find(h *history, name string, late time.Duration) uint32 {
	s.mu.Lock()
	if k, ok := s.names[name]; ok && s.leases[1] && s.flying[name] == 0 {
		s.mu.Unlock()
		h.cached.Add(1)
		return k.value
	}
	s.mu.Unlock()
	reply := s.lookup(1, name)
	time.Sleep(late)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.granted(reply.Grants, 1, reply.ParentChange)
	s.learn(name, reply.Attr != nil, reply.ParentChange)
	if reply.Attr == nil {
		return 0
	}
	return 1
}

func (s *cacher) list() (names uint32) {
	reply := must[*pb.ReadDirReply](s.c.t)(s.api().ReadDir(s.c.t.Context(), &pb.ReadDirRequest{Caller: s.asks(), Inode: 1}))
	for _, e := range reply.Entries {
		for i := range linearNames {
			if string(e.Name) == fmt.Sprint("n", i) {
				names |= 1 << i
			}
		}
	}
	return names
}

func (s *cacher) set(slot uint32, ino uint64, mode uint32, late time.Duration) {
	reply, err := s.api().SetAttr(s.c.t.Context(), &pb.SetAttrRequest{Caller: s.caller(slot, "mode"), Inode: ino, Mode: &mode})
	s.landed("mode", late)
	defer s.mu.Unlock()
	if s.says(err, proto.OK) == 1 {
		s.changed(ino, reply.Attr.Change)
		s.granted(reply.Grants, ino, reply.Attr.Change)
		s.learnMode(reply.Attr)
	}
}

// learnMode needs mu.
func (s *cacher) learnMode(attr *pb.Attr) {
	if s.leases[attr.Inode] && s.flying["mode"] == 0 && attr.Change >= max(s.modes[attr.Inode].change, s.floor[attr.Inode]) {
		s.modes[attr.Inode] = known{attr.Mode & permBits, attr.Change}
	}
}

func (s *cacher) get(h *history, ino uint64, late time.Duration) uint32 {
	s.mu.Lock()
	if k, ok := s.modes[ino]; ok && s.flying["mode"] == 0 {
		s.mu.Unlock()
		h.cached.Add(1)
		return k.value
	}
	s.mu.Unlock()
	reply := must[*pb.AttrReply](s.c.t)(s.api().GetAttr(s.c.t.Context(), &pb.GetAttrRequest{Caller: s.asks(), Inode: ino}))
	time.Sleep(late)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.granted(reply.Grants, ino, reply.Attr.Change)
	s.learnMode(reply.Attr)
	return reply.Attr.Mode & permBits
}
