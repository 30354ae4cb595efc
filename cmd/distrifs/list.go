package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/cmd/internal/cli"
)

// lister is one run of ls.
type lister struct {
	long, recursive bool
	out             *bufio.Writer
	headings        bool // name each directory before its entries
	printed         bool // something was: the next heading stands off
	names           userNames
}

func addList(program *cli.Command, master *string) {
	c := program.Sub("ls", "list directories of a cluster")
	c.Args, c.MaxArgs = "[PATH...]", -1
	c.Long = "Lists like ls(1), one name a line, sorted. Without PATH it lists :/ ."
	c.Examples = "distrifs ls\ndistrifs ls -l -R localhost:9420:/docs"
	l := &lister{names: userNames{}}
	c.Flags().BoolVarP(&l.long, "long", "l", false, "mode, links, owner, group, size and time of modification too")
	c.Flags().BoolVarP(&l.recursive, "recursive", "R", false, "list what is below as well")
	c.Run = func(ctx context.Context, args []string) (err error) {
		if len(args) == 0 {
			args = []string{":/"}
		}
		l.out = bufio.NewWriter(os.Stdout)
		defer func() { err = errors.Join(err, l.out.Flush()) }()
		l.headings = len(args) > 1 || l.recursive
		return withRemotes(ctx, "ls", args, *master, func(c *client.Client, at location) error { return l.list(ctx, c, at) })
	}
}

func (l *lister) list(ctx context.Context, c *client.Client, at location) error {
	attr, err := c.Stat(ctx, at.path)
	if err != nil {
		return err
	}
	if attr.Mode&syscall.S_IFMT == syscall.S_IFDIR {
		return l.directory(ctx, c, at.path)
	}
	if attr, err = c.Lstat(ctx, at.path); err != nil {
		return err
	}
	return l.entries(ctx, c, []client.DirEntry{{Name: at.path, Inode: attr.Inode, Attr: &attr}})
}

func (l *lister) directory(ctx context.Context, c *client.Client, name string) error {
	entries, err := c.List(ctx, name)
	if err != nil {
		return err
	}
	if l.headings {
		if l.printed {
			fmt.Fprintln(l.out)
		}
		fmt.Fprintf(l.out, "%s:\n", printable(name))
	}
	l.printed = true
	if err := l.entries(ctx, c, entries); err != nil || !l.recursive {
		return err
	}
	for _, entry := range entries {
		if entry.Type == syscall.S_IFDIR {
			if err := l.directory(ctx, c, path.Join(name, entry.Name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// entries prints the entries of one directory; with -l in columns.
func (l *lister) entries(ctx context.Context, c *client.Client, entries []client.DirEntry) error {
	if !l.long {
		for _, entry := range entries {
			fmt.Fprintln(l.out, printable(entry.Name))
		}
		return nil
	}
	var width [4]int
	rows := make([][4]string, len(entries))
	for i, entry := range entries {
		a := entry.Attr
		rows[i] = [4]string{strconv.FormatUint(uint64(a.Nlink), 10), l.names.user(a.UID), l.names.group(a.GID), strconv.FormatUint(a.Size, 10)}
		for column, text := range rows[i] {
			width[column] = max(width[column], len(text))
		}
	}
	for i, entry := range entries {
		name := printable(entry.Name)
		if entry.Attr.Mode&syscall.S_IFMT == syscall.S_IFLNK {
			target, err := c.ReadLink(ctx, entry.Inode)
			if err != nil {
				return err
			}
			name += " -> " + printable(target)
		}
		row := rows[i]
		fmt.Fprintf(l.out, "%s %*s %-*s %-*s %*s %s %s\n", modeText(entry.Attr.Mode), width[0], row[0], width[1], row[1],
			width[2], row[2], width[3], row[3], timeText(entry.Attr.Mtime), name)
	}
	return nil
}

// modeText is the mode as ls -l shows it: "drwxr-xr-x".
func modeText(mode uint32) string {
	kind := map[uint32]byte{syscall.S_IFREG: '-', syscall.S_IFDIR: 'd', syscall.S_IFLNK: 'l', syscall.S_IFIFO: 'p',
		syscall.S_IFSOCK: 's', syscall.S_IFCHR: 'c', syscall.S_IFBLK: 'b'}[mode&syscall.S_IFMT]
	if kind == 0 {
		kind = '?'
	}
	text := []byte{kind}
	for i, letter := range []byte("rwxrwxrwx") {
		if mode>>(8-i)&1 == 0 {
			letter = '-'
		}
		text = append(text, letter)
	}
	for _, special := range []struct {
		bit  uint32
		at   int
		with byte // lower case: x is set as well
	}{{syscall.S_ISUID, 3, 's'}, {syscall.S_ISGID, 6, 's'}, {syscall.S_ISVTX, 9, 't'}} {
		if mode&special.bit == 0 {
			continue
		}
		if text[special.at] == 'x' {
			text[special.at] = special.with
		} else {
			text[special.at] = special.with - 'a' + 'A'
		}
	}
	return string(text)
}

// timeText shows the time of day within half a year, else the year, as ls does.
func timeText(t time.Time) string {
	if age := time.Since(t); age > 182*24*time.Hour || age < -time.Hour {
		return t.Format("Jan _2  2006")
	}
	return t.Format("Jan _2 15:04")
}

// printable keeps control characters of a name from the terminal.
func printable(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar }) {
		return strconv.Quote(name)
	}
	return name
}

// userNames remembers the names of users ("u0") and groups ("g0") of this machine.
type userNames map[string]string

func (n userNames) user(id uint32) string {
	return n.name('u', id, func(text string) (string, error) {
		u, err := user.LookupId(text)
		if err != nil {
			return "", err
		}
		return u.Username, nil
	})
}

func (n userNames) group(id uint32) string {
	return n.name('g', id, func(text string) (string, error) {
		g, err := user.LookupGroupId(text)
		if err != nil {
			return "", err
		}
		return g.Name, nil
	})
}

// name falls back to the number.
func (n userNames) name(kind byte, id uint32, lookup func(string) (string, error)) string {
	text := strconv.FormatUint(uint64(id), 10)
	key := string(kind) + text
	if n[key] == "" {
		name, err := lookup(text)
		if err != nil {
			name = text
		}
		n[key] = name
	}
	return n[key]
}
