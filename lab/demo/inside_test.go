package demo

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/janos-os/janos/lab"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The form without a kernel runs everywhere, and twice the same.
func TestInside(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	var out bytes.Buffer
	report := filepath.Join(t.TempDir(), "demo.json")
	err := Run(t.Context(), Options{
		Topology: "../../examples/first-network/lab.yaml", Capsules: "../../examples/capsules", JSON: report, Out: &out, Form: lab.OneProcess, Why: "a test",
	})
	if err != nil || !strings.HasSuffix(out.String(), "demo: ok\n") {
		t.Fatalf("%v\n%s", err, out.String())
	}
	b, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	var r Report
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	if !r.OK || len(r.LeftOut) == 0 || r.Ping.Warm.Received != pings || len(r.Attack.Kills) == 0 {
		t.Fatalf("report %s", b)
	}
}

func TestBadTopologyFailsWithPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lab.yaml")
	if err := os.WriteFile(path, []byte("name: x\nnodes:\n  - {name: a, kind: host}\n  - {name: a, kind: host}\nlinks: []\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err := Run(t.Context(), Options{Topology: path, Out: &out, Form: lab.OneProcess})
	if err == nil || !strings.Contains(out.String(), "lab.yaml:4:") || !strings.Contains(out.String(), "demo: FAILED") {
		t.Fatalf("%v\n%s", err, out.String())
	}
}

func TestLongestRun(t *testing.T) {
	for _, c := range []struct {
		in   []int
		want int
	}{{nil, 0}, {[]int{5}, 1}, {[]int{1, 2, 4, 5}, 4}, {[]int{1, 2, 9, 10, 11}, 3}} {
		if got := longestRun(c.in); got != c.want {
			t.Errorf("%v: %d, want %d", c.in, got, c.want)
		}
	}
}

func TestQuantiles(t *testing.T) {
	var ds []time.Duration
	for i := range 100 {
		ds = append(ds, time.Duration(100-i))
	}
	q := quantiles(102, append(ds, -1, -1))
	if q.Min != 1 || q.Median != 51 || q.P99 != 100 || q.Max != 100 || q.Lost != 2 || q.Received != 100 {
		t.Fatalf("%+v", q)
	}
}
