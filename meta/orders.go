package meta

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/distrifs/distrifs/meta/registry"
	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Orders to chunkservers, each awaited. What they change was logged before (L1).

func (m *Master) order(ctx context.Context, timeout time.Duration, node proto.NodeID, chunk proto.ChunkID, command *pb.NodeCommand) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	command.Epoch = uint64(m.cluster.Epoch)
	_, err := m.nodes.Order(ctx, node, chunk, command)
	return err
}

// takeOn has a member's replica take the chunk's version on and be unclean: it may differ from
// others of that version.
func (m *Master) takeOn(ctx context.Context, node proto.NodeID, c state.Chunk) error {
	return m.order(ctx, m.cfg.OrderTimeout, node, c.ID, &pb.NodeCommand{Command: &pb.NodeCommand_SetVersion{
		SetVersion: &pb.SetVersion{Chunk: uint64(c.ID), Version: uint64(c.Version), Unclean: true},
	}})
}

// setVersion fences a member's replica at the chunk's version. An absent one is made if
// create says so; an unclean one is refused unless its bytes are to stand.
func (m *Master) setVersion(ctx context.Context, node proto.NodeID, c state.Chunk, create, stands bool) error {
	return m.order(ctx, m.cfg.OrderTimeout, node, c.ID, &pb.NodeCommand{Command: &pb.NodeCommand_SetVersion{
		SetVersion: &pb.SetVersion{Chunk: uint64(c.ID), Version: uint64(c.Version), Create: create, Stands: stands},
	}})
}

// copyTo makes a member's replica equal to those of others of its chain, which have the
// chunk's version: it fetches what differs.
func (m *Master) copyTo(ctx context.Context, node proto.NodeID, c state.Chunk, sources []proto.NodeID) error {
	command := &pb.CopyChunk{Chunk: uint64(c.ID), Version: uint64(c.Version), Sources: m.sources(sources), Afresh: m.nodes.Holds(node, c).Accused}
	return m.order(ctx, m.cfg.CopyTimeout, node, c.ID, &pb.NodeCommand{Command: &pb.NodeCommand_Copy{Copy: command}})
}

// sources says where a copy can be made from.
func (m *Master) sources(nodes []proto.NodeID) (list []*pb.Replica) {
	for _, node := range nodes {
		list = append(list, &pb.Replica{Node: uint32(node), Address: m.nodes.Address(node)})
	}
	return list
}

// deleteFrom has a chunkserver remove a replica of at most a version.
func (m *Master) deleteFrom(ctx context.Context, node proto.NodeID, chunk proto.ChunkID, version proto.Version, reason string) error {
	return m.order(ctx, m.cfg.OrderTimeout, node, chunk, &pb.NodeCommand{Command: &pb.NodeCommand_Delete{
		Delete: &pb.DeleteChunk{Chunk: uint64(chunk), Version: uint64(version), Reason: reason},
	}})
}

// onEach runs an order for several chunkservers at once and gives those it failed for.
func (m *Master) onEach(nodes []proto.NodeID, what string, c state.Chunk, order func(proto.NodeID) error) (failed []proto.NodeID) {
	errs := make([]error, len(nodes))
	var group sync.WaitGroup
	for i, node := range nodes {
		group.Go(func() { errs[i] = order(node) })
	}
	group.Wait()
	for i, err := range errs {
		if err != nil {
			failed = append(failed, nodes[i])
			m.log.Warn(what+" failed", "chunk", c.ID, "version", c.Version, "node", nodes[i], "error", err)
		}
	}
	return failed
}

// changeChain puts the next version with a new chain into the log: of the next age, if
// its members may lack acknowledged bytes (L9).
func (m *Master) changeChain(c state.Chunk, chain []proto.NodeID, why string) (state.Chunk, error) {
	to := c.Version.Next()
	if lacking(c, m.members(c), chain) {
		to = c.Version.NextAge()
		m.log.Warn("all replicas were being written when their machines stopped: what was not synced may be lost", "chunk", c.ID, "version", to)
	}
	result, err := m.propose(&state.SetChain{Chunk: c.ID, From: c.Version, To: to, Chain: chain})
	if err != nil {
		return c, &proto.Error{Kind: proto.KindOf(err), Op: "change chain", Subject: chunkName(c), Err: err}
	}
	next := result.Chunks[0]
	level := slog.LevelInfo
	if why == "repair" || why == "move" { // the loop tells how many
		level = slog.LevelDebug
	}
	m.log.Log(context.Background(), level, "chain changed", "chunk", c.ID, "version", next.Version, "from", c.Chain, "to", chain, "why", why)
	return next, nil
}

func (m *Master) members(c state.Chunk) []registry.Member { return m.nodes.Members(c) }

// giveUp is the silence after which nothing is expected of a chunkserver any more: where
// no good replica is left, the next best is taken. Where one is, repair begins sooner.
func (m *Master) giveUp() time.Duration {
	return m.cfg.DeadAfter + max(m.cfg.DeadAfter, m.cfg.RepairDelay)
}
