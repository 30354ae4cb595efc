package state

import (
	"io"

	"github.com/distrifs/distrifs/proto"
)

// State is the master's metadata.
type State struct{}

// New gives a state that is empty until Init is applied.
func New() *State { return &State{} }

// Decode reads the payload of a log record back into a command.
func Decode(op Op, payload []byte) (Command, error) { return nil, proto.NotSupported }

func (*Init) Encode(dst []byte) []byte         { return dst }
func (*BeginEpoch) Encode(dst []byte) []byte   { return dst }
func (*OpenSession) Encode(dst []byte) []byte  { return dst }
func (*EndSession) Encode(dst []byte) []byte   { return dst }
func (*RegisterNode) Encode(dst []byte) []byte { return dst }
func (*Make) Encode(dst []byte) []byte         { return dst }
func (*Link) Encode(dst []byte) []byte         { return dst }
func (*Unlink) Encode(dst []byte) []byte       { return dst }
func (*Rename) Encode(dst []byte) []byte       { return dst }
func (*SetAttr) Encode(dst []byte) []byte      { return dst }
func (*SetXattr) Encode(dst []byte) []byte     { return dst }
func (*RemoveXattr) Encode(dst []byte) []byte  { return dst }
func (*AssignChunks) Encode(dst []byte) []byte { return dst }
func (*Commit) Encode(dst []byte) []byte       { return dst }
func (*SetChain) Encode(dst []byte) []byte     { return dst }
func (*Reap) Encode(dst []byte) []byte         { return dst }
func (*DropAssigned) Encode(dst []byte) []byte { return dst }

// Apply carries a command out. index is its log index; one that was applied already
// changes nothing and answers Repeated. Index 0 is a command that is in no log.
func (s *State) Apply(index uint64, c Command) Result { return Result{Kind: proto.NotSupported} }

// Applied is the highest log index applied.
func (s *State) Applied() uint64 { return 0 }

// Lookup finds a name in a directory; "." and ".." are the directory and its parent.
// Stale, NotDir, Access (no search permission), NameTooLong, NotFound.
func (s *State) Lookup(parent proto.InodeID, name []byte, cred Cred) (Attr, proto.Kind) {
	return Attr{}, proto.NotSupported
}

// Attr gives the attributes of an inode; Stale if it is gone.
func (s *State) Attr(ino proto.InodeID) (Attr, proto.Kind) { return Attr{}, proto.NotSupported }

// Access checks permissions; mask is an or of 4 (read), 2 (write), 1 (execute or search).
func (s *State) Access(ino proto.InodeID, cred Cred, mask uint32) proto.Kind {
	return proto.NotSupported
}

// Parent is the inode of "..": the root's is the root, a removed directory's is itself.
func (s *State) Parent(ino proto.InodeID) (proto.InodeID, proto.Kind) { return 0, proto.NotSupported }

// ReadDir calls fn for the entries behind a cookie (0: all) in the order of cookies until it answers false.
func (s *State) ReadDir(ino proto.InodeID, cookie uint64, fn func(DirEntry) bool) proto.Kind {
	return proto.NotSupported
}

// ReadLink gives a symlink's target.
func (s *State) ReadLink(ino proto.InodeID) ([]byte, proto.Kind) { return nil, proto.NotSupported }

// GetXattr gives the value of an extended attribute.
func (s *State) GetXattr(ino proto.InodeID, name []byte, cred Cred) ([]byte, proto.Kind) {
	return nil, proto.NotSupported
}

// ListXattr gives the names of the extended attributes that cred may know of, sorted.
func (s *State) ListXattr(ino proto.InodeID, cred Cred) ([][]byte, proto.Kind) {
	return nil, proto.NotSupported
}

// FileChunks calls fn for the chunks at first <= index < first+count, in order; holes are left out.
func (s *State) FileChunks(ino proto.InodeID, first uint64, count int, fn func(Chunk) bool) proto.Kind {
	return proto.NotSupported
}

// Chunk gives a live chunk.
func (s *State) Chunk(id proto.ChunkID) (Chunk, bool) { return Chunk{}, false }

// Fate says what became of a chunk id.
func (s *State) Fate(id proto.ChunkID) Fate { return NeverIssued }

// EachChunk calls fn for the live chunks in slots >= from, in order, until it answers false.
func (s *State) EachChunk(from uint32, fn func(Chunk) bool) {}

// EachOrphan calls fn for the orphans in order of slots until it answers false.
func (s *State) EachOrphan(fn func(proto.InodeID) bool) {}

// HasSession says whether a session lives.
func (s *State) HasSession(id proto.SessionID) bool { return false }

// Sessions lists the sessions in order of their ids.
func (s *State) Sessions() []SessionInfo { return nil }

// Nodes lists the chunkservers in order of their ids.
func (s *State) Nodes() []NodeInfo { return nil }

// Stats counts what there is.
func (s *State) Stats() Stats { return Stats{} }

// Config is what Init and BeginEpoch said.
func (s *State) Config() Config { return Config{} }

// Repeated gives the answer that a slot keeps for exactly this request.
func (s *State) Repeated(o Origin) (Result, bool) { return Result{}, false }

// Hash is a hash of the logical state: equal after the same commands.
func (s *State) Hash() uint64 { return 0 }

// Snapshot freezes the state as it is, in time proportional to the number of pages.
func (s *State) Snapshot() *Snapshot { return &Snapshot{} }

// Snapshot is the state at one moment, readable beside Apply by one goroutine at a time.
type Snapshot struct{}

// WriteTo writes a checkpoint.
func (sn *Snapshot) WriteTo(w io.Writer) (int64, error) { return 0, proto.NotSupported }

// Release lets go of the pages; it may be called more than once.
func (sn *Snapshot) Release() {}

// Load reads a checkpoint. Damaged: it is not what was written; NewerFormat.
func Load(r io.Reader) (*State, error) { return nil, proto.NotSupported }
