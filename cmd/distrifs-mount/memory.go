package main

import (
	"math"
	"os"
	"runtime/debug"
	"syscall"
)

// The live heap of a mount is small and its garbage is large buffers, which are
// pooled until the next collection: so it collects seldom, unless memory is short.
const (
	gcPercent   = 400
	memoryLimit = 2 << 30 // bytes, at most
)

// tuneMemory sets how often garbage is collected, where the environment does not.
func tuneMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(min(memoryLimit, ram()/4))
	}
}

// ram is the machine's memory in bytes.
func ram() int64 {
	var info syscall.Sysinfo_t
	if err := syscall.Sysinfo(&info); err != nil {
		return math.MaxInt64
	}
	return int64(info.Totalram) * int64(info.Unit)
}
