package sim

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/proto"
)

// nameCall makes a call on names.
func (w *worker) nameCall() {
	w.makeNameCall(w.drawName())
}

func (w *worker) makeNameCall(c nameCall) {
	noted := w.cluster.history.begin(w.id, namesObject, c)
	a, err := w.name(c)
	w.cluster.history.end(noted, a, err)
	if a.inode != 0 {
		w.seen = append(w.seen, a.inode)
	}
}

func (w *worker) drawName() nameCall {
	c := nameCall{from: slot(w.random.IntN(slotCount)), to: slot(w.random.IntN(slotCount))}
	switch dice := w.random.IntN(20); {
	case dice < 5:
		c.what = "create"
	case dice < 7:
		c.what = "unlink"
	case dice < 10:
		c.what = "rename"
	case dice < 12 && len(w.seen) > 0:
		c.what, c.inode = "link", w.seen[w.random.IntN(len(w.seen))]
	case dice < 17:
		c.what = "stat"
	default:
		c.what = "list"
	}
	return c
}

// name carries a call out. An error that is an answer is one.
func (w *worker) name(c nameCall) (a nameAnswer, err error) {
	ctx, client := context.Background(), w.mount.client
	from, to := w.dirs[c.from.dir()], w.dirs[c.to.dir()]
	switch c.what {
	case "create":
		a.inode, err = w.create(ctx, from, c.from.name())
	case "unlink":
		err = client.Unlink(ctx, root, from, c.from.name())
	case "rename":
		err = client.Rename(ctx, root, from, c.from.name(), to, c.to.name(), 0)
	case "link":
		_, err = client.Link(ctx, root, c.inode, to, c.to.name())
	case "stat":
		attr, statErr := client.Lookup(ctx, root, from, c.from.name())
		a.inode, a.nlink, err = attr.Inode, attr.Nlink, statErr
	case "list":
		a.list, err = w.list(ctx, from)
	}
	switch a.kind = proto.KindOf(err); a.kind {
	case proto.Stale: // the inode that was to be linked is gone
		a.kind, err = proto.NotFound, nil
	case proto.OK, proto.NotFound, proto.Exists:
		err = nil
	}
	return a, err
}

func (w *worker) create(ctx context.Context, dir proto.InodeID, name string) (proto.InodeID, error) {
	f, err := w.mount.client.CreateInode(ctx, root, dir, name, 0o666, unix.O_RDWR|unix.O_EXCL)
	if err != nil {
		return 0, err
	}
	_, err = f.WriteAtContext(ctx, []byte(f.Inode().String()), 0)
	return f.Inode(), errors.Join(err, f.Close())
}

func (w *worker) list(ctx context.Context, dir proto.InodeID) (list [nameCount]proto.InodeID, err error) {
	page, err := w.mount.client.ReadDir(ctx, root, dir, 0, false)
	for _, e := range page.Entries {
		if i := int(e.Name[0] - 'a'); len(e.Name) == 1 && i < nameCount {
			list[i] = e.Inode
		}
	}
	return list, err
}
