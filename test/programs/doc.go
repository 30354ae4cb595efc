// Package programs runs unmodified programs on a mount, kills them and the servers,
// and lets the programs themselves judge what they find: cp, tar, diff, go, git,
// SQLite, PostgreSQL, fio and stress-ng. test/deps installs what is missing.
package programs
