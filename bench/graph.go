package bench

import (
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/janos-os/janos/click"
	_ "github.com/janos-os/janos/click/elements/ethernet" // classes of the graphs below
	_ "github.com/janos-os/janos/click/elements/ip"
	_ "github.com/janos-os/janos/click/elements/standard"
	"github.com/janos-os/janos/click/elements/wasm"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
)

const graphText = "An element graph on a worker of its own with the machine's clock; the source allocates a packet, fills it from one of 1,024 " +
	"distinct frames of 64 bytes, and pushes in bursts; the sink frees it. All of that is included: processor time of the process per " +
	"packet that reached the sink. A packet that is lost fails the run."

func init() {
	register(Scenario{Name: "graph-source-sink", Tier: "memory", Title: "source, counter, sink", Text: graphText,
		Open: openGraph("$SRC -> c :: Counter -> Discard;", graphRow{"burst 1", "src :: BenchSource(1) -> c :: Counter -> Discard;", toOneNet},
			graphRow{"burst 32", "src :: BenchSource(32) -> c :: Counter -> Discard;", toOneNet})})
	register(Scenario{Name: "graph-queue", Tier: "memory", Title: "source, queue of 1,024, unqueue, sink", Text: graphText,
		Open: openGraph("$SRC -> Queue(1024) -> Unqueue($B) -> c :: Counter -> Discard;",
			graphRow{"burst 1", "src :: BenchSource(1) -> Queue(1024) -> Unqueue(1) -> c :: Counter -> Discard;", toOneNet},
			graphRow{"burst 32", "src :: BenchSource(32) -> Queue(1024) -> Unqueue(32) -> c :: Counter -> Discard;", toOneNet})})
	register(Scenario{Name: "graph-filter", Tier: "memory", Title: "IPFilter with ten rules, of which the eighth matches", Text: graphText,
		Open: openGraph(filterGraph("$SRC"), graphRow{"burst 1", filterGraph(benchSource(1)), toOneNet}, graphRow{"burst 32", filterGraph(benchSource(32)), toOneNet})})
	register(Scenario{Name: "graph-iprouter", Tier: "memory", Title: "the IP path of a router: check, lookup, options, TTL, fragments, encapsulation",
		Text: graphText + " Destinations are 1,024 addresses, of one network, of four, or of random networks of a table with 100,000 routes.",
		Open: openGraph(routerGraph("$SRC", ""), graphRow{"1 route in use, burst 1", routerGraph(benchSource(1), ""), toOneNet},
			graphRow{"1 route in use, burst 32", routerGraph(benchSource(32), ""), toOneNet}, graphRow{"4 routes in use, burst 32", routerGraph(benchSource(32), ""), toFourNets},
			graphRow{"100,000 routes, burst 32", routerGraph(benchSource(32), manyRoutes()), toManyNets})})
}

// graphRow is one graph with its traffic. Packets leave the source "src" and are counted by "c".
type graphRow struct {
	name, config string
	traffic      func(r *clock.Rand) [][]byte
}

func toOneNet(r *clock.Rand) [][]byte {
	return frames(r, 5678, func(i int) [4]byte { return [4]byte{10, 0, 2, byte(1 + i%254)} })
}

func toFourNets(r *clock.Rand) [][]byte {
	return frames(r, 5678, func(i int) [4]byte {
		if k := r.IntN(4); k < 3 {
			return [4]byte{10, 0, byte(1 + k), byte(2 + i%250)}
		}
		return [4]byte{10, 200, 7, byte(i)}
	})
}

// routes is how many networks manyRoutes has.
const routes = 100_000

func network(i int) [4]byte { return [4]byte{byte(11 + i>>16), byte(i >> 8), byte(i), 0} }

func toManyNets(r *clock.Rand) [][]byte {
	return frames(r, 5678, func(int) [4]byte {
		a := network(r.IntN(routes))
		a[3] = byte(1 + r.IntN(254))
		return a
	})
}

func manyRoutes() string {
	var b strings.Builder
	for i := range routes {
		a := network(i)
		fmt.Fprintf(&b, ", %d.%d.%d.0/24 %d", a[0], a[1], a[2], i%4)
	}
	return b.String()
}

func benchSource(burst int) string { return fmt.Sprintf("src :: BenchSource(%d)", burst) }

func routerGraph(src, more string) string {
	return fmt.Sprintf(`elementclass Exit { $own |
	input -> DropBroadcasts -> opts :: IPGWOptions($own) -> FixIPSrc($own) -> ttl :: DecIPTTL -> frag :: IPFragmenter(1500)
		-> EtherEncap(0x0800, 02:00:00:00:00:0a, 02:00:00:00:00:0b) -> output;
	opts[1] -> Discard; ttl[1] -> Discard; frag[1] -> Discard;
}
table :: RadixIPLookup(10.0.1.0/24 0, 10.0.2.0/24 1, 10.0.3.0/24 2, 0.0.0.0/0 3%s);
%s -> Strip(14) -> CheckIPHeader -> table;
c :: Counter -> Discard;
table[0] -> Exit(10.0.1.1) -> c; table[1] -> Exit(10.0.2.1) -> c; table[2] -> Exit(10.0.3.1) -> c; table[3] -> Exit(10.9.9.1) -> c;`, more, src)
}

// tenRules are the rules of graph-filter.
const tenRules = `
	deny src net 172.16.0.0/12, deny src net 192.168.0.0/16, deny ip frag, deny tcp dst port 25, deny tcp dst port 139,
	deny udp dst port 161, deny udp src port 53 and dst net 10.0.9.0/24, allow udp dst port 5678, allow icmp, deny all`

func filterGraph(src string) string {
	return fmt.Sprintf("%s -> MarkIPHeader(14) -> IPFilter(%s)\n\t-> c :: Counter -> Discard;", src, tenRules)
}

// graphTrial is some graphs, each on a node of its own.
type graphTrial struct {
	env   *Env
	rows  []*graphRig
	peers []*peer
}

// graphRig is a running graph whose source is off.
type graphRig struct {
	name   string
	node   *nodeos.Node
	router *click.Router
	src    *source
}

// openGraph opens graphs, and the one for a peer, where $SRC stands for its source, if there is one and that is not empty.
func openGraph(forPeer string, rows ...graphRow) func(*Env) (Trial, error) {
	return func(e *Env) (Trial, error) {
		t := &graphTrial{env: e}
		if e.Click != "" && forPeer != "" {
			config := strings.ReplaceAll(forPeer, "$SRC", "InfiniteSource(DATA $FRAME, LIMIT $N, BURST $B, STOP true)")
			for _, b := range []int{1, 32} {
				t.peers = append(t.peers, &peer{name: fmt.Sprintf("peer, burst %d", b), config: config, path: e.Click, burst: b})
			}
		}
		for i, w := range rows {
			g, err := newGraphRig(e, w, uint64(i))
			if err != nil {
				return nil, closeAfter(t, fmt.Errorf("%s: %w", w.name, err))
			}
			t.rows = append(t.rows, g)
		}
		return t, nil
	}
}

// closeAfter closes a trial that could not be opened whole, and returns why.
func closeAfter(t Trial, why error) error {
	_ = t.Close()
	return why
}

func newGraphRig(e *Env, w graphRow, stream uint64) (*graphRig, error) {
	spec, err := click.Parse(w.name, w.config, click.ParseOptions{})
	if err != nil {
		return nil, err
	}
	n, err := nodeos.NewNode(nodeos.NodeSpec{Name: "bench", Clock: e.Clock, Seed: e.Seed})
	if err != nil {
		return nil, err
	}
	g := &graphRig{name: w.name, node: n}
	g.router, err = click.New(spec, click.Env{Domain: n.Root(), Worker: -1, Output: io.Discard, Values: map[string]any{packetsValue: w.traffic(e.rand(stream)), wasm.Key: modules}})
	if err != nil {
		_ = n.Close()
		return nil, err
	}
	g.src = g.router.Element("src").(*source)
	return g, nil
}

// passed returns how many packets left the source and reached the sink. On the worker.
func (g *graphRig) passed() (sent, got uint64, err error) {
	v, err := g.router.ReadHere("c.count", "")
	if err != nil {
		return 0, 0, err
	}
	got, err = strconv.ParseUint(v, 10, 64)
	return g.src.count, got, err
}

// drained turns the source off and waits until what it sent has arrived.
func (g *graphRig) drained(c clock.Clock) (sent, got uint64, err error) {
	for limit := c.Now().Add(5 * time.Second); ; {
		derr := g.router.Do(func() {
			g.src.set(false)
			sent, got, err = g.passed()
		})
		if derr != nil || err != nil {
			return 0, 0, firstError(derr, err)
		}
		if sent == got || c.Now() > limit {
			return sent, got, nil
		}
		runtime.Gosched()
	}
}

func firstError(es ...error) error {
	for _, err := range es {
		if err != nil {
			return err
		}
	}
	return nil
}

// measure runs the graph for a while and returns processor time and packets.
func (g *graphRig) measure(e *Env) (cost time.Duration, packets, allocs uint64, err error) {
	var m0, m1 runtime.MemStats
	before, _, err := g.drained(e.Clock)
	if err != nil {
		return 0, 0, 0, err
	}
	runtime.GC()
	runtime.ReadMemStats(&m0)
	t0 := processTime()
	if err := g.router.Do(func() { g.src.set(true) }); err != nil {
		return 0, 0, 0, err
	}
	pause(e, e.Time)
	sent, got, err := g.drained(e.Clock)
	cost = processTime() - t0
	runtime.ReadMemStats(&m1)
	switch {
	case err != nil:
	case sent != got:
		err = errs.New(errs.Internal, "%s: of %d packets %d reached the sink", g.name, sent, got)
	case sent == before:
		err = errs.New(errs.Internal, "%s: no packet was sent", g.name)
	}
	return cost, sent - before, m1.Mallocs - m0.Mallocs, err
}

// pause lets time pass, or less when the run is to end.
func pause(e *Env, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-e.Context.Done():
	}
}

// Measure implements Trial.
func (t *graphTrial) Measure(r *Round) error {
	for _, g := range t.rows {
		cost, n, allocs, err := g.measure(t.env)
		if err != nil {
			return err
		}
		r.Add(g.name, "ns/packet", float64(cost.Nanoseconds())/float64(n))
		r.Add(g.name+allocsSuffix, "allocs/packet", round2(float64(allocs)/float64(n)))
	}
	for _, p := range t.peers {
		ns, err := p.measure(t.env)
		if err != nil {
			return err
		}
		r.Add(p.name, "ns/packet", ns)
		r.Note("The peer is %s, a process of its own with one route in use; its source sends one packet again and again, shared until it is written to.", p.path)
		for _, g := range t.rows {
			if strings.HasSuffix(g.name, fmt.Sprintf("burst %d", p.burst)) && ns > 0 {
				if err := r.Ratio(g.name+" to peer", g.name, p.name); err != nil {
					return err
				}
				break // the others have more to do than the peer
			}
		}
	}
	return nil
}

// Close implements Trial.
func (t *graphTrial) Close() error {
	var first error
	for _, g := range t.rows {
		g.router.Close()
		first = firstError(first, closeNode(g.node))
	}
	return first
}

// closeNode closes a node and reports frames that nobody gave back.
func closeNode(n *nodeos.Node) error {
	left := held(n)
	if err := n.Close(); err != nil {
		return err
	}
	if left != 0 {
		return errs.New(errs.Internal, "%d frames were leaked", left)
	}
	return nil
}

// held returns how many frames of a node are not free.
func held(n *nodeos.Node) (frames int) {
	for _, k := range n.Pool().Stats().Charged {
		frames += k
	}
	return frames
}
