package chunk

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
)

var goldenSuperblock = superblock{
	Cluster:     clusterText(uuid.MustParse("01234567-89ab-4def-8123-456789abcdef")),
	Node:        3,
	Instance:    uuid.MustParse("11111111-2222-4333-8444-555555555555"),
	Folder:      uuid.MustParse("aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"),
	ChunkSize:   64 << 20,
	Incarnation: 12,
	Epoch:       4,
	Clean:       true,
}

func TestSuperblockGolden(t *testing.T) {
	golden, err := os.ReadFile("testdata/superblock")
	if err != nil {
		t.Fatal(err)
	}
	if got := goldenSuperblock.encode(); !bytes.Equal(got, golden) {
		t.Errorf("encoded\n%s\nwant\n%s", got, golden)
	}
	if got, err := decodeSuperblock(golden); err != nil || got != goldenSuperblock {
		t.Errorf("decoded %+v, %v", got, err)
	}
}

func TestSuperblockRefusesEveryFlippedBit(t *testing.T) {
	text := goldenSuperblock.encode()
	for i := range len(text) * 8 {
		bad := bytes.Clone(text)
		bad[i/8] ^= 1 << (i % 8)
		if sb, err := decodeSuperblock(bad); err == nil {
			t.Fatalf("bit %d flipped: accepted as %+v", i, sb)
		}
	}
	for n := range text {
		if _, err := decodeSuperblock(text[:n]); !errors.Is(err, proto.Damaged) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
}

func TestSuperblockOfNewerFormat(t *testing.T) {
	_, err := decodeSuperblock([]byte(superblockFirst + "2\nwhatever comes\n"))
	if !errors.Is(err, proto.NewerFormat) {
		t.Fatalf("got %v", err)
	}
}

func FuzzSuperblock(f *testing.F) {
	f.Add(goldenSuperblock.encode())
	f.Add((&superblock{Instance: goldenSuperblock.Instance, Folder: goldenSuperblock.Folder}).encode())
	f.Add([]byte(superblockFirst + "99\n"))
	f.Add([]byte(strings.Repeat("\n", 5000)))
	f.Fuzz(func(t *testing.T, text []byte) {
		sb, err := decodeSuperblock(text)
		if err != nil {
			return
		}
		if again, err := decodeSuperblock(sb.encode()); err != nil || again != sb {
			t.Fatalf("%+v encoded and decoded is %+v, %v", sb, again, err)
		}
	})
}
