package acl

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/distrifs/distrifs/proto"
)

// The entries of the tests, in the words of getfacl(1).
func owner(perm uint16) Entry           { return Entry{UserObj, perm, NoID} }
func user(id uint32, perm uint16) Entry { return Entry{User, perm, id} }
func owning(perm uint16) Entry          { return Entry{GroupObj, perm, NoID} }
func group(id uint32, perm uint16) Entry {
	return Entry{Group, perm, id}
}
func mask(perm uint16) Entry  { return Entry{Mask, perm, NoID} }
func other(perm uint16) Entry { return Entry{Other, perm, NoID} }

func bytesOf(entries ...Entry) []byte { return List(entries).Encode(nil) }

func TestWhatAValidListIs(t *testing.T) {
	wrongVersion := bytesOf(owner(7), owning(5), other(5))
	wrongVersion[0] = 1
	long := List{owner(7)}
	for id := range uint32(MaxBytes / entryBytes) {
		long = append(long, user(id, 7))
	}
	long = append(long, owning(7), mask(7), other(7))
	for name, c := range map[string]struct {
		value []byte
		want  proto.Kind
	}{
		"minimal":             {bytesOf(owner(7), owning(5), other(5)), proto.OK},
		"everything":          {bytesOf(owner(7), user(0, 1), user(5, 2), owning(5), group(0, 0), group(6, 7), mask(4), other(0)), proto.OK},
		"a mask for nobody":   {bytesOf(owner(7), owning(5), mask(5), other(5)), proto.OK},
		"one id, two kinds":   {bytesOf(owner(7), user(5, 7), owning(5), group(5, 7), mask(5), other(5)), proto.OK},
		"empty":               {bytesOf(), proto.OK},
		"no bytes":            {nil, proto.Invalid},
		"half a header":       {[]byte{2, 0, 0}, proto.Invalid},
		"half an entry":       {append(bytesOf(owner(7), owning(5), other(5)), 1, 0, 7, 0), proto.Invalid},
		"another version":     {wrongVersion, proto.NotSupported},
		"too long":            {long.Encode(nil), proto.TooBig},
		"no owner":            {bytesOf(owning(5), other(5)), proto.Invalid},
		"no owning group":     {bytesOf(owner(5), other(5)), proto.Invalid},
		"no others":           {bytesOf(owner(5), owning(5)), proto.Invalid},
		"two owners":          {bytesOf(owner(7), owner(7), owning(5), other(5)), proto.Invalid},
		"two masks":           {bytesOf(owner(7), owning(5), mask(5), mask(4), other(5)), proto.Invalid},
		"names without mask":  {bytesOf(owner(7), user(5, 7), owning(5), other(5)), proto.Invalid},
		"groups without mask": {bytesOf(owner(7), owning(5), group(5, 7), other(5)), proto.Invalid},
		"a user named twice":  {bytesOf(owner(7), user(5, 7), user(6, 1), user(5, 1), owning(5), mask(7), other(5)), proto.Invalid},
		"out of order":        {bytesOf(owner(7), other(5), owning(5)), proto.Invalid},
		"a fourth permission": {bytesOf(owner(15), owning(5), other(5)), proto.Invalid},
		"an unknown tag":      {bytesOf(owner(7), owning(5), other(5), Entry{0x40, 7, NoID}), proto.Invalid},
		"two tags in one":     {bytesOf(owner(7), Entry{User | UserObj, 7, 5}, owning(5), mask(7), other(5)), proto.Invalid},
		"a name without id":   {bytesOf(owner(7), user(NoID, 7), owning(5), mask(7), other(5)), proto.Invalid},
		"an owner with an id": {bytesOf(Entry{UserObj, 7, 5}, owning(5), other(5)), proto.Invalid},
	} {
		list, kind := Parse(c.value)
		if kind != c.want {
			t.Errorf("%s: %v, want %v", name, kind, c.want)
		}
		if kind == proto.OK && !bytes.Equal(list.Encode(nil), c.value) {
			t.Errorf("%s: comes back as %v", name, list)
		}
	}
}

func TestNamedEntriesAreSorted(t *testing.T) {
	list, kind := Parse(bytesOf(owner(7), user(9, 1), user(3, 2), owning(5), group(8, 3), group(2, 4), mask(7), other(0)))
	want := List{owner(7), user(3, 2), user(9, 1), owning(5), group(2, 4), group(8, 3), mask(7), other(0)}
	if kind != proto.OK || !slices.Equal(list, want) {
		t.Errorf("%v, %v", list, kind)
	}
}

// The bytes are Linux's own, so they are spelled out.
func TestGoldenBytes(t *testing.T) {
	want := []byte{
		2, 0, 0, 0,
		1, 0, 6, 0, 255, 255, 255, 255,
		2, 0, 4, 0, 0xe8, 3, 0, 0,
		4, 0, 5, 0, 255, 255, 255, 255,
		16, 0, 7, 0, 255, 255, 255, 255,
		32, 0, 0, 0, 255, 255, 255, 255,
	}
	if got := bytesOf(owner(6), user(1000, 4), owning(5), mask(7), other(0)); !bytes.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

// acl(5), "correspondence between ACL entries and file permission bits".
func TestModeAndList(t *testing.T) {
	for _, c := range []struct {
		list    List
		mode    uint32
		minimal bool
		chmod   uint32
		after   List
	}{
		{List{owner(6), owning(4), other(0)}, 0o640, true, 0o751, List{owner(7), owning(5), other(1)}},
		// With a mask, the group bits are the mask, and the owning group keeps its own.
		{List{owner(6), user(5, 7), owning(4), mask(6), other(1)}, 0o661, false, 0o700, List{owner(7), user(5, 7), owning(4), mask(0), other(0)}},
		{List{owner(6), owning(7), mask(1), other(1)}, 0o611, false, 0o070, List{owner(0), owning(7), mask(7), other(0)}},
	} {
		if c.list.Mode() != c.mode || c.list.Minimal() != c.minimal {
			t.Errorf("%v: mode %o, minimal %v", c.list, c.list.Mode(), c.list.Minimal())
		}
		got := slices.Clone(c.list)
		got.SetMode(c.chmod | 0o7000)
		if !slices.Equal(got, c.after) || got.Mode() != c.chmod {
			t.Errorf("%v after chmod %o: %v", c.list, c.chmod, got)
		}
	}
	for mode := range uint32(0o1000) {
		if l := FromMode(mode); !l.valid() || !l.Minimal() || l.Mode() != mode {
			t.Fatalf("%o becomes %v", mode, l)
		}
	}
}

// acl(5), "object creation and default ACLs".
func TestInherit(t *testing.T) {
	for _, c := range []struct {
		defaults   List
		mode       uint32
		want       List
		wantedMode uint32
	}{
		{List{owner(7), owning(5), other(5)}, 0o666, List{owner(6), owning(4), other(4)}, 0o644},
		{List{owner(7), owning(7), other(7)}, 0o777, List{owner(7), owning(7), other(7)}, 0o777},
		{List{owner(7), user(5, 7), owning(7), mask(7), other(5)}, 0o640, List{owner(6), user(5, 7), owning(7), mask(4), other(0)}, 0o640},
		{List{owner(7), user(5, 7), owning(7), mask(3), other(5)}, 0o777, List{owner(7), user(5, 7), owning(7), mask(3), other(5)}, 0o735},
		{List{owner(7), owning(5), group(5, 7), mask(7), other(0)}, 0o100600, List{owner(6), owning(5), group(5, 7), mask(0), other(0)}, 0o600},
	} {
		got := slices.Clone(c.defaults)
		if got.Inherit(c.mode); !slices.Equal(got, c.want) || got.Mode() != c.wantedMode {
			t.Errorf("%v for mode %o: %v, %o", c.defaults, c.mode, got, got.Mode())
		}
	}
}

// acl(5), "access check algorithm", each of its branches.
func TestPermits(t *testing.T) {
	list := List{owner(4), user(10, 7), user(11, 4), owning(4), group(20, 2), group(21, 6), mask(6), other(1)}
	minimal := List{owner(0), owning(0), other(7)}
	who := func(uid uint32, isOwner bool, groups ...uint32) Subject {
		const owningGroup = 5
		in := func(gid uint32) bool { return slices.Contains(groups, gid) }
		return Subject{UID: uid, Owner: isOwner, In: in, Member: in(owningGroup)}
	}
	for name, c := range map[string]struct {
		list List
		who  Subject
		may  []uint16 // of all seven
	}{
		"the owner, by his entry alone":           {list, who(10, true, 21), []uint16{4}},
		"the mask does not limit the owner":       {List{owner(7), owning(0), mask(0), other(0)}, who(1, true), []uint16{1, 2, 3, 4, 5, 6, 7}},
		"a named user, under the mask":            {list, who(10, false), []uint16{2, 4, 6}},
		"a named user, not by his groups":         {list, who(11, false, 5, 21), []uint16{4}},
		"the owning group":                        {list, who(1, false, 5), []uint16{4}},
		"a named group":                           {list, who(1, false, 20), []uint16{2}},
		"groups do not add up":                    {list, who(1, false, 5, 20), []uint16{2, 4}},
		"any group that suffices":                 {list, who(1, false, 20, 21), []uint16{2, 4, 6}},
		"a member of a group is no other":         {List{owner(7), owning(0), group(20, 0), mask(7), other(7)}, who(1, false, 20), nil},
		"an empty mask":                           {List{owner(7), user(10, 7), owning(7), mask(0), other(7)}, who(10, false), nil},
		"the mask does not limit others":          {list, who(1, false, 99), []uint16{1}},
		"the owner of a minimal list is no other": {minimal, who(1, true), nil},
		"its group neither":                       {minimal, who(1, false, 5), nil},
		"everybody else":                          {minimal, who(1, false), []uint16{1, 2, 3, 4, 5, 6, 7}},
	} {
		for want := range uint16(8) {
			expect := want == 0 || slices.Contains(c.may, want)
			if got := c.list.Permits(&c.who, want); got != expect {
				t.Errorf("%s: permission %d: %v", name, want, got)
			}
		}
	}
}

// FuzzParse: what is accepted is canonical, and what it is worth does not change on
// the way through its own bytes.
func FuzzParse(f *testing.F) {
	f.Add([]byte{})
	f.Add(bytesOf())
	f.Add(bytesOf(owner(7), owning(5), other(5)))
	f.Add(bytesOf(owner(7), user(9, 1), user(3, 2), owning(5), group(8, 3), mask(7), other(0)))
	f.Fuzz(func(t *testing.T, value []byte) {
		list, kind := Parse(value)
		if kind != proto.OK {
			if list != nil {
				t.Fatalf("%v and %v", list, kind)
			}
			return
		}
		canonical := list.Encode(nil)
		if len(canonical) != len(value) || binary.LittleEndian.Uint32(canonical) != version {
			t.Fatalf("%x becomes %x", value, canonical)
		}
		again, kind := Parse(canonical)
		if kind != proto.OK || !slices.Equal(list, again) || !slices.IsSortedFunc(list, compare) {
			t.Fatalf("%v comes back as %v, %v", list, again, kind)
		}
		if list == nil {
			return
		}
		mode := list.Mode()
		list.SetMode(mode)
		if !slices.Equal(list, again) || mode > 0o777 {
			t.Fatalf("mode %o changes %v to %v", mode, again, list)
		}
	})
}
