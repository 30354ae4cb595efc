package state

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/distrifs/distrifs/proto"
)

// oracle is a filesystem of Go maps, as simple as can be, to compare with.
type oracle struct {
	id     proto.InodeID
	attr   Attr
	names  map[string]*oracle // of a directory
	parent *oracle
	target string
	xattrs map[string]string
	chunks map[uint64]Chunk
	shares map[uint64]*share // by index: of the chunks that are shared
	dead   bool

	unnamed bool // it never had a name
}

func (o *oracle) isDir() bool { return o.names != nil }

func (o *oracle) permits(cred Cred, mask uint32) bool {
	if cred.UID == 0 {
		return true // the model asks for no execution of files
	}
	shift := 0
	if cred.UID == o.attr.UID {
		shift = 6
	} else if cred.GID == o.attr.GID || slices.Contains(cred.Groups, o.attr.GID) {
		shift = 3
	}
	return o.attr.Mode>>shift&mask == mask
}

func (o *oracle) below(top *oracle) bool {
	for ; o != top; o = o.parent {
		if o.parent == o {
			return false
		}
	}
	return true
}

func (o *oracle) subdirs() (n uint32) {
	for _, child := range o.names {
		if child.isDir() {
			n++
		}
	}
	return n
}

// model drives a state and an oracle with the same random commands.
type model struct {
	t    *testing.T
	f    *fixture
	r    *rand.Rand
	all  []*oracle // never forgotten, so that stale ids are tried as well
	log  []Command
	root *oracle
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{t: t, f: newFixture(t), r: rand.New(rand.NewPCG(seed, 99))}
	m.f.ok(&SetAttr{Header: m.f.header(root), Inode: top, Set: SetMode, Mode: 0o777})
	m.root = &oracle{id: top, attr: m.f.attr(top), names: map[string]*oracle{}}
	m.root.parent = m.root
	m.all = []*oracle{m.root}
	return m
}

func (m *model) pick() *oracle {
	if m.r.IntN(20) == 0 {
		return m.all[m.r.IntN(len(m.all))]
	}
	return m.all[max(0, len(m.all)-1-m.r.IntN(40))]
}

// dir prefers directories, of which some are old.
func (m *model) dir() *oracle {
	for range 20 {
		if o := m.pick(); o.isDir() {
			return o
		}
	}
	return m.root
}

func (m *model) name() string {
	if m.r.IntN(50) == 0 {
		return []string{".", "..", "a/b", ""}[m.r.IntN(4)]
	}
	return fmt.Sprintf("name%d", m.r.IntN(12))
}

func (m *model) header() Header {
	return m.f.header([]Cred{root, root, alice, bob, {UID: 1000, GID: 101}}[m.r.IntN(5)])
}

// step makes a command, applies it to both and compares the answers.
func (m *model) step() {
	m.t.Helper()
	steps := []func() (Command, proto.Kind){
		m.make, m.make, m.make, m.link, m.unlink, m.unlink, m.rename, m.rename, m.exchange,
		m.chmod, m.chown, m.truncate, m.xattr, m.assign, m.commit, m.reap, m.fallocate, m.makeUnnamed,
		m.copyChunks, m.copyChunks, m.takeClone,
	}
	c, want := steps[m.r.IntN(len(steps))]()
	m.log = append(m.log, c)
	if r := m.f.Apply(0, c); r.Kind != want {
		m.t.Fatalf("%T %+v: %v, the oracle says %v", c, c, r.Kind, want)
	} else if (c.Op() == OpMake || c.Op() == OpMakeUnnamed) && want == proto.OK {
		m.all[len(m.all)-1].id = r.Inode
	}
}

// at finds parent and child of a name, with the errors that every command has.
func (m *model) at(dir *oracle, cred Cred, name string) (child *oracle, kind proto.Kind) {
	switch {
	case dir.dead:
		return nil, proto.Stale
	case !dir.isDir():
		return nil, proto.NotDir
	case !dir.permits(cred, 1):
		return nil, proto.Access
	case name == "":
		return nil, proto.NotFound
	case name == "a/b":
		return nil, proto.Invalid
	}
	return dir.names[name], proto.OK
}

func dots(name string) bool { return name == "." || name == ".." }

func (m *model) mark(now Time, inodes ...*oracle) {
	for _, o := range inodes {
		o.attr.Ctime = now
	}
}

func (m *model) modify(now Time, dirs ...*oracle) {
	for _, o := range dirs {
		o.attr.Mtime, o.attr.Ctime = now, now
	}
}

func canAdd(dir *oracle, cred Cred) proto.Kind {
	if dir.attr.Nlink == 0 {
		return proto.NotFound
	}
	if !dir.permits(cred, 3) {
		return proto.Access
	}
	return proto.OK
}

func canTake(dir, child *oracle, cred Cred, wantDir bool) proto.Kind {
	switch {
	case !dir.permits(cred, 3):
		return proto.Access
	case dir.attr.Mode&modeSticky != 0 && cred.UID != 0 && cred.UID != child.attr.UID && cred.UID != dir.attr.UID:
		return proto.NotPermitted
	case wantDir && !child.isDir():
		return proto.NotDir
	case !wantDir && child.isDir():
		return proto.IsDir
	}
	return proto.OK
}

func (m *model) make() (Command, proto.Kind) {
	types := []uint32{typeFile, typeFile, typeFile, typeDir, typeDir, typeLink, typeFIFO}
	kind := types[m.r.IntN(len(types))]
	dir, name := m.dir(), m.name()
	c := &Make{Header: m.header(), Parent: dir.id, Name: []byte(name), Mode: kind | []uint32{0o777, 0o755, 0o1777, 0o700, 0o2777}[m.r.IntN(5)]}
	if kind == typeLink {
		c.Target = []byte("target of " + name)
	}
	child, k := m.at(dir, c.Cred, name)
	if k != proto.OK {
		return c, k
	}
	if child != nil || dots(name) {
		return c, proto.Exists
	}
	if k := canAdd(dir, c.Cred); k != proto.OK {
		return c, k
	}
	o := &oracle{parent: dir, target: string(c.Target), xattrs: map[string]string{}, chunks: map[uint64]Chunk{}}
	o.attr = Attr{Mode: c.Mode, Nlink: 1, UID: c.Cred.UID, GID: c.Cred.GID, Size: uint64(len(c.Target)),
		Atime: c.Now, Mtime: c.Now, Ctime: c.Now, Btime: c.Now}
	switch kind {
	case typeDir:
		o.names, o.attr.Nlink = map[string]*oracle{}, 2
		o.attr.Mode &^= modeSetGID
		dir.attr.Nlink++
	case typeLink:
		o.attr.Mode = typeLink | 0o777
	}
	if dir.attr.Mode&modeSetGID != 0 {
		member := c.Cred.UID == 0 || c.Cred.GID == dir.attr.GID || slices.Contains(c.Cred.Groups, dir.attr.GID)
		o.attr.GID = dir.attr.GID
		if kind == typeDir {
			o.attr.Mode |= modeSetGID
		} else if o.attr.Mode&0o2010 == 0o2010 && !member {
			o.attr.Mode &^= modeSetGID
		}
	}
	dir.names[name] = o
	m.modify(c.Now, dir)
	m.all = append(m.all, o)
	return c, proto.OK
}

func (m *model) link() (Command, proto.Kind) {
	o, dir, name := m.pick(), m.dir(), m.name()
	c := &Link{Header: m.header(), Inode: o.id, Parent: dir.id, Name: []byte(name)}
	if o.dead {
		return c, proto.Stale
	}
	child, k := m.at(dir, c.Cred, name)
	if k != proto.OK {
		return c, k
	}
	if child != nil || dots(name) {
		return c, proto.Exists
	}
	switch k := canAdd(dir, c.Cred); {
	case k != proto.OK:
		return c, k
	case o.isDir():
		return c, proto.NotPermitted
	case o.attr.Nlink == 0 && !o.unnamed:
		return c, proto.NotFound
	}
	o.unnamed = false
	o.attr.Nlink++
	dir.names[name] = o
	m.mark(c.Now, o)
	m.modify(c.Now, dir)
	return c, proto.OK
}

func (m *model) makeUnnamed() (Command, proto.Kind) {
	dir := m.dir()
	c := &MakeUnnamed{Header: m.header(), Parent: dir.id, Mode: 0o2671}
	switch {
	case dir.dead:
		return c, proto.Stale
	case !dir.permits(c.Cred, 1):
		return c, proto.Access
	}
	if k := canAdd(dir, c.Cred); k != proto.OK {
		return c, k
	}
	o := &oracle{unnamed: true, parent: dir, xattrs: map[string]string{}, chunks: map[uint64]Chunk{}}
	o.attr = Attr{Mode: typeFile | c.Mode, UID: c.Cred.UID, GID: c.Cred.GID, Atime: c.Now, Mtime: c.Now, Ctime: c.Now, Btime: c.Now}
	if dir.attr.Mode&modeSetGID != 0 {
		o.attr.GID = dir.attr.GID
		if c.Cred.UID != 0 && c.Cred.GID != dir.attr.GID && !slices.Contains(c.Cred.Groups, dir.attr.GID) {
			o.attr.Mode &^= modeSetGID
		}
	}
	m.all = append(m.all, o)
	return c, proto.OK
}

// lose takes a name from an inode.
func (m *model) lose(dir, o *oracle, now Time) {
	if o.isDir() {
		o.attr.Nlink, o.parent = 0, o
		dir.attr.Nlink--
	} else {
		o.attr.Nlink--
	}
	m.mark(now, o)
}

func (m *model) unlink() (Command, proto.Kind) {
	dir, name := m.dir(), m.name()
	c := &Unlink{Header: m.header(), Parent: dir.id, Name: []byte(name), Dir: m.r.IntN(2) == 0}
	child, k := m.at(dir, c.Cred, name)
	switch {
	case k != proto.OK:
		return c, k
	case dots(name) && !c.Dir:
		return c, proto.IsDir
	case name == ".":
		return c, proto.Invalid
	case name == "..":
		return c, proto.NotEmpty
	case child == nil:
		return c, proto.NotFound
	}
	if k := canTake(dir, child, c.Cred, c.Dir); k != proto.OK {
		return c, k
	}
	if c.Dir && len(child.names) > 0 {
		return c, proto.NotEmpty
	}
	delete(dir.names, name)
	m.lose(dir, child, c.Now)
	m.modify(c.Now, dir)
	return c, proto.OK
}

func (m *model) exchange() (Command, proto.Kind) { return m.renameAs(true) }
func (m *model) rename() (Command, proto.Kind)   { return m.renameAs(false) }

func (m *model) renameAs(exchange bool) (Command, proto.Kind) {
	from, to, name, newName := m.dir(), m.dir(), m.name(), m.name()
	c := &Rename{Header: m.header(), Parent: from.id, Name: []byte(name), NewParent: to.id, NewName: []byte(newName),
		Exchange: exchange, NoReplace: !exchange && m.r.IntN(4) == 0}
	o, k := m.at(from, c.Cred, name)
	if k != proto.OK {
		return c, k
	}
	old, k := m.at(to, c.Cred, newName)
	switch {
	case k != proto.OK:
		return c, k
	case dots(name) || dots(newName):
		return c, proto.Busy
	case o == nil:
		return c, proto.NotFound
	case c.NoReplace && old != nil:
		return c, proto.Exists
	case exchange && old == nil:
		return c, proto.NotFound
	case o.isDir() && to.below(o):
		return c, proto.Invalid
	case old != nil && old.isDir() && from.below(old):
		if exchange {
			return c, proto.Invalid
		}
		return c, proto.NotEmpty
	case o == old:
		return c, proto.OK
	}
	if k := m.checkRename(c, from, to, o, old); k != proto.OK {
		return c, k
	}
	if exchange {
		from.names[name] = old
	} else {
		delete(from.names, name)
		if old != nil {
			m.lose(to, old, c.Now)
		}
	}
	to.names[newName] = o
	m.modify(c.Now, from, to)
	m.mark(c.Now, o)
	if old != nil {
		m.mark(c.Now, old)
	}
	for _, dir := range []*oracle{from, to} {
		dir.attr.Nlink = 2 + dir.subdirs()
		for _, child := range dir.names {
			child.parent = dir
		}
	}
	return c, proto.OK
}

func (m *model) checkRename(c *Rename, from, to, o, old *oracle) proto.Kind {
	if k := canTake(from, o, c.Cred, o.isDir()); k != proto.OK {
		return k
	}
	if old == nil {
		if k := canAdd(to, c.Cred); k != proto.OK {
			return k
		}
	} else {
		wantDir := o.isDir()
		if c.Exchange {
			wantDir = old.isDir()
		}
		if k := canTake(to, old, c.Cred, wantDir); k != proto.OK {
			return k
		}
		if !c.Exchange && len(old.names) > 0 {
			return proto.NotEmpty
		}
	}
	if from == to {
		return proto.OK
	}
	if o.isDir() && !o.permits(c.Cred, 2) || c.Exchange && old.isDir() && !old.permits(c.Cred, 2) {
		return proto.Access
	}
	return proto.OK
}

func (m *model) chmod() (Command, proto.Kind) {
	o := m.pick()
	c := &SetAttr{Header: m.header(), Inode: o.id, Set: SetMode, Mode: []uint32{0o777, 0o700, 0o1777, 0o2777, 0o6755}[m.r.IntN(5)]}
	switch {
	case o.dead:
		return c, proto.Stale
	case o.attr.Mode&typeMask == typeLink:
		return c, proto.NotSupported
	case c.Cred.UID != 0 && c.Cred.UID != o.attr.UID:
		return c, proto.NotPermitted
	}
	o.attr.Mode = o.attr.Mode&typeMask | c.Mode
	if c.Cred.UID != 0 && c.Cred.GID != o.attr.GID && !slices.Contains(c.Cred.Groups, o.attr.GID) {
		o.attr.Mode &^= modeSetGID
	}
	m.mark(c.Now, o)
	return c, proto.OK
}

// time gives any time: one in three is far.
func (m *model) time() Time {
	sec := int64(m.r.IntN(1e9))
	if m.r.IntN(3) == 0 {
		sec = int64(m.r.Uint64())
	}
	return Time{Sec: sec, Nsec: uint32(m.r.IntN(1e9))}
}

func (m *model) chown() (Command, proto.Kind) {
	o := m.pick()
	c := &SetAttr{Header: m.header(), Inode: o.id, Set: SetGID | SetAtime, GID: []uint32{100, 101, 200}[m.r.IntN(3)], Atime: m.time()}
	member := c.Cred.GID == c.GID || slices.Contains(c.Cred.Groups, c.GID) || c.GID == o.attr.GID
	switch {
	case o.dead:
		return c, proto.Stale
	case c.Cred.UID != 0 && (c.Cred.UID != o.attr.UID || !member):
		return c, proto.NotPermitted
	}
	inGroup := c.Cred.UID == 0 || c.Cred.GID == o.attr.GID || slices.Contains(c.Cred.Groups, o.attr.GID)
	if !o.isDir() {
		o.attr.Mode &^= modeSetUID
		if o.attr.Mode&0o10 != 0 || !inGroup {
			o.attr.Mode &^= modeSetGID
		}
	}
	o.attr.GID, o.attr.Atime = c.GID, c.Atime
	m.mark(c.Now, o)
	return c, proto.OK
}

func (m *model) truncate() (Command, proto.Kind) {
	o := m.pick()
	c := &SetAttr{Header: m.header(), Inode: o.id, Set: SetSize, Size: m.r.Uint64N(8) * testChunk / 2}
	switch {
	case o.dead:
		return c, proto.Stale
	case o.isDir():
		return c, proto.IsDir
	case o.attr.Mode&typeMask != typeFile:
		return c, proto.Invalid
	case !o.permits(c.Cred, 2):
		return c, proto.Access
	}
	o.attr.Size = c.Size
	for index := range o.chunks {
		if index*testChunk >= c.Size {
			o.drop(index)
		}
	}
	m.written(o, c.Header)
	return c, proto.OK
}

// written marks a file as written to by the caller.
func (m *model) written(o *oracle, h Header) {
	if h.Cred.UID != 0 {
		inGroup := h.Cred.GID == o.attr.GID || slices.Contains(h.Cred.Groups, o.attr.GID)
		o.attr.Mode &^= modeSetUID
		if o.attr.Mode&0o10 != 0 || !inGroup {
			o.attr.Mode &^= modeSetGID
		}
	}
	m.modify(h.Now, o)
}

func (m *model) fallocate() (Command, proto.Kind) {
	o := m.pick()
	c := &Fallocate{
		Header: m.header(), Inode: o.id, Tail: m.r.IntN(2) == 0,
		Offset: m.r.Uint64N(6) * testChunk / 2, Length: m.r.Uint64N(9) * testChunk / 2, Size: m.r.Uint64N(8) * 777_777,
	}
	switch {
	case o.dead:
		return c, proto.Stale
	case o.isDir():
		return c, proto.IsDir
	case o.attr.Mode&typeMask != typeFile:
		return c, proto.Invalid
	}
	end := c.Offset + c.Length
	for index, chunk := range o.chunks {
		until := (index + 1) * testChunk
		if c.Tail && c.Length > 0 && index*testChunk < o.attr.Size {
			until = min(until, o.attr.Size)
		}
		if chunk.Committed && c.Offset <= index*testChunk && until <= end {
			o.drop(index)
		}
	}
	o.attr.Size = max(o.attr.Size, c.Size)
	m.written(o, c.Header)
	return c, proto.OK
}

// blocks is st_blocks: what of the file lies in committed chunks. known is false
// when chunks behind the end of the file are committed, which count a while.
func (o *oracle) blocks() (blocks uint64, known bool) {
	held := uint64(0)
	for index, chunk := range o.chunks {
		switch {
		case !chunk.Committed:
		case index*testChunk >= o.attr.Size:
			return 0, false
		default:
			held += min(testChunk, o.attr.Size-index*testChunk)
		}
	}
	return (held + proto.BlockSize - 1) / proto.BlockSize * (proto.BlockSize / 512), true
}

func (m *model) xattr() (Command, proto.Kind) {
	o := m.pick()
	name := fmt.Sprint("user.", m.r.IntN(4))
	if o.dead {
		return &RemoveXattr{Header: m.header(), Inode: o.id, Name: []byte(name)}, proto.Stale
	}
	h := m.header()
	kind := proto.OK
	switch t := o.attr.Mode & typeMask; {
	case t != typeFile && t != typeDir:
		kind = proto.NotPermitted
	case t == typeDir && o.attr.Mode&modeSticky != 0 && h.Cred.UID != 0 && h.Cred.UID != o.attr.UID:
		kind = proto.NotPermitted
	case !o.permits(h.Cred, 2):
		kind = proto.Access
	}
	if m.r.IntN(3) == 0 {
		if _, ok := o.xattrs[name]; !ok && kind == proto.OK {
			kind = proto.NoAttr
		}
		if kind == proto.OK {
			delete(o.xattrs, name)
			m.mark(h.Now, o)
		}
		return &RemoveXattr{Header: h, Inode: o.id, Name: []byte(name)}, kind
	}
	c := &SetXattr{Header: h, Inode: o.id, Name: []byte(name), Value: make([]byte, m.r.IntN(6000))}
	if kind == proto.OK {
		if o.xattrs == nil {
			o.xattrs = map[string]string{}
		}
		o.xattrs[name] = string(c.Value)
		m.mark(h.Now, o)
	}
	return c, kind
}

func (m *model) assign() (Command, proto.Kind) {
	o := m.pick()
	c := &AssignChunks{Header: m.header(), Inode: o.id, First: m.r.Uint64N(6), Chains: [][]proto.NodeID{{1, 2, 3}, {4, 3, 2, 1}}}
	switch {
	case o.dead:
		return c, proto.Stale
	case o.isDir():
		return c, proto.IsDir
	case o.attr.Mode&typeMask != typeFile:
		return c, proto.Invalid
	}
	for i, chain := range c.Chains {
		index := c.First + uint64(i)
		if s := o.shares[index]; s != nil {
			o.assignClone(index, chain)
		} else if _, ok := o.chunks[index]; !ok {
			o.chunks[index] = Chunk{Index: index, Version: 1, Chain: chain}
		}
	}
	return c, proto.OK
}

func (m *model) commit() (Command, proto.Kind) {
	o := m.pick()
	c := &Commit{Header: m.header(), Inode: o.id, Size: m.r.Uint64N(4 * testChunk)}
	c.Mtime = c.Now
	switch {
	case o.dead:
		return c, proto.Stale
	case o.isDir():
		return c, proto.IsDir
	case o.attr.Mode&typeMask != typeFile:
		return c, proto.Invalid
	}
	kind := proto.OK
	m.f.FileChunks(o.id, 0, 10, func(chunk Chunk) bool {
		if m.r.IntN(2) == 0 && (!chunk.Shared() || m.r.IntN(8) == 0) {
			c.Chunks = append(c.Chunks, chunk.ID)
			if chunk.Shared() {
				kind = proto.NotFound // nobody can have written to it
			}
		}
		return true
	})
	if kind != proto.OK {
		return c, kind
	}
	for _, id := range c.Chunks {
		chunk, _ := m.f.Chunk(id)
		known := o.chunks[chunk.Index]
		known.Committed = true
		o.chunks[chunk.Index] = known
	}
	o.attr.Size = max(o.attr.Size, c.Size)
	m.written(o, c.Header)
	return c, proto.OK
}

func (m *model) reap() (Command, proto.Kind) {
	c := &Reap{}
	for range 3 {
		o := m.pick()
		c.Inodes = append(c.Inodes, o.id)
		if o.attr.Nlink == 0 && !o.dead {
			o.dead = true
			for index := range o.chunks {
				o.drop(index)
			}
		}
	}
	return c, proto.OK
}

// compare looks at everything.
func (m *model) compare() {
	m.t.Helper()
	defer m.compareTotals()
	for _, o := range m.all {
		a, kind := m.f.State.Attr(o.id)
		if o.dead {
			if kind != proto.Stale {
				m.t.Fatalf("inode %v was reaped: %v", o.id, kind)
			}
			continue
		}
		want := o.attr
		want.Inode, want.Change, want.Blocks = o.id, a.Change, a.Blocks
		want.Plain = len(o.xattrs) == 0
		if blocks, known := o.blocks(); known {
			want.Blocks = blocks
		}
		if o.isDir() {
			want.Size = uint64(len(o.names))
		}
		if kind != proto.OK || a != want {
			m.t.Fatalf("inode %v: %v\n%+v, the oracle says\n%+v", o.id, kind, a, want)
		}
		m.compareContent(o)
	}
}

func (m *model) compareContent(o *oracle) {
	m.t.Helper()
	switch o.attr.Mode & typeMask {
	case typeDir:
		m.compareDir(o)
	case typeLink:
		if target, _ := m.f.ReadLink(o.id); string(target) != o.target {
			m.t.Fatalf("target %q, want %q", target, o.target)
		}
	case typeFile:
		n := 0
		m.f.FileChunks(o.id, 0, 1000, func(c Chunk) bool {
			n++
			if want, ok := o.chunks[c.Index]; !ok || want.Committed != c.Committed || !slices.Equal(want.Chain, c.Chain) || c.Inode != o.id {
				m.t.Fatalf("chunk %+v, want %+v", c, want)
			}
			m.compareShare(o, c)
			return true
		})
		if n != len(o.chunks) {
			m.t.Fatalf("%d chunks, want %d", n, len(o.chunks))
		}
	}
	names, _ := m.f.ListXattr(o.id, root)
	if len(names) != len(o.xattrs) || !slices.IsSortedFunc(names, slices.Compare[[]byte]) {
		m.t.Fatalf("attributes %s, want %d", names, len(o.xattrs))
	}
	for name, want := range o.xattrs {
		if value, kind := m.f.GetXattr(o.id, []byte(name), root); kind != proto.OK || string(value) != want {
			m.t.Fatalf("attribute %s: %d bytes, %v; want %d", name, len(value), kind, len(want))
		}
	}
}

// compareDir reads a directory in pages and by name.
func (m *model) compareDir(o *oracle) {
	m.t.Helper()
	seen := 0
	for cookie, more := uint64(0), true; more; {
		more = false
		m.f.ReadDir(o.id, cookie, func(e DirEntry) bool {
			child := o.names[string(e.Name)]
			if child == nil || child.id != e.Inode || e.Type != child.attr.Mode&typeMask || e.Cookie <= cookie {
				m.t.Fatalf("entry %+v in %v", e, o.id)
			}
			cookie, more = e.Cookie, true
			seen++
			return seen%3 != 0
		})
	}
	if seen != len(o.names) {
		m.t.Fatalf("%d entries in %v, want %d", seen, o.id, len(o.names))
	}
	for name, child := range o.names {
		if got := m.f.lookup(o.id, name); got != child.id {
			m.t.Fatalf("%s is %v, want %v", name, got, child.id)
		}
	}
	if parent, kind := m.f.Parent(o.id); kind != proto.OK || parent != o.parent.id {
		m.t.Fatalf("parent of %v is %v, want %v", o.id, parent, o.parent.id)
	}
}

func TestAgainstOracle(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := newModel(t, seed)
			for i := range 6000 {
				m.step()
				if i%500 == 0 {
					m.compare()
				}
			}
			m.compare()
			m.f.State = reload(t, m.f.State)
			m.compare()
		})
	}
}

// The same commands give the same state, also when some of them came as a
// checkpoint, and also through the log's bytes (L6).
func TestDeterminism(t *testing.T) {
	m := newModel(t, 5)
	for range 4000 {
		m.step()
	}
	want := m.f.Hash()
	for _, checkpoints := range []int{0, 1, 7} {
		g := newFixture(t)
		g.ok(&SetAttr{Header: g.header(root), Inode: top, Set: SetMode, Mode: 0o777})
		for i, c := range m.log {
			decoded, err := Decode(c.Op(), c.Encode(nil))
			if err != nil {
				t.Fatal(err)
			}
			g.Apply(0, decoded)
			if checkpoints > 0 && i%(len(m.log)/checkpoints) == 100 {
				g.State = reload(t, g.State)
			}
		}
		if got := g.Hash(); got != want {
			t.Errorf("with %d checkpoints: hash %x, want %x", checkpoints, got, want)
		}
	}
}
