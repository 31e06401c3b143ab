package nodeosabi

import (
	"net/netip"
	"testing"

	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/sdk/abi"
)

// FuzzRecords gives the readers of records whatever bytes: they refuse, or return what is within its bounds.
func FuzzRecords(f *testing.F) {
	f.Add(make([]byte, abi.NOInSize))
	in := make([]byte, abi.NOInSize)
	in[abi.NOInTuplesOff], in[abi.NOInTupleOff+abi.NOTupleLengthOff] = 1, 16
	f.Add(in)
	out := make([]byte, abi.NOOutSize)
	out[abi.NOOutRemoteOff+abi.NOAddressFamilyOff] = 6
	f.Add(out)
	f.Add([]byte{255, 255, 255, 255})
	p := &Port{Protocol: "if/udp", Address: ":7", AnyPort: true, Key: demux.Key{{Value: []byte("x")}}, To: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	f.Fuzz(func(t *testing.T, data []byte) {
		b := make([]byte, 512)
		copy(b, data)
		if s, err := inSpec(p, b); err == nil {
			if s.Quota < 1 || s.Quota > abi.NOQuotaMax || s.Snap < 1 || s.Snap > abi.NOSnapMax || s.Rate < 0 || s.Burst < 0 || len(s.Key) > demux.MaxTuples || len(s.Key) < 1 || string(s.Key[0].Value) != "x" {
				t.Errorf("in-channel %+v", s)
			}
			if _, err := demux.Compile(demux.UDP, "l", []demux.Rule{{ID: 1, Protocol: demux.Protocol{Link: "l", Layers: []demux.Layer{demux.UDP}}, Key: s.Key}}); err != nil {
				t.Errorf("a key that does not compile: %v", err)
			}
		}
		if s, err := outSpec(p, b); err == nil {
			if a := s.Remote.Addr.Addr(); a.IsValid() && !p.may(a) || s.Quota > abi.NOQuotaMax || s.Snap > abi.NOSnapMax {
				t.Errorf("out-channel %+v", s)
			}
		}
		if s, err := domainSpec(b); err == nil {
			for r, n := range s.Limit {
				if n < -1 {
					t.Errorf("limit %d of resource %d", n, r)
				}
			}
			for _, c := range s.Name {
				if c < ' ' {
					t.Errorf("name %q", s.Name)
				}
			}
		}
		if r, err := remote(b); err == nil {
			var again [abi.NOAddressSize]byte
			PutRemote(again[:], &r)
			if q, err := remote(again[:]); err != nil || q != r && r.Addr.Addr().IsValid() {
				t.Errorf("%+v is read as %+v, %v", r, q, err)
			}
		}
		if d, err := view(b, data, 100); err == nil && len(d) > min(100, len(data)) {
			t.Errorf("a view of %d bytes", len(d))
		} else if err != nil && errs.KindOf(err) == errs.Internal {
			t.Error(err)
		}
		_ = text(data)
	})
}

// What the host does for a packet takes no memory of Go's.
func TestQueueAllocatesNothing(t *testing.T) {
	c := &inChannel{common: &common{q: newQueue(8, 64)}}
	data := make([]byte, 100)
	m := Meta{Remote: Remote{Addr: netip.MustParseAddrPort("10.0.0.1:5")}}
	if n := testing.AllocsPerRun(100, func() {
		if !c.Begin(nil) {
			t.Fatal("no room")
		}
		for range 8 {
			if ok, _ := c.Put(nil, data, &m); !ok {
				t.Fatal("no room")
			}
		}
		if ok, _ := c.Put(nil, data, &m); ok || c.Begin(nil) {
			t.Fatal("more than its quota")
		}
		for range 8 {
			if d, m := c.q.First(); len(d) != 64 || m.Length != 100 {
				t.Fatalf("%d bytes of %d", len(d), m.Length)
			}
			c.q.Pop()
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Any number may put while one takes: nothing is lost, doubled or torn.
func TestQueueOfManyWriters(t *testing.T) {
	q := newQueue(16, 8)
	const writers, each = 4, 5000
	done := make(chan int)
	for w := range writers {
		go func() {
			refused := 0
			for k := 0; k < each; {
				var b [8]byte
				le.PutUint32(b[:], uint32(w))
				le.PutUint32(b[4:], uint32(k))
				if q.put(b[:], &Meta{Link: uint32(w)}) {
					k++
				} else {
					refused++
				}
			}
			done <- refused
		}()
	}
	var next [writers]uint32
	for left := writers * each; left > 0; {
		b, m := q.First()
		if b == nil {
			continue
		}
		w, k := le.Uint32(b), le.Uint32(b[4:])
		if m.Link != w || next[w] != k {
			t.Fatalf("packet %d of writer %d, want %d", k, w, next[w])
		}
		next[w]++
		q.Pop()
		left--
	}
	for range writers {
		<-done
	}
	if b, _ := q.First(); b != nil || q.Len() != 0 {
		t.Error("something is left")
	}
}
