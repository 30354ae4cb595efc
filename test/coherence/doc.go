// Package coherence tests what one mount sees of another's work: at once, whatever the
// two have cached (G3, G4), and though mounts are stopped or killed and the master is
// started anew.
//
// A job works on both mounts, which a and b stand for: it knows of no other way in which
// they could hear of each other.
package coherence
