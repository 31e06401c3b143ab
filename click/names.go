package click

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/janos-os/janos/click/lang"
)

// NameKind says what a name of a configuration stands for. One name may stand for things of several kinds.
type NameKind uint8

// The kinds of names.
const (
	NameAddr4 NameKind = iota
	NamePrefix4
	NameAddr6
	NamePrefix6
	NameEther
	NameTCP
	NameUDP
	NameAnno
	NameShare // of an element's tasks, see ScheduleInfo
)

type nameKey struct {
	kind        NameKind
	scope, name string
}

// Define makes name stand for value, in the literal form of its kind, in the compound that the configured element is in
// and in those inside of it. Elements that define names have a ConfigurePhase before PhaseDefault. The last definition of a scope holds.
func (a *Args) Define(kind NameKind, name, value string) {
	if a.router.names == nil {
		a.router.names = map[nameKey]string{}
	}
	a.router.names[nameKey{kind, scopeOf(a.el.name), name}] = value
}

// Phases of configuration, for elements with a method ConfigurePhase() int; the least first.
const (
	PhaseInfo    = -100 // elements that define names for others
	PhaseDefault = 0
)

// scopeOf returns the compound that an element is in.
func scopeOf(name string) string {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i]
	}
	return ""
}

// Name returns what a name stands for where the configured element is: the innermost definition. A nil a knows no names.
func (a *Args) Name(kind NameKind, name string) (value string, ok bool) {
	if a == nil || len(a.router.names) == 0 {
		return "", false
	}
	for scope := scopeOf(a.el.name); ; scope = scopeOf(scope) {
		if v, ok := a.router.names[nameKey{kind, scope, name}]; ok {
			return v, true
		}
		if scope == "" {
			return "", false
		}
	}
}

// ParseAddr parses an address, or a name that AddressInfo gave one, also with a suffix that says which of its addresses:
// :ip, :ip6, :bcast (the last of its network) and :gw (the first). Without a definition a name may be
// an interface of the host. A nil a knows no names.
func (a *Args) ParseAddr(s string) (netip.Addr, error) {
	if x, err := netip.ParseAddr(s); err == nil && x.Zone() == "" {
		return x, nil
	}
	name, suffix := suffixOf(s)
	kinds := []NameKind{NameAddr4, NameAddr6}
	switch suffix {
	case "":
	case "ip":
		kinds = kinds[:1]
	case "ip6":
		kinds = kinds[1:]
	case "bcast", "gw":
		if p, err := a.ParsePrefix(name + ":ipnet"); err == nil {
			v := p.Masked().Addr().As4()
			if suffix == "gw" {
				v[3] |= 1
			} else {
				for i := p.Bits(); i < 32; i++ {
					v[i/8] |= 0x80 >> (i % 8)
				}
			}
			return netip.AddrFrom4(v), nil
		}
		kinds = nil
	default:
		kinds = nil
	}
	for _, k := range kinds {
		if v, ok := a.Name(k, name); ok {
			return netip.ParseAddr(v)
		}
	}
	for _, p := range a.interfaceAddrs(name) {
		for _, k := range kinds {
			if p.Addr().Is4() == (k == NameAddr4) {
				return p.Addr(), nil
			}
		}
	}
	return netip.Addr{}, fmt.Errorf("expected an IP address, not '%s'", s)
}

// ParsePrefix is the function of that name, and knows names: NAME is an address of full length if it stands for one and else a prefix,
// NAME:ipnet and NAME:ip6net are always prefixes.
func (a *Args) ParsePrefix(s string) (netip.Prefix, error) {
	p, err := ParsePrefix(s)
	if err == nil {
		return p, nil
	}
	name, suffix := suffixOf(s)
	if suffix != "ipnet" && suffix != "ip6net" {
		if x, aerr := a.ParseAddr(s); aerr == nil {
			return netip.PrefixFrom(x, x.BitLen()), nil
		}
	}
	for _, k := range []NameKind{NamePrefix4, NamePrefix6} {
		if suffix == "" || suffix == map[NameKind]string{NamePrefix4: "ipnet", NamePrefix6: "ip6net"}[k] {
			if v, ok := a.Name(k, name); ok {
				return ParsePrefix(v)
			}
			for _, q := range a.interfaceAddrs(name) {
				if q.Addr().Is4() == (k == NamePrefix4) {
					return q, nil
				}
			}
		}
	}
	return netip.Prefix{}, err
}

// ParseEther is the function of that name, and knows names: NAME and NAME:eth.
func (a *Args) ParseEther(s string) ([6]byte, error) {
	m, err := ParseEther(s)
	if err == nil {
		return m, nil
	}
	name, suffix := suffixOf(s)
	if suffix != "" && suffix != "eth" && suffix != "ether" {
		return m, err
	}
	if v, ok := a.Name(NameEther, name); ok {
		return ParseEther(v)
	}
	if i := a.hostInterface(name); i != nil && len(i.HardwareAddr) == 6 {
		return [6]byte(i.HardwareAddr), nil
	}
	return m, err
}

// ParsePort is the function of that name, and knows names that PortInfo gave to ports of a protocol, NameTCP or NameUDP.
func (a *Args) ParsePort(s string, proto NameKind) (uint16, error) {
	if v, ok := a.Name(proto, s); ok {
		return ParsePort(v)
	}
	return ParsePort(s)
}

// share returns how often tasks of an element run in proportion to others, by what was defined for it and for the compounds around it.
func (r *Router) share(scope, rest string) float64 {
	get := func(name string) (float64, bool) {
		v, err := strconv.ParseFloat(r.names[nameKey{NameShare, scope, name}], 64)
		return v, err == nil
	}
	if v, ok := get(rest); ok {
		return v
	}
	head, tail, inner := strings.Cut(rest, "/")
	if !inner {
		return 1
	}
	v, ok := get(head)
	if !ok {
		v = 1
	}
	if scope != "" {
		head = scope + "/" + head
	}
	return v * r.share(head, tail)
}

// suffixOf splits NAME:KIND.
func suffixOf(s string) (name, suffix string) {
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		return s[:i], s[i+1:]
	}
	return s, ""
}

// hostInterface returns an interface of the host, if elements of this router may look at the host.
func (a *Args) hostInterface(name string) *net.Interface {
	if a == nil || !a.router.host || name == "" || len(name) > 15 || strings.ContainsAny(name, "/:. \t") {
		return nil
	}
	i, err := net.InterfaceByName(name)
	if err != nil {
		return nil
	}
	return i
}

func (a *Args) interfaceAddrs(name string) (list []netip.Prefix) {
	i := a.hostInterface(name)
	if i == nil {
		return nil
	}
	addrs, err := i.Addrs()
	if err != nil {
		return nil
	}
	for _, x := range addrs {
		if p, err := netip.ParsePrefix(x.String()); err == nil {
			list = append(list, p)
		}
	}
	return list
}

// Addr parses an IPv4 or IPv6 address.
func Addr(p *netip.Addr) Value {
	return func(s string, a *Args) error {
		x, err := a.ParseAddr(lang.Unquote(s))
		if err != nil {
			return err
		}
		*p = x
		return nil
	}
}

// Addr4 parses an IPv4 address.
func Addr4(p *netip.Addr) Value {
	return func(s string, a *Args) error {
		x, err := a.ParseAddr(lang.Unquote(s))
		if err == nil && !x.Is4() { // a name may have addresses of both kinds
			x, err = a.ParseAddr(lang.Unquote(s) + ":ip")
		}
		if err != nil || !x.Is4() {
			return fmt.Errorf("expected an IPv4 address, not '%s'", s)
		}
		*p = x
		return nil
	}
}

// Addr6 parses an IPv6 address.
func Addr6(p *netip.Addr) Value {
	return func(s string, a *Args) error {
		x, err := a.ParseAddr(lang.Unquote(s))
		if err == nil && !x.Is6() { // a name may have addresses of both kinds
			x, err = a.ParseAddr(lang.Unquote(s) + ":ip6")
		}
		if err != nil || !x.Is6() {
			return fmt.Errorf("expected an IPv6 address, not '%s'", s)
		}
		*p = x
		return nil
	}
}

// Prefix parses an IP prefix, or an address as a prefix of full length. ParsePrefix says what it accepts.
func Prefix(p *netip.Prefix) Value {
	return func(s string, a *Args) error {
		x, err := a.ParsePrefix(lang.Unquote(s))
		if err != nil {
			return err
		}
		*p = x
		return nil
	}
}

// Ether parses a hardware address, its bytes apart by colons or dashes.
func Ether(p *[6]byte) Value {
	return func(s string, a *Args) error {
		m, err := a.ParseEther(lang.Unquote(s))
		if err != nil {
			return err
		}
		*p = m
		return nil
	}
}

// Port parses a port number or the name of a service.
func Port(p *uint16) Value {
	return func(s string, a *Args) error {
		n, err := a.ParsePort(lang.Unquote(s), NameUDP)
		if err != nil {
			n, err = a.ParsePort(lang.Unquote(s), NameTCP)
		}
		if err != nil {
			return err
		}
		*p = n
		return nil
	}
}
