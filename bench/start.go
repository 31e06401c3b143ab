package bench

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/janos-os/janos/click"
	_ "github.com/janos-os/janos/click/elements/ip"       // classes of the configuration below
	_ "github.com/janos-os/janos/click/elements/standard" // the same
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
)

// largeElements is how many elements the configuration of graph-start has.
const largeElements = 10_000

func init() {
	register(Scenario{Name: "graph-start", Tier: "memory", Title: "a configuration of 10,000 elements is parsed, checked and started, and replaced by itself",
		Text: "1,000 lines of ten elements: a source that is off, header checks in a compound, a switch, a queue and what empties it, and a sink. 'parse' makes a flat graph of the text, " +
			"'check' looks for all mistakes of classes, arguments and connections, 'start' makes and runs the router, 'all' is the three together. 'replace' puts a second router of the same graph in the place of the running one, " +
			"which hands over what its elements hold. By the clock.",
		Open: openStart})
}

func largeConfig() string {
	var b strings.Builder
	b.WriteString("elementclass Check { input -> Strip(14) -> CheckIPHeader -> output; }\n")
	for i := range largeElements / 10 {
		fmt.Fprintf(&b, "s%d :: InfiniteSource(ACTIVE false, LIMIT %d) -> Counter -> Null -> Check -> Paint(%d) -> w%d :: Switch(1) -> Queue(10) -> Unqueue(4) -> d%d :: Discard; w%d[1] -> d%d;\n", i, i, i%256, i, i, i, i)
	}
	return b.String()
}

type startTrial struct {
	env  *Env
	text string
	node *nodeos.Node
}

func openStart(e *Env) (Trial, error) {
	n, err := nodeos.NewNode(nodeos.NodeSpec{Name: "bench", Clock: e.Clock, Seed: e.Seed})
	return &startTrial{env: e, text: largeConfig(), node: n}, err
}

// Measure implements Trial.
func (t *startTrial) Measure(r *Round) error {
	env := click.Env{Domain: t.node.Root(), Worker: -1, Output: io.Discard}
	begin := t.env.Clock.Now()
	at := begin
	lap := func(name string) {
		now := t.env.Clock.Now()
		r.Add(name, "ms", float64(now.Sub(at))/float64(time.Millisecond))
		at = now
	}
	spec, err := click.Parse("large", t.text, click.ParseOptions{})
	if err != nil {
		return err
	}
	lap("parse")
	if len(spec.Elements) != largeElements {
		return errs.New(errs.Internal, "the configuration has %d elements", len(spec.Elements))
	}
	if err := click.Check(spec, env); err != nil {
		return err
	}
	lap("check")
	g, err := click.New(spec, env)
	if err != nil {
		return err
	}
	lap("start")
	r.Add("all", "ms", float64(at.Sub(begin))/float64(time.Millisecond))
	n, err := g.Replace(spec)
	if err != nil {
		g.Close()
		return err
	}
	lap("replace")
	n.Close()
	return nil
}

// Close implements Trial.
func (t *startTrial) Close() error { return closeNode(t.node) }
