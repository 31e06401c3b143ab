package analysis

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "AggregateCounter", Ports: "1-2/1-2", Processing: "a/ah", New: func() click.Element { return &AggregateCounter{} },
		Doc: click.Doc{
			Group: "analysis", Title: "counts packets or bytes of each aggregate",
			Text: "A frozen counter goes on counting the aggregates that it knows, and takes up no others; packets of input 1 are always treated so. Packets that were not counted go to output 1 if there is one and the element is " +
				"pushed to. At most one of the keywords that begin with AGGREGATE may be given, and at most one of those with COUNT. Up to 4,194,304 aggregates are counted; then it freezes.",
			Args: []string{
				"BYTES: Whether to count bytes; default false.", "IP_BYTES: Whether bytes before the network header do not count; default false.", "MULTIPACKET: Whether the extra packets annotation counts; default true.",
				"EXTRA_LENGTH: Whether the extra length annotation counts for bytes; default true.", "AGGREGATE_STOP: Ask the router to stop when so many aggregates have been seen.", "AGGREGATE_FREEZE: Freeze then.",
				"AGGREGATE_CALL: N HANDLER VALUE: write VALUE to HANDLER then.", "COUNT_STOP: Ask the router to stop when so much has been counted.", "COUNT_FREEZE: Freeze then.", "COUNT_CALL: N HANDLER VALUE: write VALUE to HANDLER then.",
				"BANNER: A line for the beginning of files.",
			},
			Handlers: []string{
				"write_file (w): Writes all counts to a file, or to standard output for a dash: text lines, a line !packed_le or !packed_be, and 8 bytes for each aggregate: its number and its count.",
				"write_text_file (w): Likewise, with a line of text for each.", "write_ip_file (w): Likewise, with the numbers as addresses.", "freeze (rw): Whether it is frozen.", "active (rw): Whether it counts at all.",
				"stop (w): Makes it inactive and asks the router to stop.", "counts_pdf (w): Replaces the counts by how often each count occurs.", "banner (rw): The BANNER argument.", "aggregate_call (rw): The AGGREGATE_CALL argument.",
				"count_call (rw): The COUNT_CALL argument.", "nagg (r): Aggregates that have been seen.", "count (r): What has been counted, in all.", "clear (w): Forgets everything.",
			},
			Example: "FromIPSummaryDump(-, STOP true) -> AggregateIP(ip dst) -> ac :: AggregateCounter -> Discard; DriverManager(wait, write ac.write_text_file -);",
			See:     []string{"AggregateIP", "AggregateIPFlows", "AggregateLength"},
		},
	})
}

// threshold is what is done when a number is reached.
type threshold struct {
	at             uint64 // 0: never
	stop, freeze   bool
	handler, value string
}

// call parses "N HANDLER VALUE".
func (t *threshold) call(s string, _ *click.Args) error {
	n, rest, _ := strings.Cut(strings.TrimSpace(s), " ")
	at, err := strconv.ParseUint(n, 10, 64)
	h, v, _ := strings.Cut(strings.TrimSpace(rest), " ")
	if err != nil || h == "" {
		return fmt.Errorf("expected N HANDLER [VALUE], not '%s'", s)
	}
	*t = threshold{at: at, handler: h, value: strings.TrimSpace(v)}
	return nil
}

func (t *threshold) text() string {
	if t.at == 0 || t.handler == "" {
		return ""
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s %s", t.at, t.handler, t.value))
}

// AggregateCounter counts.
type AggregateCounter struct {
	click.Base
	bytes, ip, multi, more bool
	frozen, active         bool
	banner                 string
	seen, counted          threshold
	counts                 map[uint32]uint32
	total                  uint64
}

// Configure implements click.Element.
func (e *AggregateCounter) Configure(a *click.Args) {
	e.multi, e.more, e.active = true, true, true
	e.counts = make(map[uint32]uint32)
	var stopAgg, freezeAgg, stopCount, freezeCount uint64
	var agg, count [3]bool
	if !a.Parse(click.Key("BYTES", click.Bool(&e.bytes)), click.Key("IP_BYTES", click.Bool(&e.ip)), click.Key("MULTIPACKET", click.Bool(&e.multi)), click.Key("EXTRA_LENGTH", click.Bool(&e.more)),
		click.Key("AGGREGATE_STOP", click.Uint64(&stopAgg)).Given(&agg[0]), click.Key("AGGREGATE_FREEZE", click.Uint64(&freezeAgg)).Given(&agg[1]), click.Key("AGGREGATE_CALL", e.seen.call).Given(&agg[2]),
		click.Key("COUNT_STOP", click.Uint64(&stopCount)).Given(&count[0]), click.Key("COUNT_FREEZE", click.Uint64(&freezeCount)).Given(&count[1]), click.Key("COUNT_CALL", e.counted.call).Given(&count[2]),
		click.Key("BANNER", click.String(&e.banner))) {
		return
	}
	several := func(b [3]bool) bool { return b[0] && b[1] || b[0] && b[2] || b[1] && b[2] }
	if several(agg) {
		a.Errorf("at most one of AGGREGATE_STOP, AGGREGATE_FREEZE and AGGREGATE_CALL may be given")
	}
	if several(count) {
		a.Errorf("at most one of COUNT_STOP, COUNT_FREEZE and COUNT_CALL may be given")
	}
	fill := func(t *threshold, given [3]bool, stop, freeze uint64) {
		if given[0] {
			*t = threshold{at: stop, stop: true}
		}
		if given[1] {
			*t = threshold{at: freeze, freeze: true}
		}
	}
	fill(&e.seen, agg, stopAgg, freezeAgg)
	fill(&e.counted, count, stopCount, freezeCount)
}

// reached does what is to be done at a threshold, once.
func (e *AggregateCounter) reached(t *threshold) {
	now := *t
	*t = threshold{}
	switch {
	case now.stop:
		e.active = false
		e.Router().RequestStop()
	case now.freeze:
		e.frozen = true
	default:
		if err := e.WriteHandler(now.handler, now.value); err != nil {
			fmt.Fprintf(e.Output(), "%s: %v\n", e.Name(), err)
		}
	}
}

// add counts a packet and reports whether it did.
func (e *AggregateCounter) add(p *packet.Packet, frozen bool) bool {
	if !e.active {
		return false
	}
	n := click.Aggregate(p)
	old, known := e.counts[n]
	if !known && (frozen || e.frozen) {
		return false
	}
	by := uint32(1)
	if e.bytes {
		by = uint32(p.Len())
		if e.more {
			by += click.ExtraLength(p)
		}
		if off, ok := p.NetworkOffset(); e.ip && ok {
			by -= uint32(off)
		}
	} else if e.multi {
		by += click.ExtraPackets(p)
	}
	e.counts[n] = old + by
	e.total += uint64(by)
	if !known {
		switch seen := uint64(len(e.counts)); {
		case e.seen.at != 0 && seen >= e.seen.at:
			e.reached(&e.seen)
		case seen >= maxAggregates:
			e.frozen = true
		}
	}
	if e.counted.at != 0 && e.total >= e.counted.at {
		e.reached(&e.counted)
	}
	return true
}

// Push implements click.Pusher.
func (e *AggregateCounter) Push(port int, b *packet.Batch) {
	var ports [packet.MaxBatch]uint16
	for i, p := range b.Packets() {
		if !e.add(p, port == 1) && e.Outputs() > 1 {
			ports[i] = 1
		}
	}
	e.Split(b, &ports)
}

// Pull implements click.Puller.
func (e *AggregateCounter) Pull(_ int, b *packet.Batch, n int) {
	had := b.Len()
	e.In(0).Pull(b, n)
	for _, p := range b.Packets()[had:] {
		e.add(p, false)
	}
}

// Inherit implements click.Inheritor.
func (e *AggregateCounter) Inherit(old click.Element) error {
	if o, ok := old.(*AggregateCounter); ok {
		e.counts, o.counts = o.counts, e.counts
		e.total, e.frozen, e.active = o.total, o.frozen, o.active
	}
	return nil
}

// file writes the counts to a file by a function for each.
func (e *AggregateCounter) file(name string, head string, one func(b []byte, n, count uint32) []byte) error {
	name = strings.TrimSpace(name)
	if name == "" {
		return fmt.Errorf("expected the name of a file")
	}
	var out outFile
	if err := out.open(&e.Base, name); err != nil {
		return err
	}
	fmt.Fprintf(out, "!IPAggregate 1.0\n")
	if e.banner != "" {
		fmt.Fprintf(out, "%s\n", e.banner)
	}
	fmt.Fprintf(out, "!num_nonzero %d\n%s", len(e.counts), head)
	keys := make([]uint32, 0, len(e.counts))
	for n := range e.counts {
		keys = append(keys, n)
	}
	slices.Sort(keys)
	var b []byte
	for _, n := range keys {
		b = one(b[:0], n, e.counts[n])
		out.Write(b) // the first error is kept until close
	}
	return out.close()
}

// AddHandlers implements click.HandlerAdder.
func (e *AggregateCounter) AddHandlers(h *click.Handlers) {
	h.Write("write_file", func(s string) error {
		order := binary.NativeEndian
		head := "!packed_le\n"
		if order.Uint16([]byte{0, 1}) == 1 {
			head = "!packed_be\n"
		}
		return e.file(s, head, func(b []byte, n, count uint32) []byte { return order.AppendUint32(order.AppendUint32(b, n), count) })
	})
	text := func(b []byte, n uint64, count uint32) []byte {
		return append(strconv.AppendUint(append(strconv.AppendUint(b, n, 10), ' '), uint64(count), 10), '\n')
	}
	h.Write("write_text_file", func(s string) error {
		return e.file(s, "", func(b []byte, n, count uint32) []byte { return text(b, uint64(n), count) })
	})
	h.Write("write_ip_file", func(s string) error {
		return e.file(s, "", func(b []byte, n, count uint32) []byte {
			b = netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n))).AppendTo(b)
			return append(strconv.AppendUint(append(b, ' '), uint64(count), 10), '\n')
		})
	})
	h.Value("freeze", func() string { return strconv.FormatBool(e.frozen) }, click.Bool(&e.frozen))
	h.Value("active", func() string { return strconv.FormatBool(e.active) }, click.Bool(&e.active))
	h.Write("stop", func(string) error {
		e.active = false
		e.Router().RequestStop()
		return nil
	})
	h.Write("counts_pdf", func(string) error {
		pdf := make(map[uint32]uint32)
		for _, c := range e.counts {
			pdf[c]++
		}
		e.counts = pdf
		return nil
	})
	h.Value("banner", func() string { return e.banner }, click.Text(&e.banner))
	for name, t := range map[string]*threshold{"aggregate_call": &e.seen, "count_call": &e.counted} {
		h.Value(name, t.text, func(s string, _ *click.Args) error {
			if strings.TrimSpace(s) == "" {
				*t = threshold{}
				return nil
			}
			return t.call(s, nil)
		})
	}
	h.Read("nagg", func() string { return strconv.Itoa(len(e.counts)) })
	h.Count("count", &e.total)
	h.Write("clear", func(string) error {
		clear(e.counts)
		e.total, e.frozen = 0, false
		return nil
	})
}
