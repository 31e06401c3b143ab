package elements

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	_ "github.com/janos-os/janos/click/elements"
	"github.com/janos-os/janos/click/elements/wasm"
	"github.com/janos-os/janos/click/elementtest"
	"github.com/janos-os/janos/sdk/ckit"
	"github.com/janos-os/janos/sdk/ckit/ckittest"
)

var rebuild = flag.Bool("rebuild", false, "build the modules from the C sources again")

func TestModulesAreBuiltFromTheirSources(t *testing.T) {
	if built := ckittest.Modules(t, *rebuild, "compiler.txt", "*/*.c"); len(built) < 3 {
		t.Errorf("%d modules", len(built))
	}
}

var values = map[string]any{wasm.Key: &wasm.Env{Read: func(name string) ([]byte, error) { return fs.ReadFile(FS, name) }}}

// start runs a graph whose modules are those of FS.
func start(t *testing.T, config string) (*elementtest.Session, error) {
	return elementtest.New(t, config, elementtest.Options{Values: values})
}

func TestScripts(t *testing.T) {
	elementtest.Run(t, "testdata/*.txtar", elementtest.Options{Values: values})
}

// TestRewriteChecksums: packets that were rewritten have right checksums, which the graph's own elements check.
func TestRewriteChecksums(t *testing.T) {
	s, err := start(t, `s :: RandomSource(64, LIMIT 500, ACTIVE false) -> SetTimestamp -> UDPIPEncap(10.0.0.1, 4000, 10.0.0.2, 5000, CHECKSUM true)
		-> w :: Wasm(rewrite/rewrite.wasm, 5000, 192.0.2.7, 6000) -> c :: CheckIPHeader(VERBOSE true) -> u :: CheckUDPHeader(VERBOSE true) -> IPFilter(allow dst 192.0.2.7 && udp dst port 6000) -> good :: Counter -> Discard; w[1] -> Discard;`)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Router.Write("s.active", "true"); err != nil {
		t.Fatal(err)
	}
	for range 600 {
		s.Node.Step()
	}
	if got, err := s.Router.Read("good.count", ""); err != nil || got != "500" {
		t.Errorf("%s of 500 packets are right (%v)", got, err)
	}
	if n := s.Close(); n != 0 {
		t.Errorf("%d frames are left", n)
	}
}

// TestBalanceIsConsistent: a flow keeps its output, and when a weight becomes 0 only the flows of that output move.
func TestBalanceIsConsistent(t *testing.T) {
	outputs := func(weights string) []string {
		s, err := start(t, "in :: ScriptIn -> b :: Wasm(balance/balance.wasm, "+weights+") => [0] d :: Discard, [0] d, [0] d")
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for flow := range 300 {
			src := netip.AddrFrom4([4]byte{10, 0, byte(flow >> 8), byte(flow)})
			for round := range 2 {
				out, err := push(s, src, uint16(1000+flow))
				if err != nil {
					t.Fatal(err)
				}
				if round == 0 {
					list = append(list, out)
				} else if list[flow] != out {
					t.Fatalf("flow %d left by %s and by %s", flow, list[flow], out)
				}
			}
		}
		return list
	}
	all, without := outputs("2, 1, 1"), outputs("2, 0, 1")
	n := map[string]int{}
	for i := range all {
		n[all[i]]++
		if all[i] != "1" && without[i] != all[i] || without[i] == "1" {
			t.Errorf("flow %d moved from %s to %s", i, all[i], without[i])
		}
	}
	if n["0"] < 120 || n["0"] > 180 || n["1"] < 50 || n["1"] > 100 {
		t.Errorf("weights 2, 1, 1 gave %v of 300 flows", n)
	}
}

// push sends a packet of a flow and tells which output counted it.
func push(s *elementtest.Session, src netip.Addr, port uint16) (string, error) {
	before, err := s.Router.Read("b.counters", "")
	if err != nil {
		return "", err
	}
	a := src.As4()
	if err := s.Send("in", fmt.Sprintf("hex 4500001c0000000040110000%02x%02x%02x%02xc0000201%04x003500080000", a[0], a[1], a[2], a[3], port)); err != nil {
		return "", err
	}
	after, err := s.Router.Read("b.counters", "")
	if err != nil {
		return "", err
	}
	x, y := strings.Split(before, "\n"), strings.Split(after, "\n")
	for i := range x {
		if x[i] != y[i] {
			return strings.Fields(y[i])[0], nil
		}
	}
	return "", errors.New("no output counted the packet")
}

// TestGuide builds the element that docs/elements-howto.md shows, and runs it.
func TestGuide(t *testing.T) {
	comp, err := ckit.FindCompiler(t.Context())
	if err != nil {
		t.Skip(err)
	}
	guide, err := os.ReadFile("../../docs/elements-howto.md")
	if err != nil {
		t.Fatal(err)
	}
	piece := regexp.MustCompile("(?s)```c\n(.*?)```").FindSubmatch(guide)
	if piece == nil {
		t.Fatal("the guide shows no C")
	}
	src := filepath.Join(t.TempDir(), "first.c")
	if err := os.WriteFile(src, piece[1], 0o600); err != nil {
		t.Fatal(err)
	}
	opt, err := ckit.FileOptions(src, piece[1])
	if err != nil {
		t.Fatal(err)
	}
	module, warnings, err := comp.Build(t.Context(), src, opt)
	if err != nil || warnings != "" {
		t.Fatal(err, warnings)
	}
	s, err := elementtest.New(t, "in :: ScriptIn -> w :: Wasm(first.wasm); w[0] -> a :: Counter -> Discard; w[1] -> b :: Counter -> Discard",
		elementtest.Options{Values: map[string]any{wasm.Key: &wasm.Env{Read: func(string) ([]byte, error) { return module, nil }}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send("in", "ip 10.0.0.1 10.0.0.2 udp 1 2; ip 10.0.0.1 10.0.0.2 tcp 1 2 2; ip 10.0.0.1 10.0.0.2 udp 1 2"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a.count": "2", "b.count": "1"} {
		if got, err := s.Router.Read(name, ""); err != nil || got != want {
			t.Errorf("%s is %s (%v), want %s", name, got, err, want)
		}
	}
}
