package tcpudp

import (
	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/elements/ip"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "CheckTCPHeader", Ports: "1/1-2", Processing: "a/ah", Merging: click.Merged, New: func() click.Element { return &CheckTCPHeader{} },
		Doc: click.Doc{
			Group: "tcpudp", Title: "checks TCP headers",
			Text: "A good packet has a marked IPv4 header, protocol 6, a TCP header that fits the segment and a right checksum, which covers the whole segment; so fragments are bad. Bad packets go to output 1 if that is connected.",
			Args: ip.FaultArgs, Handlers: ip.FaultHandlers,
			Example: "... -> CheckIPHeader -> IPClassifier(tcp) -> CheckTCPHeader -> ...;", See: []string{"CheckIPHeader", "CheckUDPHeader", "CheckICMPHeader", "SetTCPChecksum"},
		},
	})
}

// CheckTCPHeader checks TCP headers.
type CheckTCPHeader struct{ headerCheck }

// Configure implements click.Element.
func (e *CheckTCPHeader) Configure(a *click.Args) { e.init(a, "TCP", checkTCP) }

// checkTCP returns the reason against p, or -1.
func checkTCP(p *packet.Packet) int {
	h, s, ok := segment(p)
	switch {
	case h == nil || h[9] != 6:
		return otherProtocol
	case !ok || len(s) < 20:
		return badLength
	}
	if n := int(s[12]>>4) * 4; n < 20 || n > len(s) {
		return badLength
	}
	if checksum(h, s) != 0 {
		return badSum
	}
	return -1
}
