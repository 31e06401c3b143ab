package bench

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/janos-os/janos/errs"
)

// TestPeer runs our own click program as a peer, and programs that are none.
func TestPeer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "click")
	if out, err := exec.Command("go", "build", "-o", path, "../cmd/click").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	list, err := Select([]string{"graph-source-sink", "graph-queue", "graph-filter", "graph-classify", "graph-iprouter"})
	if err != nil {
		t.Fatal(err)
	}
	o := fast()
	o.Reps, o.smoke, o.Click = 1, true, path
	rep, err := Run(context.Background(), list, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, res := range rep.Results {
		n := 0
		for _, m := range res.Metrics {
			if strings.HasPrefix(m.Name, "peer, burst") {
				n++
			}
		}
		if n != 2 {
			t.Errorf("%s has %d rows of the peer", res.Scenario, n)
		}
	}

	liar := filepath.Join(t.TempDir(), "liar")
	if err := os.WriteFile(liar, []byte("#!/bin/sh\necho 7\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		path string
		kind errs.Kind
	}{"missing": {path + "x", errs.Invalid}, "wrong count": {liar, errs.Internal}} {
		o.Click = c.path
		if _, err := Run(context.Background(), list[:1], o); errs.KindOf(err) != c.kind {
			t.Errorf("%s: %v", name, err)
		}
	}
}
