package hostip_test

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/janos-os/janos/channels/host"
	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/elements/hostip"
	"github.com/janos-os/janos/click/elementtest"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/internal/netns/netnstest"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

func init() {
	click.Register(click.Class{Name: "NumberedIP", Ports: "0/1", Processing: "h", New: func() click.Element { return &numberedIP{} },
		Doc: click.Doc{Group: "test", Title: "pushes numbered IP packets to 192.0.2.1 while it is told to"}})
	click.Register(click.Class{Name: "NumberCheck", Ports: "-/0", Processing: "h", New: func() click.Element { return &numberCheck{} },
		Doc: click.Doc{Group: "test", Title: "checks numbers and hardware addresses"}})
}

// traffic is what the test and its elements share.
type traffic struct {
	wanted        atomic.Uint64 // the source goes on to this number
	sent          uint64
	next          uint64 // number that must come next; the worker's
	passed        atomic.Uint64
	by            [2]atomic.Uint64 // by input
	lost, strange atomic.Uint64
	macs          [2]atomic.Uint64 // last destination by input
}

type numberedIP struct {
	click.Base
	t    *traffic
	task *click.Task
}

func (e *numberedIP) Configure(*click.Args) {}

func (e *numberedIP) Initialize() error {
	e.t = e.Router().Value("traffic").(*traffic)
	e.task = e.NewOutsideTask(func() (int, bool) {
		b := e.Thread().Scratch()
		defer e.Thread().Release(b)
		for e.t.sent < e.t.wanted.Load() && b.Len() < 32 {
			p := e.Cache().Alloc(e.Owner())
			if p == nil {
				break
			}
			d := p.Put(28)
			clear(d)
			d[0], d[8], d[9] = 0x45, 64, 253
			copy(d[16:], []byte{192, 0, 2, 1})
			binary.BigEndian.PutUint64(d[20:], e.t.sent)
			p.SetNetwork(0)
			p.Anno.Dst = netip.AddrFrom4([4]byte{192, 0, 2, 1})
			e.t.sent++
			b.Append(p)
		}
		n := b.Len()
		e.Out(0).Push(b)
		return n, n > 0
	})
	return nil
}

type numberCheck struct {
	click.Base
	t *traffic
}

func (e *numberCheck) Configure(*click.Args) {}

func (e *numberCheck) Initialize() error {
	e.t = e.Router().Value("traffic").(*traffic)
	return nil
}

func (e *numberCheck) Push(port int, b *packet.Batch) {
	for _, p := range b.Packets() {
		d := p.Data()
		if len(d) != demux.EtherLen+28 || binary.BigEndian.Uint16(d[12:]) != demux.EtherTypeIPv4 {
			e.t.strange.Add(1)
			continue
		}
		// Each way keeps the order; over both, a batch is split, so that numbers are counted and not compared.
		e.t.passed.Add(1)
		e.t.by[port].Add(1)
		e.t.macs[port].Store(uint64(d[5]))
		e.t.next++
	}
	e.Cache().FreeBatch(b)
}

// TestRoutesMoveTraffic changes the route, then the hardware address of the next hop, under a stream of packets. All arrive.
func TestRoutesMoveTraffic(t *testing.T) {
	ns := netnstest.New(t, "jnhemove")
	h := netnstest.Netlink(t, ns)
	var links [2]netlink.Link
	for i, n := range []string{"jnhe0", "jnhe1"} {
		must(t, h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: n}, PeerName: n + "p"}))
		netnstest.Up(t, h, n+"p")
		netnstest.Up(t, h, n, "10.0."+string(rune('0'+i))+".1/24")
		var err error
		links[i], err = h.LinkByName(n)
		must(t, err)
	}
	neighbor := func(i int, last byte) {
		t.Helper()
		must(t, h.NeighSet(&netlink.Neigh{LinkIndex: links[i].Attrs().Index, IP: net.IPv4(10, 0, byte(i), 2), State: netlink.NUD_PERMANENT, HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, last}}))
	}
	to := func(i int) {
		t.Helper()
		must(t, h.RouteReplace(&netlink.Route{Dst: &net.IPNet{IP: net.IPv4(192, 0, 2, 0).To4(), Mask: net.CIDRMask(24, 32)}, LinkIndex: links[i].Attrs().Index, Gw: net.IPv4(10, 0, byte(i), 2)}))
	}
	neighbor(0, 10)
	neighbor(1, 20)
	to(0)

	var table *host.Table
	must(t, ns.Do(func() (err error) { table, err = host.Follow(host.Spec{}); return err }))
	defer table.Close()
	node, err := nodeos.NewNode(nodeos.NodeSpec{Name: "test", Clock: clock.NewReal(), Packets: packet.PoolSpec{Frames: 1024}})
	must(t, err)
	defer node.Close()
	d, err := node.Root().NewDomain(nodeos.DomainSpec{Account: resctl.Spec{Name: "graph"}})
	must(t, err)
	g, err := click.Parse("config", `NumberedIP -> rt :: LinuxIPLookup(jnhe0, jnhe1);
rt[0] -> n0 :: HostNeighbor(jnhe0) -> [0] check :: NumberCheck; rt[1] -> n1 :: HostNeighbor(jnhe1) -> [1] check;`, click.ParseOptions{})
	must(t, err)
	stream := new(traffic)
	r, err := click.New(g, click.Env{Domain: d, Values: map[string]any{hostip.Key: &hostip.Env{Table: table}, "traffic": stream}})
	must(t, err)
	defer r.Close()

	const step = 256
	stream.wanted.Store(step)
	r.Thread().Task().Wake()
	// flows waits until ok is true of the packets that passed since; it sends more meanwhile.
	flows := func(what string, ok func() bool) {
		t.Helper()
		for end := time.After(20 * time.Second); !ok(); {
			select {
			case <-end:
				details, _ := r.Read("n0.drop_details", "")
				t.Fatalf("never: %s; passed %d of %d, by %d and %d\n%s", what, stream.passed.Load(), stream.wanted.Load(), stream.by[0].Load(), stream.by[1].Load(), details)
			default:
			}
			if stream.passed.Load() == stream.wanted.Load() {
				stream.wanted.Add(step)
			}
			r.Thread().Task().Wake()
			must(t, r.Do(func() {})) // a turn of the worker
		}
	}
	for i := range 100 {
		way := (i + 1) % 2
		was := stream.by[way].Load()
		to(way)
		flows("packets by the new route", func() bool { return stream.by[way].Load() > was+step })
		neighbor(way, byte(30+i))
		flows("packets to the new hardware address", func() bool { return stream.macs[way].Load() == uint64(30+i) })
	}
	// A hop that goes away and comes back: what is sent meanwhile is held.
	must(t, h.NeighDel(&netlink.Neigh{LinkIndex: links[0].Attrs().Index, IP: net.IPv4(10, 0, 0, 2)}))
	for n := table.Neighbor(links[0].Attrs().Index, netip.MustParseAddr("10.0.0.2")); n != nil; {
		if _, ok := n.HWAddr(); !ok {
			break
		}
	}
	stream.wanted.Add(8)
	for held := ""; held != "8"; {
		r.Thread().Task().Wake()
		held, err = r.Read("n0.length", "")
		must(t, err)
	}
	neighbor(0, 99)
	flows("packets that were held", func() bool { return stream.passed.Load() == stream.wanted.Load() && stream.macs[0].Load() == 99 })

	must(t, r.Do(func() {
		if stream.sent != stream.next || stream.strange.Load() != 0 {
			t.Errorf("sent %d, arrived %d, strange %d", stream.sent, stream.next, stream.strange.Load())
		}
	}))
	for _, n := range []string{"rt.drops", "n0.drops", "n1.drops"} {
		if v, err := r.Read(n, ""); err != nil || v != "0" {
			t.Errorf("%s is %s, %v", n, v, err)
		}
	}
}

// TestOwnTable: without an environment the element follows the kernel itself.
func TestOwnTable(t *testing.T) {
	s, err := elementtest.New(t, "Idle -> rt :: LinuxIPLookup(lo) -> Discard; Idle -> HostNeighbor(lo) -> Discard;", elementtest.Options{})
	must(t, err)
	if got := s.Do("read rt.lookup 127.0.0.1"); got != "-1 local\n" {
		t.Errorf("127.0.0.1 goes to %q", got)
	}
	s.Close()
	_, err = elementtest.New(t, "Idle -> LinuxIPLookup(lo) -> Discard;", elementtest.Options{Values: map[string]any{hostip.Key: &hostip.Env{}}})
	if err == nil {
		t.Error("a node that follows nothing has routes")
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
