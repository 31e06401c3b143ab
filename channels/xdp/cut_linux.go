package xdp

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/channels/internal/cells"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/nodeos"
)

// Bounds of a node's cut-through channels in the kernel. What is beyond them stays in user space.
const (
	maxCuts     = 1024
	maxHeads    = 2 * maxCuts // each may change once before the programs have to be waited for
	maxCutLinks = 256
)

// cuts are what the programs of a node's links share for cut-through channels.
//
// A program reads the number of a channel's head once, and a head is written before its number is published and not written again
// before all programs have ended that may have read it. So a packet leaves by one head, and changing one is a store of one word.
type cuts struct {
	cells       *cells.Cells
	heads       *ebpf.Map // array of heads
	counts      *ebpf.Map // array of counters, of each processor
	buckets     *ebpf.Map // array of buckets
	out         *ebpf.Map // DEVMAP, by link
	headWords   *sys.SharedWords
	bucketWords *sys.SharedWords

	mu        sync.Mutex // what follows
	freeHeads []uint32
	oldHeads  []uint32 // programs may still read them
	free      []uint32 // places in counts and buckets
	old       []*cutEntry
	freeOuts  []uint32
}

func newCuts(m *cells.Cells) (_ *cuts, err error) {
	c := &cuts{cells: m}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	for _, m := range []struct {
		to         **ebpf.Map
		name       string
		typ        ebpf.MapType
		size, most uint32
		flags      uint32
	}{
		{&c.heads, "janos_heads", ebpf.Array, headSize, maxHeads, unix.BPF_F_MMAPABLE},
		{&c.counts, "janos_cuts", ebpf.PerCPUArray, cutSize, maxCuts, 0},
		{&c.buckets, "janos_buckets", ebpf.Array, bucketSize, maxCuts, unix.BPF_F_MMAPABLE},
		{&c.out, "janos_out", ebpf.DevMap, 4, maxCutLinks, 0},
	} {
		if *m.to, err = ebpf.NewMap(&ebpf.MapSpec{Name: m.name, Type: m.typ, KeySize: 4, ValueSize: m.size, MaxEntries: m.most, Flags: m.flags}); err != nil {
			return nil, fmt.Errorf("map %s for cut-through channels: %w", m.name, err)
		}
	}
	if c.headWords, err = sys.MapSharedWords(c.heads.FD(), maxHeads*headSize); err != nil {
		return nil, err
	}
	if c.bucketWords, err = sys.MapSharedWords(c.buckets.FD(), maxCuts*bucketSize); err != nil {
		return nil, err
	}
	for i := range uint32(maxHeads) {
		c.freeHeads = append(c.freeHeads, i)
	}
	for i := range uint32(maxCuts) {
		c.free = append(c.free, i)
	}
	for i := range uint32(maxCutLinks) {
		c.freeOuts = append(c.freeOuts, maxCutLinks-1-i)
	}
	return c, nil
}

// close forgets all but what closed entries have counted. No program runs any more.
func (c *cuts) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.old {
		e.final, e.ended = c.read(e.place), true
	}
	c.old = nil
	for _, w := range [...]*sys.SharedWords{c.headWords, c.bucketWords} {
		if w != nil {
			w.Close()
		}
	}
	for _, m := range [...]*ebpf.Map{c.out, c.buckets, c.counts, c.heads} {
		if m != nil {
			m.Close()
		}
	}
}

// maps returns what cutCode wants.
func (c *cuts) maps() cutMaps {
	return cutMaps{heads: c.heads.FD(), counts: c.counts.FD(), buckets: c.buckets.FD(), out: c.out.FD()}
}

// enter gives an interface of the calling thread's network namespace a place in the devmap.
func (c *cuts) enter(ifindex int) (out uint32, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := len(c.freeOuts) - 1
	if last < 0 {
		return 0, errs.New(errs.Limit, "more than %d links of one node under driver xdp", maxCutLinks)
	}
	out = c.freeOuts[last]
	if err := c.out.Put(out, uint32(ifindex)); err != nil {
		return 0, fmt.Errorf("entering interface %d in the devmap: %w", ifindex, err)
	}
	c.freeOuts = c.freeOuts[:last]
	return out, nil
}

// leave takes an interface out of the devmap. Its place is given to another one before long, so no channel must lead there any more, and programs
// that run are waited for.
func (c *cuts) leave(out uint32) {
	_ = c.out.Delete(out) // not there, if the interface is gone
	_ = c.cells.Settle()  // its place in the devmap is empty anyhow
	c.mu.Lock()
	defer c.mu.Unlock()
	c.freeOuts = append(c.freeOuts, out)
}

// settle makes old heads and places free ones. c.mu is held.
func (c *cuts) settle() error {
	if err := c.cells.Settle(); err != nil {
		return err
	}
	c.freeHeads = append(c.freeHeads, c.oldHeads...)
	c.oldHeads = c.oldHeads[:0]
	for _, e := range c.old {
		e.final, e.ended = c.read(e.place), true
		c.free = append(c.free, e.place)
	}
	c.old = nil
	return nil
}

// read sums up a place's counters.
func (c *cuts) read(place uint32) (st nodeos.CutStats) {
	var each [][cutSize / 8]uint64
	if err := c.counts.Lookup(place, &each); err != nil {
		return st // cannot be: the place is within the array
	}
	for i := range each {
		w := func(off int) uint64 { return each[i][off/8] }
		st.Add(nodeos.CutStats{
			Packets: w(cutPackets), Bytes: w(cutBytes), TooBig: w(cutTooBig), TTL: w(cutHops), Rate: w(cutRate),
			Invalid: w(cutInvalid), Gone: w(cutGone), Up: w(cutUp),
		})
	}
	return st
}

// cutEntry is a cut-through channel in the kernel. It implements nodeos.CutEntry.
type cutEntry struct {
	link  *Link
	cuts  *cuts
	slot  uint32
	place uint32

	// Under cuts.mu.
	head   uint32
	word   uint64 // for the cell
	cost   uint64
	closed bool
	ended  bool // and what it has counted is in final
	final  nodeos.CutStats
}

// add makes an entry of a channel.
func (c *cuts) add(l *Link, slot uint32, cut *nodeos.Cut, out *Link) (*cutEntry, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.free) == 0 && len(c.old) > 0 {
		if err := c.settle(); err != nil {
			return nil, err
		}
	}
	last := len(c.free) - 1
	if last < 0 {
		return nil, errs.New(errs.Limit, "more than %d cut-through channels of one node", maxCuts)
	}
	e := &cutEntry{link: l, cuts: c, slot: slot, place: c.free[last]}
	clean := make([][cutSize / 8]uint64, ebpf.MustPossibleCPU())
	if err := c.counts.Put(e.place, clean); err != nil {
		return nil, fmt.Errorf("clearing counters: %w", err)
	}
	word := func(off int) int { return int(e.place)*bucketSize + off }
	cost, depth, lot := bucketOf(cut, out.info.MTU)
	e.cost = cost
	c.bucketWords.At(word(bucketLot)).Store(lot)
	c.bucketWords.At(word(bucketDepth)).Store(depth)
	c.bucketWords.At(word(bucketCredit)).Store(depth << bucketShift)
	c.bucketWords.At(word(bucketFilled)).Store(0)
	var err error
	if e.head, e.word, err = c.newHead(e.place, l, cut, out); err != nil {
		return nil, err
	}
	c.free = c.free[:last]
	c.publish(e)
	return e, nil
}

// bucketOf returns what a byte costs, half of the burst in ns, and a lot. One half of the burst holds at least one of the longest frames, and a lot is what can
// be taken beside it.
func bucketOf(cut *nodeos.Cut, mtu int) (perByte, depth, lot uint64) {
	if cut.BitRate == 0 {
		return 0, 0, 0
	}
	perByte = max(8*uint64(time.Second)<<bucketShift/cut.BitRate, 1)
	depth = uint64(cut.Burst / 2)
	if whole, longest := depth<<bucketShift, perByte*uint64(mtu+demux.EtherLen+2*demux.VLANLen); whole > longest {
		lot = (whole - longest) / 32
	}
	return perByte, depth, lot
}

// publish makes the programs use e's head. c.mu is held.
func (c *cuts) publish(e *cutEntry) {
	c.cells.Word(e.slot, chanCutWords+8).Store(e.cost)
	c.cells.Word(e.slot, chanCutWords).Store(e.word)
	c.cells.Word(e.slot, chanKind).Store(kindCut)
}

// newHead writes a head that no program reads, and returns its number and the word of the cell that makes packets follow it. c.mu is held.
func (c *cuts) newHead(place uint32, l *Link, cut *nodeos.Cut, out *Link) (h uint32, word uint64, err error) {
	if len(c.freeHeads) == 0 {
		if err := c.settle(); err != nil {
			return 0, 0, err
		}
	}
	last := len(c.freeHeads) - 1
	if last < 0 {
		return 0, 0, errs.New(errs.Limit, "more than %d heads of cut-through channels", maxHeads)
	}
	h = c.freeHeads[last]
	c.freeHeads = c.freeHeads[:last]
	b := headOf(cut, place, out.out, out.info.MTU, l.unfinished)
	for i := 0; i < headSize; i += 8 {
		c.headWords.At(int(h)*headSize + i).Store(binary.NativeEndian.Uint64(b[i:]))
	}
	return h, wordOf(cut, h, &b), nil
}

// wordOf returns the word of a cell for the head b, which has number h.
func wordOf(cut *nodeos.Cut, h uint32, b *[headSize]byte) uint64 {
	get := func(off int) uint64 { return uint64(binary.NativeEndian.Uint32(b[off:])) }
	w := get(headOut)<<wordOut | get(headCut)<<wordCut | uint64(h)<<wordHead
	most := min(get(headMost), get(headFits))
	switch {
	case cut.Whole:
		w |= wordWhole
	case get(headLen) == demux.EtherLen && get(headFlags)&(headTyped|headKeepType|headHops) == headTyped|headKeepType|headHops:
		w |= wordHop
		most += demux.EtherLen
	default:
		return w
	}
	w |= min(most, 1<<16-1) << wordFits
	if get(headFlags)&headUnfinished != 0 {
		w |= wordUnfinished
	}
	if get(headFlags)&headRated != 0 {
		w |= wordRated
	}
	return w
}

// headOf returns the bytes of a head.
func headOf(cut *nodeos.Cut, place, out uint32, mtu int, unfinished bool) (b [headSize]byte) {
	put := func(off int, v int) { binary.NativeEndian.PutUint32(b[off:], uint32(min(v, math.MaxInt32))) }
	flags, length := 0, 0
	for _, f := range [...]struct {
		on   bool
		flag int
	}{
		{cut.Typed, headTyped}, {cut.KeepType, headKeepType}, {cut.DecTTL, headHops}, {cut.Transport && unfinished, headUnfinished}, {cut.BitRate > 0, headRated},
	} {
		if f.on {
			flags |= f.flag
		}
	}
	if !cut.Whole {
		length = demux.EtherLen + demux.VLANLen*len(cut.VLAN)
		copy(b[headMACs:], cut.Dst[:])
		copy(b[headMACs+6:], cut.Src[:])
		binary.BigEndian.PutUint16(b[headType:], cut.EtherType)
	}
	for i, tci := range cut.VLAN {
		typ := uint16(demux.EtherTypeVLAN)
		if i == 0 && len(cut.VLAN) == 2 {
			typ = demux.EtherTypeSVLAN
		}
		binary.BigEndian.PutUint16(b[headTag+demux.VLANLen*i:], typ)
		binary.BigEndian.PutUint16(b[headTag+demux.VLANLen*i+2:], tci)
	}
	if ip := cut.IP; ip != nil {
		n, version := demux.PutIPHeader(b[headIP:], ip)
		length += n
		put(headIPv, version)
		if version == 4 {
			sum := demux.Sum(0, b[headIP:headIP+demux.IPv4Len])
			put(headSum, int(sum>>16+sum&0xffff))
		}
	}
	if cut.UDP {
		length += demux.UDPLen
		put(headIsUDP, 1)
		binary.BigEndian.PutUint16(b[headUDP:], cut.SrcPort)
		binary.BigEndian.PutUint16(b[headUDP+2:], cut.DstPort)
	}
	per, _, _ := bucketOf(cut, mtu)
	binary.NativeEndian.PutUint64(b[headCost:], per)
	put(headCut, int(place))
	put(headOut, int(out))
	put(headFlags, flags)
	put(headLen, length)
	put(headTags, len(cut.VLAN))
	put(headMost, cut.Most)
	// The kernel takes frames of the MTU with one tag (xdp_ok_fwd_dev of linux/netdevice.h).
	put(headFits, mtu+demux.EtherLen+demux.VLANLen-length)
	return b
}

// Change implements nodeos.CutEntry.
func (e *cutEntry) Change(cut nodeos.Cut) error {
	out, err := e.link.outOf(&cut)
	if err != nil {
		return err
	}
	c := e.cuts
	c.mu.Lock()
	defer c.mu.Unlock()
	head, word, err := c.newHead(e.place, e.link, &cut, out)
	if err != nil {
		return err
	}
	c.oldHeads = append(c.oldHeads, e.head)
	e.head, e.word = head, word
	c.publish(e)
	return nil
}

// Stats implements nodeos.CutEntry.
func (e *cutEntry) Stats() nodeos.CutStats {
	e.cuts.mu.Lock()
	defer e.cuts.mu.Unlock()
	if e.ended {
		return e.final
	}
	return e.cuts.read(e.place)
}

// Close implements nodeos.CutEntry.
func (e *cutEntry) Close() {
	c := e.cuts
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.closed {
		return
	}
	e.closed = true
	c.cells.Word(e.slot, chanKind).Store(kindSocket)
	c.oldHeads = append(c.oldHeads, e.head)
	c.old = append(c.old, e)
}

// Cut implements nodeos.Cutter. Both links must be of this driver and node.
func (l *Link) Cut(cut nodeos.Cut) (nodeos.CutEntry, error) {
	slot, ok := cut.Chan.Slot()
	l.mu.Lock()
	closed := l.closed
	l.mu.Unlock()
	switch {
	case closed:
		return nil, errs.New(errs.Dead, "link %s is closed", l.info.Name)
	case !ok:
		return nil, errs.New(errs.Invalid, "only hand-offs fill the channel")
	}
	out, err := l.outOf(&cut)
	if err != nil {
		return nil, err
	}
	e, err := l.chans.cuts.add(l, slot, &cut, out)
	if err != nil {
		return nil, err
	}
	return e, nil
}

// openCuts prepares a link for cut-through channels, as in-link and as out-link, in the network namespace of the interface.
func (l *Link) openCuts(ifindex int) (err error) {
	l.ifindex = ifindex
	l.netdev, _ = sys.OpenNetdev() // kernels before 6.3 do not say
	if l.out, err = l.chans.cuts.enter(ifindex); err != nil {
		return err
	}
	l.entered = true
	l.programs.cut = cutCode(l.chans.cuts.maps(), chanCutWords)
	return nil
}

// closeCuts undoes openCuts; the node has withdrawn its channels from the link.
func (l *Link) closeCuts() {
	if l.entered {
		l.entered = false
		l.chans.cuts.leave(l.out)
	}
	if l.netdev != nil {
		l.netdev.Close()
		l.netdev = nil
	}
}

// outOf returns the link that packets of l may be redirected to as cut says.
func (l *Link) outOf(cut *nodeos.Cut) (*Link, error) {
	out, ok := cut.Out.(*Link)
	switch {
	case !ok:
		return nil, errs.New(errs.NotSupported, "out-link %s is of driver %s", cut.Out.Info().Name, cut.Out.Info().Driver)
	case out.chans != l.chans:
		return nil, errs.New(errs.NotSupported, "out-link %s is of another node", out.info.Name)
	case out.info.MTU+demux.EtherLen+demux.VLANLen < demux.EtherLen+2*demux.VLANLen+demux.IPv6Len+demux.UDPLen:
		return nil, errs.New(errs.NotSupported, "MTU %d of out-link %s is less than the headers", out.info.MTU, out.info.Name)
	}
	out.mu.Lock()
	defer out.mu.Unlock()
	if out.closed {
		return nil, errs.New(errs.Dead, "out-link %s is closed", out.info.Name)
	}
	// Under generic XDP frames are redirected as skbs, which every interface takes.
	if l.mode == "native" && out.netdev != nil {
		if f, err := out.netdev.XDPFeatures(out.ifindex); err == nil && f&sys.TakesRedirects == 0 {
			return nil, errs.New(errs.NotSupported, "interface %s takes no redirected frames (the other end of a virtual Ethernet must have an XDP program or merge packets: ethtool -K DEVICE gro on)", out.device)
		}
	}
	return out, nil
}
