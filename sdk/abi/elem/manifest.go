package elem

import (
	"encoding/binary"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/sdk/abi"
)

// Drop is the output number of a packet that is not to go on.
const Drop = 1<<32 - 1

// None is the offset of a header that a packet does not have.
const None = 1<<32 - 1

// Manifest is what a module says about itself.
type Manifest struct {
	Name       string // printable ASCII
	Flags      uint32
	Headroom   uint32 // bytes; a multiple of 8
	WindowSize uint32 // bytes, headroom included
	WindowMin  uint32 // bytes
	ConfigSize uint32 // bytes
	Counters   uint32
	Inputs     int // most
	Outputs    int // most
}

// Writes reports whether the element may change packets.
func (m *Manifest) Writes() bool { return m.Flags&FlagWrites != 0 }

// Room returns how many bytes of a packet fit into the window.
func (m *Manifest) Room() uint32 { return m.WindowSize - m.Headroom }

// ParseManifest reads and checks a manifest of ElementSize bytes. The errors are of kind errs.Invalid, or errs.NotSupported for another
// version of the ABI.
func ParseManifest(b []byte) (*Manifest, error) {
	if len(b) < ElementSize {
		return nil, errs.New(errs.Invalid, "janos_element: %d bytes, want %d", len(b), ElementSize)
	}
	le := binary.LittleEndian
	if v := le.Uint32(b[ElementABIOff:]); v != Version {
		return nil, errs.New(errs.NotSupported, "janos_element: version %d of the ABI for elements, this node speaks %d: rebuild the element with this node's kit", v, Version)
	}
	if n := le.Uint32(b[ElementSizeOff:]); n != ElementSize {
		return nil, errs.New(errs.Invalid, "janos_element: size field says %d, want %d", n, ElementSize)
	}
	m := &Manifest{
		Flags: le.Uint32(b[ElementFlagsOff:]), Headroom: le.Uint32(b[ElementHeadroomOff:]), WindowSize: le.Uint32(b[ElementWindowSizeOff:]), WindowMin: le.Uint32(b[ElementWindowMinOff:]),
		ConfigSize: le.Uint32(b[ElementConfigSizeOff:]), Counters: le.Uint32(b[ElementCountersOff:]),
		Inputs: int(le.Uint16(b[ElementInputsOff:])), Outputs: int(le.Uint16(b[ElementOutputsOff:])),
	}
	switch {
	case m.Flags&^(FlagWrites|FlagPartial) != 0:
		return nil, errs.New(errs.Invalid, "janos_element: unknown flags %#x", m.Flags&^(FlagWrites|FlagPartial))
	case m.WindowSize == 0 || m.WindowSize > WindowLimit:
		return nil, errs.New(errs.Invalid, "janos_element: window_size is %d, want 1 to %d", m.WindowSize, WindowLimit)
	case m.Headroom%8 != 0 || m.Headroom >= m.WindowSize:
		return nil, errs.New(errs.Invalid, "janos_element: headroom is %d, want a multiple of 8 below window_size, which is %d", m.Headroom, m.WindowSize)
	case m.WindowMin > m.Room():
		return nil, errs.New(errs.Invalid, "janos_element: window_min %d is above the %d bytes of a packet that fit into the window", m.WindowMin, m.Room())
	case m.ConfigSize > ConfigLimit:
		return nil, errs.New(errs.Invalid, "janos_element: config_size is %d, at most %d", m.ConfigSize, ConfigLimit)
	case m.Counters > CountersMax:
		return nil, errs.New(errs.Invalid, "janos_element: %d counters, at most %d", m.Counters, CountersMax)
	case m.Inputs < 1 || m.Inputs > PortsMax || m.Outputs > PortsMax:
		return nil, errs.New(errs.Invalid, "janos_element: %d inputs and %d outputs, want 1 to %d and at most %d", m.Inputs, m.Outputs, PortsMax, PortsMax)
	}
	var err error
	if m.Name, err = abi.ParseName(b[ElementNameOff : ElementNameOff+NameMax]); err != nil {
		return nil, errs.New(errs.Invalid, "janos_element: the name %w", err)
	}
	return m, nil
}

// Out is what a guest leaves after an evaluation.
type Out struct {
	Output    uint32 // its number, or Drop
	Start     uint32 // of what goes on, in the window
	Length    uint32 // of what goes on; may reach beyond what is in the window, see Get
	Network   uint32 // offset in the window, or None
	Dst       uint32
	Aggregate uint32
	Paint     uint8
}

// The refusals of Get are values, so that a hostile guest costs no allocation.
var (
	errOutput = errs.New(errs.Invalid, "evaluate returned the number of an output that the element does not declare")
	errStart  = errs.New(errs.Invalid, "out_start or out_length is outside what the window allows")
	errHeader = errs.New(errs.Invalid, "network is outside of the packet")
	errPaint  = errs.New(errs.Invalid, "paint is above 255")
)

// Get reads what the guest left in a packet record, whose function returned output, and checks it against what the host itself put in. Without FlagWrites
// the place of the packet and its header are what they were. Otherwise: if the guest saw everything, what goes on lies inside the window; if not, its end is the
// packet's own, which lies outside. On error o is unspecified. Get does not allocate.
func (o *Out) Get(b []byte, output uint32, in *In, m *Manifest) error {
	_ = b[PacketSize-1]
	le := binary.LittleEndian
	if output >= uint32(m.Outputs) && output != Drop {
		return errOutput
	}
	o.Output, o.Dst, o.Aggregate = output, le.Uint32(b[PacketDstOff:]), le.Uint32(b[PacketAggregateOff:])
	paint := le.Uint32(b[PacketPaintOff:])
	if paint > 255 {
		return errPaint
	}
	o.Paint = uint8(paint)
	o.Start, o.Length, o.Network = in.Start, in.Length, in.Network
	if !m.Writes() {
		return nil
	}
	o.Start, o.Length, o.Network = le.Uint32(b[PacketOutStartOff:]), le.Uint32(b[PacketOutLengthOff:]), le.Uint32(b[PacketNetworkOff:])
	end := uint64(o.Start) + uint64(o.Length)
	switch {
	case in.Captured == in.Length && end <= uint64(m.WindowSize):
	case in.Captured < in.Length && o.Start <= in.Start+in.Captured && end == uint64(in.Start)+uint64(in.Length):
	default:
		return errStart
	}
	if o.Network != None && (o.Network < o.Start || uint64(o.Network) > min(end, uint64(m.WindowSize))) {
		return errHeader
	}
	return nil
}

// Preset writes the out fields that the guest finds at entry.
func (in *In) Preset(b []byte) {
	_ = b[PacketSize-1]
	le := binary.LittleEndian
	le.PutUint32(b[PacketOutStartOff:], in.Start)
	le.PutUint32(b[PacketOutLengthOff:], in.Length)
	le.PutUint32(b[PacketReservedOff:], 0)
}
