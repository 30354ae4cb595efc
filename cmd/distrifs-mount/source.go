package main

import (
	"net"
	"path"
	"strings"

	"github.com/distrifs/distrifs/cmd/internal/cli"
)

const defaultPort = "9420"

// source is what to mount.
type source struct {
	master string // host:port
	folder string // absolute path in the cluster
}

// parseSource reads MASTER[:/SUBFOLDER], where MASTER is host, host:port,
// [IPv6] or [IPv6]:port.
func parseSource(text string) (source, error) {
	master, folder := text, "/"
	if i := strings.Index(text, ":/"); i >= 0 {
		master, folder = text[:i], path.Clean(text[i+1:])
	}
	host, port, err := net.SplitHostPort(master)
	if err != nil {
		port = defaultPort
		host = strings.TrimSuffix(strings.TrimPrefix(master, "["), "]")
		if strings.Contains(host, ":") != strings.HasPrefix(master, "[") {
			return source{}, badSource(text)
		}
	}
	if host == "" || port == "" || strings.ContainsAny(host, "/[] ") {
		return source{}, badSource(text)
	}
	return source{master: net.JoinHostPort(host, port), folder: folder}, nil
}

func badSource(text string) error {
	return cli.Usagef("%q is no master: write HOST:PORT or HOST:PORT:/FOLDER", text)
}
