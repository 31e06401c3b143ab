package tool

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/janos-os/janos/click/elements"
	_ "github.com/janos-os/janos/click/elementtest" // for its flag
	"github.com/janos-os/janos/click/internal/script"
	"github.com/janos-os/janos/click/lang"
)

// updating reports whether the flag -update of package elementtest is set, which asks for new expectations.
func updating() bool { return flag.Lookup("update").Value.String() == "true" }

// TestScripts runs the commands of each script where its other parts are files; "out" is what they print.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for i := range files {
		if files[i], err = filepath.Abs(files[i]); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("CLICKPATH", "")
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := script.Load(file)
			if err != nil {
				t.Fatal(err)
			}
			t.Chdir(t.TempDir())
			for _, f := range a.Files {
				if f.Name != "out" && f.Name != "commands" {
					if err := os.WriteFile(f.Name, []byte(f.Data), 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			got := transcript(a.Text("commands"))
			want := a.Get("out")
			if updating() {
				want.Data = got
				if err := a.Write(file); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want.Data {
				t.Errorf("got\n%s\nwant\n%s", got, want.Data)
			}
		})
	}
}

// transcript runs a command in each line. A word may be in single quotes; "< FILE" at the end gives standard input. The marks of places
// are left out of what is printed.
func transcript(commands string) string {
	var b strings.Builder
	for _, line := range strings.Split(strings.TrimSpace(commands), "\n") {
		fmt.Fprintf(&b, "$ %s\n", line)
		var words []string
		for i, part := range strings.Split(line, "'") {
			if i%2 == 1 {
				words = append(words, part)
			} else {
				words = append(words, strings.Fields(part)...)
			}
		}
		in := ""
		if n := len(words); n > 2 && words[n-2] == "<" {
			data, err := os.ReadFile(words[n-1])
			if err != nil {
				fmt.Fprintln(&b, err)
				continue
			}
			in, words = string(data), words[:n-2]
		}
		var out, errOut strings.Builder
		code := Run(words[0], words[1:], Stdio{strings.NewReader(in), &out, &errOut})
		if s := out.String(); s != "" && !strings.HasSuffix(s, "\n") {
			out.WriteString("\n[no newline]\n")
		}
		for _, l := range strings.SplitAfter(out.String()+errOut.String(), "\n") {
			if !strings.HasPrefix(l, "# ") || strings.HasPrefix(l, "# keep") {
				b.WriteString(l)
			}
		}
		if code != 0 {
			fmt.Fprintf(&b, "[exit %d]\n", code)
		}
	}
	return b.String()
}

func TestArchive(t *testing.T) {
	in := []lang.Member{{Name: "config", Data: "define($n 1); a :: { Idle -> Strip($n) -> Discard };"}, {Name: "odd", Data: "abc"}, {Name: "a name with blanks and much more", Data: "x"}}
	text := lang.WriteArchive(in)
	back, err := lang.ReadArchive(text)
	if err != nil || fmt.Sprint(back) != fmt.Sprint(in) {
		t.Fatalf("the archive reads back as %v, %v", back, err)
	}
	var out, errOut strings.Builder
	if code := Run("flatten", nil, Stdio{strings.NewReader(text), &out, &errOut}); code != 0 {
		t.Fatal(errOut.String())
	}
	flat, err := lang.ReadArchive(out.String())
	if err != nil || len(flat) != 3 || !strings.Contains(flat[0].Data, "a/Strip@2 :: Strip($n);") || flat[1] != in[1] || flat[2] != in[2] {
		t.Errorf("flattened archive: %v, %v", flat, err)
	}
	out.Reset()
	if Run("click-flatten", []string{"--config"}, Stdio{strings.NewReader(text), &out, &errOut}); lang.IsArchive(out.String()) || !strings.Contains(out.String(), "Strip") {
		t.Errorf("--config gives %q", out.String())
	}
	for _, bad := range []string{text[:100], strings.Replace(text, "#1/32", "#1/99", 1), "!<arch>\n" + strings.Repeat("x", 60)} {
		errOut.Reset()
		if code := Run("click-flatten", nil, Stdio{strings.NewReader(bad), &out, &errOut}); code != 1 || !strings.Contains(errOut.String(), "archive") {
			t.Errorf("status %d, %q", code, errOut.String())
		}
	}
}

// FuzzTools runs every tool on hostile text: it may refuse it, and must not panic.
func FuzzTools(f *testing.F) {
	f.Add("a :: Idle -> b :: { input -> Null -> t :: Tee -> output; t[1] -> [1]output } -> Discard; b[1] -> Queue -> s :: PrioSched -> ToDevice(x); Idle -> [1]s", "Tee")
	f.Add("FromDevice(a) -> StaticSwitch(99999999999) -> c :: Classifier(12/0800, -) -> IPClassifier(tcp, -) -> Discard; define($x ${x})", "elementclass P { input -> StaticSwitch($x) -> output } elementclass P_Replacement { input -> Null -> output }")
	f.Add("elementclass X { input -> /* c */ output } a :: X -> b, c :: Discard", "<~config><~elements entry=\"<~inputs entry='<~port>'><~if test=1 gt=<~name> then=x>\" typeentry=<~type>><~elements column=1/2>")
	f.Add(lang.WriteArchive([]lang.Member{{Name: "config", Data: "Strip(14) -> CheckIPHeader -> Align(4, 0) -> Align(8,2) -> Discard"}}), "")
	f.Fuzz(func(t *testing.T, config, extra string) {
		for _, name := range Names() {
			args := []string{"-e", config}
			if lang.IsArchive(config) {
				args = nil
			}
			var out, errOut strings.Builder
			code := Run(name, append(args, fuzzArgs(t, name, extra)...), Stdio{strings.NewReader(config), &out, &errOut})
			if code != 0 && errOut.Len() == 0 {
				t.Errorf("%s failed without a message", name)
			}
		}
	})
}

// fuzzArgs makes the other text a pattern file for click-xform and a template for click-pretty.
func fuzzArgs(t *testing.T, name, extra string) []string {
	if name == "click-pretty" {
		return []string{"-T", extra}
	}
	if name != "click-xform" || extra == "" {
		return nil
	}
	file := filepath.Join(t.TempDir(), "patterns")
	if err := os.WriteFile(file, []byte(extra), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"-p", file}
}
