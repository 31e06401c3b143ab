package node

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/janos-os/janos/clock"
)

// TestUntrustedElement: a node whose graph has Wasm(...) finds the module beside its file, with and without an execution environment, and ends with nothing left.
func TestUntrustedElement(t *testing.T) {
	for _, off := range []bool{false, true} {
		s := &Spec{Name: "n1", Addr: 0x0aff0001, Frames: 256, Routing: Routing{Off: true}, ANTS: ANTS{Off: off}, file: filepath.Join("testdata", "of-no-file.yaml"),
			Graph: "RandomSource(60, LIMIT 10) -> w :: Wasm(../../examples/elements/balance/balance.wasm, 1) -> c :: Counter -> Discard;"}
		n, err := Start(s, Env{Clock: clock.NewVirtual(time.Unix(0, 0)), Stepped: true})
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			n.OS().Step()
		}
		if got, err := n.Graph().Read("c.count", ""); err != nil || got != "10" {
			t.Errorf("%s packets (%v), want 10", got, err)
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		s.Graph = strings.Replace(s.Graph, "balance.wasm", "missing.wasm", 1)
		if n, err := Start(s, Env{Stepped: true}); err == nil || !strings.Contains(err.Error(), "missing.wasm") {
			t.Error(n, err)
		}
	}
}
