package client

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/internal/again"
	"github.com/distrifs/distrifs/pipeline"
	"github.com/distrifs/distrifs/pipeline/loan"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Defaults of Options.
const (
	DefaultDialTimeout = 10 * time.Second
	DefaultIOTimeout   = 60 * time.Second
	DefaultReadAhead   = 8 << 20
	DefaultReadBuffer  = 128 << 20
	DefaultWriteBuffer = 64 << 20

	minBuffer  = 4 * pieceSize // so that no file waits for itself
	maxMessage = 16 << 20      // bytes of a message of the control plane
)

// Options of Dial. The zero value of each field means its default.
type Options struct {
	Name        string        // who this client is, for people; default host and pid
	Subfolder   string        // the path layer and Root start here; default "/"
	Cred        Cred          // on whose behalf the path layer acts; default this process
	DialTimeout time.Duration // for the first answer of the master; default 10 s
	IOTimeout   time.Duration // how long a call retries while servers are away; default 60 s
	ReadAhead   int64         // bytes read ahead per open file, at most; default 8 MiB; negative: none
	ReadBuffer  int64         // bytes read ahead of all files together, at most; default 128 MiB
	WriteBuffer int64         // bytes not yet acknowledged of all files together, at most; default 64 MiB, at least 4 MiB
	Atime       Atime         // which reads update access times; default none
	KeepSetIDs  bool          // writing leaves set-id bits to the caller, who knows more of the writer: a mount

	// NoLeases gives the old consistency: an open sees what was closed before it,
	// attributes and names may be 1 s old.
	NoLeases bool
	// NamesBehind answers changes of names before they are durable, where leases allow it:
	// close of the file or SyncDir says that they are.
	NamesBehind bool
	// NoShortCircuit has every read go through a chunkserver, also where one is on this
	// host and would lend the file.
	NoShortCircuit bool
	// PermissionsChecked says that who calls has made sure that Cred may search the
	// directories it looks into, as the kernel does for a mount.
	PermissionsChecked bool

	Logger *slog.Logger // default: discards

	Dial        func(ctx context.Context, address string) (net.Conn, error)                         // data plane; default TCP
	Borrow      func(address string, chunk uuid.UUID, version proto.Version) (*loan.Replica, error) // short-circuit reads; default loan.Borrow, none with another Dial
	DialOptions []grpc.DialOption                                                                   // control plane; added to the defaults
}

// dataPlane is what the client needs of pipeline.Client.
type dataPlane interface {
	StartWrite(w *pipeline.WriteRequest, done func(error))
	Read(ctx context.Context, r pipeline.ReadRequest, dst []byte) (int, error)
	ReadEach(ctx context.Context, list []pipeline.ReadRequest, into [][]byte, done func(k, n int, err error))
	Extent(ctx context.Context, r pipeline.ExtentRequest) (start, end uint64, err error)
	Sync(ctx context.Context, chunk uuid.UUID, version proto.Version, chain []pipeline.Hop) error
	Close()
}

// Client is one session with a cluster. It is safe for concurrent use.
type Client struct {
	opts      Options
	cred      Cred // of the path layer
	conn      *grpc.ClientConn
	master    pb.MasterClient
	data      dataPlane
	sessions  *sessions
	locks     *heldLocks
	locations *locations
	health    *health
	hedges    *hedges
	shortcuts *shortcuts
	ahead     *filesAhead
	accesses  *accesses
	leases    *leases
	behind    *behind
	cluster   proto.ClusterID
	chunkSize int64 // bytes
	root      proto.InodeID

	writeBudget *semaphore.Weighted // bytes of WriteBuffer
	readBudget  *semaphore.Weighted // bytes of ReadBuffer
	reports     chan struct{}       // one for each report of a corrupt replica under way
	recalls     chan struct{}       // one for each recall that is carried out

	background context.Context // of work that no call waits for; ends with Close
	stop       context.CancelFunc
	workers    sync.WaitGroup

	closed atomic.Bool

	inodesMu sync.RWMutex
	inodes   map[proto.InodeID]*inode // that are open, or in use
}

// Dial connects to the master at host:port and opens a session. It gives up
// with Unavailable after Options.DialTimeout.
func Dial(ctx context.Context, master string, opts Options) (*Client, error) {
	opts.setDefaults()
	conn, err := grpc.NewClient("passthrough:///"+master, opts.grpcOptions()...)
	if err != nil {
		return nil, &proto.Error{Kind: proto.Invalid, Op: "connect to master", Subject: master, Err: err}
	}
	c := newClient(opts, conn)
	if err := c.start(ctx, master); err != nil {
		if endErr := c.end(); endErr != nil {
			c.opts.Logger.Warn("closing after a failed dial", "error", endErr)
		}
		return nil, err
	}
	return c, nil
}

func (o *Options) setDefaults() {
	setDefault := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	setDefault(&o.DialTimeout, DefaultDialTimeout)
	setDefault(&o.IOTimeout, DefaultIOTimeout)
	if o.Name == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "unknown host"
		}
		o.Name = fmt.Sprintf("%s pid %d", host, os.Getpid())
	}
	if o.Cred.isZero() {
		o.Cred = processCred()
	}
	if o.ReadAhead == 0 {
		o.ReadAhead = DefaultReadAhead
	}
	if o.ReadBuffer <= 0 {
		o.ReadBuffer = DefaultReadBuffer
	}
	if o.WriteBuffer <= 0 {
		o.WriteBuffer = DefaultWriteBuffer
	}
	o.WriteBuffer = max(o.WriteBuffer, minBuffer)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// processCred is on whose behalf this process runs.
func processCred() Cred {
	cred := Cred{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
	if groups, err := os.Getgroups(); err == nil {
		for _, g := range groups {
			cred.Groups = append(cred.Groups, uint32(g))
		}
	}
	return cred
}

func (o *Options) grpcOptions() []grpc.DialOption {
	return append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithNoProxy(),
		grpc.WithStaticStreamWindowSize(proto.StreamWindow),
		grpc.WithStaticConnWindowSize(proto.ConnectionWindow),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true), grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           again.Connecting,
			MinConnectTimeout: 3 * time.Second,
		}),
	}, o.DialOptions...)
}

func newClient(opts Options, conn *grpc.ClientConn) *Client {
	c := &Client{
		opts: opts, cred: opts.Cred, conn: conn, master: pb.NewMasterClient(conn),
		data:        pipeline.NewClient(pipeline.ClientOptions{Dial: opts.Dial, Logger: opts.Logger}),
		locations:   newLocations(),
		health:      newHealth(),
		hedges:      newHedges(),
		shortcuts:   newShortcuts(&opts),
		locks:       newHeldLocks(),
		accesses:    &accesses{reporting: newToken(), pending: map[proto.InodeID]access{}},
		writeBudget: semaphore.NewWeighted(opts.WriteBuffer),
		readBudget:  semaphore.NewWeighted(opts.ReadBuffer),
		reports:     make(chan struct{}, maxReports),
		recalls:     make(chan struct{}, maxCarriedOut),
		leases:      newLeases(!opts.NoLeases),
		inodes:      map[proto.InodeID]*inode{},
	}
	c.ahead = newFilesAhead(c.readBudget)
	c.SetAtime(opts.Atime)
	c.background, c.stop = context.WithCancel(context.Background())
	c.sessions = newSessions(c.master, opts.Name, opts.Logger, c.locks)
	c.sessions.onReplace = func() { c.workers.Go(c.reopen) }
	c.sessions.leases = c.leases
	c.leases.send = c.sessions.sendReturned
	c.behind = newBehind(c)
	c.leases.expires = c.loseSession
	if opts.NamesBehind {
		c.leases.reserve = func(r *pb.ReserveRequest) { c.workers.Go(func() { c.reserve(r) }) }
	}
	c.leases.carryOut = func(h *lease) { c.workers.Go(func() { c.carryOut(h) }) }
	c.leases.unreserve = func(inodes []proto.InodeID) { c.workers.Go(func() { c.unreserve(inodes) }) }
	c.leases.letGo = func(list []*lease) { c.workers.Go(func() { c.letGo(list) }) }
	return c
}

// start opens the session and finds the root.
func (c *Client) start(ctx context.Context, master string) error {
	go c.sessions.run(c.background)
	c.workers.Go(c.releaseClosed)
	limited, cancel := context.WithTimeout(ctx, c.opts.DialTimeout)
	defer cancel()
	s, err := c.sessions.get(limited)
	if err != nil {
		if ctx.Err() != nil {
			return interrupted(ctx, "connect to master")
		}
		return unanswered(master, c.opts.DialTimeout, err)
	}
	if c.cluster, err = proto.ParseClusterID(s.welcome.Cluster); err != nil {
		return err
	}
	c.chunkSize = int64(s.welcome.ChunkSize)
	c.root = max(proto.InodeID(s.welcome.Root), proto.RootInode)
	return c.enterSubfolder(limited)
}

func (c *Client) enterSubfolder(ctx context.Context) error {
	if clean(c.opts.Subfolder) == "/" {
		return nil
	}
	attr, err := c.Stat(ctx, c.opts.Subfolder)
	if proto.KindOf(err) == proto.NotFound {
		return proto.E(proto.NotFound, "open subfolder", c.opts.Subfolder, "the master has no folder of that name")
	}
	if err != nil {
		return err
	}
	if !attr.isDir() {
		return proto.E(proto.NotDir, "open subfolder", c.opts.Subfolder, "")
	}
	c.root = attr.Inode
	return nil
}

// Close flushes what is open, ends the session and gives everything back. It
// reports the first error of a file that had unwritten data.
func (c *Client) Close() error {
	if c.closed.Swap(true) {
		return proto.E(proto.BadHandle, "close client", "", "it is closed already")
	}
	failed := cmp.Or(c.closeFiles(), c.syncNames(context.Background()))
	c.releaseLast()
	close(c.sessions.bye)
	select {
	case <-c.sessions.done:
	case <-time.After(2 * goodbyeWait): // the master is away
	}
	if err := c.end(); failed == nil {
		failed = err
	}
	return failed
}

// end stops everything that goes on in the background.
func (c *Client) end() error {
	c.stop()
	<-c.sessions.done
	c.data.Close()
	c.workers.Wait()
	c.shortcuts.close()
	if err := c.conn.Close(); err != nil {
		return &proto.Error{Kind: proto.IO, Op: "close connection to master", Err: err}
	}
	return nil
}

// closeFiles closes every file that the application left open.
func (c *Client) closeFiles() error {
	c.inodesMu.RLock()
	var left []*File
	for _, i := range c.inodes {
		i.mu.Lock()
		for f := range i.files {
			left = append(left, f)
		}
		i.mu.Unlock()
	}
	c.inodesMu.RUnlock()
	var failed error
	for _, f := range left {
		if err := f.Close(); err != nil && proto.KindOf(err) != proto.BadHandle {
			failed = cmp.Or(failed, err)
		}
	}
	return failed
}

// Root is the inode of "/", or of Options.Subfolder.
func (c *Client) Root() proto.InodeID { return c.root }

// Cluster names the cluster.
func (c *Client) Cluster() proto.ClusterID { return c.cluster }

// ChunkSize of the cluster in bytes.
func (c *Client) ChunkSize() int64 { return c.chunkSize }

// CacheTTL is how long names may be cached by the caller (the kernel), and what it
// learned from attributes: at most 1 s; 0 under leases.
func (c *Client) CacheTTL() time.Duration {
	if c.leases.enabled() {
		return 0
	}
	return cacheTTL
}

// AttrTTL is how long attributes that were answered may be cached by the caller: under a
// lease, until they are to be dropped, at most as long as the lease is valid.
func (c *Client) AttrTTL(attr *Attr) time.Duration {
	if c.leases.enabled() {
		return c.leases.ttl(attr)
	}
	return cacheTTL
}

// KeepsPages tells whether the caller may keep bytes of a file that it just read.
func (c *Client) KeepsPages(ino proto.InodeID) bool {
	return !c.leases.enabled() || c.leases.keeps(ino)
}

// SetCaches names who is told when something that was answered is to be forgotten.
func (c *Client) SetCaches(caches Caches) { c.leases.setCaches(caches) }

// softwareVersion of this build, for people.
var softwareVersion = func() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return ""
}()
