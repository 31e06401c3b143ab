package udphost

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/leak"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/vm"
	"github.com/janos-os/janos/vm/nodeosabi"
	"github.com/janos-os/janos/vm/nodeosabi/conformance"
)

func TestMain(m *testing.M) { leak.Main(m) }

// host makes an engine, a binding and a host, and a socket that is the other side.
func host(t *testing.T) (*nodeosabi.Binding, *Host, *net.UDPConn) {
	t.Helper()
	clk := clock.NewReal()
	e, err := vm.NewEngine(vm.EngineSpec{Clock: clk})
	if err != nil {
		t.Fatal(err)
	}
	b, err := nodeosabi.New(nodeosabi.Spec{Engine: e})
	if err != nil {
		t.Fatal(err)
	}
	h, err := New(Spec{Listen: "127.0.0.1:0", Clock: clk})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		if n := h.Account().Use(resctl.Memory); n != 0 {
			t.Errorf("the host holds %d bytes", n)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return b, h, conn
}

func TestConformance(t *testing.T) {
	conformance.Run(t, func(t *testing.T) *conformance.Rig {
		b, h, conn := host(t)
		d, err := h.NewDomain("guest", conformance.Limits())
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 1<<16)
		return &conformance.Rig{
			Binding: b, Domain: d,
			Port: &nodeosabi.Port{Protocol: "if/udp", To: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
			Peer: nodeosabi.Remote{Addr: conn.LocalAddr().(*net.UDPAddr).AddrPort()},
			Send: func(p []byte) {
				if _, err := conn.WriteToUDPAddrPort(p, h.Local()); err != nil {
					t.Error(err)
				}
			},
			Receive: func(wait time.Duration) []byte {
				conn.SetReadDeadline(time.Now().Add(wait))
				n, _, err := conn.ReadFromUDPAddrPort(buf)
				if err != nil {
					return nil
				}
				return append([]byte(nil), buf[:n]...)
			},
		}
	})
}

func TestDomains(t *testing.T) {
	_, h, _ := host(t)
	d, err := h.NewDomain("a", resctl.Amounts{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.NewDomain("a", resctl.Amounts{}); errs.KindOf(err) != errs.Exists {
		t.Errorf("a second domain of the name: %v", err)
	}
	deep := d
	for k := 0; ; k++ {
		c, err := deep.New(nodeosabi.DomainSpec{Name: "x"}, func() {})
		if errs.KindOf(err) == errs.Limit && k > 10 {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		deep = c
	}
	for _, p := range []*nodeosabi.Port{{Protocol: "if/ip"}, {Protocol: "if/udp", Address: ":1"}, {Protocol: "nonsense//"}} {
		if _, err := d.In(p, &nodeosabi.InSpec{Address: p.Address}, nil); err == nil {
			t.Errorf("an in-channel of %q at %q", p.Protocol, p.Address)
		}
		if _, err := d.Out(p, &nodeosabi.OutSpec{Source: p.Address}, nil); err == nil {
			t.Errorf("an out-channel of %q at %q", p.Protocol, p.Address)
		}
	}
	d.End(errs.Refused)
	if st, reason := deep.State(); st != nodeosabi.Dead || errs.KindOf(reason) != errs.Dead {
		t.Errorf("the deepest is %v, %v", st, reason)
	}
	if _, err := d.New(nodeosabi.DomainSpec{Name: "y"}, nil); errs.KindOf(err) != errs.Dead {
		t.Errorf("a domain below a dead one: %v", err)
	}
	if _, err := h.NewDomain("a", resctl.Amounts{}); err != nil {
		t.Errorf("the name is not free again: %v", err)
	}
}
