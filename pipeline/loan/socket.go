package loan

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/proto"
)

// socketName is the abstract socket of the chunkserver whose data plane has that address.
func socketName(address string) *net.UnixAddr {
	return &net.UnixAddr{Name: "@distrifs-chunks-" + address, Net: "unix"}
}

// trusted refuses a peer that is neither root nor this process's user.
func trusted(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		peer, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if credErr != nil {
		return credErr
	}
	if peer.Uid != 0 && peer.Uid != uint32(os.Geteuid()) {
		return proto.E(proto.Access, "trust", fmt.Sprintf("user %d", peer.Uid), "only root and this process's user are")
	}
	return nil
}
