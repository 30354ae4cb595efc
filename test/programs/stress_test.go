package programs

import (
	"maps"
	"regexp"
	"slices"
	"testing"

	"github.com/distrifs/distrifs/test/cluster"
)

// unsupported are the stressors of stress-ng's class filesystem that skip themselves on
// a mount, and why. All others have to pass.
var unsupported = map[string]string{
	"fiemap": "FS_IOC_FIEMAP: the kernel passes it to no FUSE filesystem, and blocks are on other machines",
	"verity": "fs-verity: the kernel has it for a few local filesystems alone",
}

// foreign are those that never touch the folder they are given.
const foreign = "binderfs,eventfd,ioprio,procfs"

// All stressors of filesystems at once, in one folder, check their own results. Some look at
// every mount there is; so they do not get to see those of other tests, whose servers may be
// dead on purpose.
func TestStressorsOfFilesystems(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{})
	m := c.Mount()
	out := run(t, c, m.Path, `unshare --mount --propagation private bash -euo pipefail -c '
		awk -v keep="$PWD" "\$3 == \"fuse.distrifs\" && \$2 != keep { print \$2 }" /proc/self/mounts | xargs -r umount -l
		stress-ng --class filesystem --all 1 --exclude "$0" --timeout 5 --verify --temp-path . 2>&1' "$1"`, foreign)
	for _, line := range regexp.MustCompile(`(?m)^stress-ng: (fail|error): .*$`).FindAllString(out, -1) {
		t.Error(line)
	}
	skipped := map[string]bool{}
	for _, found := range regexp.MustCompile(`\] ([a-z-]+): .*skipping str`).FindAllStringSubmatch(out, -1) {
		if skipped[found[1]] = true; unsupported[found[1]] == "" {
			t.Errorf("%s was skipped: %s", found[1], found[0])
		}
	}
	t.Logf("skipped: %v", slices.Sorted(maps.Keys(skipped)))
	if t.Failed() {
		t.Log(tail(out))
	}
}
