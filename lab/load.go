package lab

import (
	"encoding/hex"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/yamlfile"
	"github.com/janos-os/janos/linkmodel"
	"github.com/janos-os/janos/resctl"
)

// Load reads a topology file and checks it. All errors in it are reported at once, each with file:line:column.
func Load(path string) (*Topology, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, errs.New(errs.NotFound, "topology file: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, yamlfile.MaxSize+1))
	if err != nil {
		return nil, errs.New(errs.Invalid, "topology file: %w", err)
	}
	t, err := Parse(path, text)
	if err != nil {
		return nil, err
	}
	var list errs.List
	for i, p := range t.Protocols { // what is in them the nodes judge
		at := p.File
		if !filepath.IsAbs(at) {
			at = filepath.Join(filepath.Dir(path), at)
		}
		if _, err := os.Stat(at); err != nil {
			list.Add(&errs.At{Pos: t.pos("protocols", i, "file"), Err: errs.New(errs.NotFound, "protocol: %w; paths are relative to the topology file", err)})
		}
	}
	if err := list.Err(); err != nil {
		return nil, err
	}
	return t, nil
}

// Parse is Load for a text in memory; name is what errors call it.
func Parse(name string, text []byte) (*Topology, error) {
	f := yamlfile.Parse(name, text)
	if err := f.Err(); err != nil {
		return nil, err
	}
	t := &Topology{file: name}
	m := f.Root().Map("topology")
	if !f.Root().Exists() {
		f.Errorf(errs.Pos{File: name, Line: 1, Col: 1}, "the file is empty; a topology needs name, nodes and links")
		return nil, f.Err()
	}
	t.mark("", 0, "", f.Root().Pos())
	v := m.Need("name")
	t.Name, _ = v.Text()
	t.mark("", 0, "name", v.Pos())
	t.Seed, _ = m.Get("seed").Uint64()
	t.Duration, _ = m.Get("duration").Duration(24 * time.Hour)
	v = m.Get("routes")
	switch s, _ := v.Text(); s {
	case "", "nodes":
	case "static":
		t.Routes = StaticRoutes
	default:
		v.Errorf("routes are found by %q? write nodes (the default) or static", s)
	}
	pool := m.Get("pool").Map("pool")
	t.LinkPool = t.prefix(pool.Get("links"), "linkpool")
	t.NodePool = t.prefix(pool.Get("nodes"), "nodepool")
	pool.Close()
	var def Link
	defaults := m.Get("defaults").Map("defaults")
	dl := defaults.Get("link").Map("defaults for links")
	linkSettings(dl, &def)
	dl.Close()
	dn := defaults.Get("node").Map("defaults for nodes")
	t.Defaults = nodeOptions(dn)
	dn.Close()
	defaults.Close()

	v = m.Need("nodes")
	t.mark("", 0, "nodes", v.Pos())
	list := v.List()
	if len(list) > MaxNodes {
		list[MaxNodes].Errorf("more than %d nodes; use fewer", MaxNodes)
		list = list[:MaxNodes]
	}
	for i, n := range list {
		t.Nodes = append(t.Nodes, t.node(i, n))
	}
	list = m.Get("links").List()
	if len(list) > MaxLinks {
		list[MaxLinks].Errorf("more than %d links; use fewer", MaxLinks)
		list = list[:MaxLinks]
	}
	for i, n := range list {
		t.Links = append(t.Links, t.link(i, n, def))
	}
	for i, n := range m.Get("protocols").List() {
		t.Protocols = append(t.Protocols, t.protocol(i, n))
	}
	for i, n := range m.Get("actions").List() {
		t.Actions = append(t.Actions, t.action(i, n))
	}
	m.Close()
	t.check(f.Errorf)
	if err := f.Err(); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *Topology) node(i int, v yamlfile.Node) Node {
	t.mark("nodes", i, "", v.Pos())
	m := v.Map("node")
	defer m.Close()
	var n Node
	name := m.Need("name")
	n.Name, _ = name.Text()
	t.mark("nodes", i, "name", name.Pos())
	kind := m.Need("kind")
	switch s, ok := kind.Text(); {
	case s == "host":
		n.Kind = Host
	case s == "router":
		n.Kind = Router
	case ok:
		kind.Errorf("%q is not a kind of node; write host or router", s)
		n.Kind = Host // reported; do not report it again as missing
	default:
		n.Kind = Host
	}
	addr := m.Get("addr")
	if s, ok := addr.Text(); ok {
		a, err := netip.ParseAddr(s)
		if err != nil || !a.Is4() {
			addr.Errorf("%q is not an IPv4 address like 10.255.0.1", s)
		} else {
			n.Addr = a
			t.mark("nodes", i, "addr", addr.Pos())
		}
	}
	n.Options = nodeOptions(m)
	return n
}

// nodeOptions reads what a node and the defaults for nodes have in common.
func nodeOptions(m *yamlfile.Map) (o NodeOptions) {
	number := func(key string, max int64) int64 {
		v, _ := m.Get(key).Int(1, max)
		return v
	}
	o.Workers = int(number("workers", 256))
	o.Frames = int(number("frames", 1<<24))
	o.Dead = int(number("dead", 100))
	o.Budget = number("budget", 1<<40)
	o.Strikes = int(number("strikes", 1<<20))
	o.Hello, _ = m.Get("hello").Duration(time.Minute)
	o.Limits = limits(m.Get("limits"))
	o.Protocol = limits(m.Get("protocol-limits"))
	return o
}

// limits reads a mapping from resource to amount and keeps the words, which the node file uses too.
func limits(v yamlfile.Node) Limits {
	var out Limits
	v.Map("limits").Each(func(key string, pos errs.Pos, v yamlfile.Node) {
		r, err := resctl.ParseResource(key)
		if err != nil {
			v.Errorf("%v", err)
			return
		}
		s, ok := v.Text()
		switch {
		case !ok:
			return
		case s == "none":
		case r == resctl.CPU:
			v.Duration(time.Hour)
		default:
			v.Int(0, 1<<50)
		}
		if out == nil {
			out = make(Limits)
		}
		out[key] = s
	})
	return out
}

func (t *Topology) protocol(i int, v yamlfile.Node) Protocol {
	t.mark("protocols", i, "", v.Pos())
	m := v.Map("protocol")
	defer m.Close()
	var p Protocol
	file := m.Need("file")
	p.File, _ = file.Text()
	t.mark("protocols", i, "file", file.Pos())
	at := m.Get("at")
	t.mark("protocols", i, "at", at.Pos())
	p.At = at.Texts()
	return p
}

func (t *Topology) link(i int, v yamlfile.Node, def Link) Link {
	t.mark("links", i, "", v.Pos())
	m := v.Map("link")
	defer m.Close()
	l := def
	if name := m.Get("name"); name.Exists() {
		l.Name, _ = name.Text()
		t.mark("links", i, "name", name.Pos())
	}
	ends := m.Need("ends")
	if list := ends.List(); len(list) != 2 {
		if ends.IsList() {
			ends.Errorf("a link has 2 ends, not %d; write ends: [a, b]", len(list))
		}
	} else {
		for e, n := range list {
			l.Ends[e], _ = n.Text()
			t.mark("links", i, endField(e), n.Pos())
		}
	}
	p := m.Get("prefix")
	l.Prefix = t.prefixAt(p, "links", i, "prefix")
	addrs := m.Get("addrs")
	if list := addrs.List(); len(list) == 2 {
		for e, n := range list {
			l.Addrs[e] = t.prefixAt(n, "links", i, addrField(e))
		}
	} else if addrs.Exists() {
		addrs.Errorf("a link has 2 addresses, not %d; write addrs: [10.0.0.1/30, 10.0.0.2/30] in the order of its ends", len(list))
	}
	if direct, _ := m.Get("direct").Bool(); direct {
		l.Impair = linkmodel.Impairment{} // the defaults are for other links; what this one says itself is checked
	}
	linkSettings(m, &l)
	return l
}

func endField(e int) string  { return [2]string{"end0", "end1"}[e] }
func addrField(e int) string { return [2]string{"addr0", "addr1"}[e] }

// linkSettings reads what a link and the defaults for links have in common.
func linkSettings(m *yamlfile.Map, l *Link) {
	impairment(m, &l.Impair)
	if v, ok := m.Get("mtu").Int(MinMTU, MaxMTU); ok {
		l.MTU = int(v)
	}
	if v, ok := m.Get("cost").Int(1, 65535); ok {
		l.Cost = int(v)
	}
	if v, ok := m.Get("direct").Bool(); ok {
		l.Direct = v
	}
}

func impairment(m *yamlfile.Map, im *linkmodel.Impairment) {
	if d, ok := m.Get("delay").Duration(MaxDelay); ok {
		im.Delay = d
	}
	if p, ok := m.Get("loss").Float(0, 1); ok {
		im.Loss = p
	}
	rate := m.Get("rate")
	if s, ok := rate.Text(); ok {
		r, err := linkmodel.ParseRate(s)
		if err != nil {
			rate.Errorf("%v", err)
		}
		im.Rate = r
	}
	if q, ok := m.Get("queue").Int(1, linkmodel.MaxQueue); ok {
		im.Queue = int(q)
	}
}

func (t *Topology) action(i int, v yamlfile.Node) Action {
	t.mark("actions", i, "", v.Pos())
	m := v.Map("action")
	defer m.Close()
	var a Action
	a.At, _ = m.Need("at").Duration(24 * time.Hour)
	do := m.Need("do")
	s, ok := do.Text()
	a.Do = Verb(s)
	switch a.Do {
	case Kill, Stop, Start, Exec:
		n := m.Need("node")
		a.Node, _ = n.Text()
		t.mark("actions", i, "node", n.Pos())
		if a.Do == Exec {
			command := m.Need("command")
			if a.Command = command.Texts(); command.Exists() && len(a.Command) == 0 {
				command.Errorf("the command is empty; write [program, argument]")
			}
		}
	case LinkDown, LinkUp, Impair:
		n := m.Need("link")
		a.Link, _ = n.Text()
		t.mark("actions", i, "link", n.Pos())
		if a.Do == Impair {
			impairment(m, &a.Impair)
		}
	case Send, Probe:
		n := m.Need("node")
		a.Node, _ = n.Text()
		t.mark("actions", i, "node", n.Pos())
		t.capsule(i, m, &a.Capsule)
	default:
		if ok {
			do.Errorf("%q is not an action; use one of %s", s, verbs)
		}
		a.Do = ""
		m.Each(func(string, errs.Pos, yamlfile.Node) {}) // its settings cannot be judged
	}
	return a
}

func (t *Topology) capsule(i int, m *yamlfile.Map, c *Capsule) {
	to := m.Need("to")
	c.To, _ = to.Text()
	t.mark("actions", i, "to", to.Pos())
	c.Protocol, _ = m.Need("protocol").Text()
	c.Class, _ = m.Need("class").Text()
	number := func(key string, min, max int64) int64 {
		v, _ := m.Get(key).Int(min, max)
		return v
	}
	c.Port = uint16(number("port", 0, 65535))
	c.Count = int(number("count", 1, MaxCapsules))
	c.TTL = uint32(number("ttl", 1, 255))
	c.Credit = uint32(number("credit", 1, 1<<31))
	c.Interval, _ = m.Get("interval").Duration(time.Minute)
	c.Wait, _ = m.Get("wait").Duration(time.Minute)
	payload := m.Get("payload")
	if s, ok := payload.Text(); ok {
		b, err := hex.DecodeString(s)
		if err != nil {
			payload.Errorf("%q is not hexadecimal: %v", clip(s), err)
		}
		c.Payload = b
	}
	if seq := m.Get("seq-at"); seq.Exists() {
		if v, ok := seq.Int(0, int64(len(c.Payload))-4); ok {
			c.SeqAt = int(v) + 1
		}
	}
}

var verbs = strings.Join([]string{
	string(Kill), string(Stop), string(Start), string(Exec), string(LinkDown), string(LinkUp), string(Impair), string(Send), string(Probe),
}, ", ")

func (t *Topology) prefix(v yamlfile.Node, field string) netip.Prefix {
	return t.prefixAt(v, "", 0, field)
}

func (t *Topology) prefixAt(v yamlfile.Node, list string, i int, field string) netip.Prefix {
	s, ok := v.Text()
	if !ok {
		return netip.Prefix{}
	}
	t.mark(list, i, field, v.Pos())
	p, err := netip.ParsePrefix(s)
	if err != nil || !p.Addr().Is4() {
		v.Errorf("%q is not an IPv4 address with a prefix length like 10.0.0.1/30", s)
		return netip.Prefix{}
	}
	return p
}
