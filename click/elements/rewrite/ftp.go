package rewrite

import (
	"encoding/binary"
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/elements/ip"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "FTPPortMapper", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &FTPPortMapper{} },
		Doc: click.Doc{
			Group: "rewrite", Title: "lets FTP clients behind a rewriter name their ports",
			Text: "It stands before CONTROL_REWRITER, a TCPRewriter, in the way of FTP control packets from clients. When one begins with a PORT command (RFC 959), a mapping for the data connection from the server's data port (one less than its control port) is made in DATA_REWRITER, " +
				"as if a packet from the client had come in there; the command then names the address and port that the mapping gave, and CONTROL_REWRITER corrects the sequence numbers, since the command may have another length now. The packet's own addresses and ports are left to CONTROL_REWRITER.\n\n" +
				"The command must be whole and the first of its packet, and the control connection must be known to CONTROL_REWRITER, as it is after its first packet. Other packets pass unchanged.",
			Args: []string{
				"CONTROL_REWRITER: A TCPRewriter through which the control packets pass next.", "DATA_REWRITER: A rewriter for TCP through which the data connections pass; it may be the same.",
				"DATA_REWRITER_INPUT: Number of its input whose INPUTSPEC makes the mappings.",
			},
			Handlers: []string{"commands (r): PORT commands rewritten.", "failures (r): PORT commands left as they were, because there was no mapping to have or no room in the packet.", "drops (r): Packets dropped for want of memory."},
			Example:  "f :: FTPPortMapper(rw, rw, 0) -> [0] rw :: TCPRewriter(pattern 1.0.0.1 1024-65535 - - 0 1, drop); rw [0] -> out; rw [1] -> home; back -> [1] rw; ftp -> f;", See: []string{"TCPRewriter", "IPRewriter"},
		},
	})
}

// FTPPortMapper rewrites PORT commands.
type FTPPortMapper struct {
	click.Base
	control, data *rewriter
	input         int
	commands      uint64
	failures      uint64
}

// Configure implements click.Element.
func (e *FTPPortMapper) Configure(a *click.Args) {
	var control, data sharer
	if !a.Parse(click.Must("CONTROL_REWRITER", click.Ref(&control, "rewriter")), click.Must("DATA_REWRITER", click.Ref(&data, "rewriter")),
		click.Must("DATA_REWRITER_INPUT", click.IntRange(&e.input, 0, 1<<15))) {
		return
	}
	e.control, e.data = control.core(), data.core()
	if e.control.kind != tcpFlows {
		a.Errorf("CONTROL_REWRITER: element '%s' is no TCPRewriter", e.control.Name())
	}
	if k := e.data.kind; k != flows && k != tcpFlows && k != anyFlows {
		a.Errorf("DATA_REWRITER: element '%s' does not rewrite ports", e.data.Name())
	}
	if e.input >= e.data.Inputs() {
		a.Errorf("DATA_REWRITER_INPUT: '%s' has no input %d", e.data.Name(), e.input)
	}
}

// Act implements click.Actor.
func (e *FTPPortMapper) Act(b *packet.Batch) {
	b.Keep(func(p *packet.Packet) bool {
		if e.translate(p) {
			return true
		}
		e.DropOne(p)
		return false
	})
}

// command is a PORT command at the beginning of a payload.
type command struct {
	addr       uint32
	port       uint16
	begin, end int // of the numbers
}

// parsePort reads a PORT command, which must end with a line feed, after a carriage return or not.
func parsePort(b []byte) (c command, ok bool) {
	const word = "PORT "
	if len(b) < len(word) {
		return c, false
	}
	for i := range word {
		if b[i]&^0x20 != word[i]&^0x20 { // in any case
			return c, false
		}
	}
	at := len(word)
	for at < len(b) && b[at] == ' ' {
		at++
	}
	begin := at
	var v [6]byte
	for i := range v {
		n, digits := 0, 0
		for ; at < len(b) && b[at] >= '0' && b[at] <= '9' && digits < 3; at++ {
			n = n*10 + int(b[at]-'0')
			digits++
		}
		if digits == 0 || n > 255 {
			return c, false
		}
		v[i] = byte(n)
		if i < 5 {
			if at >= len(b) || b[at] != ',' {
				return c, false
			}
			at++
		}
	}
	c = command{binary.BigEndian.Uint32(v[:]), binary.BigEndian.Uint16(v[4:]), begin, at}
	for at < len(b) && b[at] == ' ' {
		at++
	}
	if at < len(b) && b[at] == '\r' {
		at++
	}
	return c, at < len(b) && b[at] == '\n' && c.port != 0
}

// appendPort appends the numbers of a PORT command.
func appendPort(b []byte, addr uint32, port uint16) []byte {
	for _, v := range [6]byte{byte(addr >> 24), byte(addr >> 16), byte(addr >> 8), byte(addr), byte(port >> 8), byte(port)} {
		b = append(strconv.AppendUint(b, uint64(v), 10), ',')
	}
	return b[:len(b)-1]
}

const maxPort = len("255,255,255,255,255,255")

// translate rewrites p if it begins with a PORT command. It returns false if the packet is to be dropped.
func (e *FTPPortMapper) translate(p *packet.Packet) bool {
	h := ip.Header(p)
	k, ok := e.control.identify(h)
	if !ok {
		return true
	}
	hl := ip.HeaderLen(h)
	total := int(binary.BigEndian.Uint16(h[2:]))
	if total > len(h) || total < hl+20 {
		return true
	}
	tcp := h[hl:total]
	off := int(tcp[12]>>4) * 4
	if off < 20 || off > len(tcp) {
		return true
	}
	c, ok := parsePort(tcp[off:])
	if !ok {
		return true
	}
	if !e.control.table.has(k) {
		e.failures++
		return true
	}
	// The server connects from the port below its own; the mapping is for the client's packets to there.
	tag := uint32(0)
	if e.data.kind == flows {
		tag = tagTCP
	}
	dk := newKey(c.addr, k.dst(), c.port, k.dport()-1, tag)
	i, ddir, ok := e.data.table.find(dk)
	if !ok {
		i, ok = e.data.create(e.input, dk, e.Now())
		if ok {
			e.data.table.flow(i).anno = e.data.anno.get(p)
		}
		ddir = 0
	}
	control, dir, known := e.control.table.find(k) // again, as the new flow may have taken its place
	if !ok || !known {
		e.failures++
		return true
	}
	to := e.data.table.flow(i).key[1-ddir].reverse(e.data.table.flip)

	var buf [maxPort]byte
	text := appendPort(buf[:0], to.src(), to.sport())
	grow := len(text) - (c.end - c.begin)
	if total+grow > 0xffff || grow > p.Tailroom()+len(h)-total {
		e.failures++
		return true
	}
	seq := binary.BigEndian.Uint32(tcp[4:])
	line := len(tcp) - off
	if !e.replace(p, hl, total, hl+off+c.begin, c.end-c.begin, text) {
		return false
	}
	e.commands++
	if grow != 0 {
		s := e.control.table.seqs[control]
		if s == nil {
			s = &[2]steps{}
			e.control.table.seqs[control] = s
		}
		s[dir].add(seq+uint32(line), uint32(grow))
	}
	return true
}

// replace puts text in the place of the first n bytes at off of p's IP packet, which is total bytes long, and corrects its lengths and checksums. What
// followed the IP packet, such as padding, is cut off.
func (e *FTPPortMapper) replace(p *packet.Packet, hl, total, off, n int, text []byte) bool {
	if !e.Cache().Unshare(p) {
		return false
	}
	grow := len(text) - n
	if pad := len(p.Network()) - total; pad > 0 {
		p.Take(pad)
	}
	even := off &^ 1 // where a word of the checksum begins
	old := demux.Sum(0, p.Network()[even:])
	if grow > 0 {
		if p.Put(grow) == nil {
			return false
		}
	}
	h := p.Network()
	copy(h[off+len(text):], h[off+n:total])
	copy(h[off:], text)
	if grow < 0 {
		p.Take(-grow)
		h = p.Network()
	}
	tcp := h[hl:]
	sum := uint64(^fold(old)) + demux.Sum(0, h[even:]) + change16(uint16(total-hl), uint16(total-hl+grow))
	binary.BigEndian.PutUint16(tcp[16:], adjust(binary.BigEndian.Uint16(tcp[16:]), sum))
	binary.BigEndian.PutUint16(h[10:], adjust(binary.BigEndian.Uint16(h[10:]), change16(uint16(total), uint16(total+grow))))
	binary.BigEndian.PutUint16(h[2:], uint16(total+grow))
	return true
}

// AddHandlers implements click.HandlerAdder.
func (e *FTPPortMapper) AddHandlers(h *click.Handlers) {
	h.Count("commands", &e.commands)
	h.Count("failures", &e.failures)
}
