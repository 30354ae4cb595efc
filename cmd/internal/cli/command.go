package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"
)

// Command is a program or one verb of it. Set the exported fields, then call
// Main (or, in tests, Execute) on the program.
type Command struct {
	Name     string // "distrifs", "cp"
	Summary  string // one line without a full stop, lower case
	Args     string // what follows the flags in the usage line: "SRC... DST"
	Long     string // paragraphs of the help; may be empty
	Examples string // one example a line; may be empty

	// MinArgs and MaxArgs bound the number of arguments that are not flags.
	// A negative MaxArgs is no bound. The zero values allow none.
	MinArgs, MaxArgs int

	// Run does the work. Its context ends at SIGINT or SIGTERM. It may be nil
	// for a program that has only verbs.
	Run func(ctx context.Context, args []string) error

	flags   *pflag.FlagSet
	help    *bool
	version *bool
	parent  *Command
	subs    []*Command
}

// New describes a program. It has the flags --help and --version.
func New(name, summary string) *Command {
	c := &Command{Name: name, Summary: summary, flags: newFlagSet(name)}
	c.help = c.flags.Bool("help", false, "print this help and exit")
	c.version = c.flags.Bool("version", false, "print the version and exit")
	return c
}

// Sub adds a verb to the program.
func (c *Command) Sub(name, summary string) *Command {
	sub := &Command{Name: name, Summary: summary, flags: newFlagSet(name), parent: c, help: c.help, version: c.version}
	c.subs = append(c.subs, sub)
	return sub
}

func newFlagSet(name string) *pflag.FlagSet {
	fs := pflag.NewFlagSet(name, pflag.ContinueOnError)
	fs.SortFlags = false
	fs.Usage = func() {} // Execute prints the help, and on standard output
	return fs
}

// Flags is the command's own set; a program's flags are valid for its verbs too.
func (c *Command) Flags() *pflag.FlagSet { return c.flags }

// Main runs the program with the process's arguments and environment and exits:
// with 0, or with 1 behind one line on standard error.
func (c *Command) Main() {
	ctx, stop := SignalContext(context.Background())
	err := c.Execute(ctx, os.Args[1:], os.Stdout, os.LookupEnv)
	stop()
	if err != nil {
		Fatal(err)
	}
	os.Exit(0)
}

// Execute parses the arguments, completes them from the environment and runs the
// command they name. Help and version go to stdout.
func (c *Command) Execute(ctx context.Context, args []string, stdout io.Writer, lookupEnv func(string) (string, bool)) error {
	target, rest, err := c.parse(args)
	switch {
	case errors.Is(err, pflag.ErrHelp) || err == nil && *c.help:
		return target.writeHelp(stdout)
	case err != nil:
		return target.usageError(err.Error())
	case *c.version:
		_, err := fmt.Fprintf(stdout, "%s %s\n", c.Name, Version())
		return err
	}
	if err := fromEnvironment(target.flags, lookupEnv); err != nil {
		return err
	}
	if target.Run == nil {
		return target.usageError("a command is missing: one of " + strings.Join(target.subNames(), ", "))
	}
	if err := target.checkArgs(rest); err != nil {
		return err
	}
	err = target.Run(ctx, rest)
	var usage *usageError
	if errors.As(err, &usage) && usage.command == "" {
		return target.usageError(err.Error())
	}
	return err
}

// parse finds the command that args name, and its arguments. The command is
// valid with an error too: it is the one whose help is of use.
func (c *Command) parse(args []string) (*Command, []string, error) {
	if len(c.subs) == 0 {
		err := c.flags.Parse(args)
		return c, c.flags.Args(), err
	}
	c.flags.SetInterspersed(false)
	if err := c.flags.Parse(args); err != nil || *c.help || *c.version || c.flags.NArg() == 0 {
		return c, nil, err
	}
	name := c.flags.Arg(0)
	for _, sub := range c.subs {
		if sub.Name == name {
			sub.flags.AddFlagSet(c.flags)
			return sub.parse(c.flags.Args()[1:])
		}
	}
	if name == "help" {
		return c.parse(append(c.flags.Args()[1:], "--help"))
	}
	return c, nil, fmt.Errorf("unknown command %q: it is one of %s", name, strings.Join(c.subNames(), ", "))
}

func (c *Command) checkArgs(args []string) error {
	switch {
	case len(args) < c.MinArgs && len(args) == 0:
		return c.usageError("arguments are missing: " + c.Args)
	case len(args) < c.MinArgs:
		return c.usageError(fmt.Sprintf("arguments are missing behind %q: it takes %s", args[len(args)-1], c.Args))
	case c.MaxArgs >= 0 && len(args) > c.MaxArgs:
		return c.usageError(fmt.Sprintf("unexpected argument %q", args[c.MaxArgs]))
	}
	return nil
}

func (c *Command) subNames() []string {
	names := make([]string, len(c.subs))
	for i, sub := range c.subs {
		names[i] = sub.Name
	}
	return names
}

// path is what the user types to reach the command: "distrifs cp".
func (c *Command) path() string {
	if c.parent == nil {
		return c.Name
	}
	return c.parent.path() + " " + c.Name
}
