package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/janos-os/janos/bench"
	"github.com/janos-os/janos/errs"
)

func benchLine(t *testing.T, args ...string) (string, error) {
	t.Helper()
	root := rootCommand()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetArgs(append([]string{"bench"}, args...))
	err := root.Execute()
	return out.String(), err
}

func TestBench(t *testing.T) {
	list, err := benchLine(t, "list")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range bench.Scenarios() {
		if !strings.Contains(list, s.Name+" ") || !strings.Contains(list, s.Title) {
			t.Errorf("%s is not in the list", s.Name)
		}
	}
	var lines []map[string]any
	if text, err := benchLine(t, "list", "--json"); err != nil || json.Unmarshal([]byte(text), &lines) != nil || len(lines) != len(bench.Scenarios()) {
		t.Errorf("%v: %s", err, text)
	}

	file := filepath.Join(t.TempDir(), "a.json")
	text, err := benchLine(t, "run", "resctl", "handoff", "--time", "1ms", "--json", file)
	if err != nil || !strings.Contains(text, "batch of 32") || !strings.Contains(text, "yardstick ") {
		t.Fatalf("%v: %s", err, text)
	}
	rep, err := bench.ReadReport(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(rep.Results) != 2 || rep.Results[0].Scenario != "handoff" || len(rep.Results[0].Metrics[0].Samples) != bench.MinReps || rep.Results[0].Machine.Cores == 0 {
		t.Errorf("%+v", rep)
	}
	text, err = benchLine(t, "compare", file, file)
	if err != nil || !strings.Contains(text, "1.000") || !strings.Contains(text, "overlap") || strings.Contains(text, "apart") {
		t.Errorf("%v: %s", err, text)
	}
	var c bench.Comparison
	if text, err := benchLine(t, "compare", file, file, "--json"); err != nil || json.Unmarshal([]byte(text), &c) != nil || len(c.Rows) == 0 {
		t.Errorf("%v: %s", err, text)
	}
}

func TestBenchRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "x.json")
	for _, c := range []struct {
		line string
		kind errs.Kind
		want string
	}{
		{"run", errs.Invalid, "requires at least 1 arg"},
		{"run nonsense", errs.NotFound, `"nonsense"`},
		{"run resctl --reps 4 --json " + file, errs.Invalid, "5 to 1000"},
		{"run resctl --time 1ns", errs.Invalid, "1ms to 1m"},
		{"run resctl --to 1.2.3.4", errs.Invalid, "hardware address"},
		{"run resctl --json " + dir, errs.Invalid, "--json"},
		{"run packet-l2fwd --in eth0", errs.Invalid, "--in and --out"},
		{"compare " + file, errs.Invalid, "accepts 2 arg"},
	} {
		if _, err := benchLine(t, strings.Fields(c.line)...); errs.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %v with %q", c.line, err, c.kind, c.want)
		}
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a run that was refused left a report: %v", err)
	}
	if _, err := benchLine(t, "compare", file, file); !errors.Is(err, fs.ErrNotExist) || errs.KindOf(err) != errs.NotFound {
		t.Errorf("%v", err)
	}
}
