// Package heal damages clusters of real processes and looks on while they make
// themselves whole again, and does what operators do.
package heal
