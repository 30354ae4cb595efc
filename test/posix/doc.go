// Package posix checks what docs/POSIX.md says of single calls on a single mount: the
// tests that go-fuse has for filesystems, a suite of our own, and folders of many
// entries.
//
// # The tables
//
// testdata/*.txt has the suite, a file for a call or a few, a line for a case. Each
// case begins in an empty folder of mode 0777, as root with umask 0, and runs on a mount
// and in a local tmpfs: both have to answer what the line says.
//
//	mkdir d 755; creat d/f 644; 1000 open d/f O_WRONLY = EACCES
//
// Steps end at a semicolon. A number before a call is who makes it, uid[:gid[,group]...];
// without one it is root. Behind "=" stands the answer: an errno, or what the call gives,
// 0 if that is nothing. A step without one has to succeed. "= A, locally B" is for the few
// calls in which the mount differs, and docs/POSIX.md has a line for each of them.
//
//	x{255}      x 255 times; (ab){3} is ababab
//	\x00 \n     as in Go
//	#0 #1       the files opened in this case, in order; calls that take a path take them too
//	a|b         flags
//
// The calls, which are named after the system's, are in calls_*_test.go.
package posix
