package posix

import (
	"embed"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

//go:embed testdata/*.txt
var tables embed.FS

// tableNames are the files of testdata without their ending.
func tableNames() (names []string) {
	files, err := fs.Glob(tables, "testdata/*.txt")
	if err != nil {
		panic(err)
	}
	for _, file := range files {
		names = append(names, strings.TrimSuffix(strings.TrimPrefix(file, "testdata/"), ".txt"))
	}
	return names
}

// testCase is one line of a table.
type testCase struct {
	line  int // from 1
	steps []step
}

// step is one call of a case.
type step struct {
	text  string
	who   user
	call  string
	args  []string
	want  string // "": any success
	local string // what tmpfs answers
}

// user is on whose behalf a call is made.
type user struct {
	uid, gid int
	groups   []int
}

// readTable parses a file of testdata.
func readTable(name string) ([]testCase, error) {
	text, err := tables.ReadFile("testdata/" + name + ".txt")
	if err != nil {
		return nil, err
	}
	return parseTable(string(text))
}

func parseTable(text string) (cases []testCase, err error) {
	for i, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		c := testCase{line: i + 1}
		for _, text := range strings.Split(line, ";") {
			s, err := parseStep(strings.TrimSpace(text))
			if err != nil {
				return nil, fmt.Errorf("line %d: %q: %w", c.line, text, err)
			}
			c.steps = append(c.steps, s)
		}
		cases = append(cases, c)
	}
	return cases, nil
}

func parseStep(text string) (s step, err error) {
	s.text = text
	words := strings.Fields(text)
	if at := slices.Index(words, "="); at >= 0 {
		answer := strings.Join(words[at+1:], " ")
		s.want, s.local, _ = strings.Cut(answer, ", locally ")
		s.want = expand(s.want)
		if s.local = expand(s.local); s.local == "" {
			s.local = s.want
		}
		if words = words[:at]; s.want == "" {
			return s, fmt.Errorf("no answer behind =")
		}
	}
	if len(words) > 0 && words[0][0] >= '0' && words[0][0] <= '9' {
		if s.who, err = parseUser(words[0]); err != nil {
			return s, err
		}
		words = words[1:]
	}
	if len(words) == 0 {
		return s, fmt.Errorf("no call")
	}
	s.call = words[0]
	if calls[s.call] == nil {
		return s, fmt.Errorf("no call is named %s", s.call)
	}
	for _, word := range words[1:] {
		if word, err = unescape(expand(word)); err != nil {
			return s, err
		}
		s.args = append(s.args, word)
	}
	return s, nil
}

// parseUser reads uid[:gid[,group]...]; the gid is the uid if left out.
func parseUser(text string) (u user, err error) {
	uid, rest, more := strings.Cut(text, ":")
	if u.uid, err = strconv.Atoi(uid); err != nil || !more {
		u.gid = u.uid
		return u, err
	}
	for i, word := range strings.Split(rest, ",") {
		id, err := strconv.Atoi(word)
		if err != nil {
			return u, err
		}
		if i == 0 {
			u.gid = id
		} else {
			u.groups = append(u.groups, id)
		}
	}
	return u, nil
}

var repetition = regexp.MustCompile(`(\\x[0-9a-f]{2}|\([^()]*\)|[^(){}])\{(\d+)\}`)

// expand does x{3} and (xy){3}.
func expand(text string) string {
	return repetition.ReplaceAllStringFunc(text, func(match string) string {
		parts := repetition.FindStringSubmatch(match)
		times, err := strconv.Atoi(parts[2])
		if err != nil {
			panic(err)
		}
		return strings.Repeat(strings.Trim(parts[1], "()"), times)
	})
}

func unescape(word string) (string, error) {
	if !strings.Contains(word, `\`) {
		return word, nil
	}
	return strconv.Unquote(`"` + word + `"`)
}

// escape is the inverse, for answers.
func escape(text []byte) string {
	quoted := strconv.Quote(string(text))
	return quoted[1 : len(quoted)-1]
}

func TestTablesAreRead(t *testing.T) {
	cases, err := parseTable("# comment\n\ncreat (ab){2} 644; 1000:5,6 open x\\n{2} O_RDONLY = EACCES, locally 0\n")
	if err != nil || len(cases) != 1 || cases[0].line != 3 || len(cases[0].steps) != 2 {
		t.Fatalf("%+v, %v", cases, err)
	}
	first, second := cases[0].steps[0], cases[0].steps[1]
	if first.call != "creat" || first.args[0] != "abab" || first.want != "" || first.who.uid != 0 {
		t.Errorf("%+v", first)
	}
	if second.who.uid != 1000 || second.who.gid != 5 || !slices.Equal(second.who.groups, []int{6}) || second.want != "EACCES" || second.local != "0" {
		t.Errorf("%+v", second)
	}
	for _, bad := range []string{"creat f 644 =", "nonsense f", "1000", "12x creat f", "1:2,x creat f"} {
		if _, err := parseTable(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
