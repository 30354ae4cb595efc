package programs

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/distrifs/distrifs/test/cluster"
)

// database is a SQLite file that writers add rows to. Each row is a transaction that
// adds one to a counter as well, so that a torn or a lost transaction shows.
type database struct {
	c       *cluster.Cluster
	dir     string // on a mount
	name    string
	writers map[string]*cluster.Job
}

func newDatabase(t *testing.T, c *cluster.Cluster, dir, journal string) *database {
	t.Helper()
	d := &database{c: c, dir: dir, name: strings.ToLower(journal) + ".db", writers: map[string]*cluster.Job{}}
	out := d.query(t, `PRAGMA journal_mode=`+journal+`;
		CREATE TABLE entries(writer, n, PRIMARY KEY (writer, n)); CREATE TABLE counter(n); INSERT INTO counter VALUES (0);`)
	if strings.TrimSpace(out) != strings.ToLower(journal) {
		t.Fatalf("asked for the journal %s, SQLite says %s", journal, out)
	}
	return d
}

// sqlite is how every process opens the database; a line of output is written at once.
const sqlite = ` stdbuf -oL sqlite3 -bail -cmd '.timeout 120000' -cmd 'PRAGMA synchronous=FULL' `

func (d *database) query(t *testing.T, sql string) string {
	t.Helper()
	return run(t, d.c, d.dir, sqlite+`"$1" "$2"`, d.name, sql)
}

// write starts a writer of so many rows. It prints the number of each when that was
// committed.
func (d *database) write(dir, writer string, rows int) *cluster.Job {
	job := start(d.c, dir, `seq "$3" |
		sed "s/.*/BEGIN IMMEDIATE; INSERT INTO entries VALUES ('$2', &); UPDATE counter SET n = n + 1; COMMIT; SELECT &;/" |`+sqlite+`"$1"`,
		d.name, writer, strconv.Itoa(rows))
	d.writers[writer] = job
	return job
}

// endless is more rows than a test can wait for.
const endless = 1_000_000

// consistent is 1 in every state that a transaction left behind.
const consistent = `SELECT (SELECT n FROM counter) = (SELECT count(*) FROM entries);`

// watch starts a reader that ends with an error when it sees half a transaction.
func (d *database) watch() *cluster.Job {
	return start(d.c, d.dir, `while sleep 0.05; do echo "$2"; done |`+sqlite+`"$1" 2>&1 | { ! grep -m1 -vx 1; }`, d.name, consistent)
}

// progress waits until each of the writers has committed so many rows more.
func (d *database) progress(t *testing.T, rows int, writers ...string) {
	t.Helper()
	for _, writer := range writers {
		job := d.writers[writer]
		want := acknowledged(job) + rows
		cluster.Until(t, limit, fmt.Sprintf("writer %s of %s has written %d rows", writer, d.name, want), func() error {
			if job.Done() {
				t.Fatalf("writer %s of %s ended: %s", writer, d.name, tail(job.Output()))
			}
			if got := acknowledged(job); got < want {
				return fmt.Errorf("it has written %d", got)
			}
			return nil
		})
	}
}

// acknowledged is the last whole line that a writer has printed.
func acknowledged(job *cluster.Job) int {
	lines := strings.Split(job.Output(), "\n")
	if len(lines) < 2 {
		return 0
	}
	n, _ := strconv.Atoi(lines[len(lines)-2])
	return n
}

// check finds the database whole: of each writer all rows that it knows to be
// committed are there, no row is missing between them, and at most one is there whose
// acknowledgement was lost.
func (d *database) check(t *testing.T, dir string) {
	t.Helper()
	at := *d
	at.dir = dir
	if out := at.query(t, `PRAGMA integrity_check;`+consistent); out != "ok\n1\n" {
		t.Errorf("%s: integrity, and consistency: %s", d.name, out)
	}
	for writer, job := range d.writers {
		var rows, last int
		out := at.query(t, fmt.Sprintf(`SELECT count(*), coalesce(max(n), 0) FROM entries WHERE writer = '%s';`, writer))
		if _, err := fmt.Sscanf(out, "%d|%d", &rows, &last); err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		if known := acknowledged(job); rows != last || last < known || last > known+1 {
			t.Errorf("%s: writer %s knows of %d rows; there are %d, the last is %d", d.name, writer, known, rows, last)
		}
	}
}

// Writers and readers of two databases, one with each kind of journal, are bothered
// by the death of a writer, of a chunkserver, and of the master. The write-ahead log
// needs its index in a shared mapping.
func TestSQLiteOutlivesItsWritersAndServers(t *testing.T) { // G1, G7, G8
	t.Parallel()
	c := cluster.Start(t, cluster.Options{})
	m := c.Mount()
	databases := []*database{newDatabase(t, c, m.Path, "WAL"), newDatabase(t, c, m.Path, "DELETE")}
	var readers []*cluster.Job
	for _, d := range databases {
		readers = append(readers, d.watch())
		d.write(m.Path, "a", endless)
		d.write(m.Path, "b", endless)
	}
	progress := func(writers ...string) {
		t.Helper()
		for _, d := range databases {
			d.progress(t, 10, writers...)
		}
	}
	progress("a", "b")
	for _, d := range databases {
		d.writers["a"].Kill()
	}
	progress("b")
	c.Chunkservers[0].Kill()
	progress("b")
	c.Chunkservers[0].Launch()
	c.WaitAlive()
	c.Master.Kill()
	c.Master.Launch()
	progress("b")
	for i, d := range databases {
		d.writers["b"].Kill()
		if readers[i].Done() {
			t.Errorf("the reader of %s ended: %s", d.name, tail(readers[i].Output()))
		}
		readers[i].Kill()
		d.check(t, m.Path)
		d.write(m.Path, "c", 10).Must()
	}
	m.Remount()
	for _, d := range databases {
		d.check(t, m.Path)
	}
}

// Writers on two mounts exclude one another by SQLite's own locks. A write-ahead log
// is no choice there: SQLite itself asks that all its users share memory.
func TestSQLiteOnTwoMounts(t *testing.T) {
	cluster.NeedsLeases(t)
	t.Parallel()
	const rows = 20
	c := cluster.Start(t, cluster.Options{})
	mounts := []*cluster.Mount{c.Mount(), c.Mount()}
	d := newDatabase(t, c, mounts[0].Path, "DELETE")
	var jobs []*cluster.Job
	for i, m := range mounts {
		for _, writer := range []string{"a", "b"} {
			jobs = append(jobs, d.write(m.Path, fmt.Sprint(writer, i), rows))
		}
	}
	for _, job := range jobs {
		job.Must()
	}
	// What a writer that is killed leaves behind, one on the other mount rolls back.
	d.write(mounts[1].Path, "c", endless)
	for _, victim := range []string{"d", "e"} {
		d.write(mounts[0].Path, victim, endless)
		d.progress(t, 3, victim)
		d.writers[victim].Kill()
		d.progress(t, 3, "c")
	}
	d.writers["c"].Kill()
	for _, m := range mounts {
		d.check(t, m.Path)
	}
}
