package demux

import (
	"strings"

	"github.com/janos-os/janos/errs"
)

// MaxLayers is the most modules in a protocol string.
const MaxLayers = 8

// AnyLink is the link of a protocol string that stands for every link of the node.
const AnyLink = "if"

// maxLinkName bounds a link's name in bytes.
const maxLinkName = 64

// Protocol is a parsed protocol string: a link and the modules above it, from the bottom. No layers
// means the link's whole frames.
type Protocol struct {
	Link   string
	Layers []Layer
}

// ParseProtocol parses a protocol string: a link's name, or "if" for any link, and then modules separated by '/'.
// An unknown module, or one that cannot stand where it does, is an errs.Invalid error that names it.
func ParseProtocol(s string) (Protocol, error) {
	link, rest, more := strings.Cut(s, "/")
	if err := checkLinkName(link); err != nil {
		return Protocol{}, errs.New(errs.Invalid, "protocol string %.80q: %w", s, err)
	}
	p := Protocol{Link: link}
	below := None
	for more {
		var name string
		name, rest, more = strings.Cut(rest, "/")
		l, ok := layerOf(name)
		switch {
		case !ok:
			return Protocol{}, errs.New(errs.Invalid, "protocol string %.80q: unknown module %.40q (there are %s)", s, name, knownLayers())
		case !l.follows(below) && below == None:
			return Protocol{}, errs.New(errs.Invalid, "protocol string %.80q: %s cannot stand directly on a link", s, l)
		case !l.follows(below):
			return Protocol{}, errs.New(errs.Invalid, "protocol string %.80q: %s cannot stand on %s", s, l, below)
		case len(p.Layers) == MaxLayers:
			return Protocol{}, errs.New(errs.Invalid, "protocol string %.80q: more than %d modules", s, MaxLayers)
		}
		p.Layers = append(p.Layers, l)
		below = l
	}
	return p, nil
}

func checkLinkName(s string) error {
	switch {
	case s == "":
		return errs.New(errs.Invalid, "no link name in front (write \"if\" for any link)")
	case len(s) > maxLinkName:
		return errs.New(errs.Invalid, "link name longer than %d bytes", maxLinkName)
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f {
			return errs.New(errs.Invalid, "link name %q holds a blank or a character outside ASCII", s)
		}
	}
	if _, ok := layerOf(s); ok {
		return errs.New(errs.Invalid, "it begins with module %s; put a link name or \"if\" in front", s)
	}
	return nil
}

// String is the inverse of ParseProtocol.
func (p Protocol) String() string {
	var b strings.Builder
	b.WriteString(p.Link)
	for _, l := range p.Layers {
		b.WriteByte('/')
		b.WriteString(l.String())
	}
	return b.String()
}

// Top returns the topmost protocol, or None for the bare link.
func (p Protocol) Top() Layer {
	if len(p.Layers) == 0 {
		return None
	}
	return p.Layers[len(p.Layers)-1]
}

// ParseAddress parses an address of the topmost protocol, as the function of that name does, which has to be of the version of the IP that it stands on.
func (p Protocol) ParseAddress(s string) (Address, error) {
	a, err := ParseAddress(p.Top(), s)
	if err != nil || !a.Prefix.IsValid() {
		return a, err
	}
	for i := len(p.Layers) - 1; i >= 0; i-- {
		l := p.Layers[i]
		if l != IPv4 && l != IPv6 {
			continue
		}
		if a.Prefix.Addr().Is4() != (l == IPv4) {
			return Address{}, errs.New(errs.Invalid, "%s address %.80q: protocol string %s wants one of %s", p.Top(), s, p, l)
		}
		break
	}
	return a, nil
}

// On reports whether p names the link called name.
func (p Protocol) On(name string) bool { return p.Link == AnyLink || p.Link == name }
