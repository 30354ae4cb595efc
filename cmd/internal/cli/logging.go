package cli

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/pflag"
)

// Logging holds the values of --log-level and --log-format.
type Logging struct {
	level  logLevel
	format logFormat
}

// LogFlags adds --log-level (info unless given) and --log-format (text).
func LogFlags(fs *pflag.FlagSet) *Logging {
	l := &Logging{level: logLevel(slog.LevelInfo), format: "text"}
	fs.Var(&l.level, "log-level", "log messages of this level and above: debug, info, warn or error")
	fs.Var(&l.format, "log-format", "format of the log: text or json")
	return l
}

// SetLevel overrides --log-level for loggers made later.
func (l *Logging) SetLevel(level slog.Level) { l.level = logLevel(level) }

// Logger writes to standard error.
func (l *Logging) Logger() *slog.Logger { return l.LoggerTo(os.Stderr) }

// LoggerTo writes to w, one Write a message.
func (l *Logging) LoggerTo(w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{Level: slog.Level(l.level)}
	if l.format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// Args are the flags that give a child process the same logging.
func (l *Logging) Args() []string {
	return []string{"--log-level=" + l.level.String(), "--log-format=" + l.format.String()}
}

type logLevel slog.Level

func (v *logLevel) String() string { return strings.ToLower(slog.Level(*v).String()) }
func (v *logLevel) Type() string   { return "level" }
func (v *logLevel) Set(text string) error {
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if strings.EqualFold(text, level.String()) {
			*v = logLevel(level)
			return nil
		}
	}
	return fmt.Errorf("the level is one of debug, info, warn, error")
}

type logFormat string

func (v *logFormat) String() string { return string(*v) }
func (v *logFormat) Type() string   { return "format" }
func (v *logFormat) Set(text string) error {
	if text != "text" && text != "json" {
		return fmt.Errorf("the format is text or json")
	}
	*v = logFormat(text)
	return nil
}
