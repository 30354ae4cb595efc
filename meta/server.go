package meta

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Limits of the gRPC server.
const (
	maxMessage   = 16 << 20 // bytes received: a bucket of a block report is the largest
	maxStreams   = 1 << 14  // calls under way on one connection
	pingAfter    = 10 * time.Second
	pingTimeout  = 10 * time.Second
	minPingEvery = time.Second // by clients; more often is abuse
)

func newServer(m *Master) *grpc.Server {
	server := grpc.NewServer(
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.StaticStreamWindowSize(proto.StreamWindow),
		grpc.StaticConnWindowSize(proto.ConnectionWindow),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingAfter, Timeout: pingTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPingEvery, PermitWithoutStream: true}),
		grpc.UnaryInterceptor(unaryErrors),
		grpc.StreamInterceptor(streamErrors),
	)
	pb.RegisterMasterServer(server, m)
	pb.RegisterDataNodesServer(server, m)
	return server
}

// The interceptors put the errors of handlers into their wire form.

func unaryErrors(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	reply, err := handle(ctx, req)
	if err != nil {
		return nil, proto.ToStatus(err)
	}
	return reply, nil
}

func streamErrors(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	return proto.ToStatus(handle(srv, stream))
}
