package main

import (
	"github.com/distrifs/distrifs/cmd/internal/cli"
)

func main() {
	program := cli.New("distrifs", "starts clusters of DistriFS and works with their files")
	program.Long = `DistriFS is a distributed POSIX filesystem. "distrifs up" runs a whole cluster on
this machine; the other commands work with any cluster, mounted or not.

A remote path is HOST:PORT:/path, naming the master, or :/path for the master
given by --master or DISTRIFS_MASTER.`
	program.Examples = `distrifs up --detach --mount /mnt/distrifs
distrifs cp -r ./documents :/
distrifs ls -l localhost:9420:/documents
distrifs status
distrifs down`
	master := program.Flags().String("master", defaultMaster, "address of the master for paths that name none")

	addUp(program)
	addDown(program)
	addStatus(program, master)
	addDF(program, master)
	addFsck(program, master)
	addMoves(program, master)
	addCopy(program, master)
	addList(program, master)
	addCat(program, master)
	addRemove(program, master)
	addMkdir(program, master)
	addMove(program, master)
	addStat(program, master)
	program.Main()
}
