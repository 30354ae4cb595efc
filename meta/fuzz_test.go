package meta

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"testing"
	"time"

	"google.golang.org/grpc"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// FuzzRequests: whatever clients and chunkservers send, the master answers, and goes on
// (G9). An input is a list of calls: [method: 1 byte] [length: 2 bytes] [message].
func FuzzRequests(f *testing.F) {
	target := newFuzzTarget(f)
	caller := &pb.Caller{Session: 1, Slot: 1, Sequence: 1}
	f.Add(target.encode(f,
		&pb.CreateRequest{Caller: caller, Parent: 1, Name: []byte("a"), Mode: 0o644, Open: true, Assign: true, Flags: 2},
		&pb.AssignChunkRequest{Caller: caller, Inode: 2, First: 1, Count: 3},
		&pb.CommitRequest{Caller: caller, Inode: 2, Size: 100, Chunks: []uint64{1}},
		&pb.GetChunkLocationRequest{Caller: caller, Inode: 2, Count: 1 << 20},
		&pb.ReportChainFailureRequest{Caller: caller, Inode: 2, Chunk: 1, Version: 1},
		&pb.CopyRangeRequest{Caller: caller, From: 2, To: 2, ToIndex: 1 << 63, Count: 1024}))
	f.Add(target.encode(f,
		&pb.MkdirRequest{Caller: caller, Parent: 1, Name: []byte("d"), Mode: 0o755},
		&pb.RenameRequest{Caller: caller, Parent: 1, Name: []byte("d"), NewParent: 2, NewName: []byte("e"), Exchange: true},
		&pb.SetXattrRequest{Caller: caller, Inode: 1, Name: []byte("user.x"), Value: []byte("v")},
		&pb.ReadDirRequest{Caller: caller, Inode: 1, Cookie: 3},
		&pb.SetLockRequest{Caller: caller, Lock: &pb.Lock{Inode: 1, End: 1 << 62, Mode: 2}, Wait: true, Ticket: 1},
		&pb.FallocateRequest{Caller: caller, Inode: 2, Offset: 1 << 63, Length: 1 << 63}))
	f.Add(target.encode(f,
		&pb.ReadDirRequest{Caller: caller, Inode: 1, Also: []uint64{2, 1}, Attrs: true, First: true, Alone: true, Recall: true},
		&pb.LookupRequest{Caller: caller, Parent: 1, Name: []byte("d"), Absent: true, First: true},
		&pb.SetLockRequest{Caller: caller, Lock: &pb.Lock{Inode: 2, End: 1 << 62, Mode: 2}, Keep: true},
		&pb.HandLocksRequest{Caller: caller, Locks: []*pb.Lock{{Inode: 2, Start: 1, End: 1 << 62, Mode: 2}}},
		&pb.ReadDirRequest{Inode: 1, Alone: true}))
	f.Add(target.encode(f,
		&pb.RegisterDataNodeRequest{Instance: "00000000-0000-4000-8000-000000000009", Incarnation: 1 << 20, Address: "b:1"},
		&pb.BlockReportRequest{Node: 1, Incarnation: 1 << 20, Sequence: 9, Digests: []uint64{1}, Buckets: []*pb.Bucket{{Bucket: 1 << 31, Replicas: []*pb.ReplicaState{{Chunk: 1 << 60}}}}},
		&pb.HeartbeatRequest{Node: 1, Incarnation: 1 << 20, Sequence: 10, Changed: []*pb.ReplicaState{{Chunk: 1, Version: 9}}, Disks: []*pb.DiskStatus{{FreeBytes: 1 << 63}}},
		&pb.SessionRequest{Request: &pb.SessionRequest_Hello{Hello: &pb.Hello{Resume: 1, Open: []*pb.OpenCount{{Inode: 2, Count: 1 << 31}}, Locks: []*pb.Lock{{}}}}}))
	f.Fuzz(func(t *testing.T, calls []byte) {
		for n := 0; n < 10 && len(calls) >= 3; n++ {
			method, length := calls[0], min(int(binary.LittleEndian.Uint16(calls[1:])), len(calls)-3)
			target.call(method, calls[3:3+length])
			calls = calls[3+length:]
		}
		if _, err := target.master.Status(t.Context(), &pb.StatusRequest{}); err != nil {
			t.Fatal(err)
		}
	})
}

// fuzzTarget is a master with three chunkservers that obey no order, and a session.
type fuzzTarget struct {
	master  *Master
	methods []method
	caller  *pb.Caller
	next    map[uint32]uint64 // sequence, by slot
}

type method struct {
	request protobuf.Message
	handle  func(ctx context.Context, raw []byte) error
}

func newFuzzTarget(f *testing.F) *fuzzTarget {
	const long = time.Hour // nothing happens by itself that a later run could not repeat
	m, err := Open(Config{
		Dir: "/master", FS: disk.NewMem(), OrderTimeout: time.Millisecond, CopyTimeout: time.Millisecond, RepairEvery: long, SessionTimeout: long,
		DeadAfter: long, Heartbeat: long, LeaseTime: long, Dial: nil,
	})
	if err != nil {
		f.Fatal(err)
	}
	t := &fuzzTarget{master: m, caller: &pb.Caller{}, next: map[uint32]uint64{}}
	for _, desc := range []grpc.ServiceDesc{pb.Master_ServiceDesc, pb.DataNodes_ServiceDesc} {
		for _, d := range desc.Methods {
			t.methods = append(t.methods, t.unary(d))
		}
	}
	t.methods = append(t.methods,
		stream[pb.SessionRequest, pb.SessionEvent](m.Session), stream[pb.HeartbeatRequest, pb.NodeCommand](m.Heartbeat))
	for node := range uint64(3) {
		_, err := m.RegisterDataNode(context.Background(), &pb.RegisterDataNodeRequest{
			Instance: fmt.Sprintf("00000000-0000-4000-8000-%012d", node+1), Incarnation: 1 << 20, Address: fmt.Sprintf("127.0.0.1:%d", node+1),
			Disks: []*pb.DiskStatus{{Path: "/disk", TotalBytes: fakeDisk, FreeBytes: fakeDisk}},
		})
		if err == nil {
			_, err = m.nodes.Connect(proto.NodeID(node+1), 1<<20)
		}
		if err != nil {
			f.Fatal(err)
		}
	}
	hello := &pb.SessionRequest{Request: &pb.SessionRequest_Hello{Hello: &pb.Hello{Client: "fuzz", Leases: true}}}
	events := &fakeStream[pb.SessionRequest, pb.SessionEvent]{ctx: context.Background(), requests: []*pb.SessionRequest{hello}}
	_ = m.Session(events) // ends with its requests
	if len(events.sent) == 0 || events.sent[0].GetWelcome() == nil {
		f.Fatal("no session")
	}
	t.caller.Session = events.sent[0].GetWelcome().Session
	return t
}

// unary calls a method as gRPC does, in the name of the session if any is named.
func (t *fuzzTarget) unary(d grpc.MethodDesc) (m method) {
	_, _ = d.Handler(t.master, context.Background(), func(v any) error { // learns the type
		m.request = v.(protobuf.Message)
		return io.EOF
	}, nil)
	m.handle = func(ctx context.Context, raw []byte) error {
		_, err := d.Handler(t.master, ctx, func(v any) error {
			if err := protobuf.Unmarshal(raw, v.(protobuf.Message)); err != nil {
				return err
			}
			if request, ok := v.(interface{ GetCaller() *pb.Caller }); ok && request.GetCaller() != nil {
				t.sign(request.GetCaller())
			}
			return nil
		}, nil)
		return err
	}
	return m
}

// sign makes the caller one that the master knows, and a change the next one of its slot.
func (t *fuzzTarget) sign(caller *pb.Caller) {
	if caller.Session == 1 {
		caller.Session = t.caller.Session
	}
	if caller.Slot %= 2 * slots; caller.Sequence == 1 {
		t.next[caller.Slot]++
		caller.Sequence = t.next[caller.Slot]
	}
}

// stream gives a streaming method one request.
func stream[Q, R any](serve func(grpc.BidiStreamingServer[Q, R]) error) method {
	return method{
		request: any(new(Q)).(protobuf.Message),
		handle: func(ctx context.Context, raw []byte) error {
			request := new(Q)
			if err := protobuf.Unmarshal(raw, any(request).(protobuf.Message)); err != nil {
				return err
			}
			return serve(&fakeStream[Q, R]{ctx: ctx, requests: []*Q{request}})
		},
	}
}

func (t *fuzzTarget) call(number byte, raw []byte) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
	defer cancel()
	_ = t.methods[int(number)%len(t.methods)].handle(ctx, raw) // that it answers is what counts
}

// encode makes an input of calls.
func (t *fuzzTarget) encode(f *testing.F, requests ...protobuf.Message) (calls []byte) {
	for _, request := range requests {
		number := -1
		for i, m := range t.methods {
			if m.request.ProtoReflect().Type() == request.ProtoReflect().Type() {
				number = i
			}
		}
		raw, err := protobuf.Marshal(request)
		if err != nil || number < 0 {
			f.Fatal(number, err)
		}
		calls = binary.LittleEndian.AppendUint16(append(calls, byte(number)), uint16(len(raw)))
		calls = append(calls, raw...)
	}
	return calls
}

// fakeStream is the server's end of a stream that brings some requests and breaks.
type fakeStream[Q, R any] struct {
	grpc.ServerStream
	ctx      context.Context
	requests []*Q
	sent     []*R
}

func (s *fakeStream[Q, R]) Context() context.Context { return s.ctx }
func (s *fakeStream[Q, R]) Send(r *R) error          { s.sent = append(s.sent, r); return nil }
func (s *fakeStream[Q, R]) Recv() (*Q, error) {
	if len(s.requests) == 0 {
		return nil, io.EOF
	}
	request := s.requests[0]
	s.requests = s.requests[1:]
	return request, nil
}
