package device

import (
	"encoding/binary"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// pick is what the arguments of FromDevice do to packets.
type pick struct {
	active   bool // there is something to do
	promisc  bool
	snap     int
	forceIP  bool
	protocol int
	stamp    bool
	headroom int
	ether    bool // packets begin with an Ethernet header
	encap    string
}

// configure reads the arguments of FromDevice; more are others of them.
func (k *pick) configure(a *click.Args, device *string, more ...click.Param) {
	k.stamp, k.headroom = true, 28
	var sniffer, outbound bool
	var method string
	a.Parse(append(more, click.Must("DEVNAME", click.String(device)), click.May("PROMISC", click.Bool(&k.promisc)), click.May("SNAPLEN", click.IntRange(&k.snap, 1, 1<<16)),
		click.Key("SNIFFER", click.Bool(&sniffer)), click.Key("FORCE_IP", click.Bool(&k.forceIP)), click.Key("PROTOCOL", click.IntRange(&k.protocol, 0, 0xffff)),
		click.Key("TIMESTAMP", click.Bool(&k.stamp)), click.Key("HEADROOM", click.IntRange(&k.headroom, 0, 1<<12)), click.Key("OUTBOUND", click.Bool(&outbound)), click.Key("METHOD", click.String(&method)))...)
	k.active = k.snap > 0 || k.forceIP || k.protocol != 0 || !k.stamp
	if sniffer {
		a.Messagef("warning: SNIFFER true is not possible here: the host does not see the packets")
	}
	if method != "" {
		a.Messagef("warning: METHOD %s: the link's driver decides how packets are taken", method)
	}
	if outbound {
		a.Errorf("OUTBOUND: frames that the host sends cannot be had")
	}
}

// check compares the arguments with the link, and with the room before the packets of the node.
func (k *pick) check(a *click.Args, i nodeos.LinkInfo, room int) {
	k.ether, k.encap = i.Base == demux.Ether, strings.ToUpper(i.Base.String())
	if k.headroom > room {
		a.Errorf("HEADROOM: %d bytes, packets of this node have %d", k.headroom, room)
	}
	if k.promisc && i.OwnOnly {
		a.Errorf("PROMISC: link %s takes only frames for its own address; open it with promisc: true", i.Name)
	}
}

// act drops packets that are not wanted and changes the others.
func (k *pick) act(e *click.Base, b *packet.Batch) {
	b.Keep(func(p *packet.Packet) bool {
		if !k.wanted(p) {
			e.DropOne(p)
			return false
		}
		if cut := p.Len() - k.snap; k.snap > 0 && cut > 0 {
			p.Take(cut)
			click.SetExtraLength(p, uint32(cut))
		}
		if !k.stamp {
			p.Anno.Time = 0
		}
		return true
	})
}

func (k *pick) wanted(p *packet.Packet) bool {
	d := p.Data()
	off := 0
	if k.ether {
		if len(d) < 14 {
			return false
		}
		typ := int(binary.BigEndian.Uint16(d[12:]))
		if k.protocol != 0 && typ != k.protocol {
			return false
		}
		off = 14
		if k.forceIP && typ == 0x8100 && len(d) >= 18 {
			typ, off = int(binary.BigEndian.Uint16(d[16:])), 18
		}
		if k.forceIP && typ != 0x0800 && typ != 0x86dd {
			return false
		}
	}
	if !k.forceIP {
		return true
	}
	switch h := d[off:]; {
	case len(h) >= 20 && h[0]>>4 == 4 && int(h[0]&15)*4 >= 20:
		p.SetNetwork(off)
		p.SetTransport(off + int(h[0]&15)*4)
	case len(h) >= 40 && h[0]>>4 == 6:
		p.SetNetwork(off)
		p.SetTransport(off + 40)
	default:
		return false
	}
	return true
}
