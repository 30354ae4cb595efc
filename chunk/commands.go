package chunk

import (
	"context"
	"fmt"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

const (
	orderWorkers = 8
	copyWorkers  = 4
	maxOrders    = 4096 // orders that wait for a worker
	maxCopies    = 1024 // copies that wait for a worker
)

// queue never blocks: an order that finds no room is answered with Busy.
func (s *session) queue(lane chan<- *pb.NodeCommand, command *pb.NodeCommand) {
	select {
	case lane <- command:
	default:
		s.answer(&pb.CommandResult{Id: command.Id, Failure: proto.ToFailure(proto.E(proto.Busy, "queue order", "", "too many are waiting"))})
	}
}

func (s *session) work(ctx context.Context, lane <-chan *pb.NodeCommand) error {
	for {
		select {
		case command := <-lane:
			s.answer(s.carryOut(ctx, command))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// answer has a result sent with a heartbeat at once.
func (s *session) answer(result *pb.CommandResult) {
	s.mu.Lock()
	s.results = append(s.results, result)
	s.mu.Unlock()
	s.store.changes.kick()
}

func (s *session) carryOut(ctx context.Context, command *pb.NodeCommand) *pb.CommandResult {
	chunk, err := s.do(ctx, command)
	if err != nil {
		s.log.Warn("order of the master failed", "order", fmt.Sprintf("%T", command.Command), "chunk", chunk, "error", err)
	}
	return &pb.CommandResult{Id: command.Id, Failure: proto.ToFailure(err), State: s.store.replicaState(chunk)}
}

// do carries out one order, unless a later master has given orders already.
func (s *session) do(ctx context.Context, command *pb.NodeCommand) (proto.ChunkID, error) {
	epoch := proto.Epoch(command.Epoch)
	obeyErr := s.store.obey(epoch)
	switch c := command.Command.(type) {
	case *pb.NodeCommand_SetVersion:
		id := proto.ChunkID(c.SetVersion.Chunk)
		if obeyErr != nil {
			return id, obeyErr
		}
		switch v := proto.Version(c.SetVersion.Version); {
		case c.SetVersion.Stands:
			return id, s.store.LetStand(id, v)
		case c.SetVersion.Unclean:
			return id, s.store.TakeOn(id, v)
		default:
			return id, s.store.SetVersion(id, v, c.SetVersion.Create)
		}
	case *pb.NodeCommand_Delete:
		id := proto.ChunkID(c.Delete.Chunk)
		if obeyErr != nil {
			return id, obeyErr
		}
		err := s.store.Delete(id, proto.Version(c.Delete.Version), epoch)
		if err == nil {
			s.deleted.Add(1)
			s.log.Debug("replica deleted by order of the master", "chunk", id, "version", c.Delete.Version, "reason", c.Delete.Reason)
			s.forgetChunk(id)
		}
		return id, err
	case *pb.NodeCommand_Copy:
		id := proto.ChunkID(c.Copy.Chunk)
		if obeyErr != nil {
			return id, obeyErr
		}
		return id, s.copy(ctx, id, c.Copy)
	default:
		return 0, proto.E(proto.NotSupported, "obey", fmt.Sprintf("%T", command.Command), "this chunkserver does not know the order: update it")
	}
}

func (s *session) forgetChunk(id proto.ChunkID) {
	s.forget(s.store.membership.Load().cluster.ChunkUUID(id))
}
