package proto

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/distrifs/distrifs/proto/pb"
)

// FuzzFailure: whatever failure a peer sends, it is an error with an errno, and no success.
func FuzzFailure(f *testing.F) {
	for _, failure := range []*pb.Failure{{Kind: uint32(NoSpace), Op: "create", Subject: "/a", Detail: "because"}, {}, {Kind: 1 << 31}} {
		raw, err := protobuf.Marshal(failure)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, uint32(codes.Internal), "00000000-0000-4000-8000-000000000001")
	}
	f.Add([]byte{}, uint32(codes.Unavailable), "")
	f.Fuzz(func(t *testing.T, raw []byte, code uint32, cluster string) {
		if id, err := ParseClusterID(cluster); err == nil && id != (ClusterID{}) {
			if again, err := ParseClusterID(id.String()); err != nil || again != id {
				t.Fatalf("cluster %q became %v, %v", cluster, again, err)
			}
		}
		var failure pb.Failure
		if protobuf.Unmarshal(raw, &failure) != nil || codes.Code(code) == codes.OK {
			return
		}
		sent := status.New(codes.Code(code), "text")
		if with, err := sent.WithDetails(&failure); err == nil {
			sent = with
		}
		got := FromStatus(sent.Err())
		if got == nil || KindOf(got) == OK || KindOf(got).Errno() == 0 || got.Error() == "" {
			t.Fatalf("failure %v with code %v is %v", &failure, codes.Code(code), got)
		}
	})
}
