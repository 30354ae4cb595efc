package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestShownLogsAreShort(t *testing.T) {
	var log strings.Builder
	for i := range 1000 {
		fmt.Fprintln(&log, i, strings.Repeat("x", 1000))
	}
	log.WriteString(quit + "\n\ngoroutine 0 [idle]:\nruntime.futex()\n")
	for i := range 100 {
		fmt.Fprintf(&log, "\n\ngoroutine %d [select]:\ngithub.com/distrifs/distrifs/client.f()\n%s", i+1, strings.Repeat("more\n", 100))
	}
	p := &Process{Name: "mount-0", Log: filepath.Join(t.TempDir(), "log"), t: t}
	if err := os.WriteFile(p.Log, []byte(log.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	var shown strings.Builder
	writeLogs(&shown, t.Name(), []*Process{p})
	lines := strings.Split(shown.String(), "\n")
	for _, line := range lines {
		if len(line) > shownBytes+50 {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
	if most := shownLines + shownStacks*(stackLines+1) + 10; len(lines) > most {
		t.Errorf("%d lines are shown, of which %d would do", len(lines), most)
	}
	for _, want := range []string{"\n999 xxx", "\ngoroutine 1 [select]"} {
		if !strings.Contains(shown.String(), want) {
			t.Errorf("%q is not shown", want)
		}
	}
	if strings.Contains(shown.String(), "idle") {
		t.Error("a goroutine of the runtime is shown")
	}
}
