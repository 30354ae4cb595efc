package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
)

// fioSide is what is read of fio's report of reads or writes.
type fioSide struct {
	Bytes   float64 `json:"io_bytes"`
	IOs     float64 `json:"total_ios"`
	Runtime float64 // ms
}

type fioJob struct {
	Error       int
	Read, Write fioSide
	JobRuntime  float64 `json:"job_runtime"` // ms, of all jobs, syncs included
}

func fio(dir string, args ...string) (*fioJob, error) {
	cmd := exec.Command("fio", append([]string{"--output-format=json", "--name=bench", "--directory=" + dir, "--ioengine=psync", "--group_reporting",
		"--fallocate=none", "--norandommap", "--randrepeat=1"}, args...)...)
	cmd.Dir = os.TempDir()
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("fio: %w: %s", err, bytes.TrimSpace(out))
	}
	var report struct{ Jobs []fioJob }
	if err := json.Unmarshal(out[max(0, bytes.IndexByte(out, '{')):], &report); err != nil || len(report.Jobs) != 1 {
		return nil, fmt.Errorf("fio printed no report: %w", err)
	}
	if job := &report.Jobs[0]; job.Error == 0 {
		return job, nil
	}
	return nil, fmt.Errorf("fio: error %d", report.Jobs[0].Error)
}

// megabytes a second of a job, in units of 10^6 bytes.
func megabytes(job *fioJob, err error) (float64, error) {
	if err != nil {
		return 0, err
	}
	side := job.Read
	if side.IOs == 0 {
		side = job.Write
	}
	return side.Bytes / 1e3 / max(side.Runtime, 1), nil
}

// operations a second of a job, reads and writes together.
func operations(job *fioJob, err error) (float64, error) {
	if err != nil {
		return 0, err
	}
	return (job.Read.IOs + job.Write.IOs) / max(job.Read.Runtime, job.Write.Runtime, 1) * 1e3, nil
}

// synced is operations a second where each one's fsync counts.
func synced(job *fioJob, err error) (float64, error) {
	if err != nil {
		return 0, err
	}
	return job.Write.IOs / max(job.JobRuntime, 1) * 1e3, nil
}

func fioWorkloads(o *options) []*workload {
	size := fmt.Sprintf("%dM", o.scaled(1024))
	each := fmt.Sprintf("%dM", o.scaled(512))
	seconds := "--runtime=" + strconv.Itoa(o.seconds)
	sequential := func(rw, size string, more ...string) func(string) (float64, error) {
		return func(dir string) (float64, error) {
			return megabytes(fio(dir, append([]string{"--rw=" + rw, "--bs=1M", "--size=" + size}, more...)...))
		}
	}
	random := func(rw string, jobs int, more ...string) func(string) (float64, error) {
		return func(dir string) (float64, error) {
			return operations(fio(dir, append([]string{"--filename=one", "--rw=" + rw, "--bs=4k", "--size=" + size, "--numjobs=" + strconv.Itoa(jobs),
				"--time_based", seconds}, more...)...))
		}
	}
	one := func(dir string) error { // what random I/O goes to
		if exists(in(dir, "one")) {
			return nil
		}
		_, err := fio(dir, "--filename=one", "--rw=write", "--bs=1M", "--size="+size, "--end_fsync=1")
		return err
	}
	four := []string{"--filename_format=four.$jobnum", "--numjobs=4"}
	written := []string{"--create_on_open=1", "--end_fsync=1"}
	return []*workload{
		{name: "seq_write", unit: "MB/s", run: sequential("write", size, append(written, "--filename=one")...)},
		{name: "seq_read_cold", unit: "MB/s", cold: true, ready: one, run: sequential("read", size, "--filename=one")},
		{name: "seq_write_4j", unit: "MB/s", run: sequential("write", each, append(written, four...)...)},
		{name: "seq_read_4j_cold", unit: "MB/s", cold: true, run: sequential("read", each, four...)},
		{name: "rand_read_4k_direct", unit: "IOPS", cold: true, ready: one, run: random("randread", 1, "--direct=1")},
		{name: "rand_read_4k_direct_16j", unit: "IOPS", cold: true, ready: one, run: random("randread", 16, "--direct=1")},
		{name: "rand_write_4k_direct", unit: "IOPS", ready: one, run: random("randwrite", 1, "--direct=1")},
		{name: "rand_write_4k_direct_16j", unit: "IOPS", ready: one, run: random("randwrite", 16, "--direct=1")},
		{name: "rand_write_4k", unit: "IOPS", ready: one, run: random("randwrite", 1, "--end_fsync=1")},
		{name: "mixed_70_30_4k_direct_4j", unit: "IOPS", ready: one, run: random("randrw", 4, "--rwmixread=70", "--direct=1")},
		{name: "fsync_write_4k", unit: "IOPS", run: func(dir string) (float64, error) {
			return synced(fio(dir, "--filename=synced", "--rw=write", "--bs=4k", "--fsync=1", "--size=256M", "--create_on_open=1", "--time_based", seconds))
		}},
	}
}
