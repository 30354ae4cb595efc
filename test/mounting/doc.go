// Package mounting tests mounts as the system makes and ends them: by mount(8) and
// umount(8) with our helpers, from fstab, remounted, detached while in use, and
// opened by file handle.
//
// mount(8) looks for helpers in /sbin alone. The tests install them elsewhere, and lay
// that over /sbin in a mount namespace of their own: nothing of the machine changes.
package mounting
