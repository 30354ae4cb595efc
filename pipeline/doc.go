// Package pipeline is the data plane: frames over TCP between clients and
// chunkservers, and down the chain of a chunk's replicas.
package pipeline
