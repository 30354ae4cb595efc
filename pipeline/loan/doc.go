// Package loan lets a reader on the chunkserver's own host read a chunk's file itself:
// short-circuit reads. The chunkserver hands out a descriptor, for reading only, over a
// unix socket, after the same checks as for a read; from then on the bytes cost neither a
// connection nor another process.
//
// # Words
//
//   - loan: a chunk file that is lent, and what its reader has to know of it.
//   - seal: the bytes of the file that say which chunk and version it is. They change in
//     the file before the chunkserver confirms another version to anybody.
//
// # What a reader may rely upon
//
// A loan says that at the moment of the answer the chunkserver would have served a read of
// that version. Afterwards nobody tells the reader of writes, versions, or the end of the
// chunkserver. So it uses a loan only as long as it knows by other means that the chunk can
// have changed through itself alone: package client does so under the lease of the file
// during which it borrowed, at the version it borrowed (client/shortcut.go).
//
// Every byte is verified against the file's table of checksums (G5), and the seal after
// the bytes were read. Whatever does not fit is a doubt, no error: the reader then asks the
// chunkserver, which knows better, in the ordinary way. A block that is just being written
// is such a doubt.
//
// # Who may borrow
//
// The socket is an abstract one, named after the address of the data plane: it exists in
// that network namespace only. Each side makes sure that the other one is root or has its
// own user id (SO_PEERCRED).
package loan
