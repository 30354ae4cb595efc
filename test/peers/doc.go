// Command peers measures DistriFS beside MooseFS and GlusterFS, in one run on one machine, and
// prints one table, ratios first. `make bench-peers` runs it; continuous integration
// does not.
//
// Each filesystem keeps three copies on three servers of its own on this machine, with
// default settings and its store in --store (default /dev/shm: what is measured is the
// software, not a disk). Nothing of a peer is built here: Debian's packages
// moosefs-master, moosefs-chunkserver, moosefs-client, moosefs-cli and glusterfs-server
// are used, which the scripts beside this file start in a network of their own and
// stop again. A peer whose packages are missing is left out.
//
// The workloads know nothing of what serves a folder: --dir NAME=FOLDER measures any
// other mounted filesystem as well. Each one runs on all filesystems before the next
// begins, so that a slow minute of the machine hurts all. "Cold" ones come after a remount
// and with the kernel's caches dropped. Ratios compare; figures of different runs do not.
package main
