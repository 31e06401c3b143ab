package capsulecmd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/janos-os/janos/internal/pprofile"
)

// TestProfile: the profile has guest functions beside those of Go, with all of the fuel, and callers below callees.
func TestProfile(t *testing.T) {
	dir := t.TempDir()
	const file = "../../vm/symbol/testdata/mix.wasm"
	if out := janos(t.Context(), "capsule", "run", file, "--record", dir, "--quiet"); !strings.Contains(out, "20481 fuel") {
		t.Fatal(out)
	}
	prof := filepath.Join(dir, "p")
	for _, length := range []string{"400ms", "4s", "20s"} { // on a machine that is busy the profiler may have seen nothing
		out := janos(t.Context(), "capsule", "profile", file, "--recording", filepath.Join(dir, "1.json"), "--time", length, "--out", prof)
		if strings.Contains(out, "function of Go") {
			break
		}
		if length == "20s" {
			t.Fatal(out)
		}
	}
	b, err := os.ReadFile(prof)
	if err != nil {
		t.Fatal(err)
	}
	p, err := pprofile.Parse(b)
	if err != nil || len(p.Types) != 2 || p.Types[0].Type != "fuel" || p.Types[1].Type != "cpu" {
		t.Fatalf("%+v, %v", p, err)
	}
	var fuel, below, cpu int64
	for _, s := range p.Samples {
		fuel += s.Values[0]
		cpu += s.Values[1]
		if s.Values[0] > 0 {
			if n := len(s.Stack); n < 3 || s.Stack[n-3].Func != "evaluate" || s.Stack[n-2].Func != "guest mix" {
				t.Errorf("stack %+v", s.Stack)
			}
			if f := s.Stack[0]; f.Func == "mix" && strings.HasSuffix(f.File, "mix.c") && f.Line > 0 {
				below += s.Values[0]
			}
		}
	}
	if fuel != 20481 || below != 65*294 || cpu == 0 {
		t.Errorf("%d fuel, %d of it in mix, %d ns", fuel, below, cpu)
	}
}
