// Package again says how soon a master that is away is called again, and how often that is
// told. Everybody waits when a master is back, so the pauses stay short; they differ by chance, so
// that not all call at once.
//
// Attempts belong to one goroutine. There are no locks, and nothing here blocks.
package again
