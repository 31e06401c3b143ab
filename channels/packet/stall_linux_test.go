package packet

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/janos-os/janos/channels/conformance"
)

// TestStall holds the worker up while packets come one at a time, which is what the blocks of a ring hold fewest of: the kernel closes a
// block each millisecond in which a packet came, and has no room when all are closed.
func TestStall(t *testing.T) {
	each(t, func(t *testing.T, w *network, o map[string]string) {
		n := conformance.NewNode(t)
		l := w.open(t, n, spec(o))
		s := conformance.NewSink(t, n, "l0/ether/ip/udp", ":7000", "")
		held, release := make(chan bool), make(chan bool)
		n.Worker(0).Post(func() { held <- true; <-release })
		<-held
		const count = 48
		tick := time.NewTicker(2 * time.Millisecond) // so that the ring's timer runs out between packets
		defer tick.Stop()
		for i := range uint32(count) {
			w.inject(t, conformance.UDPFrame(w.mac, conformance.Port, binary.BigEndian.AppendUint32(nil, i)))
			<-tick.C
		}
		close(release)
		for i := range uint32(count) {
			if st := l.Stats(); st.RxDrops > 0 {
				t.Fatalf("the ring had no room: %+v", st)
			}
			if g := s.Next(t); binary.BigEndian.Uint32(g.Data) != i {
				t.Fatalf("packet %x where %d was to come", g.Data, i)
			}
		}
	})
}
