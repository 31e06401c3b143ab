package packet

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/janos-os/janos/channels/conformance"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// limited opens a channel for UDP to port 1 with a rate.
func limited(t *testing.T, n *nodeos.Node, rate, burst int) *nodeos.InChan {
	t.Helper()
	c, err := n.Root().NewInChan(nodeos.InChanSpec{Protocol: "l0/ether/ip/udp", Address: ":1", Rate: rate, Burst: burst, Quota: 1 << 12,
		Handler: func(w *nodeos.Worker, b *packet.Batch) { w.Cache().FreeBatch(b) }})
	must(t, err)
	return c
}

// TestRate floods a channel that has a rate, by more than the ring holds while the worker is held up. What comes too fast is not in the ring, so that
// the neighbour loses nothing.
func TestRate(t *testing.T) {
	each(t, func(t *testing.T, w *network, o map[string]string) {
		n := conformance.NewNode(t)
		l := w.open(t, n, nodeos.LinkSpec{Name: "l0", Opts: o, Ring: 64})
		const rate, burst, flood = 2, 30, 40_000 // a ring of 64 blocks has room for 39,000 frames of this length
		before := time.Now()
		c := limited(t, n, rate, burst)
		neighbour := conformance.NewSink(t, n, "l0/ether/ip/udp", ":2", "")
		host := udpAt(t, w.here, "10.77.0.1:1")
		send := w.generator(t, conformance.UDPFrame(w.mac, 1, make([]byte, 22)))
		held, release := make(chan bool), make(chan bool)
		n.Worker(0).Post(func() { held <- true; <-release })
		<-held
		for range flood / sys.MaxMsgs {
			send()
		}
		for i := range uint32(20) {
			w.inject(t, conformance.UDPFrame(w.mac, 2, binary.BigEndian.AppendUint32(nil, i)))
		}
		close(release)
		for i := range uint32(20) {
			if g := neighbour.Next(t); binary.BigEndian.Uint32(g.Data) != i {
				t.Fatalf("the neighbour got %x where %d was to come", g.Data, i)
			}
		}
		conformance.Until(t, func() bool { st := c.Stats(); return st.Packets+st.Limited >= flood })
		most := burst + uint64(time.Since(before)/(time.Second/rate)) + 1
		if st := c.Stats(); st.Packets < burst || st.Packets > most || st.Packets+st.Limited != flood || st.Full != 0 {
			t.Errorf("%+v, want %d to %d accepted", st, burst, most)
		}
		if st := l.Stats(); st.RxDrops != 0 || st.RxPackets != c.Stats().Packets+20 {
			t.Errorf("what came too fast was received: %+v", st)
		}
		// The time comes when the next are due, and the rate is another then.
		accepted := c.Stats().Packets
		conformance.Until(t, func() bool {
			w.inject(t, conformance.UDPFrame(w.mac, 1, []byte("x")))
			return c.Stats().Packets > accepted
		})
		// The host got nothing of it, whether it was dropped or not.
		c.Close()
		w.inject(t, conformance.FrameSpec{Dst: w.mac, Port: 1, Payload: []byte("the host's")}.Build())
		if got := next(t, host); got != "the host's" {
			t.Errorf("the host got %q", got)
		}
	})
}

// TestRateOfSuperFrames sends runs of datagrams, which come as one frame each and count as many.
func TestRateOfSuperFrames(t *testing.T) {
	each(t, func(t *testing.T, w *network, o map[string]string) {
		n := conformance.NewNode(t)
		l := w.open(t, n, spec(o))
		c := limited(t, n, 1, 10)
		var fd int
		must(t, w.there.Do(func() (err error) {
			fd, _, err = sys.OpenUDP(netip.MustParseAddrPort("10.77.0.2:0"), 1<<16)
			return err
		}))
		defer sys.CloseFD(fd)
		q, data := sys.NewMsgQueue(), make([]byte, 100)
		for i := range 8 {
			q.SetPart(i, data)
		}
		// Ten seconds' worth may come at once: the first run takes eight, the second is not too early by more than nine, the third is.
		for sent := uint64(0); sent < 3*8; {
			q.SetRun(0, 0, 8, len(data), netip.MustParseAddrPort("10.77.0.1:1"), false)
			if _, err := q.Send(fd, 0, 1); err != nil {
				t.Fatal(err)
			}
			sent += 8
			conformance.Until(t, func() bool { st := c.Stats(); return st.Packets+st.Limited == sent })
		}
		if st := c.Stats(); st.Packets != 16 || st.Limited != 8 {
			t.Errorf("%+v, want two runs of eight accepted and one not", st)
		}
		must(t, n.CloseLink("l0"))
		if l.segRx.Len < 8*len(data) {
			t.Error("the kernel made no super-frame, so nothing was tested")
		}
	})
}
