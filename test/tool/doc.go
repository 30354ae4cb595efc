// Package tool tests the command `distrifs` as its users type it: whole clusters
// that come up, are bothered, go down and come back, and copies to, from and
// within them.
package tool
