package bench

import (
	"fmt"
	"os"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/distrifs/distrifs/test/cluster"
)

func TestMain(m *testing.M) { cluster.Main(m) }

// stage is what the workloads share.
type stage struct {
	c *cluster.Cluster
	m *cluster.Mount
}

// cold empties the caches of mount and kernel.
func (s *stage) cold() {
	s.c.Shell("/", "sync")
	s.m.Remount()
	s.m.DropCaches()
}

// workload measures one figure; more is better in all of them.
type workload struct {
	name string
	unit string
	cold bool // with empty caches
	run  func(*testing.B, *stage) float64

	// What others reached, see doc.go; 0: not measured.
	moosefs float64
	best    float64
	bestWas string
}

var workloads = []workload{
	{"seq_write", "MB/s", false, sequentialWrite, 202, 1297, "JuiceFS"},
	{"seq_read_cold", "MB/s", true, sequentialRead, 792, 1236, "JuiceFS"},
	{"rand_read_4k_direct", "IOPS", true, random("randread"), 7336, 12803, "JuiceFS"},
	{"rand_write_4k_direct", "IOPS", false, random("randwrite"), 7836, 9950, "MooseFS 4"},
	{"fsync_write_4k", "IOPS", false, syncedWrite, 1341, 1854, "MooseFS 4"},
	{"mkdir_1p", "ops/s", false, storm("mkdir", 1), 5475, 5475, "MooseFS 3"},
	{"create_1p", "ops/s", false, storm("create", 1), 4267, 4267, "MooseFS 3"},
	{"stat_cold_1p", "ops/s", true, storm("stat", 1), 13459, 16287, "MooseFS 4"},
	{"rename_1p", "ops/s", false, storm("rename", 1), 3493, 5549, "MooseFS 4"},
	{"unlink_1p", "ops/s", false, storm("unlink", 1), 4709, 6782, "MooseFS 4"},
	{"small_write_4k_1p", "ops/s", false, storm("small", 1), 650, 1045, "JuiceFS"},
	{"mkdir_8p", "ops/s", false, storm("mkdir", 8), 10538, 11517, "MooseFS 4"},
	{"create_8p", "ops/s", false, storm("create", 8), 8737, 8737, "MooseFS 3"},
	{"stat_cold_8p", "ops/s", true, storm("stat", 8), 19488, 22280, "JuiceFS"},
	{"rename_8p", "ops/s", false, storm("rename", 8), 6495, 6495, "MooseFS 3"},
	{"unlink_8p", "ops/s", false, storm("unlink", 8), 8929, 8929, "MooseFS 3"},
	{"small_write_4k_8p", "ops/s", false, storm("small", 8), 1111, 2069, "JuiceFS"},
}

// BenchmarkCluster runs each workload once, in this order: later ones use the
// files of earlier ones. Its sub-benchmarks give lines for benchstat.
func BenchmarkCluster(b *testing.B) {
	c := cluster.Start(b, cluster.Options{Memory: true})
	s := &stage{c: c, m: c.Mount()}
	figures := map[string]float64{}
	for _, w := range workloads {
		b.Run(w.name, func(b *testing.B) {
			if w.cold {
				s.cold()
			}
			for b.Loop() {
				if figures[w.name] == 0 { // the files are there once
					figures[w.name] = w.run(b, s)
				}
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(figures[w.name], w.unit)
		})
	}
	printTable(figures)
}

func printTable(figures map[string]float64) {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(table, "\nworkload\tunit\tDistriFS\tMooseFS\tratio\tbest peer\tratio\twhich\t\n")
	for _, w := range workloads {
		got := figures[w.name]
		fmt.Fprintf(table, "%s\t%s\t%.0f\t%.0f\t%.2f\t%.0f\t%.2f\t%s\t\n", w.name, w.unit, got, w.moosefs, got/w.moosefs, w.best, got/w.best, w.bestWas)
	}
	table.Flush()
}

// workLimit is the time that one workload may take; only a fault reaches it.
const workLimit = 5 * time.Minute
