package click_test

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/janos-os/janos/click"
	_ "github.com/janos-os/janos/click/elements"
	"github.com/janos-os/janos/click/elementtest"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

// live starts a router on a node with a worker of its own.
func live(t *testing.T, config string) (*nodeos.Node, *click.Router) {
	t.Helper()
	n, err := nodeos.NewNode(nodeos.NodeSpec{Name: "live", Clock: clock.NewReal(), Packets: packet.PoolSpec{Frames: 1024}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	d, err := n.Root().NewDomain(nodeos.DomainSpec{Account: resctl.Spec{Name: "graph"}})
	if err != nil {
		t.Fatal(err)
	}
	g, err := click.Parse("config", config, click.ParseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := click.New(g, click.Env{Domain: d, Worker: -1})
	if err != nil {
		t.Fatal(err)
	}
	return n, r
}

func TestHandlersWhileTheGraphRuns(t *testing.T) {
	_, r := live(t, `s :: InfiniteSource(BURST 8) -> q :: Queue(100) -> u :: Unqueue(8) -> c :: Counter -> Discard;`)
	var wg sync.WaitGroup
	for range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			last := 0
			for range 50 {
				v, err := r.Read("c.count", "")
				if err != nil {
					t.Error(err)
					return
				}
				n, err := strconv.Atoi(v)
				if err != nil || n < last {
					t.Errorf("count %q after %d", v, last)
				}
				last = n
				if err := r.Write("q.capacity", strconv.Itoa(50+n%50)); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	wg.Wait()
	d := r.Domain()
	r.Close()
	r.Close()
	if _, err := r.Read("c.count", ""); errs.KindOf(err) != errs.Dead {
		t.Errorf("reading after the end: %v", err)
	}
	if n := d.Account().Use(resctl.Frames); n != 0 {
		t.Errorf("%d frames are held after the end", n)
	}
}

func TestSleepingGraphWakes(t *testing.T) {
	_, r := live(t, `s :: InfiniteSource(ACTIVE false, LIMIT 5, STOP true) -> Queue -> Unqueue -> c :: Counter -> Discard;`)
	if err := r.Write("s.active", "true"); err != nil {
		t.Fatal(err)
	}
	<-r.Done()
	if v, err := r.Read("s.count", ""); v != "5" || err != nil {
		t.Fatalf("count %q, %v", v, err)
	}
}

func TestRouterEndsWithItsDomain(t *testing.T) {
	n, r := live(t, `InfiniteSource(LIMIT 60) -> Queue -> DelayUnqueue(1h) -> Discard; InfiniteSource(LIMIT 40) -> q :: Queue -> Idle;`)
	d := r.Domain()
	for {
		v, err := r.Read("q.length", "")
		if err != nil {
			t.Fatal(err)
		}
		if v == "40" && d.Account().Use(resctl.Frames) >= 40 {
			break
		}
	}
	d.Terminate(errors.New("test"))
	<-d.Done()
	<-r.Done()
	if _, err := r.Read("q.length", ""); errs.KindOf(err) != errs.Dead {
		t.Errorf("reading after the end: %v", err)
	}
	r.Close()
	if len(n.Root().Children()) != 0 {
		t.Error("the domain is still there")
	}
}

func TestRouterOnAnotherWorkerThanHome(t *testing.T) {
	n, err := nodeos.NewNode(nodeos.NodeSpec{Name: "two", Clock: clock.NewReal(), Workers: 2, Packets: packet.PoolSpec{Frames: 1024}})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	for round := range 5 {
		d, err := n.Root().NewDomain(nodeos.DomainSpec{Account: resctl.Spec{Name: "graph"}})
		if err != nil {
			t.Fatal(err)
		}
		g, err := click.Parse("config", `s :: InfiniteSource(BURST 4) -> q :: Queue(100) -> d :: DelayUnqueue(1ms) -> Discard;`, click.ParseOptions{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := click.New(g, click.Env{Domain: d, Worker: 1})
		if err != nil {
			t.Fatal(err)
		}
		for {
			if v, _ := r.Read("d.count", ""); v != "0" {
				break
			}
		}
		if round == 4 {
			if _, err := click.New(g, click.Env{Domain: d, Worker: 2}); err == nil {
				t.Error("a worker that does not exist was accepted")
			}
		}
		var wg sync.WaitGroup
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				if _, err := r.Read("q.length", ""); err != nil {
					return
				}
			}
		}()
		d.Terminate(errors.New("test"))
		<-d.Done()
		wg.Wait()
	}
	if st := n.Pool().Stats(); st.ByState[packet.Free] != 1024 {
		t.Errorf("frames by state: %v", st.ByState)
	}
}

func TestRequiredPackages(t *testing.T) {
	_, err := elementtest.New(t, `require(package nothing, compact_config); Idle -> Discard;`, elementtest.Options{})
	if err == nil || err.Error() != "config: required package 'nothing' is not available" {
		t.Errorf("error %v", err)
	}
}

func TestTicketsDivideRuns(t *testing.T) {
	s, err := elementtest.New(t, `a :: InfiniteSource -> Discard; b :: InfiniteSource -> Discard; c :: InfiniteSource -> Discard;`, elementtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for h, v := range map[string]string{"a.tickets": "100", "b.tickets": "300", "c.tickets": "600"} {
		if err := s.Router.Write(h, v); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		s.Node.Step()
	}
	n := map[string]float64{}
	for _, e := range []string{"a", "b", "c"} {
		v, _ := s.Router.Read(e+".runs", "")
		n[e], _ = strconv.ParseFloat(v, 64)
	}
	total := n["a"] + n["b"] + n["c"]
	for e, share := range map[string]float64{"a": 0.1, "b": 0.3, "c": 0.6} {
		if got := n[e] / total; total < 1000 || got < share-0.01 || got > share+0.01 {
			t.Errorf("%s ran %.3f of %v runs, want %.1f", e, got, total, share)
		}
	}
	for h, v := range map[string]string{"a.tickets": "0", "b.scheduled": "perhaps", "x.count": "", "a.nothing": "", "a.count": "1", "nothing": ""} {
		if err := s.Router.Write(h, v); err == nil {
			t.Errorf("write %s %q was accepted", h, v)
		}
	}
	if _, err := s.Router.Read("a.reset", ""); errs.KindOf(err) != errs.Permission {
		t.Errorf("reading a write handler: %v", err)
	}
}

func TestGlobalHandlers(t *testing.T) {
	s, err := elementtest.New(t, `i :: Idle -> { input -> d :: Discard };`, elementtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for h, want := range map[string]string{
		"list":        "2\ni\n@2/d\n",
		"config":      "i :: Idle;\n@2/d :: Discard;\n\ni -> @2/d;\n",
		"i.handlers":  "class\tr\nconfig\tr\ndrops\tr\nhandlers\tr\nname\tr\nports\tr\n",
		"@2/d.name":   "@2/d",
		"@2/d.config": "",
	} {
		if got, err := s.Router.Read(h, ""); got != want || err != nil {
			t.Errorf("%s = %q, %v, want %q", h, got, err, want)
		}
	}
	if v, _ := s.Router.Read("classes", ""); !strings.Contains(v, "\nRadixIPLookup\n") {
		t.Errorf("classes = %q", v)
	}
	if err := s.Router.Write("stop", ""); err != nil {
		t.Fatal(err)
	}
	<-s.Router.Done()
}

// Elements of another package, with flow codes and element references.
func init() {
	click.Register(click.Class{Name: "TestCross", Ports: "2/2", Processing: "a/a", Flow: "xy/yx", New: func() click.Element { return &cross{} }})
	click.Register(click.Class{Name: "TestRef", Ports: "0/0", Processing: "a", New: func() click.Element { return &ref{} }})
}

type cross struct{ click.Base }

func (*cross) Configure(a *click.Args)                 { a.Parse() }
func (e *cross) Push(port int, b *packet.Batch)        { e.Out(1 - port).Push(b) }
func (e *cross) Pull(port int, b *packet.Batch, n int) { e.In(1-port).Pull(b, n) }

type ref struct {
	click.Base
	to click.Pusher
}

func (e *ref) Configure(a *click.Args) {
	a.Parse(click.Must("TO", click.Ref(&e.to, "element with a push input")))
}
func (e *ref) Initialize() error {
	if el, ok := e.to.(interface{ Name() string }); ok {
		fmt.Fprintln(e.Output(), e.Name(), "refers to", el.Name())
	}
	return nil
}

func TestFlowCodesAndReferences(t *testing.T) {
	s, err := elementtest.New(t, `InfiniteSource(LIMIT 3) -> x :: TestCross; InfiniteSource(LIMIT 4) -> Queue -> [1] x;
		x[1] -> c :: Counter -> Discard; x[0] -> d :: Counter -> Discard;
		{ q :: Queue; Idle -> q -> Discard; TestRef(q) }; q :: Queue; Idle -> q -> Discard; TestRef(q);`, elementtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.Run(time.Millisecond)
	for h, want := range map[string]string{"c.count": "3", "d.count": "4"} {
		if got, _ := s.Router.Read(h, ""); got != want {
			t.Errorf("%s = %s, want %s", h, got, want)
		}
	}
	if ports, _ := s.Router.Read("x.ports", ""); !strings.Contains(ports, "push\t-\tInfiniteSource@1 [0]\npull") {
		t.Errorf("ports:\n%s", ports)
	}
	_, err = elementtest.New(t, `TimedSource -> x :: TestCross; Idle -> [1] x; x[0] -> Discard; x[1] -> Unqueue -> Discard; TestRef(nobody); TestRef(x, 5); TestRef;`, elementtest.Options{})
	for _, want := range []string{"in mixed context: push input 0, pull output 1", "TO: no element named 'nobody'", "there is no place for '5'", "required argument TO is missing"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

func TestTenThousandElements(t *testing.T) {
	var b bytes.Buffer
	b.WriteString("InfiniteSource(LIMIT 10) -> n0 :: Null;\n")
	for i := 1; i < 10000; i++ {
		fmt.Fprintf(&b, "n%d -> n%d :: Null;\n", i-1, i)
	}
	b.WriteString("n9999 -> c :: Counter -> Discard;")
	s, err := elementtest.New(t, b.String(), elementtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.Run(0)
	if got, _ := s.Router.Read("c.count", ""); got != "10" {
		t.Errorf("count %s", got)
	}
}
