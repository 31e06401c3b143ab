package pcap

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/janos-os/janos/channels/conformance"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/pcapfile"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// epoch is when the first frame of captures was captured.
var epoch = time.Unix(1_700_000_000, 5)

var own = [6]byte{2, 0x77, 0, 0, 0, 1}

// at is a frame and when it was captured, after epoch.
type at struct {
	time  time.Duration
	frame []byte
}

func info(f at) gopacket.CaptureInfo {
	return gopacket.CaptureInfo{Timestamp: epoch.Add(f.time), CaptureLength: len(f.frame), Length: len(f.frame)}
}

func pcapOf(t testing.TB, link layers.LinkType, frames ...at) []byte {
	var b bytes.Buffer
	w := pcapgo.NewWriterNanos(&b)
	if err := w.WriteFileHeader(snapLen, link); err != nil {
		t.Fatal(err)
	}
	for _, f := range frames {
		if err := w.WritePacket(info(f), f.frame); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func pcapngOf(t testing.TB, frames ...at) []byte {
	var b bytes.Buffer
	w, err := pcapgo.NewNgWriter(&b, ethernet)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range frames {
		if err := w.WritePacket(info(f), f.frame); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// file writes a file of the test's.
func file(t testing.TB, data []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "x.pcap")
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, n *nodeos.Node, opts map[string]string) *Link {
	t.Helper()
	l, err := n.OpenLink(nodeos.LinkSpec{Name: "l0", Driver: "pcap", Opts: opts})
	if err != nil {
		t.Fatal(err)
	}
	return l.(*Link)
}

func numbered(i int) []byte { return fmt.Appendf(nil, "frame %d", i) }

// frames are n frames to own, a millisecond after each other.
func frames(n int) (fs []at) {
	for i := range n {
		fs = append(fs, at{time.Duration(i) * time.Millisecond, conformance.UDPFrame(own, conformance.Port, numbered(i))})
	}
	return fs
}

// read returns what is recorded.
func read(t testing.TB, name string) (all []pcapfile.Packet) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapfile.NewReader(f, name)
	for err == nil {
		var p pcapfile.Packet
		if p, err = r.Next(); err == nil {
			p.Data = bytes.Clone(p.Data)
			all = append(all, p)
		}
	}
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return all
}

// TestReplay reads captures on a node that runs; each channel gets its frames, in order.
func TestReplay(t *testing.T) {
	const count = 1000
	fs := frames(count)
	for i := range fs {
		if i%3 == 0 {
			fs[i].frame = conformance.UDPFrame(own, conformance.Port+1, numbered(i))
		}
	}
	for name, data := range map[string][]byte{"pcap": pcapOf(t, ethernet, fs...), "pcapng": pcapngOf(t, fs...)} {
		t.Run(name, func(t *testing.T) {
			in := file(t, data)
			n := conformance.NewNode(t)
			l := open(t, n, map[string]string{"in": in, "mac": "02:77:00:00:00:01", "addr": "10.77.0.1/24"})
			a := conformance.NewSink(t, n, "l0/ether/ip/udp", fmt.Sprintf(":%d", conformance.Port), "")
			b := conformance.NewSink(t, n, "l0/ether/ip/udp", fmt.Sprintf(":%d", conformance.Port+1), "")
			var first clock.Time
			for i := range count {
				s := a
				if i%3 == 0 {
					s = b
				}
				g := s.Next(t)
				if i == 0 {
					first = g.Anno.Time
				}
				if !bytes.Equal(g.Data, numbered(i)) || g.Anno.Time.Sub(first) != fs[i].time || !bytes.Equal(g.Frame, fs[i].frame[:len(g.Frame)]) {
					t.Fatalf("frame %d: %q at %s", i, g.Data, g.Anno.Time.Sub(first))
				}
			}
			conformance.Until(t, func() bool { return len(l.Info().Notes) > 0 })
			if notes := l.Info().Notes; len(notes) != 1 || notes[0] != in+" is read to its end: 1000 frames" {
				t.Errorf("notes %q", notes)
			}
			if st := l.Stats(); st.RxPackets != count || st.RxDrops != 0 {
				t.Errorf("%+v", st)
			}
			if err := n.CloseLink("l0"); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestFrames checks annotations, addresses and what is no frame for a channel.
func TestFrames(t *testing.T) {
	other := [6]byte{2, 9, 9, 9, 9, 9}
	spec := func(dst [6]byte, tags ...uint16) []byte {
		return conformance.FrameSpec{Dst: dst, Port: conformance.Port, Payload: []byte("x"), Tags: tags}.Build()
	}
	data := pcapngOf(t, at{0, spec(own)}, at{0, spec(own, 7)}, at{0, spec(own, 5, 6)}, at{0, spec(other)},
		at{0, spec([6]byte{255, 255, 255, 255, 255, 255})}, at{0, spec([6]byte{1, 0, 0x5e, 1, 2, 3})},
		at{0, make([]byte, 13)}, at{0, make([]byte, 3000)})
	for _, mac := range []string{"02:77:00:00:00:01", ""} {
		n := conformance.NewNode(t)
		l := open(t, n, map[string]string{"in": file(t, data), "mac": mac})
		s := conformance.NewSink(t, n, "l0/ether/ip/udp", fmt.Sprintf(":%d", conformance.Port), "")
		type anno struct {
			kind packet.LinkKind
			vlan uint16
			has  bool
		}
		want := []anno{{packet.ToHost, 0, false}, {packet.ToHost, 7, true}, {packet.ToHost, 5, true},
			{packet.ToBroadcast, 0, false}, {packet.ToMulticast, 0, false}}
		if mac == "" { // everybody's is its own
			want = slices.Insert(want, 3, anno{packet.ToHost, 0, false})
		}
		for i, w := range want {
			if a := s.Next(t).Anno; (anno{a.Kind, a.VLAN, a.HasVLAN}) != w {
				t.Errorf("mac %q, frame %d: %+v, want %+v", mac, i, a, w)
			}
		}
		conformance.Until(t, func() bool { return len(l.Info().Notes) > 0 })
		s.Empty(t)
		if st := l.Stats(); st.RxDrops != 2 || st.RxPackets != uint64(len(want)) {
			t.Errorf("mac %q: %+v", mac, st)
		}
		if l.Info().HWAddr == ([6]byte{}) || l.Info().HWAddr[0]&1 != 0 {
			t.Errorf("hardware address %x", l.Info().HWAddr)
		}
	}
}

// stepped is a node under a virtual clock, with a log of what its channel receives.
type stepped struct {
	node *nodeos.Node
	clk  *clock.Virtual
	out  *nodeos.OutChan
	log  []string
}

func newStepped(t testing.TB, opts map[string]string) (*stepped, *Link) {
	s := &stepped{clk: clock.NewVirtual(epoch)}
	n, err := nodeos.NewNode(nodeos.NodeSpec{Name: "dut", Clock: s.clk, Stepped: true, Packets: packet.PoolSpec{Frames: 1024}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	s.node = n
	l := open(t, n, opts)
	if s.out, err = n.Root().NewOutChan(nodeos.OutChanSpec{Protocol: "l0"}); err != nil {
		t.Fatal(err)
	}
	return s, l
}

// listen opens the channel, which sends everything out again.
func (s *stepped) listen(t testing.TB) {
	if _, err := s.node.Root().NewInChan(nodeos.InChanSpec{Protocol: "l0", Quota: 1024, Handler: func(w *nodeos.Worker, b *packet.Batch) {
		for _, p := range b.Packets() {
			s.log = append(s.log, fmt.Sprintf("%d: %d %x", s.clk.Now(), p.Anno.Time, p.Data()))
		}
		s.out.Send(w, b)
	}}); err != nil {
		t.Fatal(err)
	}
}

// TestSpeed replays a capture in virtual time, twice the same, and records what is sent at its time.
func TestSpeed(t *testing.T) {
	fs := []at{{0, nil}, {time.Millisecond, nil}, {time.Millisecond, nil}, {-time.Hour, nil}, {10 * time.Second, nil}}
	for i := range fs {
		fs[i].frame = conformance.UDPFrame(own, conformance.Port, numbered(i))
	}
	in := file(t, pcapngOf(t, fs...))
	for _, c := range []struct {
		speed    string
		arrivals []time.Duration
	}{
		{"real", []time.Duration{0, time.Millisecond, time.Millisecond, time.Millisecond, 10 * time.Second}},
		{"asfast", make([]time.Duration, 5)},
	} {
		var before []byte
		for range 2 {
			out := filepath.Join(t.TempDir(), "out.pcap")
			s, l := newStepped(t, map[string]string{"in": in, "out": out, "speed": c.speed, "delay": "1s"})
			nodeos.Simulate(s.clk, clock.Time(time.Hour), s.node)
			if st := l.Stats(); st.RxPackets != 0 {
				t.Fatalf("%d frames were read for nobody", st.RxPackets)
			}
			s.listen(t)
			start := clock.Time(time.Hour + time.Second)
			if !nodeos.Simulate(s.clk, start.Add(time.Hour), s.node) {
				t.Fatal("the node does not come to rest")
			}
			var want []string
			for i, f := range fs {
				want = append(want, fmt.Sprintf("%d: %d %x", start.Add(c.arrivals[i]), start.Add(max(f.time, 0)), f.frame))
			}
			if !slices.Equal(s.log, want) {
				t.Errorf("%s:\n%s\nwant\n%s", c.speed, strings.Join(s.log, "\n"), strings.Join(want, "\n"))
			}
			if err := s.node.CloseLink("l0"); err != nil {
				t.Error(err)
			}
			written := read(t, out)
			for i, p := range written {
				if at := epoch.Add(time.Hour + time.Second + c.arrivals[i]); !bytes.Equal(p.Data, fs[i].frame) || p.At != time.Duration(at.UnixNano()) {
					t.Errorf("%s: recorded %x at %s, want %s", c.speed, p.Data, p.At, at)
				}
			}
			got, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			if len(written) != len(fs) || before != nil && !bytes.Equal(got, before) {
				t.Errorf("%s: %d frames recorded, or others than before", c.speed, len(written))
			}
			before = got
		}
	}
}

// send sends a frame of the given length.
func (s *stepped) send(n int) {
	w := s.node.Worker(0)
	w.Post(func() {
		var b packet.Batch
		p := w.Cache().Alloc(packet.Node)
		clear(p.Put(n))
		b.Append(p)
		s.out.Send(w, &b)
	})
	nodeos.Settle(100, s.node)
}

func TestRecord(t *testing.T) {
	for suffix, magic := range map[string]string{"": "4d3cb2a1", ".pcapng": "0a0d0d0a"} {
		t.Run("out"+suffix, func(t *testing.T) { testRecord(t, suffix, magic) })
	}
}

func testRecord(t *testing.T, suffix, magic string) {
	out := file(t, bytes.Repeat([]byte("replaced"), 1000))
	must(t, os.Rename(out, out+suffix))
	out += suffix
	s, l := newStepped(t, map[string]string{"out": out})
	sizes := []int{14, 60, 1522, 13, 1523, 100}
	for i, n := range sizes {
		s.send(n)
		if got := len(read(t, out)); i < 3 && got != i+1 { // complete at the end of each turn
			t.Fatalf("%d frames in the file after %d", got, i+1)
		}
	}
	if st := l.Stats(); st.TxPackets != 4 || st.TxBytes != 14+60+1522+100 || st.TxDrops != 2 {
		t.Errorf("%+v", st)
	}
	got := read(t, out)
	if len(got) != 4 || len(got[3].Data) != 100 || got[3].Link != ethernet {
		t.Errorf("%+v", got)
	}
	data, err := os.ReadFile(out)
	must(t, err)
	if hex.EncodeToString(data[:4]) != magic {
		t.Errorf("the file begins with %x", data[:4])
	}
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Log("tshark is not installed: not read by it")
	} else if text, err := exec.Command("tshark", "-n", "-r", out, "-T", "fields", "-e", "frame.len", "-e", "frame.time_epoch").Output(); err != nil {
		t.Errorf("tshark: %v", err)
	} else if lines := strings.Split(strings.TrimSpace(string(text)), "\n"); len(lines) != 4 || !strings.HasPrefix(lines[2], "1522\t") {
		t.Errorf("tshark reads %q", lines)
	}

	s, l = newStepped(t, map[string]string{"in": file(t, pcapOf(t, ethernet))})
	s.send(60)
	if st := l.Stats(); st.TxPackets != 0 || st.TxDrops != 1 {
		t.Errorf("without a file: %+v", st)
	}
	if notes := l.Info().Notes; len(notes) != 1 || !strings.Contains(notes[0], "0 frames") {
		t.Errorf("an empty capture: notes %q", notes)
	}
}

// TestDiskFails goes on without the file when the host takes no more of it.
func TestDiskFails(t *testing.T) {
	s, l := newStepped(t, map[string]string{"out": filepath.Join(t.TempDir(), "out")})
	l.dst.file.Close()
	s.send(60)
	s.send(60)
	if st := l.Stats(); st.TxPackets != 1 || st.TxDrops != 1 {
		t.Errorf("%+v", st)
	}
	if notes := l.Info().Notes; len(notes) != 1 || !strings.Contains(notes[0], "is not written any more") {
		t.Errorf("notes %q", notes)
	}
	if err := s.node.CloseLink("l0"); !errors.Is(err, os.ErrClosed) {
		t.Errorf("closing: %v", err)
	}
}

// TestMalformed ends in the midst of a capture and keeps what was before.
func TestMalformed(t *testing.T) {
	data := pcapOf(t, ethernet, frames(3)...)
	s, l := newStepped(t, map[string]string{"in": file(t, data[:len(data)-1])})
	s.listen(t)
	nodeos.Simulate(s.clk, clock.Time(time.Second), s.node)
	notes := l.Info().Notes
	if st := l.Stats(); st.RxPackets != 2 || len(s.log) != 2 || len(notes) != 1 ||
		!strings.Contains(notes[0], "ended after 2 frames") || !strings.Contains(notes[0], "packet 3: the file ends within it") {
		t.Errorf("%+v, notes %q", st, notes)
	}
}

// TestWaitsForMemory reads while there is no packet memory, and loses nothing.
func TestWaitsForMemory(t *testing.T) {
	const count = 300
	s, l := newStepped(t, map[string]string{"in": file(t, pcapOf(t, ethernet, frames(count)...)), "delay": "0s"})
	c := s.node.Worker(0).Cache()
	var held []*packet.Packet
	for p := c.Alloc(packet.Node); p != nil; p = c.Alloc(packet.Node) {
		held = append(held, p)
	}
	s.listen(t)
	if nodeos.Settle(100, s.node) || l.Stats().RxPackets != 0 {
		t.Error("the link does not wait")
	}
	for _, p := range held {
		c.Free(p)
	}
	if !nodeos.Settle(1000, s.node) || len(s.log) != count || l.Stats().RxDrops != 0 {
		t.Errorf("%d frames, %+v", len(s.log), l.Stats())
	}
}

func TestOpenRefuses(t *testing.T) {
	n := conformance.NewNode(t)
	good := pcapOf(t, ethernet, frames(2)...)
	in, dir := file(t, good), t.TempDir()
	for _, c := range []struct {
		spec nodeos.LinkSpec
		kind errs.Kind
		want string
	}{
		{nodeos.LinkSpec{}, errs.Invalid, "option in, out or both"},
		{nodeos.LinkSpec{Opts: map[string]string{"in": in, "loop": "true"}}, errs.Invalid, "loop"},
		{nodeos.LinkSpec{Opts: map[string]string{"in": in, "speed": "slow"}}, errs.Invalid, "speed"},
		{nodeos.LinkSpec{Opts: map[string]string{"in": in, "delay": "-1s"}}, errs.Invalid, "delay"},
		{nodeos.LinkSpec{Opts: map[string]string{"in": in, "mtu": "9000"}}, errs.TooBig, "MTU"},
		{nodeos.LinkSpec{Ring: 5, Opts: map[string]string{"in": in}}, errs.Invalid, "ring"},
		{nodeos.LinkSpec{Device: "eth0", Opts: map[string]string{"in": in}}, errs.Invalid, "eth0"},
		{nodeos.LinkSpec{Opts: map[string]string{"in": in + ".absent"}}, errs.NotFound, "absent"},
		{nodeos.LinkSpec{Opts: map[string]string{"in": dir}}, errs.Invalid, "regular"},
		{nodeos.LinkSpec{Opts: map[string]string{"out": dir}}, errs.Invalid, "regular"},
		{nodeos.LinkSpec{Opts: map[string]string{"out": os.DevNull}}, errs.Invalid, "regular"},
		{nodeos.LinkSpec{Opts: map[string]string{"out": dir + "/absent/x"}}, errs.NotFound, "absent"},
		{nodeos.LinkSpec{Opts: map[string]string{"in": in, "out": filepath.Dir(in) + "/./x.pcap"}}, errs.Invalid, "must name another file"},
		{nodeos.LinkSpec{Opts: map[string]string{"in": file(t, good[:3])}}, errs.Invalid, "pcap or pcapng"},
		{nodeos.LinkSpec{Opts: map[string]string{"in": file(t, good[:30])}}, errs.Invalid, "packet 1"},
		{nodeos.LinkSpec{Opts: map[string]string{"in": file(t, pcapOf(t, layers.LinkTypeRaw, frames(1)...))}}, errs.NotSupported, "want Ethernet"},
	} {
		c.spec.Name = "l0"
		if l, err := Open(n, 9, c.spec); l != nil || errs.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.want) || strings.Count(err.Error(), "link l0") > 1 {
			t.Errorf("%+v: %v, %v, want %v with %q", c.spec, l, err, c.kind, c.want)
		}
	}
	if got, err := os.ReadFile(in); err != nil || !bytes.Equal(got, good) {
		t.Errorf("the capture was changed: %v", err)
	}
}

// TestDoesNotAllocate receives and sends by hand.
func TestDoesNotAllocate(t *testing.T) {
	for _, out := range []string{"out", "out.pcapng"} {
		t.Run(out, func(t *testing.T) { testDoesNotAllocate(t, filepath.Join(t.TempDir(), out)) })
	}
}

func testDoesNotAllocate(t *testing.T, out string) {
	s, l := newStepped(t, map[string]string{"in": file(t, pcapOf(t, ethernet, frames(20_000)...)), "out": out, "delay": "0s"})
	if err := l.Claim(conformance.Claims(t, "p0", demux.Rule{Protocol: demux.Protocol{Link: "p0"}})); err != nil {
		t.Fatal(err)
	}
	c := s.node.Worker(0).Cache()
	var b packet.Batch
	if n := testing.AllocsPerRun(50, func() {
		if !l.Receive(c, &b) || b.Len() == 0 {
			t.Fatal("the capture is too short")
		}
		l.Send(c, &b)
		l.Flush(c)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if st := l.Stats(); st.TxPackets == 0 || st.TxPackets != st.RxPackets {
		t.Errorf("%+v", st)
	}
}

// FuzzReplay reads files from strangers, at either speed.
func FuzzReplay(f *testing.F) {
	fs := frames(2)
	f.Add(pcapOf(f, ethernet, fs...), true)
	f.Add(pcapngOf(f, fs...)[:200], false)
	big := pcapOf(f, ethernet, fs[0])
	binary.LittleEndian.PutUint32(big[32:], 1<<31)
	f.Add(big, false)
	f.Fuzz(func(t *testing.T, data []byte, real bool) {
		clk := clock.NewVirtual(epoch)
		n, err := nodeos.NewNode(nodeos.NodeSpec{Name: "dut", Clock: clk, Stepped: true, Packets: packet.PoolSpec{Frames: 256}})
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		opts := map[string]string{"in": file(t, data)}
		if real {
			opts["speed"] = "real"
		}
		l, err := n.OpenLink(nodeos.LinkSpec{Name: "l0", Driver: "pcap", Opts: opts})
		if err != nil {
			if errs.KindOf(err) != errs.Invalid && errs.KindOf(err) != errs.NotSupported {
				t.Fatal(err)
			}
			return
		}
		if _, err := n.Root().NewInChan(nodeos.InChanSpec{Protocol: "l0", Handler: func(w *nodeos.Worker, b *packet.Batch) {
			for _, p := range b.Packets() {
				if p.Anno.Time < clock.Time(DefaultDelay) {
					t.Errorf("a frame at %d", p.Anno.Time)
				}
			}
			w.Cache().FreeBatch(b)
		}}); err != nil {
			t.Fatal(err)
		}
		if !nodeos.Simulate(clk, clock.Never-1, n) {
			t.Fatal("the node does not come to rest")
		}
		if notes := l.Info().Notes; len(notes) != 1 {
			t.Fatalf("notes %q: the capture has no end", notes)
		}
	})
}
