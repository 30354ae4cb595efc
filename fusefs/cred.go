package fusefs

import (
	"sync"
	"time"

	"github.com/distrifs/distrifs/client"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// privileged is for calls that the kernel has permitted by more than the
// caller's ids: through an open file, or to execute.
var privileged = client.Cred{}

// cred says on whose behalf a request is made. The request carries no
// supplementary groups: they are looked up, except for root, who needs none.
func (s *fileSystem) cred(caller *fuse.Caller, umask uint32) client.Cred {
	cred := client.Cred{UID: caller.Uid, GID: caller.Gid, Umask: umask}
	if caller.Uid != 0 && caller.Pid != 0 {
		cred.Groups = s.groups.of(caller)
	}
	return cred
}

const (
	groupsTTL = time.Second // how long the groups of a thread are believed
	groupsMax = 1024        // threads remembered
)

// groupCache remembers the supplementary groups of threads for a moment:
// reading /proc costs as much as a small request.
type groupCache struct {
	now  func() time.Time
	read func(thread uint32) (threadStatus, error)

	mu     sync.Mutex
	groups map[fuse.Caller]threadGroups
}

type threadGroups struct {
	ids []uint32
	at  time.Time
}

func (g *groupCache) of(caller *fuse.Caller) []uint32 {
	now := g.now()
	g.mu.Lock()
	known, ok := g.groups[*caller]
	g.mu.Unlock()
	if ok && now.Sub(known.at) < groupsTTL {
		return known.ids
	}
	status, err := g.read(caller.Pid)
	if err != nil {
		return nil // the caller is in another pid namespace, or gone
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.groups == nil || len(g.groups) >= groupsMax {
		g.groups = make(map[fuse.Caller]threadGroups)
	}
	g.groups[*caller] = threadGroups{ids: status.groups, at: now}
	return status.groups
}
