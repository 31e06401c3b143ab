package host

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/errs"
)

// What a Spec's zero fields mean, and bounds.
const (
	DefaultBuffer = 64 << 20         // bytes; the kernel only counts them, and takes memory for what waits
	readSize      = 128 << 10        // of one read; the kernel's dumps come in pieces of 32 KiB
	readsPerTurn  = 256              // messages between two looks at the rest
	confirmEvery  = time.Second      // how often used neighbours are looked at
	syncPause     = time.Second      // least time between the beginnings of two dumps that nothing urgent calls for; ten times what one takes, if that is more
	startTime     = 60 * time.Second // for the first dump
	maxInterrupts = 16               // in a row, until what a dump shows is taken without taking out what it does not show
)

// groups are the announcements that are subscribed to.
var groups = []int{unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
	unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_NEXTHOP}

// follower keeps a table as the kernel is. Its goroutine is the only one that changes the table.
type follower struct {
	t    *Table
	spec Spec

	announced int // socket of announcements
	asked     int // socket of dumps and requests; not subscribed to anything
	wake      int // eventfd
	stop      atomic.Bool
	roused    atomic.Bool
	wakes     sync.Mutex // of wake, which is closed while others may want to set it
	done      chan struct{}
	buf       []byte

	// The dump that goes on.
	step        int    // index of dumps
	seq         uint32 // 0: none goes on
	void        bool   // what it shows may be older than announcements that were lost; it is read to its end, as the kernel does one at a time
	interrupted bool
	interrupts  int
	began       time.Time
	pause       time.Duration // from began to the beginning of the next dump that nothing urgent calls for
	want        bool          // another one
	urgent      bool          // without a pause
	addrs       map[int][]netip.Prefix
	rules       int

	confirmed time.Time
	tokens    int // requests for neighbours that are left in this second
	lately    map[ask]time.Time
}

// dumps are the parts of a dump, in the order in which one needs the other.
var dumps = []struct {
	typ    uint16
	family uint8
	size   int  // of the fixed part
	may    bool // be missing in this kernel
}{
	{unix.RTM_GETLINK, unix.AF_UNSPEC, unix.SizeofIfInfomsg, false},
	{unix.RTM_GETADDR, unix.AF_UNSPEC, unix.SizeofIfAddrmsg, false},
	{unix.RTM_GETNEIGH, unix.AF_UNSPEC, unix.SizeofNdMsg, false},
	{unix.RTM_GETNEXTHOP, unix.AF_UNSPEC, unix.SizeofNhmsg, true},
	{unix.RTM_GETROUTE, unix.AF_INET, unix.SizeofRtMsg, false},
	{unix.RTM_GETROUTE, unix.AF_INET6, unix.SizeofRtMsg, true},
	{unix.RTM_GETRULE, unix.AF_UNSPEC, unix.SizeofRtMsg, true},
}

// Follow makes a table of what the kernel has in the network namespace of the calling thread, waits until it is complete, and keeps
// it so until Close. It needs no privilege to look; to have neighbours found and confirmed takes CAP_NET_ADMIN.
func Follow(spec Spec) (*Table, error) {
	if spec.Buffer == 0 {
		spec.Buffer = DefaultBuffer
	}
	t := New()
	f := &follower{t: t, spec: spec, announced: -1, asked: -1, wake: -1, done: make(chan struct{}), buf: make([]byte, readSize), lately: make(map[ask]time.Time)}
	if err := f.open(); err != nil {
		f.close()
		return nil, errs.New(errs.NotSupported, "following the host's routes: %w", err)
	}
	t.asks = make(chan ask, askRate)
	t.rouse = f.rouse
	f.want, f.urgent = true, true
	for end := time.Now().Add(startTime); t.status.Dumps == 0; {
		if time.Now().After(end) {
			f.close()
			return nil, errs.New(errs.NotSupported, "following the host's routes: the kernel has not listed them within %v", startTime)
		}
		if err := f.turn(); err != nil {
			f.close()
			return nil, errs.New(errs.NotSupported, "following the host's routes: %w", err)
		}
	}
	t.closer = func() error {
		f.stop.Store(true)
		f.rouse()
		<-f.done
		return nil
	}
	go f.run()
	return t, nil
}

func (f *follower) open() (err error) {
	if f.announced, err = openSocket(); err != nil {
		return err
	}
	// Beyond the system's limit (net.core.rmem_max) only with CAP_NET_ADMIN.
	if unix.SetsockoptInt(f.announced, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, f.spec.Buffer) != nil {
		_ = unix.SetsockoptInt(f.announced, unix.SOL_SOCKET, unix.SO_RCVBUF, f.spec.Buffer)
	}
	for _, g := range groups {
		if err := unix.SetsockoptInt(f.announced, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, g); err != nil && g != unix.RTNLGRP_NEXTHOP {
			return fmt.Errorf("subscribing to rtnetlink group %d: %w", g, err)
		}
	}
	if f.asked, err = openSocket(); err != nil {
		return err
	}
	f.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	return err
}

func openSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, fmt.Errorf("netlink socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("netlink socket: %w", err)
	}
	return fd, nil
}

func (f *follower) close() {
	f.wakes.Lock()
	defer f.wakes.Unlock()
	for _, fd := range []*int{&f.announced, &f.asked, &f.wake} {
		if *fd >= 0 {
			unix.Close(*fd)
			*fd = -1
		}
	}
}

// rouse makes the goroutine look at what others want of it. It does not wait.
func (f *follower) rouse() {
	if f.roused.Swap(true) {
		return
	}
	f.wakes.Lock()
	defer f.wakes.Unlock()
	if f.wake >= 0 {
		_, _ = unix.Write(f.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // fails only when it is set already
	}
}

func (f *follower) run() {
	defer close(f.done)
	var err error
	for err == nil && !f.stop.Load() {
		err = f.turn()
	}
	if err != nil {
		f.t.mu.Lock()
		f.t.status.Error = err.Error()
		f.t.mu.Unlock()
	}
	f.close()
}

// turn waits for something to do and does a piece of it.
func (f *follower) turn() error {
	if f.want && f.seq == 0 && (f.urgent || time.Since(f.began) >= f.pause) {
		if err := f.beginDump(); err != nil {
			return err
		}
	}
	fds := []unix.PollFd{{Fd: int32(f.announced), Events: unix.POLLIN}, {Fd: int32(f.asked), Events: unix.POLLIN}, {Fd: int32(f.wake), Events: unix.POLLIN}}
	if _, err := unix.Poll(fds, int(f.patience().Milliseconds())); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("poll: %w", err)
	}
	f.t.mu.Lock()
	defer f.t.settle()
	// Announcements first: they are what somebody waits for.
	if _, err := f.readAnnounced(readsPerTurn); err != nil {
		return err
	}
	if fds[1].Revents != 0 {
		if err := f.readAsked(); err != nil {
			return err
		}
	}
	if fds[2].Revents != 0 {
		f.roused.Store(false)
		var b [8]byte
		_, _ = unix.Read(f.wake, b[:]) // resets it
	}
	f.answer(time.Now())
	return nil
}

// patience is how long a turn may wait, a millisecond at least.
func (f *follower) patience() time.Duration {
	d := time.Minute
	if f.t.status.Neighbors > 0 || len(f.lately) > 0 {
		d = confirmEvery - time.Since(f.confirmed)
	}
	if f.want && f.seq == 0 {
		d = min(d, f.pause-time.Since(f.began))
	}
	return max(d, 0) + time.Millisecond
}

// readAnnounced applies what has been announced, up to so many messages, and reports whether all of it.
func (f *follower) readAnnounced(most int) (all bool, err error) {
	for range most {
		n, from, err := unix.Recvfrom(f.announced, f.buf, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return true, nil
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOBUFS): // some were lost
			f.t.status.Overflows++
			f.want, f.urgent = true, true
			f.void = true
			continue
		case err != nil:
			return false, fmt.Errorf("reading announcements: %w", err)
		}
		if !fromKernel(from) {
			continue
		}
		if n > len(f.buf) {
			f.t.status.Malformed++
			f.want = true
			continue
		}
		for b := f.buf[:n]; len(b) > 0; {
			var m message
			if m, b, err = nextMessage(b); err != nil {
				f.t.status.Malformed++
				break
			}
			f.t.status.Changes++
			f.apply(&m, false)
		}
	}
	return false, nil
}

func fromKernel(a unix.Sockaddr) bool {
	nl, ok := a.(*unix.SockaddrNetlink)
	return ok && nl.Pid == 0
}

// beginDump asks for everything. It takes the announcements before, so that all that are touched from now on are newer than the
// ones that were lost.
func (f *follower) beginDump() error {
	f.t.mu.Lock()
	defer f.t.settle()
	f.want, f.urgent, f.began = false, false, time.Now()
	for range 1 << 20 { // announcements may come without end
		all, err := f.readAnnounced(readsPerTurn)
		if err != nil {
			return err
		}
		if all {
			break
		}
	}
	f.want, f.urgent = false, false // what came meanwhile is what this dump is for
	f.t.dump++
	f.t.touched.begin()
	f.step, f.interrupted, f.void, f.rules = 0, false, false, 0
	f.addrs = make(map[int][]netip.Prefix)
	return f.request()
}

var sequence atomic.Uint32

// request asks for the dump of the current step.
func (f *follower) request() error {
	d := &dumps[f.step]
	f.seq = sequence.Add(1)<<1 | 1 // odd, not 0: requests of other kinds are even
	b := make([]byte, unix.SizeofNlMsghdr+d.size)
	putHeader(b, d.typ, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, f.seq)
	b[unix.SizeofNlMsghdr] = d.family
	if err := unix.Sendto(f.asked, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("asking for a dump: %w", err)
	}
	return nil
}

func putHeader(b []byte, typ, flags uint16, seq uint32) {
	native.PutUint32(b, uint32(len(b)))
	native.PutUint16(b[4:], typ)
	native.PutUint16(b[6:], flags)
	native.PutUint32(b[8:], seq)
}

// readAsked takes one piece of a dump, and refusals of requests.
func (f *follower) readAsked() error {
	n, from, err := unix.Recvfrom(f.asked, f.buf, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return nil
	case errors.Is(err, unix.ENOBUFS): // an answer to a request of ours
		f.interrupted = true
		return nil
	case err != nil:
		return fmt.Errorf("reading a dump: %w", err)
	}
	if !fromKernel(from) {
		return nil
	}
	if n > len(f.buf) {
		f.t.status.Malformed++
		f.interrupted = true
		return nil
	}
	for b := f.buf[:n]; len(b) > 0; {
		var m message
		if m, b, err = nextMessage(b); err != nil {
			f.t.status.Malformed++
			f.interrupted = true
			return nil
		}
		if m.seq&1 == 0 {
			if m.typ == unix.NLMSG_ERROR && len(m.body) >= 4 && native.Uint32(m.body) != 0 {
				f.t.status.Refused++
			}
			continue
		}
		if m.seq != f.seq {
			continue
		}
		f.interrupted = f.interrupted || m.flags&unix.NLM_F_DUMP_INTR != 0
		switch m.typ {
		case unix.NLMSG_ERROR, unix.NLMSG_DONE:
			if len(m.body) >= 4 {
				if no := -int32(native.Uint32(m.body)); no > 0 && !dumps[f.step].may {
					return fmt.Errorf("listing (message %d): %w", dumps[f.step].typ, unix.Errno(no))
				}
			}
			if f.void {
				f.seq, f.want = 0, true
				return nil
			}
			if f.step++; f.step < len(dumps) {
				return f.request()
			}
			f.endDump()
			return nil
		default:
			if !f.void {
				f.apply(&m, true)
			}
		}
	}
	return nil
}

// endDump takes out what the dump has not shown and nobody has announced since it began.
func (f *follower) endDump() {
	t := f.t
	f.seq = 0
	f.pause = max(syncPause, 10*time.Since(f.began)) // interfaces of containers may come and go all the time
	if f.interrupted {
		t.status.Interrupted++
		f.want = true
		if f.interrupts++; f.interrupts < maxInterrupts {
			f.urgent = f.t.status.Dumps == 0
			t.touched = touched{}
			return
		}
	} else {
		f.interrupts = 0
		f.sweep()
	}
	t.touched = touched{}
	t.status.Dumps++
	t.status.Rules = f.rules
	t.changed()
}

func (f *follower) sweep() {
	t := f.t
	for _, i := range t.Interfaces() {
		if i.seen != t.dump && !t.touched.links[i.Index] {
			t.removeInterface(i.Index)
			continue
		}
		list := f.addrs[i.Index]
		keep := list[:0]
		for _, p := range list {
			if !t.touched.addrs[place{i.Index, p}] {
				keep = append(keep, p)
			}
		}
		for _, p := range i.Prefixes {
			if t.touched.addrs[place{i.Index, p}] {
				keep = append(keep, p)
			}
		}
		n := *i
		n.Prefixes = keep
		t.setInterface(n)
		var gone []netip.Addr
		i.neighbors.table.All(func(p netip.Prefix, n *Neighbor) bool {
			if n.seen != t.dump && !t.touched.neighbors[place{i.Index, p}] {
				gone = append(gone, n.Addr)
			}
			return true
		})
		for _, a := range gone {
			t.setNeighbor(i.Index, a, [6]byte{}, 0)
		}
	}
	for id, o := range t.objects {
		if o.known && o.seen != t.dump && !t.touched.objects[id] {
			t.setObject(id, nil, nil, false)
		}
	}
	n := t.drop(func(r *Route) bool {
		if r.seen != t.dump && t.touched.routes[r.key()] {
			// What was announced since concerned this route, or another one of its prefix and metric beside which it is left over: the next dump tells.
			f.want = true
			return false
		}
		return r.seen != t.dump
	})
	if t.status.Dumps > 0 {
		t.status.Corrected += uint64(n)
	}
}

// apply enters a message, of a dump or announced.
func (f *follower) apply(m *message, dumped bool) {
	t := f.t
	on := t.touched.on
	if dumped {
		t.touched.on = false // it is not news
	}
	err := f.enter(m, dumped, on && !dumped)
	t.touched.on = on
	switch {
	case errors.Is(err, errIgnored):
		if m.typ == unix.RTM_NEWROUTE {
			t.status.Ignored++
		}
	case err != nil:
		t.status.Malformed++
	}
}

func (f *follower) enter(m *message, dumped, touch bool) error {
	t := f.t
	switch m.typ {
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		r, err := decodeRoute(m.body)
		if err != nil || r.cloned || !f.follows(r.spec.Table) {
			return err
		}
		switch {
		case dumped && t.touched.routes[t.keyOf(&r.spec)]:
			if !t.has(&r.spec) { // gone since, or one of several that are alike: look again
				f.want = true
			}
		case m.typ == unix.RTM_DELROUTE:
			t.take(&r.spec)
		default:
			t.put(&r.spec, dumped || m.flags&unix.NLM_F_APPEND != 0, !dumped && m.flags&unix.NLM_F_REPLACE != 0)
		}
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
		n, err := decodeNeighbor(m.body)
		if err != nil {
			return err
		}
		at := place{n.ifindex, netip.PrefixFrom(n.addr, n.addr.BitLen())}
		if dumped && t.touched.neighbors[at] {
			return nil
		}
		if touch {
			t.touched.neighbors[at] = true
		}
		if m.typ == unix.RTM_DELNEIGH {
			n.state = 0
		}
		t.setNeighbor(n.ifindex, n.addr, n.mac, n.state)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		a, err := decodeAddr(m.body)
		if err != nil {
			return err
		}
		if dumped {
			f.addrs[a.ifindex] = append(f.addrs[a.ifindex], a.prefix)
			return nil
		}
		if touch {
			t.touched.addrs[place{a.ifindex, a.prefix}] = true
		}
		t.setAddr(a.ifindex, a.prefix, m.typ == unix.RTM_NEWADDR)
		if m.typ == unix.RTM_DELADDR {
			f.want = true // routes that preferred it as their source go without announcement
		}
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return f.enterLink(m, dumped, touch)
	case unix.RTM_NEWNEXTHOP, unix.RTM_DELNEXTHOP:
		o, err := decodeObject(m.body)
		switch {
		case err != nil:
			return err
		case dumped && t.touched.objects[o.id]:
			return nil
		case touch:
			t.touched.objects[o.id] = true
		}
		if m.typ == unix.RTM_DELNEXTHOP {
			o = objectMessage{id: o.id}
			f.want = true // its routes go without announcement
		}
		t.setObject(o.id, o.hops, o.group, o.blackhole)
	case unix.RTM_NEWRULE:
		standard, err := decodeRule(m.body)
		if err == nil && !standard {
			f.rules++
		}
		return err
	}
	return nil
}

func (f *follower) enterLink(m *message, dumped, touch bool) error {
	t := f.t
	i, err := decodeLink(m.body)
	if err != nil {
		return err
	}
	if dumped && t.touched.links[i.Index] {
		return nil
	}
	if touch {
		t.touched.links[i.Index] = true
	}
	old := t.Interface(i.Index)
	if m.typ == unix.RTM_DELLINK {
		t.removeInterface(i.Index)
	} else {
		if old != nil {
			i.Prefixes = old.Prefixes
		}
		t.setInterface(i)
	}
	if !dumped && old != nil && old.Up && (m.typ == unix.RTM_DELLINK || !i.Up) {
		f.want = true // the kernel takes routes out with it, of some of which it says nothing
	}
	return nil
}

func (f *follower) follows(table uint32) bool {
	if f.spec.Table != 0 {
		return table == f.spec.Table
	}
	return table == tableMain || table == tableLocal
}

// answer sends requests for neighbours: those that somebody waits for, and once a second those that are in use and stale.
func (f *follower) answer(now time.Time) {
	t := f.t
	if now.Sub(f.confirmed) >= confirmEvery {
		f.confirmed, f.tokens = now, askRate
		for a, at := range f.lately {
			if now.Sub(at) >= confirmEvery {
				delete(f.lately, a)
			}
		}
		if t.status.Neighbors > 0 {
			t.Neighbors(func(n *Neighbor) bool {
				if n.used.Load() && n.State() == Stale && f.tokens > 0 {
					n.used.Store(false)
					f.ask(ask{n.Ifindex, n.Addr})
				}
				return f.tokens > 0
			})
		}
	}
	for f.tokens > 0 {
		select {
		case a := <-t.asks:
			if at, had := f.lately[a]; !had || now.Sub(at) >= confirmEvery {
				f.lately[a] = now
				f.ask(a)
			}
		default:
			return
		}
	}
	for len(t.asks) > 0 { // whoever wants one asks again
		<-t.asks
	}
}

// ask makes the kernel behave as if it had a packet for an address (NTF_USE), which finds it or confirms it.
func (f *follower) ask(a ask) {
	f.tokens--
	f.t.status.Asked++
	ip := a.addr.AsSlice()
	b := make([]byte, unix.SizeofNlMsghdr+unix.SizeofNdMsg+unix.SizeofRtAttr+len(ip))
	putHeader(b, unix.RTM_NEWNEIGH, unix.NLM_F_REQUEST|unix.NLM_F_CREATE, sequence.Add(1)<<1)
	nd := b[unix.SizeofNlMsghdr:]
	nd[0] = unix.AF_INET
	if a.addr.Is6() {
		nd[0] = unix.AF_INET6
	}
	native.PutUint32(nd[4:], uint32(a.ifindex))
	nd[10] = unix.NTF_USE
	at := nd[unix.SizeofNdMsg:]
	native.PutUint16(at, uint16(len(at)))
	native.PutUint16(at[2:], unix.NDA_DST)
	copy(at[unix.SizeofRtAttr:], ip)
	if err := unix.Sendto(f.asked, b, unix.MSG_DONTWAIT, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		f.t.status.Refused++
	}
}
