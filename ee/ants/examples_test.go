package ants

import (
	"encoding/binary"
	"testing"
	"time"
)

// example loads a protocol of the repository's examples.
func example(t *testing.T, name string) *Protocol {
	t.Helper()
	p, err := LoadProtocol("../../examples/capsules/" + name + "/protocol.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestTrace sends the trace capsule along a chain.
func TestTrace(t *testing.T) {
	n := newNet(t)
	x := n.chain(5, nil)
	p := example(t, "trace")
	x[0].register(p)
	x[0].send(capsule(t, p, "trace", x[4], make([]byte, 4)))
	n.pass(time.Second)
	if len(x[0].got) != 1 {
		t.Fatalf("%d traces came back", len(x[0].got))
	}
	d := x[0].got[0].Data
	if len(d) != 4+5*12 || d[1] != 5 {
		t.Fatalf("trace % x", d)
	}
	for i := range 5 {
		e := d[4+12*i:]
		if a := NodeAddr(binary.BigEndian.Uint32(e)); a != x[i].ee.Addr() {
			t.Errorf("entry %d is %s", i, a)
		}
		if at := time.Unix(0, int64(binary.BigEndian.Uint64(e[4:]))); at.Unix() != 1000 {
			t.Errorf("entry %d at %v, the network began at 1000 s", i, at)
		}
	}
}

// TestMulticast has three receivers subscribe at different places of a tree, and counts the copies on each link.
//
//	sender - a - b - r1
//	          \   \- r2
//	           \- r3
func TestMulticast(t *testing.T) {
	n := newNet(t)
	for range 6 {
		n.add(nil)
	}
	sender, a, b, r1, r2, r3 := n.nodes[0], n.nodes[1], n.nodes[2], n.nodes[3], n.nodes[4], n.nodes[5]
	n.connect(sender, a, 1500)
	n.connect(a, b, 1500)
	n.connect(b, r1, 1500)
	n.connect(b, r2, 1500)
	n.connect(a, r3, 1500)
	for _, x := range []*testNode{sender, a} {
		x.route(nil)
	}
	b.route(map[*testNode]*testNode{sender: a})
	for _, x := range []*testNode{r1, r2} {
		x.route(map[*testNode]*testNode{sender: b})
	}
	r3.route(map[*testNode]*testNode{sender: a})

	p := example(t, "multicast")
	head := binary.BigEndian.AppendUint32(nil, 77) // the group
	head = binary.BigEndian.AppendUint32(head, uint32(sender.ee.Addr()))
	receivers := []*testNode{r1, r2, r3}
	for _, r := range receivers {
		r.register(p)
		r.send(capsule(t, p, "subscribe", sender, head))
	}
	sender.register(p)
	n.pass(time.Second)
	for _, x := range []*testNode{a, b} {
		if s := x.ee.Stats(); len(s.Protocols) != 1 || s.Protocols[0].Soft.Entries != 1 {
			t.Fatalf("%s: %+v", x.node.Name(), s.Protocols)
		}
	}
	before := make(map[*testNode]uint64)
	for _, x := range n.nodes {
		before[x] = x.ee.Stats().Counts.Forwarded
	}
	for i := range 10 {
		sender.send(capsule(t, p, "data", sender, append(binary.BigEndian.AppendUint32(append([]byte(nil), head...), uint32(i)), "a payload that is longer than the window"...)))
	}
	n.pass(time.Second)
	for _, r := range receivers {
		if len(r.got) != 10 || string(r.got[9].Data[12:20]) != "a payloa" || r.got[9].Data[11] != 9 {
			t.Errorf("%s got %d", r.node.Name(), len(r.got))
		}
	}
	for x, want := range map[*testNode]uint64{sender: 10, a: 20, b: 20, r1: 0, r2: 0, r3: 0} {
		if got := x.ee.Stats().Counts.Forwarded - before[x]; got != want {
			t.Errorf("%s sent %d copies, want %d", x.node.Name(), got, want)
		}
	}
}
