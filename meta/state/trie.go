package state

import (
	"encoding/binary"
	"math/bits"
)

// A trie orders leaves by 63-bit keys. It is path-compressed: a node stands only where
// keys differ. A node looks at one digit of the key and has as many children as
// there are values of that digit, at most 64:
//
//	bitmap    8 bytes   which values have a child
//	place     8 bytes   the digit's place, and the key's bits above it
//	children  4 bytes each, in order of the digit
//
// The digits are bits 62-57, 56-51, ..., 8-3 and 2-0. A child is a leaf, which belongs
// to the trie's user and is below nodeBit, or a node: nodeBit and its block. A
// trie is named by its root, which is a child; 0 is an empty trie.
const (
	nodeBit  = 1 << 31
	nodeHead = 16
)

// keyer tells the key of a leaf. Leaves of one trie have different keys.
type keyer interface{ key(leaf uint32) uint64 }

// trie is what the operations need beside a root.
type trie struct {
	*arena
	keyer
}

// lastPlace marks the place of the digit of bits 2-0; other places carry the
// digit's lowest bit in their low 6 bits.
const lastPlace = 1 << 63

// placeOf gives the place of the digit where two keys first differ.
func placeOf(key, other uint64) uint64 {
	bit := 63 - bits.LeadingZeros64(key^other)
	if bit < 3 {
		return key>>3<<3 | lastPlace
	}
	shift := uint64(bit-3)/6*6 + 3
	return key>>(shift+6)<<(shift+6) | shift
}

// parse takes a place apart: prefix and key agree above bit top, the digit is the
// bits from shift up to top.
func parse(place uint64) (prefix uint64, shift, top uint) {
	if place&lastPlace != 0 {
		return place &^ lastPlace, 0, 3
	}
	shift = uint(place & 63)
	return place &^ 63, shift, shift + 6
}

func digit(key uint64, shift, top uint) uint { return uint(key >> shift & (1<<(top-shift) - 1)) }

func bitmapOf(node []byte) uint64 { return binary.LittleEndian.Uint64(node) }
func placeIn(node []byte) uint64  { return binary.LittleEndian.Uint64(node[8:]) }
func childOf(node []byte, i int) uint32 {
	return binary.LittleEndian.Uint32(node[nodeHead+4*i:])
}
func setChild(node []byte, i int, child uint32) {
	binary.LittleEndian.PutUint32(node[nodeHead+4*i:], child)
}

// below counts the children of smaller digits.
func below(bitmap uint64, digit uint) int { return bits.OnesCount64(bitmap & (1<<digit - 1)) }

// edge is where a child hangs: in a node, or as the root (node 0).
type edge struct {
	node  uint32
	index int
}

// replace hangs another child on an edge and gives the root of the trie.
func (t trie) replace(root uint32, e edge, child uint32) uint32 {
	if e.node == 0 {
		return child
	}
	setChild(t.mut(e.node&^nodeBit), e.index, child)
	return root
}

// insert adds a leaf whose key is not there yet and gives the new root.
func (t trie) insert(root uint32, key uint64, leaf uint32) uint32 {
	if root == 0 {
		return leaf
	}
	at, child := edge{}, root
	for child&nodeBit != 0 {
		node := t.block(child &^ nodeBit)
		prefix, shift, top := parse(placeIn(node))
		if key>>top != prefix>>top {
			return t.replace(root, at, t.fork(prefix, child, key, leaf))
		}
		d, bitmap := digit(key, shift, top), bitmapOf(node)
		if bitmap>>d&1 == 0 {
			return t.replace(root, at, t.grow(child, d, leaf))
		}
		at = edge{child, below(bitmap, d)}
		child = childOf(node, at.index)
	}
	return t.replace(root, at, t.fork(t.key(child), child, key, leaf))
}

// fork makes a node of two children.
func (t trie) fork(key uint64, child uint32, otherKey uint64, other uint32) uint32 {
	place := placeOf(key, otherKey)
	_, shift, top := parse(place)
	if otherKey < key {
		key, child, otherKey, other = otherKey, other, key, child
	}
	block := t.alloc(nodeHead + 2*4)
	node := t.mut(block)
	binary.LittleEndian.PutUint64(node, 1<<digit(key, shift, top)|1<<digit(otherKey, shift, top))
	binary.LittleEndian.PutUint64(node[8:], place)
	setChild(node, 0, child)
	setChild(node, 1, other)
	return block | nodeBit
}

// grow gives a node another child, which may move the node.
func (t trie) grow(name uint32, d uint, child uint32) uint32 {
	block := name &^ nodeBit
	bitmap := bitmapOf(t.block(block))
	n, i := bits.OnesCount64(bitmap), below(bitmap, d)
	block = t.resize(block, nodeHead+4*n, nodeHead+4*(n+1))
	node := t.mut(block)
	copy(node[nodeHead+4*(i+1):nodeHead+4*(n+1)], node[nodeHead+4*i:])
	setChild(node, i, child)
	binary.LittleEndian.PutUint64(node, bitmap|1<<d)
	return block | nodeBit
}

// shrink takes a child from a node of more than two, which may move the node.
func (t trie) shrink(name uint32, d uint) uint32 {
	block := name &^ nodeBit
	node := t.mut(block)
	bitmap := bitmapOf(node)
	n, i := bits.OnesCount64(bitmap), below(bitmap, d)
	copy(node[nodeHead+4*i:nodeHead+4*(n-1)], node[nodeHead+4*(i+1):])
	binary.LittleEndian.PutUint64(node, bitmap&^(1<<d))
	return t.resize(block, nodeHead+4*(n-1), nodeHead+4*(n-1)) | nodeBit
}

// resize moves used bytes of a block to one that suits the wanted size better, if
// there is such a class.
func (t trie) resize(block ref, used, wanted int) ref {
	if t.fits(block, wanted) {
		return block
	}
	moved := t.alloc(wanted)
	copy(t.mut(moved)[:used], t.block(block))
	t.release(block)
	return moved
}

// remove takes the leaf of a key out and gives the new root; leaf 0: there is none.
func (t trie) remove(root uint32, key uint64) (newRoot, leaf uint32) {
	var at, above edge
	child := root
	var d uint
	for child&nodeBit != 0 {
		node := t.block(child &^ nodeBit)
		_, shift, top := parse(placeIn(node))
		bitmap := bitmapOf(node)
		if d = digit(key, shift, top); bitmap>>d&1 == 0 {
			return root, 0
		}
		above, at = at, edge{child, below(bitmap, d)}
		child = childOf(node, at.index)
	}
	if child == 0 || t.key(child) != key {
		return root, 0
	}
	if at.node == 0 {
		return 0, child
	}
	node := t.block(at.node &^ nodeBit)
	if bits.OnesCount64(bitmapOf(node)) > 2 {
		return t.replace(root, above, t.shrink(at.node, d)), child
	}
	other := childOf(node, 1-at.index)
	t.release(at.node &^ nodeBit)
	return t.replace(root, above, other), child
}

// ceil finds the leaf with the smallest key that is not below the given one; leaf 0:
// there is none.
func (t trie) ceil(root uint32, key uint64) (leaf uint32, leafKey uint64) {
	next := uint32(0) // the nearest child to the right of the path
	for child := root; child != 0; {
		if child&nodeBit == 0 {
			if k := t.key(child); k >= key {
				return child, k
			}
			break
		}
		node := t.block(child &^ nodeBit)
		prefix, shift, top := parse(placeIn(node))
		if prefix>>top != key>>top {
			if prefix>>top > key>>top {
				return t.first(child)
			}
			break
		}
		d, bitmap := digit(key, shift, top), bitmapOf(node)
		i, n := below(bitmap, d), bits.OnesCount64(bitmap)
		if bitmap>>d&1 == 0 {
			if i < n {
				return t.first(childOf(node, i))
			}
			break
		}
		if i+1 < n {
			next = childOf(node, i+1)
		}
		child = childOf(node, i)
	}
	return t.first(next)
}

// first finds the leaf with the smallest key.
func (t trie) first(root uint32) (leaf uint32, key uint64) {
	if root == 0 {
		return 0, 0
	}
	for root&nodeBit != 0 {
		root = childOf(t.block(root&^nodeBit), 0)
	}
	return root, t.key(root)
}

// walk calls fn for the leaves in order of keys until it answers false. The trie must
// not be changed meanwhile.
func (t trie) walk(root uint32, fn func(leaf uint32) bool) bool {
	if root&nodeBit == 0 {
		return root == 0 || fn(root)
	}
	node := t.block(root &^ nodeBit)
	for i := range bits.OnesCount64(bitmapOf(node)) {
		if !t.walk(childOf(node, i), fn) {
			return false
		}
	}
	return true
}

// clear frees all nodes after calling fn for each leaf in order.
func (t trie) clear(root uint32, fn func(leaf uint32)) {
	if root&nodeBit == 0 {
		if root != 0 {
			fn(root)
		}
		return
	}
	for i := range bits.OnesCount64(bitmapOf(t.block(root &^ nodeBit))) {
		t.clear(childOf(t.block(root&^nodeBit), i), fn)
	}
	t.release(root &^ nodeBit)
}
