package proto

// Incarnation is one start of a chunkserver: above incarnationRandom bits the number of
// the start, which is durable in its data folders before it is used, below them chance.
// So two starts from one state of the folders differ: who starts from an older copy of
// them gives itself a number that another start has had.
type Incarnation uint64

const incarnationRandom = 20 // bits

// Next is a start behind one, made different from others by chance.
func (i Incarnation) Next(chance uint32) Incarnation {
	return Incarnation(i.Start()+1)<<incarnationRandom | Incarnation(chance%(1<<incarnationRandom))
}

// Start is the number of the start, from 1.
func (i Incarnation) Start() uint64 { return uint64(i) >> incarnationRandom }

// Continues tells whether this is the same start as last, or began with folders that have
// seen it.
func (i Incarnation) Continues(last Incarnation) bool { return i == last || i.Start() > last.Start() }
