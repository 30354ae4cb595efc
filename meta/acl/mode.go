package acl

// FromMode gives the minimal list that says what the nine permission bits of a mode say.
func FromMode(mode uint32) List {
	return List{
		{Tag: UserObj, Perm: uint16(mode >> 6 & 7), ID: NoID},
		{Tag: GroupObj, Perm: uint16(mode >> 3 & 7), ID: NoID},
		{Tag: Other, Perm: uint16(mode & 7), ID: NoID},
	}
}

// Minimal says that the list is equivalent to its Mode.
func (l List) Minimal() bool { return len(l) == 3 }

// classes gives the entries that the mode's three groups of bits correspond to: where
// there is a mask, it stands for the group class.
func (l List) classes() (owner, group, other *Entry) {
	for i := range l {
		switch e := &l[i]; e.Tag {
		case UserObj:
			owner = e
		case GroupObj, Mask: // the mask comes later
			group = e
		case Other:
			other = e
		}
	}
	return owner, group, other
}

// Mode gives the nine permission bits that correspond to the list.
func (l List) Mode() uint32 {
	owner, group, other := l.classes()
	return uint32(owner.Perm)<<6 | uint32(group.Perm)<<3 | uint32(other.Perm)
}

// SetMode changes the entries that correspond to permission bits, as chmod does.
func (l List) SetMode(mode uint32) {
	owner, group, other := l.classes()
	owner.Perm, group.Perm, other.Perm = uint16(mode>>6&7), uint16(mode>>3&7), uint16(mode&7)
}

// Inherit turns a default ACL into the access ACL of a file that a program makes with
// a mode: of the rights the list gives, those that the program did not ask for are
// taken away. The umask plays no part.
func (l List) Inherit(mode uint32) { l.SetMode(l.Mode() & mode) }
