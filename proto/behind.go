package proto

// The bits of ChangeBehind.set: which attributes a change behind sets.
const (
	BehindMode = 1 << iota
	BehindUID
	BehindGID
	BehindAtime
	BehindMtime
)
