// Command distrifs-chunkd is a chunkserver: it keeps replicas of chunks in data
// folders, serves them to clients and other chunkservers, and obeys one master.
//
// It has flags, logging and signals; everything else is package chunk. SIGINT and
// SIGTERM stop it cleanly: requests under way are finished and everything is synced.
package main
