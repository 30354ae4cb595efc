package loan

import (
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
)

// borrowTime is how long the chunkserver may take.
const borrowTime = time.Second

// Borrow asks the chunkserver whose data plane has that address for a chunk's file.
// Unavailable: there is none on this host, or none that lends. Other kinds are its refusals.
func Borrow(address string, chunk uuid.UUID, version proto.Version) (*Replica, error) {
	conn, err := net.DialUnix("unix", nil, socketName(address))
	if err != nil {
		return nil, &proto.Error{Kind: proto.Unavailable, Op: "borrow", Subject: "chunk " + chunk.String(), Err: err}
	}
	defer conn.Close()
	if err := trusted(conn); err != nil {
		return nil, &proto.Error{Kind: proto.Unavailable, Op: "borrow", Subject: "chunk " + chunk.String(), Err: err}
	}
	if err := conn.SetDeadline(time.Now().Add(borrowTime)); err != nil {
		return nil, err
	}
	if _, err := conn.Write(request{chunk, version}.encode()); err != nil {
		return nil, err
	}
	reply, file, err := receive(conn)
	if err != nil {
		return nil, err
	}
	refusal, geometry, err := decodeReply(reply)
	switch {
	case err == nil && refusal != 0:
		err = proto.E(refusal, "borrow", fmt.Sprintf("chunk %s version %d", chunk, version), "the chunkserver refused")
	case err == nil && file == nil:
		err = proto.E(proto.Malformed, "borrow", "chunk "+chunk.String(), "no descriptor came with the answer")
	}
	if err != nil {
		if file != nil {
			file.Close()
		}
		return nil, err
	}
	return NewReplica(file, geometry), nil
}

// receive takes one reply and the descriptor that came with it, if any.
func receive(conn *net.UnixConn) (reply []byte, file *os.File, err error) {
	reply, control := make([]byte, replySize), make([]byte, unix.CmsgSpace(4))
	n, rights, _, _, err := conn.ReadMsgUnix(reply, control)
	if err != nil {
		return nil, nil, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:rights])
	if err != nil {
		return nil, nil, err
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return nil, nil, err
		}
		for _, fd := range fds { // one at most: control holds no more
			file = os.NewFile(uintptr(fd), "borrowed chunk")
		}
	}
	return reply[:n], file, nil
}
