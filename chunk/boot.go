package chunk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/distrifs/distrifs/internal/disk"
)

// The file "boot" of a data folder names the boot of the machine in which the folder was
// opened last: one line of text. If it is the present one then the last process may
// have died, but the kernel has not, and its page cache has all that was written.
//
// The name is never used again, so it does no harm when the file is older than it
// should be, or damaged.
const (
	bootName  = "boot"
	bootLimit = 256 // bytes
	bootFile  = "/proc/sys/kernel/random/boot_id"
)

// ThisBoot names the present boot of this machine; empty: not known.
func ThisBoot() string {
	text, err := os.ReadFile(bootFile) // which says that its size is 0
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// recognizeBoot finds out whether something can be missing of what was written before
// the last stop, and notes the present boot.
func (f *folder) recognizeBoot(boot string) error {
	path := filepath.Join(f.path, bootName)
	text, err := disk.ReadFile(f.fs, path, bootLimit)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.log.Warn("read the name of the last boot", "error", err)
	}
	f.intact = f.sb.Clean || boot != "" && err == nil && strings.TrimSpace(string(text)) == boot
	if err := disk.ReplaceFile(f.fs, path, []byte(boot+"\n"), 0o644); err != nil {
		return f.refuse(err)
	}
	return nil
}
