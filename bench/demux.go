package bench

import (
	"fmt"

	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

func init() {
	register(Scenario{Name: "demux-scale", Tier: "memory", Title: "demultiplexing by 1 and 4,096 keys in 1 to 8 mask shapes, in Go and in eBPF",
		Text: "UDP packets in Ethernet frames of 64 bytes are decided on, parsing of the headers included. The Go back end has 1,024 distinct packets that match random keys, " +
			"and restores each. The eBPF back end, as an XDP program, has a packet of which a few instructions before make the next of 4,096 at each run (BPF test run); what a program of these " +
			"instructions alone costs is a row of its own, and is in the others too. 'last' are packets of the shape that is asked last, 'none' match nothing. Differences and ratios are to 1 key.",
		Open: openDemux})
}

// keyed is a set of keys that demux-scale measures.
type keyed struct{ keys, shapes int }

var keyedSets = []keyed{{1, 1}, {64, 1}, {4096, 1}, {4096, 2}, {4096, 4}, {4096, 8}}

func (v keyed) String() string {
	plural := func(n int, one string) string {
		if n == 1 {
			return "1 " + one
		}
		return fmt.Sprintf("%d %ss", n, one)
	}
	return plural(v.keys, "key") + " in " + plural(v.shapes, "shape")
}

// The packets of a set.
const (
	pickAll  = ""      // for all keys
	pickLast = " last" // for the keys of the shape that is asked last
	pickNone = " none" // for no key
)

// keyAt is where in the payload of UDP the number is that a key names.
const keyAt = 8

// program has a rule for each key: a key names a number at offset keyAt; a shape adds that so many other bytes are even, which they are in all packets.
func (v keyed) program() (*demux.Program, error) {
	var rules []demux.Rule
	for i := range v.keys {
		var k demux.Key
		for s := range i % v.shapes {
			k = append(k, demux.Tuple{Offset: s, Value: []byte{0}, Mask: []byte{1}})
		}
		k = append(k, demux.Tuple{Offset: keyAt, Value: []byte{byte(i >> 8), byte(i)}})
		rules = append(rules, demux.Rule{ID: uint32(i), Protocol: demux.Protocol{Link: "l", Layers: []demux.Layer{demux.Ether, demux.IPv4, demux.UDP}}, Key: k})
	}
	prog, err := demux.Compile(demux.Ether, "l", rules)
	if err != nil {
		return nil, err
	}
	if prog.Shapes() != v.shapes || prog.Rules() != v.keys {
		return nil, errs.New(errs.Internal, "%s became %d shapes", v, prog.Shapes())
	}
	return prog, nil
}

// picks are the packets that are worth a row.
func (v keyed) picks() []string {
	if v.shapes == 8 {
		return []string{pickAll, pickLast, pickNone}
	}
	return []string{pickAll}
}

func openDemux(e *Env) (Trial, error) {
	n, err := nodeos.NewNode(nodeos.NodeSpec{Name: "bench", Clock: e.Clock, Stepped: true, Packets: packet.PoolSpec{Frames: 16384}})
	if err != nil {
		return nil, err
	}
	c := n.Worker(0).Cache()
	var all []*packet.Packet
	t := &opsTrial{close: func() error {
		for _, p := range all {
			c.Free(p)
		}
		return closeNode(n)
	}}
	for _, v := range keyedSets {
		prog, err := v.program()
		if err != nil {
			return nil, closeAfter(t, err)
		}
		for _, pick := range v.picks() {
			r := e.rand(2)
			fs := toOneNet(r)
			ps := make([]*packet.Packet, 0, len(fs))
			want := make([]uint32, len(fs))
			for i, f := range fs {
				for k := range keyAt {
					f[42+k] &^= 1
				}
				want[i] = uint32(r.IntN(v.keys))
				switch pick {
				case pickLast:
					want[i] -= want[i] % uint32(v.shapes)
				case pickNone:
					want[i] |= 1 << 15
				}
				f[42+keyAt], f[43+keyAt] = byte(want[i]>>8), byte(want[i])
				p := c.AllocFrom(packet.Node, f)
				if p == nil {
					return nil, closeAfter(t, errNoFrame)
				}
				ps, all = append(ps, p), append(all, p)
			}
			t.rows = append(t.rows, opsRow{"go: " + v.String() + pick, "packet", func(n int) error {
				for i := range n {
					p := ps[i%len(ps)]
					before := p.Len()
					id, ok := prog.Match(p)
					if ok != (pick != pickNone) || ok && id != want[i%len(ps)] {
						return errs.New(errs.Internal, "packet %d went to rule %d (%v), want %d", i%len(ps), id, ok, want[i%len(ps)])
					}
					p.Push(before - p.Len())
				}
				return nil
			}})
		}
	}
	inKernel, err := openKernelDemux(e, t)
	if err != nil {
		return nil, closeAfter(t, err)
	}
	t.then = func(r *Round) error {
		one, most := keyedSets[0], keyedSets[len(keyedSets)-1]
		compare := func(back string) error {
			for _, pick := range most.picks() {
				name := fmt.Sprintf("%s: %s%s to 1 key", back, most, pick)
				if err := r.Ratio(name, back+": "+most.String()+pick, back+": "+one.String()); err != nil {
					return err
				}
				r.Add(fmt.Sprintf("%s: %s%s more than 1 key", back, most, pick), unitMore, r.now[back+": "+most.String()+pick]-r.now[back+": "+one.String()])
			}
			return nil
		}
		if err := compare("go"); err != nil {
			return err
		}
		return inKernel(r, compare)
	}
	return t, nil
}
