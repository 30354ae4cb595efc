package fusefs

import "encoding/binary"

// message is a request: 40 bytes of header (fuse.h: fuse_in_header), and what goes with it, in the
// machine's byte order. Where a request has a size of what it wants to be answered is needed here.
type message []byte

const (
	headerOp     = 4
	headerNumber = 8
	headerEnd    = 40

	initMajor = headerEnd // fuse_init_in
	initMinor = headerEnd + 4
	initEnd   = headerEnd + 8

	writeHead = 40             // fuse_write_in
	readSize  = headerEnd + 16 // fuse_read_in, as of READDIR and READDIRPLUS
	xattrSize = headerEnd      // fuse_getxattr_in
	ioctlSize = headerEnd + 28 // fuse_ioctl_in
)

func (m message) op() uint32     { return binary.NativeEndian.Uint32(m[headerOp:]) }
func (m message) number() uint64 { return binary.NativeEndian.Uint64(m[headerNumber:]) }

// wants is how many bytes the answer may have beside its head.
func (m message) wants() int {
	at := 0
	switch m.op() {
	case opRead, opReadDir, opReadDirPlus:
		at = readSize
	case opGetXattr, opListXattr:
		at = xattrSize
	case opIoctl:
		at = ioctlSize
	}
	if at == 0 || len(m) < at+4 {
		return 0
	}
	return int(binary.NativeEndian.Uint32(m[at:]))
}

const (
	opRead        = 15 // fuse_opcode
	opWrite       = 16
	opGetXattr    = 22
	opListXattr   = 23
	opInit        = 26
	opReadDir     = 28
	opInterrupt   = 36
	opIoctl       = 39
	opReadDirPlus = 44
)

// moves is how many bytes of files go with the request, or with its answer.
func (m message) moves() int {
	switch m.op() {
	case opRead:
		return m.wants()
	case opWrite:
		return len(m)
	}
	return 0
}
