package ants

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm"
)

// idle checks that no packet is left anywhere in the node once it has come to rest.
func (x *testNode) idle(t *testing.T) {
	t.Helper()
	if c := x.node.Pool().Stats().Charged; len(c) != 0 {
		t.Fatalf("frames are held: %v", c)
	}
}

// FuzzInput gives a node any bytes as packets, and lets time pass.
func FuzzInput(f *testing.F) {
	n := newNet(f)
	x := n.chain(2, func(s *Spec) { s.Limits.Refused = 8 })[1]
	p := proto(f, "ping", "ping", "count")
	x.register(p)
	m, err := p.Method("ping")
	if err != nil {
		f.Fatal(err)
	}
	peer := n.nodes[0].ee.Addr()
	for _, c := range []Capsule{
		{Method: m, Data: pingData(1)}, {Method: MethodID{1}, Data: []byte{1}},
		{Method: MethodDLRequest, Data: (&dlRequest{method: m}).put(nil)},
		{Method: MethodDLRequest, Data: (&dlRequest{method: m, code: CodeIDOf(p.Groups[0].Classes[0].Code), mask: 0xffffffff}).put(nil)},
		{Method: MethodDLResponse, Data: (&dlResponse{method: MethodID{1}, kind: dlRefusal}).put(nil)},
		{Method: MethodError, Data: (&ErrorReport{Method: m}).put(nil)},
	} {
		c.Src, c.Prev, c.Dst, c.TTL = peer, peer, x.ee.Addr(), 3
		f.Add(c.Append(nil))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		n.t = t
		w := x.node.Worker(0)
		if q := w.Cache().AllocFrom(packet.Node, raw); q != nil {
			var b packet.Batch
			b.Append(q)
			x.ee.Input(w, x.hops[0].Link, &b)
		}
		n.pass(0)
		if len(x.ee.flows) > 3 {
			n.pass(3 * time.Second)
			x.idle(t)
		}
	})
}

// FuzzVerdict has a guest ask for anything, and checks that what leaves the node keeps to what came.
func FuzzVerdict(f *testing.F) {
	r := newEvalRig(f, vm.ModeInterpreter, "puppet", []byte{0})
	// out builds the out fields behind a verdict.
	out := func(v abi.Verdict, dst, length, count, emits uint32, rest ...byte) []byte {
		b := []byte{byte(v)}
		for _, x := range []uint32{dst, length, count, emits, 0, 0, 0, 0} {
			b = binary.LittleEndian.AppendUint32(b, x)
		}
		return append(append(b, make([]byte, abi.BlockOutputsOff-abi.BlockStateOff)...), rest...)
	}
	to := func(a NodeAddr, ttl, share uint16) []byte {
		b := binary.LittleEndian.AppendUint32(nil, uint32(a))
		b = binary.LittleEndian.AppendUint16(b, ttl)
		return binary.LittleEndian.AppendUint16(b, share)
	}
	f.Add(out(abi.Forward, uint32(addrOf(3)), 10, 0, 0), uint8(3), uint16(100))
	f.Add(out(abi.Forward, uint32(addrOf(3)), 500, 3, 0, slices.Concat(to(addrOf(2), 1, 9), to(addrOf(3), 0, 1), to(addrOf(1), 7, 65535))...), uint8(3), uint16(100))
	f.Add(out(abi.Deliver, uint32(addrOf(3)), 0, 1, 1, to(0, 0, 0)...), uint8(200), uint16(2))
	f.Add([]byte{9}, uint8(0), uint16(0))
	f.Fuzz(func(t *testing.T, data []byte, ttl uint8, credit uint16) {
		if len(data) == 0 || len(data) > 1200 {
			return
		}
		sum, copies := uint64(0), 0
		r.sent = func(p *packet.Packet) {
			var c Capsule
			if err := c.Decode(p.Data()); err != nil {
				t.Fatalf("what leaves does not decode: %v", err)
			}
			if c.Method == MethodError {
				return
			}
			copies++
			sum += uint64(c.Credit.Count)
			if c.TTL >= uint32(ttl) || c.Prev != r.x.ee.Addr() || !c.HasCredit || c.Method != r.c.Method || p.Len() > 1400 {
				t.Fatalf("from ttl %d: %+v, %d bytes", ttl, c, p.Len())
			}
		}
		r.c.Data, r.c.TTL, r.c.Credit.Count = data, uint32(ttl), uint32(credit)
		var b packet.Batch
		r.round(&b, 1)
		if sum+1 > uint64(credit) && copies > 0 || copies > abi.OutputsMax+abi.EmitsMax {
			t.Fatalf("%d copies with a credit of %d came of %d", copies, sum, credit)
		}
		r.x.idle(t)
		if len(r.x.ee.flows) == 0 { // it has had its strikes: again
			r.x.ee.refused.init(8)
			if err := r.x.ee.Register(proto(t, "puppet", "puppet")); err != nil {
				t.Fatal(err)
			}
		}
	})
}
