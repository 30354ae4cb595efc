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
	shownLines  = 40
	shownBytes  = 300 // of a line
	shownStacks = 12  // of goroutines in our code
	stackLines  = 13  // of each
)

// printLogs prints the ends of the logs, and the stacks of what hung, straight to
// standard error: go test holds back what a test says until it has ended, so that its
// own words come last.
func printLogs(t testing.TB, processes []*Process) {
	writeLogs(os.Stderr, t.Name(), processes)
}

func writeLogs(w io.Writer, test string, processes []*Process) {
	for _, p := range processes {
		said, stacks, hung := strings.Cut(p.Output(), quit)
		fmt.Fprintf(w, "---- %s: the end of the log of %s ----\n%s\n", test, p.Name, lastLines(said, shownLines))
		if hung {
			fmt.Fprintf(w, "---- %s: what %s was doing when its time was over ----\n%s\n", test, p.Name, ourStacks(stacks))
		}
	}
}

// quit is how the Go runtime begins what it prints when it is made to show its goroutines.
const quit = "SIGQUIT: quit"

// ourStacks picks the first goroutines that are in the project's code.
func ourStacks(text string) string {
	var shown []string
	for stack := range strings.SplitSeq(text, "\n\n") {
		stack = strings.TrimSpace(stack)
		if len(shown) < shownStacks && strings.HasPrefix(stack, "goroutine ") && strings.Contains(stack, "distrifs/distrifs") {
			lines := strings.Split(stack, "\n")
			shown = append(shown, strings.Join(lines[:min(len(lines), stackLines)], "\n"))
		}
	}
	return strings.Join(shown, "\n\n")
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
