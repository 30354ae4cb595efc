package chunk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
)

// The superblock of a data folder is the text file "superblock" of three lines,
// each ended by a newline, at most 4096 bytes together:
//
//	distrifs data folder, format 1
//	{"cluster":"...","node":3,"instance":"...","folder":"...","chunk_size":67108864,"incarnation":12,"epoch":4,"clean":true}
//	crc32c 0123abcd
//
// The third line is the CRC-32C, in 8 hexadecimal digits, of the two lines before
// it with their newlines. The second is JSON with exactly these fields:
//
//	cluster      UUID; empty until the chunkserver has joined one
//	node         id in the cluster; 0 until then
//	instance     UUID of the chunkserver, the same in all its folders
//	folder       UUID of this folder
//	chunk_size   bytes, a power of two; 0 until then
//	incarnation  raised at each start; see proto.Incarnation
//	epoch        the highest of a master that was obeyed
//	clean        the last stop left no replica being written
//
// Later formats keep the first line's wording. The file is replaced whole.
const (
	superblockName   = "superblock"
	superblockFormat = 1
	superblockFirst  = "distrifs data folder, format "
	superblockLimit  = 4096 // bytes
)

type superblock struct {
	Cluster     clusterText  `json:"cluster"`
	Node        proto.NodeID `json:"node"`
	Instance    uuid.UUID    `json:"instance"`
	Folder      uuid.UUID    `json:"folder"`
	ChunkSize   int64        `json:"chunk_size"`
	Incarnation uint64       `json:"incarnation"`
	Epoch       proto.Epoch  `json:"epoch"`
	Clean       bool         `json:"clean"`
}

// clusterText writes a cluster's id as JSON text.
type clusterText proto.ClusterID

func (c clusterText) MarshalText() ([]byte, error) { return []byte(proto.ClusterID(c).String()), nil }

func (c *clusterText) UnmarshalText(text []byte) error {
	id, err := proto.ParseClusterID(string(text))
	*c = clusterText(id)
	return err
}

// joined tells whether the folder belongs to a cluster.
func (sb *superblock) joined() bool { return sb.Cluster != clusterText{} }

func (sb *superblock) encode() []byte {
	body, err := json.Marshal(sb)
	if err != nil {
		panic(fmt.Sprintf("superblock %+v: %v", sb, err)) // fixed fields: cannot fail
	}
	text := fmt.Appendf(nil, "%s%d\n%s\n", superblockFirst, superblockFormat, body)
	return fmt.Appendf(text, "crc32c %08x\n", crc32.Checksum(text, castagnoli))
}

// decodeSuperblock reads what encode wrote. The error is of kind Damaged, or
// NewerFormat.
func decodeSuperblock(text []byte) (superblock, error) {
	first, rest, _ := strings.Cut(string(text), "\n")
	number, ok := strings.CutPrefix(first, superblockFirst)
	format, err := strconv.ParseUint(number, 10, 32)
	if !ok || err != nil || len(text) > superblockLimit {
		return superblock{}, damaged("the first line is not %q", superblockFirst+"1")
	}
	if format > superblockFormat {
		return superblock{}, &proto.Error{Kind: proto.NewerFormat, Detail: fmt.Sprintf("data folder of format %d, this software knows %d: use a newer one", format, superblockFormat)}
	}
	body, last, _ := strings.Cut(rest, "\n")
	covered := text[:min(len(text), len(first)+len(body)+2)]
	if want := fmt.Sprintf("crc32c %08x\n", crc32.Checksum(covered, castagnoli)); last != want || format != superblockFormat {
		return superblock{}, damaged("the checksum does not match")
	}
	var sb superblock
	decoder := json.NewDecoder(bytes.NewReader([]byte(body)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&sb); err != nil {
		return superblock{}, damaged("the second line: %v", err)
	}
	if sb.Instance == uuid.Nil || sb.Folder == uuid.Nil || sb.joined() != (sb.Node != 0) || sb.joined() != validCapacity(sb.ChunkSize) {
		return superblock{}, damaged("fields that contradict each other")
	}
	return sb, nil
}
