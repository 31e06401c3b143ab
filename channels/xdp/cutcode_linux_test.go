package xdp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// twin is a link whose node does in user space what the test has the kernel do as well: it keeps what it is asked to cut through, and refuses.
type twin struct {
	info  nodeos.LinkInfo
	rx    *nodeos.Task
	in    []byte
	out   [][]byte
	asked *nodeos.Cut
	claim *demux.Program
	pay   int // where the payload of the last frame was, and its end
	end   int
}

func (l *twin) Info() nodeos.LinkInfo { return l.info }
func (l *twin) Attach(_ *nodeos.Worker, rx *nodeos.Task) error {
	l.rx = rx
	return nil
}

func (l *twin) Receive(c *packet.Cache, b *packet.Batch) bool {
	if l.in != nil {
		p := c.AllocFrom(packet.Node, l.in)
		l.in = nil
		finishChecksum(p.Data())
		b.Append(p)
	}
	return false
}

func (l *twin) Send(c *packet.Cache, b *packet.Batch) {
	for _, p := range b.Packets() {
		if n := p.Len(); n >= demux.EtherLen && n <= l.info.MTU+demux.EtherLen+2*demux.VLANLen { // as Link.Send has it
			l.out = append(l.out, bytes.Clone(p.Data()))
		}
	}
	c.FreeBatch(b)
}

func (l *twin) Flush(*packet.Cache)         {}
func (l *twin) Stats() nodeos.LinkStats     { return nodeos.LinkStats{} }
func (l *twin) Detach(*packet.Cache)        {}
func (l *twin) Close() error                { return nil }
func (l *twin) Claim(c nodeos.Claims) error { l.claim = c.Program; return nil }
func (l *twin) Cut(c nodeos.Cut) (nodeos.CutEntry, error) {
	l.asked = &c
	return nil, errors.New("the test does it")
}

// twins are a cut-through channel in user space and in the kernel.
type twins struct {
	t     testing.TB
	node  *nodeos.Node
	a, b  *twin
	c     *nodeos.CutChan
	maps  *cuts
	cells *ebpf.Map
	cell  *sys.SharedWords
	prog  *ebpf.Program
	head  uint32
	buf   []byte
}

const socketVerdict = 99

// cutProgram returns a program that takes the place of the payload and its end from the first two words of a cell, and the number of the head from where
// channels' cells have it.
func cutProgram(t testing.TB, m *cuts, cell *ebpf.Map) *ebpf.Program {
	t.Helper()
	ins := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.Mov.Imm(asm.R7, 0),
		asm.StoreMem(asm.RFP, claimKey, asm.R7, asm.Word),
		asm.LoadMapPtr(asm.R1, cell.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, claimKey),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "socket"),
		asm.StoreMem(asm.RFP, claimCell, asm.R0, asm.DWord),
		asm.LoadMem(asm.R8, asm.R0, 0, asm.DWord),
		asm.LoadMem(asm.R9, asm.R0, 8, asm.DWord),
		asm.Ja.Label("cut"),
		asm.Mov.Imm(asm.R0, socketVerdict).WithSymbol("socket"),
		asm.Return(),
	}
	prog, err := load("cut_test", append(ins, cutCode(m.maps(), chanCutWords)...))
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { prog.Close() })
	return prog
}

func newTwins(t testing.TB, spec nodeos.CutChanSpec) *twins {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: BPF programs")
	}
	x := &twins{t: t, buf: make([]byte, 4096)}
	var err error
	x.node, err = nodeos.NewNode(nodeos.NodeSpec{Name: "twins", Clock: clock.NewVirtual(time.Time{}), Stepped: true, Packets: packet.PoolSpec{Frames: 64}})
	must(t, err)
	t.Cleanup(func() { must(t, x.node.Close()) })
	open := func(name string, last byte) *twin {
		l := &twin{info: nodeos.LinkInfo{Name: name, Driver: "twin", Number: x.node.NextLinkNumber(), Base: demux.Ether, MTU: 1500, HWAddr: [6]byte{2, 0, 0, 0, 0, last},
			Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("fd00::1/64")}}}
		must(t, x.node.AddLink(l, 0))
		return l
	}
	x.a, x.b = open("a", 1), open("b", 2)
	x.c, err = x.node.Root().NewCutThrough(spec)
	must(t, err)
	if x.a.asked == nil {
		_, why := x.c.Where()
		t.Fatalf("the in-link was not asked: %s", why)
	}
	x.maps, err = newCuts(nil)
	must(t, err)
	t.Cleanup(x.maps.close)
	must(t, x.maps.out.Put(uint32(7), uint32(1))) // any interface that is there: a test run does not send
	x.cells, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: chanSize, MaxEntries: 1, Flags: unix.BPF_F_MMAPABLE})
	must(t, err)
	t.Cleanup(func() { x.cells.Close() })
	x.cell, err = sys.MapSharedWords(x.cells.FD(), chanSize)
	must(t, err)
	t.Cleanup(func() { x.cell.Close() })
	x.set()
	x.prog = cutProgram(t, x.maps, x.cells)
	return x
}

// set makes the kernel do what the in-link was asked last.
func (x *twins) set() {
	x.t.Helper()
	x.maps.mu.Lock()
	defer x.maps.mu.Unlock()
	out := &Link{out: 7, info: x.b.info}
	h, word, err := x.maps.newHead(3, &Link{unfinished: true}, x.a.asked, out)
	must(x.t, err)
	cost, depth, lot := bucketOf(x.a.asked, x.b.info.MTU)
	x.maps.bucketWords.At(3*bucketSize + bucketLot).Store(lot)
	x.maps.bucketWords.At(3*bucketSize + bucketDepth).Store(depth)
	x.maps.bucketWords.At(3*bucketSize + bucketCredit).Store(depth << bucketShift)
	x.cell.At(chanCutWords + 8).Store(cost)
	x.cell.At(chanCutWords).Store(word)
	x.head = h
}

// user passes a frame through the node. claimed says that the channel's key matches.
func (x *twins) user(f []byte) (out []byte, claimed bool) {
	x.t.Helper()
	// Where the payload is, Match says.
	c := x.node.Worker(0).Cache()
	p := c.AllocFrom(packet.Node, f)
	room := p.Headroom()
	if _, claimed = x.a.claim.Match(p); claimed {
		x.a.pay, x.a.end = p.Headroom()-room, p.Headroom()-room+p.Len()
	}
	c.Free(p)
	x.b.out = nil
	x.a.in = f
	x.a.rx.Wake()
	for x.node.Step() {
	}
	if len(x.b.out) == 1 {
		return x.b.out[0], claimed
	}
	return nil, claimed
}

// kernel runs a frame through the program.
func (x *twins) kernel(f []byte) (verdict uint32, out []byte) {
	x.t.Helper()
	x.cell.At(0).Store(uint64(x.a.pay))
	x.cell.At(8).Store(uint64(x.a.end))
	o := ebpf.RunOptions{Data: f, DataOut: x.buf}
	verdict, err := x.prog.Run(&o)
	must(x.t, err)
	return verdict, o.DataOut
}

// wild makes random frames: valid at most places, so that they get far.
type wild struct{ *rand.Rand }

func (r *wild) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func (r *wild) one(n int) bool { return r.IntN(n) == 0 }

func (r *wild) frame() []byte {
	f := append([]byte{2, 0, 0, 0, 0, 1}, r.bytes(6)...)
	tags := max(r.IntN(6)-3, 0)
	if r.one(50) {
		tags = 3
	}
	for range tags {
		f = binary.BigEndian.AppendUint16(f, []uint16{0x8100, 0x88a8}[r.IntN(2)])
		f = append(f, r.bytes(2)...)
	}
	six := r.one(3)
	typ := uint16(0x0800)
	if six {
		typ = 0x86dd
	}
	switch r.IntN(30) {
	case 0:
		typ = uint16(r.Uint32())
	case 1:
		typ ^= 0x0800 ^ 0x86dd
	}
	f = binary.BigEndian.AppendUint16(f, typ)
	f = append(f, r.ip(six, 2)...)
	if r.one(4) {
		f = append(f, r.bytes(r.IntN(40))...) // padding
	}
	switch r.IntN(20) {
	case 0:
		f = f[:max(demux.EtherLen, r.IntN(len(f)))]
	case 1:
		f[12+r.IntN(len(f)-12)] ^= 1 << r.IntN(8)
	}
	return f
}

func (r *wild) ip(six bool, depth int) []byte {
	var inner []byte
	proto := []byte{17, 17, 17, 6, 1, 99, 4, 41, 4}[r.IntN(9)]
	if proto == 4 || proto == 41 {
		if depth == 0 {
			proto = 99
		} else {
			inner = r.ip(proto == 41, depth-1)
		}
	}
	if inner == nil {
		n := r.IntN(64)
		switch r.IntN(8) {
		case 0:
			n = r.IntN(1500)
		case 1: // about the MTU
			n = 1400 + r.IntN(120)
		}
		inner = r.bytes(n)
	}
	ttl := []byte{0, 1, 2, 64, 255, byte(r.Uint32())}[r.IntN(6)]
	if r.IntN(4) > 0 {
		ttl = 64
	}
	at := -1
	switch proto {
	case 17:
		inner = append(r.bytes(demux.UDPLen), inner...)
		at = 6
		inner[2], inner[3] = 0, 7
		binary.BigEndian.PutUint16(inner[4:], uint16(len(inner)))
		if r.one(30) {
			inner[5]--
		}
	case 6:
		inner = append(r.bytes(20), inner...)
		at = 16
	}
	var h []byte
	if six {
		h = make([]byte, demux.IPv6Len)
		copy(h, r.bytes(4))
		h[0] = 0x60 | h[0]&15
		binary.BigEndian.PutUint16(h[4:], uint16(len(inner)))
		h[6], h[7] = proto, ttl
		copy(h[8:], r.bytes(32))
		if r.one(10) { // a header of options
			h[6] = 60
			binary.BigEndian.PutUint16(h[4:], uint16(len(inner)+8))
			h = append(h, proto, 0, 1, 4, 0, 0, 0, 0)
			at = -1
		}
	} else {
		n := demux.IPv4Len
		if r.one(5) {
			n += 4 * r.IntN(11)
		}
		h = r.bytes(n)
		h[0] = 0x40 | byte(n/4)
		binary.BigEndian.PutUint16(h[2:], uint16(n+len(inner)))
		frag := uint16(0)
		if r.one(12) {
			frag = uint16(r.Uint32()) & 0x3fff
			at = -1
		}
		binary.BigEndian.PutUint16(h[6:], frag|uint16(r.IntN(2))<<14)
		h[8], h[9] = ttl, proto
		if r.one(6) {
			copy(h[16:], []byte{10, 0, 0, 1})
		}
		h[10], h[11] = 0, 0
		binary.BigEndian.PutUint16(h[10:], demux.Checksum(h))
		if r.one(20) { // a wrong checksum stays wrong by as much
			h[10] ^= 0x55
		}
	}
	if at >= 0 && r.one(10) && depth == 2 {
		addrs := h[12:20]
		if six {
			addrs = h[8:40]
		}
		binary.BigEndian.PutUint16(inner[at:], ^demux.Fold(demux.Sum(uint64(proto)+uint64(len(inner)), addrs)))
	}
	return append(h, inner...)
}

var macB = [6]byte{2, 0, 0, 0, 0, 0xb}

// rewrites are the forms of channels that the kernel can do.
var rewrites = []struct {
	name string
	spec nodeos.CutChanSpec
}{
	{"whole frames", nodeos.CutChanSpec{In: nodeos.InChanSpec{Protocol: "a"}, Out: nodeos.OutChanSpec{Protocol: "b"}}},
	{"addresses", nodeos.CutChanSpec{In: nodeos.InChanSpec{Protocol: "a/ether"}, Out: nodeos.OutChanSpec{Protocol: "b/ether", LinkAddr: macB}}},
	{"addresses and type", nodeos.CutChanSpec{In: nodeos.InChanSpec{Protocol: "a/ether"}, Out: nodeos.OutChanSpec{Protocol: "b/ether", Address: "0x88b5", LinkAddr: macB}}},
	{"hop of IPv4", nodeos.CutChanSpec{In: nodeos.InChanSpec{Protocol: "a/ether", Address: "0x0800"}, Out: nodeos.OutChanSpec{Protocol: "b/ether", LinkAddr: macB}, DecTTL: true}},
	{"hop of anything", nodeos.CutChanSpec{In: nodeos.InChanSpec{Protocol: "a/ether"}, Out: nodeos.OutChanSpec{Protocol: "b/ether", LinkAddr: macB}, DecTTL: true}},
	{"tag", nodeos.CutChanSpec{In: nodeos.InChanSpec{Protocol: "a/ether"}, Out: nodeos.OutChanSpec{Protocol: "b/ether", LinkAddr: macB, VLAN: []uint16{0xa005}}}},
	{"two tags", nodeos.CutChanSpec{In: nodeos.InChanSpec{Protocol: "a/ether"}, Out: nodeos.OutChanSpec{Protocol: "b/ether", LinkAddr: macB, VLAN: []uint16{5, 6}}, DecTTL: true}},
	{"into IPv4", nodeos.CutChanSpec{In: nodeos.InChanSpec{Protocol: "a/ether", Address: "0x0800"}, Out: nodeos.OutChanSpec{Protocol: "b/ether/ip", Address: "10.0.0.9,4", LinkAddr: macB, TTL: 9, TOS: 0x1c}, DecTTL: true}},
	{"into tagged IPv4", nodeos.CutChanSpec{In: nodeos.InChanSpec{Protocol: "a/ether"}, Out: nodeos.OutChanSpec{Protocol: "b/ether/ip", Address: "10.0.0.9,4", LinkAddr: macB, VLAN: []uint16{1, 2}}}},
	{"into IPv6", nodeos.CutChanSpec{In: nodeos.InChanSpec{Protocol: "a/ether", Address: "0x86dd"}, Out: nodeos.OutChanSpec{Protocol: "b/ether/ip6", Address: "fd00::9,41", LinkAddr: macB, TOS: 0xff}, DecTTL: true}},
	{"into UDP", nodeos.CutChanSpec{In: nodeos.InChanSpec{Protocol: "a/ether"}, Out: nodeos.OutChanSpec{Protocol: "b/ether/ip/udp", Address: "10.0.0.9:77", Source: "10.0.0.3:78", LinkAddr: macB, NoChecksum: true}}},
	{"into tagged UDP", nodeos.CutChanSpec{In: nodeos.InChanSpec{Protocol: "a/ether/ip"}, Out: nodeos.OutChanSpec{Protocol: "b/ether/ip/udp", Address: "10.0.0.9:77", LinkAddr: macB, NoChecksum: true, VLAN: []uint16{9}}}},
	{"whole frames into UDP", nodeos.CutChanSpec{In: nodeos.InChanSpec{Protocol: "a"}, Out: nodeos.OutChanSpec{Protocol: "b/ether/ip/udp", Address: "10.0.0.9:77", LinkAddr: macB, NoChecksum: true}}},
	{"out of IPv4", nodeos.CutChanSpec{In: nodeos.InChanSpec{Protocol: "a/ether/ip", Address: ",4"}, Out: nodeos.OutChanSpec{Protocol: "b/ether", Address: "0x0800", LinkAddr: macB}}},
	{"out of IPv6", nodeos.CutChanSpec{In: nodeos.InChanSpec{Protocol: "a/ether/ip6"}, Out: nodeos.OutChanSpec{Protocol: "b/ether", Address: "0x0800", LinkAddr: macB}, DecTTL: true}},
	{"out of UDP", nodeos.CutChanSpec{In: nodeos.InChanSpec{Protocol: "a/ether/ip/udp", Address: ":7"}, Out: nodeos.OutChanSpec{Protocol: "b/ether", Address: "0x0800", LinkAddr: macB}}},
	{"out of a tunnel in a tunnel", nodeos.CutChanSpec{In: nodeos.InChanSpec{Protocol: "a/ether/ip/ip/udp"}, Out: nodeos.OutChanSpec{Protocol: "b/ether/ip/udp", Address: "10.0.0.9:77", LinkAddr: macB, NoChecksum: true}}},
	{"UDP to UDP", nodeos.CutChanSpec{In: nodeos.InChanSpec{Protocol: "a/ether/ip6/udp"}, Out: nodeos.OutChanSpec{Protocol: "b/ether/ip/udp", Address: "10.0.0.9:77", LinkAddr: macB, NoChecksum: true}}},
	{"TCP and its segment", nodeos.CutChanSpec{In: nodeos.InChanSpec{Protocol: "a/ether/ip/tcp"}, Out: nodeos.OutChanSpec{Protocol: "b/ether", Address: "0x88b5", LinkAddr: macB}}},
	{"whole frames with a rate", nodeos.CutChanSpec{In: nodeos.InChanSpec{Protocol: "a"}, Out: nodeos.OutChanSpec{Protocol: "b"}, BitRate: 1e13}},
}

// TestCutAgainstUserSpace passes random packets through both forms of channels of every sort: what leaves is the same, and so is why
// something does not.
func TestCutAgainstUserSpace(t *testing.T) {
	const packets = 116_000
	total := 0
	for i, c := range rewrites {
		t.Run(c.name, func(t *testing.T) {
			x := newTwins(t, c.spec)
			r := &wild{rand.New(rand.NewPCG(uint64(i), 3))}
			var sent, dropped, up int
			for k := 0; sent+dropped+up < packets/len(rewrites); k++ {
				if k > 40*packets/len(rewrites) {
					t.Fatalf("only %d of %d packets are the channel's", sent+dropped+up, k)
				}
				f := r.frame()
				if len(f) > 2000 { // longer than a node's frame takes
					continue
				}
				before, past := x.c.Stats(), x.maps.read(3)
				want, claimed := x.user(f)
				if !claimed {
					continue
				}
				in := bytes.Clone(f)
				verdict, got := x.kernel(in)
				now, is := x.c.Stats(), x.maps.read(3)
				fail := func(format string, args ...any) {
					t.Helper()
					t.Fatalf("packet %d: %s\nframe %x\npayload %d to %d\nuser space %x\nkernel %x\n%+v\n%+v", k, fmt.Sprintf(format, args...), f, x.a.pay, x.a.end, want, got, now, is)
				}
				switch verdict {
				case socketVerdict:
					up++
					n := x.a.end - x.a.pay
					long := n > x.b.info.MTU+demux.EtherLen+demux.VLANLen-int(binary.NativeEndian.Uint32(x.headBytes()[headLen:]))
					if !bytes.Equal(got, f) || is.Up != past.Up+1 || !long && !(x.a.asked.Transport && holdsPseudoSum(f)) {
						fail("left to user space without need, changed, or not counted")
					}
				case xdpRedirect:
					sent++
					if !bytes.Equal(got, want) || is.Packets != past.Packets+1 || is.Bytes-past.Bytes != now.Bytes-before.Bytes {
						fail("other bytes")
					}
				case xdpDrop:
					dropped++
					if want != nil || is.TTL-past.TTL != now.TTL-before.TTL || is.Invalid-past.Invalid != now.Invalid-before.Invalid || is.TooBig-past.TooBig != now.TooBig-before.TooBig ||
						is.TTL+is.Invalid+is.TooBig != past.TTL+past.Invalid+past.TooBig+1 {
						fail("dropped for another reason")
					}
				default:
					fail("verdict %d", verdict)
				}
			}
			t.Logf("%d sent, %d dropped, %d left to user space", sent, dropped, up)
			total += sent + dropped + up
			if sent < 500 || x.a.asked.DecTTL && dropped < 100 || x.a.asked.Transport && c.spec.In.Address != ",4" && up < 20 {
				t.Error("too one-sided to prove anything")
			}
		})
	}
	if total < 100_000 {
		t.Errorf("only %d packets", total)
	}
}

func (x *twins) headBytes() []byte {
	b := make([]byte, headSize)
	must(x.t, x.maps.heads.Lookup(x.head, b))
	return b
}

// holdsPseudoSum reports whether a frame looks like one with an unfinished checksum to those who look less closely than finishChecksum.
func holdsPseudoSum(f []byte) bool {
	typ, ip := binary.BigEndian.Uint16(f[12:]), f[demux.EtherLen:]
	for range 2 {
		if (typ == demux.EtherTypeVLAN || typ == demux.EtherTypeSVLAN) && len(ip) >= demux.VLANLen {
			typ, ip = binary.BigEndian.Uint16(ip[2:]), ip[demux.VLANLen:]
		}
	}
	var proto byte
	var n, at int
	var addrs []byte
	switch {
	case typ == demux.EtherTypeIPv4 && len(ip) >= demux.IPv4Len:
		at = int(ip[0]&15) * 4
		proto, addrs, n = ip[9], ip[12:20], int(binary.BigEndian.Uint16(ip[2:]))-at
	case typ == demux.EtherTypeIPv6 && len(ip) >= demux.IPv6Len:
		at = demux.IPv6Len
		proto, addrs, n = ip[6], ip[8:40], int(binary.BigEndian.Uint16(ip[4:]))
	default:
		return false
	}
	switch proto {
	case demux.ProtoUDP:
		at += 6
	case demux.ProtoTCP:
		at += 16
	default:
		return false
	}
	return at+2 <= len(ip) && ^demux.Fold(demux.Sum(uint64(uint16(n+int(proto))), addrs)) == binary.BigEndian.Uint16(ip[at:])
}

// TestCutUnfinished passes whole frames with checksums that are, or are nearly, those of unfinished packets: none of these leaves, and of the others only those that look
// like one to the longer way as well.
func TestCutUnfinished(t *testing.T) {
	x := newTwins(t, rewrites[0].spec)
	r := &wild{rand.New(rand.NewPCG(5, 5))}
	var up, sent int
	for range 20_000 {
		proto, at := byte(demux.ProtoUDP), 6
		if r.one(3) {
			proto, at = demux.ProtoTCP, 16
		}
		n := 20 + r.IntN(100)
		h := []byte{0x45, byte(r.Uint32()), 0, byte(20 + n), 0, 0, 0, 0, 64, proto, 0, 0}
		h = append(h, r.bytes(8)...)
		switch r.IntN(4) {
		case 0:
			clear(h[12:])
		case 1:
			copy(h[12:], []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
		case 2: // so that the sum is a multiple of 65,535
			copy(h[12:], []byte{0, 0, 0, 0, 0, 0})
			binary.BigEndian.PutUint16(h[18:], 0xffff-uint16(n)-uint16(proto))
		}
		f := append(append([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0}, h...), r.bytes(n)...)
		sum := ^demux.Fold(demux.Sum(uint64(proto)+uint64(n), h[12:20]))
		field := f[demux.EtherLen+demux.IPv4Len+at:]
		if !r.one(8) {
			sum += []uint16{0, 0, 0, 1, 0xffff, 0x100, -sum, ^sum}[r.IntN(8)]
			binary.BigEndian.PutUint16(field, sum)
		}
		x.a.pay, x.a.end = 0, len(f)
		verdict, out := x.kernel(bytes.Clone(f))
		want := uint32(xdpRedirect)
		if holdsPseudoSum(f) {
			want = socketVerdict
			up++
		} else {
			sent++
		}
		if verdict != want || !bytes.Equal(out, f) {
			t.Fatalf("verdict %d, want %d, frame %x becomes %x", verdict, want, f, out)
		}
	}
	if st := x.maps.read(3); up < 2000 || sent < 2000 || st.Packets != uint64(sent) || st.Up != uint64(up) {
		t.Errorf("%d up, %d sent, counted %+v", up, sent, st)
	}
}

// TestCutShortWay compares the short way with the long one over random lengths, with a rate that is too little and an out-link that goes.
func TestCutShortWay(t *testing.T) {
	// On one processor, for each has lots of its own.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, one unix.CPUSet
	must(t, unix.SchedGetaffinity(0, &all))
	for cpu := 0; one.Count() == 0; cpu++ {
		if all.IsSet(cpu) {
			one.Set(cpu)
		}
	}
	must(t, unix.SchedSetaffinity(0, &one))
	defer func() { must(t, unix.SchedSetaffinity(0, &all)) }()
	for _, i := range []int{0, 3} { // whole frames, and the hop of IPv4
		t.Run(rewrites[i].name, func(t *testing.T) { cutBothWays(t, rewrites[i].spec) })
	}
}

func cutBothWays(t *testing.T, spec nodeos.CutChanSpec) {
	spec.BitRate, spec.Burst = 80_000, 10*time.Second // half of it, 50,000 bytes, is there at first
	short, long := newTwins(t, spec), newTwins(t, spec)
	word := long.cell.At(chanCutWords)
	word.Store(word.Load() &^ (wordWhole | wordHop))
	r := &wild{rand.New(rand.NewPCG(6, 6))}
	// Nothing has passed, and so the buckets hold what they were made with.
	for _, x := range []*twins{short, long} {
		x.maps.bucketWords.At(3*bucketSize + bucketFilled).Store(uint64(sys.Monotonic()) + uint64(time.Hour))
		x.maps.bucketWords.At(3*bucketSize + bucketDepth).Store(0)
	}
	verdicts := map[uint32]int{}
	for i := range 3000 {
		if i == 60 {
			must(t, short.maps.out.Delete(uint32(7)))
			must(t, long.maps.out.Delete(uint32(7)))
		}
		f := append([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0}, r.bytes(46+r.IntN(1600))...)
		f[14], f[23] = 0x45, []byte{1, 6, 17}[r.IntN(3)]
		if r.one(20) {
			f[12+r.IntN(20)] ^= 1
		}
		var got [2]uint32
		var bytes [2]string
		for k, x := range []*twins{short, long} {
			x.a.pay, x.a.end = 0, len(f)
			if !x.a.asked.Whole {
				x.a.pay = demux.EtherLen
			}
			verdict, out := x.kernel(append([]byte(nil), f...))
			got[k], bytes[k] = verdict, string(out)
		}
		verdicts[got[0]]++
		if got[0] != got[1] || bytes[0] != bytes[1] {
			t.Fatalf("frame %d, %x: verdict %d, %x; by the long way %d, %x; %+v, %+v", i, f, got[0], bytes[0], got[1], bytes[1], short.maps.read(3), long.maps.read(3))
		}
	}
	a, b := short.maps.read(3), long.maps.read(3)
	if a != b || a.Packets == 0 || a.Rate == 0 || a.Gone == 0 || a.Up+a.TooBig == 0 {
		t.Errorf("%+v, by the long way %+v, verdicts %v", a, b, verdicts)
	}
}

// BenchmarkCut runs the program over one frame, beside one that does nothing and one that only redirects.
func BenchmarkCut(b *testing.B) {
	f := (&wild{rand.New(rand.NewPCG(1, 1))}).frame()
	f = append(f[:12:12], 8, 0)
	ip := make([]byte, 50)
	copy(ip, []byte{0x45, 0, 0, 50, 0, 0, 0, 0, 255, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 1, 0, 2, 0, 30})
	f = append(f, ip...)
	ether := nodeos.CutChanSpec{In: nodeos.InChanSpec{Protocol: "a/ether"}, Out: nodeos.OutChanSpec{Protocol: "b/ether", LinkAddr: macB}}
	rated := ether
	rated.BitRate = 1e13
	x := newTwins(b, ether)
	x.user(f)
	x.cell.At(0).Store(uint64(x.a.pay))
	x.cell.At(8).Store(uint64(x.a.end))
	time := func(b *testing.B, p *ebpf.Program) {
		_, d, err := p.Benchmark(f, max(b.N, 1<<20), nil)
		must(b, err)
		b.ReportMetric(float64(d.Nanoseconds()), "ns/packet")
	}
	least := func(ins ...asm.Instruction) func(b *testing.B) {
		return func(b *testing.B) {
			p, err := load("least", ins)
			must(b, err)
			defer p.Close()
			time(b, p)
		}
	}
	b.Run("nothing", least(asm.Mov.Imm(asm.R0, xdpDrop), asm.Return()))
	b.Run("redirect", least(asm.LoadMapPtr(asm.R1, x.maps.out.FD()), asm.Mov.Imm(asm.R2, 7), asm.Mov.Imm(asm.R3, 0), asm.FnRedirectMap.Call(), asm.Return()))
	b.Run("cut", func(b *testing.B) { time(b, x.prog) })
	x.a.asked.Transport = false
	x.set()
	b.Run("cut, finished checksums", func(b *testing.B) { time(b, x.prog) })
	y := newTwins(b, rated)
	y.cell.At(0).Store(14)
	y.cell.At(8).Store(uint64(len(f)))
	b.Run("cut, rated", func(b *testing.B) { time(b, y.prog) })
}
