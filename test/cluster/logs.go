package cluster

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

// How much of each log a failed test shows. What the test says of its failure has to be
// within the last screens of a long run's output.
const (
	shownLines = 40
	shownBytes = 300 // of a line
)

// printLogs prints the ends of the logs, and the stacks or races in them, straight to
// standard error: go test holds back what a test says until it has ended, so that its
// own words come last.
func printLogs(t testing.TB, processes []*Process) {
	writeLogs(os.Stderr, t.Name(), processes)
}

func writeLogs(w io.Writer, test string, processes []*Process) {
	for _, p := range processes {
		fmt.Fprintf(w, "---- %s: the end of the log of %s ----\n%s\n", test, p.Name, lastLines(p.Output(), shownLines))
	}
}

// lastLines gives the last n lines of a text, each cut to a readable length.
func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	lines = lines[max(0, len(lines)-n):]
	for i, line := range lines {
		if len(line) > shownBytes {
			lines[i] = fmt.Sprintf("%s... (%d bytes)", strings.ToValidUTF8(line[:shownBytes], ""), len(line))
		}
	}
	return strings.Join(lines, "\n")
}
