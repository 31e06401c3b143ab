package node

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// source is a graph's text and where it stands.
type source struct {
	name  string // for errors: the file, if the text is from one
	text  string
	at    errs.Pos // of the text in the file, with Line 0 if it is not from one
	block bool     // as a literal block, every line indented as the first
}

// source returns the node's own graph, generated if need be.
func (s *Spec) source() source {
	g := source{name: "graph of " + s.Name, text: s.GraphText(), at: s.graphAt, block: s.graphBlock}
	switch {
	case s.Graph == "":
		g.name = "generated graph of " + s.Name
	case s.file != "":
		g.name = s.file
	}
	return g
}

// source returns the domain's graph.
func (d *Domain) source(s *Spec) source {
	g := source{name: "graph of " + s.Name + "/" + d.Name, text: d.Graph, at: d.at, block: d.block}
	if s.file != "" && d.at.Line > 0 {
		g.name = s.file
	}
	return g
}

func (g *source) parse() (*click.GraphSpec, error) {
	return click.Parse(g.name, g.text, click.ParseOptions{})
}

// place moves places in the graph's text to where that text stands in the node file.
func (g *source) place(err error) error {
	if g.at.Line > 0 {
		each(err, func(a *errs.At) {
			if a.Pos.File != g.name || a.Pos.Line == 0 {
				return
			}
			if a.Pos.Line == 1 || g.block {
				a.Pos.Col += g.at.Col - 1
			}
			a.Pos.Line += g.at.Line - 1
		})
	}
	return err
}

// CheckGraph reports every error of the node's graphs with its place: syntax, unknown classes and arguments, ports that
// are not connected, push and pull that conflict, links that the node does not have. It makes the elements on a node
// of its own that never runs, opens none of the node's links, and initializes nothing.
func (s *Spec) CheckGraph() error {
	var list errs.List
	list.Add(s.checkSource(s.source()))
	for i := range s.Domains {
		if d := &s.Domains[i]; d.Graph != "" {
			list.Add(s.checkSource(d.source(s)))
		}
	}
	return list.Err()
}

func (s *Spec) checkSource(src source) error {
	g, err := src.parse()
	if err == nil {
		err = s.checkElements(g)
	}
	return src.place(err)
}

func (s *Spec) checkElements(g *click.GraphSpec) (err error) {
	n, err := nodeos.NewNode(nodeos.NodeSpec{Name: s.Name, Clock: clock.NewVirtual(time.Unix(0, 0)), Stepped: true, Packets: packet.PoolSpec{Frames: 64}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	for i, l := range s.Links {
		link := &idleLink{info: nodeos.LinkInfo{Name: l.Name, Driver: "none", Number: uint16(i + 1), Base: demux.Ether, MTU: 1500}}
		if l.socket() {
			link.info.Base = demux.UDP
		}
		if err := n.AddLink(link, 0); err != nil {
			return err
		}
	}
	var list errs.List
	for _, e := range g.Elements {
		if e.Class == "ANTS" && s.ANTS.Off {
			list.Addf(e.Pos, "'%s :: %s': the node file switches the ANTS execution environment off; take \"off: true\" away or this element", e.Name, e.Class)
		}
	}
	list.Add(click.Check(g, click.Env{Domain: n.Root()}))
	return list.Err()
}

// each calls fn for every error with a place that is in err.
func each(err error, fn func(*errs.At)) {
	switch e := err.(type) {
	case nil:
	case *errs.At:
		fn(e)
	case interface{ Unwrap() []error }:
		for _, e := range e.Unwrap() {
			each(e, fn)
		}
	default:
		each(errors.Unwrap(err), fn)
	}
}

// textAt finds where the value that begins at pos in a YAML file has its text. Block tells that it is a
// literal block, whose lines are all indented by as much.
func textAt(file string, pos errs.Pos) (at errs.Pos, block bool) {
	lines := strings.Split(file, "\n")
	if pos.Line < 1 || pos.Line > len(lines) || pos.Col < 1 || pos.Col > len(lines[pos.Line-1]) {
		return pos, false
	}
	switch lines[pos.Line-1][pos.Col-1] {
	case '|':
		at = errs.Pos{File: pos.File, Line: pos.Line + 1, Col: 1}
		if i := strings.IndexAny(lines[pos.Line-1][pos.Col:], "123456789"); i == 0 || i == 1 {
			at.Col += int(lines[pos.Line-1][pos.Col+i] - '0') // an explicit indentation
			return at, true
		}
		if i := slices.IndexFunc(lines[pos.Line:], func(l string) bool { return strings.TrimSpace(l) != "" }); i >= 0 {
			l := lines[pos.Line+i]
			at.Col = len(l) - len(strings.TrimLeft(l, " ")) + 1
		}
		return at, true
	case '"', '\'':
		pos.Col++
	}
	return pos, false
}

// idleLink stands for a link while a graph is checked.
type idleLink struct{ info nodeos.LinkInfo }

func (l *idleLink) Info() nodeos.LinkInfo                   { return l.info }
func (*idleLink) Attach(*nodeos.Worker, *nodeos.Task) error { return nil }
func (*idleLink) Receive(*packet.Cache, *packet.Batch) bool { return false }
func (*idleLink) Send(c *packet.Cache, b *packet.Batch)     { c.FreeBatch(b) }
func (*idleLink) Flush(*packet.Cache)                       {}
func (*idleLink) Claim(nodeos.Claims) error                 { return nil }
func (*idleLink) Stats() nodeos.LinkStats                   { return nodeos.LinkStats{} }
func (*idleLink) Detach(*packet.Cache)                      {}
func (*idleLink) Close() error                              { return nil }
