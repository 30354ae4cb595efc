package wal

import (
	"context"

	"github.com/distrifs/distrifs/proto"
)

const maxSegment = 1 << 30

// Group is the group of one: this process alone decides.
type Group struct{}

// Open locks the folder, recovers the Machine's state and starts serving.
func Open(opts Options, m Machine) (*Group, error) {
	return nil, proto.E(proto.NotSupported, "open log", opts.Dir, "")
}

// Propose makes a command durable, has it applied, and returns Apply's answer.
func (g *Group) Propose(ctx context.Context, op uint8, data []byte) (any, error) {
	return nil, proto.NotSupported
}

// Checkpoint takes a checkpoint now.
func (g *Group) Checkpoint(ctx context.Context) error { return proto.NotSupported }

// Failed is closed when the group has failed for good.
func (g *Group) Failed() <-chan struct{} { return nil }

// Status says how the group is doing.
func (g *Group) Status() Status { return Status{} }

// Close takes a checkpoint and unlocks the folder.
func (g *Group) Close() error { return nil }
