package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/janos-os/janos/sdk/ckit"
)

const (
	tutorialPage = "../../docs/tutorial-capsule.md"
	tutorialLab  = "firsthops" // the name on the page; the test has one of its own, beside a reader's
	tutorialTime = 60 * time.Second
)

// step is a command of a page with what it says, or a change of a file.
type step struct {
	line    int      // of the page
	command string   // a command for the shell
	want    []string // lines of output
	exit    int
	file    string // to be written, or changed if there is a diff
	text    string
	diff    bool
}

// stepsOf reads the fenced blocks of a page. In console blocks a command stands behind "$ " and is followed by what it prints, and
// by "[exit N]" if that is not zero. Blocks of other languages with file=NAME are that file, or a change of it for diff. Text is only
// looked at.
func stepsOf(t *testing.T, page string) []step {
	t.Helper()
	var steps []step
	var kind, file string
	var text []string
	begin := 0
	for i, line := range strings.Split(page, "\n") {
		fence, fenced := strings.CutPrefix(line, "```")
		switch {
		case fenced && kind == "":
			kind, file, _ = strings.Cut(fence, " file=")
			if kind == "" || kind != "console" && kind != "text" && file == "" {
				t.Fatalf("line %d: a block that is neither console nor text nor has file=NAME; indent what shall not be run", i+1)
			}
			text, begin = nil, i+1
		case fenced:
			if kind != "console" && kind != "text" {
				steps = append(steps, step{line: begin, file: file, text: strings.Join(text, "\n") + "\n", diff: kind == "diff"})
			}
			kind = ""
		case kind == "console":
			if c, ok := strings.CutPrefix(line, "$ "); ok {
				steps = append(steps, step{line: i + 1, command: c})
				begin = 0
				continue
			}
			if begin != 0 {
				t.Fatalf("line %d: output before any command", i+1)
			}
			s := &steps[len(steps)-1]
			if n, ok := strings.CutPrefix(line, "[exit "); ok {
				var err error
				if s.exit, err = strconv.Atoi(strings.TrimSuffix(n, "]")); err != nil {
					t.Fatalf("line %d: %v", i+1, err)
				}
				continue
			}
			s.want = append(s.want, line)
		case kind != "":
			text = append(text, line)
		}
	}
	if kind != "" {
		t.Fatalf("the block that begins in line %d has no end", begin)
	}
	return steps
}

var blanks = regexp.MustCompile(`[ \t]+`)

// matches reports whether output is what the page shows: "..." stands for anything in a line, or for any lines if it is alone, and the width
// of blanks does not count.
func matches(want []string, output string) bool {
	var re strings.Builder
	re.WriteString(`^`)
	for _, line := range want {
		if line == "..." {
			re.WriteString(`(?:.*\n)*?`)
			continue
		}
		parts := strings.Split(strings.Trim(blanks.ReplaceAllString(line, " "), " "), "...")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		re.WriteString(strings.Join(parts, `.*`) + `\n`)
	}
	re.WriteString(`$`)
	var got strings.Builder
	for line := range strings.Lines(output) {
		got.WriteString(strings.Trim(blanks.ReplaceAllString(line, " "), " \n") + "\n")
	}
	return regexp.MustCompile(re.String()).MatchString(got.String())
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		want, got string
		ok        bool
	}{
		{"a  b", "a b \n", true},
		{"a ... c", "a b c\n", true},
		{"a ... c", "a b d\n", false},
		{"a\n...", "a\nb\nc\n", true},
		{"a\n...", "a\n", true},
		{"...\nc", "a\nc\n", true},
		{"a", "a\nb\n", false},
		{"a\nb", "a\n", false},
		{"1.5", "1x5\n", false},
	} {
		if got := matches(strings.Split(c.want, "\n"), c.got); got != c.ok {
			t.Errorf("%q and %q: %v", c.want, c.got, got)
		}
	}
	if !matches(nil, "") || matches(nil, "a\n") {
		t.Error("a command without shown output must print nothing")
	}
}

// change applies a diff of one hunk without line numbers to a text.
func change(text, diff string) (string, error) {
	var old, now strings.Builder
	for line := range strings.Lines(diff) {
		switch line[0] {
		case '-':
			old.WriteString(line[1:])
		case '+':
			now.WriteString(line[1:])
		case ' ':
			old.WriteString(line[1:])
			now.WriteString(line[1:])
		default:
			return "", fmt.Errorf("line %q of a diff begins with neither blank, + nor -", line)
		}
	}
	if n := strings.Count(text, old.String()); n != 1 {
		return "", fmt.Errorf("what the diff changes is there %d times:\n%s", n, &old)
	}
	return strings.Replace(text, old.String(), now.String(), 1), nil
}

// quoted makes a word for the shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// run plays steps in one shell that starts in dir and has janos in its path, and compares what they print. It ends at the first exit code that is
// not the one on the page.
func run(t *testing.T, page, dir string, env []string, steps []step) {
	t.Helper()
	const mark = "\x01"
	var script strings.Builder
	for i := range steps {
		s := &steps[i]
		if s.file != "" {
			fmt.Fprintf(&script, "%s\n", edit(t, dir, s))
			continue
		}
		fmt.Fprintf(&script, "%s\ncode=$?\nprintf '\\n%s%%d %%d\\n' %d $code\n[ $code = %d ] || exit 0\n", s.command, mark, i, s.exit)
	}
	path := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(path, []byte(script.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), tutorialTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", path)
	cmd.Dir, cmd.Env = dir, env
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()

	results := make(map[int]struct {
		text string
		code int
	})
	rest := out.String()
	for _, m := range regexp.MustCompile(mark+`(\d+) (\d+)\n`).FindAllStringSubmatch(rest, -1) {
		before, after, _ := strings.Cut(rest, "\n"+m[0])
		i, _ := strconv.Atoi(m[1]) // digits
		code, _ := strconv.Atoi(m[2])
		results[i] = struct {
			text string
			code int
		}{before, code}
		rest = after
	}
	for i := range steps {
		s := &steps[i]
		if s.file != "" {
			continue
		}
		r, ok := results[i]
		switch {
		case !ok:
			t.Fatalf("%s:%d: $ %s\ndid not end (%v), after\n%s", page, s.line, s.command, err, rest)
		case r.code != s.exit:
			t.Fatalf("%s:%d: $ %s\nexit code %d, want %d\n%s", page, s.line, s.command, r.code, s.exit, r.text)
		case !matches(s.want, r.text):
			t.Errorf("%s:%d: $ %s\nprints\n%s\nand not\n%s", page, s.line, s.command, r.text, strings.Join(s.want, "\n"))
		}
	}
	if err != nil {
		t.Errorf("shell: %v", err)
	}
}

// edit returns a shell command that changes a file as the page says. A whole file is written by the shell; for a diff the shell calls this
// test program, which knows how.
func edit(t *testing.T, dir string, s *step) string {
	t.Helper()
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte(s.text), 0o600); err != nil {
		t.Fatal(err)
	}
	file := quoted(filepath.Join(dir, filepath.FromSlash(s.file)))
	if !s.diff {
		return fmt.Sprintf("cp %s %s || exit 1", quoted(text), file)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s=1 %s %s %s || exit 1", envChange, quoted(self), quoted(text), file)
}

// envChange in the environment makes the test program one that applies a diff: its arguments are the diff and the file.
const envChange = "JANOS_TEST_IS_CHANGE"

// changeMain is that program. It returns the exit code.
func changeMain(args []string) int {
	err := func() error {
		if len(args) != 2 {
			return fmt.Errorf("want a diff and a file")
		}
		diff, err := os.ReadFile(args[0])
		if err != nil {
			return err
		}
		old, err := os.ReadFile(args[1])
		if err != nil {
			return err
		}
		now, err := change(string(old), string(diff))
		if err != nil {
			return fmt.Errorf("%s: %w", args[1], err)
		}
		return os.WriteFile(args[1], []byte(now), 0o600)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// janosInPath builds the command and returns its path, and an environment in which it is the first janos in the path and has a state directory of
// its own. It is not this test program, which may be slow with the race detector.
func janosInPath(t *testing.T) (program string, env []string) {
	t.Helper()
	bin := t.TempDir()
	program = filepath.Join(bin, "janos")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return program, append(os.Environ(), "PATH="+bin+string(filepath.ListSeparator)+os.Getenv("PATH"), "JANOS_LAB_STATE="+t.TempDir())
}

// TestFirstNetworkReadme runs what the page shows with its output; what needs a laboratory is in the demo.
func TestFirstNetworkReadme(t *testing.T) {
	const page = "../../examples/first-network/README.md"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skipf("left out: %v", err)
	}
	steps := stepsOf(t, string(text))
	if len(steps) == 0 {
		t.Fatal("nothing to run on the page")
	}
	_, env := janosInPath(t)
	run(t, page, "../..", env, steps)
}

// TestTutorial does what the page for newcomers says. Without a compiler nothing of it can be done, without root only what comes
// before the laboratory.
func TestTutorial(t *testing.T) {
	page, err := os.ReadFile(tutorialPage)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprint("jntut", os.Getpid())
	steps := stepsOf(t, strings.ReplaceAll(string(page), tutorialLab, name))
	if len(steps) < 20 {
		t.Fatalf("only %d steps: the blocks of the page are not what this test reads", len(steps))
	}
	if _, err := ckit.FindCompiler(t.Context()); err != nil {
		t.Skipf("left out, the whole tutorial: %v", err)
	}
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skipf("left out, the whole tutorial: %v", err)
	}
	without := ""
	if os.Geteuid() != 0 {
		for i := range steps {
			if strings.HasPrefix(steps[i].command, "janos lab up") {
				without = fmt.Sprintf("left out, as it needs root: %d of %d steps, from line %d on", len(steps)-i, len(steps), steps[i].line)
				steps = steps[:i]
				break
			}
		}
	}
	dir := t.TempDir()
	program, env := janosInPath(t)
	if without == "" {
		t.Cleanup(func() {
			down := exec.Command(program, "lab", "down", name)
			down.Env = env
			out, err := down.CombinedOutput()
			if err == nil {
				t.Logf("the page has left its lab: %s", out)
			}
			if left, _ := filepath.Glob("/run/netns/*" + name + "*"); len(left) > 0 { // the pattern is good
				t.Errorf("left behind: %s", left)
			}
		})
	}
	run(t, tutorialPage, dir, env, steps)
	if without != "" && !t.Failed() {
		t.Skip(without)
	}
}
