package fusefs

import (
	"testing"
	"testing/synctest"
)

// G3: a READ gives what the WRITEs before it brought, in whichever order they get here.
func TestAReadWaitsForWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w writing
		reads := 0
		end := w.begin(1, 0, 10)
		go w.read(t.Context(), 1, 5, 10, func() { reads++ })
		synctest.Wait()
		if reads != 0 {
			t.Error("it was read beside a WRITE")
		}
		end()
		synctest.Wait()
		if reads != 1 || len(w.writes)+len(w.reads) != 0 {
			t.Errorf("%d reads, %d spans are kept", reads, len(w.writes)+len(w.reads))
		}
	})
}

func TestAReadIsMadeAgainAfterAWriteThatCameLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w writing
		reads := 0
		w.read(t.Context(), 1, 5, 10, func() {
			if reads++; reads == 1 {
				w.begin(1, 0, 5)()   // before its range
				w.begin(2, 0, 100)() // another file
				end := w.begin(1, 14, 1)
				go func() { synctest.Wait(); end() }()
			}
		})
		if reads != 2 || len(w.writes)+len(w.reads) != 0 {
			t.Errorf("%d reads, %d spans are kept", reads, len(w.writes)+len(w.reads))
		}
		w.read(t.Context(), 1, 0, 1, func() { reads++; w.begin(1, 0, 1)() })
		if reads != 2+maxDisturbed+1 {
			t.Errorf("a READ that is disturbed for ever is made %d times", reads-2)
		}
	})
}
