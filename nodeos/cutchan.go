package nodeos

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
)

// CutChanSpec says what a cut-through channel takes, what it does to it and where it leaves.
type CutChanSpec struct {
	In  InChanSpec // without a handler
	Out OutChanSpec

	// DecTTL makes the channel a hop: payloads must be IP packets, of version 4 or 6, and leave with their TTL or hop limit less by one, and the checksum
	// of IPv4 changed to fit (RFC 1624). Those that come with one of 1 or 0 are dropped and counted, and no ICMP error is sent: a
	// packet that is claimed is not the host's, and the channel has no address of its own to send from. Who wants errors (traceroute)
	// leaves such packets to an element graph, by a key.
	DecTTL bool

	BitRate uint64        // bits per second of frames that leave, from the Ethernet header on; 0: no limit. For packets per second there is In.Rate
	Burst   time.Duration // for how long frames may have been saved up; 0: DefaultCutBurst. At least two of the longest frames may leave at once
	User    bool          // stay in user space, although the link could do it
}

// DefaultCutBurst is the burst of a cut-through channel whose Spec does not say.
const DefaultCutBurst = 10 * time.Millisecond

// MaxCutBurst bounds the burst.
const MaxCutBurst = 10 * time.Second

// CutChan is a cut-through channel: what arrives by its in-channel leaves by its out-channel, at the domain's cost and without its code.
// What is before the payload of the in-channel's protocol, and behind its end, is cut off, and the out-channel's headers are put
// in front. So from eth0/ether to eth1/ether the MAC addresses change and VLAN tags go or come, from eth0/ether/ip/udp to
// eth1/ether is decapsulation, and the other way round encapsulation. Where both tops are ether and the out-channel's address names no type, frames
// keep theirs.
//
// Where the in-link can do it by itself (see Cutter), packets do not come to user space at all. The domain is then charged neither processor time nor
// frames, which the kernel spends in its softirq; quota and account of the in-channel do not bound it, In.Rate and BitRate do.
// Each packet is done in user space or below, in the same way; when that changes, packets on the way may overtake each other.
type CutChan struct {
	in   *InChan
	top  demux.Layer // of its protocol string
	spec CutChanSpec
	out  atomic.Pointer[OutChan]

	bucket cutBucket // the worker's
	counts struct{ packets, bytes, big, ttl, rate, invalid, gone atomic.Uint64 }

	place sync.Mutex // what follows; taken after node.feeding
	entry CutEntry   // nil: in user space
	why   string     // it is there
	past  CutStats   // of entries that are closed
	old   []CutEntry
}

// NewCutChan makes a cut-through channel of two ends that does nothing else. See NewCutThrough.
func (d *Domain) NewCutChan(in InChanSpec, out OutChanSpec) (*CutChan, error) {
	return d.NewCutThrough(CutChanSpec{In: in, Out: out})
}

// NewCutThrough makes both channels and joins them. The in Spec must have no handler. The right to cut-through channels is
// all that a policy asks for it. Whether user space or the in-link does it is not part of the Spec, but for User: Where tells.
func (d *Domain) NewCutThrough(spec CutChanSpec) (*CutChan, error) {
	if err := d.may(OpNewCutChan, spec.In.Protocol, false); err != nil {
		return nil, err
	}
	if spec.In.Handler != nil {
		return nil, errs.New(errs.Invalid, "cut-through channel %s: it has a handler of its own", spec.In.Protocol)
	}
	if spec.Burst < 0 || spec.Burst > MaxCutBurst {
		return nil, errs.New(errs.Invalid, "cut-through channel %s: burst %v, want 0 to %v", spec.In.Protocol, spec.Burst, MaxCutBurst)
	}
	if spec.Burst == 0 {
		spec.Burst = DefaultCutBurst
	}
	c := &CutChan{spec: spec, why: "it is being made"}
	if !spec.In.HandOffOnly {
		p, err := demux.ParseProtocol(spec.In.Protocol)
		if err != nil {
			return nil, err
		}
		c.top = p.Top()
	}
	out, err := d.newCutOut(spec.Out)
	if err == nil {
		err = c.fits(out)
	}
	if err != nil {
		return nil, err
	}
	out.ofCut = true
	c.out.Store(out)
	c.bucket = newCutBucket(spec.BitRate, spec.Burst, out.frameLen())
	in := spec.In
	in.Handler = c.forward
	if c.in, err = d.newInChan(in); err != nil {
		return nil, err
	}
	n := d.node
	n.feeding.Lock()
	defer n.feeding.Unlock()
	if c.in.closed.Load() {
		return nil, errs.New(errs.Dead, "domain %s ends", d.Path())
	}
	c.in.cut = c
	c.settle()
	return c, nil
}

// fits refuses what cannot follow from what arrives.
func (c *CutChan) fits(out *OutChan) error {
	switch {
	case c.spec.DecTTL && c.top == demux.None:
		return errs.New(errs.Invalid, "cut-through channel %s: a whole frame has no TTL; end its protocol string in the module below IP, such as ether", c.spec.In.Protocol)
	case out.proto.Top() == demux.Ether && out.remote.EtherType == 0 && c.top != demux.Ether:
		return errs.New(errs.Invalid, "cut-through channel %s: give out-channel %s an address with the Ethernet type of what leaves, such as 0x0800", c.spec.In.Protocol, out.spec.Protocol)
	}
	return nil
}

// Redirect changes where packets leave, their link, and all that the out-channel writes, at one moment: each packet leaves as before or as spec says, and
// none is lost. A Spec that is refused changes nothing. It may be called from anywhere but a worker.
func (c *CutChan) Redirect(spec OutChanSpec) error {
	d := c.in.domain
	if err := d.may(OpNewCutChan, c.in.spec.Protocol, false); err != nil {
		return err
	}
	out, err := d.newCutOut(spec)
	if err == nil {
		err = c.fits(out)
	}
	if err != nil {
		return err
	}
	n := d.node
	n.feeding.Lock()
	defer n.feeding.Unlock()
	if c.in.closed.Load() {
		return errs.New(errs.Dead, "cut-through channel %s is closed", c.in.spec.Protocol)
	}
	c.place.Lock()
	c.spec.Out = spec
	c.place.Unlock()
	out.ofCut = true
	c.out.Store(out)
	c.settle()
	return nil
}

// forward is the in-channel's handler.
func (c *CutChan) forward(w *Worker, b *packet.Batch) {
	out := c.out.Load()
	most, gone := out.MTU(), out.link.closed.Load()
	if len(out.proto.Layers) == 0 {
		most = maxFrame
	}
	left, size := 0, uint64(0)
	for _, p := range b.Packets() {
		p.Anno = packet.Anno{Time: p.Anno.Time, Link: p.Anno.Link}
		n := p.Len()
		typ := c.payloadType(p)
		version, hops := 0, 0
		if c.spec.DecTTL {
			version, hops = hopLimit(p.Data(), typ, c.top == demux.Ether)
		}
		drop := &c.counts.invalid
		switch {
		case c.spec.DecTTL && version == 0:
		case c.spec.DecTTL && hops <= 1:
			drop = &c.counts.ttl
		case n > most:
			drop = &c.counts.big
		case !c.bucket.take(w.Now(), n+out.headLen()):
			drop = &c.counts.rate
		case gone:
			drop = &c.counts.gone
		default:
			if !w.cache.Unshare(p) {
				break
			}
			if version != 0 {
				decHops(p.Data(), version)
			}
			if !out.wrap(p) {
				break
			}
			if out.keepsType(c.top) {
				binary.BigEndian.PutUint16(p.Data()[12+demux.VLANLen*len(out.spec.VLAN):], typ)
			}
			b.Set(left, p)
			left++
			size += uint64(n)
			continue
		}
		drop.Add(1)
		w.cache.Free(p)
	}
	b.Truncate(left)
	c.counts.packets.Add(uint64(left))
	c.counts.bytes.Add(size)
	if left > 0 {
		out.give(w, b)
	}
}

// maxFrame is longer than any frame: the link has its own bound.
const maxFrame = 1 << 16

// payloadType returns the Ethernet type that p, the payload of an Ethernet frame, follows.
func (c *CutChan) payloadType(p *packet.Packet) (typ uint16) {
	if c.top != demux.Ether {
		return 0
	}
	if b := p.Push(2); b != nil { // the bytes are those of the frame, pushed only to be looked at
		typ = binary.BigEndian.Uint16(b)
		p.Pull(2)
	}
	return typ
}

// keepsType reports whether frames leave with the Ethernet type that they came with.
func (c *OutChan) keepsType(top demux.Layer) bool {
	return top == demux.Ether && c.proto.Top() == demux.Ether && c.remote.EtherType == 0
}

// headLen returns how many bytes wrap puts in front.
func (c *OutChan) headLen() int {
	n := 0
	for _, l := range c.proto.Layers {
		switch l {
		case demux.Ether:
			n += demux.EtherLen + demux.VLANLen*len(c.spec.VLAN)
		case demux.IPv4:
			n += demux.IPv4Len
		case demux.IPv6:
			n += demux.IPv6Len
		case demux.UDP:
			n += demux.UDPLen
		case demux.ANEP:
			n += anepLen
		}
	}
	return n
}

// frameLen returns the length of the longest frame that leaves.
func (c *OutChan) frameLen() int { return max(c.MTU()+c.headLen(), c.link.info.MTU+demux.EtherLen) }

// hopLimit returns the version of the IP packet b and its hop limit; the version is 0 where b is none, or is not what its Ethernet type, which
// counts only if typed, says.
func hopLimit(b []byte, typ uint16, typed bool) (version, hops int) {
	switch {
	case len(b) < demux.IPv4Len:
	case b[0]>>4 == 4 && (!typed || typ == demux.EtherTypeIPv4):
		return 4, int(b[8])
	case b[0]>>4 == 6 && (!typed || typ == demux.EtherTypeIPv6) && len(b) >= demux.IPv6Len:
		return 6, int(b[7])
	}
	return 0, 0
}

// decHops takes one from the hop limit, which is not 0.
func decHops(b []byte, version int) {
	if version == 6 {
		b[7]--
		return
	}
	old := binary.BigEndian.Uint16(b[8:])
	binary.BigEndian.PutUint16(b[10:], demux.Update16(binary.BigEndian.Uint16(b[10:]), old, old-0x100))
	b[8]--
}

// cutBucket is a token bucket. It holds time, in units of 2^-16 ns, so that nothing is lost by rounding: what has passed, less what frames have taken.
type cutBucket struct {
	credit, depth int64
	perByte       int64 // 0: no limit
	filled        clock.Time
}

// newCutBucket returns a full one. longest is the length of the longest frame.
func newCutBucket(bits uint64, burst time.Duration, longest int) cutBucket {
	if bits == 0 {
		return cutBucket{}
	}
	per := cutPerByte(bits)
	depth := max(int64(burst)<<16, 2*int64(longest)*per)
	return cutBucket{credit: depth, depth: depth, perByte: per}
}

// cutPerByte returns how long a byte takes at a rate, in units of 2^-16 ns, and at least one.
func cutPerByte(bits uint64) int64 { return max(int64(8*uint64(time.Second)<<16/bits), 1) }

func (b *cutBucket) take(now clock.Time, n int) bool {
	if b.perByte == 0 {
		return true
	}
	if now > b.filled {
		b.credit = min(b.depth, b.credit+min(int64(now-b.filled), b.depth>>16)<<16)
		b.filled = now
	}
	cost := int64(n) * b.perByte
	if cost > b.credit {
		return false
	}
	b.credit -= cost
	return true
}

// settle has the in-link do the channel if it can. node.feeding is held.
func (c *CutChan) settle() {
	c.place.Lock()
	defer c.place.Unlock()
	cut, by, err := c.cut()
	switch {
	case err == nil && c.entry != nil:
		err = c.entry.Change(cut)
	case err == nil:
		c.entry, err = by.Cut(cut)
		if err != nil {
			c.entry = nil
		}
	}
	c.why = ""
	if err != nil {
		c.why = err.Error()
		c.drop()
	}
}

// drop ends the entry. c.place is held.
func (c *CutChan) drop() {
	if c.entry == nil {
		return
	}
	c.entry.Close()
	// Packets may be under way there for a moment, so its counters are kept to be read later.
	c.old = append(c.old, c.entry)
	c.entry = nil
	if len(c.old) > 4 {
		c.past.Add(c.old[0].Stats())
		c.old = append(c.old[:0], c.old[1:]...)
	}
}

// withdraw is settle for a channel or link that closes.
func (c *CutChan) withdraw(why string) {
	c.place.Lock()
	defer c.place.Unlock()
	c.drop()
	c.why = why
}

// cuts returns the cut-through channels of the node. node.feeding is held.
func (n *Node) cuts() (cs []*CutChan) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.chansByAge() {
		if c.cut != nil {
			cs = append(cs, c.cut)
		}
	}
	return cs
}

// linkOpened gives a new link to the cut-through channels that were waiting for it.
func (n *Node) linkOpened(s *linkState) {
	n.feeding.Lock()
	defer n.feeding.Unlock()
	for _, c := range n.cuts() {
		out := c.out.Load()
		if out.link.info.Name == s.info.Name && out.link != s {
			made, err := c.in.domain.newCutOut(out.spec)
			if err != nil { // the link is of another base now
				continue
			}
			made.ofCut = true
			c.out.Store(made)
		} else if c.in.proto.Link != s.info.Name {
			continue
		}
		c.settle()
	}
}

// recut settles the cut-through channels that leave by a link anew.
func (n *Node) recut(s *linkState) {
	n.feeding.Lock()
	defer n.feeding.Unlock()
	for _, c := range n.cuts() {
		if c.out.Load().link == s {
			c.settle()
		}
	}
}

// linkCloses takes a link from the cut-through channels. node.feeding is held.
func (n *Node) linkCloses(s *linkState) {
	for _, c := range n.cuts() {
		if c.in.proto.Link == s.info.Name || c.out.Load().link == s {
			c.withdraw("link " + s.info.Name + " is closed")
		}
	}
}

// cut returns what the in-link is to do, and the in-link; the error is a reason why it cannot. node.feeding and c.place are held.
func (c *CutChan) cut() (Cut, Cutter, error) {
	out, n := c.out.Load(), c.in.domain.node
	refuse := func(format string, args ...any) (Cut, Cutter, error) {
		return Cut{}, nil, fmt.Errorf(format, args...)
	}
	switch {
	case c.spec.User:
		return refuse("the channel's Spec wants it")
	case c.spec.In.HandOffOnly:
		return refuse("only hand-offs fill the channel")
	case c.in.proto.Link == demux.AnyLink:
		return refuse("the channel is on every link")
	case out.link.closed.Load():
		return refuse("link %s is closed", out.link.info.Name)
	case len(out.spec.Tunnels) > 0 || out.proto.Top() == demux.ANEP:
		return refuse("the kernel writes one layer of IP and no ANEP")
	}
	n.mu.Lock()
	in := n.links[c.in.proto.Link]
	n.mu.Unlock()
	if in == nil {
		return refuse("link %s is closed", c.in.proto.Link)
	}
	by, ok := in.link.(Cutter)
	if !ok {
		return refuse("driver %s of link %s has no other form", in.info.Driver, in.info.Name)
	}
	cut, err := out.cut()
	if err != nil {
		return Cut{}, nil, err
	}
	cut.Chan, cut.DecTTL, cut.BitRate = c.in, c.spec.DecTTL, c.spec.BitRate
	cut.Typed, cut.KeepType = c.top == demux.Ether, out.keepsType(c.top)
	cut.Transport = len(c.in.proto.Layers) <= 2 // of ether, ip
	cut.Burst = time.Duration(newCutBucket(c.spec.BitRate, c.spec.Burst, out.frameLen()).depth >> 16)
	if cut.Whole && c.top != demux.None {
		return refuse("what leaves is a part of a frame")
	}
	return cut, by, nil
}

// cut says what wrap would do to each packet without annotations; the error is a reason why that cannot be said.
func (c *OutChan) cut() (Cut, error) {
	cut := Cut{Out: c.link.link, Most: c.MTU(), VLAN: c.spec.VLAN}
	pc := c.link.pacer.Load()
	switch {
	case c.bitRate.Load() != 0 || c.reserve.Load() != 0:
		return cut, fmt.Errorf("the out-channel lets packets wait (the cut-through channel's own BitRate drops them instead)")
	case pc != nil && pc.rate.Load() != 0:
		return cut, fmt.Errorf("the rate of link %s is divided among channels in user space", c.link.info.Name)
	}
	if len(c.proto.Layers) == 0 {
		cut.Whole, cut.Most = true, maxFrame
		return cut, nil
	}
	var p packet.Packet // without annotations
	src, dst, ok := c.addrs(&p)
	for i, l := range c.proto.Layers {
		last := i+1 == len(c.proto.Layers)
		switch l {
		case demux.Ether:
			if cut.EtherType = c.remote.EtherType; !last {
				cut.EtherType = demux.EtherTypeIPv4
				if c.proto.Layers[i+1] == demux.IPv6 {
					cut.EtherType = demux.EtherTypeIPv6
				}
			}
			known := false
			if cut.Dst, known = c.linkAddr(&p, dst.Addr()); !known {
				return cut, fmt.Errorf("no hardware address to send to is known")
			}
			cut.Src = c.link.info.HWAddr
		case demux.IPv4, demux.IPv6:
			proto := c.remote.Proto
			if !last {
				proto = demux.ProtoUDP
			}
			if !ok || dst.Addr().Is4() != (l == demux.IPv4) {
				return cut, fmt.Errorf("no pair of addresses for %s is known", l)
			}
			cut.IP = &demux.IPHeader{Src: src.Addr(), Dst: dst.Addr(), Proto: proto, TTL: c.spec.TTL, TOS: c.spec.TOS}
		case demux.UDP:
			switch {
			case cut.IP == nil:
				return cut, fmt.Errorf("link %s is a socket", c.link.info.Name)
			case !c.spec.NoChecksum:
				return cut, fmt.Errorf("the checksum of UDP is over the whole payload (NoChecksum, in a node file no-checksum: true, leaves it out over IPv4)")
			case dst.Port() == 0:
				return cut, fmt.Errorf("no port to send to is known")
			}
			cut.UDP, cut.SrcPort, cut.DstPort = true, src.Port(), dst.Port()
		}
	}
	return cut, nil
}

// In returns the in-channel.
func (c *CutChan) In() *InChan { return c.in }

// Out returns the out-channel by which packets leave now. Its own counters are not those of the channel.
func (c *CutChan) Out() *OutChan { return c.out.Load() }

// Where returns who forwards packets now: "kernel", which is the in-link's driver, or "user", and then why.
func (c *CutChan) Where() (where, why string) {
	c.place.Lock()
	defer c.place.Unlock()
	if c.entry != nil {
		return "kernel", ""
	}
	return "user", c.why
}

// Close ends the channel, as InChan.Close does.
func (c *CutChan) Close() {
	c.in.Close()
	c.in.domain.node.RevokeObject(c)
}

// Stats returns the counters of both forms together.
func (c *CutChan) Stats() CutStats {
	c.place.Lock()
	st := c.past
	for _, e := range append(c.old[:len(c.old):len(c.old)], c.entry) {
		if e != nil {
			st.Add(e.Stats())
		}
	}
	c.place.Unlock()
	st.Kernel = st.Packets
	in := c.in.Stats()
	k := &c.counts
	st.Add(CutStats{
		Packets: k.packets.Load(), Bytes: k.bytes.Load(), TooBig: k.big.Load(), TTL: k.ttl.Load(), Rate: k.rate.Load(),
		Invalid: k.invalid.Load(), Gone: k.gone.Load(), Full: in.Full, Limited: in.Limited, Poor: in.Poor,
	})
	return st
}
