package client

import (
	"context"
	"io"
	"testing"
	"testing/synctest"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/client/clienttest"
	"github.com/distrifs/distrifs/proto/pb"
)

// behindMaster hears of changes that this client answers itself, all durable at once.
type behindMaster struct {
	told    chan *pb.ChangesBehind
	answers chan *pb.DurableBehind
}

func (m *behindMaster) Send(message *pb.ChangesBehind) error {
	answer := &pb.DurableBehind{}
	if len(message.Changes) > 0 {
		m.told <- message
		answer.Durable = message.First + uint64(len(message.Changes)) - 1
	}
	m.answers <- answer
	return nil
}

func (m *behindMaster) Recv() (*pb.DurableBehind, error) {
	if answer, ok := <-m.answers; ok {
		return answer, nil
	}
	return nil, io.EOF
}

func (m *behindMaster) CloseSend() error { return nil }

// answersCommits has a client commit a file, of which it knows all, without asking.
func answersCommits(c *Client, f *File) *behindMaster {
	m := &behindMaster{make(chan *pb.ChangesBehind, 100), make(chan *pb.DurableBehind, 100)}
	c.behind.open = func(ctx context.Context) (behindStream, error) {
		context.AfterFunc(ctx, func() { close(m.answers) })
		return m, nil
	}
	c.leases.mu.Lock()
	defer c.leases.mu.Unlock()
	c.leases.reserve = func(*pb.ReserveRequest) {}
	c.leases.held[f.Inode()].attr.Plain = true
	return m
}

// G1: a sync has the time of a write within the file on its way to stable storage beside the bytes, and a
// new size behind them.
func TestTheTimeOfAWriteIsCommittedAheadOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New(t, clienttest.Options{LeaseTime: testLease})
		c := connect(t, cluster, checked)
		f := create(t, c, "/f")
		mustWrite(t, f, noise(1, 8192), 0)
		must(t, f.Sync(t.Context()))
		master := answersCommits(c, f)
		proceed := make(chan struct{})
		for _, n := range cluster.Nodes {
			n.Hook(func(op string, _ uuid.UUID, _ uint64, _ int) error {
				if op == "write" {
					<-proceed
				}
				return nil
			})
		}
		sync := func(data []byte, at int64, ahead int) {
			t.Helper()
			mustWrite(t, f, data, at)
			done := make(chan error, 1)
			go func() { done <- f.Sync(context.Background()) }()
			synctest.Wait()
			if got := len(master.told); got != ahead {
				t.Errorf("%d messages before the bytes are there, want %d", got, ahead)
			}
			select {
			case err := <-done:
				t.Errorf("it was synced before the bytes are there: %v", err)
			default:
			}
			proceed <- struct{}{}
			proceed <- struct{}{}
			proceed <- struct{}{}
			must(t, <-done)
			if len(master.told) != 1 {
				t.Fatalf("%d messages to the master", len(master.told))
			}
			message := <-master.told
			change := message.Changes[0]
			if ahead == 1 && (change.Size != 0 || !message.TellDurable) || ahead == 0 && change.Size != uint64(at)+uint64(len(data)) || len(change.Chunks) != 1 {
				t.Errorf("told %v", message)
			}
		}
		sync(noise(2, 100), 4000, 1)
		sync(noise(3, 100), 8192, 0) // the file becomes longer
		sync(noise(4, 8292), 0, 1)
		must(t, f.Close())
		if len(master.told) != 0 {
			t.Errorf("the close told %v", <-master.told)
		}
	})
}
