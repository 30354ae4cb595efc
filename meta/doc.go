// Package meta is the master.
package meta
