package bench

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/channels/udp"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

func init() {
	register(Scenario{Name: "udp-overlay", Tier: "socket", Driver: "udp", Title: "the UDP driver beside one packet per system call",
		Text: "Datagrams over the loopback interface, from one socket to one neighbour (64 bytes each) and to eight in turn (64, 256, 576 and 1,400 bytes in turn), " +
			"256 on their way at a time, a worker's batch. 'driver' is package channels/udp: packets are allocated, filled, given to the sending link, and taken from the receiving links into " +
			"packets, which are freed. 'single' is the same with sendto and read for each, without packets: the least that a program could do. Processor time of the process, " +
			"both ends included. The links have default options: their two ends agree while the run warms up that packets may share datagrams (bundles). 'alone' is the driver without that (bundles=false). The receivers check number, length and " +
			"content of what came; a loss fails the run.",
		Open: openOverlay})
}

// overlaySizes are the lengths of the mixed load.
var overlaySizes = []int{64, 256, 576, 1400}

const overlayBatch = packet.MaxBatch

// overlay is a sender and some receivers, as links and as plain sockets.
type overlay struct {
	node  *nodeos.Node
	cache *packet.Cache
	links [2]overlayLinks // by default, and without bundles
	plain []int           // sockets: the sender's first
	names []unix.Sockaddr
	data  [][]byte
	batch packet.Batch
	buf   []byte
	next  int
}

// overlayLinks are a sender and its neighbours.
type overlayLinks struct {
	from  nodeos.Link
	to    []nodeos.Link
	addrs []netip.AddrPort
}

func openOverlay(e *Env) (Trial, error) {
	o := &overlay{buf: make([]byte, 2048)}
	t := &opsTrial{close: o.close}
	var err error
	if o.node, err = stepped(e); err != nil {
		return nil, err
	}
	o.cache = o.node.Worker(0).Cache()
	for i := range o.links {
		v := &o.links[i]
		var opts map[string]string
		if i == 1 {
			opts = map[string]string{"bundles": "false"}
		}
		for k := range 9 {
			l, err := udp.Open(o.node, uint16(9*i+k+1), nodeos.LinkSpec{Name: fmt.Sprintf("u%d.%d", i, k), Device: "127.0.0.1:0", Ring: 4096, Opts: opts})
			if err != nil {
				return nil, closeAfter(t, err)
			}
			if k == 0 {
				v.from = l
				continue
			}
			v.to = append(v.to, l)
			v.addrs = append(v.addrs, l.(*udp.Link).Local())
		}
	}
	for range 9 {
		fd, at, err := sys.OpenUDP(netip.MustParseAddrPort("127.0.0.1:0"), 4<<20)
		if err != nil {
			return nil, closeAfter(t, err)
		}
		o.plain = append(o.plain, fd)
		o.names = append(o.names, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()})
	}
	r := e.rand(4)
	o.data = make([][]byte, distinct)
	for i := range o.data {
		o.data[i] = make([]byte, 1400)
		for k := range o.data[i] {
			o.data[i][k] = byte(r.Uint32())
		}
	}
	for _, v := range []struct {
		name  string
		peers int
		mixed bool
	}{{"1 neighbour, 64 bytes", 1, false}, {"8 neighbours, mixed", 8, true}} {
		t.rows = append(t.rows,
			opsRow{v.name + ", driver", "packet", func(n int) error { return o.exchange(e, n, v.peers, v.mixed, o.links[0].driver(o)) }},
			opsRow{v.name + ", alone", "packet", func(n int) error { return o.exchange(e, n, v.peers, v.mixed, o.links[1].driver(o)) }},
			opsRow{v.name + ", single", "packet", func(n int) error { return o.exchange(e, n, v.peers, v.mixed, o.single) }})
	}
	t.then = func(r *Round) error {
		r.Note("Links driven by hand on one thread; no dispatcher, no channels.")
		for _, n := range []string{"1 neighbour, 64 bytes", "8 neighbours, mixed"} {
			for _, v := range []string{"driver", "alone"} {
				if err := r.Times(n+", rate of "+v+" through single", n+", single", n+", "+v); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return t, nil
}

// exchange sends n packets, rounded up to batches, and receives them.
func (o *overlay) exchange(e *Env, n, peers int, mixed bool, batch func(e *Env, peers int, mixed bool) error) error {
	for i := 0; i < n; i += overlayBatch {
		if err := batch(e, peers, mixed); err != nil {
			return err
		}
	}
	return nil
}

// packet returns what packet i of a batch holds, and which neighbour it goes to.
func (o *overlay) packet(i, peers int, mixed bool) (data []byte, peer int) {
	size := 64
	if mixed {
		size = overlaySizes[i/peers%len(overlaySizes)]
	}
	return o.data[(o.next+i)%distinct][:size], i % peers
}

// check compares the k-th packet that a neighbour got in this batch with what it should be.
func (o *overlay) check(got []byte, k, peer, peers int, mixed bool) error {
	want, _ := o.packet(peer+k*peers, peers, mixed)
	if len(got) != len(want) || string(got[:16]) != string(want[:16]) || got[len(got)-1] != want[len(want)-1] {
		return errs.New(errs.Internal, "neighbour %d, packet %d: %d bytes %x, want %d bytes %x", peer, k, len(got), got[:min(len(got), 16)], len(want), want[:16])
	}
	return nil
}

// driver returns what sends and receives a batch by these links.
func (l *overlayLinks) driver(o *overlay) func(e *Env, peers int, mixed bool) error {
	return func(e *Env, peers int, mixed bool) error { return o.driver(l, peers, mixed) }
}

func (o *overlay) driver(l *overlayLinks, peers int, mixed bool) error {
	if o.cache.AllocBatch(packet.Node, &o.batch, overlayBatch) < overlayBatch {
		return errNoFrame
	}
	for i, p := range o.batch.Packets() {
		d, peer := o.packet(i, peers, mixed)
		copy(p.Put(len(d)), d)
		p.Anno.Dst, p.Anno.DstPort = l.addrs[peer].Addr(), l.addrs[peer].Port()
	}
	l.from.Send(o.cache, &o.batch)
	l.from.Flush(o.cache)
	if l.from.Receive(o.cache, &o.batch); o.batch.Len() > 0 { // answers, which are the link's
		return errs.New(errs.Internal, "the sender got %d packets", o.batch.Len())
	}
	for peer := range peers {
		for k, tries := 0, 0; k < overlayBatch/peers; tries++ {
			l.to[peer].Receive(o.cache, &o.batch)
			for _, p := range o.batch.Packets() {
				if err := o.check(p.Data(), k, peer, peers, mixed); err != nil {
					return err
				}
				k++
			}
			o.cache.FreeBatch(&o.batch)
			if tries > 1000 {
				return o.lost(k, peer)
			}
		}
	}
	o.next += overlayBatch
	return nil
}

func (o *overlay) lost(k, peer int) error {
	return errs.New(errs.Internal, "neighbour %d got %d packets and no more", peer, k)
}

func (o *overlay) single(e *Env, peers int, mixed bool) error {
	for i := range overlayBatch {
		d, peer := o.packet(i, peers, mixed)
		if err := unix.Sendto(o.plain[0], d, 0, o.names[peer+1]); err != nil {
			return err
		}
	}
	for peer := range peers {
		for k := range overlayBatch / peers {
			n, err := unix.Read(o.plain[peer+1], o.buf)
			if err != nil {
				return firstError(o.lost(k, peer), err)
			}
			if err := o.check(o.buf[:n], k, peer, peers, mixed); err != nil {
				return err
			}
		}
	}
	o.next += overlayBatch
	return nil
}

func (o *overlay) close() error {
	var first error
	for _, v := range o.links {
		if v.from != nil {
			first = firstError(first, v.from.Close())
		}
		for _, l := range v.to {
			first = firstError(first, l.Close())
		}
	}
	for _, fd := range o.plain {
		first = firstError(first, sys.CloseFD(fd))
	}
	return firstError(first, closeNode(o.node))
}
