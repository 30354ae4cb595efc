package sim

import (
	"fmt"

	"github.com/anishathalye/porcupine"

	"github.com/distrifs/distrifs/proto"
)

// Two directories with a few names are one object: renames lead from one to the other.

const (
	namesObject = "names"

	nameCount = 3 // of each directory
	dirCount  = 2
	slotCount = nameCount * dirCount
)

// slot is a name in a directory.
type slot int

func (s slot) dir() int       { return int(s) / nameCount }
func (s slot) name() string   { return string("abc"[int(s)%nameCount]) }
func (s slot) String() string { return fmt.Sprintf("d%d/%s", s.dir(), s.name()) }

// nameCall is a call on names.
type nameCall struct {
	what     string // "create", "unlink", "rename", "link", "stat", "list"
	from, to slot
	inode    proto.InodeID // that is to be linked
}

func (c nameCall) String() string {
	switch c.what {
	case "rename":
		return fmt.Sprintf("rename %v %v", c.from, c.to)
	case "link":
		return fmt.Sprintf("link inode %v %v", c.inode, c.to)
	case "list":
		return fmt.Sprintf("list d%d", c.from.dir())
	}
	return fmt.Sprintf("%s %v", c.what, c.from)
}

// nameAnswer is how it ended, and which inode was made or found.
type nameAnswer struct {
	kind  proto.Kind
	inode proto.InodeID
	nlink uint32
	list  [nameCount]proto.InodeID
}

func (a nameAnswer) String() string {
	return fmt.Sprintf("%v inode %v nlink %d list %v", a.kind, a.inode, a.nlink, a.list)
}

// nameState is the inode of each name; 0: none.
type nameState [slotCount]proto.InodeID

func (s *nameState) links(inode proto.InodeID) (n uint32) {
	for _, other := range s {
		if other == inode {
			n++
		}
	}
	return n
}

var oneTree = porcupine.Model{
	Init: func() any { return nameState{} },
	Step: func(before, input, output any) (bool, any) {
		ok, after := before.(nameState).step(input.(nameCall), output.(nameAnswer))
		return ok, after
	},
	DescribeOperation: described,
}

// step tells whether an answer is right, and what is there afterwards.
func (s nameState) step(c nameCall, a nameAnswer) (bool, nameState) {
	was, there := s[c.from], s[c.to]
	want := proto.OK
	switch c.what {
	case "create":
		if was != 0 {
			want = proto.Exists
		} else {
			s[c.from] = a.inode
		}
	case "unlink":
		if was == 0 {
			want = proto.NotFound
		}
		s[c.from] = 0
	case "link":
		switch {
		case there != 0 && s.links(c.inode) == 0: // whichever is found first
			return a.kind == proto.NotFound || a.kind == proto.Exists, s
		case s.links(c.inode) == 0:
			want = proto.NotFound
		case there != 0:
			want = proto.Exists
		default:
			s[c.to] = c.inode
		}
	case "rename":
		switch {
		case was == 0:
			want = proto.NotFound
		case was != there:
			s[c.from], s[c.to] = 0, was
		}
	case "stat":
		if was == 0 {
			want = proto.NotFound
		} else if a.kind == proto.OK && (a.inode != was || a.nlink != s.links(was)) {
			return false, s
		}
	case "list":
		first := c.from.dir() * nameCount
		return a.kind == proto.OK && a.list == [nameCount]proto.InodeID(s[first:first+nameCount]), s
	}
	return a.kind == want, s
}
