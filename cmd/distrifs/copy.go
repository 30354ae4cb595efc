package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/cmd/internal/cli"
	"golang.org/x/sync/errgroup"
)

const (
	parallelFiles = 8       // files copied at once by cp -r
	parallelParts = 4       // parts of one file at once
	partSize      = 4 << 20 // bytes of a part of a copy within or between clusters
)

// copier is one run of cp.
type copier struct {
	recursive bool // folders too, and symlinks as links
	keep      bool // mode, times and, where permitted, owner

	src, dst sides
	progress *progress
	files    *errgroup.Group               // copies of regular files under way
	finish   []func(context.Context) error // attributes of directories, to be set when all is in them
}

// sides of a copy may change from source to source.
type sides struct {
	place  place
	client *client.Client // nil: local
}

func addCopy(program *cli.Command, master *string) {
	c := program.Sub("cp", "copy files to, from or within clusters")
	c.Args, c.MinArgs, c.MaxArgs = "SRC... DST", 2, -1
	c.Long = `Copies like cp(1): into DST if it is a directory, else onto it. Chunks travel in
parallel, and a bar shows the progress on a terminal. When it ends without an
error, every byte is on all replicas of its chunk.`
	c.Examples = `distrifs cp ./document.pdf localhost:9420:/docs/
distrifs cp -r -p :/docs ./backup
distrifs cp -r :/docs otherhost:9420:/docs`
	cp := &copier{}
	c.Flags().BoolVarP(&cp.recursive, "recursive", "r", false, "copy directories with all they hold, and symlinks as links")
	c.Flags().BoolVarP(&cp.keep, "preserve", "p", false, "keep mode and times, and the owner where permitted")
	c.Run = func(ctx context.Context, args []string) error { return cp.run(ctx, args, *master) }
}

func (cp *copier) run(ctx context.Context, args []string, master string) (err error) {
	conns := newConnections("cp")
	defer func() { err = errors.Join(err, conns.close()) }()
	dst := parseLocation(args[len(args)-1], master)
	if cp.dst, err = openSide(ctx, conns, dst); err != nil {
		return err
	}
	into, err := cp.destination(ctx, dst, len(args)-1)
	if err != nil {
		return err
	}
	cp.progress = newProgress(os.Stderr)
	defer cp.progress.finish()
	for _, arg := range args[:len(args)-1] {
		src := parseLocation(arg, master)
		if !src.remote() && !dst.remote() {
			return cli.Usagef("neither %s nor %s is a remote path: cp(1) copies on this machine; a remote path is HOST:PORT:/path or :/path", src, dst)
		}
		if cp.src, err = openSide(ctx, conns, src); err != nil {
			return err
		}
		if err := cp.source(ctx, src, dst, into); err != nil {
			return err
		}
	}
	return nil
}

func openSide(ctx context.Context, conns *connections, l location) (sides, error) {
	if !l.remote() {
		return sides{place: localPlace{}}, nil
	}
	c, err := conns.to(ctx, l.master)
	return sides{place: remotePlace{c: c, cred: ownCred()}, client: c}, err
}

// destination tells whether the copies go into DST, a directory, or onto it.
func (cp *copier) destination(ctx context.Context, dst location, sources int) (into bool, err error) {
	at, err := cp.dst.place.stat(ctx, dst.path, true)
	switch {
	case err == nil && at.isDir():
		return true, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return false, err
	case sources > 1 || dst.folder && !(cp.recursive && err != nil):
		return false, fmt.Errorf("%s: not a directory: make it first, with mkdir", dst)
	}
	return false, nil
}

// source copies one SRC with all below it.
func (cp *copier) source(ctx context.Context, src, dst location, into bool) error {
	i, err := cp.src.place.stat(ctx, src.path, !cp.recursive)
	if err != nil {
		return err
	}
	if i.isDir() && !cp.recursive {
		return fmt.Errorf("%s: is a directory: -r copies directories", src)
	}
	to := dst.path
	if base := cp.src.place.base(src.path); into && base != "/" && base != "." && base != ".." {
		to = cp.dst.place.join(to, base)
	}
	if err := cp.refuseItself(src.path, to, i); err != nil {
		return err
	}
	if cp.progress.shown() {
		total, err := cp.total(ctx, src.path, i)
		if err != nil {
			return err
		}
		cp.progress.expect(total)
	}
	var group context.Context
	cp.files, group = errgroup.WithContext(ctx)
	cp.files.SetLimit(parallelFiles)
	cp.finish = nil
	err = cp.tree(group, src.path, to, i)
	if waited := cp.files.Wait(); waited != nil {
		err = waited // the first failure; that of the walk may be its consequence
	}
	for _, finish := range slices.Backward(cp.finish) {
		if err == nil {
			err = finish(ctx)
		}
	}
	return err
}

// refuseItself keeps a directory from being copied into itself without end.
func (cp *copier) refuseItself(from, to string, i info) error {
	if cp.src.client == cp.dst.client && i.isDir() && (to == from || strings.HasPrefix(to, strings.TrimSuffix(from, "/")+"/")) {
		return fmt.Errorf("%s: a directory cannot be copied into itself, %s", from, to)
	}
	return nil
}

// tree copies whatever is at from. Regular files are copied in the background.
func (cp *copier) tree(ctx context.Context, from, to string, i info) error {
	switch {
	case i.isDir():
		return cp.directory(ctx, from, to, i)
	case i.isLink():
		return cp.link(ctx, from, to, i)
	case i.isRegular():
		there, err := cp.dst.place.stat(ctx, to, true)
		switch {
		case err == nil && there.id == i.id:
			return fmt.Errorf("%s and %s are the same file", from, to)
		case err == nil && there.isDir():
			return fmt.Errorf("%s: a directory is there: a file cannot replace it", to)
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return err
		}
		cp.files.Go(func() error { return cp.file(ctx, from, to, i) })
		return nil
	default:
		return fmt.Errorf("%s: neither file, directory nor symlink: it cannot be copied", from)
	}
}

func (cp *copier) directory(ctx context.Context, from, to string, i info) error {
	names, err := cp.src.place.list(ctx, from)
	if err != nil {
		return err
	}
	there, err := cp.dst.place.stat(ctx, to, true)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := cp.makeDirectory(ctx, to, i); err != nil {
			return err
		}
	case err != nil:
		return err
	case !there.isDir():
		return fmt.Errorf("%s: not a directory: the directory %s cannot replace it", to, from)
	}
	if cp.keep {
		cp.finish = append(cp.finish, func(ctx context.Context) error { return cp.dst.place.preserve(ctx, to, i) })
	}
	for _, name := range names {
		below := cp.src.place.join(from, name)
		child, err := cp.src.place.stat(ctx, below, false)
		if err != nil {
			return err
		}
		if err := cp.tree(ctx, below, cp.dst.place.join(to, name), child); err != nil {
			return err
		}
	}
	return nil
}

// makeDirectory makes it writable for us until all is in it.
func (cp *copier) makeDirectory(ctx context.Context, to string, i info) error {
	if err := cp.dst.place.mkdir(ctx, to, i.perm()|0o700); err != nil {
		return err
	}
	if i.perm()&0o700 == 0o700 || cp.keep {
		return nil
	}
	made, err := cp.dst.place.stat(ctx, to, false)
	if err != nil {
		return err
	}
	mode := made.perm() &^ (0o700 &^ i.perm())
	cp.finish = append(cp.finish, func(ctx context.Context) error { return cp.dst.place.chmod(ctx, to, mode) })
	return nil
}

func (cp *copier) link(ctx context.Context, from, to string, i info) error {
	target, err := cp.src.place.readLink(ctx, from)
	if err != nil {
		return err
	}
	there, err := cp.dst.place.stat(ctx, to, false)
	switch {
	case err == nil && there.isDir():
		return fmt.Errorf("%s: a directory is there: a symlink cannot replace it", to)
	case err == nil && there.id == i.id:
		return fmt.Errorf("%s and %s are the same file", from, to)
	case err == nil:
		err = cp.dst.place.remove(ctx, to)
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	}
	if err == nil {
		err = cp.dst.place.symlink(ctx, target, to)
	}
	if err == nil && cp.keep {
		err = cp.dst.place.preserve(ctx, to, i)
	}
	return err
}

func (cp *copier) file(ctx context.Context, from, to string, i info) error {
	advance := cp.progress.file()
	options := client.TransferOptions{Parallel: parallelParts, Progress: func(done, _ int64) { advance(done) }}
	var err error
	switch {
	case cp.src.client == nil:
		err = cp.dst.client.Upload(ctx, from, to, options)
	case cp.dst.client == nil:
		err = cp.src.client.Download(ctx, from, to, options)
	default:
		err = cp.between(ctx, from, to, i)
	}
	if err != nil {
		return fmt.Errorf("copy %s to %s: %w", from, to, err)
	}
	advance(i.size)
	if cp.keep {
		return cp.dst.place.preserve(ctx, to, i)
	}
	return nil
}

// between copies a file within a cluster, by sharing its chunks, or from one to another,
// several parts at once.
func (cp *copier) between(ctx context.Context, from, to string, i info) (err error) {
	src, err := cp.src.client.OpenFile(ctx, from, syscall.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := cp.dst.client.OpenFile(ctx, to, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_TRUNC, i.perm())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	if cp.src.client == cp.dst.client {
		return share(ctx, src, dst, i.size)
	}
	parts, ctx := errgroup.WithContext(ctx)
	parts.SetLimit(parallelParts)
	for off := int64(0); off < i.size && ctx.Err() == nil; off += partSize {
		parts.Go(func() error {
			part := make([]byte, min(partSize, i.size-off))
			n, err := src.ReadAtContext(ctx, part, off)
			if err != nil && err != io.EOF {
				return err
			}
			_, err = dst.WriteAtContext(ctx, part[:n], off)
			return err
		})
	}
	return parts.Wait()
}

// share copies a file of a cluster as cp does on a mount: whole chunks cost nothing, and holes
// stay holes.
func share(ctx context.Context, src, dst *client.File, size int64) error {
	for off := int64(0); off < size; {
		n, err := src.CopyRange(ctx, dst, off, off, size-off)
		if n == 0 || err != nil {
			return err
		}
		off += n
	}
	return nil
}

// total adds up the bytes below a path, for the progress bar.
func (cp *copier) total(ctx context.Context, name string, i info) (int64, error) {
	if i.isRegular() {
		return i.size, nil
	}
	if !i.isDir() {
		return 0, nil
	}
	names, err := cp.src.place.list(ctx, name)
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, below := range names {
		child := cp.src.place.join(name, below)
		ci, err := cp.src.place.stat(ctx, child, false)
		if err != nil {
			return 0, err
		}
		n, err := cp.total(ctx, child, ci)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}
