package ethernet

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/packet"
)

const (
	typeVLAN = 0x8100
	tagSize  = 4
)

var (
	tagArgs = []string{
		"VLAN_TCI: Tag control information of 16 bits: VLAN and priority; or ANNO, which takes it from the packet's VLAN annotation, and 0 where there is none.",
		"VLAN_PCP: Priority, 0 to 7, in place of that of VLAN_TCI; default 0.", "VLAN_ID: VLAN, 0 to 4095, if VLAN_TCI is not given; just one of them is.",
	}
	optionalTagArgs = append(append([]string{}, tagArgs[:2]...), "VLAN_ID: VLAN, 0 to 4095, in place of VLAN_TCI; without either the tag is 0.")
	nativeArg       = "NATIVE_VLAN: Packets of this VLAN get no tag; -1 is none; default 0."
	tagHandlers     = []string{"vlan_tci (rw): The tag, or ANNO.", "vlan_id (rw): The VLAN of the tag.", "vlan_pcp (rw): The priority of the tag."}
	nativeInfo      = "native_vlan (rw): The NATIVE_VLAN argument."
	etypeArg        = "ETHERTYPE: Type that says that there is a tag; default 0x8100. 0x88a8 is that of service providers' tags (IEEE 802.1ad)."
)

func init() {
	click.Register(click.Class{
		Name: "SetVLANAnno", Ports: "1/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &SetVLANAnno{} },
		Doc: click.Doc{
			Group: "ethernet", Title: "sets the VLAN annotation",
			Args:     append([]string{strings.Replace(tagArgs[0], "; or ANNO, which takes it from the packet's VLAN annotation, and 0 where there is none", "", 1)}, tagArgs[1:]...),
			Handlers: append([]string{strings.Replace(tagHandlers[0], ", or ANNO", "", 1)}, tagHandlers[1:]...),
			Example:  "... -> SetVLANAnno(7) -> EtherVLANEncap(0x0800, 2:0:0:0:0:1, 2:0:0:0:0:2, ANNO) -> ...;", See: []string{"EtherVLANEncap", "VLANEncap"},
		},
	})
	click.Register(click.Class{
		Name: "VLANEncap", Ports: "1/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &VLANEncap{} },
		Doc: click.Doc{
			Group: "ethernet", Title: "puts a VLAN tag into Ethernet headers",
			Text: "The tag of IEEE 802.1Q goes behind the addresses. Packets shorter than an Ethernet header, and those without room, are dropped.",
			Args: append(append([]string{}, optionalTagArgs...), nativeArg, etypeArg), Handlers: append(append([]string{}, tagHandlers...), nativeInfo, "ethertype (rw): The ETHERTYPE argument, in hexadecimal.", "drops (r): Packets dropped."),
			Example: "... -> EtherEncap(0x0800, 2:0:0:0:0:1, 2:0:0:0:0:2) -> VLANEncap(7) -> ...;", See: []string{"VLANDecap", "EtherVLANEncap", "SetVLANAnno"},
		},
	})
	click.Register(click.Class{
		Name: "VLANDecap", Ports: "1/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &VLANDecap{} },
		Doc: click.Doc{
			Group: "ethernet", Title: "takes the VLAN tag out of Ethernet headers",
			Text: "Packets without a tag pass as they are.",
			Args: []string{"ANNO: Whether to set the VLAN annotation to the tag, or to none where there is no tag; default true.", etypeArg}, Example: "FromDevice(eth0) -> VLANDecap -> ...;", See: []string{"VLANEncap", "StripEtherVLANHeader"},
		},
	})
	click.Register(click.Class{
		Name: "EtherVLANEncap", Ports: "1/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &EtherVLANEncap{} },
		Doc: click.Doc{
			Group: "ethernet", Title: "puts an Ethernet header with a VLAN tag before packets",
			Text: "Packets without room are dropped.", Args: append(append([]string{typeArg, srcArg, dstArg}, tagArgs...), nativeArg),
			Handlers: append(append([]string{"src (rw): The SRC argument.", "dst (rw): The DST argument.", "ethertype (rw): The ETHERTYPE argument, in hexadecimal."}, tagHandlers...), nativeInfo, "drops (r): Packets without room."),
			Example:  "... -> EtherVLANEncap(0x0800, 2:0:0:0:0:1, 2:0:0:0:0:2, 7) -> ...;", See: []string{"VLANEncap", "StripEtherVLANHeader", "SetVLANAnno", "EtherEncap"},
		},
	})
	click.Register(click.Class{
		Name: "StripEtherVLANHeader", Ports: "1/1-2", Processing: "a/ah", Merging: click.Merged, New: func() click.Element { return &StripEtherVLANHeader{} },
		Doc: click.Doc{
			Group: "ethernet", Title: "removes Ethernet headers, with the VLAN tag if there is one",
			Text: "The VLAN annotation becomes the tag, or NATIVE_VLAN where there is none. The link header annotation says where the header was. Packets shorter than their header, and untagged ones where NATIVE_VLAN is -1, go to output 1 or are dropped.",
			Args: []string{"NATIVE_VLAN: VLAN of packets without a tag; -1 refuses them; default 0."}, Handlers: []string{"drops (r): Packets refused that had nowhere to go."},
			Example: "FromDevice(eth0) -> StripEtherVLANHeader -> CheckIPHeader -> ...;", See: []string{"EtherVLANEncap", "VLANDecap"},
		},
	})
}

// tag is what elements write into the packet as its VLAN tag.
type tag struct {
	tci    uint16
	anno   bool // from the annotation
	native int
}

// parse reads the arguments for a tag, which may be optional, and others. The own ones of the element come first.
func (t *tag) parse(a *click.Args, annos, optional bool, first []click.Param, more ...click.Param) {
	var id, pcp int
	var hasTCI, hasID, hasPCP bool
	tci := t.parseTCI
	if !annos {
		tci = t.parseNumber
	}
	params := append(append([]click.Param{}, first...), click.May("VLAN_TCI", tci).Given(&hasTCI), click.May("VLAN_PCP", click.IntRange(&pcp, 0, 7)).Given(&hasPCP),
		click.Key("VLAN_ID", click.IntRange(&id, 0, 0xfff)).Given(&hasID))
	if !a.Parse(append(params, more...)...) {
		return
	}
	if hasTCI == hasID && (hasTCI || !optional) {
		a.Errorf("just one of VLAN_TCI and VLAN_ID must be given")
		return
	}
	if hasID {
		t.tci = uint16(id)
	}
	if hasPCP {
		if t.anno {
			a.Errorf("VLAN_PCP has no effect beside VLAN_TCI ANNO")
		}
		t.tci = t.tci&0x1fff | uint16(pcp)<<13
	}
}

func (t *tag) parseNumber(s string, a *click.Args) error {
	n := 0
	if err := click.IntRange(&n, 0, 0xffff)(s, a); err != nil {
		return err
	}
	t.tci, t.anno = uint16(n), false
	return nil
}

func (t *tag) parseTCI(s string, a *click.Args) error {
	if strings.ToUpper(lang.Unquote(s)) == "ANNO" {
		t.anno = true
		return nil
	}
	if err := t.parseNumber(s, a); err != nil {
		return fmt.Errorf("expected ANNO or a number from 0 to 65535, not '%s'", s)
	}
	return nil
}

// of returns the tag for a packet, and whether it is to be written.
func (t *tag) of(p *packet.Packet) (tci uint16, write bool) {
	tci = t.tci
	if t.anno {
		tci = 0
		if p.Anno.HasVLAN {
			tci = p.Anno.VLAN
		}
	}
	return tci, int(tci&0xfff) != t.native
}

// addHandlers adds the handlers for the parts of the tag.
func (t *tag) addHandlers(h *click.Handlers, annos bool) {
	part := func(name string, shift uint, mask uint16) {
		h.Value(name, func() string { return strconv.Itoa(int(t.tci >> shift & mask)) }, func(s string, a *click.Args) error {
			n := 0
			if err := click.IntRange(&n, 0, int(mask))(s, a); err != nil {
				return err
			}
			t.tci, t.anno = t.tci&^(mask<<shift)|uint16(n)<<shift, false
			return nil
		})
	}
	part("vlan_id", 0, 0xfff)
	part("vlan_pcp", 13, 7)
	if !annos {
		part("vlan_tci", 0, 0xffff)
		return
	}
	h.Value("vlan_tci", func() string {
		if t.anno {
			return "ANNO"
		}
		return strconv.Itoa(int(t.tci))
	}, t.parseTCI)
	h.Value("native_vlan", func() string { return strconv.Itoa(t.native) }, click.IntRange(&t.native, -1, 0xfff))
}

// SetVLANAnno sets the VLAN annotation.
type SetVLANAnno struct {
	click.Base
	tag tag
}

// Configure implements click.Element.
func (e *SetVLANAnno) Configure(a *click.Args) { e.tag.parse(a, false, false, nil) }

// Act implements click.Actor.
func (e *SetVLANAnno) Act(b *packet.Batch) {
	for _, p := range b.Packets() {
		p.Anno.VLAN, p.Anno.HasVLAN = e.tag.tci, true
	}
}

// AddHandlers implements click.HandlerAdder.
func (e *SetVLANAnno) AddHandlers(h *click.Handlers) { e.tag.addHandlers(h, false) }

// VLANEncap adds tags.
type VLANEncap struct {
	click.Base
	tag tag
	typ int
}

// Configure implements click.Element.
func (e *VLANEncap) Configure(a *click.Args) {
	e.typ = typeVLAN
	e.tag.parse(a, true, true, nil, click.Key("NATIVE_VLAN", click.IntRange(&e.tag.native, -1, 0xfff)), click.Key("ETHERTYPE", click.IntRange(&e.typ, 0, 0xffff)))
}

// Act implements click.Actor.
func (e *VLANEncap) Act(b *packet.Batch) {
	c := e.Cache()
	b.Keep(func(p *packet.Packet) bool {
		tci, write := e.tag.of(p)
		if p.Len() < 14 {
			e.DropOne(p)
			return false
		}
		if !write {
			return true
		}
		if !c.Unshare(p) || p.Push(tagSize) == nil {
			e.DropOne(p)
			return false
		}
		d := p.Data()
		copy(d, d[tagSize:tagSize+12])
		binary.BigEndian.PutUint16(d[12:], uint16(e.typ))
		binary.BigEndian.PutUint16(d[14:], tci)
		p.SetMAC(0)
		return true
	})
}

// AddHandlers implements click.HandlerAdder.
func (e *VLANEncap) AddHandlers(h *click.Handlers) {
	e.tag.addHandlers(h, true)
	typeHandler(h, &e.typ)
}

// VLANDecap removes tags.
type VLANDecap struct {
	click.Base
	anno bool
	typ  int
}

// Configure implements click.Element.
func (e *VLANDecap) Configure(a *click.Args) {
	e.anno, e.typ = true, typeVLAN
	a.Parse(click.Key("ANNO", click.Bool(&e.anno)), click.Key("ETHERTYPE", click.IntRange(&e.typ, 0, 0xffff)))
}

// Act implements click.Actor.
func (e *VLANDecap) Act(b *packet.Batch) {
	c := e.Cache()
	b.Keep(func(p *packet.Packet) bool {
		d := p.Data()
		tagged := len(d) >= 14+tagSize && int(binary.BigEndian.Uint16(d[12:])) == e.typ
		if e.anno {
			p.Anno.VLAN, p.Anno.HasVLAN = 0, tagged
			if tagged {
				p.Anno.VLAN = binary.BigEndian.Uint16(d[14:])
			}
		}
		if !tagged {
			return true
		}
		if !c.Unshare(p) {
			e.DropOne(p)
			return false
		}
		d = p.Data()
		copy(d[tagSize:], d[:12])
		p.Pull(tagSize)
		p.SetMAC(0)
		return true
	})
}

// EtherVLANEncap adds Ethernet headers with tags.
type EtherVLANEncap struct {
	click.Base
	typ      int
	src, dst [6]byte
	tag      tag
}

// Configure implements click.Element.
func (e *EtherVLANEncap) Configure(a *click.Args) {
	e.tag.parse(a, true, false, []click.Param{click.Must("ETHERTYPE", click.IntRange(&e.typ, 0, 0xffff)), click.Must("SRC", click.Ether(&e.src)), click.Must("DST", click.Ether(&e.dst))},
		click.Key("NATIVE_VLAN", click.IntRange(&e.tag.native, -1, 0xfff)))
}

// Act implements click.Actor.
func (e *EtherVLANEncap) Act(b *packet.Batch) {
	c := e.Cache()
	b.Keep(func(p *packet.Packet) bool {
		tci, write := e.tag.of(p)
		ok := c.Unshare(p)
		typ := uint16(e.typ)
		if ok && write {
			if d := p.Push(tagSize); d != nil {
				binary.BigEndian.PutUint16(d, tci)
				binary.BigEndian.PutUint16(d[2:], typ)
				typ = typeVLAN
			} else {
				ok = false
			}
		}
		if !ok || !push(p, &e.dst, &e.src, typ) {
			e.DropOne(p)
			return false
		}
		return true
	})
}

// AddHandlers implements click.HandlerAdder.
func (e *EtherVLANEncap) AddHandlers(h *click.Handlers) {
	addrHandlers(h, &e.src, &e.dst)
	typeHandler(h, &e.typ)
	e.tag.addHandlers(h, true)
}

// StripEtherVLANHeader removes Ethernet headers with tags.
type StripEtherVLANHeader struct {
	click.Base
	native int
}

// Configure implements click.Element.
func (e *StripEtherVLANHeader) Configure(a *click.Args) {
	a.Parse(click.May("NATIVE_VLAN", click.IntRange(&e.native, -1, 0xfff)))
}

// Act implements click.Actor.
func (e *StripEtherVLANHeader) Act(b *packet.Batch) {
	b.Keep(func(p *packet.Packet) bool {
		d := p.Data()
		n, tci := 14, e.native
		if len(d) >= 14 && binary.BigEndian.Uint16(d[12:]) == typeVLAN {
			n, tci = 14+tagSize, -1
			if len(d) >= n {
				tci = int(binary.BigEndian.Uint16(d[14:]))
			}
		}
		if tci < 0 || len(d) < n {
			e.ForwardOne(1, p)
			return false
		}
		p.SetMAC(0)
		p.Pull(n)
		p.Anno.VLAN, p.Anno.HasVLAN = uint16(tci), n > 14 || tci > 0
		return true
	})
}
