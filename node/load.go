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
	s.ANTS.load(get("ants"))
	s.Routing.load(get("routing"))
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
	names := append([]string{"mem", "packet", "udp"}, nodeos.Drivers()...)
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

func (a *ANTS) load(n yamlfile.Node) {
	m := n.Map("ants")
	a.Off, _ = m.Get("off").Bool()
	a.Port = uint16(integer(m.Get("port"), 65535))
	a.Budget = int64(integer(m.Get("budget"), 1<<40))
	a.Strikes = integer(m.Get("strikes"), 1<<20)
	a.Limits = amounts(m.Get("limits"))
	p := m.Get("protocol").Map("protocol defaults")
	a.Protocol = amounts(p.Get("limits"))
	a.Share = resctl.Share(integer(p.Get("share"), 1<<20))
	p.Close()
	a.Protocols = m.Get("protocols").Texts()
	if len(a.Protocols) > MaxBundles {
		m.Get("protocols").Errorf("%d protocols, want at most %d", len(a.Protocols), MaxBundles)
	}
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
