package kroute

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/ee/ants/routing"
	"github.com/janos-os/janos/errs"
)

// What a Spec's zero fields mean.
const (
	DefaultProtocol = 0xa7 // 167, one of those that /etc/iproute2/rt_protos leaves free
	DefaultMetric   = 100
	retryAfter      = 500 * time.Millisecond
)

// Source is where tables come from; *routing.Router is one.
type Source interface {
	Table() *routing.Table
	Watch() (news <-chan struct{}, cancel func())
}

// Spec says where the routes go. The zero value is the main table of the caller's network namespace.
type Spec struct {
	Namespace int // descriptor of a network namespace; 0: that of the calling thread
	Protocol  int // 1 to 255, number that marks our routes; 0: DefaultProtocol
	Table     int // kernel's table; 0: the main one
	Metric    int // of the routes; 0: DefaultMetric

	Device func(link string) string        // interface that a link stands on; nil: of the same name
	Accept func(p netip.Prefix) bool       // prefixes to install; nil: all
	OnNews func(version uint64, err error) // called on the sink's goroutine after each table; may be nil
}

// Status is what a sink has done.
type Status struct {
	Version   uint64         `json:"version"`             // of the table that is in the kernel
	Routes    int            `json:"routes"`              // of ours in the kernel
	Changes   uint64         `json:"changes"`             // routes added, replaced and removed since Open
	Conflicts []netip.Prefix `json:"conflicts,omitempty"` // not installed: somebody else has a route of the same prefix and metric
	Error     string         `json:"error,omitempty"`     // of the last attempt; it is repeated
}

// Sink keeps the kernel's table in step with a Source.
type Sink struct {
	spec   Spec
	src    Source
	nl     *netlink.Handle
	cancel func()
	stop   chan struct{}
	done   chan struct{}
	links  chan netlink.LinkUpdate

	mu     sync.Mutex
	status Status
}

// Open removes what an earlier run has left and begins to copy src's tables. It needs CAP_NET_ADMIN in the
// namespace: without it the error is of kind errs.Permission.
func Open(src Source, spec Spec) (*Sink, error) {
	spec.Protocol = cmp.Or(spec.Protocol, DefaultProtocol)
	spec.Table = cmp.Or(spec.Table, unix.RT_TABLE_MAIN)
	spec.Metric = cmp.Or(spec.Metric, DefaultMetric)
	if spec.Device == nil {
		spec.Device = func(link string) string { return link }
	}
	// Numbers up to 4 are the kernel's and the administrator's own (rtnetlink(7)).
	if spec.Protocol <= unix.RTPROT_STATIC || spec.Protocol > 255 {
		return nil, errs.New(errs.Invalid, "kernel routes: protocol number %d, want %d to 255", spec.Protocol, unix.RTPROT_STATIC+1)
	}
	s := &Sink{spec: spec, src: src, stop: make(chan struct{}), done: make(chan struct{}), links: make(chan netlink.LinkUpdate, 16)}
	opts := netlink.LinkSubscribeOptions{ErrorCallback: func(error) {}}
	var err error
	if spec.Namespace > 0 {
		ns := netns.NsHandle(spec.Namespace)
		opts.Namespace = &ns
		s.nl, err = netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	} else {
		s.nl, err = netlink.NewHandle(unix.NETLINK_ROUTE)
	}
	if err != nil {
		return nil, fmt.Errorf("kernel routes: %w", err)
	}
	if err := s.reconcile(nil); err != nil {
		s.nl.Close()
		if errors.Is(err, fs.ErrPermission) {
			return nil, errs.New(errs.Permission, "kernel routes: %w: run as root, or do without routes for ordinary IP", err)
		}
		return nil, fmt.Errorf("kernel routes: %w", err)
	}
	if err := netlink.LinkSubscribeWithOptions(s.links, s.stop, opts); err != nil {
		s.nl.Close()
		return nil, fmt.Errorf("kernel routes: %w", err)
	}
	news, cancel := src.Watch()
	s.cancel = cancel
	go s.loop(news)
	return s, nil
}

// Status returns what the sink has done. It may be called from any goroutine.
func (s *Sink) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.status
	st.Conflicts = slices.Clone(st.Conflicts)
	return st
}

// Close stops copying and removes the routes. It waits, must not be called from a worker, and may be called once.
func (s *Sink) Close() error {
	s.cancel()
	close(s.stop)
	<-s.done
	// The subscription ends by itself once its socket is closed; what it still has to say must not hold it up.
	for range s.links {
	}
	err := s.reconcile(nil)
	s.nl.Close()
	if err != nil {
		return fmt.Errorf("kernel routes: %w", err)
	}
	return nil
}

func (s *Sink) loop(news <-chan struct{}) {
	defer close(s.done)
	retry := time.NewTimer(time.Hour)
	retry.Stop()
	defer retry.Stop()
	links := s.links
	for {
		select {
		case <-s.stop:
			return
		case <-news:
		case _, ok := <-links:
			if !ok {
				links = nil // the subscription has ended; Close waits for nothing more
				continue
			}
		case <-retry.C:
		}
		t := s.src.Table()
		err := s.reconcile(t)
		s.mu.Lock()
		s.status.Version, s.status.Error = t.Version(), ""
		if err != nil {
			s.status.Error = err.Error()
		}
		s.mu.Unlock()
		if err != nil {
			retry.Reset(retryAfter)
		}
		if s.spec.OnNews != nil {
			s.spec.OnNews(t.Version(), err)
		}
	}
}

// wanted returns the routes of t as the kernel should have them. Interfaces that are not there are an error beside the
// routes over others.
func (s *Sink) wanted(t *routing.Table) ([]netlink.Route, error) {
	if t == nil {
		return nil, nil
	}
	var all []error
	index := make(map[string]int)
	var routes []netlink.Route
	for i := range t.Prefixes() {
		p := &t.Prefixes()[i]
		gw := p.Gateway()
		if p.Via == nil || !gw.IsValid() || s.spec.Accept != nil && !s.spec.Accept(p.Prefix) {
			continue
		}
		dev, ok := index[p.Via.LinkName]
		if !ok {
			if l, err := s.nl.LinkByName(s.spec.Device(p.Via.LinkName)); err != nil {
				all = append(all, fmt.Errorf("link %s: %w", p.Via.LinkName, err))
			} else {
				dev = l.Attrs().Index
			}
			index[p.Via.LinkName] = dev
		}
		if dev == 0 {
			continue
		}
		routes = append(routes, netlink.Route{
			Dst: &net.IPNet{IP: p.Prefix.Addr().AsSlice(), Mask: net.CIDRMask(p.Prefix.Bits(), p.Prefix.Addr().BitLen())},
			Gw:  gw.AsSlice(), LinkIndex: dev,
			Protocol: netlink.RouteProtocol(s.spec.Protocol), Priority: s.spec.Metric, Table: s.spec.Table,
			// The neighbour was heard on that link, whatever the prefixes of the interface say.
			Flags: int(netlink.FLAG_ONLINK),
		})
	}
	return routes, errors.Join(all...)
}

// ours returns our routes in the kernel, by prefix.
func (s *Sink) ours() (map[netip.Prefix]netlink.Route, error) {
	have := make(map[netip.Prefix]netlink.Route)
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		rs, err := s.nl.RouteListFiltered(family, &netlink.Route{Protocol: netlink.RouteProtocol(s.spec.Protocol), Table: s.spec.Table},
			netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
		if err != nil {
			return nil, err
		}
		for _, r := range rs {
			have[prefixOf(&r, family)] = r
		}
	}
	return have, nil
}

// prefixOf returns the destination of r; the default route has none.
func prefixOf(r *netlink.Route, family int) netip.Prefix {
	if r.Dst == nil {
		if family == unix.AF_INET {
			return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		}
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	a, _ := netip.AddrFromSlice(r.Dst.IP)
	bits, _ := r.Dst.Mask.Size()
	if family == unix.AF_INET {
		a = a.Unmap()
	}
	return netip.PrefixFrom(a, bits)
}

// reconcile makes the kernel have the routes of t, and none other of ours. It does what it can and returns all errors.
func (s *Sink) reconcile(t *routing.Table) error {
	routes, err := s.wanted(t)
	all := []error{err}
	have, err := s.ours()
	if err != nil {
		return err
	}
	var conflicts []netip.Prefix
	changes, n := uint64(0), 0
	for i := range routes {
		r := &routes[i]
		family := unix.AF_INET6
		if len(r.Gw) == net.IPv4len {
			family = unix.AF_INET
		}
		p := prefixOf(r, family)
		old, mine := have[p]
		delete(have, p)
		switch {
		case mine && old.LinkIndex == r.LinkIndex && old.Gw.Equal(r.Gw) && old.Priority == r.Priority:
			n++
			continue
		case mine && old.Priority == r.Priority:
			err = s.nl.RouteReplace(r)
		default:
			// Add, unlike replace, leaves a stranger's route of the same prefix and metric alone.
			if err = s.nl.RouteAdd(r); errors.Is(err, fs.ErrExist) {
				conflicts = append(conflicts, p)
				continue
			}
			if mine && err == nil {
				err = s.nl.RouteDel(&old)
			}
		}
		if err != nil {
			all = append(all, fmt.Errorf("route %s: %w", p, err))
			continue
		}
		changes++
		n++
	}
	stale := make([]netip.Prefix, 0, len(have))
	for p := range have {
		stale = append(stale, p)
	}
	slices.SortFunc(stale, func(a, b netip.Prefix) int { return cmp.Or(a.Addr().Compare(b.Addr()), a.Bits()-b.Bits()) })
	for _, p := range stale {
		r := have[p]
		// It may have gone with its interface since it was listed.
		if err := s.nl.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			all = append(all, fmt.Errorf("route %s: %w", p, err))
			continue
		}
		changes++
	}
	s.mu.Lock()
	s.status.Changes += changes
	s.status.Routes, s.status.Conflicts = n, conflicts
	s.mu.Unlock()
	return errors.Join(all...)
}
