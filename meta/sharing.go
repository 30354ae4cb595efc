package meta

import (
	"sync"

	"github.com/distrifs/distrifs/proto"
)

// sharings are the files whose chunks are about to be shared. Who counts an open goes
// on when that is done, and who shares looks at the opens after it has begun: so either
// an open is seen, and nothing is shared, or it comes after, and is answered with
// locations that say shared.
type sharings struct {
	mu sync.Mutex
	of map[proto.InodeID]*sharing
}

type sharing struct {
	count int // of those who are at it
	done  chan struct{}
}

func (s *sharings) begin(ino proto.InodeID) (end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.of[ino]
	if one == nil {
		if s.of == nil {
			s.of = map[proto.InodeID]*sharing{}
		}
		one = &sharing{done: make(chan struct{})}
		s.of[ino] = one
	}
	one.count++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if one.count--; one.count == 0 {
			delete(s.of, ino)
			close(one.done)
		}
	}
}

// wait returns when nobody is at it that was when it was called, and tells whether
// somebody was. It takes as long as a record of the log.
func (s *sharings) wait(ino proto.InodeID) (waited bool) {
	s.mu.Lock()
	one := s.of[ino]
	s.mu.Unlock()
	if one != nil {
		<-one.done
	}
	return one != nil
}
