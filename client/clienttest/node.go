package clienttest

import (
	"bytes"
	"context"
	"hash/crc32"
	"log/slog"
	"sync"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/pipeline"
	"github.com/distrifs/distrifs/proto"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Node is a chunkserver: the real data plane over a store in memory.
type Node struct {
	ID      proto.NodeID
	Address string

	net    *network
	client *pipeline.Client
	logger *slog.Logger

	mu       sync.Mutex
	server   *pipeline.Server // nil: dead
	served   chan struct{}
	replicas map[uuid.UUID]*replica
	hook     func(op string, chunk uuid.UUID, off uint64, n int) error
	counts   map[string]int // of operations, by name
	bytes    map[string]int64
	slack    int // capacity of new replicas
}

type replica struct {
	version proto.Version
	data    []byte
	corrupt bool
	synced  bool
}

func newNode(id proto.NodeID, address string, net *network, logger *slog.Logger, slack int) *Node {
	n := &Node{ID: id, Address: address, net: net, logger: logger, replicas: map[uuid.UUID]*replica{}, counts: map[string]int{}, bytes: map[string]int64{}, slack: slack}
	n.client = pipeline.NewClient(pipeline.ClientOptions{Dial: net.dial, Logger: logger})
	n.Start()
	return n
}

// Start makes the node answer (again), with the replicas it had.
func (n *Node) Start() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.server != nil {
		return
	}
	listener := n.net.listen(n.Address)
	server := pipeline.NewServer(n, n.client, pipeline.ServerOptions{Logger: n.logger})
	served := make(chan struct{})
	n.server, n.served = server, served
	go func() {
		defer close(served)
		_ = server.Serve(listener) // it ends with Kill
	}()
}

// Kill breaks all connections to the node; it answers no more.
func (n *Node) Kill() {
	n.mu.Lock()
	server, served := n.server, n.served
	n.server = nil
	n.mu.Unlock()
	if server == nil {
		return
	}
	n.net.cut(n.Address)
	now, cancel := context.WithCancel(context.Background())
	cancel()
	_ = server.Shutdown(now)
	<-served
}

func (n *Node) alive() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.server != nil
}

// Hook runs before every operation of the store ("write", "zero", "read",
// "sync") and may fail or delay it; nil removes it.
func (n *Node) Hook(fn func(op string, chunk uuid.UUID, off uint64, n int) error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hook = fn
}

// Count of an operation that was asked for so far.
func (n *Node) Count(op string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.counts[op]
}

// Bytes that an operation was asked for so far.
func (n *Node) Bytes(op string) int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.bytes[op]
}

// CorruptAll damages every replica: reads answer DataCorrupt from now on.
func (n *Node) CorruptAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range n.replicas {
		r.corrupt = true
	}
}

// DropAll loses every replica.
func (n *Node) DropAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.replicas)
}

// Content is a copy of what the node holds of a chunk; ok is false if nothing.
func (n *Node) Content(chunk uuid.UUID) (data []byte, synced, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := n.replicas[chunk]
	if r == nil {
		return nil, false, false
	}
	return append([]byte(nil), r.data...), r.synced, true
}

func (n *Node) before(op string, chunk uuid.UUID, off uint64, size int) error {
	n.mu.Lock()
	hook := n.hook
	n.counts[op]++
	n.bytes[op] += int64(size)
	n.mu.Unlock()
	if hook == nil {
		return nil
	}
	return hook(op, chunk, off, size)
}

// find needs mu.
func (n *Node) find(op string, chunk uuid.UUID, v proto.Version, create bool) (*replica, error) {
	r := n.replicas[chunk]
	if r == nil && create {
		r = &replica{version: v}
		n.replicas[chunk] = r
	}
	switch {
	case r == nil:
		return nil, proto.E(proto.NoReplica, op, chunk.String(), "")
	case r.version != v:
		return nil, proto.E(proto.WrongVersion, op, chunk.String(), "")
	}
	return r, nil
}

func (r *replica) extend(end uint64, slack int) {
	if end <= uint64(len(r.data)) {
		return
	}
	if end > uint64(cap(r.data)) {
		r.data = append(make([]byte, 0, max(int(end), slack)), r.data...)
	}
	r.data = r.data[:end]
}

// Write implements pipeline.Store.
func (n *Node) Write(chunk uuid.UUID, v proto.Version, off uint64, data []byte, _ []uint32, create bool) error {
	if err := n.before("write", chunk, off, len(data)); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	r, err := n.find("write", chunk, v, create)
	if err != nil {
		return err
	}
	r.extend(off+uint64(len(data)), n.slack)
	copy(r.data[off:], data)
	r.synced = false
	return nil
}

// Zero implements pipeline.Store.
func (n *Node) Zero(chunk uuid.UUID, v proto.Version, off, size uint64, create bool) error {
	if err := n.before("zero", chunk, off, int(size)); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	r, err := n.find("zero", chunk, v, create)
	if err != nil {
		return err
	}
	r.extend(off+size, n.slack)
	clear(r.data[off : off+size])
	r.synced = false
	return nil
}

// Read implements pipeline.Store.
func (n *Node) Read(chunk uuid.UUID, v proto.Version, off uint64, dst []byte, sums []uint32) (int, error) {
	if err := n.before("read", chunk, off, len(dst)); err != nil {
		return 0, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	r, err := n.find("read", chunk, v, false)
	if err != nil {
		return 0, err
	}
	if r.corrupt {
		return 0, proto.E(proto.DataCorrupt, "read", chunk.String(), "damaged by the test")
	}
	size := 0
	if off < uint64(len(r.data)) {
		size = copy(dst, r.data[off:])
	}
	for i, at := 0, 0; at < size; i++ {
		end := min(at+proto.BlockSize-int((off+uint64(at))%proto.BlockSize), size)
		sums[i] = crc32.Checksum(dst[at:end], castagnoli)
		at = end
	}
	return size, nil
}

// Sums implements pipeline.Store.
func (n *Node) Sums(chunk uuid.UUID, v proto.Version, off, size uint64, dst []uint32) (length uint64, sums []uint32, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	r, err := n.find("sums", chunk, v, false)
	if err != nil {
		return 0, nil, err
	}
	for end := min(uint64(len(r.data)), off+size); off < end; off += proto.BlockSize {
		var block [proto.BlockSize]byte
		copy(block[:], r.data[off:])
		dst = append(dst, crc32.Checksum(block[:], castagnoli))
	}
	return uint64(len(r.data)), dst, nil
}

// Extent implements pipeline.Store.
func (n *Node) Extent(chunk uuid.UUID, v proto.Version, off, size uint64) (start, end uint64, err error) {
	if err := n.before("extent", chunk, off, 0); err != nil {
		return 0, 0, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	r, err := n.find("extent", chunk, v, false)
	if err != nil {
		return 0, 0, err
	}
	start = r.next(true, off, off+size)
	return start, r.next(false, start, off+size), nil
}

// next finds the first block from off on that holds something else than zeros, or
// does not; limit if there is none.
func (r *replica) next(data bool, off, limit uint64) uint64 {
	for ; off < limit; off += proto.BlockSize {
		length := uint64(len(r.data))
		block := r.data[min(off, length):min(off+proto.BlockSize, length)]
		if data == (len(bytes.TrimLeft(block, "\x00")) > 0) {
			return off
		}
	}
	return limit
}

// Sync implements pipeline.Store.
func (n *Node) Sync(chunk uuid.UUID, v proto.Version) error {
	if err := n.before("sync", chunk, 0, 0); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	r, err := n.find("sync", chunk, v, false)
	if err != nil {
		return err
	}
	r.synced = true
	return nil
}

// setVersion is the order of the master that fences a replica; an absent one
// counts as an empty one.
func (n *Node) setVersion(chunk uuid.UUID, v proto.Version) {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := n.replicas[chunk]
	if r == nil {
		r = &replica{}
		n.replicas[chunk] = r
	}
	r.version = v
}

// setContent makes a replica equal to another one.
func (n *Node) setContent(chunk uuid.UUID, content []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := n.replicas[chunk]
	r.corrupt = false
	r.data = append(r.data[:0], content...)
}
