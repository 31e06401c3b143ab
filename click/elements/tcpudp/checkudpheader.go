package tcpudp

import (
	"encoding/binary"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/elements/ip"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "CheckUDPHeader", Ports: "1/1-2", Processing: "a/ah", Merging: click.Merged, New: func() click.Element { return &CheckUDPHeader{} },
		Doc: click.Doc{
			Group: "tcpudp", Title: "checks UDP headers",
			Text: "A good packet has a marked IPv4 header, protocol 17, a length in the UDP header of at least 8 and at most what there is, and a right checksum or none (zero); the checksum covers the whole datagram, so fragments are bad. Bad packets go to output 1 if that is connected.",
			Args: ip.FaultArgs, Handlers: ip.FaultHandlers,
			Example: "... -> CheckIPHeader -> IPClassifier(udp) -> CheckUDPHeader -> ...;", See: []string{"CheckIPHeader", "CheckTCPHeader", "CheckICMPHeader", "SetUDPChecksum"},
		},
	})
}

// CheckUDPHeader checks UDP headers.
type CheckUDPHeader struct{ headerCheck }

// Configure implements click.Element.
func (e *CheckUDPHeader) Configure(a *click.Args) { e.init(a, "UDP", checkUDP) }

// checkUDP returns the reason against p, or -1.
func checkUDP(p *packet.Packet) int {
	h, s, ok := segment(p)
	switch {
	case h == nil || h[9] != 17:
		return otherProtocol
	case !ok || len(s) < 8:
		return badLength
	}
	n := int(binary.BigEndian.Uint16(s[4:]))
	if n < 8 || n > len(s) {
		return badLength
	}
	if s[6]|s[7] != 0 && checksum(h, s[:n]) != 0 {
		return badSum
	}
	return -1
}
