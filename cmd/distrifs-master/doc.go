// Command distrifs-master serves the metadata of a cluster: names, attributes, where
// chunks are, sessions. Flags, logging and signals are here; the rest is package meta.
//
// It exits with 0 after SIGINT or SIGTERM, having taken a checkpoint, and with 1 and
// one line on standard error when it cannot start or its log has failed.
package main
