package main

import (
	"context"

	"github.com/spf13/pflag"

	"github.com/distrifs/distrifs/cmd/internal/cli"
	"github.com/distrifs/distrifs/fusefs"
)

// A remount changes flags of the kernel. The process that serves the mount goes on as
// it is: an option of its own is accepted if it has that value already, since mount(8)
// repeats those of fstab, and refused otherwise (L14).

func (m *mountCall) remount(_ context.Context, source, mountpoint string) error {
	running, err := fusefs.Running(mountpoint)
	if err != nil {
		return err
	}
	wanted, err := m.overlay(running, source)
	if err != nil {
		return cli.Usagef("%v", err)
	}
	if *m.fake {
		return nil
	}
	return fusefs.Remount(mountpoint, wanted)
}

// overlay gives what the mount is to become. The kernel's flags that the call does not
// name get their defaults: mount(8) names all that are to stay. What else it does not
// name stays as it is; the error says what of that was to be changed.
func (m *mountCall) overlay(running fusefs.Options, source string) (fusefs.Options, error) {
	_, s := newCommand(nil)
	*s.sloppy = *m.sloppy
	mounted := "" // the source as it was given
	started := fusefs.Options{}
	err := started.Parse(running.Description, func(name, value string) (bool, error) {
		if name == "source" {
			mounted = value
			return true, nil
		}
		return s.setOption(name, value)
	})
	if err != nil {
		return fusefs.Options{}, err
	}
	before := s.values()
	wanted := fusefs.Options{FSName: running.FSName, Subtype: running.Subtype, Debug: started.Debug, LocalLocks: started.LocalLocks,
		NoLeases: started.NoLeases, DirSync: started.DirSync, NoShortCircuit: started.NoShortCircuit}
	for _, list := range *m.options {
		err := wanted.Parse(list, func(name, value string) (bool, error) {
			if ofSuperblock(name) {
				return true, nil
			}
			return s.setOption(name, value)
		})
		if err != nil {
			return fusefs.Options{}, err
		}
	}
	for name, value := range s.values() {
		if before[name] != value {
			return fusefs.Options{}, fixed(name, before[name])
		}
	}
	switch {
	case wanted.FSName != running.FSName:
		return fusefs.Options{}, fixed("fsname", running.FSName)
	case wanted.Subtype != running.Subtype:
		return fusefs.Options{}, fixed("subtype", running.Subtype)
	case wanted.Debug != started.Debug:
		return fusefs.Options{}, fixed("debug", "off")
	case wanted.NoLeases != started.NoLeases:
		return fusefs.Options{}, fixed("no-leases", "off")
	case wanted.DirSync != started.DirSync:
		return fusefs.Options{}, fixed("dirsync", "off")
	case wanted.NoShortCircuit != started.NoShortCircuit:
		return fusefs.Options{}, fixed("no-short-circuit", "off")
	case wanted.LocalLocks != started.LocalLocks:
		return fusefs.Options{}, fixed("local_locks", "off")
	case source != mounted && source != running.FSName && source != "none":
		return fusefs.Options{}, fixed("the source", mounted)
	}
	return wanted, nil
}

func fixed(name, value string) error {
	return cli.Usagef("%s is %s and cannot be changed by a remount: unmount, and mount again", name, value)
}

// ofSuperblock tells the options of a FUSE mount that the kernel reports, and mount(8)
// repeats, and that nobody can change.
func ofSuperblock(name string) bool {
	switch name {
	case "remount", "user_id", "group_id", "rootmode", "max_read", "blksize":
		return true
	}
	return false
}

// values are the flags that can be mount options.
func (s *settings) values() map[string]string {
	values := map[string]string{}
	s.mountOptions(func(f *pflag.Flag) { values[f.Name] = f.Value.String() })
	return values
}
