package packet

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/janos-os/janos/channels/conformance"
)

// TestWakes sends packets of which each waits for the one before, so that the worker goes to sleep before each, while claims change: a wake that
// is lost anywhere ends the test. -count makes a stress test of it.
func TestWakes(t *testing.T) {
	each(t, func(t *testing.T, w *network, o map[string]string) {
		n := conformance.NewNode(t)
		w.open(t, n, spec(o))
		s := conformance.NewSink(t, n, "l0/ether/ip/udp", fmt.Sprintf(":%d", conformance.Port), "")
		stop, stopped := make(chan bool), make(chan bool)
		go func() {
			defer close(stopped)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					conformance.NewSink(t, n, "l0/ether/ip/udp", fmt.Sprintf(":%d", 9000+i%64), "").Chan.Close()
				}
			}
		}()
		for i := range uint32(300) {
			w.inject(t, conformance.UDPFrame(w.mac, conformance.Port, binary.BigEndian.AppendUint32(nil, i)))
			if g := s.Next(t); binary.BigEndian.Uint32(g.Data) != i {
				t.Errorf("packet %x where %d was to come", g.Data, i)
			}
		}
		close(stop)
		<-stopped
		s.Empty(t)
	})
}
