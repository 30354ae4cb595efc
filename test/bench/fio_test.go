package bench

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

// fioSeconds is how long the workloads run that have no fixed amount of work.
const fioSeconds = "8"

// fioReport is what we read of fio's JSON.
type fioReport struct {
	Jobs []fioJob
}

type fioJob struct {
	Error       int
	Read, Write fioSide
	JobRuntime  float64 `json:"job_runtime"` // ms, with the final fsync
}

type fioSide struct {
	Bytes   float64 `json:"io_bytes"`
	IOs     float64 `json:"total_ios"`
	Runtime float64 // ms
}

// megabytes a second, in units of 10^6 bytes.
func (s fioSide) megabytes() float64 { return s.Bytes / 1e3 / max(s.Runtime, 1) }

func fio(b *testing.B, s *stage, file string, args ...string) fioJob {
	b.Helper()
	args = append([]string{"--output-format=json", "--name=bench", "--filename=" + filepath.Join(s.m.Path, file), "--ioengine=psync",
		"--fallocate=none", "--norandommap", "--randrepeat=1", "--create_on_open=1"}, args...)
	out, err := s.c.Command(s.c.Dir, "fio", args...).Wait(workLimit)
	if err != nil {
		b.Fatalf("fio %v: %v\n%s", args, err, out)
	}
	var report fioReport
	if err := json.Unmarshal([]byte(out[max(0, strings.IndexByte(out, '{')):]), &report); err != nil || len(report.Jobs) != 1 {
		b.Fatalf("fio printed no report (%v):\n%s", err, out)
	}
	if code := report.Jobs[0].Error; code != 0 {
		b.Fatalf("fio %v: error %d\n%s", args, code, out)
	}
	return report.Jobs[0]
}

func sequentialWrite(b *testing.B, s *stage) float64 {
	return fio(b, s, "sequential", "--rw=write", "--bs=1M", "--size=1G", "--end_fsync=1").Write.megabytes()
}

func sequentialRead(b *testing.B, s *stage) float64 {
	return fio(b, s, "sequential", "--rw=read", "--bs=1M", "--size=1G").Read.megabytes()
}

// random reads or writes 4 KiB pieces of the file of sequentialWrite.
func random(pattern string) func(*testing.B, *stage) float64 {
	return func(b *testing.B, s *stage) float64 {
		job := fio(b, s, "sequential", "--rw="+pattern, "--bs=4k", "--direct=1", "--size=1G", "--time_based", "--runtime="+fioSeconds)
		side := job.Read
		if pattern == "randwrite" {
			side = job.Write
		}
		return side.IOs / max(side.Runtime, 1) * 1e3
	}
}

// syncedWrite appends 4 KiB pieces with an fsync behind each.
func syncedWrite(b *testing.B, s *stage) float64 {
	job := fio(b, s, "synced", "--rw=write", "--bs=4k", "--fsync=1", "--size=256M", "--time_based", "--runtime="+fioSeconds)
	return job.Write.IOs / max(job.JobRuntime, 1) * 1e3
}
