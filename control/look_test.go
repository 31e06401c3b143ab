package control

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/pcapfile"
	"github.com/janos-os/janos/node"
)

const looked = `src :: RatedSource(DATA \<4500001c 00000000 40110000 0a000001 0a000002 00010002 00080000>, RATE 2000) -> m :: MarkIPHeader -> t :: Tee -> c :: Counter -> d :: Discard; t[1] -> e :: Discard;`

func TestLooking(t *testing.T) {
	n := start(t, func(s *node.Spec) { s.Graph = looked; s.ANTS.Off = true; s.ANTS.Protocols = nil })
	_, c := serve(t, n)
	ctx := t.Context()
	reports := 0
	var packets uint64
	some, stop := context.WithCancel(ctx)
	err := c.GraphRuntime(some, 20*time.Millisecond, 0, func(g GraphRuntime) error {
		if reports++; reports >= 3 && packets > 0 {
			stop()
		}
		if len(g.Elements) != 6 || g.Elements[3].Name != "c" || g.Over <= 0 {
			t.Errorf("report %+v", g)
			return nil
		}
		packets += g.Elements[3].In[0].Packets
		if in, out := g.Elements[2].In[0], g.Elements[2].Out[1]; in.Packets != out.Packets || in.Bytes != 28*in.Packets {
			t.Errorf("the tee: in %+v, out %+v", in, out)
		}
		return nil
	})
	if err != nil || reports < 3 || packets == 0 {
		t.Errorf("%d reports, %d packets, %v", reports, packets, err)
	}
	reports = 0
	if err := c.GraphRuntime(ctx, 20*time.Millisecond, 2, func(GraphRuntime) error { reports++; return nil }); err != nil || reports != 2 {
		t.Errorf("%d reports of 2, %v", reports, err)
	}
	var steps []string
	err = c.Trace(ctx, 2, "", func(l TraceLine) error {
		if l.Step == nil {
			t.Errorf("%d steps lost", l.Lost)
			return nil
		}
		if l.Packet == 2 && l.Copy == 0 {
			steps = append(steps, l.To+" "+l.Headers)
		}
		return nil
	})
	// Of the tee's two outputs one has the packet itself and one a copy.
	if err != nil || len(steps) != 4 && len(steps) != 3 || steps[0] != "m 10.0.0.1:1 > 10.0.0.2:2 udp ttl 64" || steps[1] != "t 10.0.0.1:1 > 10.0.0.2:2 udp ttl 64" {
		t.Errorf("trace %q, %v", steps, err)
	}
	var file bytes.Buffer
	if err := c.Capture(ctx, "m", 5, 20, &file); err != nil {
		t.Fatal(err)
	}
	r, err := pcapfile.NewReader(&file, "capture")
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			if i != 5 {
				t.Errorf("%d packets captured", i)
			}
			break
		}
		if err != nil || len(p.Data) != 20 || p.Data[0] != 0x45 {
			t.Fatalf("packet %d: %+v, %v", i, p, err)
		}
	}
	// What goes on until the client leaves ends when it does.
	short, cancel := context.WithCancel(ctx)
	if err := c.GraphRuntime(short, leastEvery, 0, func(GraphRuntime) error { cancel(); return nil }); err != nil {
		t.Errorf("a client that leaves: %v", err)
	}
	for _, bad := range []struct {
		fn   func() error
		kind errs.Kind
		text string
	}{
		{func() error { return c.GraphRuntime(ctx, time.Microsecond, 1, nil) }, errs.Invalid, "every="},
		{func() error { return c.GraphRuntime(ctx, time.Second, -1, nil) }, errs.Invalid, "count="},
		{func() error { return c.Trace(ctx, 1<<30, "", nil) }, errs.Invalid, "count="},
		{func() error { return c.Trace(ctx, 1, "nobody[0]", nil) }, errs.NotFound, "nobody"},
		{func() error { return c.Capture(ctx, "t[2]", 1, 0, nil) }, errs.NotFound, "no output 2"},
		{func() error { return c.Capture(ctx, "t[1]", 1, 1<<20, nil) }, errs.Invalid, "snap="},
	} {
		if err := bad.fn(); errs.KindOf(err) != bad.kind || !strings.Contains(err.Error(), bad.text) {
			t.Errorf("got %v, want %v about %q", err, bad.kind, bad.text)
		}
	}
}
