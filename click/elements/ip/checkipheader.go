package ip

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "CheckIPHeader", Ports: "1/1-2", Processing: "a/ah", New: func() click.Element { return &CheckIPHeader{} },
		Doc: click.Doc{
			Group: "ip", Title: "checks IPv4 headers",
			Text: "A good packet has version 4, a header of at least 20 bytes, lengths that fit the packet, a right checksum and a source that is not among BADSRC. " +
				"Its network and transport headers are marked, its destination annotation is set, and bytes behind the length of the header are cut off. Other packets go to output 1 if that is connected.",
			Args: []string{
				"BADSRC: Addresses that may not be sources, apart by spaces.", "OFFSET: Where the header begins; default 0.", "INTERFACES: Prefixes A.B.C.D/LEN of own networks; their broadcast addresses may not be sources.",
				"CHECKSUM: Whether to verify the checksum; default true.",
			},
			Handlers: []string{"count (r): Good packets.", "drops (r): Bad packets that had nowhere to go.", "drop_details (r): Bad packets by reason."},
			Example:  "... -> Strip(14) -> CheckIPHeader(BADSRC 18.26.4.255) -> ...;", See: []string{"MarkIPHeader"},
		},
	})
}

// CheckIPHeader checks IPv4 headers.
type CheckIPHeader struct {
	click.Base
	offset   int
	bad      map[[4]byte]bool
	checksum bool
	count    uint64
	reasons  [len(reasonNames)]uint64
}

var reasonNames = [...]string{"minimum length", "bad version", "bad header length", "bad IP length", "bad checksum", "bad source address"}

const (
	tooShort = iota
	badVersion
	badHeaderLen
	badLen
	badSum
	badSource
)

// Configure implements click.Element.
func (e *CheckIPHeader) Configure(a *click.Args) {
	e.checksum = true
	e.bad = map[[4]byte]bool{{0, 0, 0, 0}: true, {255, 255, 255, 255}: true}
	list := func(bcast bool) click.Value {
		return func(s string, a *click.Args) error {
			for _, w := range lang.SplitWords(s) {
				px, err := click.ParsePrefix(lang.Unquote(w))
				if err != nil {
					return err
				}
				x := px.Addr().As4()
				if bcast {
					m := binary.BigEndian.Uint32(x[:]) | uint32(uint64(1)<<(32-px.Bits())-1)
					binary.BigEndian.PutUint32(x[:], m)
				}
				e.bad[x] = true
			}
			return nil
		}
	}
	a.Parse(click.May("BADSRC", list(false)), click.May("OFFSET", click.IntRange(&e.offset, 0, 1<<11)),
		click.Key("INTERFACES", list(true)), click.Key("CHECKSUM", click.Bool(&e.checksum)))
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
	if src := [4]byte(h[12:16]); src[0] == 0 || src[0] == 255 || len(e.bad) > 2 {
		if e.bad[src] {
			return badSource
		}
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
	b.Keep(func(p *packet.Packet) bool {
		if why := e.check(p); why >= 0 {
			e.reasons[why]++
			e.ForwardOne(1, p)
			return false
		}
		return true
	})
	e.count += uint64(b.Len())
}

// AddHandlers implements click.HandlerAdder.
func (e *CheckIPHeader) AddHandlers(h *click.Handlers) {
	h.Count("count", &e.count)
	h.Read("drop_details", func() string {
		var b strings.Builder
		for i, n := range e.reasons {
			b.WriteString(strconv.FormatUint(n, 10) + " " + reasonNames[i] + "\n")
		}
		return b.String()
	})
}
