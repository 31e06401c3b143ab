package elem

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/janos-os/janos/errs"
)

// raw is a manifest that is accepted.
func raw() []byte {
	b := make([]byte, ElementSize)
	le := binary.LittleEndian
	le.PutUint32(b[ElementSizeOff:], ElementSize)
	le.PutUint32(b[ElementABIOff:], Version)
	le.PutUint32(b[ElementFlagsOff:], FlagWrites)
	le.PutUint32(b[ElementHeadroomOff:], 16)
	le.PutUint32(b[ElementWindowSizeOff:], 80)
	le.PutUint32(b[ElementWindowMinOff:], 20)
	le.PutUint16(b[ElementInputsOff:], 1)
	le.PutUint16(b[ElementOutputsOff:], 2)
	copy(b[ElementNameOff:], "one")
	return b
}

func TestParseManifest(t *testing.T) {
	m, err := ParseManifest(raw())
	if err != nil {
		t.Fatal(err)
	}
	if want := (Manifest{Name: "one", Flags: FlagWrites, Headroom: 16, WindowSize: 80, WindowMin: 20, Inputs: 1, Outputs: 2}); *m != want {
		t.Errorf("%+v, want %+v", *m, want)
	}
	if m.Room() != 64 || !m.Writes() {
		t.Error(m.Room(), m.Writes())
	}
	for _, c := range []struct {
		off  int
		v    uint32
		kind errs.Kind
		says string
	}{
		{ElementABIOff, 9, errs.NotSupported, "rebuild"},
		{ElementSizeOff, 1, errs.Invalid, "size field"},
		{ElementFlagsOff, 1 << 9, errs.Invalid, "flags"},
		{ElementHeadroomOff, 4, errs.Invalid, "multiple of 8"},
		{ElementHeadroomOff, 80, errs.Invalid, "below window_size"},
		{ElementWindowSizeOff, 0, errs.Invalid, "window_size"},
		{ElementWindowSizeOff, WindowLimit + 1, errs.Invalid, "window_size"},
		{ElementWindowMinOff, 65, errs.Invalid, "window_min"},
		{ElementConfigSizeOff, ConfigLimit + 1, errs.Invalid, "config_size"},
		{ElementCountersOff, CountersMax + 1, errs.Invalid, "counters"},
		{ElementInputsOff, 0, errs.Invalid, "inputs"},
		{ElementInputsOff, 1 | (PortsMax+1)<<16, errs.Invalid, "outputs"},
		{ElementNameOff, 0, errs.Invalid, "is empty"},
		{ElementNameOff, ' ', errs.Invalid, "printable"},
	} {
		b := raw()
		binary.LittleEndian.PutUint32(b[c.off:], c.v)
		_, err := ParseManifest(b)
		if errs.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%d at %d: %v, want %v with %q", c.v, c.off, err, c.kind, c.says)
		}
	}
	if _, err := ParseManifest(raw()[:ElementSize-1]); errs.KindOf(err) != errs.Invalid {
		t.Error(err)
	}
}

// FuzzOut: whatever a guest leaves, what is accepted lies inside the window, or is the packet's own tail.
func FuzzOut(f *testing.F) {
	f.Add(raw(), make([]byte, PacketSize), uint32(0), uint32(64), uint32(64))
	f.Fuzz(func(t *testing.T, man, record []byte, output, length, captured uint32) {
		m, err := ParseManifest(man)
		if err != nil || len(record) < PacketSize {
			return
		}
		length %= 1 << 17
		captured = min(captured, length, m.Room())
		in := In{Start: m.Headroom, Length: length, Captured: captured, Network: None, Transport: None}
		var o Out
		if o.Get(record, output, &in, m) != nil {
			return
		}
		if o.Output != Drop && o.Output >= uint32(m.Outputs) {
			t.Fatal("output", o.Output)
		}
		end := uint64(o.Start) + uint64(o.Length)
		if inside := end <= uint64(m.WindowSize); !inside && (captured == length || end != uint64(in.Start)+uint64(length)) {
			t.Fatalf("%+v of %+v", o, in)
		}
		if captured < length && m.Writes() && o.Start > in.Start+captured {
			t.Fatalf("%+v begins in what is not there", o)
		}
		if o.Network != None && m.Writes() && (o.Network < o.Start || o.Network > m.WindowSize) {
			t.Fatalf("network %d", o.Network)
		}
	})
}

func TestGet(t *testing.T) {
	m, err := ParseManifest(raw())
	if err != nil {
		t.Fatal(err)
	}
	in := In{Input: 0, Start: 16, Length: 60, Captured: 60, Network: None, Transport: None}
	whole := func(change func(b []byte)) error {
		b := make([]byte, PacketSize)
		in.Put(b)
		in.Preset(b)
		change(b)
		return new(Out).Get(b, 1, &in, m)
	}
	put := func(off int, v uint32) func([]byte) {
		return func(b []byte) { binary.LittleEndian.PutUint32(b[off:], v) }
	}
	for _, c := range []struct {
		name   string
		change func([]byte)
		want   error
	}{
		{"nothing", func([]byte) {}, nil},
		{"all headroom", func(b []byte) { put(PacketOutStartOff, 0)(b); put(PacketOutLengthOff, 76)(b) }, nil},
		{"beyond the window", put(PacketOutLengthOff, 65), errStart},
		{"wraps", func(b []byte) { put(PacketOutStartOff, 1<<32-8)(b); put(PacketOutLengthOff, 8)(b) }, errStart},
		{"header before the packet", put(PacketNetworkOff, 15), errHeader},
		{"header", put(PacketNetworkOff, 30), nil},
		{"paint", put(PacketPaintOff, 256), errPaint},
	} {
		if err := whole(c.change); err != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if err := new(Out).Get(make([]byte, PacketSize), 2, &in, m); err != errOutput {
		t.Error(err)
	}
	in.Length = 200 // the tail stays outside
	if err := whole(put(PacketOutLengthOff, 180)); err != errStart {
		t.Error("a tail that was cut:", err)
	}
	if err := whole(func(b []byte) { put(PacketOutStartOff, 20)(b); put(PacketOutLengthOff, 196)(b) }); err != nil {
		t.Error("a front that was cut:", err)
	}
}
