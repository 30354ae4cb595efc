package crash

import (
	"bytes"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/distrifs/distrifs/test/cluster"
)

func TestMain(m *testing.M) { cluster.Main(m) }

// rounds of killing the master.
const rounds = 50

// oneNode is enough where only the master is of interest.
var oneNode = cluster.Options{Chunkservers: 1}

// The master dies at a random moment, again and again, while several processes
// make namespace calls. Every call that returned 0 is there afterwards, none is
// there twice, and no call fails.
func TestMasterKilledUnderAStorm(t *testing.T) { // G2, G4, G8
	t.Parallel()
	o := oneNode
	o.MasterArgs = []string{"--checkpoint-bytes", "64KiB"}
	c := cluster.Start(t, o)
	m := c.Mount()
	s := newStorm(t, c, m, 3)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for round := range rounds {
		damage := damages[round%len(damages)]
		s.blow(t, damage.name, func() {
			pause(random, 300*time.Millisecond)
			c.Master.Kill()
			damage.do(t, c.Master.Dir, random)
			c.Master.Launch()
			c.WaitAlive()
			pause(random, 50*time.Millisecond)
		})
	}
	m.Remount()
	s.blow(t, "after a remount", func() {})
}

// damages are what a power cut may leave at the end of the log: nothing special,
// a record cut short, a record with a flipped bit. None was ever acknowledged.
var damages = []struct {
	name string
	do   func(t *testing.T, dir string, random *rand.Rand)
}{
	{"killed", func(*testing.T, string, *rand.Rand) {}},
	{"torn tail", func(t *testing.T, dir string, random *rand.Rand) {
		log := newestLog(t, dir)
		record, end := lastRecord(t, log)
		overwrite(t, log, end, record[:1+random.IntN(len(record)-1)])
	}},
	{"bit-flipped tail", func(t *testing.T, dir string, random *rand.Rand) {
		log := newestLog(t, dir)
		record, end := lastRecord(t, log)
		record[random.IntN(len(record))] ^= 1 << random.IntN(8)
		overwrite(t, log, end, record)
	}},
}

// Recovery from the log alone, from a checkpoint and the log behind it, and from
// the older checkpoint when the newer one is damaged.
func TestRecoveryPaths(t *testing.T) { // G8
	t.Parallel()
	c := cluster.Start(t, oneNode)
	m := c.Mount()
	s := newStorm(t, c, m, 2)
	random := rand.New(rand.NewPCG(1, 1))
	work := func(when string) {
		t.Helper()
		s.blow(t, when, func() { pause(random, 300*time.Millisecond) })
	}
	restart := func() {
		c.Master.Launch()
		c.WaitAlive()
	}
	work("at the start")
	if found := checkpoints(t, c.Master.Dir); len(found) != 0 {
		t.Fatalf("checkpoints after so few calls: %v", found)
	}
	c.Master.Kill()
	restart()
	work("recovered from the log alone")
	for range 2 {
		c.Master.Stop() // takes a checkpoint
		restart()
		work("after a clean restart")
	}
	c.Master.Kill()
	restart()
	work("recovered from a checkpoint and the log")

	c.Master.Kill()
	found := checkpoints(t, c.Master.Dir)
	if len(found) != 2 {
		t.Fatalf("checkpoints: %v, want two", found)
	}
	flipByte(t, found[1], size(t, found[1])/2)
	restart()
	work("recovered from the older checkpoint")
}

// A log that is damaged before its tail is refused, with file, offset and remedy,
// and is not changed.
func TestDamagedLogIsRefused(t *testing.T) { // G8
	t.Parallel()
	c := cluster.Start(t, oneNode)
	m := c.Mount("--io-timeout", "5s") // in the end it has to leave without its master
	c.Shell(m.Path, "for i in $(seq 50); do mkdir $i; done")
	c.Master.Kill()
	log := newestLog(t, c.Master.Dir)
	_, end := lastRecord(t, log)
	flipByte(t, log, end/2)
	before := read(t, log)
	c.Master.Launch()
	if code := c.Master.Wait(cluster.StartLimit); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	text := strings.TrimSpace(c.Master.Output())
	last := text[strings.LastIndexByte(text, '\n')+1:]
	for _, part := range []string{filepath.Base(log), "offset"} {
		if !strings.Contains(last, part) {
			t.Errorf("the last line lacks %q: %s", part, last)
		}
	}
	if !bytes.Equal(read(t, log), before) {
		t.Error("the damaged log was changed")
	}
}
