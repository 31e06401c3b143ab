package pcapfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/janos-os/janos/errs"
)

// read returns all packets of a file.
func read(file []byte) (all []Packet, err error) {
	r, err := NewReader(bytes.NewReader(file), "x")
	if err != nil {
		return nil, err
	}
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return all, err
		}
		p.Data = bytes.Clone(p.Data)
		all = append(all, p)
	}
}

var samples = []Packet{
	{Data: []byte("one"), At: 1_700_000_000*time.Second + 123_456_789, Link: layers.LinkTypeEthernet},
	{Data: []byte{}, At: 1_700_000_000*time.Second + 123_456_790, Link: layers.LinkTypeEthernet},
	{Data: bytes.Repeat([]byte("three"), 13_000), At: 1_600_000_000 * time.Second, Link: layers.LinkTypeEthernet},
}

func info(p Packet) gopacket.CaptureInfo {
	return gopacket.CaptureInfo{Timestamp: time.Unix(0, int64(p.At)), CaptureLength: len(p.Data), Length: len(p.Data) + 5}
}

func pcap(t testing.TB) []byte {
	var b bytes.Buffer
	w := pcapgo.NewWriterNanos(&b)
	if err := w.WriteFileHeader(1<<16, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	for _, p := range samples {
		if err := w.WritePacket(info(p), p.Data); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func pcapng(t testing.TB) []byte {
	var b bytes.Buffer
	w, err := pcapgo.NewNgWriter(&b, layers.LinkTypeEthernet)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range samples {
		if err := w.WritePacket(info(p), p.Data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func check(t *testing.T, got, want []Packet) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d packets, want %d", len(got), len(want))
	}
	for i, p := range got {
		if w := want[i]; !bytes.Equal(p.Data, w.Data) || p.At != w.At || p.Link != w.Link {
			t.Errorf("packet %d: %.20q at %s, link type %v, want %.20q at %s, %v", i, p.Data, p.At, p.Link, w.Data, w.At, w.Link)
		}
	}
}

// TestReadsWhatOthersWrite reads files of gopacket's writers.
func TestReadsWhatOthersWrite(t *testing.T) {
	for _, file := range [][]byte{pcap(t), pcapng(t)} {
		got, err := read(file)
		if err != nil {
			t.Fatal(err)
		}
		check(t, got, samples)
	}
}

// words makes a file or a block of numbers of 32 bits and bytes.
func words(order binary.ByteOrder, vs ...any) (b []byte) {
	for _, v := range vs {
		switch v := v.(type) {
		case int:
			var w [4]byte
			order.PutUint32(w[:], uint32(v))
			b = append(b, w[:]...)
		case string:
			b = append(b, v...)
		case []byte:
			b = append(b, v...)
		}
	}
	return b
}

func block(order binary.ByteOrder, typ int, vs ...any) []byte {
	body := words(order, vs...)
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	return words(order, typ, len(body)+12, body, len(body)+12)
}

func halves(order binary.ByteOrder, a, b uint16) []byte {
	var w [4]byte
	order.PutUint16(w[:], a)
	order.PutUint16(w[2:], b)
	return w[:]
}

func section(order binary.ByteOrder) []byte {
	return block(order, blockSection, magicOrder, halves(order, 1, 0), -1, -1)
}

func TestMicroseconds(t *testing.T) {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		file := words(order, magicMicro, halves(order, 2, 4), 0, 0, 65535, 0x1000_0001, 1000, 7, 2, 9, "hi")
		got, err := read(file)
		if err != nil {
			t.Fatal(err)
		}
		check(t, got, []Packet{{Data: []byte("hi"), At: 1000*time.Second + 7*time.Microsecond, Link: layers.LinkTypeEthernet}})
	}
}

// TestBlocks reads every sort of block, in sections of both byte orders, with times of many resolutions.
func TestBlocks(t *testing.T) {
	var file []byte
	var want []Packet
	for _, o := range []binary.ByteOrder{binary.BigEndian, binary.LittleEndian} {
		option := func(code, n int, v ...byte) []byte { return append(halves(o, uint16(code), uint16(n)), v...) }
		var offset [8]byte
		o.PutUint64(offset[:], 100)
		var before [8]byte
		o.PutUint64(before[:], ^uint64(99)) // -100
		file = append(file, bytes.Join([][]byte{
			section(o),
			block(o, blockInterface, halves(o, 1, 0), 3, option(2, 5, []byte("eth0\x00\x00\x00\x00")...), option(0, 0)),
			block(o, blockInterface, halves(o, 101, 0), 0, option(9, 1, 9, 0, 0, 0), option(14, 8, offset[:]...)),
			block(o, blockInterface, halves(o, 101, 0), 0, option(9, 1, 0x80|10, 0, 0, 0)),
			block(o, blockInterface, halves(o, 101, 0), 0, option(9, 1, 19, 0, 0, 0), option(14, 8, before[:]...)),
			block(o, blockEnhanced, 0, 0, 5_000_001, 2, 2, "hi", []byte{0, 0}, option(0, 0)),
			block(o, 0x0bad, "a custom block that is passed over"),
			block(o, blockSimple, 10, "abc"),
			block(o, blockEnhanced, 1, 1, 0, 1, 1, "n"),
			block(o, blockPacket, halves(o, 2, 0), 0, 1536, 1, 1, "b"),
			block(o, blockEnhanced, 3, -1, -1, 1, 1, "x"),
		}, nil)...)
		want = append(want,
			Packet{Data: []byte("hi"), At: 5*time.Second + time.Microsecond, Link: 1},
			Packet{Data: []byte("abc"), At: 5*time.Second + time.Microsecond, Link: 1},
			Packet{Data: []byte("n"), At: 100*time.Second + 1<<32, Link: 101},
			Packet{Data: []byte("b"), At: 1500 * time.Millisecond, Link: 101},
			Packet{Data: []byte("x"), At: 0, Link: 101},
		)
	}
	got, err := read(file)
	if err != nil {
		t.Fatal(err)
	}
	check(t, got, want)
}

func TestTimesAreBounded(t *testing.T) {
	const end = lastSecond * time.Second
	for _, c := range []struct {
		units  uint64
		offset int64
		t      uint64
		want   time.Duration
	}{
		{1, 0, 1 << 63, end}, {1, 1<<63 - 1, 1<<64 - 1, end}, {1, -1 << 63, 1<<64 - 1, end}, {1, -1 << 63, 5, 0},
		{1, -5, 7, 2 * time.Second}, {1, lastSecond, 1, end}, {1 << 63, 0, 1<<64 - 1, 1_999_999_999},
	} {
		if got := (&iface{units: c.units, offset: c.offset}).time(c.t); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

func TestRefuses(t *testing.T) {
	o := binary.LittleEndian
	eth := block(o, blockInterface, halves(o, 1, 0), 0)
	good := block(o, blockEnhanced, 0, 0, 0, 1, 1, "x")
	for _, c := range []struct {
		name string
		file []byte
		want string
	}{
		{"empty", nil, "pcap or pcapng"},
		{"no magic", make([]byte, 24), "pcap or pcapng"},
		{"half a header", pcap(t)[:20], "pcap or pcapng"},
		{"half a packet header", pcap(t)[:30], "packet 1: the file ends within its header"},
		{"half a packet", pcap(t)[:42], "packet 1: the file ends within it"},
		{"long packet", words(o, magicNano, 0, 0, 0, 0, 1, 0, 0, MaxPacket+1, 0), "no more than 262144"},
		{"only a type", words(o, blockSection), "block 1: the file ends within its header"},
		{"no order", words(o, blockSection, 28, 0, 0, 0, 0, 28), "byte order"},
		{"short section", words(o, blockSection, 16, magicOrder, 16), "too short"},
		{"odd length", append(section(o), words(o, 5, 13, 0, 13)...), "block 2: its length is wrong"},
		{"no length", append(section(o), words(o, 5, 0, 0, 0)...), "length is wrong"},
		{"long block", append(section(o), words(o, 5, -4, 0)...), "ends within it"},
		{"other length", append(section(o), words(o, 5, 12, 16)...), "not repeated"},
		{"short interface", append(section(o), block(o, blockInterface, 1)...), "strange length"},
		{"long interface", append(section(o), words(o, blockInterface, maxOptions+16)...), "strange length"},
		{"long option", append(section(o), block(o, blockInterface, 1, 0, halves(o, 9, 5))...), "option"},
		{"time too fine", append(section(o), block(o, blockInterface, 1, 0, halves(o, 9, 1), 20)...), "finer"},
		{"binary time too fine", append(section(o), block(o, blockInterface, 1, 0, halves(o, 9, 1), 0x80|64)...), "finer"},
		{"no interface", append(section(o), good...), "does not describe"},
		{"interface of another section", bytes.Join([][]byte{section(o), eth, section(o), good}, nil), "does not describe"},
		{"simple without interface", append(section(o), block(o, blockSimple, 1, 1)...), "does not describe"},
		{"longer than its block", bytes.Join([][]byte{section(o), eth, block(o, blockEnhanced, 0, 0, 0, 5, 5, "x")}, nil), "longer than its block"},
		{"short packet block", bytes.Join([][]byte{section(o), eth, block(o, blockEnhanced, 0)}, nil), "too short"},
		{"too many interfaces", append(section(o), bytes.Repeat(eth, maxInterfaces+1)...), "more than 4096 interfaces"},
	} {
		if _, err := read(c.file); errs.KindOf(err) != errs.Invalid || !strings.HasPrefix(err.Error(), "x: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	for n := range pcapng(t)[:200] { // not one that does not end
		if _, err := read(pcapng(t)[:n]); err != nil && errs.KindOf(err) != errs.Invalid {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
}

// TestBoundedMemory reads a section that states the largest packets and interfaces.
func TestBoundedMemory(t *testing.T) {
	file := append(pcapng(t), pcapng(t)...)
	r, err := NewReader(bytes.NewReader(file), "x")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(1, func() {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("a packet costs %v allocations", n)
	}
}

// FuzzReader reads files from strangers.
func FuzzReader(f *testing.F) {
	f.Add(pcap(f)[:60])
	f.Add(pcapng(f)[:300])
	f.Add(section(binary.BigEndian))
	f.Add(words(binary.LittleEndian, magicMicro, 0, 0, 0, 0, 1, 5, 5, 2, 2, "hi"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := read(b)
		if err != nil && errs.KindOf(err) != errs.Invalid {
			t.Fatal(err)
		}
		size := 0
		for _, p := range got {
			size += len(p.Data) + 12 // no packet takes less of a file
			if p.At < 0 || p.At > (lastSecond+1)*time.Second {
				t.Fatalf("time %d", p.At)
			}
		}
		if size > len(b) {
			t.Fatalf("%d bytes of packets from a file of %d", size, len(b))
		}
	})
}

// TestWireAndOffset: the length on the wire, and where packets begin in the file.
func TestWireAndOffset(t *testing.T) {
	var b bytes.Buffer
	for _, v := range []uint32{magicMicro, 2 | 4<<16, 0, 0, 64, 1, 7, 8, 4, 1500, 0, 9, 9, 2, 2, 0} {
		b.Write(binary.LittleEndian.AppendUint32(nil, v))
	}
	raw := b.Bytes()[:24+16+4+16+2]
	r, err := NewReader(bytes.NewReader(raw), "x")
	if err != nil {
		t.Fatal(err)
	}
	if l, ok := r.Link(); l != layers.LinkTypeEthernet || !ok || r.Offset() != 24 {
		t.Errorf("link %v, %v, offset %d", l, ok, r.Offset())
	}
	for _, want := range []struct {
		wire int
		end  int64
	}{{1500, 44}, {2, 62}} {
		p, err := r.Next()
		if err != nil || p.Wire != want.wire || r.Offset() != want.end {
			t.Errorf("%d bytes on the wire, then offset %d (%v), want %+v", p.Wire, r.Offset(), err, want)
		}
	}
}
