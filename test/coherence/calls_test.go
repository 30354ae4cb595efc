package coherence

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/test/cluster"
)

// callCount counts the calls of a client by method.
type callCount struct {
	mu    sync.Mutex
	calls map[string]int
}

func (n *callCount) count(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	n.mu.Lock()
	if n.calls == nil {
		n.calls = map[string]int{}
	}
	n.calls[method]++
	n.mu.Unlock()
	return call(ctx, method, req, reply, conn, opts...)
}

// take gives the calls since the last time, and how many there were.
func (n *callCount) take() (calls map[string]int, sum int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, count := range n.calls {
		sum += count
	}
	calls, n.calls = n.calls, nil
	return calls, sum
}

// countedClient is a client whose calls are counted.
func countedClient(t *testing.T, c *cluster.Cluster, opts client.Options) (*client.Client, *callCount) {
	t.Helper()
	count := &callCount{}
	opts.DialOptions = []grpc.DialOption{grpc.WithUnaryInterceptor(count.count)}
	own, err := client.Dial(t.Context(), c.Master.Address, opts)
	noError(t)(err)
	return own, count
}

// noError gives what ends the test at an error.
func noError(t *testing.T) (must func(error)) {
	return func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
}

// What a client does in a folder of its own costs no call for each name.
func TestNamesBehindCostNoCalls(t *testing.T) {
	const names = 60
	cluster.NeedsLeases(t)
	c := cluster.Start(t, cluster.Options{ChunkSize: 1 << 20, Memory: true})
	own, count := countedClient(t, c, client.Options{NamesBehind: true})
	defer own.Close()
	ctx, cred := t.Context(), client.Cred{}
	must := noError(t)
	mkdir := func(parent client.Attr, name string) client.Attr {
		t.Helper()
		attr, err := own.Mkdir(ctx, cred, parent.Inode, name, 0o755)
		must(err)
		return attr
	}
	top := mkdir(client.Attr{Inode: own.Root()}, "top")
	for i := range 4 { // the first ones are not answered here
		mkdir(top, fmt.Sprint(i))
	}
	dir := mkdir(top, "names")
	mkdir(dir, "first")
	count.take()
	for i := range names {
		name := fmt.Sprint("file-", i)
		f, err := own.CreateInode(ctx, cred, dir.Inode, name, 0o644, unix.O_WRONLY|unix.O_EXCL)
		must(err)
		_, err = f.WriteAt([]byte("hello"), 0)
		must(err)
		must(f.Close())
		linked, err := own.Link(ctx, cred, f.Inode(), dir.Inode, name+"-too")
		must(err)
		if linked.Nlink != 2 {
			t.Fatalf("%d names", linked.Nlink)
		}
		below := fmt.Sprint("dir-", i)
		mkdir(dir, below)
		must(own.Rename(ctx, cred, dir.Inode, name, dir.Inode, "moved", 0))
		mode := uint32(0o600)
		_, err = own.SetAttr(ctx, cred, f.Inode(), client.SetAttr{Mode: &mode})
		must(err)
		attr, err := own.Lookup(ctx, cred, dir.Inode, "moved")
		must(err)
		if attr.Inode != f.Inode() || attr.Size != 5 || attr.Mode != unix.S_IFREG|0o600 || attr.Blocks != 8 {
			t.Fatalf("it is %+v", attr)
		}
		if i%2 == 1 {
			must(own.Unlink(ctx, cred, dir.Inode, "moved"))
			must(own.Rmdir(ctx, cred, dir.Inode, below))
		}
	}
	if calls, sum := count.take(); sum > names {
		t.Errorf("%d calls for %d changes: %v", sum, 6*names, calls)
	}
	must(own.SyncDir(ctx, dir.Inode))
	page, err := c.Client().ReadDir(ctx, cred, dir.Inode, 0, true)
	must(err)
	if len(page.Entries) != names/2+names+1 {
		t.Errorf("another client sees %d names", len(page.Entries))
	}
}
