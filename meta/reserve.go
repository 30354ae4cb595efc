package meta

import (
	"context"
	"fmt"

	"github.com/distrifs/distrifs/meta/leases"
	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// maxReserve is how many inodes of each sort one Reserve makes.
const maxReserve = 512

// Reserve makes inodes that the session may make files of without waiting. It has them
// open, and exclusive: nobody else knows of them.
func (m *Master) Reserve(_ context.Context, req *pb.ReserveRequest) (*pb.ReserveReply, error) {
	r, err := m.enter(req.Caller, "reserve", fmt.Sprintf("%d files and %d others", req.Files, req.Others))
	switch {
	case err != nil:
		return nil, err
	case r.session == nil:
		return nil, r.fail(proto.SessionExpired, "who reserves needs a session")
	case req.Files > maxReserve || req.Others > maxReserve || req.Files+req.Others == 0:
		return nil, r.fail(proto.Invalid, "1 to 512 of each")
	}
	c := &state.Reserve{Header: m.header(r)}
	c.Origin.Sequence = 0
	for range req.Files {
		chain := m.chainAhead()
		if chain == nil {
			break
		}
		c.Chains = append(c.Chains, chain)
	}
	files := len(c.Chains)
	c.Chains = append(c.Chains, make([][]proto.NodeID, req.Others)...)
	if len(c.Chains) == 0 {
		return nil, r.fail(proto.TooFewReplicas, "")
	}
	result, err := m.propose(c)
	if err != nil {
		return nil, r.wrap(err)
	}
	if kind := m.sessions.reserved(r.session, result.Inodes); kind != proto.OK {
		return nil, r.fail(kind, "")
	}
	reply := &pb.ReserveReply{Sec: c.Now.Sec, Nsec: c.Now.Nsec}
	for i, ino := range result.Inodes {
		if i < files {
			reply.Files = append(reply.Files, uint64(ino))
		} else {
			reply.Others = append(reply.Others, uint64(ino))
		}
	}
	for _, chunk := range result.Chunks {
		reply.Chunks = append(reply.Chunks, m.locate(chunk))
	}
	reply.Grants = m.leases.reserved(r.session, result.Inodes)
	return reply, nil
}

// reserved grants a session what it has reserved.
func (k *leasing) reserved(one *session, inodes []proto.InodeID) *pb.Grants {
	g := &pb.Grants{}
	k.use(func(t *leases.Table) {
		for _, ino := range inodes {
			if t.Grant(one.id, ino, leases.Exclusive) == leases.Exclusive {
				g.Exclusive = append(g.Exclusive, uint64(ino))
			}
		}
		g.Recalls = t.Sent(one.id)
	})
	return g
}
