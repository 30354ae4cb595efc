package fusefs

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// The benchmarks measure the way through the kernel to a backend that costs nothing.

func benchServing(b *testing.B) *served {
	s := startServing(b, b.TempDir(), "")
	if line := s.line(); line != "mounted" {
		b.Fatal(line)
	}
	return s
}

func BenchmarkLookup(b *testing.B) {
	s := benchServing(b)
	var st unix.Stat_t
	name := s.join("absent")
	for b.Loop() {
		if err := unix.Stat(name, &st); err != unix.ENOENT {
			b.Fatal(err)
		}
	}
}

func BenchmarkCreate(b *testing.B) {
	s := benchServing(b)
	for i := 0; b.Loop(); i++ {
		if i%1000 == 0 { // the backend's folders are searched name by name
			if err := os.Mkdir(s.join(fmt.Sprint(i/1000)), 0o755); err != nil {
				b.Fatal(err)
			}
		}
		f, err := os.Create(s.join(fmt.Sprintf("%d/%d", i/1000, i)))
		if err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}

func benchmarkIO(b *testing.B, flags, size int, io func(fd int, p []byte, off int64) (int, error)) {
	s := benchServing(b)
	const fileSize = 64 << 20
	if err := os.WriteFile(s.join("file"), make([]byte, fileSize), 0o644); err != nil {
		b.Fatal(err)
	}
	fd, err := unix.Open(s.join("file"), unix.O_RDWR|flags, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(fd)
	buf, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(size))
	off := int64(0)
	for b.Loop() {
		if n, err := io(fd, buf, off); n != size || err != nil {
			b.Fatal(n, err)
		}
		off = (off + int64(size)) % fileSize
	}
}

func BenchmarkRead4KDirect(b *testing.B)  { benchmarkIO(b, unix.O_DIRECT, 4<<10, unix.Pread) }
func BenchmarkWrite4K(b *testing.B)       { benchmarkIO(b, 0, 4<<10, unix.Pwrite) }
func BenchmarkWrite1M(b *testing.B)       { benchmarkIO(b, 0, 1<<20, unix.Pwrite) }
func BenchmarkWrite1MDirect(b *testing.B) { benchmarkIO(b, unix.O_DIRECT, 1<<20, unix.Pwrite) }

// BenchmarkRead1M reads what is not in the kernel's cache.
func BenchmarkRead1M(b *testing.B) {
	benchmarkIO(b, 0, 1<<20, func(fd int, p []byte, off int64) (int, error) {
		if off == 0 {
			if err := unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED); err != nil {
				return 0, err
			}
		}
		return unix.Pread(fd, p, off)
	})
}

// BenchmarkList1000 is ls -l of a folder of 1000 files.
func BenchmarkList1000(b *testing.B) {
	s := benchServing(b)
	for i := range 1000 {
		if err := unix.Mknod(s.join(fmt.Sprint(i)), unix.S_IFREG|0o644, 0); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if err := exec.Command("ls", "-lU", s.path).Run(); err != nil {
			b.Fatal(err)
		}
	}
}
