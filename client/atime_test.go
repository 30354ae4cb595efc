package client

import (
	"io"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/client/clienttest"
	"github.com/distrifs/distrifs/proto"
)

// hello makes a file of five bytes.
func hello(t *testing.T, c *Client, name string) proto.InodeID {
	t.Helper()
	f := create(t, c, name)
	mustWrite(t, f, []byte("hello"), 0)
	must(t, f.Close())
	return f.Inode()
}

// readOnce reads a file through a File of its own, and gives its access time
// while it is open.
func readOnce(t *testing.T, c *Client, ino proto.InodeID, flags uint32) time.Time {
	t.Helper()
	f, err := c.OpenInode(t.Context(), root, ino, unix.O_RDONLY|flags)
	must(t, err)
	if _, err := f.ReadAt(make([]byte, 9), 0); err != io.EOF {
		t.Fatal(err)
	}
	at := f.Attr().Atime
	must(t, f.Close())
	return at
}

func TestReadsAndAccessTimes(t *testing.T) {
	for _, c := range []struct {
		mode          Atime
		flags         uint32
		first, second bool // does that read move the time?
	}{
		{NoAtime, 0, false, false},
		{RelAtime, 0, true, false},
		{StrictAtime, 0, true, true},
		{StrictAtime, unix.O_NOATIME, false, false},
	} {
		cluster := clienttest.New(t, clienttest.Options{})
		client := connect(t, cluster)
		client.SetAtime(c.mode)
		ino := hello(t, client, "/f")
		before, err := client.GetAttr(t.Context(), ino)
		must(t, err)
		first := readOnce(t, client, ino, c.flags)
		second := readOnce(t, client, ino, c.flags)
		if first.After(before.Atime) != c.first || second.After(first) != c.second {
			t.Errorf("%+v: %v, then %v, then %v", c, before.Atime, first, second)
		}
		after, err := client.GetAttr(t.Context(), ino)
		must(t, err)
		if !after.Atime.Equal(second) || after.Change != before.Change || !after.Ctime.Equal(before.Ctime) {
			t.Errorf("%+v: read at %v, and the attributes are %+v", c, second, after)
		}
	}
}

func TestAccessTimesReachTheMaster(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	c.SetAtime(RelAtime)
	ino := hello(t, c, "/f")
	at := readOnce(t, c, ino, 0)
	must(t, c.Close()) // says so before it says goodbye
	other := connect(t, cluster)
	attr, err := other.GetAttr(t.Context(), ino)
	must(t, err)
	if !attr.Atime.Equal(at) {
		t.Errorf("read at %v, and the master says %v", at, attr.Atime)
	}
}

func TestAnAccessTimeThatWasSetStands(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	c.SetAtime(StrictAtime)
	ino := hello(t, c, "/f")
	readOnce(t, c, ino, 0)
	want := time.Unix(1000000000, 5)
	_, err := c.SetAttr(t.Context(), root, ino, SetAttr{Atime: &TimeSet{Time: want}})
	must(t, err)
	attr, err := c.GetAttr(t.Context(), ino)
	must(t, err)
	if !attr.Atime.Equal(want) {
		t.Errorf("set to %v, and it is %v", want, attr.Atime)
	}
}

func TestReadsBeyondTheBoundAreNotNoted(t *testing.T) {
	a := accesses{pending: map[proto.InodeID]access{}}
	a.mode.Store(int32(StrictAtime))
	now := time.Unix(1000, 0)
	for i := range proto.InodeID(maxAccesses + 10) {
		a.note(i+1, nil, now)
	}
	a.note(1, nil, now.Add(time.Second))
	if len(a.pending) != maxAccesses || !a.pending[1].at.Equal(now.Add(time.Second)) {
		t.Errorf("%d noted, the first at %v", len(a.pending), a.pending[1].at)
	}
	batch := a.batch(maxAccesses)
	a.note(2, nil, now.Add(time.Minute))
	a.reported(batch)
	if left := a.batch(maxAccesses); len(batch) != maxAccesses || len(left) != 1 || left[0].Inode != 2 {
		t.Errorf("behind a report of %d: %v", len(batch), left)
	}
	if a.note(maxAccesses+5, nil, now); a.pending[maxAccesses+5].at != now {
		t.Error("what the master knows takes the place of what it does not")
	}
	if a.reported(a.batch(2)); len(a.pending) != 2 {
		t.Errorf("%d are kept behind the next report", len(a.pending))
	}
}

// A time as early as any is shown while no read is noted.
func TestAnAccessTimeBeforeAllOthers(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	c.SetAtime(RelAtime)
	ino := hello(t, c, "/f")
	early := time.Unix(-1<<40, 5)
	attr, err := c.SetAttr(t.Context(), root, ino, SetAttr{Atime: &TimeSet{Time: early}})
	must(t, err)
	for range 2 {
		if !attr.Atime.Equal(early) {
			t.Errorf("set to %v, shown is %v", early, attr.Atime)
		}
		attr, err = c.GetAttr(t.Context(), ino)
		must(t, err)
	}
}
