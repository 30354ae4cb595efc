// Package cputime tells how much processor time was spent, for benchmarks on machines that do
// other things as well. It has no state, no locks, and nothing in it blocks.
package cputime
