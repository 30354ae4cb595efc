// Package programs runs unmodified programs on a mount: cp, tar, diff, go, git.
package programs
