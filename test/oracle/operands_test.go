package oracle

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// operand is one parameter of an operation: how it is written and read, drawn, and made
// simpler.
type operand struct {
	key     string
	format  func(c *call) string
	parse   func(c *call, value string) error
	draw    func(c *call, r *drawer)
	simpler func(c call) []call
}

// number is an operand that is an integer. It is made simpler by taking one of the
// values given, or half.
func number(key string, field func(c *call) *int64, draw func(r *drawer) int64, simple ...int64) operand {
	return operand{
		key:    key,
		format: func(c *call) string { return strconv.FormatInt(*field(c), 10) },
		parse: func(c *call, value string) (err error) {
			*field(c), err = strconv.ParseInt(value, 10, 64)
			return err
		},
		draw: func(c *call, r *drawer) { *field(c) = draw(r) },
		simpler: func(c call) (list []call) {
			v := *field(&c)
			for _, w := range append(simple, v/2, v-1) {
				if len(simple) > 0 && w < v && w >= 0 {
					d := c
					*field(&d) = w
					list = append(list, d)
				}
			}
			return list
		},
	}
}

// octal is a number that is written as permissions are.
func octal(key string, field func(c *call) *int64, draw func(r *drawer) int64, simple ...int64) operand {
	o := number(key, field, draw)
	o.format = func(c *call) string { return fmt.Sprintf("0%o", *field(c)) }
	o.parse = func(c *call, value string) (err error) {
		*field(c), err = strconv.ParseInt(value, 8, 64)
		return err
	}
	o.simpler = func(c call) (list []call) {
		if slices.Contains(simple, *field(&c)) {
			return nil
		}
		for _, w := range simple {
			d := c
			*field(&d) = w
			list = append(list, d)
		}
		return list
	}
	return o
}

// bit is one flag, or the value of a field within flags.
type bit struct {
	name  string
	value int64
}

// flagSet is an operand of flags in c.flags, written by name. zero names no flag at all.
func flagSet(key, zero string, bits []bit, draw func(r *drawer) int64) operand {
	return operand{
		key: key,
		format: func(c *call) string {
			var names []string
			rest := c.flags
			for _, b := range bits {
				if rest&b.value == b.value {
					names = append(names, b.name)
					rest &^= b.value
				}
			}
			if rest != 0 {
				names = append(names, fmt.Sprintf("%#x", rest))
			}
			if len(names) == 0 {
				return zero
			}
			return strings.Join(names, "|")
		},
		parse: func(c *call, value string) error {
			c.flags = 0
			for word := range strings.SplitSeq(value, "|") {
				i := slices.IndexFunc(bits, func(b bit) bool { return b.name == word })
				if i >= 0 {
					c.flags |= bits[i].value
				} else if n, err := strconv.ParseInt(word, 0, 64); err == nil {
					c.flags |= n
				} else if word != zero {
					return fmt.Errorf("no flag %q", word)
				}
			}
			return nil
		},
		draw: func(c *call, r *drawer) { c.flags = draw(r) },
		simpler: func(c call) (list []call) {
			for _, b := range bits {
				if c.flags&b.value == b.value && b.value != 0 {
					d := c
					d.flags &^= b.value
					list = append(list, d)
				}
			}
			return list
		},
	}
}

// text is an operand that is a string, quoted where it must be.
func text(key string, field func(c *call) *string, draw func(r *drawer) string) operand {
	return operand{
		key:    key,
		format: func(c *call) string { return quoted(*field(c)) },
		parse: func(c *call, value string) (err error) {
			*field(c), err = unquoted(value)
			return err
		},
		draw: func(c *call, r *drawer) { *field(c) = draw(r) },
		simpler: func(c call) (list []call) {
			s := *field(&c)
			if i := strings.LastIndexByte(s, '/'); i > 0 && i < len(s)-1 && key != "name" {
				d := c
				*field(&d) = s[i+1:]
				list = append(list, d)
			}
			return list
		},
	}
}

// quoted writes a string without spaces: c*N if it is long and one byte alone.
func quoted(s string) string {
	if len(s) > 40 && s == strings.Repeat(s[:1], len(s)) {
		return fmt.Sprintf("%c*%d", s[0], len(s))
	}
	plain := func(r rune) bool {
		return r > ' ' && r < 0x7f && r != '"' && r != '\\'
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return strings.ReplaceAll(strconv.QuoteToASCII(s), " ", `\x20`)
}

func unquoted(text string) (string, error) {
	if strings.HasPrefix(text, `"`) {
		return strconv.Unquote(text)
	}
	if len(text) > 2 && text[1] == '*' {
		n, err := strconv.Atoi(text[2:])
		return strings.Repeat(text[:1], n), err
	}
	return text, nil
}

// The operands there are. Several operations share each.
var (
	slotArg  = number("slot", func(c *call) *int64 { return &c.slot }, drawSlot)
	otherArg = number("other", func(c *call) *int64 { return &c.other }, drawSlot)
	viewArg  = number("view", func(c *call) *int64 { return &c.other }, func(r *drawer) int64 { return r.Int64N(views) })
	pathArg  = text("path", func(c *call) *string { return &c.path }, drawPath)
	toArg    = text("to", func(c *call) *string { return &c.to }, drawTo)
	// The target of a symlink, which is any string.
	targetArg = text("target", func(c *call) *string { return &c.to }, drawTarget)
	nameArg   = text("name", func(c *call) *string { return &c.name }, drawAttribute)
	atArg     = number("at", func(c *call) *int64 { return &c.at }, drawOffset, 0, 4096, chunkSize)
	toAtArg   = number("toat", func(c *call) *int64 { return &c.toAt }, drawOffset, 0, 4096, chunkSize)
	lengthArg = number("size", func(c *call) *int64 { return &c.size }, drawLength, 0, 1, 10, 4096, chunkSize)
	pageArg   = number("at", func(c *call) *int64 { return &c.at }, func(r *drawer) int64 { return drawOffset(r) &^ 4095 }, 0)
	withinArg = number("at", func(c *call) *int64 { return &c.at }, func(r *drawer) int64 { return r.Int64N(viewSize) }, 0)
	moveArg   = number("at", func(c *call) *int64 { return &c.at }, func(r *drawer) int64 { return drawOffset(r) - 5000*int64(r.IntN(2)) }, 0)
	sizeArg   = number("size", func(c *call) *int64 { return &c.size }, drawSize, 0, 1, 10, 4096)
	smallArg  = number("size", func(c *call) *int64 { return &c.size }, func(r *drawer) int64 { return r.Int64N(300) * int64(r.IntN(4)) }, 0, 1)
	fillArg   = number("fill", func(c *call) *int64 { return &c.fill }, func(r *drawer) int64 { return 1 + r.Int64N(250) })
	permArg   = octal("mode", func(c *call) *int64 { return &c.mode }, drawPermissions, 0o666, 0o777)
	kindArg   = octal("mode", func(c *call) *int64 { return &c.mode }, func(r *drawer) int64 {
		return drawPermissions(r) | pick[int64](r, unix.S_IFREG, unix.S_IFIFO, unix.S_IFSOCK, unix.S_IFCHR, unix.S_IFBLK, 0)
	}, unix.S_IFREG|0o666, unix.S_IFIFO|0o666)
	rightsArg = octal("mode", func(c *call) *int64 { return &c.mode }, func(r *drawer) int64 { return r.Int64N(8) }, 0)
	uidArg    = number("uid", func(c *call) *int64 { return &c.uid }, func(r *drawer) int64 { return pick[int64](r, -1, 0, 1001, 1002) }, 0)
	gidArg    = number("gid", func(c *call) *int64 { return &c.gid }, func(r *drawer) int64 { return pick[int64](r, -1, 0, 1001, 1002, 2001) }, 0)
	atimeArg  = number("atime", func(c *call) *int64 { return &c.atime }, drawTime, timeOmit, timeNow)
	mtimeArg  = number("mtime", func(c *call) *int64 { return &c.mtime }, drawTime, timeOmit, timeNow)

	processArg  = number("process", func(c *call) *int64 { return &c.process }, func(r *drawer) int64 { return r.Int64N(ofMount) }, 0)
	lockAtArg   = number("at", func(c *call) *int64 { return &c.at }, drawLockAt, 0, 1)
	lockSizeArg = number("size", func(c *call) *int64 { return &c.size }, drawLockSize, 0, 1)
	lockArg     = flagSet("flags", "F_RDLCK", []bit{{"F_WRLCK", unix.F_WRLCK}, {"F_UNLCK", unix.F_UNLCK}, {"WAIT", lockWaits}, {"OFD", lockOFD}, {"SEEK_END", lockEnd}, {"SEEK_CUR", lockHere}}, drawLock)
	flockArg    = flagSet("flags", "0", []bit{{"LOCK_SH", unix.LOCK_SH}, {"LOCK_EX", unix.LOCK_EX}, {"LOCK_UN", unix.LOCK_UN}, {"WAIT", lockWaits}},
		func(r *drawer) int64 {
			return pick[int64](r, unix.LOCK_SH, unix.LOCK_EX, unix.LOCK_EX, unix.LOCK_UN) | pick[int64](r, 0, 0, lockWaits)
		})

	openArg = flagSet("flags", "O_RDONLY", []bit{
		{"O_RDWR", unix.O_RDWR}, {"O_WRONLY", unix.O_WRONLY}, {"O_CREAT", unix.O_CREAT}, {"O_EXCL", unix.O_EXCL}, {"O_TRUNC", unix.O_TRUNC},
		{"O_APPEND", unix.O_APPEND}, {"O_TMPFILE", unix.O_TMPFILE}, {"O_DIRECTORY", unix.O_DIRECTORY}, {"O_NOFOLLOW", unix.O_NOFOLLOW},
		{"O_DIRECT", unix.O_DIRECT}, {"O_SYNC", unix.O_SYNC}, {"O_DSYNC", unix.O_DSYNC}, {"O_PATH", unix.O_PATH}, {"O_NOATIME", unix.O_NOATIME},
	}, drawOpen)
	renameArg = flagSet("flags", "0", []bit{{"NOREPLACE", unix.RENAME_NOREPLACE}, {"EXCHANGE", unix.RENAME_EXCHANGE}, {"WHITEOUT", unix.RENAME_WHITEOUT}},
		func(r *drawer) int64 {
			return pick[int64](r, 0, 0, 0, unix.RENAME_NOREPLACE, unix.RENAME_EXCHANGE, unix.RENAME_EXCHANGE, unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE)
		})
	atFlagArg = flagSet("flags", "0", []bit{{"NOFOLLOW", unix.AT_SYMLINK_NOFOLLOW}, {"FOLLOW", unix.AT_SYMLINK_FOLLOW}, {"EACCESS", unix.AT_EACCESS}},
		func(r *drawer) int64 { return pick[int64](r, 0, 0, unix.AT_SYMLINK_NOFOLLOW) })
	linkArg = flagSet("flags", "0", []bit{{"FOLLOW", unix.AT_SYMLINK_FOLLOW}},
		func(r *drawer) int64 { return pick[int64](r, 0, 0, unix.AT_SYMLINK_FOLLOW) })
	accessArg = flagSet("flags", "0", []bit{{"NOFOLLOW", unix.AT_SYMLINK_NOFOLLOW}, {"EACCESS", unix.AT_EACCESS}},
		func(r *drawer) int64 { return pick[int64](r, 0, unix.AT_EACCESS, unix.AT_SYMLINK_NOFOLLOW) })
	xattrArg = flagSet("flags", "0", []bit{{"CREATE", unix.XATTR_CREATE}, {"REPLACE", unix.XATTR_REPLACE}},
		func(r *drawer) int64 {
			return pick[int64](r, 0, 0, 0, unix.XATTR_CREATE, unix.XATTR_REPLACE, unix.XATTR_CREATE|unix.XATTR_REPLACE)
		})
	whenceArg = flagSet("whence", "SET", []bit{{"CUR", unix.SEEK_CUR}, {"END", unix.SEEK_END}},
		func(r *drawer) int64 { return pick[int64](r, unix.SEEK_SET, unix.SEEK_CUR, unix.SEEK_END) })
	seekArg = flagSet("whence", "0", []bit{{"DATA", seekData}, {"HOLE", seekHole}},
		func(r *drawer) int64 { return pick[int64](r, seekData, seekHole) })
	allocateArg = flagSet("flags", "0", []bit{{"KEEP_SIZE", unix.FALLOC_FL_KEEP_SIZE}, {"PUNCH_HOLE", unix.FALLOC_FL_PUNCH_HOLE}, {"ZERO_RANGE", unix.FALLOC_FL_ZERO_RANGE}, {"COLLAPSE_RANGE", unix.FALLOC_FL_COLLAPSE_RANGE}, {"INSERT_RANGE", unix.FALLOC_FL_INSERT_RANGE}},
		func(r *drawer) int64 {
			return pick[int64](r, 0, unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE,
				unix.FALLOC_FL_ZERO_RANGE, unix.FALLOC_FL_ZERO_RANGE|unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_PUNCH_HOLE)
		})
	vectorArg = flagSet("flags", "0", []bit{{"RWF_DSYNC", unix.RWF_DSYNC}, {"RWF_SYNC", unix.RWF_SYNC}, {"RWF_APPEND", unix.RWF_APPEND}, {"RWF_HIPRI", unix.RWF_HIPRI}},
		func(r *drawer) int64 {
			return pick[int64](r, 0, 0, unix.RWF_DSYNC, unix.RWF_SYNC, unix.RWF_APPEND, unix.RWF_APPEND, unix.RWF_HIPRI)
		})
)

// seekData and seekHole stand for SEEK_DATA and SEEK_HOLE, which are no flags.
const (
	seekData = 1
	seekHole = 2
)
