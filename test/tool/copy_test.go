package tool

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/distrifs/distrifs/test/cluster"
)

// tree makes a folder with all that cp knows how to copy.
const tree = `mkdir -p tree/sub/deep tree/empty
head -c 3500000 /dev/urandom >tree/large
: >tree/nothing
echo text >tree/sub/text
chmod 750 tree/sub; chmod 600 tree/sub/text; chmod 555 tree/sub/deep
ln -s sub/text tree/link; ln -s nowhere tree/dangling
touch -d '2001-02-03 04:05:06.789' tree/large tree/sub
printf x >"tree/sub/a name
with a newline"`

func TestCopy(t *testing.T) {
	c := cluster.Start(t, cluster.Options{ChunkSize: 1 << 20})
	here := t.TempDir()
	c.Shell(here, tree)
	at := func(name string) string { return filepath.Join(here, name) }
	must := func(args ...string) string { t.Helper(); return c.Tool(args...).Must() }
	refused := func(word string, args ...string) {
		t.Helper()
		out, err := c.Tool(args...).Wait(cluster.JobLimit)
		if err == nil || strings.Count(out, "\n") != 1 || !strings.Contains(out, word) {
			t.Errorf("distrifs %q: %v, %q; want one line with %q", args, err, out, word)
		}
	}

	// There, within, and back again.
	must("cp", "-r", "-p", at("tree"), ":/new")
	must("mkdir", ":/into")
	chunks := func() uint64 {
		t.Helper()
		s, err := c.Status()
		if err != nil {
			t.Fatal(err)
		}
		return s.Chunks.Total
	}
	before := chunks()
	must("cp", "-p", ":/new/large", ":/into/large")
	if n := chunks(); n != before {
		t.Errorf("%d chunks, %d after a copy within the cluster", before, n)
	}
	must("rm", ":/into/large")
	must("cp", "-r", "-p", ":/new", ":/into")
	must("cp", "-r", "-p", c.Master.Address+":/into/new", at("back"))
	c.Shell(here, `diff -r --no-dereference tree back; list() { (cd $1; find . -printf '%p %y %m %l\n' | sort); }
		diff <(list tree) <(list back)
		test "$(stat -c %y tree/large)" = "$(stat -c %y back/large)"
		test "$(stat -c %y tree/sub)" = "$(stat -c %y back/sub)"`)

	// Into a directory that is there; several at once; onto a file, in place.
	must("cp", at("tree/sub/text"), at("tree/large"), ":/into/")
	if out := must("ls", ":/into"); out != "large\nnew\ntext\n" {
		t.Errorf("ls printed %q", out)
	}
	must("cp", at("tree/large"), ":/into/text")
	must("cp", at("tree/sub/text"), ":/into/text")
	if out := must("cat", ":/into/text"); out != "text\n" {
		t.Errorf("a short file over a long one: %q", out)
	}
	must("cp", ":/into/text", ":/into/large", here)
	c.Shell(here, "cmp large tree/large; cmp text tree/sub/text")

	// What cannot be.
	refused("-r copies directories", "cp", at("tree"), ":/x")
	refused("not a directory", "cp", at("large"), at("text"), ":/nowhere")
	refused("not a directory", "cp", at("large"), ":/nowhere/")
	refused("not found", "cp", ":/nowhere", here)
	refused("no such file", "cp", at("nowhere"), ":/")
	refused("not found", "cp", at("text"), ":/no/parent")
	refused("into itself", "cp", "-r", ":/into", ":/into/new")
	refused("same file", "cp", ":/into/text", ":/into/text")
	refused("remote path", "cp", at("text"), at("copy"))
	must("mkdir", ":/into/nothing")
	refused("a directory is there", "cp", at("tree/nothing"), ":/into")
	refused("not a directory", "cp", "-r", at("tree/sub"), ":/into/text")

	// Names.
	must("mv", ":/into/text", ":/into/renamed")
	must("mkdir", "-p", ":/a/b/c")
	must("mv", ":/into/renamed", ":/into/large", ":/a/b/c")
	if out := must("ls", "-R", ":/a"); out != "/a:\nb\n\n/a/b:\nc\n\n/a/b/c:\nlarge\nrenamed\n" {
		t.Errorf("ls -R printed %q", out)
	}
	if out := must("ls", "-l", ":/new"); !strings.Contains(out, "link -> sub/text") || !strings.Contains(out, "drwxr-x---") || !strings.Contains(out, " 3500000 Feb  3  2001 large") {
		t.Errorf("ls -l printed %q", out)
	}
	if out := must("stat", ":/new/sub"); !strings.Contains(out, "(0750/drwxr-x---)") || !strings.Contains(out, "directory") {
		t.Errorf("stat printed %q", out)
	}
	if out := must("df"); !strings.Contains(out, c.Master.Address) || !strings.Contains(out, "%") {
		t.Errorf("df printed %q", out)
	}
	refused("mkdir /a: exists", "mkdir", ":/a")
	refused("is a directory", "rm", ":/a")
	refused("is a directory", "cat", ":/a")
	refused("not found", "rm", ":/nowhere")
	refused("root cannot be removed", "rm", "-r", ":/")
	refused("not a remote path: write HOST:PORT:/path, or :/a for", "ls", "/a")
	refused("or :/a for", "ls", c.Master.Address+":a")
	must("rm", "-r", ":/a", ":/new", ":/into")
	if out := must("ls"); out != "" {
		t.Errorf("left: %q", out)
	}
	if out := must("status"); !strings.Contains(out, "none have too few replicas") {
		t.Errorf("status printed %q", out)
	}
}

func TestNobodyAnswers(t *testing.T) {
	c := cluster.Bare(t)
	// A port on which nobody listens: reserved, and never given out.
	out, err := c.Command("/", cluster.Binary(t, "distrifs"), "ls", "127.0.0.1:1:/").Wait(cluster.JobLimit)
	const begin, end = "distrifs: connect to master 127.0.0.1:1: unavailable: no answer in 10s (", "): see that it runs and that the address is right\n"
	if err == nil || !strings.HasPrefix(out, begin) || !strings.HasSuffix(out, end) || strings.Contains(out, "desc =") || strings.Count(out, "\n") != 1 {
		t.Errorf("%v, %q; want %q...%q", err, out, begin, end)
	}
}
