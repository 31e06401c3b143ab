package xdp

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/janos-os/janos/channels/conformance"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/internal/leak"
	"github.com/janos-os/janos/internal/netns"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

func TestMain(m *testing.M) { leak.Main(m, fmt.Sprintf("jnxdp%d", os.Getpid())) }

// network is the suite's, by names that are short in tests.
type network struct {
	*conformance.Network
	there, here, beyond   *netns.Namespace
	mac                   [6]byte
	thereFD               int
	hereIndex, thereIndex int
}

// newNetwork builds it; queues is how many queues each end of the link under test has.
func newNetwork(t testing.TB, queues int) *network {
	t.Helper()
	w := conformance.NewNetwork(t, "jnxdp", queues)
	return &network{w, w.There, w.Here, w.Beyond, w.MAC, w.ThereFD, w.HereIndex, w.ThereIndex}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *network) do(t testing.TB, ns *netns.Namespace, fn func(h *netlink.Handle) error) {
	t.Helper()
	conformance.Netlink(t, ns, fn)
}

func (w *network) inject(t testing.TB, frames ...[]byte) {
	t.Helper()
	w.Inject(t, frames...)
}

func (w *network) sent(t testing.TB) []byte {
	t.Helper()
	return w.Sent(t)
}

var (
	udpAt = conformance.UDPAt
	next  = conformance.NextDatagram
)

// hereLink changes here's interface jnl0.
func (w *network) hereLink(t testing.TB, fn func(h *netlink.Handle, l netlink.Link) error) {
	t.Helper()
	w.do(t, w.here, func(h *netlink.Handle) error {
		l, err := h.LinkByIndex(w.hereIndex)
		if err != nil {
			return err
		}
		return fn(h, l)
	})
}

// try opens here's interface on n.
func (w *network) try(n *nodeos.Node, spec nodeos.LinkSpec) (*Link, error) {
	spec.Driver, spec.Device = "xdp", "jnl0"
	var l nodeos.Link
	err := w.here.Do(func() (err error) {
		l, err = n.OpenLink(spec)
		return err
	})
	if err != nil {
		return nil, err
	}
	return l.(*Link), nil
}

func (w *network) open(t testing.TB, n *nodeos.Node, spec nodeos.LinkSpec) *Link {
	t.Helper()
	l, err := w.try(n, spec)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	return l
}

// byHand opens a link that no worker has, to be driven by the test, claiming UDP to the suite's port.
func (w *network) byHand(t testing.TB, n *nodeos.Node, o map[string]string, ring int) (*Link, *packet.Cache) {
	t.Helper()
	var nl nodeos.Link
	must(t, w.here.Do(func() (err error) {
		nl, err = Open(n, 1, nodeos.LinkSpec{Name: "l0", Device: "jnl0", Opts: o, Ring: ring})
		return err
	}))
	l, c := nl.(*Link), n.Pool().Cache(0)
	t.Cleanup(func() {
		l.Detach(c)
		must(t, l.Close())
	})
	must(t, l.Claim(conformance.Claims(t, "l0", suiteRules(t)...)))
	must(t, l.start(c))
	return l, c
}

// suiteRules claims UDP to the suite's port.
func suiteRules(t testing.TB) []demux.Rule {
	p, err := demux.ParseProtocol("l0/ether/ip/udp")
	must(t, err)
	return []demux.Rule{{ID: 1, Protocol: p, Local: demux.Address{Top: demux.UDP, Port: conformance.Port}}}
}

// variants are the forms of the driver that pass the same tests.
var variants = []map[string]string{{"mode": "native"}, {"mode": "generic"}, {"mode": "native", "wakeup": "false"}}

func each(t *testing.T, fn func(t *testing.T, w *network, o map[string]string)) {
	w := newNetwork(t, 1)
	for _, o := range variants {
		t.Run(fmt.Sprint(o), func(t *testing.T) { fn(t, w, o) })
	}
}

func spec(o map[string]string) nodeos.LinkSpec { return nodeos.LinkSpec{Name: "l0", Opts: o} }

func (w *network) fixture(o map[string]string) conformance.Fixture {
	return conformance.Fixture{
		Base: demux.Ether,
		Open: func(t *testing.T, n *nodeos.Node, name string, ring int) {
			l := w.open(t, n, nodeos.LinkSpec{Name: name, Ring: ring, Opts: o})
			if notes := l.Info().Notes; len(notes) > 0 {
				t.Errorf("degraded: %v", notes)
			}
		},
		Inject: func(t *testing.T, frames ...[]byte) { w.inject(t, frames...) },
		Sent:   func(t *testing.T) []byte { return w.sent(t) },
		MAC:    func() [6]byte { return w.mac },
	}
}

func TestConformance(t *testing.T) {
	each(t, func(t *testing.T, w *network, o map[string]string) { conformance.Run(t, w.fixture(o)) })
}

// TestConformanceQueues runs the suite over a link of two queues. The suite wants all frames in order, so the other end has one queue to send by.
func TestConformanceQueues(t *testing.T) {
	w := newNetwork(t, 2)
	must(t, setQueues(w.there, 1))
	conformance.Run(t, w.fixture(map[string]string{"mode": "native"}))
}

// TestConformanceWorkers runs the suite over a link whose two queues have a worker each.
func TestConformanceWorkers(t *testing.T) {
	w := newNetwork(t, 2)
	must(t, setQueues(w.there, 1))
	f := w.fixture(nil)
	f.Workers = 2
	f.Open = func(t *testing.T, n *nodeos.Node, name string, ring int) {
		w.open(t, n, nodeos.LinkSpec{Name: name, Ring: ring, Workers: []int{1, 0}})
	}
	conformance.Run(t, f)
}

// setQueues sets how many queues jnl0 of a namespace uses.
func setQueues(ns *netns.Namespace, n int) error {
	return ns.Do(func() error {
		ctl, err := sys.OpenControl()
		if err != nil {
			return err
		}
		defer sys.CloseFD(ctl)
		return sys.SetQueues(ctl, "jnl0", n)
	})
}

// hardware reads an interface's address in the calling thread's namespace.
func hardware(name string, mac *[6]byte) error {
	i, err := net.InterfaceByName(name)
	if err == nil {
		copy(mac[:], i.HardwareAddr)
	}
	return err
}

func udpAddr(s string) *net.UDPAddr { return net.UDPAddrFromAddrPort(netip.MustParseAddrPort(s)) }
