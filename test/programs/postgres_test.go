package programs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/distrifs/distrifs/test/cluster"
)

// postgres is a PostgreSQL server with its data on a mount. It will not run as root,
// so root runs it as the user that its package made.
type postgres struct {
	c      *cluster.Cluster
	dir    string // on the mount
	socket string // folder of its socket, local
	server *cluster.Job
}

func newPostgres(t *testing.T, c *cluster.Cluster, m *cluster.Mount) *postgres {
	t.Helper()
	socket, err := os.MkdirTemp("/tmp", "pg-") // a socket's path is short, and its user must get there
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(socket) })
	p := &postgres{c: c, dir: filepath.Join(m.Path, "postgres"), socket: socket}
	run(t, c, m.Path, `mkdir -m 700 postgres; if test $UID = 0; then chown postgres postgres "$1"; fi`, socket)
	p.run(t, `initdb -D . --data-checksums --auth=trust --username=postgres --no-locale --encoding=UTF8`)
	return p
}

// start starts a script of PostgreSQL's programs in the folder of its data.
func (p *postgres) start(script string) *cluster.Job {
	return start(p.c, "/", `
		export PATH=$(echo /usr/lib/postgresql/*/bin | tr ' ' :):$PATH PGHOST=$1 PGUSER=postgres
		script='set -euo pipefail; cd "$0"; '$2
		if test $UID = 0; then exec setpriv --reuid=postgres --regid=postgres --init-groups bash -c "$script" "$3"; fi
		exec bash -c "$script" "$3"`,
		p.socket, script, p.dir)
}

func (p *postgres) run(t *testing.T, script string) string {
	t.Helper()
	out, err := p.start(script).Wait(limit)
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, tail(out))
	}
	return out
}

// launch starts the server and waits until it has recovered and answers.
func (p *postgres) launch(t *testing.T) {
	t.Helper()
	p.server = p.start(`exec postgres -D . -c fsync=on -c listen_addresses= -c shared_buffers=8MB -c unix_socket_directories=` + p.socket)
	cluster.Until(t, limit, "PostgreSQL answers", func() error {
		if p.server.Done() {
			t.Fatalf("PostgreSQL ended: %s", tail(p.server.Output()))
		}
		out, err := p.start(`pg_isready`).Wait(limit)
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// crash ends the server and all its processes, each of which leads a group of its
// own, and waits until the last is gone.
func (p *postgres) crash(t *testing.T) {
	t.Helper()
	p.run(t, `
		read -r server <postmaster.pid
		all="$server $(pgrep -P "$server" | tr '\n' ' ')"
		kill -9 $all 2>/dev/null || true
		for pid in $all; do while kill -0 "$pid" 2>/dev/null; do sleep 0.02; done; done`)
}

func (p *postgres) query(t *testing.T, sql string) string {
	t.Helper()
	return strings.TrimSpace(p.run(t, `psql -qAtX -v ON_ERROR_STOP=1 -c "`+sql+`"`))
}

// check finds the books of pgbench balanced, every index and page sound, and at least
// as many transactions as clients know of.
func (p *postgres) check(t *testing.T, known int) {
	t.Helper()
	sums := p.query(t, `SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(delta) FROM pgbench_history),
		(SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT sum(delta) FROM pgbench_history),
		(SELECT sum(bbalance) FROM pgbench_branches) = (SELECT sum(delta) FROM pgbench_history), (SELECT count(*) FROM pgbench_history)`)
	var transactions int
	if _, err := fmt.Sscanf(sums, "t|t|t|%d", &transactions); err != nil {
		t.Fatalf("accounts, tellers and branches equal the history, transactions: %s", sums)
	}
	if transactions < known || known == 0 {
		t.Errorf("%d transactions, of %d that clients know of", transactions, known)
	}
	p.run(t, `pg_amcheck --install-missing --heapallindexed --parent-check --database=postgres 2>&1`)
}

// The server dies with all its processes under a load of transactions, and recovers
// on a mount that was made anew: nothing that it had said was committed is lost.
func TestPostgreSQLRecoversFromACrash(t *testing.T) { // G1
	t.Parallel()
	c := cluster.Start(t, cluster.Options{})
	m := c.Mount()
	p := newPostgres(t, c, m)
	p.launch(t)
	p.run(t, `pgbench -q -i -s 1 2>&1`)

	logs := filepath.Join(p.socket, "transactions") // a line for each transaction that was acknowledged
	load := p.start(`pgbench -n -c 4 -j 1 -T 600 -l --log-prefix=` + logs + ` 2>&1`)
	known := func() int {
		text, err := os.ReadFile(onlyFile(t, logs+".*"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(text), "\n")
	}
	cluster.Until(t, limit, "200 transactions are done", func() error {
		if load.Done() {
			t.Fatalf("pgbench ended: %s", tail(load.Output()))
		}
		if n := known(); n < 200 {
			return fmt.Errorf("%d are", n)
		}
		return nil
	})
	p.crash(t)
	if _, err := load.Wait(limit); err == nil {
		t.Error("pgbench did not notice that its server died")
	}
	m.Remount()
	p.launch(t)
	p.check(t, known())

	p.run(t, `pg_ctl -D . -m fast -w stop`)
	m.Remount()
	p.run(t, `pg_checksums --check -D .`)
}

func onlyFile(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) > 1 {
		t.Fatalf("%s: %q, %v", pattern, found, err)
	}
	if len(found) == 0 {
		return os.DevNull
	}
	return found[0]
}
