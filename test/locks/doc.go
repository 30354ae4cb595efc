// Package locks checks locks of flock(2) and fcntl(2) between processes on two mounts:
// that they exclude, that what was written under one is read under the next, that
// waits end by signals and by EDEADLK, and that locks outlive the master and end with
// their process and their mount.
package locks
