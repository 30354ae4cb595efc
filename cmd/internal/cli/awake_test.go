package cli

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

func tellSettings() {
	StayAwake()
	os.Stdout.WriteString(strings.Join(os.Args[1:], " ") + " " + os.Getenv("GODEBUG"))
	os.Exit(0)
}

func TestAServerStaysAwake(t *testing.T) {
	for before, want := range map[string]string{"": keepAwake, "gctrace=0": "gctrace=0," + keepAwake, "schedtrace=60000": "schedtrace=60000"} {
		cmd := exec.Command(os.Args[0], "an", "argument")
		cmd.Env = append(os.Environ(), "CLI_TEST_MODE=awake", "GODEBUG="+before)
		if got, err := cmd.Output(); err != nil || string(got) != "an argument "+want {
			t.Errorf("with GODEBUG=%s: %q, %v", before, got, err)
		}
	}
}
