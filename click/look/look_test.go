package look_test

import (
	"fmt"
	"strings"
	"testing"

	_ "github.com/janos-os/janos/click/elements"
	"github.com/janos-os/janos/click/elementtest"
	"github.com/janos-os/janos/click/look"
	"github.com/janos-os/janos/packet"
)

func session(t *testing.T, config string) *elementtest.Session {
	t.Helper()
	s, err := elementtest.New(t, config, elementtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if n := s.Close(); n != 0 {
			t.Errorf("%d frames are held", n)
		}
	})
	return s
}

func lines(t *look.Trace) string {
	steps, _, _, lost := t.Steps()
	var b strings.Builder
	for _, s := range steps {
		fmt.Fprintf(&b, "%d.%d %s[%d] -> [%d]%s %d %s\n", s.Packet, s.Copy, s.From, s.FromPort, s.ToPort, s.To, s.Length, s.Headers)
	}
	if lost > 0 {
		fmt.Fprintf(&b, "lost %d\n", lost)
	}
	return b.String()
}

func TestTrace(t *testing.T) {
	s := session(t, `in :: ScriptIn -> t :: Tee -> s :: Strip(14) -> ch :: CheckIPHeader -> q :: Queue -> n :: Null -> u :: Unqueue -> ttl :: DecIPTTL -> d :: Discard;
t[1] -> e :: Discard; ttl[1] -> err :: ICMPError(10.0.0.9, timeexceeded) -> f :: Discard;`)
	tr, err := look.NewTrace(s.Router, 2, nil)
	if err != nil {
		t.Fatal(err)
	}
	send := func(p string) { s.Do("send in " + p) }
	send("eth 2::5 2::1 0800 ip 10.0.0.5 10.0.1.6 udp 100 200")
	want := `1.0 in[0] -> [0]t 42 02:00:00:00:00:05 > 02:00:00:00:00:01 10.0.0.5:100 > 10.0.1.6:200 udp ttl 64
1.1 t[0] -> [0]s 42 02:00:00:00:00:05 > 02:00:00:00:00:01 10.0.0.5:100 > 10.0.1.6:200 udp ttl 64
1.1 s[0] -> [0]ch 28 10.0.0.5:100 > 10.0.1.6:200 udp ttl 64
1.1 ch[0] -> [0]q 28 10.0.0.5:100 > 10.0.1.6:200 udp ttl 64
1.0 t[1] -> [0]e 42 02:00:00:00:00:05 > 02:00:00:00:00:01 10.0.0.5:100 > 10.0.1.6:200 udp ttl 64
1.1 q[0] -> [0]n 28 10.0.0.5:100 > 10.0.1.6:200 udp ttl 64
1.1 n[0] -> [0]u 28 10.0.0.5:100 > 10.0.1.6:200 udp ttl 64
1.1 u[0] -> [0]ttl 28 10.0.0.5:100 > 10.0.1.6:200 udp ttl 64
1.1 ttl[0] -> [0]d 28 10.0.0.5:100 > 10.0.1.6:200 udp ttl 63
`
	if got := lines(tr); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	send("eth 2::5 2::1 0800 ip 10.0.0.5 10.0.1.6 ttl 1 icmp 8 0")
	got := lines(tr)
	if !strings.Contains(got, "2.1 ttl[1] -> [0]err 28") || strings.Contains(got, "1.") && strings.HasPrefix(got, "1") {
		t.Errorf("the second packet:\n%s", got)
	}
	send("eth 2::5 2::1 0800 ip 10.0.0.5 10.0.1.6 udp 100 200")
	if got := lines(tr); got != "" {
		t.Errorf("a third packet is followed:\n%s", got)
	}
	if _, all, last, _ := tr.Steps(); !all || last.IsZero() {
		t.Error("the trace does not know that it has all")
	}
	tr.Close()
	place, err := look.ParsePlace(s.Router, "ttl[1]")
	if err != nil {
		t.Fatal(err)
	}
	tr, err = look.NewTrace(s.Router, 5, &place)
	if err != nil {
		t.Fatal(err)
	}
	send("eth 2::5 2::1 0800 ip 10.0.0.5 10.0.1.6 udp 100 200; eth 2::5 2::1 0800 ip 10.0.0.5 10.0.1.6 ttl 1 udp 100 200; eth 2::5 2::1 0800 ip 10.0.0.5 10.0.1.6 ttl 1 udp 100 200")
	if got, want := lines(tr), "1.0 ttl[1] -> [0]err 28 10.0.0.5:100 > 10.0.1.6:200 udp ttl 1\n"; !strings.HasPrefix(got, want) || !strings.Contains(got, "2.0 ttl[1]") || strings.Contains(got, "3.0") {
		t.Errorf("from a place:\n%s", got)
	}
	tr.Close()
}

func TestCapture(t *testing.T) {
	s := session(t, `in :: ScriptIn -> t :: Tee -> s :: Strip(14) -> MarkIPHeader -> q :: Queue -> u :: Unqueue -> d :: Discard; t[1] -> e :: Discard;`)
	for place, wantIP := range map[string]bool{"t[1]": false, "[0]d": true, "d": true, "[0] u": true, "in": false} {
		p, err := look.ParsePlace(s.Router, place)
		if err != nil {
			t.Fatal(err)
		}
		c, err := look.NewCapture(s.Router, p, 30)
		if err != nil {
			t.Fatal(err)
		}
		s.Do("send in eth 2::5 2::1 0800 ip 10.0.0.5 10.0.1.6 udp 100 200 zero 50; eth 2::5 2::1 0800 ip 10.0.0.5 10.0.1.6 udp 1 2")
		c.Close()
		if len(c.Packets()) != 2 {
			t.Errorf("%s: %d packets", place, len(c.Packets()))
			continue
		}
		if g := <-c.Packets(); g.IP != wantIP || len(g.Data) != 30 || g.Length != map[bool]int{true: 78, false: 92}[wantIP] {
			t.Errorf("%s: %+v", place, g)
		}
	}
	p, _ := look.ParsePlace(s.Router, "in")
	c, err := look.NewCapture(s.Router, p, 0)
	if err != nil {
		t.Fatal(err)
	}
	batch := "hex 00" + strings.Repeat("; hex 00", 99)
	for range 50 {
		s.Do("send in " + batch)
	}
	if n := uint64(len(c.Packets())) + c.Lost(); n != 5000 || c.Lost() == 0 {
		t.Errorf("%d packets captured or lost, %d of them lost", n, c.Lost())
	}
	c.Close()
}

func TestParsePlace(t *testing.T) {
	s := session(t, `a/b :: ScriptIn -> t :: Tee -> d :: Discard; t[1] -> e :: Discard;`)
	for text, want := range map[string]look.Place{
		"a/b": {0, 0, false}, "a/b[0]": {0, 0, false}, "t [1]": {1, 1, false}, "[0] t": {1, 0, true}, "d": {2, 0, true},
	} {
		if got, err := look.ParsePlace(s.Router, text); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "x", "t[2]", "[1]t", "t[-1]", "t[x]", "[0", "d[0]", "t[]", "[0]t[1]", "t[99999999999]"} {
		if got, err := look.ParsePlace(s.Router, bad); err == nil {
			t.Errorf("%q is read as %+v", bad, got)
		}
	}
}

// FuzzHeaders describes any bytes, with headers anywhere.
func FuzzHeaders(f *testing.F) {
	f.Add([]byte("\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x81\x00\x00\x05\x08\x00E\x00\x00\x14\x00\x00\x00\x00@\x11\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02"), -1)
	f.Add([]byte("`\x00\x00\x00\x00\x08\x06@"+strings.Repeat("\x01", 60)), 0)
	f.Add([]byte("\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01"+strings.Repeat("\x01", 30)), 5)
	pool, err := packet.NewPool(packet.PoolSpec{Frames: 4})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { pool.Close() })
	c := pool.Cache(0)
	f.Fuzz(func(t *testing.T, data []byte, network int) {
		if len(data) > 1500 {
			return
		}
		p := c.AllocFrom(packet.Node, data)
		if network >= 0 && network <= 3000 {
			p.SetNetwork(network)
		}
		if s := look.Headers(p); len(s) > 300 {
			t.Errorf("%d characters: %s", len(s), s)
		}
		c.Free(p)
	})
}
