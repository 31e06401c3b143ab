package bench

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/ee/ants"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/vm"
)

func init() {
	register(Scenario{Name: "ants-evaluate", Tier: "memory", Title: "a capsule's whole way through a node",
		Text: "Frames with ANTS capsules in UDP, 1,024 distinct ones of 1,024 flows, come by a link that has no wire (allocated and filled there, 32 at a time, never more than 64 on their way), are " +
			"demultiplexed by protocol string, port and key, decoded, handed to their protocol's domain, evaluated with keyed state and credit, handed to the port " +
			"of their next hop, wrapped in UDP, IP and Ethernet headers with checksums, and freed by the link. The dispatcher, the accounts and the machine's clock " +
			"are included. The capsule is bench/capsules/flow.c. A capsule that does not leave the node fails the run.",
		Open: openANTS})
	register(Scenario{Name: "channel-forward", Tier: "memory", Title: "a node's own share of forwarding: cut-through between two links without wires",
		Text: "Frames of 64 bytes, 1,024 distinct ones, come by a link that has no wire (allocated and filled there, 32 at a time, never more than 64 on their way), go through a cut-through channel and " +
			"leave by another such link, which frees them: whole frames from link to link, and UDP packets to one port whose headers are written anew. Dispatcher, " +
			"demultiplexing, accounts and the machine's clock are included; drivers are not.",
		Open: openForward})
}

// nodeTrial is nodes that the trial steps.
type nodeTrial struct {
	opsTrial
	nodes   []*nodeos.Node
	engines []*vm.Engine
}

func (t *nodeTrial) shut() error {
	var first error
	for _, n := range t.nodes {
		first = firstError(first, closeNode(n))
	}
	for _, e := range t.engines {
		first = firstError(first, e.Close())
	}
	return first
}

// passWindow is how many frames are on their way through a node at a time, fewer than any of its queues holds.
const passWindow = 64

// pass lets n frames come by in and checks that as many leave by out.
func pass(node *nodeos.Node, in, out *feed, n int) error {
	before := out.sent
	for left := n; left > 0; left -= passWindow {
		in.start(min(left, passWindow))
		for node.Step() {
		}
	}
	if got := out.sent - before; got != n {
		return errs.New(errs.Internal, "of %d frames %d left the node", n, got)
	}
	return nil
}

func openANTS(e *Env) (Trial, error) {
	t := &nodeTrial{}
	t.close = t.shut
	for _, mode := range modes {
		for _, size := range []int{64, 1000} {
			n, in, ee, err := t.newANTS(e, mode, size)
			if err != nil {
				return nil, closeAfter(t, err)
			}
			t.rows = append(t.rows, opsRow{fmt.Sprintf("%d bytes, %v", size, mode), "capsule", func(k int) error {
				if err := pass(n, in, in, k); err != nil {
					return fmt.Errorf("%w; drops %v", err, ee.Stats().Drops)
				}
				return nil
			}})
		}
	}
	return t, nil
}

func (t *nodeTrial) newANTS(e *Env, mode vm.Mode, size int) (*nodeos.Node, *feed, *ants.EE, error) {
	n, err := stepped(e)
	if err != nil {
		return nil, nil, nil, err
	}
	t.nodes = append(t.nodes, n)
	engine, err := vm.NewEngine(vm.EngineSpec{Mode: mode, Clock: e.Clock})
	if err != nil {
		return nil, nil, nil, err
	}
	t.engines = append(t.engines, engine)
	link := newFeed(n, "f0")
	if err := n.AddLink(link, 0); err != nil {
		return nil, nil, nil, err
	}
	d, err := n.Root().NewDomain(nodeos.DomainSpec{Account: resctl.Spec{Name: "ants"}})
	if err != nil {
		return nil, nil, nil, err
	}
	routes := new(ants.StaticRoutes)
	const own, prev, next = ants.NodeAddr(0x0aff0001), ants.NodeAddr(0x0aff0002), ants.NodeAddr(0x0aff0003)
	hop := func(a ants.NodeAddr, last byte) ants.Hop {
		return ants.Hop{Node: a, Link: link.info.Number, IP: netip.AddrFrom4([4]byte{10, 0, 0, last}), MAC: [6]byte{2, 0, 0, 0, 1, last}, HasMAC: true}
	}
	if err := routes.Set([]ants.Hop{hop(prev, 2), hop(next, 3)}, nil); err != nil {
		return nil, nil, nil, err
	}
	ee, err := ants.New(ants.Spec{Name: "bench", Domain: d, Engine: engine, Addr: own, Router: routes,
		Protocol: resctl.Spec{Limit: resctl.Amounts{resctl.Memory: 4 << 20, resctl.Frames: 1024}}})
	if err != nil {
		return nil, nil, nil, err
	}
	if _, err := ee.Bind(ants.BindSpec{Link: "f0"}); err != nil {
		return nil, nil, nil, err
	}
	p := &ants.Protocol{Name: "flow", Groups: []ants.Group{{Name: "main", Classes: []ants.Class{{Name: "flow", Code: flowCode}}}}}
	if err := ee.Register(p); err != nil {
		return nil, nil, nil, err
	}
	method, err := p.Method("flow")
	if err != nil {
		return nil, nil, nil, err
	}
	r := e.rand(5)
	data := make([]byte, size)
	for i := range distinct {
		for k := range data {
			data[k] = byte(r.Uint32())
		}
		binary.BigEndian.PutUint32(data, uint32(i))
		c := ants.Capsule{Method: method, Src: prev, Prev: prev, Dst: next, TTL: 10, HasCredit: true, Credit: ants.Credit{Count: 100},
			HasPorts: true, SrcPort: 9, DstPort: 10, Data: data}
		f, err := frameOf(n, c.Append(nil))
		if err != nil {
			return nil, nil, nil, err
		}
		link.frames = append(link.frames, f)
	}
	for n.Step() { // what registering started
	}
	return n, link, ee, nil
}

// frameOf wraps a payload in UDP to the port of ANTS, IP and Ethernet headers.
func frameOf(n *nodeos.Node, payload []byte) ([]byte, error) {
	c := n.Worker(0).Cache()
	p := c.AllocFrom(packet.Node, payload)
	if p == nil {
		return nil, errNoFrame
	}
	defer c.Free(p)
	src, dst := netip.MustParseAddrPort("10.0.0.2:3322"), netip.MustParseAddrPort("10.0.0.1:3322")
	if !demux.PushUDP(p, src, dst) || !demux.PushIP(p, &demux.IPHeader{Src: src.Addr(), Dst: dst.Addr(), Proto: demux.ProtoUDP}) ||
		!demux.PushEther(p, toMAC, fromMAC, demux.EtherTypeIPv4) {
		return nil, errNoFrame
	}
	return append([]byte(nil), p.Data()...), nil
}

func openForward(e *Env) (Trial, error) {
	t := &nodeTrial{}
	t.close = t.shut
	for _, v := range []struct {
		name string
		in   nodeos.InChanSpec
		out  nodeos.OutChanSpec
	}{
		{"whole frames", nodeos.InChanSpec{Protocol: "f0"}, nodeos.OutChanSpec{Protocol: "f1"}},
		{"udp to udp", nodeos.InChanSpec{Protocol: "f0/ether/ip/udp", Address: ":5678"},
			nodeos.OutChanSpec{Protocol: "f1/ether/ip/udp", Address: "10.0.0.9:5678", Source: "10.0.0.1:5678", LinkAddr: [6]byte{2, 0, 0, 0, 0, 9}}},
	} {
		n, err := stepped(e)
		if err != nil {
			return nil, closeAfter(t, err)
		}
		t.nodes = append(t.nodes, n)
		in, out := newFeed(n, "f0"), newFeed(n, "f1")
		in.frames = toOneNet(e.rand(6))
		for _, l := range []*feed{in, out} {
			if err := n.AddLink(l, 0); err != nil {
				return nil, closeAfter(t, err)
			}
		}
		d, err := n.Root().NewDomain(nodeos.DomainSpec{Account: resctl.Spec{Name: "forward", Limit: resctl.Amounts{resctl.Frames: 1024}}})
		if err == nil {
			_, err = d.NewCutChan(v.in, v.out)
		}
		if err != nil {
			return nil, closeAfter(t, fmt.Errorf("%s: %w", v.name, err))
		}
		t.rows = append(t.rows, opsRow{v.name, "packet", func(k int) error { return pass(n, in, out, k) }})
	}
	return t, nil
}
