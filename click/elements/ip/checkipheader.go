package ip

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/packet"
)

func init() {
	text := "A good packet has version 4, a header of at least 20 bytes, lengths that fit the packet and a permitted source. " +
		"Its network and transport headers are marked, its destination annotation is set, and bytes behind the length of the header are cut off. Other packets go to output 1 if that is connected.\n\n" +
		"All sources are permitted unless BADSRC or INTERFACES say otherwise. An address list as first argument is short for BADSRC with 0.0.0.0 and 255.255.255.255 added; OFFSET is then the second."
	args := func(sum string) []string {
		return append([]string{
			"OFFSET: Where the header begins, in bytes; default 0.", "BADSRC: Addresses that may not be sources, apart by spaces.", "GOODDST: Addresses to which packets may go from any source.",
			"INTERFACES: ADDR/LEN of own interfaces; their broadcast addresses, 0.0.0.0 and 255.255.255.255 may not be sources, and packets to their addresses may come from any source.",
			"CHECKSUM: Whether to verify the checksum; default " + sum + ".",
		}, FaultArgs...)
	}
	handlers := append([]string{"count (r): Good packets."}, FaultHandlers...)
	click.Register(click.Class{
		Name: "CheckIPHeader", Ports: "1/1-2", Processing: "a/ah", Merging: click.Merged, New: func() click.Element { return &CheckIPHeader{checksum: true} },
		Doc: click.Doc{
			Group: "ip", Title: "checks IPv4 headers", Text: text + " The checksum has to be right.", Args: args("true"), Handlers: handlers,
			Example: "... -> Strip(14) -> CheckIPHeader(INTERFACES 18.26.4.24/24) -> ...;", See: []string{"CheckIPHeader2", "MarkIPHeader"},
		},
	})
	click.Register(click.Class{
		Name: "CheckIPHeader2", Ports: "1/1-2", Processing: "a/ah", Merging: click.Merged, New: func() click.Element { return &CheckIPHeader{} },
		Doc: click.Doc{
			Group: "ip", Title: "checks IPv4 headers but not their checksums", Text: text, Args: args("false"), Handlers: handlers,
			Example: "... -> Strip(14) -> CheckIPHeader2 -> ...;", See: []string{"CheckIPHeader", "MarkIPHeader"},
		},
	})
}

// CheckIPHeader checks IPv4 headers.
type CheckIPHeader struct {
	click.Base
	offset   int
	sources  sources
	checksum bool
	count    uint64
	faults   Faults
}

// sources says which addresses may be sources of packets.
type sources struct {
	bad  map[[4]byte]bool
	good map[[4]byte]bool // destinations for which bad does not count
}

const (
	tooShort = iota
	badVersion
	badHeaderLen
	badLen
	badSum
	badSource
)

var checkReasons = []string{"tiny packet", "bad IP version", "bad IP header length", "bad IP length", "bad IP checksum", "bad source address"}

// list parses addresses, apart by spaces; keep takes each.
func list(keep func(p netip.Prefix)) click.Value {
	return func(s string, a *click.Args) error {
		for _, w := range lang.SplitWords(lang.Unquote(s)) {
			var px netip.Prefix
			if err := click.Prefix(&px)(w, a); err != nil {
				return err
			}
			if !px.Addr().Is4() {
				return fmt.Errorf("expected an IPv4 address, not '%s'", w)
			}
			keep(px)
		}
		return nil
	}
}

// params returns the parameters that fill s, which short also does.
func (s *sources) params() []click.Param {
	s.bad, s.good = map[[4]byte]bool{}, map[[4]byte]bool{}
	return []click.Param{
		click.Key("BADSRC", list(func(p netip.Prefix) { s.bad[p.Addr().As4()] = true })),
		click.Key("GOODDST", list(func(p netip.Prefix) { s.good[p.Addr().As4()] = true })),
		click.Key("INTERFACES", list(func(p netip.Prefix) {
			x := p.Addr().As4()
			s.good[x] = true
			binary.BigEndian.PutUint32(x[:], binary.BigEndian.Uint32(x[:])|uint32(uint64(1)<<(32-p.Bits())-1))
			s.bad[x] = true
			s.nowhere()
		})),
	}
}

func (s *sources) nowhere() { s.bad[[4]byte{}], s.bad[[4]byte{255, 255, 255, 255}] = true, true }

// short parses a list of bad sources in the place of an argument.
func (s *sources) short(text string, a *click.Args) error {
	s.nowhere()
	return list(func(p netip.Prefix) { s.bad[p.Addr().As4()] = true })(text, a)
}

// refuses reports whether the header's source is a bad one.
func (s *sources) refuses(h []byte) bool {
	return s.bad[[4]byte(h[12:16])] && !s.good[[4]byte(h[16:20])]
}

// Configure implements click.Element.
func (e *CheckIPHeader) Configure(a *click.Args) {
	e.faults.Init("IP", checkReasons...)
	params := e.faults.Params(append(e.sources.params(), click.Key("CHECKSUM", click.Bool(&e.checksum)))...)
	offset := click.IntRange(&e.offset, 0, 1<<11)
	if l := a.List(); len(l) > 0 && looksLikeList(l[0]) {
		params = append([]click.Param{click.Must("BADSRC2", e.sources.short)}, append(params, click.May("OFFSET", offset))...)
	} else {
		params = append(params, click.May("OFFSET", offset))
	}
	a.Parse(params...)
}

// looksLikeList reports whether a first argument is a list of addresses, which is no number and no keyword with its value.
func looksLikeList(s string) bool {
	word, _, _ := strings.Cut(strings.TrimSpace(lang.Unquote(s)), " ")
	if _, err := strconv.Atoi(word); err == nil || word == "OFFSET" {
		return false
	}
	_, err := click.ParsePrefix(word)
	return err == nil || word == ""
}

// check returns the reason against p, or -1 after marking it.
func (e *CheckIPHeader) check(p *packet.Packet) int {
	d := p.Data()
	if len(d) < e.offset+20 {
		return tooShort
	}
	h := d[e.offset:]
	n := 20
	if h[0] != 0x45 {
		if h[0]>>4 != 4 {
			return badVersion
		}
		if n = HeaderLen(h); n < 20 || n > len(h) {
			return badHeaderLen
		}
	}
	total := int(binary.BigEndian.Uint16(h[2:]))
	if total < n || total > len(h) {
		return badLen
	}
	if e.checksum {
		if n == 20 {
			if sum20(h) != 0xffff {
				return badSum
			}
		} else if demux.Checksum(h[:n]) != 0 {
			return badSum
		}
	}
	if len(e.sources.bad) > 0 && e.sources.refuses(h) {
		return badSource
	}
	if total < len(h) {
		p.Take(len(h) - total)
	}
	p.SetNetwork(e.offset)
	p.SetTransport(e.offset + n)
	p.Anno.Dst = netip.AddrFrom4([4]byte(h[16:20]))
	return -1
}

// Act implements click.Actor.
func (e *CheckIPHeader) Act(b *packet.Batch) {
	good := 0
	for _, p := range b.Packets() {
		if e.check(p) >= 0 {
			break
		}
		good++
	}
	if good == b.Len() {
		e.count += uint64(good)
		return
	}
	b.KeepFrom(good, func(p *packet.Packet) bool {
		if why := e.check(p); why >= 0 {
			e.faults.Note(&e.Base, e.Name(), why)
			e.ForwardOne(1, p)
			return false
		}
		return true
	})
	e.count += uint64(b.Len())
}

// Inherit implements click.Inheritor.
func (e *CheckIPHeader) Inherit(old click.Element) error {
	if o, ok := old.(*CheckIPHeader); ok {
		e.count = o.count
		e.faults.Inherit(&o.faults)
	}
	return nil
}

// AddHandlers implements click.HandlerAdder.
func (e *CheckIPHeader) AddHandlers(h *click.Handlers) {
	h.Count("count", &e.count)
	e.faults.AddHandlers(h)
}
