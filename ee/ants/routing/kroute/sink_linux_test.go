package kroute

import (
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/ee/ants/routing"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/netns"
	"github.com/janos-os/janos/internal/netns/netnstest"
)

// source is a Source that the test drives.
type source struct {
	table atomic.Pointer[routing.Table]
	news  chan struct{}
	done  chan error // what OnNews was told
}

func newSource(t *testing.T) *source {
	s := &source{news: make(chan struct{}, 1), done: make(chan error, 100)}
	s.table.Store(table(t, 0))
	return s
}

func (s *source) Table() *routing.Table            { return s.table.Load() }
func (s *source) Watch() (<-chan struct{}, func()) { return s.news, func() {} }
func (s *source) onNews(version uint64, err error) { s.done <- err }

// set puts a table in force and waits until the sink has acted on it.
func (s *source) set(t *testing.T, sink *Sink, tb *routing.Table) {
	t.Helper()
	s.table.Store(tb)
	s.news <- struct{}{}
	s.wait(t, func() bool { return sink.Status().Version == tb.Version() && sink.Status().Error == "" })
}

// wait waits for reports of the sink until cond holds.
func (s *source) wait(t *testing.T, cond func() bool) {
	t.Helper()
	limit := time.After(10 * time.Second)
	for !cond() {
		select {
		case <-s.done:
		case <-limit:
			t.Fatal("the sink does not act")
		}
	}
}

var (
	a = &routing.NextHop{Node: 1 << 24, LinkName: "jnkr0", IP: netip.MustParseAddr("10.9.0.2"), IP6: netip.MustParseAddr("fe80::2")}
	b = &routing.NextHop{Node: 2 << 24, LinkName: "jnkr1", IP: netip.MustParseAddr("10.9.1.2")}
	c = &routing.NextHop{Node: 3 << 24, LinkName: "jnkr2", IP: netip.MustParseAddr("10.9.2.2")}
)

func table(t *testing.T, version uint64, routes ...routing.PrefixRoute) *routing.Table {
	t.Helper()
	tb, err := routing.NewTable(9<<24, version, nil, nil, routes)
	if err != nil {
		t.Fatal(err)
	}
	return tb
}

func route(p string, via *routing.NextHop) routing.PrefixRoute {
	return routing.PrefixRoute{Prefix: netip.MustParsePrefix(p), Via: via}
}

// space makes a namespace with two interfaces, jnkr0 and jnkr1.
func space(t *testing.T) (*netns.Namespace, *netlink.Handle) {
	t.Helper()
	ns := netnstest.New(t, "jnkroute")
	nl := netnstest.Netlink(t, ns)
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "jnkr0"}, PeerName: "jnkr1"}
	if err := nl.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	netnstest.Up(t, nl, "jnkr0", "10.9.0.1/24")
	netnstest.Up(t, nl, "jnkr1", "10.9.1.1/24")
	return ns, nl
}

// shown returns our routes as text, in order.
func shown(t *testing.T, nl *netlink.Handle, protocol int) string {
	t.Helper()
	var s []string
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		rs, err := nl.RouteListFiltered(family, &netlink.Route{Protocol: netlink.RouteProtocol(protocol)}, netlink.RT_FILTER_PROTOCOL)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rs {
			l, err := nl.LinkByIndex(r.LinkIndex)
			if err != nil {
				t.Fatal(err)
			}
			s = append(s, prefixOf(&r, family).String()+" "+r.Gw.String()+" "+l.Attrs().Name)
		}
	}
	return strings.Join(s, "\n")
}

func TestSink(t *testing.T) {
	ns, nl := space(t)
	l, err := nl.LinkByName("jnkr0")
	if err != nil {
		t.Fatal(err)
	}
	dst := func(s string) *net.IPNet {
		_, n, err := net.ParseCIDR(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	// What a killed run left, and what others put there.
	for _, r := range []netlink.Route{
		{Dst: dst("10.50.0.0/16"), Gw: net.IPv4(10, 9, 0, 2), LinkIndex: l.Attrs().Index, Protocol: DefaultProtocol, Priority: DefaultMetric},
		{Dst: dst("10.60.0.0/16"), Gw: net.IPv4(10, 9, 0, 7), LinkIndex: l.Attrs().Index, Protocol: unix.RTPROT_STATIC, Priority: DefaultMetric},
		{Dst: dst("10.61.0.0/16"), Gw: net.IPv4(10, 9, 0, 7), LinkIndex: l.Attrs().Index, Protocol: unix.RTPROT_STATIC},
	} {
		if err := nl.RouteAdd(&r); err != nil {
			t.Fatal(err)
		}
	}
	others := shown(t, nl, unix.RTPROT_STATIC)

	src := newSource(t)
	sink, err := Open(src, Spec{Namespace: ns.Fd(), OnNews: src.onNews})
	if err != nil {
		t.Fatal(err)
	}
	if got := shown(t, nl, DefaultProtocol); got != "" {
		t.Errorf("left from an earlier run: %s", got)
	}
	first := []routing.PrefixRoute{
		route("10.1.0.0/24", a), route("10.2.0.0/24", a), route("10.255.0.1/32", b), route("10.60.0.0/16", a), route("10.9.0.0/24", nil),
		route("fd00:1::/64", a), route("fd00:2::/64", b),
	}
	src.set(t, sink, table(t, 1, first...))
	want := "10.1.0.0/24 10.9.0.2 jnkr0\n10.2.0.0/24 10.9.0.2 jnkr0\n10.255.0.1/32 10.9.1.2 jnkr1\nfd00:1::/64 fe80::2 jnkr0"
	if got := shown(t, nl, DefaultProtocol); got != want {
		t.Errorf("routes:\n%s\nwant:\n%s", got, want)
	}
	st := sink.Status()
	if st.Routes != 4 || st.Changes != 5 || len(st.Conflicts) != 1 || st.Conflicts[0].String() != "10.60.0.0/16" {
		t.Errorf("status %+v", st)
	}
	// One moves, one goes, one stays.
	src.set(t, sink, table(t, 2, route("10.1.0.0/24", b), route("10.255.0.1/32", b)))
	want = "10.1.0.0/24 10.9.1.2 jnkr1\n10.255.0.1/32 10.9.1.2 jnkr1"
	if got := shown(t, nl, DefaultProtocol); got != want {
		t.Errorf("routes:\n%s\nwant:\n%s", got, want)
	}
	if got := sink.Status().Changes; got != 8 {
		t.Errorf("%d changes in all, want 8: what stays must not be touched", got)
	}
	// A link that is not there is an error that is shown; the other routes are installed all the same.
	src.table.Store(table(t, 3, route("10.1.0.0/24", b), route("10.3.0.0/24", c)))
	src.news <- struct{}{}
	src.wait(t, func() bool { return strings.Contains(sink.Status().Error, "jnkr2") })
	if got := shown(t, nl, DefaultProtocol); got != "10.1.0.0/24 10.9.1.2 jnkr1" {
		t.Errorf("routes:\n%s", got)
	}
	// The kernel drops the routes of an interface that goes down; they come back with it, without a new table.
	src.set(t, sink, table(t, 4, route("10.1.0.0/24", b)))
	dev, err := nl.LinkByName("jnkr1")
	if err == nil {
		err = nl.LinkSetDown(dev)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := shown(t, nl, DefaultProtocol); got != "" {
		t.Errorf("routes over an interface that is down:\n%s", got)
	}
	netnstest.Up(t, nl, "jnkr1")
	src.wait(t, func() bool { return shown(t, nl, DefaultProtocol) == "10.1.0.0/24 10.9.1.2 jnkr1" })

	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
	if got := shown(t, nl, DefaultProtocol); got != "" {
		t.Errorf("left behind: %s", got)
	}
	if got := shown(t, nl, unix.RTPROT_STATIC); got != others {
		t.Errorf("others' routes are now\n%s\nwere\n%s", got, others)
	}
}

func TestOpenTwiceInARow(t *testing.T) {
	ns, nl := space(t)
	for range 2 {
		src := newSource(t)
		sink, err := Open(src, Spec{Namespace: ns.Fd(), Metric: 7, Protocol: 200, OnNews: src.onNews, Accept: func(p netip.Prefix) bool { return p.Bits() > 0 }})
		if err != nil {
			t.Fatal(err)
		}
		src.set(t, sink, table(t, 1, route("0.0.0.0/0", a), route("10.1.0.0/24", a)))
		if got := shown(t, nl, 200); got != "10.1.0.0/24 10.9.0.2 jnkr0" {
			t.Errorf("routes:\n%s", got)
		}
		if err := sink.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBadProtocol(t *testing.T) {
	for _, p := range []int{-1, 2, 4, 256} {
		if _, err := Open(newSource(t), Spec{Protocol: p}); errs.KindOf(err) != errs.Invalid {
			t.Errorf("protocol number %d: %v", p, err)
		}
	}
}
