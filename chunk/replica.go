package chunk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/proto"
)

// replica is one chunk's file. Its small state is always in memory; file and
// table only while it is open (cache.go).
type replica struct {
	store *Store
	id    proto.ChunkID
	name  uuid.UUID

	used    atomic.Bool               // since the cache last looked
	pins    atomic.Int32              // who uses file without mu; raised and lowered with mu held
	corrupt atomic.Bool               // a block could not be read as it was written
	lost    atomic.Pointer[lostCause] // nil: not lost
	awaited atomic.Bool               // a heartbeat has somebody wait for mu

	mu      sync.RWMutex // protects all below
	folder  *folder
	draft   string // its file in tmp/ until it is whole; then empty
	version proto.Version
	length  int64  // bytes
	flags   uint32 // as in the footer on disk
	state   replicaState
	file    disk.File // nil: not open
	table   table     // while open; right also when stale
	charged int64     // bytes of the table that the cache counts

	stale     bool          // the table or footer on disk is behind memory: a write of it failed
	unclean   bool          // it was in a period when its chunkserver died, and the master has not settled it
	gaps      bool          // unclean, and something that it acknowledged may be missing; put into the footer
	fence     proto.Version // requests of lower versions are refused: it is being made equal to that version
	broken    proto.Version // at which a write was applied here and failed elsewhere in the chain; 0: none
	fresh     bool          // the name is not known to be durable
	writes    uint64        // counts writes
	synced    uint64        // value of writes at the last sync
	firm      proto.Version // the version that the last sync has made durable; 0: none did
	lastWrite time.Time     // end of the last write
}

type lostCause struct{ error }

// replicaState is where a replica is in its life.
type replicaState uint8

const (
	absent replicaState = iota // being made: has no name yet
	whole                      // has its name
	gone                       // not in the index any more: look again
)

// path of the replica's file.
func (r *replica) path() string {
	if r.draft != "" {
		return r.draft
	}
	return r.folder.chunkPath(r.id, r.name)
}

func (r *replica) layout() layout { return r.store.layout() }

func (r *replica) subject() string {
	return fmt.Sprintf("chunk %v version %d in %s", r.id, r.version, r.folder.path)
}

func (r *replica) fail(kind proto.Kind, op, detail string, cause error) error {
	return &proto.Error{Kind: kind, Op: op, Subject: r.subject(), Detail: detail, Err: cause}
}

// exists tells whether there is a replica that can be used for anything. Needs mu.
func (r *replica) exists(op string) error {
	switch {
	case r.state != whole:
		return proto.E(proto.NoReplica, op, fmt.Sprintf("chunk %v", r.id), "")
	case r.lost.Load() != nil:
		return r.fail(proto.DataCorrupt, op, "replica is lost", r.lost.Load().error)
	}
	return nil
}

// check tells whether a request for version v may use the replica. Needs mu.
func (r *replica) check(op string, v proto.Version) error {
	switch err := r.exists(op); {
	case err != nil:
		return err
	case r.fence > v:
		return r.fail(proto.WrongVersion, op, fmt.Sprintf("version %d was asked for, the replica is fenced at %d", v, r.fence), nil)
	case r.version != v:
		return r.fail(proto.WrongVersion, op, fmt.Sprintf("version %d was asked for, the replica has %d", v, r.version), nil)
	}
	return nil
}

// serves is check for the data plane. An unclean replica may lack what it has
// acknowledged, for a power cut takes what was not synced: it serves nobody until the
// master has said that its bytes stand, or has replaced it (G1, G3).
func (r *replica) serves(op string, v proto.Version) error {
	if err := r.check(op, v); err != nil || !r.unclean {
		return err
	}
	return r.fail(proto.NoReplica, op, "replica is unclean: it was being written when its chunkserver died", nil)
}

// lose gives the replica up: nothing of it is read again. Needs mu.
func (r *replica) lose(cause error) error {
	if r.lost.CompareAndSwap(nil, &lostCause{cause}) {
		r.store.log.Error("replica is lost", "chunk", r.id, "version", r.version, "folder", r.folder.path, "error", cause)
		r.store.changes.note(r.id, true)
	}
	return r.fail(proto.DataCorrupt, "use", "replica is lost", cause)
}

// damagedBlock reports a block that is not what was written (L13). Needs mu.
func (r *replica) damagedBlock(block int64, cause error) {
	if r.corrupt.CompareAndSwap(false, true) {
		r.store.log.Error("replica is corrupt", "chunk", r.id, "version", r.version, "folder", r.folder.path, "block", block, "error", cause)
		r.store.changes.note(r.id, true)
	}
}

// open makes file and table available, and checks that the footer is still the
// one in memory. Needs mu for writing.
func (r *replica) open() error {
	if r.file != nil {
		return nil
	}
	file, err := r.folder.fs.OpenFile(r.path(), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return r.lose(damaged("file %s is gone", r.path()))
	}
	if err != nil {
		return r.folder.failed("open", r.subject(), err)
	}
	t, err := r.readTable(file)
	if err != nil {
		_ = file.Close() // nothing was written
		return err
	}
	r.file, r.table = file, t
	r.store.cache.add(r)
	return nil
}

func (r *replica) readTable(file disk.File) (table, error) {
	l := r.layout()
	raw := make([]byte, footerPageSize+blocksOf(r.length)*entrySize)
	if n, err := file.ReadAt(raw, l.footerAt()); n < len(raw) {
		if errors.Is(err, io.EOF) {
			return nil, r.lose(damaged("file ends within its footer or table"))
		}
		return nil, r.lose(r.folder.failed("read footer of", r.subject(), err))
	}
	f, err := decodeFooter(raw[:footerPageSize])
	if err != nil {
		return nil, r.lose(err)
	}
	if f.chunk != r.name || f.version != r.version || f.length != r.length || layout(f.capacity) != l {
		return nil, r.lose(damaged("footer changed to chunk %v, version %d, length %d", f.chunk, f.version, f.length))
	}
	return decodeEntries(raw[footerPageSize:]), nil
}

// close lets go of file and table. Needs mu for writing, no pins, and not stale.
func (r *replica) close() {
	if r.file == nil {
		return
	}
	if err := r.file.Close(); err != nil {
		r.store.log.Warn("close chunk file", "chunk", r.id, "error", err)
	}
	r.file, r.table = nil, nil
	r.store.cache.charge(r)
}

// writeFooter brings the footer on disk up to date with version and length and
// the flags given. Needs mu for writing, and an open file.
func (r *replica) writeFooter(flags uint32) error {
	s := getScratch()
	defer s.release()
	if _, err := r.file.WriteAt(r.footer(s, flags), r.layout().footerAt()); err != nil {
		return r.folder.failed("write footer of", r.subject(), err)
	}
	r.flags = flags
	return nil
}

// footer is what the footer's page is to be.
func (r *replica) footer(s *scratch, flags uint32) []byte {
	f := footer{flags: flags, chunk: r.name, version: r.version, length: r.length, capacity: int64(r.layout())}
	return f.encode(s.footer[:])
}

// harden makes the footer, as it was written, durable, and not what else was written. Needs mu
// for writing, and an open file.
func (r *replica) harden() error {
	s := getScratch()
	defer s.release()
	if err := r.file.WriteSynced(r.footer(s, r.flags), r.layout().footerAt()); err != nil {
		return r.lose(r.folder.failed("sync", r.subject(), err)) // L9
	}
	return nil
}

// ownFlags are the flags to write beside flagWriting.
func (r *replica) ownFlags() uint32 {
	if r.gaps {
		return flagUnclean
	}
	return 0
}

// beginPeriod sets "being written" before the first write of a period, durably
// where the replica was synced before (doc.go, 3). Needs mu for writing.
func (r *replica) beginPeriod() error {
	if r.flags&flagWriting != 0 {
		return nil
	}
	if err := r.writeFooter(r.ownFlags() | flagWriting); err != nil {
		return err
	}
	if r.state == whole {
		if err := r.file.Sync(); err != nil {
			return r.lose(r.folder.failed("sync", r.subject(), err)) // L9
		}
	}
	r.store.dirty.add(r)
	return nil
}
