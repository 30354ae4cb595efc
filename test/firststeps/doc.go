// Package firststeps does what a newcomer does: clones the project and types the
// commands of the README, with nothing on the PATH but what a fresh machine has.
package firststeps
