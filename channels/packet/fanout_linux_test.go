package packet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"

	"github.com/janos-os/janos/channels/conformance"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// TestConformanceFanout runs the suite over links that two workers share.
func TestConformanceFanout(t *testing.T) {
	each(t, func(t *testing.T, w *network, o map[string]string) {
		w.conform(t, nodeos.LinkSpec{Opts: o, Workers: []int{0, 1}})
	})
}

// flowFrame is packet i of a flow. Flows differ in their source ports.
func flowFrame(w *network, flow, i int) []byte {
	f := conformance.UDPFrame(w.mac, conformance.Port, fmt.Appendf(nil, "%4d%8d", flow, i))
	binary.BigEndian.PutUint16(f[34:], uint16(2000+flow))
	f[40], f[41] = 0, 0 // no checksum
	return f
}

// TestFanout sends many flows to a link that two workers share. Each packet arrives once, in its flow's order, both workers get
// some, and the host gets those that are not claimed. Claims are swapped meanwhile.
func TestFanout(t *testing.T) {
	each(t, func(t *testing.T, w *network, o map[string]string) {
		n := conformance.NewNode(t, 2)
		l := w.open(t, n, nodeos.LinkSpec{Name: "l0", Workers: []int{1, 0}, Opts: o, Ring: 2048})
		if len(l.Info().Notes) > 0 {
			t.Errorf("degraded: %v", l.Info().Notes)
		}
		host := udpAt(t, w.here, "10.77.0.1:7001")
		const flows, packets = 64, 40
		type end struct {
			next [flows]int
			n    int
		}
		var mu sync.Mutex
		var got end
		if _, err := n.Root().NewInChan(nodeos.InChanSpec{Protocol: "l0/ether/ip/udp", Address: fmt.Sprintf(":%d", conformance.Port), Quota: 8192,
			Handler: func(w *nodeos.Worker, b *packet.Batch) {
				mu.Lock()
				defer mu.Unlock()
				for _, p := range b.Packets() {
					var flow, i int
					if _, err := fmt.Sscan(string(bytes.TrimSpace(p.Data())), &flow, &i); err != nil || flow < 0 || flow >= flows {
						t.Errorf("packet %q", p.Data())
						continue
					}
					if got.next[flow] != i {
						t.Errorf("flow %d: packet %d where %d was to come", flow, i, got.next[flow])
					}
					got.next[flow] = i + 1
					got.n++
				}
				w.Cache().FreeBatch(b)
			}}); err != nil {
			t.Fatal(err)
		}
		arrived := func() int {
			mu.Lock()
			defer mu.Unlock()
			return got.n
		}
		for i := range packets {
			for flow := range flows {
				w.inject(t, flowFrame(w, flow, i))
			}
			if i%8 == 0 { // each attaches a filter to both rings
				conformance.NewSink(t, n, "l0/ether/ip/udp", fmt.Sprintf(":%d", 9000+i), "").Chan.Close()
			}
			open := flowFrame(w, i%flows, i)
			binary.BigEndian.PutUint16(open[36:], 7001)
			w.inject(t, open)
			want := fmt.Sprintf("%4d%8d", i%flows, i)
			if s := next(t, host); s != want {
				t.Fatalf("the host got %q, want %q", s, want)
			}
			conformance.Until(t, func() bool { return arrived() >= (i+1)*flows })
		}
		if n := arrived(); n != flows*packets {
			t.Errorf("%d packets arrived", n)
		}
		sum := uint64(0)
		for i, p := range l.ports {
			c := p.counts.Stats()
			if sum += c.RxPackets; c.RxPackets == 0 || c.RxDrops != 0 {
				t.Errorf("port %d: %+v", i, c)
			}
		}
		if st := l.Stats(); sum != flows*packets || st.RxPackets != sum {
			t.Errorf("%d of %d packets by the ports, in all %+v", sum, flows*packets, st)
		}

		// Each worker sends by its own port.
		out, err := n.Root().NewOutChan(nodeos.OutChanSpec{Protocol: "l0"})
		must(t, err)
		for i := range 2 {
			frame := append(append(conformance.ThereMAC[:], conformance.ThereMAC[:]...), 0x88, 0xb5, byte(i), 0)
			sender := n.Worker(i)
			sender.Call(func() {
				var b packet.Batch
				b.Append(sender.Cache().AllocFrom(packet.Node, frame))
				out.Send(sender, &b)
			})
			if f := w.sent(t); !bytes.Equal(f, frame) {
				t.Errorf("on the wire: %x, want %x", f, frame)
			}
			port := l.ports[1-i]
			conformance.Until(t, func() bool { return port.counts.Stats().TxPackets == 1 })
		}
		must(t, n.CloseLink("l0"))
	})
}

// A link by hand is refused to more workers than it has ports.
func TestFanoutPorts(t *testing.T) {
	w := newNetwork(t)
	n := conformance.NewNode(t, 2)
	var l nodeos.Link
	must(t, w.here.Do(func() (err error) {
		l, err = Open(n, 1, nodeos.LinkSpec{Name: "l0", Device: "jnl0", Workers: []int{0, 1}})
		return err
	}))
	defer l.Close()
	if ps := l.(nodeos.Shared).Ports(); len(ps) != 2 || ps[0] == ps[1] {
		t.Errorf("%d ports", len(ps))
	}
	if err := n.AddLink(l, 0); errs.KindOf(err) != errs.NotSupported {
		t.Errorf("two ports, one worker: %v", err)
	}
	if l.Info().Base != demux.Ether {
		t.Errorf("%+v", l.Info())
	}
}
