package ip

import (
	"net/netip"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "FixIPSrc", Ports: "1/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &FixIPSrc{} },
		Doc: click.Doc{
			Group: "ip", Title: "sets the source address of packets that ask for it",
			Text: "ICMPError marks its packets so that they get the address of the interface by which they leave.",
			Args: []string{"IPADDR: The interface's address."}, Example: "... -> FixIPSrc(10.0.1.1) -> ...;", See: []string{"ICMPError"},
		},
	})
}

// FixIPSrc sets source addresses.
type FixIPSrc struct {
	click.Base
	addr [4]byte
}

// Configure implements click.Element.
func (e *FixIPSrc) Configure(a *click.Args) {
	x := netip.IPv4Unspecified()
	a.Parse(click.Must("IPADDR", click.Addr4(&x)))
	e.addr = x.As4()
}

// Act implements click.Actor.
func (e *FixIPSrc) Act(b *packet.Batch) {
	for _, p := range b.Packets() {
		if FixSrc(p) {
			SetFixSrc(p, false)
			if h := p.Network(); len(h) >= 20 && e.Cache().Unshare(p) {
				setAddr(p.Network(), 12, e.addr)
			}
		}
	}
}
