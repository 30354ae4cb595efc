package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// options of a run.
type options struct {
	store   string
	scripts string
	bin     string
	peers   string
	only    string
	seconds int
	scale   int // percent of the full amounts of work
	dirs    []string
}

func main() {
	o := options{}
	flag.StringVar(&o.store, "store", "/dev/shm", "folder for the stores of all filesystems")
	flag.StringVar(&o.scripts, "scripts", "test/peers", "folder of the scripts that start them")
	flag.StringVar(&o.bin, "bin", "bin", "folder of our programs")
	flag.StringVar(&o.peers, "systems", "distrifs,distrifs-tcp,moosefs,glusterfs", "what to measure; ratios are of the first")
	flag.StringVar(&o.only, "only", "", "names of workloads, or beginnings of names, separated by commas")
	flag.IntVar(&o.seconds, "seconds", 5, "how long the workloads run that have no fixed amount of work")
	flag.IntVar(&o.scale, "scale", 100, "percent of the amount of work of the others")
	flag.Func("dir", "NAME=FOLDER: measure what is mounted there, too (may be repeated)", func(v string) error {
		o.dirs = append(o.dirs, v)
		return nil
	})
	flag.Parse()
	if err := run(&o); err != nil {
		fmt.Fprintln(os.Stderr, "bench-peers:", err)
		os.Exit(1)
	}
}

func run(o *options) error {
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	systems, err := startAll(o)
	defer stopAll(systems)
	if err != nil {
		return err
	}
	table := newTable(systems)
	for _, w := range workloads(o) {
		if !chosen(o.only, w.name) {
			continue
		}
		for _, s := range systems {
			select {
			case <-interrupted:
				table.print(os.Stdout)
				return fmt.Errorf("interrupted")
			default:
			}
			figure, err := measure(w, s)
			fmt.Fprintf(os.Stderr, "%-24s %-14s %s\n", w.name, s.name, describe(w, figure, err))
			table.add(w, s, figure, err)
		}
	}
	table.print(os.Stdout)
	return nil
}

func describe(w *workload, figure float64, err error) string {
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s %s", number(figure), w.unit)
}

func chosen(only, name string) bool {
	if only == "" {
		return true
	}
	for _, prefix := range strings.Split(only, ",") {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
