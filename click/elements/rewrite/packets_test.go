package rewrite

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/elements/ip"
	_ "github.com/janos-os/janos/click/elements/standard"
	"github.com/janos-os/janos/click/elementtest"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{Name: "Catch", Ports: "1/0", Processing: "h", New: func() click.Element { return &catch{} }, Doc: click.Doc{Group: "test"}})
}

// catch keeps the bytes of the last packet.
type catch struct {
	click.Base
	data []byte
	n    int
}

func (e *catch) Configure(a *click.Args) { a.Parse() }

func (e *catch) Push(_ int, b *packet.Batch) {
	for _, p := range b.Packets() {
		e.data = append(e.data[:0], p.Data()...)
		e.n++
	}
	e.Cache().FreeBatch(b)
}

// through pushes a packet into an input and returns what came out of which output, -1 for none.
func through(t *testing.T, s *elementtest.Session, in string, data []byte) (out int, got []byte) {
	t.Helper()
	out = -1
	for i := range 2 {
		s.Router.Element(fmt.Sprintf("c%d", i)).(*catch).n = 0
	}
	el := s.Router.Element(in).(*elementtest.ScriptIn)
	if err := s.Router.Do(func() {
		b := el.Thread().Scratch()
		b.Append(el.Cache().AllocFrom(el.Owner(), data))
		el.Out(0).Push(b)
		el.Thread().Release(b)
	}); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if c := s.Router.Element(fmt.Sprintf("c%d", i)).(*catch); c.n > 0 {
			out, got = i, bytes.Clone(c.data)
		}
	}
	return out, got
}

// makePacket makes a packet with right checksums.
func makePacket(rnd *rand.Rand, proto byte, src, dst uint32) []byte {
	opts := rnd.IntN(3) * 4
	size := map[byte]int{6: 20, 17: 8, 1: 8}[proto] + rnd.IntN(50)
	b := make([]byte, 20+opts+size)
	h, m := b[:20+opts], b[20+opts:]
	h[0], h[8], h[9] = byte(0x40|len(h)/4), 64, proto
	for i := 20; i < len(h); i++ {
		h[i] = 1
	}
	binary.BigEndian.PutUint16(h[2:], uint16(len(b)))
	binary.BigEndian.PutUint32(h[12:], src)
	binary.BigEndian.PutUint32(h[16:], dst)
	for i := range m {
		m[i] = byte(rnd.Uint32())
	}
	at := 6
	switch proto {
	case 6:
		m[12], at = 0x50, 16
	case 17:
		binary.BigEndian.PutUint16(m[4:], uint16(len(m)))
	case 1:
		m[0], m[1], at = 8, 0, 2
	}
	m[at], m[at+1] = 0, 0
	sum := uint64(0)
	if proto != 1 {
		sum = demux.PseudoSum(ip.Src(h), ip.Dst(h), proto, len(m))
	}
	check := demux.Fold(demux.Sum(sum, m))
	if check == 0 {
		check = 0xffff
	}
	binary.BigEndian.PutUint16(m[at:], check)
	ip.SetChecksum(h)
	return b
}

// sums reports whether the checksums of a packet are right.
func sums(b []byte) error {
	h := b[:ip.HeaderLen(b)]
	if demux.Checksum(h) != 0 {
		return fmt.Errorf("bad IP checksum")
	}
	m := b[len(h):]
	sum := uint64(0)
	if h[9] != 1 {
		sum = demux.PseudoSum(ip.Src(h), ip.Dst(h), h[9], len(m))
	}
	if demux.Fold(demux.Sum(sum, m)) != 0 {
		return fmt.Errorf("bad checksum of protocol %d", h[9])
	}
	return nil
}

// answerTo makes a packet that answers another one, with the same payload.
func answerTo(b []byte) []byte {
	r := bytes.Clone(b)
	h := r[:ip.HeaderLen(r)]
	copy(h[12:16], b[16:20])
	copy(h[16:20], b[12:16])
	m := r[len(h):]
	if h[9] == 1 {
		m[0] = 0
		m[2], m[3] = 0, 0
		binary.BigEndian.PutUint16(m[2:], demux.Checksum(m))
		return r
	}
	m[0], m[1], m[2], m[3] = m[2], m[3], m[0], m[1]
	return r
}

// errorAbout makes an ICMP error about a packet.
func errorAbout(b []byte, from uint32, quote int) []byte {
	q := b[:min(len(b), quote)]
	e := make([]byte, 28+len(q))
	e[0], e[8], e[9] = 0x45, 64, 1
	binary.BigEndian.PutUint16(e[2:], uint16(len(e)))
	binary.BigEndian.PutUint32(e[12:], from)
	copy(e[16:20], b[12:16])
	ip.SetChecksum(e)
	m := e[20:]
	m[0], m[1] = 3, 1
	copy(m[8:], q)
	binary.BigEndian.PutUint16(m[2:], demux.Checksum(m))
	return e
}

const bothWays = `
in0 :: ScriptIn -> MarkIPHeader -> rw; in1 :: ScriptIn -> MarkIPHeader -> [1] rw;
rw [0] -> c0 :: Catch; rw [1] -> c1 :: Catch; err :: ScriptIn -> MarkIPHeader -> ICMPRewriter(rw) -> c1;`

// TestChecksums: whatever a rewriter changes, the checksums stay right, the way back restores what the sender knows, and so does an
// error about the packet.
func TestChecksums(t *testing.T) {
	for name, protos := range map[string][]byte{
		"IPRewriter(pattern 1.2.3.4 1024-65535? 5.6.7.8 99 0 1, drop)": {6, 17}, "TCPRewriter(pattern 1.2.3.4 1024-65535? - - 0 1, drop)": {6}, "UDPRewriter(pattern - - 9.9.9.9 - 0 1, drop)": {6, 17},
		"IPAddrRewriter(pattern 1.2.0.0/16 - 0 1, drop)": {1, 6, 17}, "IPAddrPairRewriter(pattern 1.2.0.0/16 7.7.7.7 0 1, drop)": {1, 6, 17}, "ICMPPingRewriter(pattern 1.2.3.4 - 0-65535? 0 1, drop)": {1},
	} {
		s, err := elementtest.New(t, "rw :: "+name+";"+bothWays, elementtest.Options{})
		if err != nil {
			t.Fatal(err)
		}
		rnd := rand.New(rand.NewPCG(4, 4))
		for range 300 {
			src, dst := 10<<24|rnd.Uint32N(1<<16), 20<<24|rnd.Uint32N(1<<16)
			p := makePacket(rnd, protos[rnd.IntN(len(protos))], src, dst)
			out, q := through(t, s, "in0", p)
			if out != 0 || bytes.Equal(p, q) {
				t.Fatalf("%s: packet came out at %d, unchanged: %v", name, out, bytes.Equal(p, q))
			}
			if err := sums(q); err != nil {
				t.Fatalf("%s: %v\n%x\n%x", name, err, p, q)
			}
			// The answer to what went out is the answer to what came in.
			out, r := through(t, s, "in1", answerTo(q))
			if out != 1 {
				t.Fatalf("%s: answer came out at %d", name, out)
			}
			want := answerTo(p)
			if !bytes.Equal(r, want) {
				t.Fatalf("%s: answer\n%x, want\n%x", name, r, want)
			}
			// So are errors, from the receiver and from elsewhere, whether they quote all of it or just enough.
			for _, quote := range []int{1500, ip.HeaderLen(q) + 8} {
				for _, from := range []uint32{binary.BigEndian.Uint32(q[16:]), 6<<24 | 6} {
					out, e := through(t, s, "err", errorAbout(q, from, quote))
					wantFrom := from
					if from == binary.BigEndian.Uint32(q[16:]) {
						wantFrom = dst
					}
					if want := errorAbout(p, wantFrom, quote); out != 1 || !bytes.Equal(e, want) {
						t.Fatalf("%s: error came out at %d\n%x, want\n%x", name, out, e, want)
					}
				}
			}
		}
		if n := s.Close(); n != 0 {
			t.Errorf("%s: %d frames are still held", name, n)
		}
	}
}

// TestExhausted: a range without a free port is searched once, until a flow ends.
func TestExhausted(t *testing.T) {
	s, err := elementtest.New(t, "rw :: UDPRewriter(pattern 1.2.3.4 1-1000? - - 0 1, drop);"+bothWays, elementtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(5, 5))
	rw := s.Router.Element("rw").(sharer).core()
	p := makePacket(rnd, 17, 10<<24, 20<<24)
	for i := range 1000 {
		binary.BigEndian.PutUint32(p[12:], 10<<24+uint32(i))
		if out, _ := through(t, s, "in0", p); out != 0 {
			t.Fatalf("packet %d came out at %d", i, out)
		}
	}
	pat := rw.specs[0].pattern
	for range 3 {
		binary.BigEndian.PutUint32(p[12:], 11<<24+rnd.Uint32N(1000))
		if out, _ := through(t, s, "in0", p); out != -1 {
			t.Fatalf("there was another port, %d", out)
		}
		if pat.oldest != 1 {
			t.Fatalf("the range was searched %d times", pat.oldest)
		}
	}
	port := binary.BigEndian.Uint16(p[ip.HeaderLen(p):])
	dport := binary.BigEndian.Uint16(p[ip.HeaderLen(p)+2:])
	if err := s.Router.Write("rw.remove", fmt.Sprintf("10.0.0.77 %d 20.0.0.0 %d", port, dport)); err != nil {
		t.Fatal(err)
	}
	if out, _ := through(t, s, "in0", p); out != 0 {
		t.Errorf("the free port was not taken: %d", out)
	}
	if rw.failures != 3 {
		t.Errorf("%d failures", rw.failures)
	}
}

// TestReplace: flows, counts and sequence numbers survive a hot swap, as far as the new router has their inputs and outputs.
func TestReplace(t *testing.T) {
	config := func(rw string) string { return "rw :: " + rw + ";" + bothWays }
	s, err := elementtest.New(t, config("TCPRewriter(pattern 1.2.3.4 1024-65535# - - 0 1, keep 1 1)"), elementtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(6, 6))
	var sent, got [3][]byte
	for i := range sent {
		sent[i] = makePacket(rnd, 6, 10<<24+uint32(i), 20<<24)
		in := "in0"
		if i == 2 {
			in = "in1"
		}
		_, got[i] = through(t, s, in, sent[i])
	}
	core := func() *rewriter { return s.Router.Element("rw").(sharer).core() }
	replace := func(rw string) {
		t.Helper()
		g, err := click.Parse("config", rw, click.ParseOptions{})
		if err != nil {
			t.Fatal(err)
		}
		n, err := s.Router.Replace(g)
		if err != nil {
			t.Fatal(err)
		}
		s.Router = n
	}
	core().table.seqs[0] = &[2]steps{}
	core().table.seqs[0][0].add(0, 5)
	core().failures = 7
	replace(config("TCPRewriter(pattern 9.9.9.9 1024-65535# - - 0 1, drop, TCP_NODATA_TIMEOUT 10s, REAP_INTERVAL 1s)"))
	if rw := core(); rw.table.n != 3 || rw.failures != 7 || rw.specs[0].pattern.next != 2 || rw.set.size() != 3 || rw.table.seqs[0] == nil {
		t.Fatalf("%d flows, %d failures, next port %d", rw.table.n, rw.failures, rw.specs[0].pattern.next)
	}
	if _, q := through(t, s, "in1", answerTo(got[1])); !bytes.Equal(q, answerTo(sent[1])) {
		t.Errorf("an answer became %x", q)
	}
	if out, q := through(t, s, "in1", sent[2]); out != 1 || !bytes.Equal(q, sent[2]) {
		t.Errorf("a kept flow came out at %d as %x", out, q)
	}
	// Another class has nothing to give, and one that gets fewer flows keeps those that end last.
	replace(config("TCPRewriter(drop, drop, MAPPING_CAPACITY 2)"))
	if n := core().table.n; n != 2 {
		t.Errorf("%d flows, want 2", n)
	}
	replace("rw :: TCPRewriter(drop) -> c0 :: Catch; in0 :: ScriptIn -> MarkIPHeader -> rw; c1 :: Catch; Idle -> c1;")
	if n := core().table.n; n != 0 {
		t.Errorf("%d flows whose outputs are gone", n)
	}
	through(t, s, "in0", sent[0])
	replace(config("IPRewriter(drop, drop)"))
	if n := core().table.n; n != 0 {
		t.Errorf("%d flows of another class", n)
	}
	if n := s.Close(); n != 0 {
		t.Errorf("%d frames are still held", n)
	}
}
