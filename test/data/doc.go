// Package data checks the bytes: files over many small chunks compared with a
// local file, fio's own verification, and the chunk files on the servers.
package data
