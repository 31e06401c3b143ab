package nodeosabi

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm"
)

// Channels where their records do not say.
const (
	DefaultQuota = 64
	DefaultSnap  = 1536
)

// channelBytes is charged for a channel besides its queue.
const channelBytes = 4 << 10

// channel is what both kinds have in common.
type channel interface {
	closer
	base() *common
}

// common is the guests' side of a channel.
type common struct {
	q      *Queue
	host   Channel
	domain Domain
	by     *self
	cost   int64
	once   sync.Once
	handed atomic.Uint64
	bad    atomic.Uint64 // packets that were dropped on our side
	free   func()        // of Domain.Host
}

func (c *common) base() *common { return c }

// end implements closer.
func (c *common) end(error) {
	c.once.Do(func() {
		c.q.closed.Store(true)
		c.host.Close()
		c.by.disown(c)
		c.domain.Account().Return(resctl.Memory, c.cost)
		c.free()
		c.q.bell.ring()
	})
}

func (c *common) closedError() error { return errs.New(errs.Dead, "nodeosabi: the channel is closed") }

type inChannel struct {
	*common
	server atomic.Pointer[server] // evaluates what comes; nil: guests receive
}

type outChannel struct {
	*common
	port *Port
	spec OutSpec
}

// open takes what a channel costs and makes it: make is given its common part. The channel ends with the domain.
func open(in *vm.Instance, d Domain, quota, snap int, make func(c *common) (Channel, error)) (*common, error) {
	c := &common{domain: d, by: me(in), cost: channelBytes + queueBytes(quota, snap)}
	if err := d.Account().Take(resctl.Memory, c.cost); err != nil {
		return nil, err
	}
	ready := new(sync.WaitGroup) // the domain may end before there is a host's side
	ready.Add(1)
	free, err := d.Host(func(reason error) {
		go func() { // it takes locks of the domain's channels
			ready.Wait()
			if c.host != nil {
				c.end(reason)
			}
		}()
	})
	if err == nil {
		c.free = free
		c.q = newQueue(quota, snap)
		if c.host, err = make(c); err != nil {
			c.host = nil
		}
		ready.Done()
		if err != nil {
			free()
		}
	}
	if err != nil {
		d.Account().Return(resctl.Memory, c.cost)
		return nil, err
	}
	return c, nil
}

// bounded reads a number with a default and a bound.
func bounded(what string, v, def, most uint32) (int, error) {
	if v == 0 {
		v = def
	}
	if v > most {
		return 0, errs.New(errs.TooBig, "nodeosabi: a channel with %s %d, at most %d", what, v, most)
	}
	return int(v), nil
}

// local returns the local address of a channel: that of the port, with another UDP port if the guest may choose.
func (p *Port) local(want uint16) (string, error) {
	if want == 0 {
		return p.Address, nil
	}
	i := strings.LastIndexByte(p.Address, ':')
	host, port := p.Address, ""
	if i >= 0 {
		host, port = p.Address[:i], p.Address[i+1:]
	}
	switch {
	case port == fmt.Sprint(want):
		return p.Address, nil
	case port != "" || !p.AnyPort:
		return "", errs.New(errs.Permission, "nodeosabi: UDP port %d: the port handle is for %q", want, p.Address)
	}
	return fmt.Sprintf("%s:%d", host, want), nil
}

// channelArgs reads what the calls that make a channel begin with: a domain, a port, and a record of so many bytes.
func channelArgs(in *vm.Instance, s []uint64, size int) (d *domain, p *Port, b []byte, err error) {
	if d, err = get[*domain](in, s[0], vm.MayUse); err != nil {
		return nil, nil, nil, err
	}
	if p, err = get[*Port](in, s[1], vm.MayUse); err != nil {
		return nil, nil, nil, err
	}
	b, err = record(in, s[2], size)
	return d, p, b, err
}

func callInNew(in *vm.Instance, s []uint64) (int, error) {
	d, p, b, err := channelArgs(in, s, abi.NOInSize)
	if err != nil {
		return 0, err
	}
	if p.NoIn {
		return 0, errs.New(errs.Permission, "nodeosabi: the port handle is for out-channels only")
	}
	spec, err := inSpec(p, b)
	if err != nil {
		return 0, err
	}
	ch := new(inChannel)
	if _, err = open(in, d.Domain, spec.Quota, spec.Snap, func(c *common) (Channel, error) {
		ch.common = c
		return d.In(p, &spec, ch)
	}); err != nil {
		return 0, err
	}
	return give(in, ch)
}

// inSpec reads a no_in.
func inSpec(p *Port, b []byte) (s InSpec, err error) {
	if s.Quota, err = bounded("quota", le.Uint32(b[abi.NOInQuotaOff:]), DefaultQuota, abi.NOQuotaMax); err != nil {
		return s, err
	}
	if s.Snap, err = bounded("snap", le.Uint32(b[abi.NOInSnapOff:]), DefaultSnap, abi.NOSnapMax); err != nil {
		return s, err
	}
	if s.Rate, err = bounded("rate", le.Uint32(b[abi.NOInRateOff:]), 0, 1<<24); err != nil {
		return s, err
	}
	if s.Burst, err = bounded("burst", le.Uint32(b[abi.NOInBurstOff:]), 0, 1<<16); err != nil {
		return s, err
	}
	if s.Address, err = p.local(le.Uint16(b[abi.NOInPortOff:])); err != nil {
		return s, err
	}
	n := int(le.Uint16(b[abi.NOInTuplesOff:]))
	if n > abi.NOTuplesMax {
		return s, errs.New(errs.TooBig, "nodeosabi: a key of %d tuples, at most %d", n, abi.NOTuplesMax)
	}
	s.Key = slices.Clone(p.Key)
	for k := range n {
		t := b[abi.NOInTupleOff+k*abi.NOTupleSize:]
		l := int(le.Uint16(t[abi.NOTupleLengthOff:]))
		if l < 1 || l > 16 {
			return s, errs.New(errs.Invalid, "nodeosabi: tuple %d of a key has %d bytes, want 1 to 16", k, l)
		}
		s.Key = append(s.Key, demux.Tuple{
			Offset: int(le.Uint16(t[abi.NOTupleOffsetOff:])),
			Value:  slices.Clone(t[abi.NOTupleValueOff : abi.NOTupleValueOff+l]),
			Mask:   slices.Clone(t[abi.NOTupleMaskOff : abi.NOTupleMaskOff+l]),
		})
	}
	// What the text form of a key cannot say is no key.
	if s.Key, err = demux.ParseKey(s.Key.String()); err != nil {
		return s, err
	}
	return s, nil
}

func callOutNew(in *vm.Instance, s []uint64) (int, error) {
	d, p, b, err := channelArgs(in, s, abi.NOOutSize)
	if err != nil {
		return 0, err
	}
	if p.NoOut {
		return 0, errs.New(errs.Permission, "nodeosabi: the port handle is for in-channels only")
	}
	spec, err := outSpec(p, b)
	if err != nil {
		return 0, err
	}
	ch := &outChannel{port: p, spec: spec}
	if _, err = open(in, d.Domain, spec.Quota, spec.Snap, func(c *common) (Channel, error) {
		ch.common = c
		return d.Out(p, &spec, c.q)
	}); err != nil {
		return 0, err
	}
	return give(in, ch)
}

// outSpec reads a no_out.
func outSpec(p *Port, b []byte) (s OutSpec, err error) {
	if s.Quota, err = bounded("quota", le.Uint32(b[abi.NOOutQuotaOff:]), DefaultQuota, abi.NOQuotaMax); err != nil {
		return s, err
	}
	if s.Snap, err = bounded("snap", le.Uint32(b[abi.NOOutSnapOff:]), DefaultSnap, abi.NOSnapMax); err != nil {
		return s, err
	}
	if s.BitRate = le.Uint64(b[abi.NOOutBitRateOff:]); s.BitRate > 1<<50 {
		return s, errs.New(errs.Invalid, "nodeosabi: an out-channel of %d bits per second", s.BitRate)
	}
	if s.Source, err = p.local(le.Uint16(b[abi.NOOutPortOff:])); err != nil {
		return s, err
	}
	s.Remote, err = remote(b[abi.NOOutRemoteOff : abi.NOOutRemoteOff+abi.NOAddressSize])
	if err == nil && s.Remote.Addr.Addr().IsValid() && !p.may(s.Remote.Addr.Addr()) {
		err = errs.New(errs.Permission, "nodeosabi: the port handle does not lead to %s", s.Remote.Addr)
	}
	return s, err
}

// remote reads a no_address.
func remote(b []byte) (r Remote, err error) {
	var a netip.Addr
	switch f := b[abi.NOAddressFamilyOff]; f {
	case 0:
	case 4:
		a = netip.AddrFrom4([4]byte(b[:4]))
	case 6:
		a = netip.AddrFrom16([16]byte(b[:16]))
	default:
		return r, errs.New(errs.Invalid, "nodeosabi: address family %d, want 4, 6, or 0 for none", f)
	}
	if a.IsValid() {
		r.Addr = netip.AddrPortFrom(a, le.Uint16(b[abi.NOAddressPortOff:]))
	}
	if r.HasHW = b[abi.NOAddressHasHwOff] == 1; r.HasHW {
		copy(r.HW[:], b[abi.NOAddressHwOff:])
	}
	return r, nil
}

// PutRemote writes a no_address, of abi.NOAddressSize bytes, for the arguments of a guest.
func PutRemote(b []byte, r *Remote) {
	clear(b[:abi.NOAddressSize])
	if a := r.Addr.Addr(); a.Is4() {
		v := a.As4()
		copy(b, v[:])
		b[abi.NOAddressFamilyOff] = 4
	} else if a.Is6() {
		v := a.As16()
		copy(b, v[:])
		b[abi.NOAddressFamilyOff] = 6
	}
	le.PutUint16(b[abi.NOAddressPortOff:], r.Addr.Port())
	if r.HasHW {
		b[abi.NOAddressHasHwOff] = 1
		copy(b[abi.NOAddressHwOff:], r.HW[:])
	}
}

func callChannelClose(in *vm.Instance, s []uint64) (int, error) {
	c, err := get[channel](in, s[0], vm.MayEnd)
	if err != nil {
		return 0, err
	}
	c.end(nil)
	return 0, nil
}

func callChannelStatus(in *vm.Instance, s []uint64) (int, error) {
	ch, err := get[channel](in, s[0], vm.MaySee)
	if err != nil {
		return 0, err
	}
	b, err := at(in, s[1], abi.NOChannelStatusSize)
	if err != nil {
		return 0, err
	}
	c := ch.base()
	n := c.host.Stats()
	handed := c.handed.Load()
	for off, v := range map[int]uint64{
		abi.NOChannelStatusPacketsOff: n.Packets + handed, abi.NOChannelStatusBytesOff: n.Bytes, abi.NOChannelStatusFullOff: n.Full,
		abi.NOChannelStatusLimitedOff: n.Limited, abi.NOChannelStatusPoorOff: n.Poor, abi.NOChannelStatusInvalidOff: n.Invalid + c.bad.Load(),
		abi.NOChannelStatusHandedOff: n.Handed + handed,
	} {
		le.PutUint64(b[off:], v)
	}
	le.PutUint32(b[abi.NOChannelStatusHeldOff:], uint32(n.Held+c.q.Len()))
	le.PutUint32(b[abi.NOChannelStatusClosedOff:], 0)
	if c.q.closed.Load() {
		le.PutUint32(b[abi.NOChannelStatusClosedOff:], 1)
	}
	return 0, nil
}

// Begin implements Sink.
func (c *inChannel) Begin(by *resctl.Meter) bool {
	if v := c.server.Load(); v != nil {
		if c.q.takers.TryLock() { // else a guest is still taking what it had begun with, and Pump follows
			for data, m := c.q.First(); data != nil; data, m = c.q.First() { // what came before there was one
				v.evaluate(c, by, data, m)
				c.q.Pop()
			}
			c.q.takers.Unlock()
		}
		return true
	}
	return c.q.room()
}

// Put implements Sink.
func (c *inChannel) Put(by *resctl.Meter, data []byte, m *Meta) (bool, uint64) {
	m.Length = len(data)
	if v := c.server.Load(); v != nil {
		return true, v.evaluate(c, by, data, m)
	}
	if !c.q.put(data, m) {
		c.q.short.Store(true)
		if !c.q.room() { // who takes from now on sees short
			return false, 0
		}
		if !c.q.put(data, m) {
			return false, 0
		}
	}
	c.q.bell.ring()
	return true, 0
}

// packets reads a list of n blocks and a window.
func packets(in *vm.Instance, s []uint64, each uint64) (blocks, window []byte, err error) {
	if s[2] > abi.NOBatchMax {
		return nil, nil, errs.New(errs.TooBig, "nodeosabi: %d packets at a time, at most %d", s[2], abi.NOBatchMax)
	}
	if blocks, err = at(in, s[1], s[2]*abi.NOPacketSize); err != nil {
		return nil, nil, err
	}
	if window, err = at(in, s[3], s[4]); err != nil {
		return nil, nil, err
	}
	if s[1] < s[3]+s[4] && s[3] < s[1]+s[2]*abi.NOPacketSize && s[2] > 0 && s[4] > 0 {
		return nil, nil, errs.New(errs.Invalid, "nodeosabi: blocks and window overlap")
	}
	in.Charge(each * s[2])
	return blocks, window, nil
}

// await waits until ok, or a time; bells ring when something may have changed. It returns false when the time is over.
func await(in *vm.Instance, until clock.Time, bells []*bell, ok func() bool) (bool, error) {
	if ok() {
		return true, nil
	}
	w := &waiting{poke: in.Poke}
	for _, b := range bells {
		b.add(w)
	}
	defer func() {
		for _, b := range bells {
			b.remove(w)
		}
	}()
	for {
		w.ready.Store(false)
		if ok() { // after it was added: no news is missed
			return true, nil
		}
		switch err := in.Wait(&w.ready, until); errs.KindOf(err) {
		case errs.OK:
		case errs.Timeout:
			return ok(), nil
		default:
			return false, err
		}
	}
}

func callReceive(in *vm.Instance, s []uint64) (int, error) {
	c, err := get[*inChannel](in, s[0], vm.MayUse)
	if err != nil {
		return 0, err
	}
	blocks, window, err := packets(in, s, abi.NOReceiveEach)
	if err != nil {
		return 0, err
	}
	if c.server.Load() != nil {
		return 0, errs.New(errs.Exists, "nodeosabi: a handler serves the channel")
	}
	n := 0
	take := func() bool {
		n = c.take(blocks, window)
		return n > 0 || c.q.closed.Load()
	}
	if s[2] == 0 {
		return 0, nil
	}
	if s[5] == 0 {
		take()
	} else if _, err = await(in, until(in, s[5]), []*bell{&c.q.bell}, take); err != nil {
		return 0, err
	}
	if n == 0 && c.q.closed.Load() {
		return 0, c.closedError()
	}
	moved := 0
	for k := range n {
		moved += int(le.Uint32(blocks[k*abi.NOPacketSize+abi.NOPacketCapturedOff:]))
	}
	in.Charge(uint64(moved / abi.NOReceiveBytes))
	return n, nil
}

// take moves packets to a guest and returns how many.
func (c *inChannel) take(blocks, window []byte) (n int) {
	q := c.q
	q.takers.Lock()
	for used := 0; len(blocks) > 0 && c.server.Load() == nil; {
		data, m := q.First()
		if data == nil || n > 0 && len(data) > len(window)-used {
			break
		}
		got := copy(window[used:], data)
		b := blocks[:abi.NOPacketSize]
		le.PutUint32(b[abi.NOPacketOffsetOff:], uint32(used))
		le.PutUint32(b[abi.NOPacketLengthOff:], uint32(m.Length))
		le.PutUint32(b[abi.NOPacketCapturedOff:], uint32(got))
		le.PutUint32(b[abi.NOPacketLinkOff:], m.Link)
		le.PutUint64(b[abi.NOPacketTimeNSOff:], uint64(m.Time))
		PutRemote(b[abi.NOPacketRemoteOff:], &m.Remote)
		q.Pop()
		blocks = blocks[abi.NOPacketSize:]
		n++
		used = min((used+got+7)&^7, len(window))
	}
	q.takers.Unlock()
	if n > 0 && q.short.Swap(false) {
		c.host.Pump()
	}
	return n
}

func callSend(in *vm.Instance, s []uint64) (int, error) {
	c, err := get[*outChannel](in, s[0], vm.MayUse)
	if err != nil {
		return 0, err
	}
	blocks, window, err := packets(in, s, abi.NOSendEach)
	if err != nil {
		return 0, err
	}
	list, err := c.check(blocks, window)
	if err != nil || len(list) == 0 {
		return 0, err
	}
	in.Charge(bytesOf(list) / abi.NOSendBytes)
	n := 0
	put := func() bool {
		for n < len(list) && !c.q.closed.Load() && c.q.put(list[n].data, &list[n].meta) {
			n++
		}
		return n > 0 || c.q.closed.Load()
	}
	if s[5] == 0 {
		put()
	} else if _, err = await(in, until(in, s[5]), []*bell{&c.q.bell}, put); err != nil {
		return 0, err
	}
	if n > 0 {
		c.host.Pump()
	} else if c.q.closed.Load() {
		return 0, c.closedError()
	}
	return n, nil
}

// outgoing is a packet that a guest sends: a view of its window.
type outgoing struct {
	data []byte
	meta Meta
}

// bytesOf returns how many bytes a call moves.
func bytesOf(list []outgoing) (n uint64) {
	for k := range list {
		n += uint64(len(list[k].data))
	}
	return n
}

// view finds the bytes of a packet in the window.
func view(block, window []byte, most int) ([]byte, error) {
	off, n := le.Uint32(block[abi.NOPacketOffsetOff:]), le.Uint32(block[abi.NOPacketLengthOff:])
	if uint64(off)+uint64(n) > uint64(len(window)) {
		return nil, errs.New(errs.Invalid, "nodeosabi: a packet of %d bytes at %d of a window of %d", n, off, len(window))
	}
	if int(n) > most {
		return nil, errs.New(errs.TooBig, "nodeosabi: a packet of %d bytes, the channel keeps %d", n, most)
	}
	return window[off : off+n], nil
}

// check reads and checks what is to be sent, all of it before anything is.
func (c *outChannel) check(blocks, window []byte) ([]outgoing, error) {
	list := make([]outgoing, len(blocks)/abi.NOPacketSize)
	for k := range list {
		b := blocks[k*abi.NOPacketSize : (k+1)*abi.NOPacketSize]
		var err error
		if list[k].data, err = view(b, window, c.q.snap); err != nil {
			return nil, err
		}
		r, err := remote(b[abi.NOPacketRemoteOff:])
		if err != nil {
			return nil, err
		}
		if !r.Addr.IsValid() && r.Addr.Addr() == (netip.Addr{}) {
			r.Addr = c.spec.Remote.Addr
			if !r.HasHW {
				r.HW, r.HasHW = c.spec.Remote.HW, c.spec.Remote.HasHW
			}
		}
		if a := r.Addr.Addr(); a.IsValid() && !c.port.may(a) {
			return nil, errs.New(errs.Permission, "nodeosabi: the port handle does not lead to %s", a)
		}
		list[k].meta.Remote = r
	}
	return list, nil
}

func callHandOff(in *vm.Instance, s []uint64) (int, error) {
	c, err := get[*inChannel](in, s[0], vm.MayUse)
	if err != nil {
		return 0, err
	}
	blocks, window, err := packets(in, s, abi.NOHandOffEach)
	if err != nil {
		return 0, err
	}
	if c.q.closed.Load() {
		return 0, c.closedError()
	}
	list := make([]outgoing, 0, s[2])
	for ; len(blocks) > 0; blocks = blocks[abi.NOPacketSize:] {
		data, err := view(blocks, window, len(window))
		if err != nil {
			return 0, err
		}
		r, err := remote(blocks[abi.NOPacketRemoteOff:])
		if err != nil {
			return 0, err
		}
		list = append(list, outgoing{data, Meta{Link: le.Uint32(blocks[abi.NOPacketLinkOff:]), Time: clock.Time(le.Uint64(blocks[abi.NOPacketTimeNSOff:])), Remote: r}})
	}
	in.Charge(bytesOf(list) / abi.NOHandOffBytes)
	n := 0
	for n < len(list) && c.q.put(list[n].data, &list[n].meta) {
		n++
	}
	c.handed.Add(uint64(n))
	if c.server.Load() != nil {
		c.host.Pump()
	}
	c.q.bell.ring()
	return n, nil
}
