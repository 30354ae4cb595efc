package meta

import (
	"io"
	"sync"

	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/meta/wal"
	"github.com/distrifs/distrifs/proto"
)

// machine is the state behind the log. Reads hold mu for reading, never over
// anything that blocks; Apply and Snapshot hold it for writing, for microseconds.
type machine struct {
	mu sync.RWMutex // protects st and all in it
	st *state.State

	// applied, if set, is told of every change with mu held, before anybody can see it.
	// before are the chunks that a SetChain or Commit is about, as they were.
	applied func(c state.Command, before []state.Chunk, r *state.Result)
}

var _ wal.Machine = (*machine)(nil)

// Apply answers with a state.Result, or with an error that ends recovery before
// anything on disk is changed.
func (m *machine) Apply(record wal.Record) any {
	command, err := state.Decode(state.Op(record.Op), record.Data)
	if err != nil {
		// Its checksum holds, so a later version of the software wrote it.
		return &proto.Error{Kind: proto.NewerFormat, Op: "replay log",
			Detail: "this program does not know the operation; start the program that wrote it, or a later one", Err: err}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.applied == nil {
		return m.st.Apply(record.Index, command)
	}
	before := m.concerned(command)
	result := m.st.Apply(record.Index, command)
	m.applied(command, before, &result)
	return result
}

// concerned needs mu.
func (m *machine) concerned(command state.Command) (chunks []state.Chunk) {
	var ids []proto.ChunkID
	switch c := command.(type) {
	case *state.SetChain:
		ids = []proto.ChunkID{c.Chunk}
	case *state.Commit:
		ids = c.Chunks
	}
	for _, id := range ids {
		if c, ok := m.st.Chunk(id); ok {
			chunks = append(chunks, c)
		}
	}
	return chunks
}

func (m *machine) Snapshot() (wal.Snapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.st.Snapshot(), nil
}

func (m *machine) Restore(r io.Reader) error {
	st, err := state.Load(r)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.st = st
	return nil
}

// read runs fn while nothing changes. fn must not block.
func (m *machine) read(fn func(st *state.State)) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	fn(m.st)
}

// config is what the log says of the cluster.
func (m *machine) config() (c state.Config) {
	m.read(func(st *state.State) { c = st.Config() })
	return c
}

// chunk looks a live chunk up.
func (m *machine) chunk(id proto.ChunkID) (c state.Chunk, ok bool) {
	m.read(func(st *state.State) { c, ok = st.Chunk(id) })
	return c, ok
}
