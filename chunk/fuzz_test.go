package chunk

import (
	"bytes"
	"context"
	"log/slog"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/google/uuid"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/pipeline"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// FuzzChunkFile: whatever a chunk's file and the small files of its folder hold, a start
// answers, and no byte is read that does not match its table.
func FuzzChunkFile(f *testing.F) {
	written := footer{chunk: testChunk(1), version: 1, length: 5000, capacity: testCapacity}
	content := randomBytes(rand.New(rand.NewPCG(1, 2)), 5000)
	entries := encodeEntries(nil, []uint32{0, 1})
	torn := written
	torn.flags = flagWriting
	gapped := written
	gapped.flags = flagWriting | flagUnclean
	for _, ft := range []footer{written, torn, gapped} {
		f.Add(ft.encode(make([]byte, footerUsed)), content, entries, int64(0), []byte("boot"), true)
	}
	f.Add([]byte(footerMagic), []byte{}, []byte{}, int64(-100), []byte{}, false)
	f.Fuzz(func(t *testing.T, page, data, entries []byte, longer int64, boot []byte, fix bool) {
		mem := disk.NewMem()
		s := openStore(t, testOptions(mem, "/data"))
		must(t, write(s, testChunk(1), 1, 0, []byte("here"), true))
		s.abandon()
		page = append(bytes.Clone(page), make([]byte, footerPageSize)...)[:footerPageSize]
		if fix { // let the fuzzer get past the checksum
			copy(page, footerMagic)
			resum(page)
		}
		file, err := mem.OpenFile(chunkFile(1), os.O_RDWR, 0)
		must(t, err)
		l := layout(testCapacity)
		for at, bytes := range map[int64][]byte{
			0: data[:min(len(data), testCapacity)], l.footerAt(): page, l.tableAt(): entries[:min(len(entries), int(l.blocks())*entrySize)],
		} {
			_, err := file.WriteAt(bytes, at)
			must(t, err)
		}
		if longer != 0 {
			must(t, file.Truncate(min(max(0, l.fileSize()+longer), 2*l.fileSize())))
		}
		must(t, disk.ReplaceFile(mem, "/data/"+bootName, boot[:min(len(boot), 2*bootLimit)], 0o644))
		o := testOptions(mem, "/data")
		o.Boot = "boot"
		if s, err = OpenStore(o); err != nil {
			return // of a newer format
		}
		settleForFuzz(s)
		for _, r := range s.replicaStates(func(proto.ChunkID) bool { return true }) {
			for off := uint64(0); off < r.Length; off += 300_000 {
				_, _ = read(t, s, testChunk(1), proto.Version(r.Version), off, 300_000) // which checks what comes
			}
			_, _, _ = s.Extent(testChunk(1), proto.Version(r.Version), 0, testCapacity)
		}
	})
}

func settleForFuzz(s *Store) {
	for _, r := range s.replicaStates(func(proto.ChunkID) bool { return true }) {
		_ = s.LetStand(proto.ChunkID(r.Chunk), proto.Version(r.Version)) // of what is damaged, no
	}
}

// FuzzCommand: whatever a master orders, in whatever order, the chunkserver answers.
func FuzzCommand(f *testing.F) {
	seed := func(commands ...*pb.NodeCommand) {
		var all []byte
		for _, c := range commands {
			raw, err := protobuf.Marshal(c)
			must(f, err)
			all = append(append(all, byte(len(raw))), raw...)
		}
		f.Add(all)
	}
	set := &pb.NodeCommand{Epoch: 1, Command: &pb.NodeCommand_SetVersion{SetVersion: &pb.SetVersion{Chunk: 1, Version: 4, Create: true}}}
	stands := &pb.NodeCommand{Epoch: 1, Command: &pb.NodeCommand_SetVersion{SetVersion: &pb.SetVersion{Chunk: 1, Version: 4, Stands: true}}}
	fetch := &pb.NodeCommand{Epoch: 1, Command: &pb.NodeCommand_Copy{Copy: &pb.CopyChunk{Chunk: 2, Version: 3, Sources: []*pb.Replica{{Node: 2, Address: "a:1"}}, Rate: 1 << 40}}}
	clone := &pb.NodeCommand{Epoch: 1, Command: &pb.NodeCommand_Copy{Copy: &pb.CopyChunk{Chunk: 3, Version: 3, OfChunk: 1, OfVersion: 3, Sources: []*pb.Replica{{Node: 1}}, Afresh: true}}}
	remove := &pb.NodeCommand{Epoch: 2, Command: &pb.NodeCommand_Delete{Delete: &pb.DeleteChunk{Chunk: 1, Version: 9}}}
	seed(set, stands, fetch, clone, remove, set)
	seed(fetch, remove, clone)
	seed(&pb.NodeCommand{Epoch: 1})
	f.Fuzz(func(t *testing.T, raw []byte) {
		mem := disk.NewMem()
		store := openStore(t, testOptions(mem, "/data"))
		must(t, write(store, testChunk(1), 3, 0, []byte("content"), true))
		s := &session{agent: newAgent(store, agentOptions{log: slog.New(slog.DiscardHandler), forget: func(uuid.UUID) {}, peers: fakePeers{
			func(_ context.Context, r pipeline.ReadRequest, dst []byte) (int, error) {
				return min(len(dst), 100), nil
			},
		}})}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for commands := 0; len(raw) > 0 && commands < 20; commands++ {
			n := min(int(raw[0]), len(raw)-1)
			var command pb.NodeCommand
			if protobuf.Unmarshal(raw[1:1+n], &command) == nil {
				if c := command.GetCopy(); c != nil {
					c.Rate = 0 // else it takes the time it takes
				}
				if result := s.carryOut(ctx, &command); result == nil {
					t.Fatal("no answer")
				}
			}
			raw = raw[1+n:]
		}
		for _, r := range store.replicaStates(func(proto.ChunkID) bool { return true }) {
			if r.Chunk == 1 && !r.Corrupt {
				got, err := read(t, store, testChunk(1), proto.Version(r.Version), 0, 10)
				if err == nil && r.Version == 3 && string(got) != "content" {
					t.Fatalf("version 3 is %q", got)
				}
			}
		}
		must(t, store.Close())
	})
}
