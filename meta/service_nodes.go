package meta

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/grpc"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/meta/registry"
	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// The service for chunkservers.

// RegisterDataNode takes a chunkserver in. A new one gets its id from the log, and
// keeps it however often it asks: the instance tells that it is the same.
func (m *Master) RegisterDataNode(_ context.Context, req *pb.RegisterDataNodeRequest) (*pb.RegisterDataNodeReply, error) {
	refuse := func(kind proto.Kind, detail string) error {
		return proto.E(kind, "register chunkserver", req.Address, detail)
	}
	instance, err := uuid.Parse(req.Instance)
	if err != nil || proto.Incarnation(req.Incarnation).Start() == 0 || req.Address == "" || len(req.Address) > state.MaxAddress {
		return nil, refuse(proto.Malformed, "an instance, an incarnation and an address are needed")
	}
	if err := m.belongs(req, instance, refuse); err != nil {
		return nil, err
	}
	if newest := m.newest(instance); !proto.Incarnation(req.Incarnation).Continues(newest) {
		m.log.Error("a chunkserver has come back with an older copy of its data folders: it is to doubt all they hold",
			"address", req.Address, "incarnation", req.Incarnation, "newest", newest)
		return &pb.RegisterDataNodeReply{Newest: uint64(newest)}, nil
	}
	node, err := m.nodeID(req, instance)
	if err != nil {
		return nil, &proto.Error{Kind: proto.KindOf(err), Op: "register chunkserver", Subject: req.Address, Err: err}
	}
	who := registry.Identity{Node: node, Instance: req.Instance, Incarnation: req.Incarnation, Address: req.Address, Version: req.Version}
	if err := m.nodes.Register(who, req.Disks, req.Chunks); err != nil {
		return nil, err
	}
	m.log.Info("chunkserver registered", "node", node, "address", req.Address, "incarnation", req.Incarnation, "chunks", req.Chunks)
	return &pb.RegisterDataNodeReply{
		Cluster: m.cluster.Cluster.String(), Node: uint32(node), Epoch: uint64(m.cluster.Epoch),
		HeartbeatMs: uint32(m.cfg.Heartbeat.Milliseconds()), DeadAfterMs: uint32(m.cfg.DeadAfter.Milliseconds()), ReportMs: uint32(m.cfg.Report.Milliseconds()),
		ChunkSize: m.cluster.ChunkSize, Buckets: registry.Buckets,
	}, nil
}

// belongs checks that a chunkserver is this cluster's, or new and empty (G10, L15).
func (m *Master) belongs(req *pb.RegisterDataNodeRequest, instance uuid.UUID, refuse func(proto.Kind, string) error) error {
	cluster, err := proto.ParseClusterID(req.Cluster)
	switch {
	case err != nil:
		return err
	case cluster == (proto.ClusterID{}) && req.Chunks > 0:
		return refuse(proto.WrongCluster, "it holds chunks and does not know of which cluster; they are not taken over")
	case cluster != (proto.ClusterID{}) && cluster != m.cluster.Cluster:
		return refuse(proto.WrongCluster, fmt.Sprintf("it belongs to cluster %v and this master to %v; give it its own master, or an empty folder", cluster, m.cluster.Cluster))
	case proto.Epoch(req.Epoch) > m.cluster.Epoch:
		return refuse(proto.OldEpoch, fmt.Sprintf("it has obeyed a master of epoch %d and this one is of epoch %d: this master's folder is an old copy", req.Epoch, m.cluster.Epoch))
	case req.Node == 0:
		return nil
	}
	known, ok := m.nodeInfo(proto.NodeID(req.Node))
	if !ok || known.Instance != instance {
		return refuse(proto.WrongCluster, fmt.Sprintf("chunkserver %d of this cluster is not this one", req.Node))
	}
	return nil
}

func (m *Master) nodeInfo(id proto.NodeID) (info state.NodeInfo, ok bool) {
	return m.findNode(func(n state.NodeInfo) bool { return n.ID == id })
}

func (m *Master) findNode(is func(state.NodeInfo) bool) (info state.NodeInfo, ok bool) {
	m.machine.read(func(st *state.State) {
		nodes := st.Nodes()
		if i := slices.IndexFunc(nodes, is); i >= 0 {
			info, ok = nodes[i], true
		}
	})
	return info, ok
}

// newest is the incarnation of an instance that registered last; 0: none is known.
func (m *Master) newest(instance uuid.UUID) proto.Incarnation {
	known, _ := m.instance(instance)
	return proto.Incarnation(known.Incarnation)
}

func (m *Master) instance(instance uuid.UUID) (info state.NodeInfo, ok bool) {
	return m.findNode(func(n state.NodeInfo) bool { return n.Instance == instance })
}

// nodeID finds the id of an instance, or has the log give it one, and has the log know of
// this start: only then can the next one be told from one with an older copy of the folders.
func (m *Master) nodeID(req *pb.RegisterDataNodeRequest, instance uuid.UUID) (proto.NodeID, error) {
	if known, ok := m.instance(instance); ok && known.Address == req.Address && known.Incarnation == req.Incarnation {
		return known.ID, nil
	}
	result, err := m.propose(&state.RegisterNode{Instance: instance, Address: req.Address, Incarnation: req.Incarnation})
	return result.Node, err
}

type heartbeatStream = grpc.BidiStreamingServer[pb.HeartbeatRequest, pb.NodeCommand]

// Heartbeat serves the stream of a chunkserver.
func (m *Master) Heartbeat(stream heartbeatStream) error {
	requests := make(chan *pb.HeartbeatRequest)
	broken := make(chan error, 1)
	go receive(stream, requests, broken)
	var first *pb.HeartbeatRequest
	select {
	case first = <-requests:
	case err := <-broken:
		return endOfStream(err)
	case <-m.stopping.Done():
		return m.goingDown("heartbeat")
	}
	node := proto.NodeID(first.Node)
	connection, err := m.nodes.Connect(node, first.Incarnation)
	if err != nil {
		again := &pb.NodeCommand{Epoch: uint64(m.cluster.Epoch), Command: &pb.NodeCommand_Register{Register: &pb.RegisterAgain{}}}
		return stream.Send(again)
	}
	err = m.converse(stream, connection, first, requests, broken)
	if m.nodes.Disconnect(node, connection) && m.stopping.Err() == nil {
		m.run(func(ctx context.Context) { m.buryIfGone(ctx, node, first.Incarnation) })
	}
	return err
}

// converse takes heartbeats in and sends commands until the stream ends.
func (m *Master) converse(stream heartbeatStream, connection *registry.Stream, request *pb.HeartbeatRequest, requests <-chan *pb.HeartbeatRequest, broken <-chan error) error {
	for {
		if request != nil {
			if !m.heartbeat(connection, request) {
				m.log.Debug("an old heartbeat is ignored", "node", request.Node, "sequence", request.Sequence)
			}
			ack := &pb.NodeCommand{Epoch: uint64(m.cluster.Epoch), Command: &pb.NodeCommand_Acknowledge{Acknowledge: &pb.Acknowledge{TypicalLatencyUs: m.nodes.TypicalLatency()}}}
			if err := stream.Send(ack); err != nil {
				return err
			}
			request = nil
		}
		select {
		case request = <-requests:
		case command := <-connection.Commands():
			if err := stream.Send(command); err != nil {
				return err
			}
		case err := <-broken:
			return endOfStream(err)
		case <-connection.Done():
			return proto.E(proto.Unavailable, "heartbeat", "", "the stream was replaced by a later one, or was silent for too long; register again")
		case <-m.stopping.Done():
			return m.goingDown("heartbeat")
		}
	}
}

func (m *Master) heartbeat(connection *registry.Stream, req *pb.HeartbeatRequest) (ok bool) {
	var homeless []registry.Stray
	m.machine.read(func(st *state.State) { homeless, ok = m.nodes.Heartbeat(connection, req, st) })
	m.homeless(homeless)
	if slices.ContainsFunc(req.Changed, func(s *pb.ReplicaState) bool { return s.Corrupt }) {
		m.wakeRepair() // L13
	}
	return ok
}

// Writers get their turn after so many replicas of a report, or buckets: one that lacks
// replicas is compared with all chunks that belong into it.
const (
	reportPiece   = 1 << 12
	reportBuckets = 4
)

// BlockReport compares what a chunkserver holds with what is known of it.
func (m *Master) BlockReport(_ context.Context, req *pb.BlockReportRequest) (*pb.BlockReportReply, error) {
	reply := &pb.BlockReportReply{}
	piece := &pb.BlockReportRequest{Node: req.Node, Incarnation: req.Incarnation, Sequence: req.Sequence, Digests: req.Digests}
	for rest := req.Buckets; ; {
		replicas := 0
		for len(rest) > 0 && replicas < reportPiece && len(piece.Buckets) < reportBuckets {
			replicas += len(rest[0].Replicas)
			piece.Buckets, rest = append(piece.Buckets, rest[0]), rest[1:]
		}
		var wanted []uint32
		var homeless []registry.Stray
		var err error
		m.machine.read(func(st *state.State) { wanted, homeless, err = m.nodes.Report(piece, st) })
		if err != nil {
			return nil, err
		}
		m.homeless(homeless)
		reply.Wanted = append(reply.Wanted, wanted...)
		if len(rest) == 0 {
			return reply, nil
		}
		piece.Digests, piece.Buckets = nil, nil
	}
}
