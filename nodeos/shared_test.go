package nodeos

import (
	"slices"
	"testing"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

// shared is a link of several pipes.
type shared struct {
	*pipe
	pipes    []*port
	detached int
}

type port struct {
	pipe
	of *shared
}

func (p *port) Detach(*packet.Cache) { p.of.detached++ }

func (s *shared) Ports() (list []Port) {
	for _, p := range s.pipes {
		list = append(list, p)
	}
	return list
}

func newShared(ports int) *shared {
	s := &shared{pipe: &pipe{info: LinkInfo{Name: "eth0", Driver: "test", Number: 1, Base: demux.Ether, MTU: 1500}}}
	for range ports {
		s.pipes = append(s.pipes, &port{of: s})
	}
	return s
}

// A link with a port on each of two workers feeds its channels from both. What a worker sends leaves by its own port, and by that of
// another where it has none.
func TestSharedLink(t *testing.T) {
	n, err := NewNode(NodeSpec{Name: "t", Clock: clock.NewVirtual(time.Time{}), Stepped: true, Workers: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	for _, workers := range [][]int{{0, 3}, {-1, 0}, {1, 1}, {0}, {0, 1, 2}, nil} {
		if err := n.AddLink(newShared(2), workers...); errs.KindOf(err) != errs.Invalid && errs.KindOf(err) != errs.NotSupported {
			t.Errorf("two ports on workers %v: %v", workers, err)
		}
	}
	l := newShared(2)
	RegisterDriver("test shared", 0, func(_ *Node, number uint16, spec LinkSpec) (Link, error) {
		if !slices.Equal(spec.Workers, []int{2, 0}) {
			t.Errorf("the driver is asked for workers %v", spec.Workers)
		}
		return l, nil
	})
	if _, err := n.OpenLink(LinkSpec{Name: "eth0", Driver: "test shared", Workers: []int{2, 0}}); err != nil {
		t.Fatal(err)
	}
	d, err := n.Root().NewDomain(DomainSpec{Account: resctl.Spec{Name: "d"}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	if _, err = d.NewInChan(InChanSpec{Protocol: "eth0/ether/ip/udp", Address: ":7", Handler: func(w *Worker, b *packet.Batch) {
		for _, p := range b.Packets() {
			got = append(got, string(p.Data()))
		}
		w.Cache().FreeBatch(b)
	}}); err != nil {
		t.Fatal(err)
	}
	settle := func() {
		if !Settle(1000, n) {
			t.Fatal("the node does not come to rest")
		}
	}
	l.pipes[0].feed(udp(t, 7, "a"), udp(t, 7, "b"), udp(t, 8, "nobody's"))
	l.pipes[1].feed(udp(t, 7, "c"))
	settle()
	slices.Sort(got)
	if !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("the channel got %q", got)
	}
	if st, _ := n.LinkStats("eth0"); st.Unclaimed != 1 {
		t.Errorf("%+v", st)
	}

	out, err := d.NewOutChan(OutChanSpec{Protocol: "eth0/ether/ip/udp", Address: "10.0.0.1:9", Source: "10.0.0.2:9", LinkAddr: [6]byte{2}})
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range []int{0, 1, 2} { // worker 2 has port 0, worker 0 has port 1, worker 1 has none
		var b packet.Batch
		b.Append(n.Worker(w).Cache().AllocFrom(packet.Node, []byte{byte(i)}))
		out.Send(n.Worker(w), &b)
		settle()
	}
	last := func(p *port) (bytes []byte) {
		for _, f := range p.out {
			bytes = append(bytes, f[len(f)-1])
		}
		return bytes
	}
	if a, b := last(l.pipes[0]), last(l.pipes[1]); !slices.Equal(a, []byte{2}) || !slices.Equal(b, []byte{0, 1}) {
		t.Errorf("sent by the ports: %v and %v", a, b)
	}
	if err := n.CloseLink("eth0"); err != nil {
		t.Error(err)
	}
	if l.detached != 2 {
		t.Errorf("%d ports were detached", l.detached)
	}
	if n := n.Root(); len(n.Tasks()) != 0 {
		t.Errorf("%d tasks are left", len(n.Tasks()))
	}
}
