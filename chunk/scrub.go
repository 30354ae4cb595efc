package chunk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/proto"
)

// The scrub reads every replica of a folder, in order of chunk ids, and compares it
// with its footer and its table, so that damage is found while good replicas are left.
// What it finds is reported like damage that a reader finds (L13).
//
// One pass takes Config.ScrubPeriod: the rate is what is left of the bytes over what
// is left of the period (L19), so it follows the disk's size and makes up for time in
// which the server was down. It never is below scrubFloor, with which a small folder is
// through sooner; the next pass then waits for a sixteenth of the period. Nor is it
// above scrubCeiling. Requests go first: while there are any, a piece waits, though
// never for longer than maxYield.
const (
	defaultScrubPeriod = 14 * 24 * time.Hour
	scrubFloor         = 1 << 20   // bytes a second
	scrubCeiling       = 200 << 20 // bytes a second
	scrubPiece         = 256 << 10 // bytes read at once; a writer of the replica waits for as long
	maxYield           = time.Second
	yieldStep          = 10 * time.Millisecond
	passesPerPeriod    = 16          // at most
	saveProgressEvery  = time.Minute // at most; and at the end of a pass and of the service
)

// scrubber scrubs one folder. All of it belongs to the goroutine that runs it, but for
// what it tells folder.
type scrubber struct {
	store  *Store
	folder *folder
	period time.Duration

	progress progress
	left     int64     // bytes of the pass
	due      time.Time // when the next piece may be read
	saved    time.Time
	buffer   []byte // of the pass
}

func newScrubber(s *Store, f *folder, period time.Duration) *scrubber {
	return &scrubber{store: s, folder: f, period: period, progress: f.loadProgress()}
}

// run makes passes until ctx ends.
func (sc *scrubber) run(ctx context.Context) {
	defer sc.save()
	for sc.rest(ctx) {
		sc.pass(ctx)
	}
}

// rest waits until the next pass may begin, or the one that was interrupted go on;
// false: ctx has ended.
func (sc *scrubber) rest(ctx context.Context) bool {
	if sc.progress.After != 0 {
		return ctx.Err() == nil
	}
	return sleepUntil(ctx, sc.progress.Began.Add(sc.period/passesPerPeriod))
}

// pass goes through all replicas behind progress.After.
func (sc *scrubber) pass(ctx context.Context) {
	if sc.progress.After == 0 {
		sc.progress.Began = time.Now()
	}
	list := sc.store.scrubList(sc.folder, sc.progress.After)
	sc.left = 0
	for _, item := range list {
		sc.left += item.bytes
	}
	total := sc.left
	sc.due, sc.saved = time.Now(), time.Now()
	sc.buffer = make([]byte, scrubPiece)
	defer func() { sc.buffer = nil }()
	for _, item := range list {
		sc.folder.scrubbed(total-sc.left, total, sc.progress.Finished)
		if !sc.verify(ctx, item) {
			return
		}
		sc.left -= item.bytes
		sc.progress.After = item.id
		if time.Since(sc.saved) >= saveProgressEvery {
			sc.save()
		}
	}
	sc.progress.After, sc.progress.Finished = 0, time.Now()
	sc.progress.Passes++
	sc.folder.scrubbed(total, total, sc.progress.Finished)
	sc.save()
}

// verify looks at one replica, if it is still there; false: ctx has ended.
func (sc *scrubber) verify(ctx context.Context, item scrubItem) bool {
	r := sc.store.find(item.id)
	if r == nil {
		return ctx.Err() == nil
	}
	found, err := r.verify(sc.buffer, func(n int) bool { return sc.pace(ctx, n) })
	if found {
		sc.progress.Damaged++
		sc.store.log.Error("the scrub found damage", "chunk", item.id, "folder", sc.folder.path, "error", err)
	}
	return ctx.Err() == nil
}

// pace waits until n more bytes may be read; false: ctx has ended.
func (sc *scrubber) pace(ctx context.Context, n int) bool {
	if !sleepUntil(ctx, sc.due) {
		return false
	}
	now := time.Now()
	for patience := now.Add(maxYield); sc.store.load.Load() > 0 && now.Before(patience); now = time.Now() {
		if !sleepUntil(ctx, now.Add(yieldStep)) {
			return false
		}
	}
	sc.due = now.Add(time.Duration(float64(n) / sc.rate(now) * float64(time.Second)))
	return true
}

// rate is in bytes a second.
func (sc *scrubber) rate(now time.Time) float64 {
	remaining := sc.progress.Began.Add(sc.period).Sub(now).Seconds()
	if remaining <= 0 {
		return scrubCeiling
	}
	return max(scrubFloor, min(scrubCeiling, float64(sc.left)/remaining))
}

func (sc *scrubber) save() {
	if sc.folder.writable() != nil {
		return // what stands there now may be another disk, or an empty mountpoint
	}
	if err := sc.folder.saveProgress(sc.progress); err != nil {
		sc.store.log.Warn("save the progress of the scrub: after a restart it begins anew", "folder", sc.folder.path, "error", err)
	}
	sc.saved = time.Now()
}

// sleepUntil is false when ctx ends first.
func sleepUntil(ctx context.Context, at time.Time) bool {
	wait := time.Until(at)
	if wait <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// scrubItem is a replica to be looked at.
type scrubItem struct {
	id    proto.ChunkID
	bytes int64
}

// scrubList lists the replicas of a folder behind an id, in order of ids.
func (s *Store) scrubList(f *folder, after proto.ChunkID) (list []scrubItem) {
	for _, r := range s.replicas(func(id proto.ChunkID) bool { return id > after }) {
		r.mu.RLock()
		if r.folder == f && r.state == whole {
			list = append(list, scrubItem{r.id, footerPageSize + r.length + blocksOf(r.length)*entrySize})
		}
		r.mu.RUnlock()
	}
	slices.SortFunc(list, func(a, b scrubItem) int {
		if a.id < b.id {
			return -1
		}
		return 1
	})
	return list
}

// verify compares the replica's file, opened anew by its name, with what it has to be:
// its size, its footer, its table and every block. It waits for pace before each read,
// and ends when that answers false. Replicas that are known to be bad, or that are about to be
// settled, are passed over. found: the replica is lost or corrupt from now on.
func (r *replica) verify(buffer []byte, pace func(bytes int) bool) (found bool, err error) {
	if !pace(footerPageSize) {
		return false, nil
	}
	v := verification{replica: r}
	defer v.close()
	err = v.open()
	for off := int64(0); err == nil; off += int64(len(buffer)) {
		n := v.next(int64(len(buffer)), off)
		if n == 0 || !pace(int(n)) {
			return false, nil
		}
		err = v.piece(buffer[:n], off)
	}
	return r.known(), err
}

// known tells whether the replica is reported as bad.
func (r *replica) known() bool { return r.corrupt.Load() || r.lost.Load() != nil }

// verification is a replica's file, and the table that was read from it.
type verification struct {
	*replica
	file   disk.File
	read   table
	writes uint64 // as of read
}

func (v *verification) close() {
	if v.file != nil {
		_ = v.file.Close() // nothing was written
	}
}

// worth tells whether there is something to verify. Needs mu.
func (v *verification) worth() bool {
	return v.state == whole && !v.known() && !v.unclean && !v.stale
}

// open leaves file nil when there is nothing to verify.
func (v *verification) open() error {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if !v.worth() {
		return nil
	}
	file, err := v.folder.fs.OpenFile(v.path(), os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return v.lose(damaged("file %s is gone", v.path()))
	}
	if err != nil {
		return v.unreadable("open", 0, err)
	}
	v.file = file
	size, err := file.Size()
	if err != nil {
		return v.unreadable("read size of", 0, err)
	}
	if size != v.layout().fileSize() {
		return v.lose(damaged("file has %d bytes instead of %d", size, v.layout().fileSize()))
	}
	return v.readAgain()
}

// unreadable reports a replica that the disk does not give.
func (v *verification) unreadable(op string, block int64, err error) error {
	if err = v.folder.failed(op, v.subject(), err); proto.KindOf(err) == proto.IO {
		v.damagedBlock(block, err)
	}
	return err
}

// readAgain reads footer and table, and compares them with those in memory. Needs mu.
func (v *verification) readAgain() (err error) {
	if v.read, err = v.readTable(v.file); err != nil {
		return err
	}
	v.writes = v.replica.writes
	if v.replica.file == nil {
		return nil
	}
	for block, entry := range v.read {
		if v.table.entry(int64(block)) != entry {
			return v.lose(damaged("the table's entry of block %d changed on disk", block))
		}
	}
	return nil
}

// next is how many bytes, of whole blocks and at most limit, there are to verify at off.
func (v *verification) next(limit, off int64) int64 {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if v.file == nil || !v.worth() {
		return 0
	}
	return max(0, min(limit, blocksOf(v.length)*blockSize-off))
}

// piece verifies whole blocks at off. What is written meanwhile only makes the replica
// longer.
func (v *verification) piece(span []byte, off int64) error {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if !v.worth() {
		return nil
	}
	if v.writes != v.replica.writes {
		if err := v.readAgain(); err != nil {
			return err
		}
	}
	if n, err := v.file.ReadAt(span, off); n < len(span) {
		block := (off + int64(n)) / blockSize
		return v.unreadable("read", block, fmt.Errorf("block %d: %w", block, err))
	}
	for block := off / blockSize; len(span) > 0; block, span = block+1, span[blockSize:] {
		if _, ok := v.read.verify(block, span[:blockSize]); !ok {
			return v.mismatch(block)
		}
	}
	return nil
}
