package client

import (
	"context"

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
