package lang

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/janos-os/janos/click/internal/script"
)

var update = flag.Bool("update", false, "rewrite the expectations in testdata")

func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := script.Load(file)
			if err != nil {
				t.Fatal(err)
			}
			opt := Options{Library: func(name string) (string, string, error) {
				if f := a.Get(name); f != nil {
					return name, f.Data, nil
				}
				return "", "", os.ErrNotExist
			}, Vars: map[string]string{}}
			for _, line := range strings.Fields(a.Text("vars")) {
				k, val, _ := strings.Cut(line, "=")
				opt.Vars[k] = val
			}
			g, gerr := ParseGraph("config", a.Text("config"), opt)
			want := a.Get("flat")
			got := g.String()
			if want == nil {
				want = a.Get("errors")
				got = fmt.Sprintln(gerr)
			} else if gerr != nil {
				t.Errorf("unexpected errors:\n%v", gerr)
			}
			if *update {
				want.Data = got
				if err := a.Write(file); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want.Data {
				t.Errorf("got\n%s\nwant\n%s", got, want.Data)
			}
			if want.Name == "flat" {
				again, err := ParseGraph("flat", got, Options{})
				if err != nil || again.String() != got {
					t.Errorf("the flat form does not read back: %v\n%s", err, again)
				}
			}
		})
	}
}
