// Package attributes checks extended attributes and POSIX access control lists on
// real mounts: that the system's own tools see the same as on a local filesystem, on
// every mount and after every restart, and that copies by unmodified programs, there
// and back, lose none.
package attributes
