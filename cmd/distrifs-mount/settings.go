package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/distrifs/distrifs/cmd/internal/cli"
	"github.com/distrifs/distrifs/fusefs"
)

// settings are the values of the flags.
type settings struct {
	flags *pflag.FlagSet

	foreground  *bool
	options     *[]string
	sloppy      *bool
	hard        *bool
	dialTimeout *time.Duration
	ioTimeout   *time.Duration
	readAhead   *cli.Size
	writeBuffer *cli.Size
	logFile     *string
	logging     *cli.Logging
}

func newSettings(cmd *cli.Command) *settings {
	flags := cmd.Flags()
	return &settings{
		flags:       flags,
		foreground:  flags.BoolP("foreground", "f", false, "serve in the foreground"),
		options:     flags.StringArrayP("options", "o", nil, "mount options, separated by commas (may be repeated)"),
		sloppy:      flags.BoolP("sloppy", "s", false, "ignore mount options that are not known"),
		hard:        flags.Bool("hard", false, "wait for servers that are away for ever: --io-timeout does not count"),
		dialTimeout: flags.Duration("dial-timeout", 10*time.Second, "how long to wait for the master's first answer"),
		ioTimeout:   flags.Duration("io-timeout", time.Minute, "how long a call waits for servers that are away before it fails"),
		readAhead:   cmd.SizeFlag("read-ahead", 8<<20, "bytes read ahead of an open file, at most"),
		writeBuffer: cmd.SizeFlag("write-buffer", 64<<20, "bytes written by programs and not yet by all servers, at most"),
		logFile:     flags.String("log-file", "", "append the log to this file instead of standard error"),
		logging:     cli.LogFlags(flags),
	}
}

// forever is the I/O time-out of a hard mount.
const forever = 100 * 365 * 24 * time.Hour

func (s *settings) effectiveIOTimeout() time.Duration {
	if *s.hard {
		return forever
	}
	return *s.ioTimeout
}

// mountOptions are the flags that can be given as mount options, too.
func (s *settings) mountOptions(fn func(*pflag.Flag)) {
	s.flags.VisitAll(func(f *pflag.Flag) {
		switch f.Name {
		case "foreground", "options", "sloppy", "help", "version":
		default:
			fn(f)
		}
	})
}

// setOption takes over a mount option that is not of fusefs: "hard", "soft", and the
// flags as name=value.
func (s *settings) setOption(name, value string) (known bool, err error) {
	switch name {
	case "hard", "soft":
		if value != "" {
			return true, errors.New(name + " takes no value")
		}
		*s.hard = name == "hard"
		return true, nil
	}
	s.mountOptions(func(f *pflag.Flag) {
		if f.Name == name && value != "" {
			known, err = true, s.flags.Set(name, value)
		}
	})
	return known || *s.sloppy, err
}

// describe writes down, as a list of mount options, what was mounted how, for a later
// remount.
func (s *settings) describe(source string, opts *fusefs.Options) string {
	escape := strings.NewReplacer(`\`, `\\`, `,`, `\,`).Replace
	list := []string{"source=" + escape(source)}
	if opts.Debug {
		list = append(list, "debug")
	}
	if opts.LocalLocks {
		list = append(list, "local_locks")
	}
	if opts.NoLeases {
		list = append(list, "no-leases")
	}
	if opts.DirSync {
		list = append(list, "dirsync")
	}
	if opts.NoShortCircuit {
		list = append(list, "no-short-circuit")
	}
	s.mountOptions(func(f *pflag.Flag) {
		value := f.Value.String()
		switch {
		case f.Name == "hard":
			if *s.hard {
				list = append(list, "hard")
			}
		case value != "":
			list = append(list, f.Name+"="+escape(value))
		}
	})
	return strings.Join(list, ",")
}

// plan is what to mount where and how.
type plan struct {
	from       source
	mountpoint string // absolute
	options    fusefs.Options
}

// plan checks the command line, so that only what the world refuses is left to fail.
func (s *settings) plan(from, mountpoint string) (p plan, err error) {
	if p.from, err = parseSource(from); err != nil {
		return plan{}, err
	}
	p.options.FSName = from
	for _, list := range *s.options {
		if err := p.options.Parse(list, s.setOption); err != nil {
			return plan{}, cli.Usagef("%v", err)
		}
	}
	p.options.Description = s.describe(from, &p.options)
	if p.mountpoint, err = filepath.Abs(mountpoint); err != nil {
		return plan{}, fmt.Errorf("mountpoint: %w", err)
	}
	return p, nil
}
