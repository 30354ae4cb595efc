package registry

import (
	"context"
	"fmt"

	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// maxQueue is how many commands may wait for a stream.
const maxQueue = 4096

// Stream is the standing connection to a chunkserver. Whoever serves it sends what
// comes out of Commands, until Done.
type Stream struct {
	commands chan *pb.NodeCommand
	done     chan struct{}
	pending  map[uint64]*pending // orders by id; protected by Registry.mu
}

// pending is an order whose result is awaited.
type pending struct {
	chunk  proto.ChunkID
	result chan outcome // has room for one
}

type outcome struct {
	state *pb.ReplicaState
	err   error
}

// Commands gives what is to be sent, in order.
func (s *Stream) Commands() <-chan *pb.NodeCommand { return s.commands }

// Done is closed when the stream has been replaced or its chunkserver declared dead.
func (s *Stream) Done() <-chan struct{} { return s.done }

// Connect begins a stream; one that stands already ends. Unavailable: the chunkserver
// has to register first.
func (r *Registry) Connect(id proto.NodeID, incarnation uint64) (*Stream, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.nodes[id]
	if n == nil || n.incarnation == 0 || n.incarnation != incarnation {
		return nil, proto.E(proto.Unavailable, "heartbeat", nodeName(id), "this incarnation is not registered with this master")
	}
	n.close()
	n.stream = &Stream{commands: make(chan *pb.NodeCommand, maxQueue), done: make(chan struct{}), pending: map[uint64]*pending{}}
	n.hear(r.opts.Now())
	return n.stream, nil
}

// Disconnect ends a stream, and tells whether it still stood.
func (r *Registry) Disconnect(id proto.NodeID, s *Stream) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.nodes[id]
	stood := n != nil && n.stream == s
	if stood {
		n.close()
	}
	return stood
}

// close needs mu.
func (n *node) close() {
	s := n.stream
	if s == nil {
		return
	}
	n.stream = nil
	close(s.done)
	for _, p := range s.pending {
		p.result <- outcome{err: proto.E(proto.Unavailable, "order", nodeName(n.id), "the connection broke")}
	}
	s.pending = nil
}

// Order sends a command and waits for its result. The replica's state afterwards is
// in the registry when it returns. Unavailable: the chunkserver is not connected, or
// does not keep up.
func (r *Registry) Order(ctx context.Context, id proto.NodeID, chunk proto.ChunkID, command *pb.NodeCommand) (*pb.ReplicaState, error) {
	p := &pending{chunk: chunk, result: make(chan outcome, 1)}
	stream, err := r.send(id, p, command)
	if err != nil {
		return nil, err
	}
	select {
	case o := <-p.result:
		return o.state, o.err
	case <-ctx.Done():
		r.mu.Lock()
		delete(stream.pending, command.Id)
		r.mu.Unlock()
		return nil, &proto.Error{Kind: proto.Timeout, Op: "order", Subject: nodeName(id), Err: context.Cause(ctx)}
	}
}

func (r *Registry) send(id proto.NodeID, p *pending, command *pb.NodeCommand) (*Stream, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.nodes[id]
	if n == nil || n.stream == nil {
		return nil, proto.E(proto.Unavailable, "order", nodeName(id), "not connected")
	}
	r.orderID++
	command.Id = r.orderID
	select {
	case n.stream.commands <- command:
		n.stream.pending[command.Id] = p
		return n.stream, nil
	default:
		return nil, proto.E(proto.Unavailable, "order", nodeName(id), "it does not keep up with its orders")
	}
}

// finish takes the result of an order in. Needs mu.
func (r *Registry) finish(n *node, result *pb.CommandResult, view Chunks, sequence uint64) *Stray {
	var p *pending
	if n.stream != nil {
		p = n.stream.pending[result.Id]
		delete(n.stream.pending, result.Id)
	}
	var found *Stray
	err := proto.FromFailure(result.Failure)
	switch {
	case result.State != nil:
		found = r.learn(n, result.State, view, sequence)
	case p != nil && (err == nil || proto.KindOf(err) == proto.NoReplica):
		r.set(n, p.chunk, r.live(view, p.chunk), Replica{}) // deleted, or was never there
		n.touched[proto.BucketOf(p.chunk, Buckets)] = sequence
	}
	if p != nil {
		p.result <- outcome{state: result.State, err: err}
	}
	return found
}

// learn takes the state of one replica in, and returns it when no live chunk of ours
// is behind it. Needs mu.
func (r *Registry) learn(n *node, s *pb.ReplicaState, view Chunks, sequence uint64) *Stray {
	id := proto.ChunkID(s.Chunk)
	if sequence != 0 {
		n.touched[proto.BucketOf(id, Buckets)] = sequence
	}
	now := replicaOf(s)
	if now.Version == 0 {
		return nil // no replica has it
	}
	c := r.live(view, id)
	before := r.holds(n, id, c)
	if before.Accused && before.Version == now.Version {
		now.Accused = true // until it was replaced
	}
	r.set(n, id, c, now)
	if c != nil || before == now && view.Fate(id) != state.Freed {
		return nil
	}
	return &Stray{Node: n.id, Alive: n.alive, Chunk: id, Replica: now}
}

// replicaOf is what a chunkserver says of a replica.
func replicaOf(s *pb.ReplicaState) Replica {
	return Replica{Version: proto.Version(s.Version), Unclean: s.Unclean, Corrupt: s.Corrupt, Complete: s.Complete, Broken: s.Broken, Slow: s.Slow, Failing: s.Failing}
}

func nodeName(id proto.NodeID) string { return fmt.Sprintf("chunkserver %d", id) }
