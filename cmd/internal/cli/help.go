package cli

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// helpWidth is the width in columns that flag descriptions are wrapped to.
const helpWidth = 100

func (c *Command) writeHelp(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n\nUsage:\n  %s\n", c.path(), c.Summary, c.usageLine())
	if long := strings.TrimSpace(c.Long); long != "" {
		fmt.Fprintf(&b, "\n%s\n", long)
	}
	if len(c.subs) > 0 {
		b.WriteString("\nCommands:\n")
		tabs := tabwriter.NewWriter(&b, 0, 8, 3, ' ', 0)
		for _, sub := range c.subs {
			fmt.Fprintf(tabs, "  %s\t%s\n", sub.Name, sub.Summary)
		}
		tabs.Flush()
	}
	fmt.Fprintf(&b, "\nFlags:\n%s", c.flags.FlagUsagesWrapped(helpWidth))
	if examples := strings.TrimSpace(c.Examples); examples != "" {
		b.WriteString("\nExamples:\n")
		for line := range strings.Lines(examples + "\n") {
			b.WriteString("  " + strings.TrimLeft(line, " \t"))
		}
	}
	b.WriteString("\nEach flag can be given as an environment variable too, --log-level as DISTRIFS_LOG_LEVEL;\na flag on the command line wins.\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func (c *Command) usageLine() string {
	args := c.Args
	if len(c.subs) > 0 && args == "" {
		args = "COMMAND [ARGUMENTS]"
	}
	return strings.TrimSpace(c.path() + " [FLAGS] " + args)
}
