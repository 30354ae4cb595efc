package state

import "github.com/distrifs/distrifs/proto"

// session is a client's presence.
type session struct {
	id     uint64
	client ref    // blob
	slots  uint32 // root of the trie of its slots
	count  uint32 // of slots
	_      uint32
}

func (s *session) freeLink() *uint32 { return &s.slots }

// slotRecord keeps the last answer of a session's slot.
type slotRecord struct {
	sequence uint64
	answer   ref // blob: a Result, encoded
	number   uint32
}

func (s *slotRecord) freeLink() *uint32 { return &s.number }

type (
	sessionKeys tables // sessions by id
	slotKeys    tables // slots of one session by number
)

func (k *sessionKeys) key(i uint32) uint64 { return k.sessions.get(i).id }
func (k *slotKeys) key(i uint32) uint64    { return uint64(k.slots.get(i).number) }

func (t *tables) sessionTrie() trie { return trie{&t.arena, (*sessionKeys)(t)} }
func (t *tables) slotTrie() trie    { return trie{&t.arena, (*slotKeys)(t)} }

// session finds a session's record; 0: there is none.
func (t *tables) session(id proto.SessionID) uint32 {
	if id == 0 || id > t.lastSession {
		return 0
	}
	if i, key := t.sessionTrie().ceil(t.sessionRoot, uint64(id)); key == uint64(id) {
		return i
	}
	return 0
}

// slot finds the record of a session's slot; 0: not used yet.
func (t *tables) slot(session, number uint32) uint32 {
	if i, key := t.slotTrie().ceil(t.sessions.get(session).slots, uint64(number)); i != 0 && key == uint64(number) {
		return i
	}
	return 0
}

// addSession makes a session of an id that is not there.
func (t *tables) addSession(id proto.SessionID, client []byte) uint32 {
	i := t.sessions.alloc()
	*t.sessions.mut(i) = session{id: uint64(id), client: t.arena.newBlob(client)}
	t.sessionRoot = t.sessionTrie().insert(t.sessionRoot, uint64(id), i)
	return i
}

// setSlot keeps an answer in a slot, in place of the one before.
func (t *tables) setSlot(session, number uint32, sequence uint64, answer []byte) {
	i := t.slot(session, number)
	if i == 0 {
		i = t.slots.alloc()
		*t.slots.mut(i) = slotRecord{number: number}
		s := t.sessions.mut(session)
		s.slots = t.slotTrie().insert(s.slots, uint64(number), i)
		s.count++
	}
	s := t.slots.mut(i)
	if s.sequence = sequence; number == StreamSlot && s.answer != 0 {
		return // it is the same
	}
	t.arena.freeBlob(s.answer)
	blob := t.arena.newBlob(answer)
	t.slots.mut(i).answer = blob
}

func (s *State) openSession(c *OpenSession) Result {
	switch {
	case len(c.Client) > MaxAddress:
		return Result{Kind: proto.Invalid}
	case s.sessions.live >= MaxSessions:
		return Result{Kind: proto.NoSpace}
	}
	s.lastSession++
	s.addSession(s.lastSession, []byte(c.Client))
	return Result{Session: s.lastSession}
}

func (s *State) endSession(c *EndSession) Result {
	i := s.session(c.Session)
	if i == 0 {
		return Result{Kind: proto.SessionExpired}
	}
	gone := *s.sessions.get(i)
	s.sessionRoot, _ = s.sessionTrie().remove(s.sessionRoot, gone.id)
	s.slotTrie().clear(gone.slots, func(slot uint32) {
		s.arena.freeBlob(s.slots.get(slot).answer)
		s.slots.release(slot)
	})
	s.arena.freeBlob(gone.client)
	s.sessions.release(i)
	return Result{}
}

// recall looks a request up in its slot. done: the answer is result, and nothing is
// to be carried out.
func (t *tables) recall(o Origin) (result Result, done bool) {
	session := t.session(o.Session)
	switch {
	case session == 0:
		return Result{Kind: proto.SessionExpired}, true
	case o.Slot >= MaxSlots:
		return Result{Kind: proto.Invalid}, true
	}
	i := t.slot(session, o.Slot)
	if i == 0 {
		return Result{}, false
	}
	switch kept := t.slots.get(i); {
	case o.Sequence > kept.sequence:
		return Result{}, false
	case o.Sequence < kept.sequence: // its answer is forgotten
		return Result{Kind: proto.Malformed}, true
	default:
		result, _ = decodeResult(t.arena.blob(nil, kept.answer)) // what encodeResult wrote
		result.Repeated = true
		return result, true
	}
}

// Repeated gives the answer that a slot keeps for exactly this request.
func (s *State) Repeated(o Origin) (Result, bool) {
	if o.Sequence == 0 {
		return Result{}, false
	}
	r, done := s.recall(o)
	if !done || !r.Repeated {
		return Result{}, false
	}
	return r, true
}

// executeInOrder carries out a command of a session's stream.
func (s *State) executeInOrder(o Origin, c Command) Result {
	session := s.session(o.Session)
	if session == 0 {
		return Result{Kind: proto.SessionExpired}
	}
	switch last := s.streamed(session); {
	case o.Sequence <= last:
		return Result{Repeated: true}
	case o.Sequence != last+1:
		return Result{Kind: proto.Interrupted} // by one that failed
	}
	r := s.execute(c)
	if r.Kind == proto.OK {
		s.setSlot(session, StreamSlot, o.Sequence, nothing)
	}
	return r
}

// nothing is an answer that nobody asks for.
var nothing = encodeResult(nil, &Result{})

// streamed is the sequence of the last command of a session's stream.
func (t *tables) streamed(session uint32) uint64 {
	if i := t.slot(session, StreamSlot); i != 0 {
		return t.slots.get(i).sequence
	}
	return 0
}

// Streamed is the sequence of the last command of a session's stream that was carried
// out; 0: none was.
func (s *State) Streamed(id proto.SessionID) uint64 {
	if session := s.session(id); session != 0 {
		return s.streamed(session)
	}
	return 0
}

// HasSession says whether a session lives.
func (s *State) HasSession(id proto.SessionID) bool { return s.session(id) != 0 }

// Sessions lists the sessions in order of their ids.
func (s *State) Sessions() []SessionInfo {
	list := make([]SessionInfo, 0, s.sessions.live)
	s.sessionTrie().walk(s.sessionRoot, func(i uint32) bool {
		r := s.sessions.get(i)
		list = append(list, SessionInfo{
			ID: proto.SessionID(r.id), Client: string(s.arena.blob(nil, r.client)), Slots: r.count,
		})
		return true
	})
	return list
}
