package fusefs

import (
	"log/slog"
	"strings"

	"github.com/distrifs/distrifs/proto"
)

// Options of Mount. Permissions are always checked by the kernel
// (default_permissions), and a mount made by root is open to all users.
type Options struct {
	FSName     string // what mount(8) shows as the source; default "distrifs"
	Subtype    string // the type is shown as fuse.SUBTYPE; default "distrifs"
	ReadOnly   bool
	NoAtime    bool
	NoExec     bool
	Suid       bool // honour set-id bits; needs root
	Dev        bool // honour device files; needs root
	AllowOther bool // open to all users, when not mounted by root
	LocalLocks bool // locks are valid within this mount alone: faster, and other mounts see none
	Debug      bool // log each request, at level debug

	// KernelReadAhead in bytes, of each open file; needs root. Default 4 MiB.
	KernelReadAhead int64
	Logger          *slog.Logger // default: discards
}

// Parse takes over a list of mount options as in mount(8): words between commas,
// where a backslash takes a comma's meaning away. An option that is not known is
// refused. Of two that contradict each other the later counts.
func (o *Options) Parse(list string) error {
	for _, option := range splitOptions(list) {
		name, value, hasValue := strings.Cut(option, "=")
		if set, ok := valueOptions[name]; ok && value != "" {
			set(o, value)
			continue
		}
		set, ok := wordOptions[name]
		switch {
		case !ok && !ofMount(option):
			return proto.E(proto.Invalid, "mount option", "\""+option+"\"", "it is not known, or its value is missing")
		case hasValue && ok:
			return proto.E(proto.Invalid, "mount option", "\""+option+"\"", name+" takes no value")
		case ok:
			set(o)
		}
	}
	return nil
}

var valueOptions = map[string]func(*Options, string){
	"fsname":  func(o *Options, v string) { o.FSName = v },
	"subtype": func(o *Options, v string) { o.Subtype = v },
}

var wordOptions = map[string]func(*Options){
	"ro": func(o *Options) { o.ReadOnly = true }, "rw": func(o *Options) { o.ReadOnly = false },
	"noatime": func(o *Options) { o.NoAtime = true }, "atime": func(o *Options) { o.NoAtime = false },
	"noexec": func(o *Options) { o.NoExec = true }, "exec": func(o *Options) { o.NoExec = false },
	"suid": func(o *Options) { o.Suid = true }, "nosuid": func(o *Options) { o.Suid = false },
	"dev": func(o *Options) { o.Dev = true }, "nodev": func(o *Options) { o.Dev = false },
	"allow_other":         func(o *Options) { o.AllowOther = true },
	"local_locks":         func(o *Options) { o.LocalLocks = true },
	"default_permissions": func(o *Options) {}, // is always so
	"debug":               func(o *Options) { o.Debug = true },
}

// ofMount tells the options that mount(8) acts upon, not the filesystem.
func ofMount(option string) bool {
	switch option {
	case "defaults", "auto", "noauto", "nofail", "_netdev":
		return true
	}
	return strings.HasPrefix(option, "x-")
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
