package oracle

import (
	"bufio"
	"fmt"
	"strings"
)

// call is one line of a program. Which fields count, the operation's operands say.
type call struct {
	worker int // index in identities
	mount  int // 0 is A, 1 is B; what is in a slot goes through the mount it was opened by
	look   int // the mount that the effect is looked at through, or noLook
	op     *operation

	slot, other, process   int64
	path, to               string
	name                   string
	flags, mode            int64
	at, toAt, size, fill   int64
	uid, gid, atime, mtime int64

	free bool // the lock was to be had on the local side
}

const noLook = 2

// letters are how mounts are written.
const letters = "AB-"

func (c call) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "w%d %c%c %s", c.worker, letters[c.mount], letters[c.look], c.op.name)
	for _, o := range c.op.operands {
		fmt.Fprintf(&b, " %s=%s", o.key, o.format(&c))
	}
	return b.String()
}

// parseCall reads what String wrote.
func parseCall(line string) (call, error) {
	words := strings.Fields(line)
	if len(words) < 3 || len(words[1]) != 2 {
		return call{}, fmt.Errorf("%q is no call: want worker, mounts, operation", line)
	}
	c := call{mount: strings.IndexByte(letters[:2], words[1][0]), look: strings.IndexByte(letters, words[1][1])}
	if _, err := fmt.Sscanf(words[0], "w%d", &c.worker); err != nil || c.worker < 0 || c.worker >= len(identities) || c.mount < 0 || c.look < 0 {
		return call{}, fmt.Errorf("%q: no such worker or mount", line)
	}
	if c.op = operationNamed(words[2]); c.op == nil {
		return call{}, fmt.Errorf("%q: no such operation", line)
	}
	if len(words)-3 != len(c.op.operands) {
		return call{}, fmt.Errorf("%q: %s takes %d operands", line, c.op.name, len(c.op.operands))
	}
	for i, o := range c.op.operands {
		key, value, _ := strings.Cut(words[3+i], "=")
		if key != o.key {
			return call{}, fmt.Errorf("%q: operand %d of %s is %s", line, i+1, c.op.name, o.key)
		}
		if err := o.parse(&c, value); err != nil {
			return call{}, fmt.Errorf("%q: %w", line, err)
		}
	}
	return c, nil
}

// program is calls in their order.
type program []call

func (p program) String() string {
	var b strings.Builder
	for _, c := range p {
		fmt.Fprintln(&b, c)
	}
	return b.String()
}

// parseProgram reads the lines of a program; empty ones and those that begin with # are
// passed over.
func parseProgram(text string) (program, error) {
	var p program
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		c, err := parseCall(line)
		if err != nil {
			return nil, err
		}
		p = append(p, c)
	}
	return p, lines.Err()
}
