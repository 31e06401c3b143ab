package abi

import (
	"encoding/binary"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/janos-os/janos/errs"
)

// manifest returns a good one of a class "count" that keeps 16 bytes under a key of two parts.
func manifest() []byte {
	b := make([]byte, ManifestSize)
	le := binary.LittleEndian
	le.PutUint32(b[ManifestSizeOff:], ManifestSize)
	le.PutUint32(b[ManifestABIOff:], Version)
	le.PutUint32(b[ManifestWindowSizeOff:], 64)
	le.PutUint32(b[ManifestWindowMinOff:], 12)
	le.PutUint16(b[ManifestStateSizeOff:], 16)
	le.PutUint16(b[ManifestKeyPartsOff:], 2)
	le.PutUint16(b[ManifestKeyOff+KeyPartLengthOff:], 4)
	le.PutUint16(b[ManifestKeyOff+KeyPartSize+KeyPartOffsetOff:], 10)
	le.PutUint16(b[ManifestKeyOff+KeyPartSize+KeyPartLengthOff:], 2)
	copy(b[ManifestNameOff:], "count")
	return b
}

func TestManifest(t *testing.T) {
	m, err := ParseManifest(manifest())
	want := &Manifest{Name: "count", WindowSize: 64, WindowMin: 12, StateSize: 16, Key: []KeyPart{{0, 4}, {10, 2}}}
	if err != nil || !reflect.DeepEqual(m, want) {
		t.Fatalf("%+v %v", m, err)
	}
	if key := m.AppendKey([]byte("k:"), []byte("abcdefghijkl")); string(key) != "k:abcdkl" || m.KeyLen() != 6 {
		t.Errorf("key %q", key)
	}
	for _, tc := range []struct {
		off, width int
		v          uint32
		kind       errs.Kind
		want       string
	}{
		{ManifestSizeOff, 4, 4, errs.Invalid, "size field"},
		{ManifestABIOff, 4, 2, errs.NotSupported, "rebuild the capsule"},
		{ManifestWindowSizeOff, 4, 0, errs.Invalid, "window_size"},
		{ManifestWindowSizeOff, 4, WindowLimit + 1, errs.Invalid, "window_size"},
		{ManifestWindowMinOff, 4, 65, errs.Invalid, "window_min 65 is above"},
		{ManifestStateSizeOff, 2, StateMax + 1, errs.Invalid, "state_size"},
		{ManifestStateSizeOff, 2, 0, errs.Invalid, "key parts"},
		{ManifestKeyPartsOff, 2, KeyPartsMax + 1, errs.Invalid, "key parts"},
		{ManifestKeyPartsOff, 2, 3, errs.Invalid, "key part 2"},
		{ManifestKeyOff + KeyPartOffsetOff, 2, 9, errs.Invalid, "key part 0"},
		{ManifestKeyOff + KeyPartOffsetOff, 2, 65535, errs.Invalid, "key part 0"},
		{ManifestKeyOff + KeyPartLengthOff, 2, 0, errs.Invalid, "key part 0"},
		{ManifestNameOff, 2, 0, errs.Invalid, "empty"},
		{ManifestNameOff, 2, 'a' | '\n'<<8, errs.Invalid, "printable"},
	} {
		b := manifest()
		if tc.width == 2 {
			binary.LittleEndian.PutUint16(b[tc.off:], uint16(tc.v))
		} else {
			binary.LittleEndian.PutUint32(b[tc.off:], tc.v)
		}
		if _, err := ParseManifest(b); errs.KindOf(err) != tc.kind || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("offset %d set to %d: %v, want %q", tc.off, tc.v, err, tc.want)
		}
	}
	b := manifest()
	binary.LittleEndian.PutUint32(b[ManifestWindowMinOff:], 64)
	binary.LittleEndian.PutUint16(b[ManifestKeyOff+KeyPartLengthOff:], 31)
	if _, err := ParseManifest(b); !errors.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "key of 33 bytes") {
		t.Errorf("long key: %v", err)
	}
	if _, err := ParseManifest(b[:ManifestSize-1]); !errors.Is(err, errs.Invalid) {
		t.Errorf("short: %v", err)
	}
}

func TestBlock(t *testing.T) {
	in := In{TimeNS: 1, Fuel: 2, Random: 3, Node: 4, Prev: 5, Src: 6, Dst: 7, Length: 100, Captured: 100, Credit: 10, TTL: 11, InLink: 12,
		Neighbours: 13, SrcPort: 14, DstPort: 15, StateFound: 1}
	b := make([]byte, BlockSize)
	for i := range b {
		b[i] = 0xee // what an earlier guest left there
	}
	in.Put(b)
	in.Preset(b)
	le := binary.LittleEndian
	if le.Uint32(b[BlockSizeOff:]) != BlockSize || le.Uint32(b[BlockABIOff:]) != Version || le.Uint64(b[BlockRandomOff:]) != 3 || le.Uint16(b[BlockDstPortOff:]) != 15 {
		t.Errorf("% x", b[:BlockStateOff])
	}
	var o Out
	get := func() error { return o.Get(b, &in, 200, true, 65536) }
	if err := get(); err != nil || o.Dst != 7 || o.Length != 100 || o.NumOutputs != 0 || o.NumEmits != 0 || o.StateAct != StateKeep || o.StateLifetime != 0 {
		t.Fatalf("as preset: %+v %v", o, err)
	}
	for _, tc := range []struct {
		what     string
		off      int
		v        uint32
		captured uint32
		ok       bool
	}{
		{"grow", BlockOutLengthOff, 200, 100, true},
		{"grow too far", BlockOutLengthOff, 201, 100, false},
		{"grow blindly", BlockOutLengthOff, 101, 50, false},
		{"cut inside the tail", BlockOutLengthOff, 51, 50, false},
		{"cut the tail", BlockOutLengthOff, 50, 50, true},
		{"empty", BlockOutLengthOff, 0, 50, true},
		{"outputs", BlockOutCountOff, OutputsMax, 100, true},
		{"too many outputs", BlockOutCountOff, OutputsMax + 1, 100, false},
		{"emits with rubbish", BlockEmitCountOff, 1, 100, false},
		{"too many emits", BlockEmitCountOff, EmitsMax + 1, 100, false},
		{"write", BlockStateActOff, uint32(StateWrite), 100, true},
		{"unknown act", BlockStateActOff, 3, 100, false},
	} {
		in.Captured = tc.captured
		in.Preset(b)
		le.PutUint32(b[tc.off:], tc.v)
		if err := get(); (err == nil) != tc.ok || err != nil && !errors.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", tc.what, err)
		}
	}
	in.Preset(b)
	le.PutUint32(b[BlockStateActOff:], uint32(StateWrite))
	if err := o.Get(b, &in, 200, false, 65536); err == nil {
		t.Error("state was written that was never declared")
	}
	in.Preset(b)
	le.PutUint32(b[BlockEmitCountOff:], 1)
	e := b[BlockEmitsOff:]
	le.PutUint32(e[EmitAddrOff:], 65536-10)
	le.PutUint32(e[EmitLengthOff:], 10)
	le.PutUint16(e[EmitClassOff:], 3)
	if err := get(); err != nil || o.Emits[0].Offset != 65526 || o.Emits[0].Length != 10 || o.Emits[0].Class != 3 {
		t.Errorf("emit at the end of memory: %v %+v", err, o.Emits[0])
	}
	le.PutUint32(e[EmitLengthOff:], 11)
	if err := get(); err == nil {
		t.Error("emit beyond the end of memory")
	}
	if n := testing.AllocsPerRun(100, func() { in.Put(b); in.Preset(b); _ = get() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzManifest(f *testing.F) {
	f.Add(manifest())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseManifest(b)
		if err != nil {
			return
		}
		if key := m.AppendKey(nil, make([]byte, m.WindowMin)); len(key) > KeyMax || len(key) != m.KeyLen() {
			t.Errorf("key of %d bytes", len(key))
		}
	})
}

func FuzzOut(f *testing.F) {
	in := In{Length: 10, Captured: 10}
	b := make([]byte, BlockSize)
	in.Preset(b)
	f.Add(b, uint32(10), uint32(10))
	f.Fuzz(func(t *testing.T, b []byte, length, captured uint32) {
		if len(b) < BlockSize {
			return
		}
		in := In{Length: length, Captured: min(captured, length, 64)}
		var o Out
		if o.Get(b, &in, 64, false, 4096) != nil {
			return
		}
		if o.Length > max(length, 64) || o.Length > 64 && o.Length != length || o.NumOutputs > OutputsMax || o.NumEmits > EmitsMax {
			t.Errorf("%+v", o)
		}
		for _, e := range o.Emits[:o.NumEmits] {
			_ = make([]byte, 4096)[e.Offset : e.Offset+e.Length]
		}
	})
}
