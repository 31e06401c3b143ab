package standard

import (
	"encoding/hex"
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "Print", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &Print{} },
		Doc: click.Doc{
			Group: "standard", Title: "prints packets",
			Text: "A line has the label, the packet's length and its first bytes in hexadecimal. It is for looking, not for the fast path: it writes to the router's output, standard error as a rule.",
			Args: []string{
				"LABEL: Begins each line.", "MAXLENGTH: Bytes to print; -1 prints all; default 24.", "CONTENTS: Whether to print bytes; default true.",
				"TIMESTAMP: Whether to print the timestamp annotation; default false.", "ACTIVE: Whether to print; default true.",
			},
			Handlers: []string{"active (rw): The ACTIVE argument."}, Example: "... -> Print(here, MAXLENGTH 64) -> ...;",
		},
	})
}

// Print prints packets.
type Print struct {
	click.Base
	label            string
	max              int
	contents, stamps bool
	active           bool
	buf              []byte
}

// Configure implements click.Element.
func (e *Print) Configure(a *click.Args) {
	e.max, e.contents, e.active = 24, true, true
	a.Parse(click.May("LABEL", click.String(&e.label)), click.May("MAXLENGTH", click.IntRange(&e.max, -1, 1<<16)),
		click.Key("CONTENTS", click.Bool(&e.contents)), click.Key("TIMESTAMP", click.Bool(&e.stamps)), click.Key("ACTIVE", click.Bool(&e.active)))
}

// Act implements click.Actor.
func (e *Print) Act(b *packet.Batch) {
	if !e.active {
		return
	}
	for _, p := range b.Packets() {
		o := e.buf[:0]
		if e.label != "" {
			o = append(append(o, e.label...), ": "...)
		}
		if e.stamps {
			o = append(click.AppendTime(o, e.Router().WallOf(p.Anno.Time)), ": "...)
		}
		n := strconv.Itoa(p.Len())
		for i := len(n); i < 4; i++ {
			o = append(o, ' ')
		}
		o = append(o, n...)
		if e.contents {
			o = append(o, " |"...)
			d := p.Data()
			if e.max >= 0 && len(d) > e.max {
				d = d[:e.max]
			}
			for i := range d {
				if i%4 == 0 {
					o = append(o, ' ')
				}
				o = hex.AppendEncode(o, d[i:i+1])
			}
		}
		e.buf = append(o, '\n')
		_, _ = e.Output().Write(e.buf)
	}
}

// AddHandlers implements click.HandlerAdder.
func (e *Print) AddHandlers(h *click.Handlers) {
	h.Value("active", func() string { return strconv.FormatBool(e.active) }, click.Bool(&e.active))
}
