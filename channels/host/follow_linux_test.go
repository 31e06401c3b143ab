package host

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/internal/netns"
	"github.com/janos-os/janos/internal/netns/netnstest"
)

// space is a network namespace with veth pairs whose ends are both in it, and a table that follows it.
type space struct {
	ns *netns.Namespace
	h  *netlink.Handle
	t  *Table
}

// newSpace makes a namespace with the interfaces jnho0, jnho1, ... at 10.0.N.1/24 and fd00:N::1/64, each with its peer jnhoNp,
// which is up and has no address.
func newSpace(t testing.TB, name string, pairs int, spec Spec) *space {
	t.Helper()
	s := &space{ns: netnstest.New(t, name)}
	s.h = netnstest.Netlink(t, s.ns)
	netnstest.Up(t, s.h, "lo")
	for i := range pairs {
		n := "jnho" + string(rune('0'+i))
		must(t, s.h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: n}, PeerName: n + "p"}))
		// Without duplicate address detection, which takes a second.
		must(t, s.ns.Sysctl("ipv6/conf/"+n+"/accept_dad", "0"))
		must(t, s.ns.Sysctl("ipv6/conf/"+n+"p/disable_ipv6", "1"))
		netnstest.Up(t, s.h, n+"p")
		netnstest.Up(t, s.h, n, "10.0."+string(rune('0'+i))+".1/24", "fd00:"+string(rune('0'+i))+"::1/64")
	}
	s.follow(t, spec)
	return s
}

func (s *space) follow(t testing.TB, spec Spec) {
	t.Helper()
	must(t, s.ns.Do(func() (err error) {
		s.t, err = Follow(spec)
		return err
	}))
	table := s.t
	t.Cleanup(func() {
		if err := table.Close(); err != nil {
			t.Error(err)
		}
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// until waits for something that changes make true.
func (s *space) until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	news := make(chan struct{}, 1)
	cancel := s.t.Watch(func() {
		select {
		case news <- struct{}{}:
		default:
		}
	})
	defer cancel()
	for end := time.After(20 * time.Second); !ok(); {
		select {
		case <-news:
		case <-time.After(100 * time.Millisecond): // it may depend on more than the table
		case <-end:
			t.Fatalf("never: %s\n%+v", what, s.t.Status())
		}
	}
}

func (s *space) index(t testing.TB, name string) int {
	t.Helper()
	l, err := s.h.LinkByName(name)
	must(t, err)
	return l.Attrs().Index
}

func route(t testing.TB, dst string, r netlink.Route) *netlink.Route {
	t.Helper()
	p := netip.MustParsePrefix(dst)
	r.Dst = &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
	return &r
}

// goes returns where packets for an address go: "jnho1", "10.0.1.2 jnho1", "local", "none".
func (s *space) goes(dst string, hash uint32) string {
	r := s.t.Lookup(netip.MustParseAddr(dst))
	if r == nil {
		return "none"
	}
	if k := r.Kind(); k != Unicast {
		return k.String()
	}
	h := r.Next(hash)
	if h == nil {
		return "dead"
	}
	name := "?"
	if i := s.t.Interface(h.Ifindex); i != nil {
		name = i.Name
	}
	if h.Gateway.IsValid() {
		return h.Gateway.String() + " " + name
	}
	return name
}

func (s *space) wait(t testing.TB, dst, want string) {
	t.Helper()
	s.until(t, dst+" goes to "+want, func() bool { return s.goes(dst, 0) == want })
}

func TestRoutesAsTheKernelHasThem(t *testing.T) {
	s := newSpace(t, "jnhoroutes", 2, Spec{})
	i0, i1 := s.index(t, "jnho0"), s.index(t, "jnho1")
	for dst, want := range map[string]string{
		"10.0.0.1": "local", "10.0.0.9": "jnho0", "10.0.0.255": "broadcast", "127.0.0.1": "local", "192.0.2.1": "none",
		"fd00:1::1": "local", "fd00:1::9": "jnho1", "::1": "local", "2001:db8::1": "none",
	} {
		s.wait(t, dst, want)
	}
	gw := func(a string) net.IP { return netip.MustParseAddr(a).AsSlice() }
	must(t, s.h.RouteAdd(route(t, "192.0.2.0/24", netlink.Route{LinkIndex: i0, Gw: gw("10.0.0.2"), Priority: 100})))
	s.wait(t, "192.0.2.1", "10.0.0.2 jnho0")
	// The lower metric wins, whichever came first.
	must(t, s.h.RouteAdd(route(t, "192.0.2.0/24", netlink.Route{LinkIndex: i1, Gw: gw("10.0.1.2"), Priority: 50})))
	s.wait(t, "192.0.2.1", "10.0.1.2 jnho1")
	must(t, s.h.RouteReplace(route(t, "192.0.2.0/24", netlink.Route{LinkIndex: i1, Gw: gw("10.0.1.3"), Priority: 50})))
	s.wait(t, "192.0.2.1", "10.0.1.3 jnho1")
	must(t, s.h.RouteDel(route(t, "192.0.2.0/24", netlink.Route{LinkIndex: i1, Gw: gw("10.0.1.3"), Priority: 50})))
	s.wait(t, "192.0.2.1", "10.0.0.2 jnho0")
	must(t, s.h.RouteDel(route(t, "192.0.2.0/24", netlink.Route{LinkIndex: i0, Gw: gw("10.0.0.2"), Priority: 100})))
	s.wait(t, "192.0.2.1", "none")

	for kind, word := range map[int]string{unix.RTN_BLACKHOLE: "blackhole", unix.RTN_UNREACHABLE: "unreachable", unix.RTN_PROHIBIT: "prohibit"} {
		for _, p := range []string{"198.51.100.0/24", "2001:db8:1::/48"} {
			r := route(t, p, netlink.Route{Type: kind})
			must(t, s.h.RouteAdd(r))
			s.wait(t, netip.MustParsePrefix(p).Addr().Next().String(), word)
			must(t, s.h.RouteDel(r))
			s.wait(t, netip.MustParsePrefix(p).Addr().Next().String(), "none")
		}
	}

	must(t, s.h.RouteAdd(route(t, "0.0.0.0/0", netlink.Route{LinkIndex: i0, Gw: gw("10.0.0.2")})))
	must(t, s.h.RouteAdd(route(t, "::/0", netlink.Route{LinkIndex: i1, Gw: gw("fe80::5")})))
	s.wait(t, "8.8.8.8", "10.0.0.2 jnho0")
	s.wait(t, "2001:db8::1", "fe80::5 jnho1")
	// IPv4 by an IPv6 next hop.
	must(t, s.h.RouteAdd(route(t, "203.0.113.0/24", netlink.Route{LinkIndex: i1, Via: &netlink.Via{AddrFamily: unix.AF_INET6, Addr: gw("fd00:1::2")}})))
	s.wait(t, "203.0.113.1", "fd00:1::2 jnho1")
	// On the link, though no prefix of the interface says so.
	must(t, s.h.RouteAdd(route(t, "203.0.113.77/32", netlink.Route{LinkIndex: i0, Scope: netlink.SCOPE_LINK})))
	s.wait(t, "203.0.113.77", "jnho0")
	// A route that is not followed: another table, a type of service.
	must(t, s.h.RouteAdd(route(t, "198.51.100.0/24", netlink.Route{LinkIndex: i0, Table: 77, Scope: netlink.SCOPE_LINK})))
	must(t, s.h.RouteAdd(route(t, "198.51.100.0/24", netlink.Route{LinkIndex: i0, Tos: 8, Scope: netlink.SCOPE_LINK})))
	must(t, s.h.RouteAdd(route(t, "198.51.101.0/24", netlink.Route{LinkIndex: i0, Scope: netlink.SCOPE_LINK})))
	s.wait(t, "198.51.101.1", "jnho0")
	if got := s.goes("198.51.100.1", 0); got != "10.0.0.2 jnho0" {
		t.Errorf("a route that is not followed is: %s", got)
	}
	if s.t.Status().Ignored != 1 {
		t.Errorf("ignored %d routes", s.t.Status().Ignored)
	}
	same(t, s)
}

// same checks that a new table, which knows by a dump only, says the same.
func same(t *testing.T, s *space) {
	t.Helper()
	var fresh *Table
	must(t, s.ns.Do(func() (err error) { fresh, err = Follow(Spec{}); return err }))
	defer fresh.Close() // it goes on following, so that what changes meanwhile changes in both
	text := func(t *Table) (l []string) {
		t.Routes(func(r *Route) bool {
			for o := r; o != nil; o = o.next {
				hops := ""
				for _, h := range t.Hops(o) {
					dev := "?"
					if i := t.Interface(h.Ifindex); i != nil {
						dev = i.Name
					}
					hops += " via " + h.Gateway.String() + " dev " + dev
				}
				l = append(l, o.Prefix.String()+" "+o.Kind().String()+hops)
			}
			return true
		})
		slices.Sort(l) // IPv6 routes of one metric on several interfaces, such as fe80::/64, have no order that means anything
		return l
	}
	var want []string
	defer func() {
		has := text(s.t)
		for _, l := range [][2][]string{{has, want}, {want, has}} {
			for _, x := range l[0] {
				if t.Failed() && !slices.Contains(l[1], x) {
					t.Log("only in one of them:", x)
				}
			}
		}
	}()
	s.until(t, "the same routes as in a dump", func() bool { want = text(fresh); return slices.Equal(text(s.t), want) })
	s.until(t, "the same interfaces as in a dump", func() bool {
		return slices.EqualFunc(s.t.Interfaces(), fresh.Interfaces(), func(a, b *Interface) bool {
			sorted := func(l []netip.Prefix) []netip.Prefix {
				return slices.SortedFunc(slices.Values(l), netip.Prefix.Compare)
			}
			return a.Index == b.Index && a.Name == b.Name && a.Up == b.Up && a.Carrier == b.Carrier && a.HWAddr == b.HWAddr && a.MTU == b.MTU && slices.Equal(sorted(a.Prefixes), sorted(b.Prefixes))
		})
	})
}

func TestSeveralNextHops(t *testing.T) {
	s := newSpace(t, "jnhohops", 2, Spec{})
	i0, i1 := s.index(t, "jnho0"), s.index(t, "jnho1")
	for _, c := range []struct{ prefix, dst, a, b string }{
		{"2001:db8::/48", "2001:db8::1", "fd00:0::2", "fd00:1::2"}, {"192.0.2.0/24", "192.0.2.1", "10.0.0.2", "10.0.1.2"},
	} {
		a, b := netip.MustParseAddr(c.a), netip.MustParseAddr(c.b)
		must(t, s.h.RouteAdd(route(t, c.prefix, netlink.Route{MultiPath: []*netlink.NexthopInfo{
			{LinkIndex: i0, Gw: a.AsSlice(), Hops: 2}, {LinkIndex: i1, Gw: b.AsSlice()}}}))) // 3 to 1
		first, second := a.String()+" jnho0", b.String()+" jnho1"
		s.until(t, "two next hops", func() bool {
			r := s.t.Lookup(netip.MustParseAddr(c.dst))
			return r != nil && r.Several()
		})
		count := map[string]int{}
		for i := range uint32(1000) {
			count[s.goes(c.dst, i*4294967)]++
		}
		if n := count[first]; n < 740 || n > 760 || count[second] != 1000-n {
			t.Errorf("weights 3 to 1 are %v", count)
		}
		// What is down is not chosen; what comes back is.
		l1, err := s.h.LinkByName("jnho1")
		must(t, err)
		must(t, s.h.LinkSetDown(l1))
		s.until(t, "one next hop", func() bool { return s.goes(c.dst, 1<<32-1) == first })
		must(t, s.h.LinkSetUp(l1))
		if a.Is4() { // of IPv6 the address and the route are gone for good
			s.until(t, "two next hops again", func() bool { return s.goes(c.dst, 1<<32-1) == second })
		}
	}
	same(t, s)
}

// TestSiblings adds and removes the next hops of an IPv6 route one by one.
func TestSiblings(t *testing.T) {
	s := newSpace(t, "jnhosib", 2, Spec{})
	hop := func(i int, gw string) *netlink.Route {
		return route(t, "2001:db8::/48", netlink.Route{LinkIndex: i, Gw: netip.MustParseAddr(gw).AsSlice(), Priority: 100})
	}
	a, b := hop(s.index(t, "jnho0"), "fd00:0::2"), hop(s.index(t, "jnho1"), "fd00:1::2")
	hops := func() int {
		if r := s.t.Lookup(netip.MustParseAddr("2001:db8::1")); r != nil {
			return len(s.t.Hops(r))
		}
		return 0
	}
	must(t, s.h.RouteAdd(a))
	s.until(t, "one hop", func() bool { return hops() == 1 })
	must(t, s.h.RouteAppend(b))
	s.until(t, "two hops", func() bool { return hops() == 2 })
	same(t, s)
	must(t, s.h.RouteDel(a))
	s.wait(t, "2001:db8::1", "fd00:1::2 jnho1")
	if hops() != 1 {
		t.Errorf("%d hops", hops())
	}
	must(t, s.h.RouteReplace(a))
	s.wait(t, "2001:db8::1", "fd00::2 jnho0")
	same(t, s)
	must(t, s.h.RouteDel(a))
	s.wait(t, "2001:db8::1", "none")
}

func TestInterfacesAndAddresses(t *testing.T) {
	s := newSpace(t, "jnholinks", 2, Spec{})
	l, err := s.h.LinkByName("jnho1")
	must(t, err)
	has := func(p string) bool {
		i := s.t.InterfaceByName("jnho1")
		return i != nil && slices.Contains(i.Prefixes, netip.MustParsePrefix(p))
	}
	if !has("10.0.1.1/24") || !has("fd00:1::1/64") {
		t.Errorf("addresses %v", s.t.InterfaceByName("jnho1").Prefixes)
	}
	for _, p := range []string{"10.9.9.9/16", "2001:db8:9::9/64"} {
		a, err := netlink.ParseAddr(p)
		must(t, err)
		must(t, s.h.AddrAdd(l, a))
		s.until(t, p+" is there", func() bool { return has(p) })
		must(t, s.h.AddrDel(l, a))
		s.until(t, p+" is gone", func() bool { return !has(p) })
	}
	must(t, s.h.RouteAdd(route(t, "192.0.2.0/24", netlink.Route{LinkIndex: l.Attrs().Index, Gw: netip.MustParseAddr("10.0.1.2").AsSlice()})))
	s.wait(t, "192.0.2.1", "10.0.1.2 jnho1")
	must(t, s.h.LinkSetDown(l)) // of IPv4 routes that go the kernel says nothing
	s.wait(t, "192.0.2.1", "none")
	s.wait(t, "10.0.1.9", "none")
	must(t, s.h.LinkSetUp(l))
	s.wait(t, "10.0.1.9", "jnho1")
	same(t, s)
	must(t, s.h.LinkSetName(l, "jnhox"))
	s.until(t, "the name is another", func() bool { return s.t.InterfaceByName("jnhox") != nil && s.t.InterfaceByName("jnho1") == nil })
	must(t, s.h.LinkDel(l))
	s.until(t, "the interface is gone", func() bool { return s.t.InterfaceByName("jnhox") == nil })
	s.wait(t, "10.0.1.9", "none")
	same(t, s)
}

// TestSourceAddressGoes: routes that prefer an address which is removed go with it, of which some kernels say nothing.
func TestSourceAddressGoes(t *testing.T) {
	s := newSpace(t, "jnhosrc", 1, Spec{})
	l, err := s.h.LinkByName("jnho0")
	must(t, err)
	a, err := netlink.ParseAddr("10.7.7.7/32")
	must(t, err)
	must(t, s.h.AddrAdd(l, a))
	must(t, s.h.RouteAdd(route(t, "192.0.2.0/24", netlink.Route{LinkIndex: l.Attrs().Index, Gw: netip.MustParseAddr("10.0.0.2").AsSlice(), Src: a.IP})))
	s.wait(t, "192.0.2.1", "10.0.0.2 jnho0")
	if src := s.t.Lookup(netip.MustParseAddr("192.0.2.1")).Source(); src != netip.MustParseAddr("10.7.7.7") {
		t.Errorf("source %v", src)
	}
	must(t, s.h.AddrDel(l, a))
	s.wait(t, "192.0.2.1", "none")
	same(t, s)
}

func TestNeighbors(t *testing.T) {
	s := newSpace(t, "jnhoneigh", 1, Spec{})
	i := s.index(t, "jnho0")
	for _, a := range []string{"10.0.0.2", "fd00::2"} {
		addr := netip.MustParseAddr(a)
		set := func(mac string, state int) {
			t.Helper()
			m, err := net.ParseMAC(mac)
			must(t, err)
			must(t, s.h.NeighSet(&netlink.Neigh{LinkIndex: i, IP: addr.AsSlice(), State: state, HardwareAddr: m}))
		}
		mac := func() (m [6]byte, ok bool) {
			if n := s.t.Neighbor(i, addr); n != nil {
				return n.HWAddr()
			}
			return m, false
		}
		set("02:00:00:00:00:09", netlink.NUD_PERMANENT)
		s.until(t, "the neighbour is there", func() bool { m, ok := mac(); return ok && m[5] == 9 })
		first := s.t.Neighbor(i, addr)
		set("02:00:00:00:00:0a", netlink.NUD_REACHABLE)
		s.until(t, "its hardware address is another", func() bool { m, ok := mac(); return ok && m[5] == 10 })
		if s.t.Neighbor(i, addr) != first {
			t.Error("the object is another")
		}
		set("02:00:00:00:00:0a", netlink.NUD_FAILED)
		s.until(t, "it has failed", func() bool { _, ok := mac(); return !ok })
		must(t, s.h.NeighDel(&netlink.Neigh{LinkIndex: i, IP: addr.AsSlice()}))
		s.until(t, "it is gone", func() bool { n := s.t.Neighbor(i, addr); return n == nil || n.State() == Failed })
	}
}

// TestResolve has the host find a neighbour in another namespace, and confirm it when it is stale and in use.
func TestResolve(t *testing.T) {
	s := newSpace(t, "jnhoask", 1, Spec{})
	other := netnstest.New(t, "jnhoasked")
	p, err := s.h.LinkByName("jnho0p")
	must(t, err)
	must(t, s.h.LinkSetNsFd(p, other.Fd()))
	h := netnstest.Netlink(t, other)
	must(t, other.Sysctl("ipv6/conf/jnho0p/disable_ipv6", "0"))
	must(t, other.Sysctl("ipv6/conf/jnho0p/accept_dad", "0"))
	netnstest.Up(t, h, "jnho0p", "10.0.0.2/24", "fd00::2/64")
	i := s.index(t, "jnho0")
	for _, v := range []string{"ipv4", "ipv6"} { // faster than by default
		must(t, s.ns.Sysctl(v+"/neigh/jnho0/delay_first_probe_time", "0"))
		must(t, s.ns.Sysctl(v+"/neigh/jnho0/retrans_time_ms", "50"))
	}
	for _, a := range []string{"10.0.0.2", "fd00::2"} {
		addr := netip.MustParseAddr(a)
		s.t.Resolve(i, addr)
		s.until(t, a+" is found", func() bool {
			n := s.t.Neighbor(i, addr)
			if n == nil {
				return false
			}
			m, ok := n.HWAddr()
			return ok && m == [6]byte(p.Attrs().HardwareAddr)
		})
		n := s.t.Neighbor(i, addr)
		must(t, s.h.NeighSet(&netlink.Neigh{LinkIndex: i, IP: addr.AsSlice(), State: netlink.NUD_STALE, HardwareAddr: p.Attrs().HardwareAddr}))
		s.until(t, a+" is stale", func() bool { return n.State() == Stale })
		n.Use()
		s.until(t, a+" is confirmed", func() bool { return n.State() != Stale })
	}
	nobody := netip.MustParseAddr("10.0.0.77")
	s.t.Resolve(i, nobody)
	s.until(t, "it is not found", func() bool { n := s.t.Neighbor(i, nobody); return n != nil && n.State() == Failed })
	if st := s.t.Status(); st.Refused != 0 || st.Asked < 5 {
		t.Errorf("asked %d, refused %d", st.Asked, st.Refused)
	}
}

// TestOverflow: a socket with little room loses announcements, and the table is right nevertheless.
func TestOverflow(t *testing.T) {
	s := newSpace(t, "jnhoflow", 2, Spec{Buffer: 4096})
	i0, i1 := s.index(t, "jnho0"), s.index(t, "jnho1")
	must(t, load(s, i0, "10.0.0.2", 5000, unix.NLM_F_CREATE))
	must(t, load(s, i1, "10.0.1.2", 5000, unix.NLM_F_CREATE|unix.NLM_F_REPLACE))
	s.until(t, "5000 routes to the second", func() bool {
		n := 0
		s.t.Routes(func(r *Route) bool {
			if h := r.Next(0); h != nil && h.Ifindex == i1 && h.Gateway.IsValid() {
				n++
			}
			return true
		})
		return n == 5000
	})
	must(t, unload(s, 5000))
	s.until(t, "no routes", func() bool {
		return s.t.Lookup(numbered(0).Addr()) == nil && s.t.Lookup(numbered(4999).Addr()) == nil && s.t.Status().Routes4 < 50
	})
	if s.t.Status().Overflows == 0 {
		t.Error("nothing was lost")
	}
	same(t, s)
}

// TestChangesWhileDumping makes changes all the time while dumps are made to follow each other.
func TestChangesWhileDumping(t *testing.T) {
	s := newSpace(t, "jnhobusy", 2, Spec{Buffer: 16384})
	i0, i1 := s.index(t, "jnho0"), s.index(t, "jnho1")
	must(t, load(s, i0, "10.0.0.2", 3000, unix.NLM_F_CREATE))
	var wg sync.WaitGroup
	errs := make(chan error, 1)
	wg.Go(func() {
		for range 6 {
			for _, to := range []struct {
				index int
				gw    string
			}{{i1, "10.0.1.2"}, {i0, "10.0.0.2"}} {
				if err := load(s, to.index, to.gw, 3000, unix.NLM_F_CREATE|unix.NLM_F_REPLACE); err != nil {
					errs <- err
					return
				}
			}
			if err := unload(s, 1000); err != nil {
				errs <- err
				return
			}
		}
	})
	wg.Wait()
	select {
	case err := <-errs:
		t.Fatal(err)
	default:
	}
	same(t, s)
	if st := s.t.Status(); st.Malformed != 0 {
		t.Errorf("%+v", st)
	}
}

func TestNextHopObjects(t *testing.T) {
	s := newSpace(t, "jnhonh", 2, Spec{})
	i0, i1 := s.index(t, "jnho0"), s.index(t, "jnho1")
	object := func(typ uint16, id uint32, rest []byte) {
		t.Helper()
		body := append([]byte{unix.AF_INET, 0, 0, 0, 0, 0, 0, 0}, attribute(unix.NHA_ID, word(id))...)
		if rest != nil && typ == unix.RTM_NEWNEXTHOP && len(rest) > 2 && rest[2] == unix.NHA_GROUP {
			body[0] = unix.AF_UNSPEC
		}
		if typ == unix.RTM_DELNEXTHOP {
			body[0] = unix.AF_UNSPEC
		}
		must(t, send(s, msg(typ, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK, append(body, rest...))))
	}
	hop := func(index int, gw string) []byte {
		return append(attribute(unix.NHA_OIF, word(uint32(index))), attribute(unix.NHA_GATEWAY, netip.MustParseAddr(gw).AsSlice())...)
	}
	object(unix.RTM_NEWNEXTHOP, 1, hop(i0, "10.0.0.2"))
	object(unix.RTM_NEWNEXTHOP, 2, hop(i1, "10.0.1.2"))
	object(unix.RTM_NEWNEXTHOP, 3, attribute(unix.NHA_GROUP, append(append(word(1), 0, 0, 0, 0), append(word(2), 0, 0, 0, 0)...)))
	by := func(prefix string, id uint32) {
		t.Helper()
		p := netip.MustParsePrefix(prefix)
		body := []byte{unix.AF_INET, byte(p.Bits()), 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_STATIC, 0, unix.RTN_UNICAST, 0, 0, 0, 0}
		body = append(append(body, attribute(unix.RTA_DST, p.Addr().AsSlice())...), attribute(rtaNextHopID, word(id))...)
		must(t, send(s, msg(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_ACK, body)))
	}
	by("192.0.2.0/24", 1)
	by("198.51.100.0/24", 3)
	s.wait(t, "192.0.2.1", "10.0.0.2 jnho0")
	s.until(t, "both are used", func() bool {
		return s.goes("198.51.100.1", 0) == "10.0.0.2 jnho0" && s.goes("198.51.100.1", 1<<32-1) == "10.0.1.2 jnho1"
	})
	same(t, s)
	object(unix.RTM_NEWNEXTHOP, 1, hop(i0, "10.0.0.3")) // all of its routes move
	s.wait(t, "192.0.2.1", "10.0.0.3 jnho0")
	s.wait(t, "198.51.100.1", "10.0.0.3 jnho0")
	object(unix.RTM_DELNEXTHOP, 1, nil)
	s.wait(t, "192.0.2.1", "none")
	s.wait(t, "198.51.100.1", "10.0.1.2 jnho1")
	object(unix.RTM_DELNEXTHOP, 2, nil)
	s.wait(t, "198.51.100.1", "none")
	same(t, s)
}

func TestAnotherTable(t *testing.T) {
	s := newSpace(t, "jnhotab", 1, Spec{Table: 77})
	s.wait(t, "10.0.0.9", "none")
	must(t, s.h.RouteAdd(route(t, "198.51.100.0/24", netlink.Route{LinkIndex: s.index(t, "jnho0"), Table: 77, Scope: netlink.SCOPE_LINK})))
	s.wait(t, "198.51.100.1", "jnho0")
	r := netlink.NewRule()
	r.Table, r.Priority, r.Mark = 77, 1000, 5
	must(t, s.h.RuleAdd(r))
	var fresh *Table
	must(t, s.ns.Do(func() (err error) { fresh, err = Follow(Spec{}); return err }))
	defer fresh.Close()
	if n := fresh.Status().Rules; n != 1 {
		t.Errorf("%d rules", n)
	}
	if s.t.Status().Rules != 0 {
		t.Error("rules before there was one")
	}
}
