package nodeos

import (
	"fmt"
	"testing"

	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

// A batch of packets of more channels than a run notes at a time, and of nobody, all mixed: each channel gets its own in order, and the counters add up.
func TestBatchOfManyChannels(t *testing.T) {
	const chans, rounds, quota = 75, 3, 2
	r := stepped(t, resctl.Spec{})
	l := r.link("eth0")
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	var ins []*InChan
	for i := range chans {
		in, err := d.NewInChan(InChanSpec{Protocol: "eth0/ether/ip/udp", Address: fmt.Sprintf(":%d", i+1), Quota: quota})
		if err != nil {
			t.Fatal(err)
		}
		ins = append(ins, in)
	}
	bytes := make([]int, chans)
	for k := range rounds {
		for i := range chans {
			payload := fmt.Sprint(k, " of ", i*i)
			if k < quota {
				bytes[i] += len(payload)
			}
			l.in = append(l.in, udp(t, uint16(i+1), payload))
		}
		l.in = append(l.in, udp(t, 9999, "nobody's"), udp(t, 9999, "nobody's"))
	}
	l.rx.Wake()
	r.settle()
	var b packet.Batch
	for i, in := range ins {
		st := in.Stats()
		if st.Packets != quota || st.Bytes != uint64(bytes[i]) || st.Full != rounds-quota || st.Held != quota {
			t.Errorf("channel %d: %+v", i, st)
		}
		if n := in.Receive(&b); n != quota {
			t.Fatalf("channel %d has %d packets", i, n)
		}
		for k, p := range b.Packets() {
			if want := fmt.Sprint(k, " of ", i*i); string(p.Data()) != want {
				t.Errorf("channel %d: packet %d is %q, want %q", i, k, p.Data(), want)
			}
		}
		in.worker.cache.FreeBatch(&b)
	}
	if st, err := r.node.LinkStats("eth0"); err != nil || st.Unclaimed != 2*rounds {
		t.Errorf("%+v, %v", st, err)
	}
	if held := d.Account().Use(resctl.Frames); held != 0 {
		t.Errorf("%d frames charged at the end", held)
	}
}
