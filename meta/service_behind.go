package meta

import (
	"google.golang.org/grpc"

	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// maxBehind is how many changes one message has.
const maxBehind = 1 << 12

// ChangeBehind serves one stream of changes of a session. They are submitted, and answered
// as received, by the goroutine that receives them: a close(2) waits for that answer, and
// each goroutine more on its way would be a wake-up.
func (m *Master) ChangeBehind(stream grpc.BidiStreamingServer[pb.ChangesBehind, pb.DurableBehind]) error {
	const op = "change names behind"
	first := make(chan *pb.ChangesBehind, 1)
	ready := make(chan *behindStream, 1)
	broken := make(chan error, 1)
	go func() { broken <- m.receiveBehind(stream, first, ready) }()
	var one *session
	select {
	case hello := <-first:
		if one = m.sessions.find(proto.SessionID(hello.Session)); one == nil {
			return proto.E(proto.SessionExpired, op, "", "open a new session")
		}
	case err := <-broken:
		return endOfStream(err)
	case <-m.stopping.Done():
		return m.goingDown(op)
	}
	if m.sessions.isSilent(one) {
		return proto.E(proto.Unavailable, op, sessionName(one.id), "resume the session first")
	}
	s := one.behind.attach(one, stream)
	defer one.behind.detach(s)
	m.machine.read(func(st *state.State) { s.start(st.Streamed(one.id)) })
	ready <- s
	for {
		select {
		case <-s.news:
			if err := s.tell(); err != nil {
				return err
			}
		case err := <-broken:
			return endOfStream(err)
		case <-s.replaced:
			return proto.E(proto.Unavailable, op, sessionName(one.id), "a later stream of the session took over")
		case <-one.ended:
			return proto.E(proto.SessionExpired, op, sessionName(one.id), "open a new session")
		case <-m.stopping.Done():
			return m.goingDown(op)
		}
	}
}

// receiveBehind hands over the first message, and takes the others as they come.
func (m *Master) receiveBehind(stream grpc.BidiStreamingServer[pb.ChangesBehind, pb.DurableBehind], first chan<- *pb.ChangesBehind, ready <-chan *behindStream) error {
	hello, err := stream.Recv()
	if err != nil {
		return err
	}
	first <- hello
	var s *behindStream
	select {
	case s = <-ready:
	case <-stream.Context().Done():
		return stream.Context().Err()
	}
	for {
		message, err := stream.Recv()
		if err != nil {
			return err
		}
		if m.takeBehind(s, message) {
			err = s.tell()
		}
		if err != nil {
			return err
		}
	}
}

// commandBehind gives the command that a change becomes.
func commandBehind(one *session, sequence uint64, change *pb.ChangeBehind) (state.Command, error) {
	h := state.Header{
		Origin: state.Origin{Session: one.id, Slot: state.StreamSlot, Sequence: sequence},
		Cred:   state.Cred{UID: change.CallerUid, GID: change.CallerGid, Groups: change.CallerGroups},
		Now:    state.Time{Sec: change.Sec, Nsec: change.Nsec},
	}
	if len(h.Cred.Groups) > maxGroups {
		return nil, proto.E(proto.Invalid, "change behind", inodeName(change.Inode), "too many groups")
	}
	ino, parent := proto.InodeID(change.Inode), proto.InodeID(change.Parent)
	switch change.Kind {
	case pb.ChangeBehind_MAKE:
		return &state.MakeReserved{Inode: ino, Make: state.Make{
			Header: h, Parent: parent, Name: change.Name, Mode: change.Mode & (typeMask | permBits), Umask: change.Umask,
			Rdev: change.Rdev, Target: change.Target,
		}}, nil
	case pb.ChangeBehind_LINK:
		return &state.Link{Header: h, Inode: ino, Parent: parent, Name: change.Name}, nil
	case pb.ChangeBehind_UNLINK, pb.ChangeBehind_RMDIR:
		return &state.Unlink{Header: h, Parent: parent, Name: change.Name, Dir: change.Kind == pb.ChangeBehind_RMDIR}, nil
	case pb.ChangeBehind_RENAME:
		return &state.Rename{Header: h, Parent: parent, Name: change.Name, NewParent: proto.InodeID(change.NewParent), NewName: change.NewName}, nil
	case pb.ChangeBehind_SET_ATTR:
		return setAttrBehind(h, ino, change)
	case pb.ChangeBehind_COMMIT:
		return commitBehind(h, ino, change)
	}
	return nil, proto.E(proto.NotSupported, "change behind", inodeName(change.Inode), "an unknown kind of change")
}

func setAttrBehind(h state.Header, ino proto.InodeID, change *pb.ChangeBehind) (state.Command, error) {
	req := &pb.SetAttrRequest{}
	for _, f := range []struct {
		bit   uint32
		to    **uint32
		value *uint32
	}{{proto.BehindMode, &req.Mode, &change.Mode}, {proto.BehindUID, &req.Uid, &change.Uid}, {proto.BehindGID, &req.Gid, &change.Gid}} {
		if change.Set&f.bit != 0 {
			*f.to = f.value
		}
	}
	if change.Set&proto.BehindAtime != 0 {
		req.Atime = change.Atime
	}
	if change.Set&proto.BehindMtime != 0 {
		req.Mtime = change.Mtime
	}
	c := &state.SetAttr{Header: h, Inode: ino}
	if kind := fillSetAttr(c, req); kind != proto.OK {
		return nil, kind
	}
	return c, nil
}

func commitBehind(h state.Header, ino proto.InodeID, change *pb.ChangeBehind) (state.Command, error) {
	if len(change.Chunks) > maxCommit {
		return nil, proto.TooLarge
	}
	c := &state.Commit{Header: h, Inode: ino, Size: change.Size}
	for _, id := range change.Chunks {
		c.Chunks = append(c.Chunks, proto.ChunkID(id))
	}
	mtime, set, now, kind := timeOf(change.Mtime)
	if kind != proto.OK {
		return nil, kind
	}
	if c.Mtime = mtime; !set || now {
		c.Mtime = c.Now
	}
	return c, nil
}
