package meta

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

func TestNames(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		ctx, api := c.t.Context(), one.api()
		attr := must[*pb.AttrReply](t)

		dir := attr(api.Mkdir(ctx, &pb.MkdirRequest{Caller: one.changes(), Parent: 1, Name: []byte("dir"), Mode: 0o777})).Attr
		masked := one.changes()
		masked.Umask = 0o022
		sub := attr(api.Mkdir(ctx, &pb.MkdirRequest{Caller: masked, Parent: dir.Inode, Name: []byte("sub"), Mode: 0o777})).Attr
		if sub.Mode != syscall.S_IFDIR|0o755 {
			t.Errorf("mode %o", sub.Mode)
		}
		fifo := attr(api.Mknod(ctx, &pb.MknodRequest{Caller: one.changes(), Parent: dir.Inode, Name: []byte("fifo"), Mode: syscall.S_IFIFO | 0o600})).Attr
		if fifo.Mode != syscall.S_IFIFO|0o600 {
			t.Errorf("mode %o", fifo.Mode)
		}
		link := attr(api.Symlink(ctx, &pb.SymlinkRequest{Caller: one.changes(), Parent: dir.Inode, Name: []byte("link"), Target: []byte("some/where")})).Attr
		if target := must[*pb.ReadLinkReply](c.t)(api.ReadLink(ctx, &pb.ReadLinkRequest{Caller: one.asks(), Inode: link.Inode})); string(target.Target) != "some/where" {
			t.Errorf("target %q", target.Target)
		}
		two := attr(api.Link(ctx, &pb.LinkRequest{Caller: one.changes(), Inode: fifo.Inode, Parent: 1, Name: []byte("second")})).Attr
		if two.Inode != fifo.Inode || two.Nlink != 2 {
			t.Errorf("link: %v", two)
		}
		moved := must[*pb.RenameReply](c.t)(api.Rename(ctx, &pb.RenameRequest{Caller: one.changes(), Parent: 1, Name: []byte("second"), NewParent: dir.Inode, NewName: []byte("third")}))
		if moved.Inode != fifo.Inode || moved.Replaced != 0 {
			t.Errorf("rename: %v", moved)
		}
		names := list(t, c, one, dir.Inode, 2)
		if want := "fifo link sub third"; names != want {
			t.Errorf("entries %q, want %q", names, want)
		}
		must[*pb.UnlinkReply](c.t)(api.Rmdir(ctx, &pb.UnlinkRequest{Caller: one.changes(), Parent: dir.Inode, Name: []byte("sub")}))
		found := attr(api.Lookup(ctx, &pb.LookupRequest{Caller: one.asks(), Parent: dir.Inode, Name: []byte("third")})).Attr
		if found.Inode != fifo.Inode {
			t.Errorf("lookup: %v", found)
		}
		time.Sleep(time.Minute) // what lost its name is reaped
		if s := c.status(); s.Directories != 2 || s.OtherInodes != 2 {
			t.Errorf("status: %d directories, %d others", s.Directories, s.OtherInodes)
		}
	})
}

// list reads a directory in pages of so many entries.
func list(t *testing.T, c *cluster, one *client, dir uint64, page uint32) string {
	t.Helper()
	var names []string
	for cookie, end := uint64(0), false; !end; {
		reply := must[*pb.ReadDirReply](c.t)(one.api().ReadDir(c.t.Context(), &pb.ReadDirRequest{
			Caller: one.asks(), Inode: dir, Cookie: cookie, MaxEntries: page, Attrs: true,
		}))
		if reply.Parent == 0 || len(reply.Entries) > int(page) || !reply.End && len(reply.Entries) == 0 {
			t.Fatalf("page %v", reply)
		}
		for _, e := range reply.Entries {
			if e.Attr.GetInode() != e.Inode || e.Attr.Mode&syscall.S_IFMT != e.Type {
				t.Errorf("entry %v", e)
			}
			names, cookie = append(names, string(e.Name)), e.Cookie
		}
		end = reply.End
	}
	for i := range names { // the order is that of the hash
		for j := range i {
			if names[i] < names[j] {
				names[i], names[j] = names[j], names[i]
			}
		}
	}
	return strings.Join(names, " ")
}

func TestAttributes(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		ctx, api := c.t.Context(), one.api()
		f := one.file("f")
		mode, size := uint32(0o640), uint64(5000)
		attr := must[*pb.AttrReply](c.t)(api.SetAttr(ctx, &pb.SetAttrRequest{
			Caller: one.changes(), Inode: f.Attr.Inode, Mode: &mode, Size: &size, Mtime: &pb.TimeChange{Sec: 77, Nsec: 5}, Atime: &pb.TimeChange{Now: true},
		})).Attr
		if attr.Mode&0o7777 != mode || attr.Size != size || attr.MtimeSec != 77 || attr.MtimeNsec != 5 || attr.AtimeSec != attr.CtimeSec {
			t.Errorf("attributes %v", attr)
		}
		_, err := api.SetAttr(ctx, &pb.SetAttrRequest{Caller: one.changes(), Inode: f.Attr.Inode, Mtime: &pb.TimeChange{Nsec: 1e9}})
		wantKind(t, err, proto.Invalid)

		must[*pb.AttrReply](c.t)(api.SetXattr(ctx, &pb.SetXattrRequest{Caller: one.changes(), Inode: f.Attr.Inode, Name: []byte("user.a"), Value: []byte("v")}))
		_, err = api.SetXattr(ctx, &pb.SetXattrRequest{Caller: one.changes(), Inode: f.Attr.Inode, Name: []byte("user.a"), Create: true})
		wantKind(t, err, proto.Exists)
		if got := must[*pb.GetXattrReply](c.t)(api.GetXattr(ctx, &pb.GetXattrRequest{Caller: one.asks(), Inode: f.Attr.Inode, Name: []byte("user.a")})); string(got.Value) != "v" {
			t.Errorf("value %q", got.Value)
		}
		if got := must[*pb.ListXattrReply](c.t)(api.ListXattr(ctx, &pb.GetAttrRequest{Caller: one.asks(), Inode: f.Attr.Inode})); fmt.Sprintf("%s", got.Names) != "[user.a]" {
			t.Errorf("names %s", got.Names)
		}
		must[*pb.AttrReply](c.t)(api.RemoveXattr(ctx, &pb.RemoveXattrRequest{Caller: one.changes(), Inode: f.Attr.Inode, Name: []byte("user.a")}))
		_, err = api.RemoveXattr(ctx, &pb.RemoveXattrRequest{Caller: one.changes(), Inode: f.Attr.Inode, Name: []byte("user.a")})
		wantKind(t, err, proto.NoAttr)
		fs := must[*pb.StatFSReply](c.t)(api.StatFS(ctx, &pb.StatFSRequest{Caller: one.asks()}))
		if fs.TotalBytes != fakeDisk || fs.FreeBytes != fakeDisk || fs.Inodes != 2 {
			t.Errorf("statfs %v", fs)
		}
	})
}

func TestCreate(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		ctx, api := c.t.Context(), one.api()
		f := one.file("f")
		if !f.Created || f.Attr.Mode != syscall.S_IFREG|0o644 || len(f.Chunk.Chain) != 3 || f.Chunk.Committed {
			t.Errorf("created %v", f)
		}
		one.write(f)
		again := &pb.CreateRequest{Caller: one.changes(), Parent: 1, Name: []byte("f"), Exclusive: true}
		_, err := api.Create(ctx, again)
		wantKind(t, err, proto.Exists)

		there := must[*pb.CreateReply](c.t)(api.Create(ctx, &pb.CreateRequest{Caller: one.changes(), Parent: 1, Name: []byte("f"), Open: true}))
		if there.Created || there.Attr.Inode != f.Attr.Inode || there.Attr.Size != 100 {
			t.Errorf("opened %v", there)
		}
		stranger := one.changes()
		stranger.Uid = 1000
		_, err = api.Create(ctx, &pb.CreateRequest{Caller: stranger, Parent: 1, Name: []byte("f"), Open: true, Flags: syscall.O_RDWR})
		wantKind(t, err, proto.Access)
		_, err = api.Create(ctx, &pb.CreateRequest{Caller: stranger, Parent: 1, Name: []byte("new"), Open: true, Flags: syscall.O_RDWR})
		wantKind(t, err, proto.Access)

		empty := must[*pb.CreateReply](c.t)(api.Create(ctx, &pb.CreateRequest{Caller: one.changes(), Parent: 1, Name: []byte("f"), Open: true, Truncate: true, Flags: syscall.O_RDWR | syscall.O_TRUNC}))
		if empty.Created || empty.Attr.Size != 0 {
			t.Errorf("truncated %v", empty)
		}
		if s := c.status(); s.Sessions[0].OpenFiles != 1 || s.Chunks.Total != 0 {
			t.Errorf("status %v", s)
		}
	})
}

func TestOpen(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		ctx, api := c.t.Context(), one.api()
		f := one.file("f")
		one.write(f)
		opened := must[*pb.OpenReply](c.t)(api.Open(ctx, &pb.OpenRequest{Caller: one.asks(), Inode: f.Attr.Inode, Locations: 5}))
		if len(opened.Chunks) != 1 || opened.Chunks[0].Chunk != f.Chunk.Chunk || !opened.Chunks[0].Committed {
			t.Errorf("open %v", opened)
		}
		for _, o := range []struct {
			inode uint64
			uid   uint32
			flags uint32
			want  proto.Kind
		}{
			{f.Attr.Inode, 1000, syscall.O_RDONLY, proto.OK},
			{f.Attr.Inode, 1000, syscall.O_WRONLY, proto.Access},
			{f.Attr.Inode, 1000, syscall.O_RDONLY | syscall.O_TRUNC, proto.Access},
			{f.Attr.Inode, 0, 0x20, proto.Access}, // nobody may execute it
			{1, 0, syscall.O_RDONLY, proto.OK},
			{1, 0, syscall.O_RDWR, proto.IsDir},
			{99, 0, syscall.O_RDONLY, proto.Stale},
		} {
			caller := one.asks()
			caller.Uid = o.uid
			_, err := api.Open(ctx, &pb.OpenRequest{Caller: caller, Inode: o.inode, Flags: o.flags})
			wantKind(t, err, o.want)
		}
	})
}

// A call that must fail costs no record of the log.
func TestRefusedCallsAreNotLogged(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		ctx, api := c.t.Context(), one.api()
		one.file("f")
		before := c.status().LogIndex
		name := func(s string) []byte { return []byte(s) }
		long := name(strings.Repeat("x", 256))
		for what, call := range map[string]func() error{
			"mkdir exists": func() error {
				_, err := api.Mkdir(ctx, &pb.MkdirRequest{Caller: one.changes(), Parent: 1, Name: name("f")})
				return err
			},
			"mkdir long": func() error {
				_, err := api.Mkdir(ctx, &pb.MkdirRequest{Caller: one.changes(), Parent: 1, Name: long})
				return err
			},
			"unlink absent": func() error {
				_, err := api.Unlink(ctx, &pb.UnlinkRequest{Caller: one.changes(), Parent: 1, Name: name("g")})
				return err
			},
			"rename absent": func() error {
				_, err := api.Rename(ctx, &pb.RenameRequest{Caller: one.changes(), Parent: 1, Name: name("g"), NewParent: 1, NewName: name("h")})
				return err
			},
			"rename with both flags": func() error {
				_, err := api.Rename(ctx, &pb.RenameRequest{Caller: one.changes(), Parent: 1, Name: name("f"), NewParent: 1, NewName: name("h"), NoReplace: true, Exchange: true})
				return err
			},
			"setattr stale": func() error {
				_, err := api.SetAttr(ctx, &pb.SetAttrRequest{Caller: one.changes(), Inode: 99})
				return err
			},
			"mknod of a directory": func() error {
				_, err := api.Mknod(ctx, &pb.MknodRequest{Caller: one.changes(), Parent: 1, Name: name("g"), Mode: syscall.S_IFDIR})
				return err
			},
			"no session": func() error {
				_, err := api.Mkdir(ctx, &pb.MkdirRequest{Caller: &pb.Caller{}, Parent: 1, Name: name("g")})
				return err
			},
			"no caller": func() error {
				_, err := api.Mkdir(ctx, &pb.MkdirRequest{Parent: 1, Name: name("g")})
				return err
			},
			"no such slot": func() error {
				_, err := api.Mkdir(ctx, &pb.MkdirRequest{Caller: &pb.Caller{Session: one.welcome.Session, Slot: 1 << 20, Sequence: 1}, Parent: 1, Name: name("g")})
				return err
			},
			"assign too many": func() error {
				_, err := api.AssignChunk(ctx, &pb.AssignChunkRequest{Caller: one.changes(), Inode: 1, Count: 65})
				return err
			},
			"assign to a directory": func() error {
				_, err := api.AssignChunk(ctx, &pb.AssignChunkRequest{Caller: one.changes(), Inode: 1, Count: 1})
				return err
			},
		} {
			if call() == nil {
				t.Errorf("%s: accepted", what)
			}
		}
		if after := c.status().LogIndex; after != before {
			t.Errorf("the log grew by %d records", after-before)
		}
	})
}
