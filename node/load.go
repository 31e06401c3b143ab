package node

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/janos-os/janos/ee/ants"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/yamlfile"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/vm"
)

// Load reads a node file. All errors in it are reported at once, each with file:line:column.
func Load(path string) (*Spec, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, errs.New(errs.NotFound, "node file: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, yamlfile.MaxSize+1))
	if err != nil {
		return nil, errs.New(errs.Invalid, "node file: %w", err)
	}
	return Parse(path, text)
}

// Parse is Load for a text in memory; name is what errors call it, and relative paths in the text are
// relative to its folder.
func Parse(name string, text []byte) (*Spec, error) {
	f := yamlfile.Parse(name, text)
	if err := f.Err(); err != nil {
		return nil, err
	}
	if !f.Root().Exists() {
		f.Errorf(errs.Pos{File: name, Line: 1, Col: 1}, "the file is empty; a node needs node, address and links")
		return nil, f.Err()
	}
	s := &Spec{file: name}
	place := make(map[string]errs.Pos)
	m := f.Root().Map("node file")
	get := func(key string) yamlfile.Node {
		n := m.Get(key)
		if n.Exists() {
			place[key] = n.Pos()
		}
		return n
	}
	place["node"] = f.Root().Pos()
	n := m.Need("node")
	s.Name, _ = n.Text()
	if n.Exists() {
		place["node"] = n.Pos()
	}
	switch k, _ := get("kind").Text(); k {
	case "", "router":
	case "host":
		s.Kind = Host
	default:
		m.Get("kind").Errorf("kind %q; write router (the default) or host", k)
	}
	if n := get("address"); n.Exists() {
		text, _ := n.Text()
		a, err := ants.ParseNodeAddr(text)
		if err != nil {
			n.Errorf("%v", err)
		}
		s.Addr = a
	}
	s.Workers = integer(get("workers"), 256)
	s.Frames = integer(get("frames"), 1<<24)
	s.Seed, _ = get("seed").Uint64()
	s.Control, _ = get("control").Text()
	s.Events, _ = get("events").Text()
	s.Code, _ = get("code-store").Text()
	if n := get("graph"); n.Exists() {
		s.Graph, _ = n.Text()
		s.graphAt, s.graphBlock = textAt(string(text), n.Pos())
	}
	s.Limits = amounts(get("limits"))
	for i, n := range get("links").List() {
		place[fmt.Sprintf("links[%d]", i)] = n.Pos()
		s.Links = append(s.Links, link(n))
		if i == MaxLinks {
			break
		}
	}
	s.Share = share(get("share"))
	attributes(get("graph-domain").Map("graph-domain"), &s.GraphDomain)
	for i, n := range get("pools").List() {
		place[fmt.Sprintf("pools[%d]", i)] = n.Pos()
		s.Pools = append(s.Pools, pool(n))
		if i == MaxPools {
			break
		}
	}
	for i, n := range get("domains").List() {
		key := fmt.Sprintf("domains[%d]", i)
		place[key] = n.Pos()
		s.Domains = append(s.Domains, domain(n, string(text), func(cut int, pos errs.Pos) { place[fmt.Sprintf("%s.cut-through[%d]", key, cut)] = pos }))
		if i == MaxDomains {
			break
		}
	}
	for i, n := range get("jails").List() {
		place[fmt.Sprintf("jails[%d]", i)] = n.Pos()
		s.Jails = append(s.Jails, Jail{})
		s.Jails[i].load(n)
		if i == MaxJails {
			break
		}
	}
	s.ANTS.load(get("ants"), func(pos errs.Pos) { s.protocolsAt = append(s.protocolsAt, pos) })
	s.Routing.load(get("routing"))
	s.Host.load(get("host"))
	m.Close()
	said := make(map[errs.Pos]bool) // a value that could not be read is not also judged
	each(f.Err(), func(a *errs.At) { said[a.Pos] = true })
	s.check(func(key, format string, args ...any) {
		pos, ok := place[key]
		if !ok {
			pos = f.Root().Pos()
		}
		if !said[pos] {
			f.Errorf(pos, format, args...)
		}
	})
	if err := f.Err(); err != nil {
		return nil, err
	}
	return s, nil
}

// path resolves a path of the file.
func (s *Spec) path(p string) string {
	if filepath.IsAbs(p) || s.file == "" {
		return p
	}
	return filepath.Join(filepath.Dir(s.file), p)
}

// drivers returns the names that a link's driver may have: those of this system, and those that
// we have elsewhere, so that a file can be checked on another machine than it is for.
func drivers() []string {
	names := append([]string{"mem", "packet", "udp", "xdp"}, nodeos.Drivers()...)
	slices.Sort(names)
	return slices.Compact(names)
}

func integer(n yamlfile.Node, max int64) int {
	if !n.Exists() {
		return 0
	}
	v, _ := n.Int(1, max)
	return int(v)
}

// number reads a number from 0.
func number(n yamlfile.Node, max int64) int {
	if !n.Exists() {
		return 0
	}
	v, _ := n.Int(0, max)
	return int(v)
}

func link(n yamlfile.Node) Link {
	m := n.Map("link")
	var l Link
	l.Name, _ = m.Need("name").Text()
	l.Driver, _ = m.Get("driver").Text()
	if known := drivers(); l.Driver != "" && !slices.Contains(known, l.Driver) {
		m.Get("driver").Errorf("unknown driver %.40q (there are %s)", l.Driver, strings.Join(known, ", "))
	}
	l.Device, _ = m.Get("device").Text()
	if _, err := netip.ParseAddrPort(l.Device); l.Driver == "udp" && err != nil {
		at := m.Get("device")
		if !at.Exists() {
			at = m.Get("driver")
		}
		at.Errorf("driver udp wants a local address such as \"device: 0.0.0.0:3322\", not %.40q", l.Device)
	}
	l.Cost = uint32(integer(m.Get("cost"), 65535))
	l.Ring = integer(m.Get("ring"), 1<<20)
	l.Worker = number(m.Get("worker"), 255)
	for _, v := range m.Get("workers").List() {
		l.Workers = append(l.Workers, number(v, 255))
	}
	for _, v := range m.Get("peers").List() {
		text, _ := v.Text()
		a, err := netip.ParseAddrPort(text)
		if err != nil {
			v.Errorf("%q is not an address and port such as 10.0.0.2:3322", text)
		}
		l.Peers = append(l.Peers, a)
	}
	m.Get("options").Map("options of a link").Each(func(key string, _ errs.Pos, v yamlfile.Node) {
		if l.Options == nil {
			l.Options = make(map[string]string)
		}
		l.Options[key], _ = v.Text()
	})
	m.Close()
	return l
}

func share(n yamlfile.Node) resctl.Share { return resctl.Share(integer(n, 1<<20)) }

// limit reads a number, or none, which refuses all.
func limit(n yamlfile.Node) int64 {
	if !n.Exists() {
		return 0
	}
	if s, _ := n.Text(); s == "none" {
		return resctl.Nothing
	}
	v, _ := n.Int(0, 1<<50)
	return v
}

func pool(n yamlfile.Node) (p Pool) {
	m := n.Map("memory pool")
	p.Name, _ = m.Need("name").Text()
	p.Parent, _ = m.Get("parent").Text()
	p.Limit = limit(m.Get("limit"))
	p.Share = share(m.Get("share"))
	p.Deadline, _ = m.Get("deadline").Duration(time.Hour)
	m.Close()
	return p
}

// attributes reads a mapping that has the attributes of a domain and nothing else.
func attributes(m *yamlfile.Map, a *Attrs) {
	attributesOf(m, a)
	rights(m, a)
	m.Close()
}

// attributesOf reads the attributes that every domain has.
func attributesOf(m *yamlfile.Map, a *Attrs) {
	a.Share = share(m.Get("share"))
	a.Worker = number(m.Get("worker"), 255)
	a.MaxRun, _ = m.Get("max-run").Duration(time.Hour)
	a.Pool, _ = m.Get("pool").Text()
	a.Limits = amounts(m.Get("limits"))
	a.Reserve = amounts(m.Get("reserve"))
}

// rights reads what domains have that run what the operator gives them: files, and rights.
func rights(m *yamlfile.Map, a *Attrs) {
	f := m.Get("files")
	fm := f.Map("files")
	a.Files.Dir, _ = fm.Get("dir").Text()
	a.Files.MaxBytes = limit(fm.Get("max-bytes"))
	a.Files.MaxOpen = integer(fm.Get("max-open"), 1<<16)
	fm.Close()
	if a.Files.Dir == "" && f.Exists() {
		f.Errorf("files without a directory: write dir")
	}
	r := m.Get("rights")
	if r.Exists() {
		a.Rights = []nodeos.Operation{}
	}
	for _, v := range r.List() {
		text, ok := v.Text()
		op := nodeos.Operation(0)
		for op < nodeos.NumOperations && op.String() != text {
			op++
		}
		switch {
		case op == nodeos.NumOperations && ok:
			v.Errorf("unknown right %.40q (there are %s)", text, strings.Join(operations(), ", "))
		case slices.Contains(a.Rights, op):
			v.Errorf("right %s is there twice", op)
		case ok:
			a.Rights = append(a.Rights, op)
		}
	}
	slices.Sort(a.Rights)
}

func operations() (names []string) {
	for op := range nodeos.NumOperations {
		names = append(names, op.String())
	}
	return names
}

// domain reads a domain of a file with the given text; cut is told where its cut-through channels stand.
func domain(n yamlfile.Node, file string, cut func(i int, pos errs.Pos)) (d Domain) {
	m := n.Map("domain")
	d.Name, _ = m.Need("name").Text()
	attributesOf(m, &d.Attrs)
	rights(m, &d.Attrs)
	if g := m.Get("graph"); g.Exists() {
		d.Graph, _ = g.Text()
		d.at, d.block = textAt(file, g.Pos())
	}
	for i, v := range m.Get("cut-through").List() {
		cut(i, v.Pos())
		d.Cuts = append(d.Cuts, cutThrough(v))
		if i == MaxCuts {
			break
		}
	}
	if g := m.Get("guest"); g.Exists() {
		d.Guest = guest(g)
	}
	if p := m.Get("program"); p.Exists() {
		d.Run = program(p)
	}
	m.Close()
	return d
}

func guest(n yamlfile.Node) *Guest {
	m := n.Map("guest")
	g := new(Guest)
	g.Code, _ = m.Need("code").Text()
	g.Args, _ = m.Get("args").Text()
	g.Memory = int64(integer(m.Get("memory"), 1<<40))
	g.Handles = integer(m.Get("handles"), vm.MaxHandles)
	for i, v := range m.Get("ports").List() {
		pm := v.Map("port of a guest")
		var p Port
		p.Protocol, _ = pm.Need("protocol").Text()
		p.Address, _ = pm.Get("address").Text()
		p.Key, _ = pm.Get("key").Text()
		p.AnyPort, _ = pm.Get("any-port").Bool()
		for _, t := range pm.Get("to").List() {
			text, _ := t.Text()
			px, err := netip.ParsePrefix(text)
			if err != nil {
				t.Errorf("%q is not a prefix such as 10.1.0.0/16", text)
			}
			p.To = append(p.To, px)
		}
		p.NoIn, _ = pm.Get("no-in").Bool()
		p.NoOut, _ = pm.Get("no-out").Bool()
		pm.Close()
		g.Ports = append(g.Ports, p)
		if i == MaxPorts {
			break
		}
	}
	m.Close()
	return g
}

func program(n yamlfile.Node) *Program {
	m := n.Map("program")
	p := new(Program)
	p.Code, _ = m.Need("code").Text()
	if a := m.Get("args"); a.Exists() {
		p.Args = a.Texts()
	}
	p.Env = m.Get("env").Texts()
	p.Stdin, _ = m.Get("stdin").Text()
	p.Memory = int64(integer(m.Get("memory"), 1<<40))
	p.Fuel = uint64(integer(m.Get("fuel"), 1<<50))
	p.Time, _ = m.Get("time").Duration(24 * time.Hour)
	p.Output = int64(integer(m.Get("max-output"), 1<<40))
	p.Names = integer(m.Get("max-names"), 1<<30)
	m.Close()
	return p
}

func cutThrough(n yamlfile.Node) (c CutThrough) {
	m := n.Map("cut-through channel")
	c.In, _ = m.Need("in").Text()
	c.Address, _ = m.Get("address").Text()
	c.Key, _ = m.Get("key").Text()
	c.Quota = integer(m.Get("quota"), nodeos.MaxQuota)
	c.Rate = integer(m.Get("rate"), nodeos.MaxRate)
	c.Packets = integer(m.Get("packet-burst"), nodeos.MaxBurst)
	c.Out, _ = m.Need("out").Text()
	c.To, _ = m.Get("to").Text()
	c.Source, _ = m.Get("source").Text()
	if e := m.Get("ether"); e.Exists() {
		text, _ := e.Text()
		var err error
		if c.Ether, err = ether(text); err != nil {
			e.Errorf("%v", err)
		}
	}
	if r := m.Get("route"); r.Exists() {
		text, _ := r.Text()
		var err error
		if c.Route, err = netip.ParseAddr(text); err != nil || c.Route.Zone() != "" {
			r.Errorf("%q is no address", text)
		}
	}
	c.TTL = uint8(integer(m.Get("ttl"), 255))
	c.TOS = uint8(number(m.Get("tos"), 255))
	for _, v := range m.Get("vlan").List() {
		tag, _ := v.Int(0, 1<<16-1)
		c.VLAN = append(c.VLAN, uint16(tag))
	}
	c.Bare, _ = m.Get("no-checksum").Bool()
	c.Hop, _ = m.Get("hop").Bool()
	c.BitRate = uint64(integer(m.Get("bit-rate"), 1<<50))
	c.Burst, _ = m.Get("burst").Duration(nodeos.MaxCutBurst)
	c.User, _ = m.Get("user-space").Bool()
	m.Close()
	return c
}

// amounts reads a mapping from resource to number; "none" refuses all.
func amounts(n yamlfile.Node) (a resctl.Amounts) {
	n.Map("limits").Each(func(key string, _ errs.Pos, v yamlfile.Node) {
		r, err := resctl.ParseResource(key)
		if err != nil {
			v.Errorf("%v", err)
			return
		}
		if s, _ := v.Text(); s == "none" {
			a[r] = resctl.Nothing
			return
		}
		if r == resctl.CPU {
			d, _ := v.Duration(time.Hour)
			a[r] = int64(d)
			return
		}
		a[r], _ = v.Int(0, 1<<50)
	})
	return a
}

// load reads the section; protocol is told where each protocol stands.
func (a *ANTS) load(n yamlfile.Node, protocol func(errs.Pos)) {
	m := n.Map("ants")
	a.Off, _ = m.Get("off").Bool()
	a.Port = uint16(integer(m.Get("port"), 65535))
	a.Budget = int64(integer(m.Get("budget"), 1<<40))
	a.Strikes = integer(m.Get("strikes"), 1<<20)
	a.Quota = integer(m.Get("quota"), nodeos.MaxQuota)
	a.Rate = integer(m.Get("rate"), nodeos.MaxRate)
	a.Jail, _ = m.Get("jail").Text()
	attributesOf(m, &a.Attrs)
	p := m.Get("protocol").Map("protocol defaults")
	a.Protocol = amounts(p.Get("limits"))
	a.Each = share(p.Get("share"))
	p.Close()
	for _, v := range m.Get("protocols").List() {
		text, _ := v.Text()
		a.Protocols = append(a.Protocols, text)
		protocol(v.Pos())
	}
	if len(a.Protocols) > MaxBundles {
		m.Get("protocols").Errorf("%d protocols, want at most %d", len(a.Protocols), MaxBundles)
	}
	m.Close()
}

func (h *HostTables) load(n yamlfile.Node) {
	m := n.Map("host")
	h.Off, _ = m.Get("off").Bool()
	h.Table = uint32(integer(m.Get("table"), 1<<32-1))
	m.Close()
}

func (r *Routing) load(n yamlfile.Node) {
	m := n.Map("routing")
	r.Off, _ = m.Get("off").Bool()
	r.Hello, _ = m.Get("hello").Duration(time.Minute)
	r.Dead = integer(m.Get("dead"), 100)
	r.Kernel, _ = m.Get("kernel-routes").Bool()
	for i, v := range m.Get("prefixes").List() {
		text, _ := v.Text()
		p, err := netip.ParsePrefix(text)
		switch {
		case err != nil:
			v.Errorf("%q is not a prefix such as 10.1.0.0/16", text)
		case i >= MaxPrefix:
			v.Errorf("more than %d prefixes", MaxPrefix)
			return
		default:
			r.Prefixes = append(r.Prefixes, p)
		}
	}
	m.Close()
}
