// Code generated from element.yaml by sdk/abi/internal/gen; DO NOT EDIT.

package elem

import "encoding/binary"

// Version is the version of the ABI.
const Version = 1

// Bounds of the ABI.
const (
	PortsMax    = 64    // most inputs, and most outputs
	WindowLimit = 65536 // largest window an element may declare
	ConfigLimit = 16384 // most bytes of configuration arguments an element may ask for
	CountersMax = 256   // most counters of an element
	NameMax     = 32    // bytes of the element's name in the manifest
	LabelMax    = 24    // bytes of a counter's name
)

// Flags of a manifest.
const (
	FlagWrites  = 1 // the element changes packets: without this flag what it does to the window, to out_start, out_length and network is ignored, which is faster
	FlagPartial = 2 // a packet longer than the window is shown in part; without this flag such a packet is not evaluated and counts as too long
)

// Sizes and offsets of the records in guest memory.
const (
	ElementSize          = 72
	ElementSizeOff       = 0
	ElementABIOff        = 4
	ElementFlagsOff      = 8
	ElementHeadroomOff   = 12
	ElementWindowSizeOff = 16
	ElementWindowMinOff  = 20
	ElementConfigSizeOff = 24
	ElementCountersOff   = 28
	ElementInputsOff     = 32
	ElementOutputsOff    = 34
	ElementNameOff       = 36
	ElementReservedOff   = 68

	PacketSize         = 64
	PacketTimeNSOff    = 0
	PacketRandomOff    = 8
	PacketInputOff     = 16
	PacketLengthOff    = 20
	PacketCapturedOff  = 24
	PacketStartOff     = 28
	PacketTransportOff = 32
	PacketNetworkOff   = 36
	PacketDstOff       = 40
	PacketAggregateOff = 44
	PacketPaintOff     = 48
	PacketOutStartOff  = 52
	PacketOutLengthOff = 56
	PacketReservedOff  = 60

	ConfigSize      = 8
	ConfigCountOff  = 0
	ConfigLengthOff = 4

	CounterSize     = 32
	CounterValueOff = 0
	CounterNameOff  = 8
)

// Names of the functions that a guest exports: of nothing, and returning an i32.
const (
	ExportEvaluate  = "evaluate"  // the number of an output, or Drop
	ExportConfigure = "configure" // optional
)

// Names of the globals that hold the addresses of the records.
const (
	ExportElement = "janos_element"
	ExportPacket  = "janos_packet"
	ExportConfig  = "janos_config"
	ExportCounter = "janos_counters"
	ExportWindow  = "janos_window"
)

// In is what the host tells the guest about one packet.
type In struct {
	TimeNS    uint64 // the router's time in nanoseconds, one reading per batch
	Random    uint64 // fresh pseudo-random bits; not for secrets
	Input     uint32 // number of the input that it came by
	Length    uint32 // bytes of the packet
	Captured  uint32 // how many of them are in the window
	Start     uint32 // offset of its first byte in the window; this is headroom
	Transport uint32 // offset of its transport header in the window, or 0xffffffff if it has none
	Network   uint32 // offset of its network header in the window, or 0xffffffff if it has none
	Dst       uint32 // destination annotation (next hop), an IPv4 address as a number, 0 for none
	Aggregate uint32 // aggregate annotation
	Paint     uint32 // paint annotation, 0 to 255
}

// Put writes in to the start of a packet, which must have PacketSize bytes.
func (in *In) Put(b []byte) {
	_ = b[PacketSize-1]
	binary.LittleEndian.PutUint64(b[PacketTimeNSOff:], in.TimeNS)
	binary.LittleEndian.PutUint64(b[PacketRandomOff:], in.Random)
	binary.LittleEndian.PutUint32(b[PacketInputOff:], in.Input)
	binary.LittleEndian.PutUint32(b[PacketLengthOff:], in.Length)
	binary.LittleEndian.PutUint32(b[PacketCapturedOff:], in.Captured)
	binary.LittleEndian.PutUint32(b[PacketStartOff:], in.Start)
	binary.LittleEndian.PutUint32(b[PacketTransportOff:], in.Transport)
	binary.LittleEndian.PutUint32(b[PacketNetworkOff:], in.Network)
	binary.LittleEndian.PutUint32(b[PacketDstOff:], in.Dst)
	binary.LittleEndian.PutUint32(b[PacketAggregateOff:], in.Aggregate)
	binary.LittleEndian.PutUint32(b[PacketPaintOff:], in.Paint)
}
