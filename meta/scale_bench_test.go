package meta

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/distrifs/distrifs/internal/cputime"
	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/meta/leases"
	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// newLibrary is a master on a disk, with files in folders of a thousand.
func newLibrary(b *testing.B, fsys disk.FS, dir string, files int) (m *Master, folders []uint64) {
	m, err := Open(Config{FS: fsys, Dir: dir, Replicas: 1, CheckpointEvery: -1, RepairEvery: time.Hour, SessionTimeout: time.Hour, LeaseTime: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { m.Close() })
	m.machine.mu.Lock()
	defer m.machine.mu.Unlock()
	for i := range files {
		if i%1000 == 0 {
			r := m.machine.st.Apply(0, &state.Make{Parent: proto.RootInode, Name: fmt.Append(nil, i), Mode: 0o40755})
			folders = append(folders, uint64(r.Inode))
		}
		m.machine.st.Apply(0, &state.Make{Parent: proto.InodeID(folders[i/1000]), Name: fmt.Append(nil, i), Mode: 0o100644})
	}
	return m, folders
}

// newcomer opens a session that is granted leases.
func newcomer(b *testing.B, m *Master) *session {
	one, err := m.openSession(&pb.Hello{Client: "host", Leases: true})
	if err != nil {
		b.Fatal(err)
	}
	m.leases.thaw(false)
	return one
}

// BenchmarkMasterReads looks names up, as the handlers of calls do, with all processors
// (-cpu 1,2): alone, and while the log is written to and synced without a pause.
func BenchmarkMasterReads(b *testing.B) {
	const files = 100_000
	m, folders := newLibrary(b, disk.OS, b.TempDir(), files)
	for _, leased := range []bool{false, true} {
		for _, writers := range []int{0, 4} {
			b.Run(fmt.Sprintf("leases=%v/writers=%d", leased, writers), func(b *testing.B) {
				stop := make(chan struct{})
				var group sync.WaitGroup
				var changes atomic.Int64
				for range writers {
					group.Go(func() {
						for {
							select {
							case <-stop:
								return
							default:
							}
							if _, err := m.propose(&state.SetAttr{Inode: proto.RootInode, Set: state.SetMode, Mode: 0o755}); err != nil {
								b.Error(err)
							}
							changes.Add(1)
						}
					})
				}
				before, began := cputime.Process(), time.Now()
				b.ResetTimer()
				b.RunParallel(func(p *testing.PB) {
					caller := &pb.Caller{}
					if leased {
						caller.Session = uint64(newcomer(b, m).id)
					}
					for i := 0; p.Next(); i += 7919 {
						name := fmt.Append(nil, i%files)
						if _, err := m.Lookup(context.Background(), &pb.LookupRequest{Caller: caller, Parent: folders[i%files/1000], Name: name}); err != nil {
							b.Error(err)
							return
						}
					}
				})
				b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "lookups/s")
				b.ReportMetric(float64(changes.Load())/time.Since(began).Seconds(), "changes/s")
				b.ReportMetric(float64((cputime.Process()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
				close(stop)
				group.Wait()
			})
		}
	}
}

// BenchmarkSessions: what clients cost that do nothing but keep their sessions, and what
// their leases cost. Streams are not in it.
func BenchmarkSessions(b *testing.B) {
	const clients, each = 10_000, 200
	m, _ := newLibrary(b, disk.NewMem(), "/master", 0)
	before, spent := heap(), cputime.Process()
	all := make([]*session, clients)
	for i := range all {
		all[i] = newcomer(b, m)
	}
	spent = cputime.Process() - spent
	idle := heap()
	for i, one := range all {
		r := &request{session: one}
		for n := range each {
			r.names = 0
			r.name(proto.InodeID(i*each + n + 2))
			if !m.leases.admit(r, leases.Read) {
				b.Fatal("a lease was refused")
			}
		}
	}
	held := heap()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	rounds := 0
	began := cputime.Thread()
	for b.Loop() { // all keep alive once
		for _, one := range all {
			if m.leases.stubborn(one) || !m.sessions.keepAlive(one) {
				b.Fatal("a session has ended")
			}
		}
		m.sessions.silent()
		m.leases.overdue()
		rounds++
	}
	b.ReportMetric(float64(spent.Microseconds())/clients, "open-cpu-us")
	b.ReportMetric(float64(idle-before)/clients, "bytes/session")
	b.ReportMetric(float64(held-idle)/clients/each, "bytes/lease")
	b.ReportMetric(float64((cputime.Thread()-began).Nanoseconds())/float64(rounds)/clients, "keepalive-cpu-ns")
}
