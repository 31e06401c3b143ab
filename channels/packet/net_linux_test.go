package packet

import (
	"fmt"
	"testing"

	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"

	"github.com/janos-os/janos/channels/conformance"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/internal/netns"
	"github.com/janos-os/janos/nodeos"
)

// network is the suite's, by names that are short in tests.
type network struct {
	*conformance.Network
	there, here, beyond   *netns.Namespace
	mac                   [6]byte
	thereFD               int
	hereIndex, thereIndex int
}

func newNetwork(t testing.TB) *network {
	t.Helper()
	w := conformance.NewNetwork(t, "jnpkt", 1)
	return &network{w, w.There, w.Here, w.Beyond, w.MAC, w.ThereFD, w.HereIndex, w.ThereIndex}
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

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// open opens here's interface on n.
func (w *network) open(t testing.TB, n *nodeos.Node, spec nodeos.LinkSpec) *Link {
	t.Helper()
	spec.Driver = "packet"
	spec.Device = "jnl0"
	var l nodeos.Link
	must(t, w.here.Do(func() (err error) {
		l, err = n.OpenLink(spec)
		return err
	}))
	return l.(*Link)
}

// variants are the forms of the driver that pass the same tests.
var variants = []map[string]string{nil, {"latency": "normal"}}

func each(t *testing.T, fn func(t *testing.T, w *network, o map[string]string)) {
	w := newNetwork(t)
	for _, o := range variants {
		t.Run(fmt.Sprint(o), func(t *testing.T) { fn(t, w, o) })
	}
}

func spec(o map[string]string) nodeos.LinkSpec { return nodeos.LinkSpec{Name: "l0", Opts: o} }

func TestConformance(t *testing.T) {
	each(t, func(t *testing.T, w *network, o map[string]string) { w.conform(t, nodeos.LinkSpec{Opts: o}) })
}

// conform runs the suite over links of a Spec.
func (w *network) conform(t *testing.T, spec nodeos.LinkSpec) {
	conformance.Run(t, conformance.Fixture{
		Base:    demux.Ether,
		Workers: len(spec.Workers),
		Open: func(t *testing.T, n *nodeos.Node, name string, ring int) {
			spec.Name, spec.Ring = name, ring
			l := w.open(t, n, spec)
			if notes := l.Info().Notes; len(notes) > 0 {
				t.Errorf("degraded: %v", notes)
			}
		},
		Inject: func(t *testing.T, frames ...[]byte) { w.inject(t, frames...) },
		Sent:   func(t *testing.T) []byte { return w.sent(t) },
		MAC:    func() [6]byte { return w.mac },
	})
}

func openNS(name string) (*netns.Namespace, error) { return netns.Open(netns.Dir, name) }

func passCode() asm.Instructions {
	return asm.Instructions{asm.Mov.Imm(asm.R0, tcNext), asm.Return()}
}
