package cluster

import (
	"io/fs"
	"path/filepath"
	"strings"
)

// ChunkFiles finds the chunk files of a chunkserver: file name to path.
// Unfinished ones in tmp/ do not count.
func (c *Cluster) ChunkFiles(node *Process) map[string]string {
	c.t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(node.Dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil // a file that went away while we looked
		case entry.IsDir() && (entry.Name() == "tmp" || entry.Name() == "quarantine"):
			return fs.SkipDir
		case strings.HasPrefix(entry.Name(), "chunk-"):
			found[entry.Name()] = path
		}
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return found
}
