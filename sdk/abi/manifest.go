package abi

import (
	"bytes"
	"encoding/binary"

	"github.com/janos-os/janos/errs"
)

// KeyPart names bytes of the window that belong to the declared key.
type KeyPart struct{ Offset, Length uint16 }

// Manifest is what a module says about itself.
type Manifest struct {
	Name       string // class name, printable ASCII
	WindowSize uint32
	WindowMin  uint32
	StateSpace uint32
	StateSize  uint16
	Key        []KeyPart // nil with a StateSize: one value for the protocol
}

// KeyLen returns the length of the declared key.
func (m *Manifest) KeyLen() int {
	n := 0
	for _, k := range m.Key {
		n += int(k.Length)
	}
	return n
}

// AppendKey appends the declared key of a window to dst. The window must have WindowMin
// bytes, inside which every part lies.
func (m *Manifest) AppendKey(dst, window []byte) []byte {
	for _, k := range m.Key {
		dst = append(dst, window[k.Offset:int(k.Offset)+int(k.Length)]...)
	}
	return dst
}

// ParseManifest reads and checks a manifest of ManifestSize bytes. The errors are of kind
// errs.Invalid, or errs.NotSupported for another ABI version.
func ParseManifest(b []byte) (*Manifest, error) {
	if len(b) < ManifestSize {
		return nil, errs.New(errs.Invalid, "janos_manifest: %d bytes, want %d", len(b), ManifestSize)
	}
	le := binary.LittleEndian
	if v := le.Uint32(b[ManifestABIOff:]); v != Version {
		return nil, errs.New(errs.NotSupported, "janos_manifest: ABI version %d, this node speaks %d: rebuild the capsule with this node's kit", v, Version)
	}
	if n := le.Uint32(b[ManifestSizeOff:]); n != ManifestSize {
		return nil, errs.New(errs.Invalid, "janos_manifest: size field says %d, want %d", n, ManifestSize)
	}
	m := &Manifest{
		WindowSize: le.Uint32(b[ManifestWindowSizeOff:]),
		WindowMin:  le.Uint32(b[ManifestWindowMinOff:]),
		StateSpace: le.Uint32(b[ManifestStateSpaceOff:]),
		StateSize:  le.Uint16(b[ManifestStateSizeOff:]),
	}
	if m.WindowSize == 0 || m.WindowSize > WindowLimit {
		return nil, errs.New(errs.Invalid, "janos_manifest: window_size is %d, want 1 to %d", m.WindowSize, WindowLimit)
	}
	if m.WindowMin > m.WindowSize {
		return nil, errs.New(errs.Invalid, "janos_manifest: window_min %d is above window_size %d", m.WindowMin, m.WindowSize)
	}
	if m.StateSize > StateMax {
		return nil, errs.New(errs.Invalid, "janos_manifest: state_size is %d, at most %d is kept: use the call state_put for more", m.StateSize, StateMax)
	}
	parts := le.Uint16(b[ManifestKeyPartsOff:])
	if parts > KeyPartsMax || parts > 0 && m.StateSize == 0 {
		return nil, errs.New(errs.Invalid, "janos_manifest: %d key parts, want at most %d and a state_size", parts, KeyPartsMax)
	}
	for i := range int(parts) {
		p := b[ManifestKeyOff+i*KeyPartSize:]
		k := KeyPart{Offset: le.Uint16(p[KeyPartOffsetOff:]), Length: le.Uint16(p[KeyPartLengthOff:])}
		if k.Length == 0 || uint32(k.Offset)+uint32(k.Length) > m.WindowMin {
			return nil, errs.New(errs.Invalid, "janos_manifest: key part %d (offset %d, length %d) must not be empty and must lie below window_min, which is %d", i, k.Offset, k.Length, m.WindowMin)
		}
		m.Key = append(m.Key, k)
	}
	if n := m.KeyLen(); n > KeyMax {
		return nil, errs.New(errs.Invalid, "janos_manifest: key of %d bytes, at most %d", n, KeyMax)
	}
	var err error
	if m.Name, err = ParseName(b[ManifestNameOff : ManifestNameOff+NameMax]); err != nil {
		return nil, errs.New(errs.Invalid, "janos_manifest: the class name %w", err)
	}
	return m, nil
}

// ParseName reads a zero-padded name of printable ASCII. The error goes on from "the name".
func ParseName(b []byte) (string, error) {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	if len(b) == 0 {
		return "", errs.New(errs.Invalid, "is empty")
	}
	for _, c := range b {
		if c <= ' ' || c > '~' {
			return "", errs.New(errs.Invalid, "%q has a byte that is not printable ASCII", b)
		}
	}
	return string(b), nil
}
