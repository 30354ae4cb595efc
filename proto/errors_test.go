package proto

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/google/uuid"
)

func TestEveryKindIsInTheTable(t *testing.T) {
	names := map[string]Kind{}
	for k := OK; k < kindCount; k++ {
		info := kindTable[k]
		if info.name == "" {
			t.Errorf("kind %d has no row", k)
		}
		if other, ok := names[info.name]; ok {
			t.Errorf("kinds %d and %d share the name %q", other, k, info.name)
		}
		names[info.name] = k
		if (k == OK) != (info.errno == 0) || (k == OK) != (info.code == codes.OK) {
			t.Errorf("kind %v: errno %v, code %v", k, info.errno, info.code)
		}
	}
}

func TestKindSurvivesTheWire(t *testing.T) {
	for k := NotFound; k < kindCount; k++ {
		sent := &Error{Kind: k, Op: "create", Subject: "/a/b", Detail: "because", Err: errors.New("cause")}
		got := FromStatus(ToStatus(fmt.Errorf("wrapped: %w", sent)))
		if !errors.Is(got, k) || KindOf(got) != k {
			t.Errorf("kind %v came back as %v", k, got)
		}
		if got.Error() != sent.Error() {
			t.Errorf("text %q came back as %q", sent.Error(), got.Error())
		}
	}
}

func TestKindOfForeignErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Kind
	}{
		{nil, OK},
		{NotEmpty, NotEmpty},
		{syscall.ENOSPC, NoSpace},
		{syscall.EIO, IO},
		{syscall.ENOTTY, IO},
		{context.Canceled, Interrupted},
		{fmt.Errorf("dial: %w", context.DeadlineExceeded), Timeout},
		{status.Error(codes.Unavailable, "connection refused"), Unavailable},
		{errors.New("anything"), IO},
		{Kind(9999), Kind(9999)},
	} {
		if got := KindOf(c.err); got != c.want {
			t.Errorf("KindOf(%v) = %v, want %v", c.err, got, c.want)
		}
	}
	if Kind(9999).Errno() != syscall.EIO {
		t.Error("a kind of a later version must mean EIO")
	}
}

func TestChunkUUID(t *testing.T) {
	cluster := ClusterID(uuid.MustParse("01234567-89ab-4def-8123-456789abcdef"))
	chunk := ChunkID(MakeID(7, 3))
	if chunk.Slot() != 7 || chunk.Generation() != 3 {
		t.Errorf("slot %d generation %d", chunk.Slot(), chunk.Generation())
	}
	u := cluster.ChunkUUID(chunk)
	if want := "01234567-89ab-4def-0000-000300000007"; u.String() != want {
		t.Errorf("ChunkUUID = %s, want %s", u, want)
	}
	if got, ok := cluster.ChunkOf(u); !ok || got != chunk {
		t.Errorf("ChunkOf = %v, %v", got, ok)
	}
	if _, ok := (ClusterID{}).ChunkOf(u); ok {
		t.Error("a chunk of another cluster was accepted")
	}
}
