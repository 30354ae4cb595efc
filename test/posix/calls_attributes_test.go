package posix

import (
	"fmt"
	"math"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// attributeCalls read and change attributes. Where a path will do, so does #N.
var attributeCalls = map[string]call{
	"chmod": func(_ *world, a *arguments) (string, error) {
		if a.peekFD() {
			return "", unix.Fchmod(a.fd(), a.mode())
		}
		return "", unix.Chmod(a.text(), a.mode())
	},
	// chown PATH UID GID, -1 for what stays
	"chown": func(_ *world, a *arguments) (string, error) {
		if a.peekFD() {
			return "", unix.Fchown(a.fd(), int(a.number()), int(a.number()))
		}
		return "", unix.Chown(a.text(), int(a.number()), int(a.number()))
	},
	"lchown": func(_ *world, a *arguments) (string, error) {
		return "", unix.Lchown(a.text(), int(a.number()), int(a.number()))
	},
	"truncate": func(_ *world, a *arguments) (string, error) {
		if a.peekFD() {
			return "", unix.Ftruncate(a.fd(), a.number())
		}
		return "", unix.Truncate(a.text(), a.number())
	},
	// utimens PATH ATIME MTIME, each SECONDS[.NANOSECONDS], now or omit
	"utimens": func(_ *world, a *arguments) (string, error) {
		return "", unix.UtimesNanoAt(unix.AT_FDCWD, a.path(), []unix.Timespec{timeOf(a), timeOf(a)}, 0)
	},
	"lutimens": func(_ *world, a *arguments) (string, error) {
		return "", unix.UtimesNanoAt(unix.AT_FDCWD, a.text(), []unix.Timespec{timeOf(a), timeOf(a)}, unix.AT_SYMLINK_NOFOLLOW)
	},
	// stat PATH FIELD...: the fields of statFields
	"stat": func(_ *world, a *arguments) (string, error) {
		var st unix.Stat_t
		if a.peekFD() {
			return fields(a, &st, unix.Fstat(a.fd(), &st))
		}
		return fields(a, &st, unix.Stat(a.text(), &st))
	},
	"lstat": func(_ *world, a *arguments) (string, error) {
		var st unix.Stat_t
		return fields(a, &st, unix.Lstat(a.text(), &st))
	},
	// born PATH tells whether statx knows the time of birth, and that it is not in
	// the future and not behind ctime.
	"born": func(_ *world, a *arguments) (string, error) {
		var st unix.Statx_t
		err := unix.Statx(unix.AT_FDCWD, a.text(), unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st)
		birth := time.Unix(st.Btime.Sec, int64(st.Btime.Nsec))
		known := st.Mask&unix.STATX_BTIME != 0 && !birth.After(time.Now()) && !birth.After(time.Unix(st.Ctime.Sec, int64(st.Ctime.Nsec)))
		return fmt.Sprint(known), err
	},
	// statx PATH MASK, for its errnos
	"statx": func(_ *world, a *arguments) (string, error) {
		var st unix.Statx_t
		return "", unix.Statx(unix.AT_FDCWD, a.text(), 0, a.flags(nil), &st)
	},
	// access PATH MODE [FLAGS], mode as rwx, or f
	"access": func(_ *world, a *arguments) (string, error) {
		path, mode, flags := a.text(), 0, 0
		for _, c := range a.text() {
			mode |= map[rune]int{'r': unix.R_OK, 'w': unix.W_OK, 'x': unix.X_OK, 'f': unix.F_OK, '?': 0x80}[c]
		}
		if a.more() {
			flags = a.flags(atFlags)
		}
		if flags == 0 {
			return "", unix.Access(path, uint32(mode))
		}
		return "", unix.Faccessat2(unix.AT_FDCWD, path, uint32(mode), flags)
	},
	// mark PATH... remembers the times of files, and lets some time pass.
	"mark": func(w *world, a *arguments) (string, error) {
		for a.more() {
			var st unix.Stat_t
			path := a.text()
			if err := unix.Lstat(path, &st); err != nil {
				return "", err
			}
			w.marks[path] = st
		}
		time.Sleep(10 * time.Millisecond)
		return "", nil
	},
	// changed PATH [MARK] tells which times are later than at the mark.
	"changed": func(w *world, a *arguments) (string, error) {
		var now unix.Stat_t
		path := a.text()
		if err := unix.Lstat(path, &now); err != nil {
			return "", err
		}
		if a.more() {
			path = a.text()
		}
		then, ok := w.marks[path]
		if !ok {
			a.bad("%s was not marked", path)
		}
		var changed []string
		for _, time := range []struct {
			name      string
			then, now unix.Timespec
		}{{"atime", then.Atim, now.Atim}, {"mtime", then.Mtim, now.Mtim}, {"ctime", then.Ctim, now.Ctim}} {
			if time.now.Nano() > time.then.Nano() {
				changed = append(changed, time.name)
			} else if time.now != time.then {
				changed = append(changed, "earlier-"+time.name)
			}
		}
		return list(changed), nil
	},
	// statfs PATH FIELD...
	"statfs": func(_ *world, a *arguments) (string, error) {
		var st unix.Statfs_t
		err := error(nil)
		if a.peekFD() {
			err = unix.Fstatfs(a.fd(), &st)
		} else {
			err = unix.Statfs(a.text(), &st)
		}
		var values []string
		for a.more() {
			switch field := a.text(); field {
			case "namelen":
				values = append(values, fmt.Sprint(st.Namelen))
			case "space": // is there some, and no more free than there is
				values = append(values, fmt.Sprint(st.Blocks > 0 && st.Bavail > 0 && st.Bavail <= st.Bfree && st.Bfree <= st.Blocks && st.Bsize > 0))
			case "inodes":
				values = append(values, fmt.Sprint(st.Files > 0 && st.Ffree > 0 && st.Ffree < st.Files))
			default:
				a.bad("no field %s", field)
			}
		}
		return strings.Join(values, " "), err
	},
}

func timeOf(a *arguments) (ts unix.Timespec) {
	switch word := a.text(); word {
	case "now":
		ts.Nsec = unix.UTIME_NOW
	case "omit":
		ts.Nsec = unix.UTIME_OMIT
	case "max":
		ts.Sec = math.MaxInt32 * 4
	default:
		if _, err := fmt.Sscanf(strings.Replace(word, ".", " ", 1)+" 0", "%d %d", &ts.Sec, &ts.Nsec); err != nil {
			a.bad("%s is no time: %v", word, err)
		}
	}
	return ts
}

// fields prints those that the rest of the arguments names.
func fields(a *arguments, st *unix.Stat_t, err error) (string, error) {
	var values []string
	for a.more() {
		field := a.text()
		format := statFields[field]
		if format == nil {
			a.bad("no field %s", field)
		}
		values = append(values, format(st))
	}
	return strings.Join(values, " "), err
}

var statFields = map[string]func(*unix.Stat_t) string{
	"mode":   func(st *unix.Stat_t) string { return fmt.Sprintf("%04o", st.Mode&0o7777) },
	"nlink":  func(st *unix.Stat_t) string { return fmt.Sprint(st.Nlink) },
	"uid":    func(st *unix.Stat_t) string { return fmt.Sprint(st.Uid) },
	"gid":    func(st *unix.Stat_t) string { return fmt.Sprint(st.Gid) },
	"size":   func(st *unix.Stat_t) string { return fmt.Sprint(st.Size) },
	"blocks": func(st *unix.Stat_t) string { return fmt.Sprint(st.Blocks) },
	"rdev":   func(st *unix.Stat_t) string { return fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)) },
	"atime":  func(st *unix.Stat_t) string { return fmt.Sprintf("%d.%d", st.Atim.Sec, st.Atim.Nsec) },
	"mtime":  func(st *unix.Stat_t) string { return fmt.Sprintf("%d.%d", st.Mtim.Sec, st.Mtim.Nsec) },
	"type": func(st *unix.Stat_t) string {
		for name, bits := range fileTypes {
			if st.Mode&unix.S_IFMT == uint32(bits) {
				return name
			}
		}
		return "unknown"
	},
}
