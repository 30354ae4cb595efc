package main

import (
	"crypto/rand"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"
)

// block is what small files hold.
var block = func() []byte {
	b := make([]byte, 4096)
	rand.Read(b)
	return b
}()

func writeNew(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func readSmall(path string) error {
	content, err := os.ReadFile(path)
	if err == nil && len(content) != len(block) {
		err = fmt.Errorf("%s has %d bytes, not %d", path, len(content), len(block))
	}
	return err
}

func listLong(dir string) (int, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		if _, err := e.Info(); err != nil {
			return 0, err
		}
	}
	return len(entries), nil
}

// storm has workers call op on the names of a folder each; it gives calls a second.
func storm(dir string, workers, names int, op func(path string) error) (float64, error) {
	errs := make([]error, workers)
	var group sync.WaitGroup
	start := time.Now()
	for w := range workers {
		group.Go(func() {
			folder := in(dir, "names"+strconv.Itoa(workers), strconv.Itoa(w))
			for i := range names {
				if err := op(in(folder, "f"+strconv.Itoa(i))); err != nil {
					errs[w] = err
					return
				}
			}
		})
	}
	group.Wait()
	took := time.Since(start).Seconds()
	for _, err := range errs {
		if err != nil {
			return 0, err
		}
	}
	return float64(workers*names) / took, nil
}

func nameWorkloads(o *options) (list []*workload) {
	for _, workers := range []int{1, 8} {
		names := o.scaled(5000 / min(workers, 5))
		folders := func(dir string) error {
			for w := range workers {
				if err := os.MkdirAll(in(dir, "names"+strconv.Itoa(workers), strconv.Itoa(w)), 0o755); err != nil {
					return err
				}
			}
			return nil
		}
		add := func(name string, cold bool, op func(path string) error) {
			list = append(list, &workload{name: fmt.Sprintf("%s_%dp", name, workers), unit: "ops/s", cold: cold, ready: folders,
				run: func(dir string) (float64, error) { return storm(dir, workers, names, op) }})
		}
		add("mkdir", false, func(path string) error { return os.Mkdir(path+".d", 0o755) })
		add("create", false, func(path string) error { return writeNew(path+".e", nil) })
		add("small_write_4k", false, func(path string) error { return writeNew(path, block) })
		add("stat_cold", true, func(path string) error { _, err := os.Lstat(path); return err })
		add("open_read_4k_cold", true, readSmall)
		list = append(list, &workload{name: fmt.Sprintf("ls_l_cold_%dp", workers), unit: "entries/s", cold: true, run: func(dir string) (float64, error) {
			return listAll(in(dir, "names"+strconv.Itoa(workers)), workers)
		}})
		add("rename", false, func(path string) error { return os.Rename(path, path+".r") })
		add("unlink", false, func(path string) error { return os.Remove(path + ".r") })
	}
	return list
}

// listAll lists the folders of all workers, side by side.
func listAll(dir string, workers int) (float64, error) {
	counts, errs := make([]int, workers), make([]error, workers)
	var group sync.WaitGroup
	start := time.Now()
	for w := range workers {
		group.Go(func() { counts[w], errs[w] = listLong(in(dir, strconv.Itoa(w))) })
	}
	group.Wait()
	took, total := time.Since(start).Seconds(), 0
	for w := range workers {
		if errs[w] != nil {
			return 0, errs[w]
		}
		total += counts[w]
	}
	return float64(total) / took, nil
}
