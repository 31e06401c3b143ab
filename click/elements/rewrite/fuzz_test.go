package rewrite

import (
	"testing"

	"github.com/janos-os/janos/click/elementtest"
	"github.com/janos-os/janos/packet"
)

// everyRewriter has all rewriters, fed with whatever comes, twice, so that flows are made and then used.
const everyRewriter = `
in0 :: ScriptIn -> m :: MarkIPHeader -> t :: Tee;
t [0] -> rw :: IPRewriter(pattern 1.0.0.1 1024-1030# - - 0 0) -> ICMPRewriter(rw) -> Discard;
t [1] -> f :: FTPPortMapper(tcp, tcp, 0) -> tcp :: TCPRewriter(pattern 1.0.0.1 1-65535 - - 0 0) -> Discard;
t [2] -> udp :: UDPRewriter(keep 0 0) -> Discard;
t [3] -> addr :: IPAddrRewriter(pattern 1.0.0.0/24 - 0 0) -> Discard;
t [4] -> pair :: IPAddrPairRewriter(pattern - 2.2.2.2 0 0) -> Discard;
t [5] -> ping :: ICMPPingRewriter(pattern 1.0.0.1 - 1-9 0 0) -> Discard;
t [6] -> ICMPRewriter(rw tcp udp addr pair ping) -> Discard;
`

func FuzzPackets(f *testing.F) {
	f.Add([]byte("\x45\x00\x00\x1c\x00\x00\x00\x00\x01\x11\x65\xcf\x0a\x00\x00\x01\x0a\x00\x01\x02\x00\x05\x00\x06\x00\x08\x00\x00"))
	f.Add([]byte("\x45\x00\x00\x1c\x00\x00\x00\x00\x01\x01\x65\xcf\x0a\x00\x00\x01\x0a\x00\x01\x02\x08\x00\x00\x06\x00\x08\x00\x00"))
	f.Add([]byte("\x45\x00\x00\x3c\x00\x00\x00\x00\x40\x06\x00\x00\x0a\x00\x00\x01\x0a\x00\x01\x02\x00\x05\x00\x15\x00\x00\x00\x01\x00\x00\x00\x00\x50\x10\x00\x00\x00\x00\x00\x00PORT 10,0,0,1,4,5\r\n "))
	f.Add([]byte("\x45\x00\x00\x38\x00\x00\x00\x00\x40\x01\x00\x00\x06\x06\x06\x06\x01\x00\x00\x01\x0b\x00\x00\x00\x00\x00\x00\x00" +
		"\x45\x00\x00\x1c\x00\x00\x00\x00\x01\x11\x65\xcf\x01\x00\x00\x01\x0a\x00\x01\x02\x04\x00\x00\x06\x00\x08\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1500 {
			return
		}
		s, err := elementtest.New(t, everyRewriter, elementtest.Options{Frames: packet.MaxBatch})
		if err != nil {
			t.Fatal(err)
		}
		in := s.Router.Element("in0").(*elementtest.ScriptIn)
		if err := s.Router.Do(func() {
			// First of all a flow that errors may be about, then the packet, in one piece and in two.
			seed := []byte("\x45\x00\x00\x1c\x00\x00\x00\x00\x01\x11\x65\xcf\x0a\x00\x00\x01\x0a\x00\x01\x02\x00\x05\x00\x06\x00\x08\x00\x00")
			for _, d := range [][]byte{seed, data, data, data[:len(data)/2], data[len(data)/2:]} {
				b := in.Thread().Scratch()
				if p := in.Cache().AllocFrom(in.Owner(), d); p != nil {
					b.Append(p)
				}
				in.Out(0).Push(b)
				in.Thread().Release(b)
			}
		}); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"rw.udp_table", "rw.tcp_table", "tcp.table", "udp.table", "addr.table", "pair.table", "ping.table"} {
			if _, err := s.Router.Read(name, ""); err != nil {
				t.Fatal(err)
			}
		}
		if n := s.Close(); n != 0 {
			t.Fatalf("%d frames were not given back", n)
		}
		_ = s.Node.Close()
	})
}

// FuzzHandlers: what handlers refuse changes nothing, and what they take can be undone.
func FuzzHandlers(f *testing.F) {
	for _, s := range []string{
		"tcp 1.2.3.4 5 6.7.8.9 10 - - - - 0 0", "1.2.3.4 5 6.7.8.9 10 1.1.1.1 - - 7 0 0 permanent", "1.2.3.4 5.6.7.8 0 0", "1.2.3.4 5.6.7.8 - 9.9.9.9 0 0", "1.2.3.4 5.6.7.8 9 - - 10 0 0",
		"pattern 1.0.0.1 1024-65535# - - 0 0", "pattern 1.0.0.0/8 - 0 0", "keep 0 0", "pass", "pattern 1.0.0.1-255.255.255.255? - 0 0", "pattern - 0-0 - 1 0 0", "3", "-", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 200 {
			return
		}
		s, err := elementtest.New(t, everyRewriter, elementtest.Options{Frames: packet.MaxBatch})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"rw", "tcp", "udp", "addr", "pair", "ping"} {
			state := func() (all string) {
				for _, h := range []string{"patterns", "capacity", "size"} {
					v, err := s.Router.Read(name+"."+h, "")
					if err != nil {
						t.Fatal(err)
					}
					all += v + "\n"
				}
				return all
			}
			for _, h := range []string{"pattern0", "add", "remove", "capacity"} {
				before := state()
				if err := s.Router.Write(name+"."+h, text); err != nil && state() != before {
					t.Errorf("%s.%s %q: %v, but it changed\n%s to\n%s", name, h, text, err, before, state())
				}
			}
			_, _ = s.Router.Read(name+".lookup", text)
			_, _ = s.Router.Read(name+".tcp_lookup", text)
			if err := s.Router.Write(name+".clear", ""); err != nil {
				t.Fatal(err)
			}
			if n := s.Router.Element(name).(sharer).core().table; n.n != 0 || len(n.rest.e)+len(n.safe.e) != 0 {
				t.Errorf("%s: %d flows after clear", name, n.n)
			}
		}
		_ = s.Node.Close()
	})
}

// FuzzPort: what is taken for a PORT command is one, and its end is within the data.
func FuzzPort(f *testing.F) {
	f.Add([]byte("PORT 1,2,3,4,5,6\r\n"))
	f.Add([]byte("port 255,255,255,255,255,255\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, ok := parsePort(b)
		if !ok {
			return
		}
		if c.begin < 5 || c.begin > c.end || c.end > len(b) || c.port == 0 {
			t.Fatalf("%q: %+v", b, c)
		}
		text := appendPort(nil, c.addr, c.port)
		if d, ok := parsePort([]byte("PORT " + string(text) + "\n")); !ok || d.addr != c.addr || d.port != c.port || len(text) > maxPort {
			t.Errorf("%q became %q", b, text)
		}
	})
}
