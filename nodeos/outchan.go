package nodeos

import (
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

// OutChanSpec says how and where a domain's packets leave. What the Spec leaves open, each packet
// must bring in its annotations.
type OutChanSpec struct {
	Protocol string   // such as "eth0/ether/ip/udp"; "if/..." for the link that leads to the address
	Address  string   // remote address of the top protocol, such as "10.0.0.2:3322" or ":3322"; Anno.Dst and DstPort override it
	Source   string   // local address of the top protocol; empty: the link's own; Anno.Src and SrcPort override it
	Peer     string   // with anep on top, remote address of the udp below it; Source is its local one then
	LinkAddr [6]byte  // hardware address to send to; zero: Anno.LinkAddr; multicast and broadcast need neither
	TTL      uint8    // of the top IP header; 0: demux.DefaultTTL
	TOS      uint8    // of the top IP header
	VLAN     []uint16 // tags of the Ethernet header, the outer one first: priority and VLAN number as in 802.1Q; of two the outer one is a service tag (802.1ad)
	Tunnels  []Tunnel // one for each ip and ip6 below the top one, from the bottom

	// NoChecksum leaves out the checksum of UDP over IPv4 (RFC 768 allows it, and tunnels do it): only so a cut-through channel
	// into UDP can be done in the kernel.
	NoChecksum bool

	// BitRate is how many bits per second of frames, as the link gets them, the channel sends at most; 0: any. What comes faster waits, up to
	// Queue packets, at the cost of their owner; what comes beyond is dropped.
	BitRate uint64
	Burst   time.Duration // how much it may send at once, at BitRate; 0: DefaultBurst; two of the longest frames always
	Queue   int           // packets; 0: DefaultOutQueue

	// Reserve is how many bits per second it gets however much others send, of the link's rate, which Node.SetLinkRate sets. Share is its weight
	// for what the others on the link leave of that; 0: resctl.DefaultShare. On links without a rate there is nothing to divide.
	Reserve uint64
	Share   resctl.Share

	_ struct{} // named fields only
}

// Tunnel is an IP header that carries another.
type Tunnel struct {
	Remote netip.Addr
	Local  netip.Addr // zero: the link's own
	TTL    uint8      // 0: demux.DefaultTTL
	TOS    uint8
}

// OutChan encapsulates a domain's packets and sends them on one link.
type OutChan struct {
	domain *Domain
	spec   OutChanSpec
	proto  demux.Protocol
	remote demux.Address // of the topmost of IP and UDP, or of Ethernet
	local  demux.Address
	anep   uint16 // type, with anep on top
	link   *linkState
	ofCut  bool // it is where a cut-through channel leaves

	closed                  atomic.Bool
	packets, bytes, invalid atomic.Uint64
	paced
}

// NewOutChan makes an out-channel. An unknown module or link, addresses that do not fit the top protocol, and tunnels that do not fit its chain
// are errs.Invalid or errs.NotFound; a reserve that the link has no room for is errs.Limit.
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

// newCutOut makes the out-channel of a cut-through channel.
func (d *Domain) newCutOut(spec OutChanSpec) (*OutChan, error) {
	if spec.BitRate != 0 || spec.Reserve != 0 {
		return nil, errs.New(errs.Invalid, "out-channel %s: that of a cut-through channel has no rate or reserve of its own: use CutChanSpec.BitRate", spec.Protocol)
	}
	return d.newOutChan(spec)
}

func (d *Domain) newOutChan(spec OutChanSpec) (*OutChan, error) {
	spec.VLAN, spec.Tunnels = slices.Clone(spec.VLAN), slices.Clone(spec.Tunnels)
	c := &OutChan{domain: d, spec: spec}
	var err error
	if c.proto, err = demux.ParseProtocol(spec.Protocol); err != nil {
		return nil, err
	}
	if err := c.parseAddresses(spec); err != nil {
		return nil, err
	}
	to, _ := c.remote.IP()
	if len(spec.Tunnels) > 0 {
		to = spec.Tunnels[0].Remote
	}
	if c.link, err = d.node.linkTo(c.proto, to); err != nil {
		return nil, err
	}
	if err := checkLayers(c.proto, c.link.info.Base); err != nil {
		return nil, err
	}
	if err := checkTunnels(c.proto, spec.Tunnels); err != nil {
		return nil, err
	}
	if k := len(spec.VLAN); k > 2 || k > 0 && (len(c.proto.Layers) == 0 || c.proto.Layers[0] != demux.Ether) {
		return nil, errs.New(errs.Invalid, "out-channel %s: %d VLAN tags, want at most 2 and module ether for them", spec.Protocol, k)
	}
	if spec.NoChecksum && (!slices.Contains(c.proto.Layers, demux.UDP) || !slices.Contains(c.proto.Layers, demux.IPv4)) {
		return nil, errs.New(errs.Invalid, "out-channel %s: only UDP over IPv4 can go without its checksum", spec.Protocol)
	}
	if n, room := c.headLen(), d.node.pool.Spec().Headroom; n > room {
		return nil, errs.New(errs.TooBig, "out-channel %s: %d bytes of headers, frames have room for %d: give the node more in NodeSpec.Packets.Headroom", spec.Protocol, n, room)
	}
	if err := c.newPaced(&c.spec); err != nil {
		return nil, err
	}
	return c, nil
}

// parseAddresses finds what goes into the headers of the top protocol and, with anep on top, of udp.
func (c *OutChan) parseAddresses(spec OutChanSpec) error {
	p, address := c.proto, spec.Address
	if p.Top() == demux.ANEP {
		a, err := p.ParseAddress(spec.Address)
		if err != nil {
			return err
		}
		c.anep = a.Type
		p.Layers, address = p.Layers[:len(p.Layers)-1], spec.Peer
	} else if spec.Peer != "" {
		return errs.New(errs.Invalid, "out-channel %s: a Peer is for anep on top: the remote address of %s goes into Address", spec.Protocol, p.Top())
	}
	var err error
	if c.remote, err = p.ParseAddress(address); err != nil {
		return err
	}
	c.local, err = p.ParseAddress(spec.Source)
	return err
}

// linkTo returns the link that a protocol string names. "if" is the link whose own prefix has the address in it, the longest prefix first and then
// the oldest link; without an address it is the node's only link.
func (n *Node) linkTo(p demux.Protocol, to netip.Addr) (*linkState, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s := n.links[p.Link]; s != nil {
		return s, nil
	}
	var all []*linkState
	for _, s := range n.links {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *linkState) int { return int(a.info.Number) - int(b.info.Number) })
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = s.info.Name
	}
	switch {
	case p.Link != demux.AnyLink:
		return nil, errs.New(errs.NotFound, "out-channel %s: link %s is not open (there are %v)", p, p.Link, names)
	case !to.IsValid() && len(all) == 1:
		return all[0], nil
	case !to.IsValid():
		return nil, errs.New(errs.Invalid, "out-channel %s: which link? there are %v: name one, or give an address on one", p, names)
	}
	var best *linkState
	bits := -1
	for _, s := range all {
		for _, px := range s.own() {
			if px.Contains(to) && px.Bits() > bits {
				best, bits = s, px.Bits()
			}
		}
	}
	if best == nil {
		return nil, errs.New(errs.NotFound, "out-channel %s: %s is on none of the links %v: name the one that leads there", p, to, names)
	}
	return best, nil
}

// checkLayers refuses stacks that Send cannot build.
func checkLayers(p demux.Protocol, base demux.Layer) error {
	for i, l := range p.Layers {
		switch {
		case l == demux.IPv4 || l == demux.IPv6 || l == demux.UDP || l == demux.ANEP:
		case l == demux.Ether && i == 0 && base == demux.Ether:
		default:
			return errs.New(errs.NotSupported, "out-channel %s: packets cannot be wrapped in %s here", p, l)
		}
	}
	if len(p.Layers) > 0 && (base == demux.Ether || base == demux.UDP) && p.Layers[0] != base {
		return errs.New(errs.Invalid, "out-channel %s: frames of the link begin with %s", p, base)
	}
	return nil
}

// checkTunnels compares tunnels with the layers of IP below the top one.
func checkTunnels(p demux.Protocol, ts []Tunnel) error {
	var ips []demux.Layer
	for _, l := range p.Layers {
		if l == demux.IPv4 || l == demux.IPv6 {
			ips = append(ips, l)
		}
	}
	if want := max(len(ips)-1, 0); len(ts) != want {
		return errs.New(errs.Invalid, "out-channel %s: %d tunnels, want one for each ip and ip6 below the top one: %d", p, len(ts), want)
	}
	for i, t := range ts {
		four := ips[i] == demux.IPv4
		if !t.Remote.IsValid() || t.Remote.Is4() != four || t.Local.IsValid() && t.Local.Is4() != four || t.Remote.Zone() != "" || t.Remote.Is4In6() {
			return errs.New(errs.Invalid, "out-channel %s: tunnel %d: want a remote address, and perhaps a local one, of %s", p, i, ips[i])
		}
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
		case demux.ANEP:
			m -= anepLen
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
	mtu, whole := math.MaxInt, len(c.proto.Layers) == 0 // of frames that are sent as they are the link says how long they may be
	if !whole {
		mtu = c.MTU()
	}
	ps, cache, out, bytes := b.Packets(), w.cache, 0, 0
	for _, p := range ps {
		n := p.Len()
		if n > mtu || !cache.Unshare(p) || !whole && !c.wrap(p) {
			c.invalid.Add(1)
			w.cache.Free(p)
			continue
		}
		ps[out] = p
		out++
		bytes += n
	}
	b.Truncate(out)
	if out == 0 {
		return
	}
	c.packets.Add(uint64(out))
	c.bytes.Add(uint64(bytes))
	c.give(w, b)
}

// give has the frames of b sent, at once or in their turn. It takes them.
func (c *OutChan) give(w *Worker, b *packet.Batch) {
	if pc := c.link.pacer.Load(); pc != nil && (c.bitRate.Load() != 0 || pc.rate.Load() != 0 || c.held.Load() != 0) && !c.link.closed.Load() {
		pc.send(w, c, b)
		return
	}
	c.link.send(w, b)
}

// anepLen is the length of the ANEP header that channels write: version 1 without options.
const anepLen = 8

// pushANEP writes an ANEP header: version, flags, type, lengths of the header in words and of the packet in bytes.
func pushANEP(p *packet.Packet, typ uint16) bool {
	n := p.Len() + anepLen
	if n > 0xffff {
		return false
	}
	b := p.Push(anepLen)
	if b == nil {
		return false
	}
	b[0], b[1] = 1, 0
	binary.BigEndian.PutUint16(b[2:], typ)
	binary.BigEndian.PutUint16(b[4:], anepLen/4)
	binary.BigEndian.PutUint16(b[6:], uint16(n))
	return true
}

// wrap writes the headers, the top one first.
func (c *OutChan) wrap(p *packet.Packet) bool {
	if len(c.proto.Layers) == 0 {
		return true
	}
	src, dst, ok := c.addrs(p)
	below := len(c.spec.Tunnels) // tunnels whose headers are still to come, and then the top IP header
	hop := dst.Addr()
	if below > 0 {
		hop = c.spec.Tunnels[0].Remote
	}
	topIP := true
	for i := len(c.proto.Layers) - 1; i >= 0; i-- {
		above := demux.None
		if i+1 < len(c.proto.Layers) {
			above = c.proto.Layers[i+1]
		}
		switch l := c.proto.Layers[i]; l {
		case demux.ANEP:
			if !pushANEP(p, c.anep) {
				return false
			}
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
			h := demux.IPHeader{Src: src.Addr(), Dst: dst.Addr(), TTL: c.spec.TTL, TOS: c.spec.TOS}
			if !topIP {
				below--
				t := &c.spec.Tunnels[below]
				h = demux.IPHeader{Src: t.Local, Dst: t.Remote, TTL: t.TTL, TOS: t.TOS}
				if !h.Src.IsValid() {
					h.Src = c.own(t.Remote.Is4())
				}
			}
			topIP = false
			switch above {
			case demux.UDP:
				h.Proto = demux.ProtoUDP
			case demux.IPv4:
				h.Proto = demux.ProtoIPv4
			case demux.IPv6:
				h.Proto = demux.ProtoIPv6
			default:
				h.Proto = c.remote.Proto
			}
			if !ok || h.Dst.Is4() != (l == demux.IPv4) || !demux.PushIP(p, &h) {
				return false
			}
		case demux.Ether:
			typ := c.remote.EtherType
			switch above {
			case demux.IPv4:
				typ = demux.EtherTypeIPv4
			case demux.IPv6:
				typ = demux.EtherTypeIPv6
			}
			mac, known := c.linkAddr(p, hop)
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

// own returns the link's own address of a version of IP, or the zero Addr.
func (c *OutChan) own(four bool) netip.Addr {
	for _, px := range c.link.own() {
		if px.Addr().Is4() == four {
			return px.Addr()
		}
	}
	return netip.Addr{}
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
		from = c.own(to.Is4())
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
	d := c.domain
	d.mu.Lock()
	if i := slices.Index(d.paced, c); i >= 0 {
		d.paced = slices.Delete(d.paced, i, i+1)
	}
	d.mu.Unlock()
	c.closed.Store(true)
	c.unreserve()
	d.node.RevokeObject(c)
	for _, w := range d.node.workers { // each may be about to give it something
		w.Post(func() { c.drain(w.cache) })
	}
}

// end is Close by the end of the domain.
func (c *OutChan) end(cache *packet.Cache) {
	c.closed.Store(true)
	c.unreserve()
	c.drain(cache)
}

// Stats reads the counters.
func (c *OutChan) Stats() ChanStats {
	return ChanStats{
		Packets: c.packets.Load(), Bytes: c.bytes.Load(), Invalid: c.invalid.Load(), Full: c.full.Load(), Held: int(max(c.held.Load(), 0)),
	}
}
