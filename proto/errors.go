package proto

import (
	"context"
	"errors"
	"strings"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/distrifs/distrifs/proto/pb"
)

// Error is the error type of every part: what was attempted, on what, what kind
// of failure it was, and why. The kind survives the wire.
type Error struct {
	Kind    Kind
	Op      string // what was attempted: "create"; may be empty
	Subject string // on what: a path, "chunk ... version 3"; may be empty
	Detail  string // why, and what to do; may be empty
	Err     error  // cause; may be nil; becomes text on the wire
}

func (e *Error) Error() string {
	var parts []string
	for _, part := range []string{strings.TrimSpace(e.Op + " " + e.Subject), e.Kind.String(), e.Detail} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	if e.Err != nil {
		parts = append(parts, e.Err.Error())
	}
	return strings.Join(parts, ": ")
}

// Unwrap gives the cause to errors.Is and errors.As.
func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is(err, kind) true for an error of that kind.
func (e *Error) Is(target error) bool {
	k, ok := target.(Kind)
	return ok && k == e.Kind
}

// Error makes a bare Kind usable as an error, where there is nothing to add.
func (k Kind) Error() string { return k.String() }

// E is shorthand for an *Error with formatted parts left to the caller.
func E(kind Kind, op, subject, detail string) *Error {
	return &Error{Kind: kind, Op: op, Subject: subject, Detail: detail}
}

// KindOf finds the kind of any error: OK for nil, the kind of an *Error or
// Kind, that of a gRPC status, that of an errno, of a context's end, else IO.
func KindOf(err error) Kind {
	if err == nil {
		return OK
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	var k Kind
	if errors.As(err, &k) {
		return k
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return Timeout
	}
	if errors.Is(err, context.Canceled) {
		return Interrupted
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return kindOfErrno(errno)
	}
	if st, ok := status.FromError(err); ok {
		return kindOfCode(st.Code())
	}
	return IO
}

func kindOfErrno(errno syscall.Errno) Kind {
	for kind, info := range kindTable {
		if info.errno == errno {
			return Kind(kind)
		}
	}
	return IO
}

// kindOfCode serves statuses that gRPC itself made, without a Failure inside.
func kindOfCode(code codes.Code) Kind {
	switch code {
	case codes.OK:
		return OK
	case codes.Canceled:
		return Interrupted
	case codes.DeadlineExceeded:
		return Timeout
	case codes.Unavailable, codes.Aborted:
		return Unavailable
	case codes.ResourceExhausted:
		return TooLarge
	case codes.Unimplemented:
		return NotSupported
	default:
		return IO
	}
}

// ToFailure puts an error into its wire form; nil gives nil.
func ToFailure(err error) *pb.Failure {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		detail := e.Detail
		if e.Err != nil {
			detail = strings.TrimPrefix(detail+": "+e.Err.Error(), ": ")
		}
		return &pb.Failure{Kind: uint32(e.Kind), Op: e.Op, Subject: e.Subject, Detail: detail}
	}
	return &pb.Failure{Kind: uint32(KindOf(err)), Detail: err.Error()}
}

// FromFailure is the inverse of ToFailure.
func FromFailure(f *pb.Failure) error {
	if f == nil {
		return nil
	}
	kind := Kind(f.Kind)
	if kind == OK { // a peer that says so is out of its mind: no failure counts as success
		kind = IO
	}
	return &Error{Kind: kind, Op: f.Op, Subject: f.Subject, Detail: f.Detail}
}

// ToStatus is what a gRPC handler returns for err.
func ToStatus(err error) error {
	if err == nil {
		return nil
	}
	failure := ToFailure(err)
	st, detailErr := status.New(Kind(failure.Kind).Code(), err.Error()).WithDetails(failure)
	if detailErr != nil {
		return status.Error(Kind(failure.Kind).Code(), err.Error())
	}
	return st.Err()
}

// FromStatus is what a gRPC caller makes of the error it received: an *Error
// with the kind the handler gave, or with the one gRPC's own code stands for.
func FromStatus(err error) error {
	if err == nil {
		return nil
	}
	st, ok := status.FromError(err)
	if !ok {
		return err
	}
	for _, detail := range st.Details() {
		if f, ok := detail.(*pb.Failure); ok {
			return FromFailure(f)
		}
	}
	return &Error{Kind: kindOfCode(st.Code()), Detail: st.Message()}
}
