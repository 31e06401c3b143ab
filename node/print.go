package node

import (
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/vm"
)

// File returns the absolute path of the file that the spec is from, or "" if it is from none.
func (s *Spec) File() string {
	if s.file == "" {
		return ""
	}
	p, err := filepath.Abs(s.file)
	if err != nil {
		return ""
	}
	return p
}

// Text returns the spec as a node file: what Parse makes of it is the same node. Keys with their default are left out, but
// the graph is always there, generated if need be, so that the text says all that runs. Relative paths stay as they are.
func (s *Spec) Text() string {
	p := &printer{}
	p.text(0, "node", s.Name)
	if s.Kind != Router {
		p.text(0, "kind", s.Kind.String())
	}
	if s.Addr != 0 {
		p.text(0, "address", s.Addr.String())
	}
	p.number(0, "workers", int64(s.Workers))
	p.number(0, "frames", int64(s.Frames))
	if s.Seed != 0 {
		p.line(0, "seed: %d", s.Seed)
	}
	p.text(0, "control", s.Control)
	p.text(0, "events", s.Events)
	p.text(0, "code-store", s.Code)
	p.amounts(0, "limits", s.Limits)
	p.number(0, "share", int64(s.Share))
	p.list("links", len(s.Links), func(i int) { p.link(&s.Links[i]) })
	p.list("pools", len(s.Pools), func(i int) {
		l := &s.Pools[i]
		p.text(2, "name", l.Name)
		p.text(2, "parent", l.Parent)
		p.limit(2, "limit", l.Limit)
		p.number(2, "share", int64(l.Share))
		p.duration(2, "deadline", l.Deadline)
	})
	p.list("jails", len(s.Jails), func(i int) {
		j := &s.Jails[i]
		p.text(2, "name", j.Name)
		if j.Mode != vm.ModeAuto {
			p.text(2, "mode", j.Mode.String())
		}
		p.number(2, "memory", j.Memory)
		p.duration(2, "cpu", j.CPU)
		p.duration(2, "hang", j.Hang)
		p.number(2, "room", int64(j.Room))
		p.texts(2, "protocols", j.Protocols)
	})
	p.section("ants", func() {
		a := &s.ANTS
		p.flag(1, "off", a.Off)
		p.number(1, "port", int64(a.Port))
		p.number(1, "budget", a.Budget)
		p.number(1, "strikes", int64(a.Strikes))
		p.number(1, "quota", int64(a.Quota))
		p.number(1, "rate", int64(a.Rate))
		p.text(1, "jail", a.Jail)
		p.attrs(1, &a.Attrs)
		p.sub(1, "protocol", func() {
			p.number(2, "share", int64(a.Each))
			p.amounts(2, "limits", a.Protocol)
		})
		p.texts(1, "protocols", a.Protocols)
	})
	p.section("routing", func() {
		r := &s.Routing
		p.flag(1, "off", r.Off)
		p.duration(1, "hello", r.Hello)
		p.number(1, "dead", int64(r.Dead))
		var prefixes []string
		for _, x := range r.Prefixes {
			prefixes = append(prefixes, x.String())
		}
		p.texts(1, "prefixes", prefixes)
		p.flag(1, "kernel-routes", r.Kernel)
	})
	p.section("host", func() {
		p.flag(1, "off", s.Host.Off)
		p.number(1, "table", int64(s.Host.Table))
	})
	p.section("graph-domain", func() { p.attrs(1, &s.GraphDomain) })
	p.list("domains", len(s.Domains), func(i int) {
		d := &s.Domains[i]
		p.text(2, "name", d.Name)
		p.attrs(2, &d.Attrs)
		p.graph(2, d.Graph)
		p.cuts(d.Cuts)
		if d.Guest != nil {
			p.guest(d.Guest)
		}
		if d.Run != nil {
			p.program(d.Run)
		}
	})
	p.graph(0, s.GraphText())
	return p.b.String()
}

// printer writes YAML that our reader takes: each scalar that is not a number as a JSON string.
type printer struct {
	b    strings.Builder
	dash bool // the next line begins an element of a list
}

func (p *printer) line(depth int, format string, args ...any) {
	indent := strings.Repeat("  ", depth)
	if p.dash {
		indent, p.dash = strings.Repeat("  ", depth-1)+"- ", false
	}
	fmt.Fprintf(&p.b, indent+format+"\n", args...)
}

// quote writes a string as JSON, which is YAML too.
func quote(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string always encodes
	return strings.TrimSuffix(b.String(), "\n")
}

func (p *printer) text(depth int, key, v string) {
	if v != "" {
		p.line(depth, "%s: %s", key, quote(v))
	}
}

func (p *printer) number(depth int, key string, v int64) {
	if v != 0 {
		p.line(depth, "%s: %d", key, v)
	}
}

func (p *printer) flag(depth int, key string, v bool) {
	if v {
		p.line(depth, "%s: true", key)
	}
}

func (p *printer) duration(depth int, key string, v time.Duration) {
	if v != 0 {
		p.line(depth, "%s: %s", key, v)
	}
}

func (p *printer) limit(depth int, key string, v int64) {
	if v == resctl.Nothing {
		p.line(depth, "%s: none", key)
		return
	}
	p.number(depth, key, v)
}

func (p *printer) texts(depth int, key string, vs []string) {
	if len(vs) == 0 {
		return
	}
	q := make([]string, len(vs))
	for i, v := range vs {
		q[i] = quote(v)
	}
	p.line(depth, "%s: [%s]", key, strings.Join(q, ", "))
}

func (p *printer) amounts(depth int, key string, a resctl.Amounts) {
	var parts []string
	for r, v := range a {
		switch {
		case v == 0:
		case v == resctl.Nothing:
			parts = append(parts, resctl.Resource(r).String()+": none")
		case resctl.Resource(r) == resctl.CPU:
			parts = append(parts, fmt.Sprintf("cpu: %s", time.Duration(v)))
		default:
			parts = append(parts, fmt.Sprintf("%s: %d", resctl.Resource(r), v))
		}
	}
	if len(parts) > 0 {
		p.line(depth, "%s: {%s}", key, strings.Join(parts, ", "))
	}
}

// sub writes a mapping whose keys fn writes, or nothing where fn writes none.
func (p *printer) sub(depth int, key string, fn func()) {
	before := p.b.String()
	p.line(depth, "%s:", key)
	with := p.b.Len()
	if fn(); p.b.Len() == with {
		p.b.Reset()
		p.b.WriteString(before)
	}
}

func (p *printer) section(key string, fn func()) { p.sub(0, key, fn) }

func (p *printer) list(key string, n int, fn func(i int)) {
	if n == 0 {
		return
	}
	p.line(0, "%s:", key)
	for i := range n {
		p.dash = true
		fn(i)
	}
}

func (p *printer) link(l *Link) {
	p.text(2, "name", l.Name)
	p.text(2, "driver", l.Driver)
	p.text(2, "device", l.Device)
	p.number(2, "cost", int64(l.Cost))
	p.number(2, "ring", int64(l.Ring))
	p.number(2, "worker", int64(l.Worker))
	if len(l.Workers) > 0 {
		p.line(2, "workers: %s", strings.ReplaceAll(fmt.Sprint(l.Workers), " ", ", "))
	}
	var peers []string
	for _, a := range l.Peers {
		peers = append(peers, a.String())
	}
	p.texts(2, "peers", peers)
	var keys []string
	for k := range l.Options {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for i, k := range keys {
		keys[i] = quote(k) + ": " + quote(l.Options[k])
	}
	if len(keys) > 0 {
		p.line(2, "options: {%s}", strings.Join(keys, ", "))
	}
}

func (p *printer) attrs(depth int, a *Attrs) {
	p.number(depth, "share", int64(a.Share))
	p.number(depth, "worker", int64(a.Worker))
	p.duration(depth, "max-run", a.MaxRun)
	p.text(depth, "pool", a.Pool)
	p.amounts(depth, "limits", a.Limits)
	p.amounts(depth, "reserve", a.Reserve)
	if a.Files != (nodeos.FilesSpec{}) {
		p.line(depth, "files:")
		p.text(depth+1, "dir", a.Files.Dir)
		p.limit(depth+1, "max-bytes", a.Files.MaxBytes)
		p.number(depth+1, "max-open", int64(a.Files.MaxOpen))
	}
	if a.Rights != nil {
		names := make([]string, len(a.Rights))
		for i, op := range a.Rights {
			names[i] = op.String()
		}
		p.line(depth, "rights: [%s]", strings.Join(names, ", "))
	}
}

// graph writes a text as a literal block where that is the same text again, which is how people write it.
func (p *printer) graph(depth int, text string) {
	if text == "" {
		return
	}
	plain := strings.HasSuffix(text, "\n") && !strings.HasSuffix(text, "\n\n") && !strings.HasPrefix(text, " ") && !strings.HasPrefix(text, "\n")
	for _, r := range text {
		plain = plain && (r == '\n' || r >= ' ' && r < 0x7f)
	}
	if !plain {
		p.text(depth, "graph", text)
		return
	}
	p.line(depth, "graph: |")
	for l := range strings.Lines(text) {
		if strings.TrimSpace(l) == "" {
			p.b.WriteString(l)
			continue
		}
		p.b.WriteString(strings.Repeat("  ", depth+1) + l)
	}
}

func (p *printer) guest(g *Guest) {
	p.line(2, "guest:")
	p.text(3, "code", g.Code)
	p.text(3, "args", g.Args)
	p.number(3, "memory", g.Memory)
	p.number(3, "handles", int64(g.Handles))
	if len(g.Ports) > 0 {
		p.line(3, "ports:")
	}
	for i := range g.Ports {
		t := &g.Ports[i]
		p.dash = true
		p.text(5, "protocol", t.Protocol)
		p.text(5, "address", t.Address)
		p.text(5, "key", t.Key)
		p.flag(5, "any-port", t.AnyPort)
		var to []string
		for _, px := range t.To {
			to = append(to, px.String())
		}
		p.texts(5, "to", to)
		p.flag(5, "no-in", t.NoIn)
		p.flag(5, "no-out", t.NoOut)
	}
}

func (p *printer) program(r *Program) {
	p.line(2, "program:")
	p.text(3, "code", r.Code)
	p.texts(3, "args", r.Args)
	p.texts(3, "env", r.Env)
	p.text(3, "stdin", r.Stdin)
	p.number(3, "memory", r.Memory)
	p.number(3, "fuel", int64(r.Fuel))
	p.duration(3, "time", r.Time)
	p.number(3, "max-output", r.Output)
	p.number(3, "max-names", int64(r.Names))
}

func (p *printer) cuts(cs []CutThrough) {
	if len(cs) == 0 {
		return
	}
	p.line(2, "cut-through:")
	for i := range cs {
		c := &cs[i]
		p.dash = true
		p.text(4, "in", c.In)
		p.text(4, "address", c.Address)
		p.text(4, "key", c.Key)
		p.number(4, "quota", int64(c.Quota))
		p.number(4, "rate", int64(c.Rate))
		p.number(4, "packet-burst", int64(c.Packets))
		p.text(4, "out", c.Out)
		p.text(4, "to", c.To)
		p.text(4, "source", c.Source)
		if c.Ether != [6]byte{} {
			p.text(4, "ether", net.HardwareAddr(c.Ether[:]).String())
		}
		if c.Route.IsValid() {
			p.text(4, "route", c.Route.String())
		}
		p.number(4, "ttl", int64(c.TTL))
		p.number(4, "tos", int64(c.TOS))
		if len(c.VLAN) > 0 {
			p.line(4, "vlan: %s", strings.ReplaceAll(fmt.Sprint(c.VLAN), " ", ", "))
		}
		p.flag(4, "no-checksum", c.Bare)
		p.flag(4, "hop", c.Hop)
		p.number(4, "bit-rate", int64(c.BitRate))
		p.duration(4, "burst", c.Burst)
		p.flag(4, "user-space", c.User)
	}
}
