package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// envName is the environment variable of a flag: "log-level" is DISTRIFS_LOG_LEVEL.
func envName(flag string) string {
	return "DISTRIFS_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// fromEnvironment sets the flags that the command line left alone. An empty
// variable counts as absent. The error names the variable.
func fromEnvironment(fs *pflag.FlagSet, lookup func(string) (string, bool)) error {
	var failed error
	fs.VisitAll(func(f *pflag.Flag) {
		if failed != nil || f.Changed || f.Name == "help" || f.Name == "version" {
			return
		}
		name := envName(f.Name)
		text, _ := lookup(name)
		if text == "" {
			return
		}
		if err := f.Value.Set(text); err != nil {
			failed = fmt.Errorf("environment variable %s: %q is no value for --%s: %w", name, text, f.Name, err)
			return
		}
		f.Changed = true
	})
	return failed
}
