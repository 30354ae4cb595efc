package meta

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/distrifs/distrifs/meta/registry"
	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Fsck checks the tree against the chunk table, and the table against what all
// chunkservers have reported. The tree is that of a snapshot, which is written as a
// checkpoint and loaded again: so every reference in it is checked as at a start, and
// the master serves meanwhile. It takes as much memory as the state once more.
//
// With repair it heals what nothing is lost by: replicas that no chunk needs are removed
// from where their chunk has all it should, and the repair of others begins at once. Of
// what else there is it says what could be done, and what that would lose; it does
// none of it.

type fsckStream = grpc.ServerStreamingServer[pb.FsckFinding]

// Fsck sends what is wrong, ordered by path, and then a summary.
func (m *Master) Fsck(req *pb.FsckRequest, stream fsckStream) error {
	if m.inSafeMode() {
		return proto.E(proto.Unavailable, "fsck", "", "too few chunkservers have reported since the master's start; try again in a minute")
	}
	f := &fsck{Master: m, stream: stream, repair: req.Repair, problems: map[proto.ChunkID][]*pb.FsckFinding{}, summary: &pb.FsckSummary{}, began: m.cfg.Now()}
	var err error
	if f.tree, err = m.reloaded(); err != nil {
		return f.send(&pb.FsckFinding{Kind: pb.FsckKind_FSCK_DAMAGED, Detail: fmt.Sprintf("the metadata contradict themselves: %v", err),
			Remedy: "keep the folder of the master as it is and start from the last checkpoint that loads"})
	}
	f.chunks()
	f.strays()
	if err := f.walk(); err != nil {
		return err
	}
	if err := f.nameless(); err != nil {
		return err
	}
	if err := f.remains(); err != nil {
		return err
	}
	m.wakeRepair()
	return stream.Send(&pb.FsckFinding{Summary: f.summary})
}

// reloaded gives a copy of the state that has passed all checks of a start.
func (m *Master) reloaded() (*state.State, error) {
	snapshot, err := m.machine.Snapshot()
	if err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	go func() {
		_, err := snapshot.WriteTo(w)
		snapshot.Release()
		_ = w.CloseWithError(err) // never fails
	}()
	loaded, err := state.Load(r)
	return loaded, errors.Join(err, r.Close())
}

// fsck is one run.
type fsck struct {
	*Master
	stream   fsckStream
	tree     *state.State
	repair   bool
	began    time.Time
	problems map[proto.ChunkID][]*pb.FsckFinding // without path and index
	summary  *pb.FsckSummary
	unneeded []registry.Stray // replicas of freed chunks
}

func (f *fsck) send(finding *pb.FsckFinding) error {
	switch finding.Kind {
	case pb.FsckKind_FSCK_LOST:
		f.summary.Lost++
	case pb.FsckKind_FSCK_UNDER_REPLICATED:
		f.summary.UnderReplicated++
	case pb.FsckKind_FSCK_STALE:
		f.summary.Stale++
	case pb.FsckKind_FSCK_ORPHANED:
		f.summary.Orphaned++
	}
	return f.stream.Send(finding)
}

func (f *fsck) note(c state.Chunk, kind pb.FsckKind, detail, remedy string) {
	f.problems[c.ID] = append(f.problems[c.ID], &pb.FsckFinding{Inode: uint64(c.Inode), Chunk: uint64(c.ID), Kind: kind, Detail: detail, Remedy: remedy})
}

// chunks looks at every committed chunk of the tree that still is as it was.
func (f *fsck) chunks() {
	f.tree.EachChunk(1, func(c state.Chunk) bool {
		now, ok := f.machine.chunk(c.ID)
		if !ok || !c.Committed || f.stream.Context().Err() != nil {
			return f.stream.Context().Err() == nil
		}
		f.summary.Chunks++
		switch good := f.nodes.Good(now); {
		case good >= int(f.cluster.Replicas) || f.repairs.working(c.ID) && good > 0:
		case good > 0:
			f.note(now, pb.FsckKind_FSCK_UNDER_REPLICATED, fmt.Sprintf("%d of %d replicas are good", good, f.cluster.Replicas), f.repairRemedy(now))
		case f.survives(now):
			f.note(now, pb.FsckKind_FSCK_UNDER_REPLICATED, "its chain was changed, and no replica has confirmed that yet", f.repairRemedy(now))
		default:
			detail, remedy := f.lost(now)
			f.note(now, pb.FsckKind_FSCK_LOST, detail, remedy)
		}
		return true
	})
}

// survives tells whether a chunk without a good replica has one that becomes good.
func (f *fsck) survives(c state.Chunk) bool {
	members := f.members(c)
	standings := judge(c, members, f.giveUp())
	return slices.Contains(standings, behind) || lastResort(c, members, standings) >= 0
}

func (f *fsck) repairRemedy(c state.Chunk) string {
	if p := f.plan(c); p.needed() {
		return "it is being repaired; nothing is lost"
	}
	return "add chunkservers, or bring back those that are away; nothing is lost"
}

// lost tells what there is of a chunk without a good replica, and what each choice
// would lose.
func (f *fsck) lost(c state.Chunk) (detail, remedy string) {
	remedy = "nothing is left of it here: bring one of its chunkservers or their disks back, or delete the file"
	var have []string
	for _, member := range f.members(c) {
		held := member.Holds
		switch {
		case !member.Alive:
			have = append(have, fmt.Sprintf("chunkserver %d (%s) is away", member.Node, f.nodes.LastAddress(member.Node)))
			remedy = "bring a chunkserver back that is away: that loses nothing"
		case held.Version == 0:
			have = append(have, fmt.Sprintf("chunkserver %d has none", member.Node))
		default:
			have = append(have, fmt.Sprintf("chunkserver %d has version %d of %d%s", member.Node, held.Version, c.Version, conditionOf(held)))
		}
	}
	return "no replica is good: " + strings.Join(have, ", "), remedy
}

func conditionOf(r registry.Replica) string {
	switch {
	case r.Corrupt || r.Accused:
		return ", corrupt: readable are only the blocks that match their checksums"
	case r.Unclean:
		return ", unclean: it was being written when its chunkserver died"
	default:
		return ""
	}
}

// maxStraysSeen bounds how many replicas are listed that do not belong where they are.
const maxStraysSeen = 1 << 16

// strays looks at replicas that are not what the table says.
func (f *fsck) strays() {
	var list []registry.Stray
	fates := map[proto.ChunkID]state.Fate{}
	f.machine.read(func(st *state.State) {
		list = f.nodes.Strays(maxStraysSeen, func(s registry.Stray) bool {
			c, ok := st.Chunk(s.Chunk)
			fates[s.Chunk] = st.Fate(s.Chunk)
			member := ok && slices.Contains(c.Chain, s.Node) // what it lacks, its chunk lacks
			return s.Alive && (!ok || s.Replica.Version > c.Version || c.Committed && !member)
		})
	})
	for _, s := range list {
		c, ok := f.machine.chunk(s.Chunk)
		where := fmt.Sprintf("chunkserver %d has version %d", s.Node, s.Replica.Version)
		switch {
		case ok && s.Replica.Version > c.Version: // L1
			f.note(c, pb.FsckKind_FSCK_STALE, fmt.Sprintf("%s, newer than the table's %d", where, c.Version), "it is left alone: the master's folder may be an old copy")
		case ok && s.Replica.Failing: // as below
		case ok:
			f.note(c, pb.FsckKind_FSCK_STALE, fmt.Sprintf("%s, the table says %d on %v", where, c.Version, c.Chain), f.staleRemedy(c, s))
		case fates[s.Chunk] == state.NeverIssued:
			f.note(state.Chunk{ID: s.Chunk}, pb.FsckKind_FSCK_ORPHANED, where+" of a chunk that this master never issued", "it is left alone: removing it may lose what an earlier master knew of")
		case s.Replica.Failing: // nothing can be removed there, and status tells of the disk
		default:
			f.unneeded = append(f.unneeded, s)
		}
	}
}

// staleRemedy says what becomes of a replica that is of no use, and removes it if it
// may go now.
func (f *fsck) staleRemedy(c state.Chunk, s registry.Stray) string {
	if f.nodes.Good(c) < int(f.cluster.Replicas) {
		return "it is kept until the chunk has all its replicas"
	}
	if !f.repair {
		return "it is removed by and by, or now with --repair; nothing is lost"
	}
	if !f.remove(s) {
		return "it is removed when the chunk is not being written to; nothing is lost"
	}
	f.summary.Healed++
	return "removed; nothing is lost"
}

// remove waits with a replica of what was written a moment ago, but not for ever.
func (f *fsck) remove(s registry.Stray) (gone bool) {
	for !f.removeOneExtra(f.stream.Context(), s) {
		if f.cfg.Now().Sub(f.began) > 2*f.cfg.Quiet || f.stream.Context().Err() != nil {
			return false
		}
		time.Sleep(f.cfg.Quiet / 10)
	}
	return true
}

// walk goes through the tree and sends what is wrong with the chunks of its files.
func (f *fsck) walk() error {
	type dir struct {
		inode proto.InodeID
		path  string
	}
	for stack := []dir{{proto.RootInode, ""}}; len(stack) > 0; {
		at := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		f.summary.Directories++
		var failed error
		kind := f.tree.ReadDir(at.inode, 0, func(e state.DirEntry) bool {
			path := at.path + "/" + string(e.Name)
			switch e.Type {
			case typeDirectory:
				stack = append(stack, dir{e.Inode, path})
			case typeRegular:
				f.summary.Files++
				failed = f.file(e.Inode, path)
			}
			return failed == nil
		})
		if failed == nil && kind != proto.OK {
			failed = f.send(&pb.FsckFinding{Path: cmp.Or(at.path, "/"), Inode: uint64(at.inode), Kind: pb.FsckKind_FSCK_DAMAGED, Detail: "the directory cannot be read: " + kind.Error()})
		}
		if failed != nil {
			return failed
		}
	}
	return nil
}

// The types of inodes, as in st_mode.
const (
	typeDirectory = 0o040000
	typeRegular   = 0o100000
)

func (f *fsck) file(ino proto.InodeID, path string) (failed error) {
	if len(f.problems) == 0 {
		return nil
	}
	f.tree.FileChunks(ino, 0, int(f.tree.Config().LastChunk()), func(c state.Chunk) bool {
		for _, finding := range f.problems[c.ID] {
			finding.Path, finding.Index, finding.Inode = path, c.Index, uint64(ino)
			if failed = f.send(finding); failed != nil {
				return false
			}
		}
		return true
	})
	return failed
}

// nameless sends what was found of chunks that no name leads to.
func (f *fsck) nameless() error {
	ids := make([]proto.ChunkID, 0, len(f.problems))
	for id, list := range f.problems {
		if list[0].Path == "" {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	for _, id := range ids {
		for _, finding := range f.problems[id] {
			if err := f.send(finding); err != nil {
				return err
			}
		}
	}
	return nil
}

// soonFreed is the time in which what was deleted is gone from master and chunkservers, as a rule.
const soonFreed = 3 * time.Second

// remains sends what deleted files have left behind. Files are deleted all the time: only what is still
// there after soonFreed is a finding.
func (f *fsck) remains() error {
	orphans := f.orphans(f.tree)
	if len(orphans)+len(f.unneeded) == 0 {
		return nil
	}
	select {
	case <-time.After(soonFreed):
	case <-f.stream.Context().Done():
		return f.stream.Context().Err()
	}
	for _, s := range f.unneeded {
		if f.nodes.Holds(s.Node, state.Chunk{ID: s.Chunk}).Version == 0 {
			continue
		}
		detail := fmt.Sprintf("chunkserver %d has version %d of a chunk of a deleted file", s.Node, s.Replica.Version)
		if err := f.send(&pb.FsckFinding{Chunk: uint64(s.Chunk), Kind: pb.FsckKind_FSCK_ORPHANED, Detail: detail, Remedy: "it is being removed; nothing is lost"}); err != nil {
			return err
		}
	}
	var still map[proto.InodeID]bool
	f.machine.read(func(st *state.State) { still = f.orphans(st) })
	for ino := range orphans {
		if !still[ino] {
			continue
		}
		if err := f.send(&pb.FsckFinding{Inode: uint64(ino), Kind: pb.FsckKind_FSCK_ORPHANED, Detail: "a file without a name that nobody has open", Remedy: "it is freed within seconds; nothing is lost"}); err != nil {
			return err
		}
	}
	return nil
}

// orphans gives the files without a name that nobody has open.
func (f *fsck) orphans(st *state.State) map[proto.InodeID]bool {
	orphans := map[proto.InodeID]bool{}
	st.EachOrphan(func(ino proto.InodeID) bool {
		if !f.sessions.isOpen(ino) && !st.Reserved(ino) {
			orphans[ino] = true
		}
		return true
	})
	return orphans
}
