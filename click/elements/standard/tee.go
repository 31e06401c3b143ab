package standard

import (
	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	for name, pull := range map[string]bool{"Tee": false, "PullTee": true} {
		c := click.Class{
			Name: name, Ports: "1/1-", Processing: "h/h", Merging: click.Merged, New: func() click.Element { return &Tee{} },
			Doc: click.Doc{
				Group: "standard", Title: "sends a copy of each packet to every output",
				Text:    "The copies share memory until somebody writes to one.",
				Args:    []string{"N: Number of outputs, to be checked against the connections."},
				Example: "... -> t :: " + name + "; t[0] -> ...; t[1] -> ...;",
			},
		}
		if pull {
			c.Processing = "l/lh"
			c.Doc.Text += " Packets pulled from output 0 are pushed to the others."
		}
		click.Register(c)
	}
}

// Tee copies packets. PullTee is the same with its first port in pull context.
type Tee struct{ click.Base }

// Configure implements click.Element.
func (e *Tee) Configure(a *click.Args) {
	n := e.Outputs()
	if a.Parse(click.May("N", click.IntRange(&n, 1, 1<<16))) && n != e.Outputs() {
		a.Errorf("%d outputs are connected, N says %d", e.Outputs(), n)
	}
}

func (e *Tee) copyTo(port int, b *packet.Batch) {
	s := e.Thread().Scratch()
	for _, p := range b.Packets() {
		if q := e.Cache().Clone(p); q != nil {
			s.Append(q)
		}
	}
	e.Out(port).Push(s)
	e.Thread().Release(s)
}

// Push implements click.Pusher.
func (e *Tee) Push(_ int, b *packet.Batch) {
	for i := 0; i < e.Outputs()-1; i++ {
		e.copyTo(i, b)
	}
	e.Out(e.Outputs() - 1).Push(b)
}

// Pull implements click.Puller.
func (e *Tee) Pull(_ int, b *packet.Batch, n int) {
	s := e.Thread().Scratch()
	e.In(0).Pull(s, n)
	if s.Len() > 0 {
		for i := 1; i < e.Outputs(); i++ {
			e.copyTo(i, s)
		}
		s.MoveTo(b)
	}
	e.Thread().Release(s)
}
