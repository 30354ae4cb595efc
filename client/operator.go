package client

import (
	"context"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Status asks the master how the cluster is.
func (c *Client) Status(ctx context.Context) (*pb.StatusReply, error) {
	return ask(ctx, c, c.cred, "status", "", func(ctx context.Context, _ *pb.Caller) (*pb.StatusReply, error) {
		return c.master.Status(ctx, &pb.StatusRequest{})
	})
}

// Operate begins or ends what an operator wants of a chunkserver or of the cluster. It
// may be asked for again.
func (c *Client) Operate(ctx context.Context, req *pb.OperateRequest) (*pb.OperateReply, error) {
	return ask(ctx, c, c.cred, "operate", "", func(ctx context.Context, _ *pb.Caller) (*pb.OperateReply, error) {
		return c.master.Operate(ctx, req)
	})
}

// Fsck has the cluster checked and calls found for everything that is wrong, then gives
// the summary. It is not repeated when the master goes away.
func (c *Client) Fsck(ctx context.Context, repair bool, found func(*pb.FsckFinding)) (*pb.FsckSummary, error) {
	stream, err := c.master.Fsck(ctx, &pb.FsckRequest{Repair: repair})
	if err != nil {
		return nil, proto.FromStatus(err)
	}
	for {
		finding, err := stream.Recv()
		if err != nil {
			return nil, proto.FromStatus(err)
		}
		if finding.Summary != nil {
			return finding.Summary, nil
		}
		found(finding)
	}
}
