package wal

import (
	"context"
	"io"
)

// Record is a command with its place in the log.
type Record struct {
	Op    uint8 // never 0
	Index uint64
	Term  uint64
	Data  []byte // what the command encoded itself as; at most MaxData bytes
}

// Machine is the state that the log is about.
type Machine interface {
	// Apply carries a command out; what it returns is Propose's answer. It is
	// called with one record after the other, never concurrently with itself or
	// with Snapshot. It may keep nothing of Data and change nothing in it.
	//
	// An answer of type error means that this program does not understand the
	// record. Propose returns it as its error; in recovery it stops the start.
	Apply(Record) any

	// Snapshot holds the state as it is now. It is short: the group waits for it.
	Snapshot() (Snapshot, error)

	// Restore replaces the state by one that a Snapshot wrote. After an error the
	// state is as it was before. Errors of the reader are to be returned as they
	// are, or wrapped.
	Restore(io.Reader) error
}

// Snapshot is a state that no longer changes. WriteTo is called at most once,
// while commands are being applied; Release exactly once, when all is done.
type Snapshot interface {
	io.WriterTo
	Release()
}

// Replicator makes commands durable and has them applied. A Group of one is the
// first; several masters will agree behind the same interface.
type Replicator interface {
	Propose(ctx context.Context, op uint8, data []byte) (any, error)
	Submit(ctx context.Context, op uint8, data []byte, then func(result any, err error)) error
	Hurry()
	Checkpoint(ctx context.Context) error
	Status() Status
	Failed() <-chan struct{}
	Close() error
}

var _ Replicator = (*Group)(nil)
