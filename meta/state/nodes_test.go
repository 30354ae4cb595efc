package state

import (
	"testing"

	"github.com/distrifs/distrifs/proto"
)

func TestOperate(t *testing.T) {
	f := newFixture(t)
	is := func(want NodeInfo) {
		t.Helper()
		got := reload(t, f.State).Nodes()[2]
		if got.Decommissioned != want.Decommissioned || got.Maintenance != want.Maintenance {
			t.Errorf("chunkserver 3 is %+v, want %+v", got, want)
		}
	}
	is(NodeInfo{})
	f.ok(&Operate{Node: 3, Move: Decommission, On: true})
	f.ok(&Operate{Node: 3, Move: Decommission, On: true})
	is(NodeInfo{Decommissioned: true})
	f.ok(&Operate{Node: 3, Move: Maintenance, On: true, Until: Time{Sec: 77, Nsec: 9}})
	is(NodeInfo{Decommissioned: true, Maintenance: Time{Sec: 77}})
	f.ok(&Operate{Node: 3, Move: Decommission})
	f.ok(&Operate{Node: 3, Move: Maintenance})
	is(NodeInfo{})
	for _, on := range []bool{true, false} {
		f.ok(&Operate{Move: Rebalance, On: on})
		if reload(t, f.State).Rebalancing() != on {
			t.Errorf("rebalancing is not %v", on)
		}
	}
	f.want(proto.NotFound, &Operate{Node: 5, Move: Decommission, On: true})
	f.want(proto.NotFound, &Operate{Move: Maintenance, On: true})
	f.want(proto.Invalid, &Operate{Node: 3, Move: Rebalance, On: true})
	f.want(proto.Invalid, &Operate{Node: 3, Move: 9, On: true})
}
