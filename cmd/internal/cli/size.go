package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes, 0 or more, as a flag's value: "4096", "64MiB".
// The units are B, KiB, MiB, GiB, TiB and PiB, spelled like that.
type Size int64

var sizeUnits = []struct {
	suffix string
	bytes  int64
}{
	{"PiB", 1 << 50}, {"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1},
}

// ParseSize is strict: decimal digits and at most one unit, without spaces,
// signs or fractions.
func ParseSize(text string) (Size, error) {
	digits, unit := text, int64(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(text, u.suffix); ok {
			digits, unit = rest, u.bytes
			break
		}
	}
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, fmt.Errorf("%q is not a size: write it like 64MiB, 1GiB or 4096", text)
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("the size %s is too large: at most 8191PiB", text)
	}
	return Size(n * unit), nil
}

// String is exact, in the largest unit that leaves no fraction.
func (s Size) String() string {
	if s == 0 {
		return "0B"
	}
	for _, u := range sizeUnits {
		if int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// Set implements pflag.Value.
func (s *Size) Set(text string) (err error) {
	parsed, err := ParseSize(text)
	if err == nil {
		*s = parsed
	}
	return err
}

// Type implements pflag.Value.
func (s *Size) Type() string { return "size" }

// SizeFlag adds a flag whose value is a Size.
func (c *Command) SizeFlag(name string, value Size, usage string) *Size {
	size := new(Size)
	*size = value
	c.flags.Var(size, name, usage)
	return size
}
