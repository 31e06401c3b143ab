package standard

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "Print", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &Print{} },
		Doc: click.Doc{
			Group: "standard", Title: "prints packets",
			Text: "A line has the label, the packet's length and its first bytes in hexadecimal or as text, where a dot stands for what cannot be printed. It is for looking, not for the fast path: it writes to the router's output, standard error as a rule.",
			Args: []string{
				"LABEL: Begins each line.", "MAXLENGTH: Bytes to print; -1 prints all; default 24.", "CONTENTS: HEX, the default, ASCII, or NONE; true and false are HEX and NONE.",
				"TIMESTAMP: Whether to print the timestamp annotation; default false.", "ACTIVE: Whether to print; default true.", "PRINTANNO: Whether to print the user annotation bytes; default false.", "HEADROOM: Whether to print how much room there is in front of the data and behind; default false.",
			},
			Handlers: []string{"active (rw): The ACTIVE argument."}, Example: "... -> Print(here, MAXLENGTH 64) -> ...;",
		},
	})
}

// Print prints packets.
type Print struct {
	click.Base
	label        string
	max          int
	contents     uint8 // 0, 'x' or 'a'
	stamps, anno bool
	room         bool
	active       bool
	buf          []byte
}

// Configure implements click.Element.
func (e *Print) Configure(a *click.Args) {
	e.max, e.contents, e.active = 24, 'x', true
	a.Parse(click.May("LABEL", click.String(&e.label)), click.May("MAXLENGTH", click.IntRange(&e.max, -1, 1<<16)),
		click.Key("CONTENTS", e.setContents), click.Key("PRINTANNO", click.Bool(&e.anno)), click.Key("HEADROOM", click.Bool(&e.room)), click.Key("TIMESTAMP", click.Bool(&e.stamps)), click.Key("ACTIVE", click.Bool(&e.active)))
}

func (e *Print) setContents(s string, _ *click.Args) error {
	switch strings.ToUpper(lang.Unquote(s)) {
	case "NONE", "FALSE":
		e.contents = 0
	case "HEX", "TRUE":
		e.contents = 'x'
	case "ASCII":
		e.contents = 'a'
	default:
		return fmt.Errorf("expected NONE, HEX or ASCII, not '%s'", s)
	}
	return nil
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
		if e.room {
			o = append(strconv.AppendInt(append(o, " (h"...), int64(p.Headroom()), 10), " t"...)
			o = append(strconv.AppendInt(o, int64(p.Tailroom()), 10), ')')
		}
		if e.anno {
			o = hex.AppendEncode(append(o, " | "...), p.Anno.User[:])
		}
		d := p.Data()
		if e.max >= 0 && len(d) > e.max {
			d = d[:e.max]
		}
		if e.contents != 0 && len(d) > 0 {
			o = append(o, " |"...)
			if e.contents == 'a' {
				o = append(o, ' ')
			}
			for i := range d {
				if e.contents == 'x' {
					if i%4 == 0 {
						o = append(o, ' ')
					}
					o = hex.AppendEncode(o, d[i:i+1])
					continue
				}
				if i%8 == 0 {
					o = append(o, ' ')
				}
				if c := d[i]; c < ' ' || c > '~' {
					o = append(o, '.')
				} else {
					o = append(o, c)
				}
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
