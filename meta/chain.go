package meta

import (
	"slices"
	"time"

	"github.com/distrifs/distrifs/meta/registry"
	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
)

// Decisions about chains: pure functions of a chunk and what is known of its members.
//
// The version says who may be trusted. A member of the logged chain is
//
//	good       it confirmed a sound replica of the current version
//	behind     it has every byte that was acknowledged: it has the version just before,
//	           for the change was logged and it has not heard of it, or not been made equal
//	           yet; or its process died in mid-write. It is made equal to a good one, or
//	           the others to it, and never counted as a loss (L1). For this to be said
//	           of one version only, no version is raised that is not ripe (resync.go).
//	pending    nothing can be said yet: it is not connected, not yet long enough to be
//	           given up, or has not reported since it registered
//	lost       it has something else, or nothing, or is dead; or its disk has failed, so that
//	           it cannot be written to, and there is a good one elsewhere
//
// When no member is good, behind or pending, the last resort is the first in chain
// order with a replica of the current version, or the one before, that its own
// chunkserver does not call corrupt: after a power loss of all, the head's bytes stand.
// The version's age then says that acknowledged bytes may be missing (L9).
type standing uint8

const (
	good standing = iota
	behind
	pending
	lost
)

// judge gives the standing of each member. A member is given up after giveUp of silence.
func judge(c state.Chunk, members []registry.Member, giveUp time.Duration) []standing {
	standings := make([]standing, len(members))
	for i, m := range members {
		switch {
		case m.Good(c.Version):
			standings[i] = good
		case m.Alive && isOf(m.Holds, c) && m.Holds.Whole() && (m.Known || !m.Holds.Unclean):
			standings[i] = behind
		case m.Silence < giveUp && !(m.Connected && m.Known):
			standings[i] = pending
		default:
			standings[i] = lost
		}
	}
	giveUpFailing(members, standings)
	return standings
}

// giveUpFailing has good replicas on disks that have failed count as lost, so that they are
// replaced and no write waits for them, as long as there is a good one elsewhere: the last
// is never given up.
func giveUpFailing(members []registry.Member, standings []standing) {
	healthy := func(i int) bool { return standings[i] == good && !members[i].Holds.Failing }
	for i := range members {
		if healthy(i) {
			for j := range members {
				if standings[j] == good && !healthy(j) {
					standings[j] = lost
				}
			}
			return
		}
	}
}

// isOf tells whether a replica is of the chunk's version or the one just before.
func isOf(held registry.Replica, c state.Chunk) bool {
	return held.Version != 0 && (held.Version == c.Version || held.Version.Precedes(c.Version))
}

// stands tells whether a member is there with a replica that the chain can go on with, if
// there is no better.
func stands(m registry.Member, c state.Chunk) bool {
	return m.Connected && isOf(m.Holds, c) && !m.Holds.Corrupt
}

// lacking tells whether a chain of these members may lack bytes that were acknowledged
// and never synced: the best there is are replicas that were being written when
// their machine stopped.
func lacking(c state.Chunk, members []registry.Member, chain []proto.NodeID) bool {
	gaps := false
	for _, m := range members {
		if !slices.Contains(chain, m.Node) || !isOf(m.Holds, c) {
			continue
		}
		if m.Holds.Whole() {
			return false
		}
		gaps = true
	}
	return gaps
}

// lastResort is the position of the member whose bytes stand when there is no better;
// -1: there is none, or something better may come.
func lastResort(c state.Chunk, members []registry.Member, standings []standing) int {
	if slices.ContainsFunc(standings, func(s standing) bool { return s != lost }) {
		return -1
	}
	i := slices.IndexFunc(members, func(m registry.Member) bool { return m.Alive && m.Holds.Version == c.Version && !m.Holds.Corrupt })
	if i < 0 {
		i = slices.IndexFunc(members, func(m registry.Member) bool { return m.Alive && isOf(m.Holds, c) && !m.Holds.Corrupt })
	}
	return i
}

// readable says which members may be read, or written to with all others. A chunk
// that was just assigned has no replicas yet: its first write makes them.
func readable(c state.Chunk, members []registry.Member, giveUp time.Duration) []bool {
	standings := judge(c, members, giveUp)
	may := make([]bool, len(members))
	for i, m := range members {
		fresh := !c.Committed && c.Version == firstVersion && m.Alive && m.Holds.Version == 0
		may[i] = standings[i] == good || fresh
	}
	if i := lastResort(c, members, standings); i >= 0 && members[i].Holds.Version == c.Version {
		may[i] = true
	}
	return may
}

// usable says which members a chain may go on with: good ones and the last resort. Who
// is there without a replica may as long as the chunk is unwritten.
func usable(c state.Chunk, members []registry.Member, giveUp time.Duration, unwritten bool) []bool {
	may := readable(c, members, giveUp)
	for i, m := range members {
		may[i] = may[i] && (unwritten || m.Holds.Version != 0)
	}
	if resort := lastResort(c, members, judge(c, members, giveUp)); resort >= 0 {
		may[resort] = true
	}
	return may
}

// survivors are the members that a chain goes on with when one failed: the usable ones
// without the suspects. The predecessor that blames its successor is a
// suspect instead when it has blamed another before (L4): blamed is who did.
func survivors(c state.Chunk, members []registry.Member, usable []bool, suspects []proto.NodeID, blamed proto.NodeID) (left []proto.NodeID) {
	for i, m := range members {
		suspect := slices.Contains(suspects, m.Node)
		if suspect && i > 0 && c.Chain[i-1] == blamed {
			suspect = false
		}
		if m.Node == blamed && i+1 < len(members) && slices.Contains(suspects, members[i+1].Node) {
			suspect = true
		}
		if usable[i] && m.Connected && !suspect {
			left = append(left, m.Node)
		}
	}
	return left
}

// replaceable are the connected members whose replica is lost: where no other
// chunkserver can take the chunk, it is copied to them again.
func replaceable(c state.Chunk, members []registry.Member, giveUp time.Duration, usable []bool, suspects []proto.NodeID) (list []proto.NodeID) {
	standings := judge(c, members, giveUp)
	for i, m := range members {
		if standings[i] == lost && !usable[i] && m.Connected && m.Known && !slices.Contains(suspects, m.Node) {
			list = append(list, m.Node)
		}
	}
	return list
}

// hopeless tells whether nobody who could have the chunk's bytes has them, or can
// still turn out to.
func hopeless(c state.Chunk, members []registry.Member, giveUp time.Duration) bool {
	standings := judge(c, members, giveUp)
	return !slices.ContainsFunc(standings, func(s standing) bool { return s != lost }) && lastResort(c, members, standings) < 0
}

// accuser is the predecessor of the first suspect that has one.
func accuser(c state.Chunk, suspects []proto.NodeID) proto.NodeID {
	for i := 1; i < len(c.Chain); i++ {
		if slices.Contains(suspects, c.Chain[i]) {
			return c.Chain[i-1]
		}
	}
	return 0
}

// repairPlan is what a committed chunk needs.
type repairPlan struct {
	forward []proto.NodeID // behind, or the last resort: to be made equal at the current version
	renew   bool           // a write has failed in mid-chain: all are to be made equal at the next version
	keep    []proto.NodeID // good or pending: stay in the chain, in its order
	sources []proto.NodeID // of keep: good ones, to be fenced and copied from
	again   []proto.NodeID // connected members that lost their replica: it is copied to them again
	want    int            // further replicas wanted
}

// needed tells whether there is anything to do now.
func (p repairPlan) needed() bool {
	return len(p.forward) > 0 || p.renew || len(p.sources) > 0 && (len(p.again) > 0 || p.want > 0)
}

// planRepair says what to do about a committed chunk. While a member is pending
// nothing is copied, unless the chunk is below least good replicas.
func planRepair(c state.Chunk, members []registry.Member, giveUp time.Duration, replicas, least int) (p repairPlan) {
	standings := judge(c, members, giveUp)
	for i, m := range members {
		if standings[i] == behind && m.Connected {
			p.forward = append(p.forward, m.Node)
		}
	}
	if len(p.forward) > 0 {
		return p
	}
	p.renew = slices.ContainsFunc(members, func(m registry.Member) bool { return m.Good(c.Version) && m.Holds.Broken })
	if p.renew {
		return p
	}
	resort := lastResort(c, members, standings)
	if resort >= 0 && (members[resort].Holds.Unclean || members[resort].Holds.Version != c.Version) {
		if members[resort].Connected { // it serves nobody before it is told that its bytes stand
			p.forward = append(p.forward, members[resort].Node)
		}
		return p
	}
	waiting := 0
	for i, m := range members {
		switch {
		case standings[i] == good || i == resort:
			p.keep = append(p.keep, m.Node)
			p.sources = append(p.sources, m.Node)
		case standings[i] == pending || standings[i] == behind:
			p.keep = append(p.keep, m.Node)
			waiting++
		case m.Connected && m.Known:
			p.again = append(p.again, m.Node)
		}
	}
	if waiting > 0 && len(p.sources) >= least {
		return repairPlan{}
	}
	p.want = max(0, replicas-len(p.keep)-len(p.again))
	return p
}
