package linkio

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/janos-os/janos/clock"
)

// two are two ends that know each other's addresses, at a time that the test sets.
type two struct {
	now  clock.Time
	a, b *Peers
	at   [2]netip.AddrPort
}

func newTwo() *two {
	w := &two{now: 1, at: [2]netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("10.0.0.2:2")}}
	w.a = NewPeers(1472, func() clock.Time { return w.now })
	w.b = NewPeers(1472, func() clock.Time { return w.now })
	return w
}

// ask makes a send what it wants to ask, and b answer if it hears it; it returns how many questions there were.
func (w *two) ask(t *testing.T, heard bool) (asked int) {
	t.Helper()
	w.a.Questions(func(q []byte, to netip.AddrPort) {
		asked++
		if to != w.at[1] || Kind(q) != Question {
			t.Errorf("%x to %v", q, to)
		}
		if !heard {
			return
		}
		answer := w.b.Reply(append([]byte(nil), q...), w.at[0])
		if len(answer) > len(q) {
			t.Errorf("%d bytes answer %d", len(answer), len(q))
		}
		if more := w.a.Reply(append([]byte(nil), answer...), w.at[1]); more != nil {
			t.Errorf("an answer is answered by %x", more)
		}
	})
	return asked
}

func TestPeersAgree(t *testing.T) {
	w := newTwo()
	to := w.at[1]
	if _, ok := w.a.bundles(to, false); ok || w.ask(t, true) != 0 {
		t.Fatal("asked, though nobody wants bundles")
	}
	if _, ok := w.a.bundles(to, true); ok {
		t.Fatal("agreed at once")
	}
	if w.ask(t, true) != 1 {
		t.Fatal("not asked")
	}
	if key, ok := w.a.bundles(to, false); !ok || key != w.b.Key || w.ask(t, true) != 0 {
		t.Errorf("key %x, %v, want %x", key, ok, w.b.Key)
	}
	w.a.even(to)
	if _, ok := w.a.bundles(to, false); ok {
		t.Error("bundles of packets of one length")
	}
	if _, ok := w.a.bundles(to, true); !ok {
		t.Error("forgotten")
	}
	// It is asked again, and forgotten where there is no answer any more.
	for at := time.Duration(0); at <= agreedFor; at += time.Second {
		w.now = w.now.Add(time.Second)
		w.a.bundles(to, true)
		if n := w.ask(t, false); (n == 1) != (at%askAgain == askAgain-time.Second) && at < agreedFor {
			t.Errorf("%d questions after %v", n, at)
		}
	}
	if _, ok := w.a.bundles(to, true); ok {
		t.Error("agreed for ever")
	}
}

func TestPeersAskSeldom(t *testing.T) {
	w := newTwo()
	asked := 0
	for range 600 {
		w.a.bundles(w.at[1], true)
		asked += w.ask(t, false)
		w.now = w.now.Add(100 * time.Millisecond)
	}
	if asked != askFirst+int(60*time.Second/askSeldom)-1 {
		t.Errorf("asked %d times in a minute", asked)
	}
}

// TestPeersBelieve has answers and refusals that somebody else made up.
func TestPeersBelieve(t *testing.T) {
	w := newTwo()
	to := w.at[1]
	say := func(kind byte, from netip.AddrPort, words ...uint64) {
		b := []byte{'J', 'B', 2, kind}
		for _, v := range words {
			b = binary.BigEndian.AppendUint64(b, v)
		}
		if Kind(b) != int(kind) {
			t.Fatalf("%x is of kind %d", b, Kind(b))
		}
		w.a.Reply(b, from)
	}
	agreed := func() bool { _, ok := w.a.bundles(to, true); return ok }
	say(Answer, to, 0, 7) // nobody was asked
	agreed()
	var question uint64
	w.a.Questions(func(b []byte, _ netip.AddrPort) { question = binary.BigEndian.Uint64(b[4:]) })
	say(Answer, to, question+1, 7)
	say(Answer, w.at[0], question, 7)
	if agreed() {
		t.Fatal("believes an answer to nothing")
	}
	say(Answer, to, question, 7)
	if !agreed() {
		t.Fatal("does not believe the answer")
	}
	say(Refusal, to, 8)
	say(Refusal, w.at[0], 7)
	if !agreed() {
		t.Fatal("believes a refusal of what it did not send")
	}
	say(Refusal, to, 7)
	if agreed() {
		t.Fatal("does not believe the refusal")
	}
	n := 0
	w.a.Questions(func([]byte, netip.AddrPort) { n++ })
	if n != 1 {
		t.Errorf("asked %d times after a refusal", n)
	}
}

// TestPeersBounded has more addresses than are kept, more questions than are sent in a turn, and more than are answered.
func TestPeersBounded(t *testing.T) {
	w := newTwo()
	addr := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 9)
	}
	for i := range 20000 {
		w.now++
		w.a.bundles(addr(i), true)
	}
	n := 0
	w.a.Questions(func([]byte, netip.AddrPort) { n++ })
	if n > mostToBeSent {
		t.Errorf("%d questions", n)
	}
	kept := 0
	for i := range 20000 {
		if e, _ := w.a.find(addr(i)); e != nil {
			kept++
		}
	}
	if kept < peerSets*peerWays*9/10 || kept > peerSets*peerWays {
		t.Errorf("%d are kept", kept)
	}
	if e, _ := w.a.find(addr(19999)); e == nil {
		t.Error("the last one is not")
	}
	q := append([]byte{'J', 'B', 2, Question}, make([]byte, 16)...)
	answers := 0
	for i := range 3 * mostReplies {
		if w.b.Reply(q, addr(i)) != nil {
			answers++
		}
	}
	if answers != mostReplies {
		t.Errorf("%d answers at once", answers)
	}
	w.now = w.now.Add(repliesEach)
	if w.b.Reply(q, addr(1)) == nil {
		t.Error("no answer any more")
	}
	if n := testing.AllocsPerRun(100, func() {
		w.now = w.now.Add(time.Minute)
		w.a.bundles(addr(3), true)
		w.a.Questions(func(b []byte, to netip.AddrPort) {})
		w.b.Reply(q, addr(1))
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestKind(t *testing.T) {
	head := func(kind byte, more int) []byte { return append([]byte{'J', 'B', 2, kind}, make([]byte, more)...) }
	dirty := head(Question, 16)
	dirty[19] = 1
	for _, c := range []struct {
		b    []byte
		want int
	}{
		{nil, Plain}, {[]byte("JB"), Plain}, {bundle(0, []byte("a packet in it")), Plain},
		{head(Keyed, 10), Keyed}, {head(Keyed, 9), Plain},
		{head(Question, 16), Question}, {head(Question, 15), Plain}, {head(Question, 17), Plain}, {dirty, Plain},
		{head(Answer, 16), Answer}, {head(Answer, 8), Plain}, {head(Refusal, 8), Refusal}, {head(Refusal, 16), Plain}, {head(4, 16), Plain}, {head(0xff, 16), Plain},
	} {
		if got := Kind(c.b); got != c.want {
			t.Errorf("%x: %d, want %d", c.b, got, c.want)
		}
	}
}

// FuzzKeyed takes any datagram: what is a bundle with a key has as many packets as it may, one behind the other; and what is said to it is not longer than
// it, nor said to what says something itself.
func FuzzKeyed(f *testing.F) {
	f.Add([]byte{'J', 'B', 2, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 'x'})
	f.Add([]byte{'J', 'B', 2, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 'x', 0, 0, 0xff, 0xff, 0})
	f.Add(append([]byte{'J', 'B', 2, Question, 9}, make([]byte, 15)...))
	f.Add(append([]byte{'J', 'B', 2, Answer, 9}, make([]byte, 15)...))
	f.Add(append([]byte{'J', 'B', 2, Refusal, 9}, make([]byte, 7)...))
	f.Add(append([]byte{'J', 'B', 2, Keyed}, make([]byte, 2000)...))
	w := newTwo()
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, ok := CheckKeyed(b); ok {
			n := 0
			for p, at, ok := NextInBundle(b, KeyedHead); ok; p, at, ok = NextInBundle(b, at) {
				if at > len(b) || len(p) > len(b) {
					t.Fatalf("offset %d of %d", at, len(b))
				}
				n++
			}
			if n == 0 || n > MostBundled {
				t.Fatalf("%d packets", n)
			}
		}
		if Kind(b) == Plain {
			return
		}
		w.now = w.now.Add(time.Second)
		said := append([]byte(nil), w.b.Reply(b, w.at[0])...)
		if len(said) > len(b) {
			t.Fatalf("%d bytes for %d", len(said), len(b))
		}
		if len(said) > 0 {
			if more := w.a.Reply(said, w.at[1]); more != nil {
				t.Fatalf("%x is said to %x, which is said to %x", more, said, b)
			}
		}
	})
}

// TestKeyedBounds has bundles of as many packets as there may be, and of one more.
func TestKeyedBounds(t *testing.T) {
	for _, packets := range []int{1, MostBundled, MostBundled + 1} {
		b := append([]byte{'J', 'B', 2, 0}, make([]byte, 8+2*packets)...)
		b[11] = 9
		if key, ok := CheckKeyed(b); key != 9 || ok != (packets <= MostBundled) {
			t.Error(fmt.Sprint(packets, " packets: ", key, ok))
		}
	}
	if _, ok := CheckKeyed([]byte{'J', 'B', 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 1}); ok {
		t.Error("a length beyond the end")
	}
}
