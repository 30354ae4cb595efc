package cli

import (
	"os"
	"strings"
	"syscall"
)

// keepAwake of GODEBUG has the thread by which Go watches over a process look after it at least every
// 10 ms, instead of going to sleep whenever nothing is to be done. It is meant to print a line
// as often as it says: 2^31-1 ms, once in 25 days, and at the start where the machine has been up for longer.
const keepAwake = "schedtrace=2147483647"

// StayAwake begins a server. One that mostly waits for requests goes idle and comes back thousands of
// times a second, and each time Go wakes and puts to sleep that thread: 15 to 19 % of the CPU time of small
// files. Only the environment at the start changes that, so the program is executed once more, as the same process.
func StayAwake() {
	settings := os.Getenv("GODEBUG")
	if strings.Contains(settings, "schedtrace=") {
		return
	}
	if settings != "" {
		settings += ","
	}
	program, err := os.Executable() // not /proc/self/exe: top and ps would call the process that
	if err == nil && os.Setenv("GODEBUG", settings+keepAwake) == nil {
		_ = syscall.Exec(program, os.Args, os.Environ()) // it goes on as it is when this fails
	}
}
