// Package cli is what the commands of DistriFS have in common: flags with long
// help, values from the environment, sizes, logging, signals, and the one line
// that a command which failed leaves on standard error.
//
// A command is described once and run by Main:
//
//	cmd := cli.New("distrifs-master", "serves the metadata of a cluster")
//	cmd.Long, cmd.Examples = "...", "..."
//	dir := cmd.Flags().String("dir", "", "folder of log and checkpoints")
//	logging := cli.LogFlags(cmd.Flags())
//	cmd.Run = func(ctx context.Context, args []string) error {
//		return serve(ctx, *dir, logging.Logger())
//	}
//	cmd.Main()
//
// # Words
//
//   - command: a program, or one verb of a program (Sub); verbs accept their
//     program's flags before and behind their name.
//   - usage error: the command line or the environment makes no sense.
//
// # Invariants
//
// A flag on the command line wins over the environment, which wins over the
// default. Run is called only when every value given was understood. A command
// that fails prints exactly one line, "program: what: why: remedy", and exits
// with code 1, whatever the reason.
//
// Nothing here holds a lock. Main does not return.
package cli
