package oracle

// operation is one kind of call.
type operation struct {
	name     string
	weight   int
	basic    bool // no program is without it
	folders  bool // is about folders most of the time
	makes    bool // its path is where something new goes, most of the time
	operands []operand
	run      func(s *side, c *call) answer
	data     bool // reads or writes through a slot
	locks    bool
	// vague operations change times or not: stores with the next fault of a page or msync, truncate
	// to the size that is in some filesystems only.
	vague bool
	// borrows: a tmpfs gives the folder whose names change the time of the inode that is named.
	borrows bool
}

// operations are all there are.
var operations = []operation{
	{name: "open", weight: 30, basic: true, operands: []operand{slotArg, pathArg, openArg, permArg}, run: open},
	{name: "close", weight: 8, operands: []operand{slotArg}, run: closeSlot},

	{name: "read", weight: 8, operands: []operand{slotArg, sizeArg}, run: read, data: true},
	{name: "write", weight: 14, operands: []operand{slotArg, sizeArg, fillArg}, run: write, data: true},
	{name: "pread", weight: 10, operands: []operand{slotArg, atArg, sizeArg}, run: pread, data: true},
	{name: "pwrite", weight: 12, operands: []operand{slotArg, atArg, sizeArg, fillArg}, run: pwrite, data: true},
	{name: "preadv2", weight: 3, operands: []operand{slotArg, atArg, sizeArg, vectorArg}, run: preadv2, data: true},
	{name: "pwritev2", weight: 5, operands: []operand{slotArg, atArg, sizeArg, fillArg, vectorArg}, run: pwritev2, data: true},
	{name: "lseek", weight: 5, operands: []operand{slotArg, moveArg, whenceArg}, run: lseek},
	{name: "seek", weight: 4, operands: []operand{slotArg, atArg, seekArg}, run: seekHoles},
	{name: "ftruncate", weight: 6, operands: []operand{slotArg, atArg}, run: ftruncate},
	{name: "truncate", weight: 5, operands: []operand{pathArg, atArg}, run: truncate, vague: true},
	{name: "fallocate", weight: 8, operands: []operand{slotArg, allocateArg, atArg, lengthArg}, run: allocate},
	{name: "copy_file_range", weight: 7, operands: []operand{slotArg, atArg, otherArg, toAtArg, lengthArg}, run: copyRange, data: true},
	{name: "fsync", weight: 2, operands: []operand{slotArg}, run: fsync},
	{name: "fdatasync", weight: 1, operands: []operand{slotArg}, run: fdatasync},
	{name: "mmap", weight: 4, operands: []operand{slotArg, viewArg, pageArg}, run: mapFile},
	{name: "load", weight: 6, operands: []operand{viewArg, withinArg, sizeArg}, run: load},
	{name: "store", weight: 6, operands: []operand{viewArg, withinArg, sizeArg, fillArg}, run: store, vague: true},
	{name: "munmap", weight: 2, operands: []operand{viewArg}, run: unmapFile},

	{name: "flock", weight: 5, operands: []operand{slotArg, processArg, flockArg}, run: flock, locks: true},
	{name: "lock", weight: 9, operands: []operand{slotArg, processArg, lockArg, lockAtArg, lockSizeArg}, run: lock, locks: true},
	{name: "getlock", weight: 4, operands: []operand{slotArg, processArg, lockArg, lockAtArg, lockSizeArg}, run: getLock, locks: true},
	{name: "leave", weight: 1, operands: []operand{slotArg, processArg}, run: leave},

	{name: "mkdir", makes: true, folders: true, weight: 12, basic: true, operands: []operand{pathArg, permArg}, run: mkdir},
	{name: "rmdir", folders: true, weight: 6, operands: []operand{pathArg}, run: rmdir, borrows: true},
	{name: "unlink", weight: 10, operands: []operand{pathArg}, run: unlink, borrows: true},
	{name: "rename", weight: 16, operands: []operand{pathArg, toArg, renameArg}, run: rename, borrows: true},
	{name: "link", weight: 10, operands: []operand{pathArg, toArg, linkArg}, run: link, borrows: true},
	{name: "linkfd", makes: true, weight: 4, operands: []operand{slotArg, pathArg}, run: linkSlot, borrows: true},
	{name: "symlink", makes: true, weight: 5, operands: []operand{targetArg, pathArg}, run: symlink},
	{name: "readlink", weight: 3, operands: []operand{pathArg}, run: readlink},
	{name: "mknod", makes: true, weight: 4, operands: []operand{pathArg, kindArg}, run: mknod},

	{name: "chmod", weight: 6, operands: []operand{pathArg, permArg}, run: chmod},
	{name: "fchmod", weight: 3, operands: []operand{slotArg, permArg}, run: fchmod},
	{name: "chown", weight: 5, operands: []operand{pathArg, uidArg, gidArg, atFlagArg}, run: chown},
	{name: "fchown", weight: 3, operands: []operand{slotArg, uidArg, gidArg}, run: fchown},
	{name: "utimensat", weight: 5, operands: []operand{pathArg, atimeArg, mtimeArg, atFlagArg}, run: utimens},
	{name: "futimens", weight: 3, operands: []operand{slotArg, atimeArg, mtimeArg}, run: futimens},
	{name: "stat", weight: 6, operands: []operand{pathArg, atFlagArg}, run: stat},
	{name: "fstat", weight: 4, operands: []operand{slotArg}, run: fstat},
	{name: "access", weight: 5, operands: []operand{pathArg, rightsArg, accessArg}, run: access},
	{name: "setxattr", weight: 5, operands: []operand{pathArg, nameArg, smallArg, fillArg, xattrArg}, run: setxattr},
	{name: "lsetxattr", weight: 1, operands: []operand{pathArg, nameArg, smallArg, fillArg, xattrArg}, run: lsetxattr},
	{name: "fsetxattr", weight: 3, operands: []operand{slotArg, nameArg, smallArg, fillArg, xattrArg}, run: fsetxattr},
	{name: "getxattr", weight: 4, operands: []operand{pathArg, nameArg, smallArg}, run: getxattr},
	{name: "fgetxattr", weight: 2, operands: []operand{slotArg, nameArg, smallArg}, run: fgetxattr},
	{name: "listxattr", weight: 2, operands: []operand{pathArg}, run: listxattr},
	{name: "flistxattr", weight: 2, operands: []operand{slotArg}, run: flistxattr},
	{name: "removexattr", weight: 3, operands: []operand{pathArg, nameArg}, run: removexattr},
	{name: "fremovexattr", weight: 2, operands: []operand{slotArg, nameArg}, run: fremovexattr},

	{name: "list", folders: true, weight: 5, operands: []operand{pathArg}, run: list},
	{name: "listslot", weight: 4, operands: []operand{slotArg}, run: listSlot},
	{name: "pieces", folders: true, weight: 3, operands: []operand{pathArg, fillArg}, run: pieces},
}

func operationNamed(name string) *operation {
	for i := range operations {
		if operations[i].name == name {
			return &operations[i]
		}
	}
	return nil
}
