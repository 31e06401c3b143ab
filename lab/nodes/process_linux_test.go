package nodes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	_ "github.com/janos-os/janos/channels/all"
	"github.com/janos-os/janos/control"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/lab"
	"github.com/janos-os/janos/lab/wire"
	"github.com/janos-os/janos/node"
)

// TestMain is also what the janos program is for a lab: its helpers, and `node run`.
func TestMain(m *testing.M) {
	if len(os.Args) > 3 && os.Args[1] == "janos" {
		os.Exit(janos(os.Args[2:]))
	}
	code := m.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func janos(args []string) int {
	switch args[0] + " " + args[1] {
	case "lab wire":
		return wire.Main(args[2:], os.Stdin, os.Stdout, os.Stderr)
	case "lab counters":
		return lab.CountersMain(args[2:], os.Stdout, os.Stderr)
	case "node run":
		if err := run(args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	fmt.Fprintln(os.Stderr, "unknown command", args)
	return 2
}

func run(file string) error {
	spec, err := node.Load(file)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	n, err := node.Start(spec, node.Env{Log: log})
	if err != nil {
		return err
	}
	s, err := control.Serve(n, spec.Control, log)
	if err != nil {
		return errors.Join(err, n.Close())
	}
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	<-c
	return errors.Join(s.Close(), n.Close())
}

// up builds a network of processes for the plan's topology, and takes it down at the end of the test.
func up(t *testing.T, topo *lab.Topology, p *lab.Plan) *lab.Lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	opt := Options(p, []string{"/proc/self/exe", "janos"})
	opt.StateDir = t.TempDir()
	opt.Event = func(e lab.Event) { t.Log(e) }
	l, err := lab.Up(t.Context(), topo, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Down(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(l.Dir()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("state directory left: %v", err)
		}
	})
	return l
}

// TestSameStoryOnRealLinks plays what the simulation plays, with processes and namespaces.
func TestSameStoryOnRealLinks(t *testing.T) {
	topo, p := diamondTopology(t, "ntstory", told())
	l := up(t, topo, p)
	s := l.Status()
	if err := AwaitRoutes(t.Context(), &s); err != nil {
		t.Fatal(err)
	}
	if err := l.Play(t.Context()); err != nil {
		t.Fatal(err)
	}
	var probes []string
	for _, e := range l.Events() {
		if e.What == "probe" {
			probes = append(probes, e.Detail)
		}
	}
	if len(probes) != 3 {
		t.Fatalf("probes: %q", probes)
	}
	for i, want := range []string{"20 sent, 20 came back, 0 twice", "20 sent, 20 came back, 0 twice", "5 sent, 5 came back, 0 twice"} {
		if !strings.Contains(probes[i], want) {
			t.Errorf("probe %d: %s, want %s", i, probes[i], want)
		}
	}
	if _, err := Dial(&s, "nobody"); errs.KindOf(err) != errs.NotFound {
		t.Errorf("Dial of an unknown node: %v", err)
	}
	for i := range s.Nodes {
		if b, err := os.ReadFile(Events(&s.Nodes[i])); err != nil || !strings.Contains(string(b), "neighbour-up") {
			t.Errorf("event log of %s: %d bytes, %v", s.Nodes[i].Name, len(b), err)
		}
	}
}

func TestAwaitRoutesSaysWhoIsMissing(t *testing.T) {
	topo, p := diamondTopology(t, "ntmissing", "  - {at: 0s, do: link-up, link: s-a}\n")
	l := up(t, topo, p)
	if err := l.SetLink("d-r", false); err != nil {
		t.Fatal(err)
	}
	s := l.Status()
	ctx, cancel := context.WithCancel(t.Context())
	c, err := Dial(&s, "r")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Status(ctx); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := AwaitRoutes(ctx, &s); err == nil || !strings.Contains(err.Error(), "node ") {
		t.Errorf("AwaitRoutes = %v", err)
	}
}

func TestBrokenNodeFileIsReported(t *testing.T) {
	topo, _ := diamondTopology(t, "ntbroken", "  - {at: 0s, do: link-up, link: s-a}\n")
	topo.Protocols = append(topo.Protocols, lab.Protocol{File: "none.yaml", At: []string{"d"}})
	p, err := topo.Plan()
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	opt := Options(p, []string{"/proc/self/exe", "janos"})
	opt.StateDir = t.TempDir()
	_, err = lab.Up(t.Context(), topo, opt)
	if err == nil || !strings.Contains(err.Error(), "node d ended before it was ready") || !strings.Contains(err.Error(), "none.yaml") {
		t.Errorf("Up = %v", err)
	}
	if left, _ := filepath.Glob(opt.StateDir + "/*"); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}
