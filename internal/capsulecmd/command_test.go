package capsulecmd

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/janos-os/janos/internal/leak"
	"github.com/spf13/cobra"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/sdk/ckit"
)

var update = flag.Bool("update", false, "write the golden parts of testdata and of the examples' READMEs anew")

func TestMain(m *testing.M) { leak.Main(m) }

// janos runs a command line and returns what it prints and its exit code if that is not 0.
func janos(ctx context.Context, args ...string) string {
	var out strings.Builder
	root := &cobra.Command{Use: "janos", SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(New())
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(args)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintf(&out, "janos: %v\n[exit %d]\n", err, errs.ExitCode(err))
	}
	return out.String()
}

// fields splits a command line at blanks outside single quotes.
func fields(line string) []string {
	var fs []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			fs = append(fs, part)
		} else {
			fs = append(fs, strings.Fields(part)...)
		}
	}
	return fs
}

// transcript runs the commands of a transcript and returns it with what they print. A command is a line that begins
// with "$ ", and those after a backslash; what follows up to the next is its output. Lines before the first stay.
func transcript(t *testing.T, text string, run func(args []string) string) string {
	t.Helper()
	var out strings.Builder
	lines := strings.SplitAfter(text, "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if !strings.HasPrefix(line, "$ ") {
			if strings.HasPrefix(line, "#") || out.Len() == 0 {
				out.WriteString(line)
			}
			continue
		}
		out.WriteString(line)
		command := strings.TrimSuffix(line[2:], "\n")
		for strings.HasSuffix(command, "\\") && i+1 < len(lines) {
			i++
			out.WriteString(lines[i])
			command = strings.TrimSuffix(command, "\\") + strings.TrimSuffix(lines[i], "\n")
		}
		out.WriteString(run(fields(command)))
	}
	return out.String()
}

// variable is what depends on the compiler: sizes, fingerprints, prices and places.
var variable = []struct {
	what *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`[0-9a-f]{32}`), "HASH"},
	{regexp.MustCompile(`\d+ bytes(, accepted|, refused| of)`), "N bytes$1"},
	{regexp.MustCompile(`\d+ fuel`), "N fuel"},
	{regexp.MustCompile(`fuel \d+, at most \d+`), "fuel N, at most N"},
	{regexp.MustCompile(`\d+ slots`), "N slots"},
	{regexp.MustCompile(`offset 0x[0-9a-f]+`), "offset N"},
	{regexp.MustCompile(`fuel     at most \d+`), "fuel     at most N"},
}

// TestTranscripts plays testdata/*.txt, each in a fresh directory in which examples, testdata and symbol are directories of the tree. Beside
// janos there are a few commands to look at files with. A name that ends in _clang needs a compiler.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 4 {
		t.Fatalf("transcripts: %v, %v", files, err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			if strings.HasSuffix(file, "_clang.txt") {
				if _, err := ckit.FindCompiler(t.Context()); err != nil {
					t.Skip(err)
				}
			}
			path := filepath.Join(here, file)
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			t.Chdir(dir)
			for name, to := range map[string]string{"examples": "../../examples/capsules", "testdata": "testdata", "symbol": "../../vm/symbol/testdata"} {
				if err := os.Symlink(filepath.Join(here, to), name); err != nil {
					t.Fatal(err)
				}
			}
			got := transcript(t, string(want), func(args []string) string {
				switch {
				case args[0] == "janos":
					return strings.ReplaceAll(janos(t.Context(), args[1:]...), dir, "DIR")
				case args[0] == "cat" && len(args) == 2:
					b, err := os.ReadFile(args[1])
					if err != nil {
						return err.Error() + "\n"
					}
					return string(b)
				case args[0] == "write" && len(args) == 3: // write FILE TEXT, with \n for ends of lines
					if err := os.WriteFile(args[1], []byte(strings.ReplaceAll(args[2], `\n`, "\n")), 0o644); err != nil {
						return err.Error() + "\n"
					}
					return ""
				case args[0] == "cut" && len(args) == 4: // cut FROM TO N: the first N bytes
					b, err := os.ReadFile(args[1])
					n := 0
					if err == nil {
						_, err = fmt.Sscan(args[3], &n)
					}
					if err == nil {
						err = os.WriteFile(args[2], b[:min(n, len(b))], 0o644)
					}
					if err != nil {
						return err.Error() + "\n"
					}
					return ""
				}
				t.Errorf("unknown command %q", args)
				return ""
			})
			if strings.HasSuffix(file, "_clang.txt") {
				for _, v := range variable {
					got = v.what.ReplaceAllString(got, v.with)
				}
			}
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(want) {
				t.Errorf("%s plays as\n%s\nwant\n%s", file, got, want)
			}
		})
	}
}

func TestBuildShowsWhatTheCompilerSays(t *testing.T) {
	if _, err := ckit.FindCompiler(t.Context()); err != nil {
		t.Skip(err)
	}
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{
		"bad.c":    "#include <janos.h>\nint x = ;\n",
		"unused.c": "#include <janos.h>\nJANOS_CAPSULE(\"unused\", 8)\nJANOS_EVALUATE { int x; return JANOS_DROP; }\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out := janos(t.Context(), "capsule", "build", "bad.c"); !strings.Contains(out, "bad.c:2:9: error") || !strings.HasSuffix(out, "[exit 18]\n") {
		t.Errorf("a source with an error:\n%s", out)
	}
	if out := janos(t.Context(), "capsule", "build", "unused.c"); !strings.Contains(out, "warning: unused variable") || !strings.HasSuffix(out, "accepted\n") {
		t.Errorf("a source with a warning:\n%s", out)
	}
}

func TestBuildWithoutCompiler(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv(ckit.EnvCompiler, "/nonexistent/clang")
	if err := os.WriteFile("x.c", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	out := janos(t.Context(), "capsule", "build", "x.c")
	if !strings.Contains(out, "apt-get install clang lld") || !strings.HasSuffix(out, "[exit 26]\n") {
		t.Errorf("without a compiler:\n%s", out)
	}
}

// TestExamplesPrintWhatTheirReadmesSay plays the console parts of the examples' READMEs from the root of the tree.
func TestExamplesPrintWhatTheirReadmesSay(t *testing.T) {
	files, err := filepath.Glob("../../examples/capsules/*/README.md")
	if err != nil || len(files) < 4 {
		t.Fatalf("READMEs: %v, %v", files, err)
	}
	t.Chdir("../..")
	for _, file := range files {
		file = strings.TrimPrefix(file, "../../")
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(string(text), "```")
		ran := 0
		for i := 1; i < len(parts); i += 2 {
			got := transcript(t, parts[i], func(args []string) string { ran++; return janos(t.Context(), args[1:]...) })
			if *update {
				parts[i] = got
			} else if got != parts[i] {
				t.Errorf("%s: it prints\n%s\nwant\n%s", file, got, parts[i])
			}
		}
		if ran == 0 {
			t.Errorf("%s has no command", file)
		}
		if *update {
			if err := os.WriteFile(file, []byte(strings.Join(parts, "```")), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}
