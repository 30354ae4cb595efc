package chunk

import (
	"bytes"
	"errors"
	"hash/crc32"
	"os"
	"testing"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
)

var goldenFooter = footer{
	flags:    flagWriting | flagUnclean,
	chunk:    uuid.MustParse("01234567-89ab-4def-0000-000300000007"),
	version:  5,
	length:   70000,
	capacity: 1 << 20,
}

func (f *footer) page() []byte {
	page := make([]byte, footerPageSize)
	f.encode(page)
	return page
}

func TestFooterGolden(t *testing.T) {
	golden, err := os.ReadFile("testdata/footer")
	if err != nil {
		t.Fatal(err)
	}
	if got := goldenFooter.page(); !bytes.Equal(got, golden) {
		t.Errorf("encoded % x\nwant    % x", got[:footerUsed], golden[:footerUsed])
	}
	if got, err := decodeFooter(golden); err != nil || got != goldenFooter {
		t.Errorf("decoded %+v, %v", got, err)
	}
}

func TestFooterRefusesEveryFlippedBit(t *testing.T) {
	page := goldenFooter.page()
	for i := range len(page) * 8 {
		page[i/8] ^= 1 << (i % 8)
		if f, err := decodeFooter(page); !errors.Is(err, proto.Damaged) {
			t.Fatalf("bit %d flipped: %+v, %v", i, f, err)
		}
		page[i/8] ^= 1 << (i % 8)
	}
}

func TestFooterOfNewerFormat(t *testing.T) {
	page := goldenFooter.page()
	page[8] = 2
	resum(page)
	if _, err := decodeFooter(page); !errors.Is(err, proto.NewerFormat) {
		t.Fatalf("got %v", err)
	}
}

func resum(page []byte) {
	sum := crc32.Checksum(page[:60], castagnoli)
	page[60], page[61], page[62], page[63] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
}

func FuzzFooter(f *testing.F) {
	f.Add(goldenFooter.page(), false)
	f.Add(make([]byte, footerPageSize), false)
	f.Add(make([]byte, footerPageSize), true)
	f.Add([]byte(footerMagic), false)
	f.Fuzz(func(t *testing.T, page []byte, fix bool) {
		if fix && len(page) == footerPageSize { // let the fuzzer get past the checksum
			copy(page, footerMagic)
			resum(page)
		}
		got, err := decodeFooter(page)
		if err != nil {
			return
		}
		if !bytes.Equal(got.page(), page) {
			t.Fatalf("%+v encodes to other bytes than it came from", got)
		}
	})
}

func TestEntryOfZerosIsZero(t *testing.T) {
	if zeroSum != 0x98f94189 {
		t.Errorf("CRC-32C of a zero block is %08x: footer.go says otherwise", zeroSum)
	}
	var none table
	if _, ok := none.verify(7, zeroBlock[:]); !ok {
		t.Error("a hole does not verify")
	}
	if _, ok := none.verify(7, zeroBlock[:100]); !ok {
		t.Error("the beginning of a hole does not verify")
	}
	block := zeroBlock
	block[4095] = 1
	if _, ok := none.verify(7, block[:]); ok {
		t.Error("a block with a byte and entry 0 verifies")
	}
	whole := table{entryOf(crc32.Checksum(block[:], castagnoli))}
	if _, ok := whole.verify(0, block[:]); !ok {
		t.Error("a block with its own entry does not verify")
	}
	part := block
	part[4095] = 0
	part[0] = 1
	whole[0] = entryOf(crc32.Checksum(part[:], castagnoli))
	if _, ok := whole.verify(0, part[:10]); !ok {
		t.Error("the beginning of a block that ends in zeros does not verify")
	}
}
