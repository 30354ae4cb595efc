package again

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a Attempts
		began, told := time.Now(), 0
		for time.Since(began) < time.Minute {
			pause, tell := a.Failed(false)
			if pause < minPause/2 || pause >= 3*maxPause/2 {
				t.Fatalf("a pause of %v", pause)
			}
			if tell {
				told++
			}
			time.Sleep(pause)
		}
		if told != 6 {
			t.Errorf("told %d times in a minute", told)
		}
		if pause, tell := a.Failed(true); !tell || pause >= 3*minPause/2 {
			t.Errorf("after an answer: a pause of %v, told %v", pause, tell)
		}
		if pause, tell := a.Failed(false); tell || pause < minPause || pause >= 3*minPause {
			t.Errorf("after it: a pause of %v, told %v", pause, tell)
		}
	})
}
