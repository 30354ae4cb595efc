// Package lint checks the rules of the house that no other tool knows: which
// part may import which, that every package explains itself in a doc.go, and
// that files stay short. Each failure says what to do instead.
//
// It runs the go command on the module it lives in and changes nothing.
package lint
