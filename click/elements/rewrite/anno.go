package rewrite

import (
	"fmt"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/elements/ip"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/packet"
)

// annotation is a byte of packets' annotations that replies get from the packet that made their flow.
type annotation uint8

const (
	noAnno annotation = iota
	paintAnno
	paramAnno
	fixAnno
	userAnno // and more: a byte of packet.Anno.User
)

// value parses the name of an annotation of one byte.
func (n *annotation) value() click.Value {
	return func(s string, a *click.Args) error {
		var i int
		switch name := lang.Unquote(s); {
		case name == "PAINT":
			*n = paintAnno
		case name == "ICMP_PARAMPROB":
			*n = paramAnno
		case name == "FIX_IP_SRC":
			*n = fixAnno
		case click.IntRange(&i, 0, len(packet.Anno{}.User)-1)(name, nil) == nil:
			*n = userAnno + annotation(i)
		default:
			return fmt.Errorf("expected an annotation of one byte (PAINT, ICMP_PARAMPROB, FIX_IP_SRC or the number of a user byte), not '%s'", s)
		}
		return nil
	}
}

func (n annotation) get(p *packet.Packet) uint8 {
	switch n {
	case noAnno:
		return 0
	case paintAnno:
		return p.Anno.Paint
	case paramAnno:
		return ip.Param(p)
	case fixAnno:
		if ip.FixSrc(p) {
			return 1
		}
		return 0
	}
	return p.Anno.User[n-userAnno]
}

func (n annotation) set(p *packet.Packet, v uint8) {
	switch n {
	case noAnno:
	case paintAnno:
		p.Anno.Paint = v
	case paramAnno:
		ip.SetParam(p, int(v))
	case fixAnno:
		ip.SetFixSrc(p, v != 0)
	default:
		p.Anno.User[n-userAnno] = v
	}
}
