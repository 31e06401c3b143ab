package nodeos

import (
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
)

// OutChanSpec says how and where a domain's packets leave. What the Spec leaves open, each packet
// must bring in its annotations.
type OutChanSpec struct {
	Protocol string   // such as "eth0/ether/ip/udp"; one link, at most one IP layer
	Address  string   // remote address of the top protocol, such as "10.0.0.2:3322" or ":3322"; Anno.Dst and DstPort override it
	Source   string   // local address of the top protocol; empty: the link's own; Anno.Src and SrcPort override it
	LinkAddr [6]byte  // hardware address to send to; zero: Anno.LinkAddr; multicast and broadcast need neither
	TTL      uint8    // of the IP header; 0: demux.DefaultTTL
	TOS      uint8    // of the IP header
	VLAN     []uint16 // tags of the Ethernet header, the outer one first: priority and VLAN number as in 802.1Q; of two the outer one is a service tag (802.1ad)

	// NoChecksum leaves out the checksum of UDP over IPv4 (RFC 768 allows it, and tunnels do it): only so a cut-through channel
	// into UDP can be done in the kernel.
	NoChecksum bool

	_ struct{} // named fields only
}

// OutChan encapsulates a domain's packets and sends them on one link.
type OutChan struct {
	domain *Domain
	spec   OutChanSpec
	proto  demux.Protocol
	remote demux.Address
	local  demux.Address
	link   *linkState

	closed                  atomic.Bool
	packets, bytes, invalid atomic.Uint64
}

// NewOutChan makes an out-channel. An unknown module or link, or addresses that do not fit the top protocol,
// are errs.Invalid or errs.NotFound.
func (d *Domain) NewOutChan(spec OutChanSpec) (*OutChan, error) {
	if err := d.may(OpNewOutChan, spec.Protocol, false); err != nil {
		return nil, err
	}
	c, err := d.newOutChan(spec)
	if err != nil {
		return nil, err
	}
	d.noteOut(c)
	return c, nil
}

func (d *Domain) newOutChan(spec OutChanSpec) (*OutChan, error) {
	spec.VLAN = slices.Clone(spec.VLAN)
	c := &OutChan{domain: d, spec: spec}
	var err error
	if c.proto, err = demux.ParseProtocol(spec.Protocol); err != nil {
		return nil, err
	}
	if c.remote, err = demux.ParseAddress(c.proto.Top(), spec.Address); err != nil {
		return nil, err
	}
	if c.local, err = demux.ParseAddress(c.proto.Top(), spec.Source); err != nil {
		return nil, err
	}
	d.node.mu.Lock()
	c.link = d.node.links[c.proto.Link]
	d.node.mu.Unlock()
	if c.link == nil {
		return nil, errs.New(errs.NotFound, "out-channel %s: link %s is not open", spec.Protocol, c.proto.Link)
	}
	if err := checkLayers(c.proto, c.link.info.Base); err != nil {
		return nil, err
	}
	if k := len(spec.VLAN); k > 2 || k > 0 && (len(c.proto.Layers) == 0 || c.proto.Layers[0] != demux.Ether) {
		return nil, errs.New(errs.Invalid, "out-channel %s: %d VLAN tags, want at most 2 and module ether for them", spec.Protocol, k)
	}
	if spec.NoChecksum && (c.proto.Top() != demux.UDP || !slices.Contains(c.proto.Layers, demux.IPv4)) {
		return nil, errs.New(errs.Invalid, "out-channel %s: only UDP over IPv4 can go without its checksum", spec.Protocol)
	}
	return c, nil
}

// checkLayers refuses stacks that Send cannot build.
func checkLayers(p demux.Protocol, base demux.Layer) error {
	ip := 0
	for i, l := range p.Layers {
		switch {
		case l == demux.IPv4 || l == demux.IPv6:
			ip++
		case l == demux.Ether && i == 0 && base == demux.Ether:
		case l == demux.UDP:
		default:
			return errs.New(errs.NotSupported, "out-channel %s: packets cannot be wrapped in %s here", p, l)
		}
	}
	switch {
	case ip > 1:
		return errs.New(errs.NotSupported, "out-channel %s: more than one layer of IP; send through a channel of a tunnel link instead", p)
	case len(p.Layers) > 0 && base == demux.Ether && p.Layers[0] != demux.Ether,
		len(p.Layers) > 0 && base == demux.UDP && (len(p.Layers) > 1 || p.Layers[0] != demux.UDP):
		return errs.New(errs.Invalid, "out-channel %s: frames of the link begin with %s", p, base)
	}
	return nil
}

// Domain returns the channel's domain.
func (c *OutChan) Domain() *Domain { return c.domain }

// Protocol returns the protocol string.
func (c *OutChan) Protocol() string { return c.spec.Protocol }

// MTU returns the most bytes that a packet may have before Send wraps it.
func (c *OutChan) MTU() int {
	m := c.link.info.MTU
	for _, l := range c.proto.Layers {
		switch l {
		case demux.IPv4:
			m -= demux.IPv4Len
		case demux.IPv6:
			m -= demux.IPv6Len
		case demux.UDP:
			m -= demux.UDPLen
		}
	}
	return m
}

// Send wraps all packets of b in the channel's headers and gives them to the link. It takes the packets and leaves b
// empty; what cannot be sent is freed and counted. It does not wait. On a worker.
func (c *OutChan) Send(w *Worker, b *packet.Batch) {
	if c.closed.Load() {
		c.invalid.Add(uint64(b.Len()))
		w.cache.FreeBatch(b)
		return
	}
	mtu := c.MTU()
	out := 0
	for _, p := range b.Packets() {
		n := p.Len()
		if (len(c.proto.Layers) > 0 && n > mtu) || !w.cache.Unshare(p) || !c.wrap(p) {
			c.invalid.Add(1)
			w.cache.Free(p)
			continue
		}
		b.Set(out, p)
		out++
		c.packets.Add(1)
		c.bytes.Add(uint64(n))
	}
	b.Truncate(out)
	if out > 0 {
		c.link.send(w, b)
	}
}

// wrap writes the headers, the top one first.
func (c *OutChan) wrap(p *packet.Packet) bool {
	src, dst, ok := c.addrs(p)
	for i := len(c.proto.Layers) - 1; i >= 0; i-- {
		switch l := c.proto.Layers[i]; l {
		case demux.UDP:
			if c.link.info.Base == demux.UDP {
				p.Anno.Dst, p.Anno.DstPort = dst.Addr(), dst.Port()
				return ok && dst.Port() != 0
			}
			if !ok || dst.Port() == 0 || !demux.PushUDP(p, src, dst) {
				return false
			}
			if c.spec.NoChecksum {
				clear(p.Data()[6:8])
			}
		case demux.IPv4, demux.IPv6:
			proto := uint8(c.remote.Proto)
			if i+1 < len(c.proto.Layers) {
				proto = demux.ProtoUDP
			}
			h := demux.IPHeader{Src: src.Addr(), Dst: dst.Addr(), Proto: proto, TTL: c.spec.TTL, TOS: c.spec.TOS}
			if !ok || !demux.PushIP(p, &h) {
				return false
			}
		case demux.Ether:
			typ := c.remote.EtherType
			if i+1 < len(c.proto.Layers) {
				typ = demux.EtherTypeIPv4
				if c.proto.Layers[i+1] == demux.IPv6 {
					typ = demux.EtherTypeIPv6
				}
			}
			mac, known := c.linkAddr(p, dst.Addr())
			if !known || !demux.PushEther(p, mac, c.link.info.HWAddr, typ) {
				return false
			}
			for i := len(c.spec.VLAN) - 1; i >= 0; i-- {
				typ := uint16(demux.EtherTypeVLAN)
				if i == 0 && len(c.spec.VLAN) == 2 {
					typ = demux.EtherTypeSVLAN
				}
				if !demux.PushTag(p, typ, c.spec.VLAN[i]) {
					return false
				}
			}
		}
	}
	return true
}

// addrs finds the addresses of the packet's IP and UDP headers; ok is false where one is missing or their
// versions differ.
func (c *OutChan) addrs(p *packet.Packet) (src, dst netip.AddrPort, ok bool) {
	to, port := p.Anno.Dst, p.Anno.DstPort
	if !to.IsValid() {
		to, _ = c.remote.IP()
	}
	if port == 0 {
		port = c.remote.Port
	}
	from, fromPort := p.Anno.Src, p.Anno.SrcPort
	if !from.IsValid() {
		from, _ = c.local.IP()
	}
	if fromPort == 0 {
		if fromPort = c.local.Port; fromPort == 0 {
			fromPort = port
		}
	}
	if !from.IsValid() {
		for _, px := range c.link.own() {
			if px.Addr().Is4() == to.Is4() {
				from = px.Addr()
				break
			}
		}
	}
	ok = to.IsValid() && (from.IsValid() && from.Is4() == to.Is4() || c.link.info.Base == demux.UDP)
	return netip.AddrPortFrom(from, fromPort), netip.AddrPortFrom(to, port), ok
}

// linkAddr finds the hardware address to send to.
func (c *OutChan) linkAddr(p *packet.Packet, dst netip.Addr) (mac [6]byte, known bool) {
	switch {
	case p.Anno.HasLink:
		return p.Anno.LinkAddr, true
	case c.spec.LinkAddr != [6]byte{}:
		return c.spec.LinkAddr, true
	case c.remote.MAC != [6]byte{}:
		return c.remote.MAC, true
	case dst.Is4() && dst == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return [6]byte{255, 255, 255, 255, 255, 255}, true
	case dst.Is4() && dst.IsMulticast(): // RFC 1112 section 6.4
		a := dst.As4()
		return [6]byte{1, 0, 0x5e, a[1] & 0x7f, a[2], a[3]}, true
	case dst.Is6() && dst.IsMulticast(): // RFC 2464 section 7
		a := dst.As16()
		return [6]byte{0x33, 0x33, a[12], a[13], a[14], a[15]}, true
	}
	return mac, false
}

// Close ends the channel: what it is given from now on is dropped and counted as invalid. Channels end with their domain, so that only who makes
// others has to close them. Closing twice is fine.
func (c *OutChan) Close() {
	c.closed.Store(true)
	c.domain.node.RevokeObject(c)
}

// Stats reads the counters.
func (c *OutChan) Stats() ChanStats {
	return ChanStats{Packets: c.packets.Load(), Bytes: c.bytes.Load(), Invalid: c.invalid.Load()}
}
