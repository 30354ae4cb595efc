package state

// ownerRecord is a user and a group that inodes belong to. There are few such pairs, so the
// record of an inode has a number of 32 bits in their place. Numbers are nothing that a
// checkpoint or an answer tells of.
type ownerRecord struct {
	ownerKey
	uses uint32 // by inodes; of a free slot the next one
}

type ownerKey struct{ uid, gid uint32 }

func (o *ownerRecord) freeLink() *uint32 { return &o.uses }

// rootOwner is the number of user and group 0, who are always known.
const rootOwner = 1

// owners are the pairs in use.
type owners struct {
	slab[ownerRecord, *ownerRecord]
	numbers map[ownerKey]uint32 // none in a frozen copy
}

func newOwners() owners {
	o := owners{slab: newSlab[ownerRecord](8), numbers: map[ownerKey]uint32{}}
	o.use(ownerKey{}) // rootOwner
	return o
}

func (o *owners) freeze() owners { return owners{slab: o.slab.freeze()} }

// use counts an inode of a pair and gives the pair's number.
func (o *owners) use(key ownerKey) uint32 {
	number, known := o.numbers[key]
	if !known {
		number = o.alloc()
		*o.mut(number) = ownerRecord{ownerKey: key}
		o.numbers[key] = number
	}
	o.mut(number).uses++
	return number
}

// drop takes an inode off a pair.
func (o *owners) drop(number uint32) {
	pair := o.mut(number)
	if pair.uses--; pair.uses == 0 {
		delete(o.numbers, pair.ownerKey)
		o.release(number)
	}
}

// owner gives user and group of an inode.
func (t *tables) owner(n *inode) ownerKey { return t.owners.get(t.ownerNumber(n)).ownerKey }

func (t *tables) ownerNumber(n *inode) uint32 {
	number := uint32(n.owner)
	if n.cold != 0 {
		number |= uint32(t.colds.get(n.cold).ownerHigh) << 16
	}
	return number
}

// putOwner sets user and group of an inode.
func (t *tables) putOwner(slot, uid, gid uint32) {
	before := t.ownerNumber(t.inodes.get(slot))
	number := t.owners.use(ownerKey{uid, gid})
	if before != 0 {
		t.owners.drop(before)
	}
	n := t.inodes.mut(slot)
	n.owner = uint16(number)
	if high := uint16(number >> 16); high != 0 || n.cold != 0 {
		t.colds.mut(t.needCold(slot)).ownerHigh = high
	}
}

// owns says whether the caller may do what only the owner may.
func (t *tables) owns(cred *Cred, n *inode) bool { return cred.UID == 0 || cred.UID == t.owner(n).uid }
