package nodes

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/lab"
	"github.com/janos-os/janos/node"
)

// Names of a node's files in its directory.
const (
	fileName    = "node.yaml"
	controlName = "control"
	eventsName  = "events"
)

// seedStream keeps the seeds of nodes apart from the other random numbers that a topology's seed determines.
const seedStream = 1 << 32

// File returns the node file of a node of the plan, for a process in the node's namespace whose files are in dir.
func File(p *lab.Plan, n *lab.NodePlan, dir string) ([]byte, error) {
	return text(p, n, dir)
}

// Spec returns the specification of a node of the plan for a process that holds all nodes: no files, links in memory.
func Spec(p *lab.Plan, n *lab.NodePlan) (*node.Spec, error) {
	b, err := text(p, n, "")
	if err != nil {
		return nil, err
	}
	s, err := node.Parse(n.Name, b)
	if err != nil {
		return nil, errs.New(errs.Internal, "generated node file of %s: %w", n.Name, err)
	}
	return s, nil
}

// text writes the node file. Names consist of letters, digits, dashes, dots and underscores (lab.Topology.Check), so only paths
// need care.
func text(p *lab.Plan, n *lab.NodePlan, dir string) ([]byte, error) {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Node %s of lab %s.", n.Name, p.Name)
	line("node: %q", n.Name)
	line("kind: %s", n.Kind)
	line("address: %s", n.Addr)
	line("seed: %d", clock.NewRand(p.Seed, seedStream+uint64(n.Index)).Uint64())
	if dir != "" {
		line("control: %q", filepath.Join(dir, controlName))
		line("events: %q", filepath.Join(dir, eventsName))
	}
	o := &n.Options
	number(&b, "", "workers", int64(o.Workers))
	number(&b, "", "frames", int64(o.Frames))
	limits(&b, "", o.Limits)
	if len(n.Interfaces) > 0 {
		line("links:")
	}
	for _, f := range n.Interfaces {
		cost := ""
		if c := p.Links[f.Link].Cost; c > 0 {
			cost = fmt.Sprintf(", cost: %d", c)
		}
		if dir != "" {
			// There may be hundreds of links on one machine: a ring of 1 MiB for each.
			line("  - {name: %s, driver: packet, device: %s%s, ring: 512}", f.Name, f.Name, cost)
			continue
		}
		line("  - {name: %s, driver: mem, device: %q%s, options: {mac: %q, addr: %q, mtu: %d}}",
			f.Name, segment(f.Link, f.End), cost, f.MAC, f.Prefix, f.MTU)
	}
	line("ants:")
	line("  off: false")
	number(&b, "  ", "budget", o.Budget)
	number(&b, "  ", "strikes", int64(o.Strikes))
	if len(o.Protocol) > 0 {
		line("  protocol:")
		limits(&b, "    ", o.Protocol)
	}
	if len(n.Protocols) > 0 {
		line("  protocols:")
	}
	for _, f := range n.Protocols {
		abs, err := filepath.Abs(f)
		if err != nil {
			return nil, errs.New(errs.NotFound, "protocol %s: %w", f, err)
		}
		line("    - %q", abs)
	}
	line("routing:")
	line("  off: false")
	if o.Hello > 0 {
		line("  hello: %s", o.Hello)
	}
	number(&b, "  ", "dead", int64(o.Dead))
	// A router's kernel forwards ordinary packets by what the node has found; hosts have a default route.
	line("  kernel-routes: %v", dir != "" && n.Kind == lab.Router && p.Routing == lab.NodeRoutes)
	return []byte(b.String()), nil
}

func number(b *strings.Builder, indent, key string, v int64) {
	if v > 0 {
		fmt.Fprintf(b, "%s%s: %d\n", indent, key, v)
	}
}

func limits(b *strings.Builder, indent string, l lab.Limits) {
	if len(l) == 0 {
		return
	}
	keys := make([]string, 0, len(l))
	for k := range l {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	fmt.Fprintf(b, "%slimits:\n", indent)
	for _, k := range keys {
		fmt.Fprintf(b, "%s  %s: %s\n", indent, k, l[k])
	}
}

// segment names the piece of Ethernet between an end of a link and the wire.
func segment(link, end int) string { return fmt.Sprintf("link%d%c", link, 'a'+end) }
