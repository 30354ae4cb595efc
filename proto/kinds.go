package proto

import (
	"syscall"

	"google.golang.org/grpc/codes"
)

// Kind says what went wrong. Its number is part of the wire format: kinds are
// added at the end and never renumbered.
type Kind uint32

// The kinds. Those up to Stale, and from Conflict on, are answers that an application
// sees; the rest steer the parts among themselves and become EIO when they reach a syscall.
const (
	OK           Kind = iota
	NotFound          // no such name, or no such thing
	Exists            // the name is taken
	NotDir            // a directory is needed
	IsDir             // a directory will not do
	NotEmpty          // the directory has entries
	Invalid           // the arguments make no sense
	NameTooLong       // name over 255 bytes, or symlink over 4095
	TooManyLinks      // nlink would overflow
	CrossDevice       // not within one filesystem
	Access            // permission bits forbid it
	NotPermitted      // only the owner, or only root, may
	NoSpace           // no chunkserver has room, or a table is full
	FileTooBig        // beyond the largest size or offset
	NoAttr            // no such extended attribute
	Range             // the caller's buffer is too small
	TooBig            // value or list larger than allowed
	Loop              // too many symlinks, or a directory into itself
	ReadOnly          // mounted or served read-only
	Busy              // in use
	NotSupported      // not implemented, on purpose
	Interrupted       // by a signal
	BadHandle         // the file is not open, or not for this
	Stale             // the inode is gone

	IO             // the medium failed
	Unavailable    // cannot be reached just now: try again
	Timeout        // the budget of the call ran out
	WrongVersion   // fenced: ask the master for the chain
	DataCorrupt    // bytes do not match their checksum
	NoReplica      // this chunkserver has no such replica
	TooFewReplicas // min-replicas cannot be reached
	ChainBroken    // a hop behind this one failed
	SessionExpired // open a new session
	WrongCluster   // the other side belongs to another cluster
	OldEpoch       // order of a master that has been succeeded
	Malformed      // bytes that are no message of ours
	TooLarge       // message or frame over its limit
	Damaged        // a file of ours on disk is not what was written
	InUse          // locked by another process
	NewerFormat    // written by a later version of the software

	Conflict // another one's lock stands in the way
	Deadlock // the wait for a lock would never end
	NoLocks  // too many locks, or requests for them
	NoData   // nothing of that kind at or behind the offset
	kindCount
)

type kindInfo struct {
	name  string
	errno syscall.Errno
	code  codes.Code
}

// kindTable is the one table kind <-> errno <-> gRPC code.
var kindTable = [kindCount]kindInfo{
	OK:             {"ok", 0, codes.OK},
	NotFound:       {"not found", syscall.ENOENT, codes.NotFound},
	Exists:         {"exists", syscall.EEXIST, codes.AlreadyExists},
	NotDir:         {"not a directory", syscall.ENOTDIR, codes.FailedPrecondition},
	IsDir:          {"is a directory", syscall.EISDIR, codes.FailedPrecondition},
	NotEmpty:       {"directory not empty", syscall.ENOTEMPTY, codes.FailedPrecondition},
	Invalid:        {"invalid argument", syscall.EINVAL, codes.InvalidArgument},
	NameTooLong:    {"name too long", syscall.ENAMETOOLONG, codes.InvalidArgument},
	TooManyLinks:   {"too many links", syscall.EMLINK, codes.FailedPrecondition},
	CrossDevice:    {"cross-device link", syscall.EXDEV, codes.FailedPrecondition},
	Access:         {"permission denied", syscall.EACCES, codes.PermissionDenied},
	NotPermitted:   {"operation not permitted", syscall.EPERM, codes.PermissionDenied},
	NoSpace:        {"no space left", syscall.ENOSPC, codes.ResourceExhausted},
	FileTooBig:     {"file too big", syscall.EFBIG, codes.OutOfRange},
	NoAttr:         {"no such attribute", syscall.ENODATA, codes.NotFound},
	Range:          {"out of range", syscall.ERANGE, codes.OutOfRange},
	TooBig:         {"too big", syscall.E2BIG, codes.ResourceExhausted},
	Loop:           {"loop", syscall.ELOOP, codes.FailedPrecondition},
	ReadOnly:       {"read-only", syscall.EROFS, codes.FailedPrecondition},
	Busy:           {"busy", syscall.EBUSY, codes.FailedPrecondition},
	NotSupported:   {"not supported", syscall.EOPNOTSUPP, codes.Unimplemented},
	Interrupted:    {"interrupted", syscall.EINTR, codes.Canceled},
	BadHandle:      {"bad file handle", syscall.EBADF, codes.FailedPrecondition},
	Stale:          {"stale handle", syscall.ESTALE, codes.NotFound},
	IO:             {"input/output error", syscall.EIO, codes.Internal},
	Unavailable:    {"unavailable", syscall.EIO, codes.Unavailable},
	Timeout:        {"timed out", syscall.EIO, codes.DeadlineExceeded},
	WrongVersion:   {"wrong version", syscall.EIO, codes.Aborted},
	DataCorrupt:    {"data corrupt", syscall.EIO, codes.DataLoss},
	NoReplica:      {"no such replica", syscall.EIO, codes.NotFound},
	TooFewReplicas: {"too few replicas", syscall.EIO, codes.Unavailable},
	ChainBroken:    {"chain broken", syscall.EIO, codes.Unavailable},
	SessionExpired: {"session expired", syscall.EIO, codes.Unauthenticated},
	WrongCluster:   {"wrong cluster", syscall.EIO, codes.FailedPrecondition},
	OldEpoch:       {"old epoch", syscall.EIO, codes.FailedPrecondition},
	Malformed:      {"malformed", syscall.EIO, codes.InvalidArgument},
	TooLarge:       {"too large", syscall.EIO, codes.ResourceExhausted},
	Damaged:        {"damaged", syscall.EIO, codes.DataLoss},
	InUse:          {"in use", syscall.EIO, codes.FailedPrecondition},
	NewerFormat:    {"newer format", syscall.EIO, codes.FailedPrecondition},
	Conflict:       {"locked", syscall.EAGAIN, codes.FailedPrecondition},
	Deadlock:       {"deadlock", syscall.EDEADLK, codes.FailedPrecondition},
	NoData:         {"no data", syscall.ENXIO, codes.OutOfRange},
	NoLocks:        {"no locks available", syscall.ENOLCK, codes.ResourceExhausted},
}

func (k Kind) info() kindInfo {
	if k >= kindCount {
		return kindTable[IO]
	}
	return kindTable[k]
}

func (k Kind) String() string { return k.info().name }

// Errno is what a syscall answers for this kind.
func (k Kind) Errno() syscall.Errno { return k.info().errno }

// Code is the gRPC status code that a failure of this kind travels under.
func (k Kind) Code() codes.Code { return k.info().code }
