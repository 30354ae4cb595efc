package meta

import (
	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// What the answer to a change says is read again once the change is applied, at one
// moment with the grants: an answer with a grant is right as of the grant, whatever
// other requests of the session did meanwhile.

// attestInode reads an inode's attributes again; they stay as they were if it is gone.
func (m *Master) attestInode(r *request, ino proto.InodeID, attr *state.Attr) {
	m.attest(r, func(st *state.State) {
		if now, kind := st.Attr(ino); kind == proto.OK {
			*attr = now
			r.name(ino)
		}
	})
}

// attestName reads the inode that was given a name again, and the directory's change. It
// is 0, and nothing is granted, if the name is another inode's by now.
func (m *Master) attestName(r *request, parent proto.InodeID, name []byte, attr *state.Attr) (change uint64) {
	m.attest(r, func(st *state.State) {
		now, kind := st.Lookup(parent, name, state.Cred{})
		if kind != proto.OK || now.Inode != attr.Inode {
			return
		}
		*attr = now
		change = changeOf(st, parent)
		r.name(parent)
		r.name(now.Inode)
	})
	return change
}

// changeOf gives an inode's change.
func changeOf(st *state.State, ino proto.InodeID) uint64 {
	attr, _ := st.Attr(ino)
	return attr.Change
}

// changeWithout gives a directory's change if a name is not in it; else 0.
func changeWithout(st *state.State, parent proto.InodeID, name []byte) uint64 {
	if _, kind := st.Lookup(parent, name, state.Cred{}); kind != proto.NotFound {
		return 0
	}
	return changeOf(st, parent)
}

// renamed fills in the directories' changes, 0 where a name is not what the rename made
// it by now.
func renamed(st *state.State, c *state.Rename, reply *pb.RenameReply) {
	is := func(parent proto.InodeID, name []byte, ino uint64) uint64 {
		if now, kind := st.Lookup(parent, name, state.Cred{}); kind != proto.OK || uint64(now.Inode) != ino {
			return 0
		}
		return changeOf(st, parent)
	}
	reply.NewParentChange = is(c.NewParent, c.NewName, reply.Inode)
	if c.Exchange {
		reply.ParentChange = is(c.Parent, c.Name, reply.Replaced)
	} else {
		reply.ParentChange = changeWithout(st, c.Parent, c.Name)
	}
}
