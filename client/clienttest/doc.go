// Package clienttest is a cluster in memory for tests of the client: a master
// that keeps everything in maps, and chunkservers that are the real data plane
// over stores in memory. Nothing here is durable or fast; everything can be made
// to fail: calls to the master before or after they are carried out, whole
// servers, and each operation of a store.
//
// It does not import client, so that the client's own tests can use it.
package clienttest
