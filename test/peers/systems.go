package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// system is a filesystem that is measured.
type system struct {
	name   string
	folder string // to work in
	script string // that starts, remounts and stops it; "": somebody else does
	state  string // folder of the script
	env    []string
}

// errMissing is what a script's exit code 3 says: its packages are not installed.
var errMissing = errors.New("its packages are not installed")

// variants are systems that are another's script with a variable set.
var variants = map[string]struct{ script, variable string }{
	"distrifs-tcp": {"distrifs", "OPTIONS=no-short-circuit"},
}

func startAll(o *options) (systems []*system, err error) {
	bin, err := filepath.Abs(o.bin)
	if err != nil {
		return nil, err
	}
	for _, name := range strings.Split(o.peers, ",") {
		s := &system{name: name, script: name, state: filepath.Join(o.store, fmt.Sprintf("bench-peers-%d-%s", os.Getpid(), name))}
		if v, ok := variants[name]; ok {
			s.script, s.env = v.script, []string{v.variable}
		}
		s.script = filepath.Join(o.scripts, s.script+".sh")
		s.folder = filepath.Join(s.state, "mount", "work")
		s.env = append(s.env, "BIN="+bin, "STATE="+s.state)
		switch err := s.call("up"); {
		case errors.Is(err, errMissing):
			fmt.Fprintf(os.Stderr, "%s is left out: %v\n", name, err)
		case err != nil:
			return append(systems, s), err
		default:
			systems = append(systems, s)
		}
	}
	for _, dir := range o.dirs {
		name, folder, ok := strings.Cut(dir, "=")
		if !ok {
			return systems, fmt.Errorf("--dir %s: NAME=FOLDER is wanted", dir)
		}
		systems = append(systems, &system{name: name, folder: filepath.Join(folder, "bench-peers-work")})
	}
	for _, s := range systems {
		if err := os.MkdirAll(s.folder, 0o755); err != nil {
			return systems, err
		}
	}
	return systems, nil
}

func stopAll(systems []*system) {
	for _, s := range systems {
		if err := os.RemoveAll(s.folder); err != nil {
			fmt.Fprintln(os.Stderr, "bench-peers:", err)
		}
		if err := s.call("down"); err != nil {
			fmt.Fprintln(os.Stderr, "bench-peers:", err)
		}
	}
}

// call runs the system's script.
func (s *system) call(what string) error {
	if s.script == "" {
		return nil
	}
	cmd := exec.Command(s.script, what)
	cmd.Env = append(os.Environ(), s.env...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 3 {
		return errMissing
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", s.script, what, err, out)
	}
	return nil
}

// cold empties the caches of client and kernel.
func (s *system) cold() error {
	if err := exec.Command("sync").Run(); err != nil {
		return err
	}
	if err := s.call("remount"); err != nil {
		return err
	}
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0)
}
