package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/cmd/internal/cli"
)

// location is a path of a command line: of this machine, or of a cluster.
type location struct {
	text   string // as the user wrote it
	master string // host:port; empty: local
	path   string // remote paths are absolute and clean
	folder bool   // written with a slash at the end: it has to be a directory
}

func (l location) remote() bool { return l.master != "" }

func (l location) String() string { return l.text }

// parseLocation tells HOST:PORT:/path, HOST:/path and :/path from local paths. A
// local path with ":/" in it is written with ./ in front.
func parseLocation(text, defaultMaster string) location {
	local := location{text: text, path: text, folder: strings.HasSuffix(text, "/")}
	host, rest, ok := strings.Cut(text, ":/")
	if !ok || strings.Contains(host, "/") {
		return local
	}
	l := location{text: text, path: path.Clean("/" + rest), folder: local.folder}
	switch {
	case host == "":
		l.master = defaultMaster
	case hasPort(host):
		l.master = host
	default:
		l.master = net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(defaultPort))
	}
	return l
}

func hasPort(host string) bool {
	_, port, err := net.SplitHostPort(host)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

// parseRemote is for commands that work on clusters alone.
func parseRemote(text, defaultMaster string) (location, error) {
	l := parseLocation(text, defaultMaster)
	if !l.remote() {
		suggestion := ":" + path.Clean("/"+text[strings.LastIndex(text, ":")+1:])
		return l, cli.Usagef("%s is not a remote path: write HOST:PORT:/path, or %s for the master %s", text, suggestion, defaultMaster)
	}
	return l, nil
}

func parseRemotes(texts []string, defaultMaster string) ([]location, error) {
	list := make([]location, len(texts))
	for i, text := range texts {
		var err error
		if list[i], err = parseRemote(text, defaultMaster); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// connections are the clients of one command, one a master. They are opened and
// closed by one goroutine.
type connections struct {
	clients map[string]*client.Client
	verb    string // who we are, for the master's list of sessions
}

func newConnections(verb string) *connections {
	return &connections{clients: map[string]*client.Client{}, verb: verb}
}

func (c *connections) to(ctx context.Context, master string) (*client.Client, error) {
	if open := c.clients[master]; open != nil {
		return open, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	opened, err := client.Dial(ctx, master, client.Options{Name: fmt.Sprintf("%s: distrifs %s, pid %d", host, c.verb, os.Getpid()), Cred: ownCred()})
	if err != nil {
		return nil, err
	}
	c.clients[master] = opened
	return opened, nil
}

// close ends the sessions; an error means that something written did not arrive.
func (c *connections) close() error {
	var errs []error
	for _, open := range c.clients {
		errs = append(errs, open.Close())
	}
	return errors.Join(errs...)
}

// ownCred is on whose behalf the commands act: the user's.
func ownCred() client.Cred {
	umask := syscall.Umask(0)
	syscall.Umask(umask)
	cred := client.Cred{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()), Umask: uint32(umask)}
	if groups, err := os.Getgroups(); err == nil {
		for _, g := range groups {
			cred.Groups = append(cred.Groups, uint32(g))
		}
	}
	return cred
}

// withRemotes runs a command over remote paths, one after another, with a client
// for each path's master. As with rm(1) and its like, a path that fails does not
// keep the others from being seen to; the error names all that failed.
func withRemotes(ctx context.Context, verb string, args []string, master string, fn func(*client.Client, location) error) (err error) {
	locations, err := parseRemotes(args, master)
	if err != nil {
		return err
	}
	conns := newConnections(verb)
	defer func() { err = errors.Join(err, conns.close()) }()
	var errs []error
	for _, l := range locations {
		c, err := conns.to(ctx, l.master)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		errs = append(errs, fn(c, l))
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}
