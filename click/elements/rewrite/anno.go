package rewrite

import (
	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/elements/ip"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/packet"
)

// annotation is a byte of packets' annotations that replies get from the packet that made their flow.
type annotation struct {
	is   annoKind
	byte click.AnnoByte
}

type annoKind uint8

const (
	noAnno annoKind = iota
	paramAnno
	fixAnno
	byteAnno
)

// value parses the name or offset of an annotation of one byte.
func (n *annotation) value() click.Value {
	return func(s string, a *click.Args) error {
		switch lang.Unquote(s) {
		case "ICMP_PARAMPROB":
			n.is = paramAnno
		case "FIX_IP_SRC":
			n.is = fixAnno
		default:
			if err := click.AnnoByteOf(&n.byte)(s, a); err != nil {
				return err
			}
			n.is = byteAnno
		}
		return nil
	}
}

func (n annotation) get(p *packet.Packet) uint8 {
	switch n.is {
	case paramAnno:
		return ip.Param(p)
	case fixAnno:
		if ip.FixSrc(p) {
			return 1
		}
	case byteAnno:
		return n.byte.Get(p)
	}
	return 0
}

func (n annotation) set(p *packet.Packet, v uint8) {
	switch n.is {
	case paramAnno:
		ip.SetParam(p, int(v))
	case fixAnno:
		ip.SetFixSrc(p, v != 0)
	case byteAnno:
		n.byte.Set(p, v)
	}
}
