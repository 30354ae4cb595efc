package fusefs

import (
	"log/slog"
	"strings"

	"github.com/distrifs/distrifs/proto"
)

// Options of Mount. Permissions are always checked by the kernel
// (default_permissions), and a mount made by root is open to all users.
type Options struct {
	FSName      string // what mount(8) shows as the source; default "distrifs"
	Subtype     string // the type is shown as fuse.SUBTYPE; default "distrifs"
	ReadOnly    bool
	NoAtime     bool // reads do not move access times; default: as relatime
	StrictAtime bool // each read does
	NoExec      bool
	NoSuid      bool // ignore set-id bits; always so unless mounted by root
	NoDev       bool // refuse device files; likewise
	AllowOther  bool // open to all users, when not mounted by root
	LocalLocks  bool // locks are valid within this mount alone: faster, and other mounts see none
	NoLeases    bool // caches are kept for 1 s, data from close to open; for who dials, Mount does not look at it
	DirSync     bool // names are durable when the call that changes them returns; likewise
	Debug       bool // log each request, at level debug

	// NoShortCircuit has every read go through a chunkserver; for who dials, too.
	NoShortCircuit bool

	// Description is what the extended attribute DescriptionXattr of the mount's
	// root holds.
	Description string
	// KernelReadAhead in bytes, of each open file; needs root. Default 4 MiB.
	KernelReadAhead int64
	Logger          *slog.Logger // default: discards
}

// Parse takes over a list of mount options as in mount(8): words between commas,
// where a backslash takes a comma's meaning away. Of two that contradict each other
// the later counts. Those that only mount(8) and systemd understand are ignored; any
// other that is not known here is handed to other, unless that is nil, and refused
// if it does not know it either (L14).
func (o *Options) Parse(list string, other func(name, value string) (known bool, err error)) error {
	for _, option := range splitOptions(list) {
		name, value, hasValue := strings.Cut(option, "=")
		if set, ok := valueOptions[name]; ok && value != "" {
			set(o, value)
			continue
		}
		if set, ok := wordOptions[name]; ok {
			if hasValue && name != "user" {
				return badOption(option, name+" takes no value")
			}
			set(o)
			continue
		}
		if ofMount(name) {
			continue
		}
		known := false
		if other != nil {
			var err error
			if known, err = other(name, value); err != nil {
				return badOption(option, err.Error())
			}
		}
		if !known {
			return badOption(option, "it is not known, or its value is missing")
		}
	}
	return nil
}

func badOption(option, detail string) error {
	return proto.E(proto.Invalid, "mount option", "\""+option+"\"", detail)
}

var valueOptions = map[string]func(*Options, string){
	"fsname":  func(o *Options, v string) { o.FSName = v },
	"subtype": func(o *Options, v string) { o.Subtype = v },
}

var wordOptions = map[string]func(*Options){
	"ro": func(o *Options) { o.ReadOnly = true }, "rw": func(o *Options) { o.ReadOnly = false },
	"noatime":     func(o *Options) { o.NoAtime, o.StrictAtime = true, false },
	"atime":       func(o *Options) { o.NoAtime, o.StrictAtime = false, false },
	"relatime":    func(o *Options) { o.NoAtime, o.StrictAtime = false, false },
	"strictatime": func(o *Options) { o.NoAtime, o.StrictAtime = false, true },
	"noexec":      func(o *Options) { o.NoExec = true }, "exec": func(o *Options) { o.NoExec = false },
	"nosuid": func(o *Options) { o.NoSuid = true }, "suid": func(o *Options) { o.NoSuid = false },
	"nodev": func(o *Options) { o.NoDev = true }, "dev": func(o *Options) { o.NoDev = false },
	"allow_other":         func(o *Options) { o.AllowOther = true },
	"local_locks":         func(o *Options) { o.LocalLocks = true },
	"no-leases":           func(o *Options) { o.NoLeases = true },
	"dirsync":             func(o *Options) { o.DirSync = true },
	"no-short-circuit":    func(o *Options) { o.NoShortCircuit = true },
	"default_permissions": func(o *Options) {}, // is always so
	"debug":               func(o *Options) { o.Debug = true },
	// What mount(8) lets users mount is not trusted.
	"user": (*Options).distrust, "users": (*Options).distrust,
	"owner": (*Options).distrustIDs, "group": (*Options).distrustIDs,
}

func (o *Options) distrust() {
	o.NoExec = true
	o.distrustIDs()
}

func (o *Options) distrustIDs() { o.NoSuid, o.NoDev = true, true }

// ofMount tells the options that mount(8) and systemd act upon, not the filesystem.
func ofMount(name string) bool {
	switch name {
	case "defaults", "async", "auto", "noauto", "nofail", "_netdev", "comment", "nouser", "nousers", "noowner", "nogroup":
		return true
	}
	return strings.HasPrefix(name, "x-") || strings.HasPrefix(name, "X-")
}

func splitOptions(list string) (options []string) {
	var word strings.Builder
	flush := func() {
		if word.Len() > 0 {
			options = append(options, word.String())
			word.Reset()
		}
	}
	for i := 0; i < len(list); i++ {
		switch {
		case list[i] == ',':
			flush()
			continue
		case list[i] == '\\' && i+1 < len(list):
			i++
		}
		word.WriteByte(list[i])
	}
	flush()
	return options
}
