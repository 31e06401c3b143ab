package standard

import (
	"strconv"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "Clipboard", Ports: "2/2", Processing: "a/a", Flow: "#/#", New: func() click.Element { return &Clipboard{} },
		Doc: click.Doc{
			Group: "standard", Title: "copies bytes from packets on one way to packets on another",
			Text: "The bytes of packets from input 0 to output 0 are kept and written to packets from input 1 to output 1. " +
				"Packets that are too short for a range leave and get nothing of it; until a first packet has come nothing is written.",
			Args:     []string{"<OFFSET/LENGTH>...: Ranges of bytes."},
			Handlers: []string{"drops (r): Packets that there was no memory to write to."},
			Example:  "a -> c :: Clipboard(12/4, 16/4) -> Discard; b -> [1] c [1] -> Discard;", See: []string{"Strip", "Unstrip"},
		},
	})
}

// Clipboard copies bytes.
type Clipboard struct {
	click.Base
	ranges []clip
}

type clip struct {
	offset int
	data   []byte
	filled bool
}

// Configure implements click.Element.
func (e *Clipboard) Configure(a *click.Args) {
	for _, arg := range a.List() {
		o, n, ok := strings.Cut(lang.Unquote(arg), "/")
		offset, oerr := strconv.ParseUint(o, 0, 15)
		length, nerr := strconv.ParseUint(n, 0, 15)
		if !ok || oerr != nil || nerr != nil || length == 0 {
			a.Errorf("'%s': expected 'OFFSET/LENGTH'", arg)
			continue
		}
		e.ranges = append(e.ranges, clip{offset: int(offset), data: make([]byte, length)})
	}
	if len(a.List()) == 0 {
		a.Errorf("no range is given")
	}
}

// Inherit implements click.Inheritor: what was copied from the same ranges stays.
func (e *Clipboard) Inherit(old click.Element) error {
	o, ok := old.(*Clipboard)
	for i := 0; ok && i < min(len(e.ranges), len(o.ranges)); i++ {
		if e.ranges[i].offset == o.ranges[i].offset && len(e.ranges[i].data) == len(o.ranges[i].data) {
			e.ranges[i] = o.ranges[i]
		}
	}
	return nil
}

func (e *Clipboard) copyFrom(p *packet.Packet) {
	for i := range e.ranges {
		r := &e.ranges[i]
		if d := p.Data(); len(d) >= r.offset+len(r.data) {
			copy(r.data, d[r.offset:])
			r.filled = true
		}
	}
}

func (e *Clipboard) paste(b *packet.Batch) {
	b.Keep(func(p *packet.Packet) bool {
		if !e.Cache().Unshare(p) {
			e.DropOne(p)
			return false
		}
		for i := range e.ranges {
			if r := &e.ranges[i]; r.filled && p.Len() >= r.offset+len(r.data) {
				copy(p.Data()[r.offset:], r.data)
			}
		}
		return true
	})
}

func (e *Clipboard) handle(port int, b *packet.Batch) {
	if b.Len() == 0 {
		return
	}
	if port == 1 {
		e.paste(b)
		return
	}
	for _, p := range b.Packets() {
		e.copyFrom(p)
	}
}

// Push implements click.Pusher.
func (e *Clipboard) Push(port int, b *packet.Batch) {
	e.handle(port, b)
	e.Forward(port, b)
}

// Pull implements click.Puller.
func (e *Clipboard) Pull(port int, b *packet.Batch, n int) {
	s := e.Thread().Scratch()
	e.In(port).Pull(s, n)
	e.handle(port, s)
	s.MoveTo(b)
	e.Thread().Release(s)
}
