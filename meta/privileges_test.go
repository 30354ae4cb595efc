package meta

import (
	"testing"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Whoever has a file open for writing takes its set-id bits by writing, whatever its mode has
// become: a session that has it open may say so for him.
func TestWritersTakeSetIDsOfWhatTheyHaveOpen(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		t := c.t
		one, other := c.connect(&pb.Hello{}), c.connect(&pb.Hello{})
		defer one.vanish()
		defer other.vanish()
		f := one.file("f")
		mode := uint32(0o6755)
		must[*pb.AttrReply](t)(one.api().SetAttr(t.Context(), &pb.SetAttrRequest{Caller: one.changes(), Inode: f.Attr.Inode, Mode: &mode}))
		drop := func(who *client) (*pb.AttrReply, error) {
			who.uid = 1000
			return who.api().SetAttr(t.Context(), &pb.SetAttrRequest{Caller: who.changes(), Inode: f.Attr.Inode, DropSetIds: true})
		}
		_, err := drop(other)
		wantKind(t, err, proto.Access)
		if a := must[*pb.AttrReply](t)(drop(one)).Attr; a.Mode&0o7777 != 0o755 {
			t.Errorf("mode %o", a.Mode)
		}
	})
}
