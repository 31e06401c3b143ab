package info

import (
	"net/netip"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
)

func init() {
	click.Register(click.Class{
		Name: "AddressInfo", Ports: "0/0", Processing: "a", New: func() click.Element { return &AddressInfo{} },
		Doc: click.Doc{
			Group: "information", Title: "gives addresses names",
			Text: "A name may have an IPv4 address, an IPv6 address, a prefix of each and an Ethernet address; the place where it is used decides, or a suffix: :ip, :ipnet, :ip6, :ip6net, :eth. " +
				"ADDRESS/LENGTH defines the prefix, and the address too if it has bits beyond the prefix. NAME:bcast is the last address of its IPv4 prefix, NAME:gw the first.\n\n" +
				"Names hold in the compound of the element and in those inside of it. A name that nobody defined may be that of a network interface of the host, where the router may look at the host.",
			Args:    []string{"<NAME ADDRESS...>...: Addresses of a name, in any order."},
			Example: "AddressInfo(here 10.0.0.1/24 02:00:00:00:00:01, peer 10.0.0.2); Idle -> ARPResponder(here) -> Discard;", See: []string{"PortInfo"},
		},
	})
}

// info is what all of these elements have in common.
type info struct{ click.Base }

// ConfigurePhase puts the element before those that use what it says.
func (*info) ConfigurePhase() int { return click.PhaseInfo }

// AddressInfo names addresses.
type AddressInfo struct{ info }

// Configure implements click.Element.
func (*AddressInfo) Configure(a *click.Args) {
	for _, arg := range a.List() {
		w := lang.SplitWords(arg)
		if len(w) == 0 {
			continue
		}
		if len(w) == 1 {
			a.Errorf("'%s': expected 'NAME ADDRESS...'", arg)
			continue
		}
		name := lang.Unquote(w[0])
		for _, s := range w[1:] {
			if !define(a, name, lang.Unquote(s)) {
				a.Errorf("'%s' is no IP address, IP prefix or Ethernet address", s)
			}
		}
	}
}

func define(a *click.Args, name, s string) bool {
	if _, err := click.ParseEther(s); err == nil {
		a.Define(click.NameEther, name, s)
		return true
	}
	addr, prefix := click.NameAddr4, click.NamePrefix4
	if x, err := netip.ParseAddr(s); err == nil && x.Zone() == "" {
		if x.Is6() {
			addr = click.NameAddr6
		}
		a.Define(addr, name, s)
		return true
	}
	p, err := click.ParsePrefix(s)
	if err != nil {
		return false
	}
	if p.Addr().Is6() {
		addr, prefix = click.NameAddr6, click.NamePrefix6
	}
	a.Define(prefix, name, p.Masked().String())
	if p.Masked().Addr() != p.Addr() {
		a.Define(addr, name, p.Addr().String())
	}
	return true
}
