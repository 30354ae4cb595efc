package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Fatal ends the process with code 1 behind one line on standard error,
// "program: what: why: remedy"; the error's text supplies all but the program.
func Fatal(err error) {
	Complain(err)
	os.Exit(1)
}

// Complain is Fatal without the end of the process.
func Complain(err error) { printError(os.Stderr, filepath.Base(os.Args[0]), err) }

// printError writes one line, whatever the error's text looks like.
func printError(w io.Writer, program string, err error) {
	fmt.Fprintf(w, "%s: %s\n", program, OneLine(err.Error()))
}

// OneLine joins the lines of a text with "; ", or with a space behind a colon,
// leaving out empty ones.
func OneLine(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || b.Len() == 0:
		case strings.HasSuffix(b.String(), ":"):
			b.WriteString(" ")
		default:
			b.WriteString("; ")
		}
		b.WriteString(line)
	}
	return b.String()
}

// usageError says that the command line makes no sense.
type usageError struct {
	text    string
	command string // whose help is the remedy; filled in by Execute
}

func (e *usageError) Error() string {
	if e.command == "" {
		return e.text
	}
	return fmt.Sprintf("%s: see '%s --help'", e.text, e.command)
}

func (c *Command) usageError(text string) error {
	return &usageError{text: text, command: c.path()}
}

// IsUsage tells whether a command failed because its arguments make no sense.
func IsUsage(err error) bool {
	var usage *usageError
	return errors.As(err, &usage)
}

// Usagef is what Run returns when the arguments make no sense; the text is
// completed by a pointer to the command's help.
func Usagef(format string, args ...any) error {
	return &usageError{text: fmt.Sprintf(format, args...)}
}
