package oracle

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// entry is one of getdents64.
type entry struct {
	name   string
	kind   byte
	cookie int64 // where the next one is
}

// entries asks once for as many as fit.
func entries(fd, size int) (list []entry, err error) {
	buffer := make([]byte, size)
	n, err := unix.Getdents(fd, buffer)
	if err != nil {
		return nil, err
	}
	for rest := buffer[:n]; len(rest) > 0; {
		length := binary.NativeEndian.Uint16(rest[16:])
		name, _, _ := strings.Cut(string(rest[19:length]), "\x00")
		list = append(list, entry{name: name, kind: rest[18], cookie: int64(binary.NativeEndian.Uint64(rest[8:]))})
		rest = rest[length:]
	}
	return list, nil
}

// listing reads a folder to its end, and gives its names in order.
func listing(fd int) answer {
	var all []entry
	for {
		more, err := entries(fd, 32<<10)
		if err != nil {
			return result(0, err)
		}
		if len(more) == 0 {
			return named(all)
		}
		all = append(all, more...)
	}
}

func named(all []entry) answer {
	names := make([]string, len(all))
	for i, e := range all {
		names[i] = fmt.Sprintf("%q:%d", e.name, e.kind)
	}
	slices.Sort(names)
	return answer{n: int64(len(names)), data: strings.Join(names, " ")}
}

// openFolder opens one for a call that lists it, with the worker's rights.
func openFolder(s *side, c *call, f func(fd int) answer) answer {
	dir, path, ok := s.at(c.mount, c.path)
	if !ok {
		return skip
	}
	fd, err := unix.Openat(dir, path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return result(0, err)
	}
	defer unix.Close(fd)
	return f(fd)
}

func list(s *side, c *call) answer { return openFolder(s, c, listing) }

// listSlot is rewinddir, and all that is there now. A folder that was removed is no folder to the kernel that
// removed it, and an empty one to others.
func listSlot(s *side, c *call) answer {
	f := s.slots[c.slot]
	var st unix.Stat_t
	if !f.used || f.kind != unix.S_IFDIR || unix.Fstat(f.fd, &st) != nil || st.Nlink == 0 {
		return skip
	}
	if _, err := unix.Seek(f.fd, 0, unix.SEEK_SET); err != nil {
		return result(0, err)
	}
	return listing(f.fd)
}

// pieces reads a folder a few entries at a time, jumps about between places it has been
// at, and goes on from there: each entry comes once, behind the one it came behind before.
func pieces(s *side, c *call) answer {
	return openFolder(s, c, func(fd int) answer {
		r := rand.New(rand.NewPCG(uint64(c.fill), 2))
		var seen []entry
		at := 0 // how many of seen lie before the position
		for {
			more, err := entries(fd, 300) // one name of 255 bytes fits
			if err != nil {
				return result(0, err)
			}
			for _, e := range more {
				if at < len(seen) && seen[at] != e {
					return answer{data: fmt.Sprintf("behind entry %d came %v, and now %v", at, seen[at], e)}
				}
				if at == len(seen) {
					seen = append(seen, e)
				}
				at++
			}
			if len(more) == 0 {
				if at != len(seen) {
					return answer{data: fmt.Sprintf("there were %d entries, and now %d", len(seen), at)}
				}
				return named(seen)
			}
			if r.IntN(4) != 0 {
				continue
			}
			at = r.IntN(len(seen) + 1)
			cookie := int64(0)
			if at > 0 {
				cookie = seen[at-1].cookie
			}
			if _, err := unix.Seek(fd, cookie, unix.SEEK_SET); err != nil {
				return result(0, err)
			}
		}
	})
}
