package chaos

import (
	"github.com/distrifs/distrifs/test/cluster"
)

func partFromMaster(s *stage, f fault) {
	s.part(f, s.c.Chunkservers[f.server].Host, s.c.Master.Host)
}

func partFromClients(s *stage, f fault) {
	s.part(f, s.c.Chunkservers[f.server].Host, s.c.Mounts[0].Host, s.c.Mounts[1].Host)
}

func partFromPeer(s *stage, f fault) {
	s.part(f, s.c.Chunkservers[f.server].Host, s.c.Chunkservers[f.peer].Host)
}

func partFromAll(s *stage, f fault) {
	others := []*cluster.Host{s.c.Master.Host}
	for _, m := range s.c.Mounts {
		others = append(others, m.Host)
	}
	for i, p := range s.c.Chunkservers {
		if i != f.server {
			others = append(others, p.Host)
		}
	}
	s.part(f, s.c.Chunkservers[f.server].Host, others...)
}

func partClientFromMaster(s *stage, f fault) {
	s.part(f, s.c.Mounts[f.server%len(s.c.Mounts)].Host, s.c.Master.Host)
}

// part drops what goes from one host to others, or comes from them, or both.
func (s *stage) part(f fault, one *cluster.Host, others ...*cluster.Host) {
	whom := "everybody"
	if len(others) == 1 {
		whom = others[0].Name
	} else if len(others) == len(s.c.Mounts) {
		whom = "the clients"
	}
	s.say("%s %s, for %v", one.Name, map[way]string{
		bothWays: "and " + whom + " are parted", outwards: "is not heard by " + whom, inwards: "does not hear " + whom,
	}[f.way], f.hold)
	each := func(rule func(from, to *cluster.Host)) {
		for _, other := range others {
			if f.way != inwards {
				rule(one, other)
			}
			if f.way != outwards {
				rule(other, one)
			}
		}
	}
	each(func(from, to *cluster.Host) { s.network.Cut(s.t, from, to) })
	s.hold(f.hold)
	s.say("the network is mended")
	each(func(from, to *cluster.Host) { s.network.Mend(s.t, from, to) })
}
