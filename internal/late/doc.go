// Package late has contexts that cost something only when somebody needs them. Most
// waits for a server are over before anybody could have lost patience; yet to ask an
// ordinary context for Done, or to make one with a time-out, costs timers, memory, and
// with contexts of other kinds a goroutine: more than all else that is done for a
// small read.
//
// Who waits asks Hint first, and Done only when that, or the deadline, has come.
//
// Context.mu is a leaf. Nothing here blocks.
package late
