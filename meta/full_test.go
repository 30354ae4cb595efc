package meta

import (
	"fmt"
	"testing"
	"time"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// While the master's disk is full, changes are refused with ENOSPC, everything else goes on,
// status tells, and when there is room changes are taken again, in the same slots.
func TestMasterWithAFullDisk(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		f := one.file("f")
		one.write(f)
		total, free, err := c.disk.Usage("/master")
		if err != nil {
			t.Fatal(err)
		}
		c.disk.SetCapacity(total - free + 1<<20)
		made := 0
		for err == nil && made < 200_000 {
			_, err = one.api().SetXattr(c.t.Context(), &pb.SetXattrRequest{Caller: one.changes(), Inode: f.Attr.Inode, Name: []byte("user.x"), Value: make([]byte, 60_000)})
			made++
		}
		wantKind(c.t, err, proto.NoSpace)
		time.Sleep(time.Minute) // sessions, nodes and repair go on
		must[*pb.AttrReply](c.t)(one.api().Lookup(c.t.Context(), &pb.LookupRequest{Caller: one.asks(), Parent: 1, Name: []byte("f")}))
		if l := one.locate(f); len(l.Chain) != 3 || l.Chain[0].Address == "" {
			t.Errorf("location %s", show(l))
		}
		if st := c.status(); st.LogFault == "" || !st.Nodes[0].Alive {
			t.Errorf("status %v", st)
		}
		c.disk.SetCapacity(0)
		time.Sleep(time.Second)
		for i := range 10 {
			one.write(one.file(fmt.Sprintf("g%d", i)))
		}
		if st := c.status(); st.LogFault != "" {
			t.Errorf("it says %q with room", st.LogFault)
		}
	})
}
