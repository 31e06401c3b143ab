package packet

import (
	"testing"

	"github.com/janos-os/janos/channels/conformance"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
)

// claimed injects a frame to each port and reports which of them the ring takes, by the last port, which it must.
func claimed(t *testing.T, w *network, l *Link, c *packet.Cache, ports ...uint16) map[uint16]bool {
	t.Helper()
	for _, p := range ports {
		w.inject(t, conformance.UDPFrame(w.mac, p, []byte("x")))
	}
	got := map[uint16]bool{}
	conformance.Until(t, func() bool {
		var b packet.Batch
		l.Receive(c, &b)
		for _, p := range b.Packets() {
			got[uint16(p.Data()[36])<<8|uint16(p.Data()[37])] = true
		}
		c.FreeBatch(&b)
		return got[ports[len(ports)-1]]
	})
	return got
}

// TestManyRules claims thousands of ports. One more or less changes a map and not the filter. A change that is refused leaves
// everything as it was.
func TestManyRules(t *testing.T) {
	w := newNetwork(t)
	l, c := w.byHand(t, nil, 0)
	const n = 4096
	rules := portRules(t, n+1)
	claims := conformance.Claims(t, "l0", rules[:n]...)
	must(t, l.Claim(claims))
	filter := l.claims.filter
	if got := claimed(t, w, l, c, n+2, n+1, 1, n/2, n); len(got) != 3 {
		t.Errorf("claimed are %v", got)
	}
	more := claims
	var err error
	more.Program, err = claims.Program.With(rules[n])
	must(t, err)
	must(t, l.Claim(more))
	if got := claimed(t, w, l, c, n+2, 1, n+1); len(got) != 2 {
		t.Errorf("with one more: claimed are %v", got)
	}
	must(t, l.Claim(claims))
	if got := claimed(t, w, l, c, n+1, n); len(got) != 1 {
		t.Errorf("with one less: claimed are %v", got)
	}
	if l.claims.filter != filter {
		t.Error("one key makes another filter")
	}

	// More mask shapes than a link may have.
	many := claims.Program
	for i := range demux.MaxFilterShapes + 1 {
		r := rules[n]
		r.ID = uint32(n + i)
		r.Key = demux.Key{{Offset: i, Value: []byte{1}}}
		many, err = many.With(r)
		must(t, err)
	}
	refused := claims
	refused.Program = many
	if err := l.Claim(refused); errs.KindOf(err) != errs.Limit {
		t.Errorf("%d shapes: %v", many.Shapes(), err)
	}
	if got := claimed(t, w, l, c, n+1, 1, n); len(got) != 2 {
		t.Errorf("after a refusal: claimed are %v", got)
	}
}
