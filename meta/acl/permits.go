package acl

// Subject is who wants to use a file, seen from the file.
type Subject struct {
	UID    uint32
	Owner  bool                  // the file is his
	In     func(gid uint32) bool // he is in this group
	Member bool                  // he is in the owning group
}

// Permits is the access check algorithm of acl(5): may he do everything that want says,
// an or of 4 read, 2 write, 1 execute? The one entry that is closest decides: the
// owner's, a named user's, then of the owning group and the named groups that he is in
// any one that suffices by itself, and the others' only if none of these is his.
func (l List) Permits(who *Subject, want uint16) bool {
	mask, isMember := uint16(7), false
	for i := len(l) - 1; i >= 0; i-- { // the mask comes behind what it limits
		if l[i].Tag == Mask {
			mask = l[i].Perm
			break
		}
	}
	for i := range l {
		e := &l[i]
		switch e.Tag {
		case UserObj:
			if who.Owner {
				return e.Perm&want == want
			}
		case User:
			if e.ID == who.UID {
				return e.Perm&mask&want == want
			}
		case GroupObj, Group:
			if e.Tag == GroupObj && who.Member || e.Tag == Group && who.In(e.ID) {
				if e.Perm&mask&want == want {
					return true
				}
				isMember = true
			}
		case Other:
			return !isMember && e.Perm&want == want
		}
	}
	return false
}
