package chaos

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// progress is what a worker tells of itself.
type progress struct {
	Calls    int
	Written  uint64 // bytes
	Verified uint64 // bytes that were read and were right
	Slow     []call // those that took long, the one under way included
}

// call is a system call that took long.
type call struct {
	What  string
	Began time.Time
	Took  time.Duration
}

func (c call) String() string {
	if c.Took == 0 {
		return fmt.Sprintf("below %v", slow)
	}
	what, path, _ := strings.Cut(c.What, " ")
	parts := strings.Split(path, "/")
	return fmt.Sprintf("%.1f s (%s %s)", c.Took.Seconds(), what, strings.Join(parts[max(0, len(parts)-3):], "/"))
}

const (
	slow      = 100 * time.Millisecond // calls below are not told of
	tellEvery = 200 * time.Millisecond
	mostSlow  = 1000 // of which is told, the latest
)

// teller writes a worker's progress to a file, now and then.
type teller struct {
	path string

	mu  sync.Mutex // protects what follows
	p   progress
	now call // under way; zero Began: none
}

func newTeller(path string) *teller {
	t := &teller{path: path}
	go func() {
		for range time.Tick(tellEvery) {
			t.write()
		}
	}()
	return t
}

func (t *teller) begin(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now = call{What: what, Began: time.Now()}
}

func (t *teller) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.p.Calls++
	if t.now.Took = time.Since(t.now.Began); t.now.Took >= slow {
		t.p.Slow = append(t.p.Slow, t.now)
		t.p.Slow = t.p.Slow[max(0, len(t.p.Slow)-mostSlow):]
	}
	t.now = call{}
}

func (t *teller) written(n int)  { t.mu.Lock(); t.p.Written += uint64(n); t.mu.Unlock() }
func (t *teller) verified(n int) { t.mu.Lock(); t.p.Verified += uint64(n); t.mu.Unlock() }

// write makes the file anew. Whoever reads it finds it whole.
func (t *teller) write() {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.p
	if now := t.now; !now.Began.IsZero() && time.Since(now.Began) >= slow {
		now.Took = time.Since(now.Began)
		p.Slow = append(append([]call{}, p.Slow...), now)
	}
	text, err := json.Marshal(p)
	if err == nil {
		err = os.WriteFile(t.path+".new", text, 0o644)
	}
	if err == nil {
		err = os.Rename(t.path+".new", t.path)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tell the progress:", err)
	}
}
