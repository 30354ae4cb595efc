package meta

import (
	"testing"

	"github.com/distrifs/distrifs/proto/pb"
)

// Who makes a cluster can write to it. Who starts it later makes no difference.
func TestRootDirectoryBelongsToWhoMakesTheCluster(t *testing.T) {
	inCluster(t, 1, Config{RootUID: 1000, RootGID: 100}, func(c *cluster) {
		t := c.t
		check := func() {
			t.Helper()
			one := c.connect(&pb.Hello{})
			defer one.vanish()
			reply := must[*pb.AttrReply](t)(one.api().GetAttr(t.Context(), &pb.GetAttrRequest{Caller: one.asks(), Inode: 1}))
			if a := reply.Attr; a.Uid != 1000 || a.Gid != 100 || a.Mode&0o777 != 0o755 {
				t.Errorf("the root directory is %v", a)
			}
		}
		check()
		c.cfg.RootUID, c.cfg.RootGID = 0, 0
		c.crash(1)
		check()
	})
}
