package sim

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// The bytes of a file tell which write they are from, so that a read can be understood: the
// byte at an offset is 0 where nothing was written, and else made of the number of the
// write, 1 to 127, and of the offset, so that bytes of another place are noticed. What is
// appended does not know its offset: there it is the number alone.

const maxWrites = 127 // of a file

// appended is the offset of what is appended.
const appended = -1

// key is the offset's part in a byte: byte i of what begins at off.
func key(off int64, i int) byte {
	if off == appended {
		return 0
	}
	return byte(uint64(off+int64(i))*0x9e3779b97f4a7c15>>57) & 0x7f
}

// pattern makes the n bytes of a write at off, or appended.
func pattern(number uint8, off int64, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = 0x80 | number ^ key(off, i)
	}
	return p
}

// run is so many bytes in a row of one write; number 0: nothing was written, or it was
// cut off; garbage: nobody wrote that.
type run struct {
	n      int64
	number uint8
}

const garbage = 255

// content is what a file has, or a part of it.
type content []run

// decode understands bytes that stand at off, or were appended.
func decode(p []byte, off int64) (c content) {
	for i := 0; i < len(p); i++ {
		number := uint8(0)
		switch b := p[i]; {
		case b >= 0x80:
			if number = b&0x7f ^ key(off, i); number == 0 {
				number = garbage
			}
		case b != 0:
			number = garbage
		default:
			n := zeros(p[i:])
			c = c.add(int64(n), 0)
			i += n - 1
			continue
		}
		c = c.add(1, number)
	}
	return c
}

// zeros counts them at the beginning: most of a file are holes.
func zeros(p []byte) (n int) {
	for ; len(p)-n >= 8 && binary.NativeEndian.Uint64(p[n:]) == 0; n += 8 {
	}
	for ; n < len(p) && p[n] == 0; n++ {
	}
	return n
}

func (c content) add(n int64, number uint8) content {
	switch {
	case n <= 0:
		return c
	case len(c) > 0 && c[len(c)-1].number == number:
		c[len(c)-1].n += n
		return c
	}
	return append(c, run{n, number})
}

func (c content) size() (n int64) {
	for _, r := range c {
		n += r.n
	}
	return n
}

// part is at most n bytes from off.
func (c content) part(off, n int64) (part content) {
	at := int64(0)
	for _, r := range c {
		from, to := max(at, off), min(at+r.n, off+n)
		part = part.add(to-from, r.number)
		at += r.n
	}
	return part
}

func (c content) String() string {
	var b strings.Builder
	for i, r := range c {
		if i == 12 {
			fmt.Fprintf(&b, " and %d more", len(c)-i)
			break
		}
		if r.number == garbage {
			fmt.Fprintf(&b, " %d*?", r.n)
		} else {
			fmt.Fprintf(&b, " %d*#%d", r.n, r.number)
		}
	}
	return strings.TrimSpace(b.String())
}

// state is content in a form that can be compared.
type state string

func (c content) state() state {
	b := make([]byte, 0, 6*len(c))
	for _, r := range c {
		b = append(b, r.number, byte(r.n), byte(r.n>>8), byte(r.n>>16), byte(r.n>>24))
	}
	return state(b)
}

func (s state) content() (c content) {
	for ; len(s) > 0; s = s[5:] {
		c = append(c, run{int64(s[1]) | int64(s[2])<<8 | int64(s[3])<<16 | int64(s[4])<<24, s[0]})
	}
	return c
}
