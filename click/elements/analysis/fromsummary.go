package analysis

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "FromIPSummaryDump", Ports: "0/1", Processing: "a", New: func() click.Element { return &FromIPSummaryDump{} },
		Doc: click.Doc{
			Group: "analysis", Title: "makes packets of the lines of a summary dump",
			Text: "The packets are of IPv4 and begin with the IP header. What a line does not say is zero, but the TTL is 100. They have only the headers and the payload that is given; the extra length annotation has the rest of what the " +
				"length field says. Files may be compressed by gzip or bzip2. The fields are those of ToIPSummaryDump.",
			Args: []string{
				"FILENAME: The dump; a dash is standard input. Not with DATA.", "STOP: Whether to ask the router to stop at the end; default false.", "TIMING: Whether packets come at the times that their timestamps say; default false.",
				"ACTIVE: Whether to read now; default true.", "ZERO: Whether data that nothing says is zero, not random; default true.", "CHECKSUM: Whether packets have all bytes of their length, and right checksums; default false.",
				"PROTO: IP protocol where the dump says none; default 6.", "MULTIPACKET: Whether a line that counts several packets gives as many; default false.", "SAMPLE: Probability with which a packet is taken; default 1.",
				"FIELDS: Fields where the dump does not say.", "FLOWID: Source address, port, destination address, port and protocol where the dump does not say.",
				"ALLOW_NONEXISTENT: Whether a file that is not there counts as empty; default false.", "DATA: The dump itself.",
			},
			Handlers: []string{
				"count (r): Packets made.", "active (rw): The ACTIVE argument.", "sampling_prob (r): The SAMPLE argument as it is used.", "encap (r): What packets begin with: IP.",
				"filesize (r): Bytes of the file, or a dash.", "filepos (r): Bytes read.", "stop (w): Ends reading and asks the router to stop.",
			},
			Example: "FromIPSummaryDump(trace.sum, STOP true, CHECKSUM true) -> ...;", See: []string{"ToIPSummaryDump"},
		},
	})
}

const (
	ipEncap   = "IP"
	maxLine   = 64 << 10 // also of a binary record
	sampleOne = 1 << 28
	readBurst = 1   // as in Click, so that packets of several dumps and outputs come in the same order
	skipLimit = 256 // lines without a packet in one run
)

// FromIPSummaryDump makes packets of lines.
type FromIPSummaryDump struct {
	click.Base
	file, data         string
	hasData            bool
	stop, timing       bool
	active, zero, full bool
	multi, mayMiss     bool
	sample             uint64
	fields             []*field
	def                defaults

	in       traceFile
	binary   bool
	line     int
	end      bool
	warned   int
	m        maker
	have     uint32 // packets of m that are still to be made
	count    uint64
	words    []string
	record   []byte
	task     *click.Task
	timer    *click.Timer
	fullness *click.Signal
	empty    click.Notifier
	began    bool
	offset   int64 // calendar time minus time of the trace
	minor    int
	stopping bool
}

// Configure implements click.Element.
func (e *FromIPSummaryDump) Configure(a *click.Args) {
	e.active, e.zero, e.sample = true, true, sampleOne
	e.def.proto = protoTCP
	e.minor = 3
	proto := int(e.def.proto)
	flow := func(s string, _ *click.Args) error { return e.flowID(strings.Fields(lang.Unquote(s))) }
	if !a.Parse(click.May("FILENAME", click.String(&e.file)), click.Key("STOP", click.Bool(&e.stop)), click.Key("TIMING", click.Bool(&e.timing)), click.Key("ACTIVE", click.Bool(&e.active)),
		click.Key("ZERO", click.Bool(&e.zero)), click.Key("CHECKSUM", click.Bool(&e.full)), click.Key("PROTO", click.IntRange(&proto, 0, 255)), click.Key("MULTIPACKET", click.Bool(&e.multi)),
		click.Key("SAMPLE", click.Fixed(&e.sample, 28)), click.Key("FIELDS", fieldList(&e.fields)), click.Key("FLOWID", flow), click.Key("ALLOW_NONEXISTENT", click.Bool(&e.mayMiss)),
		click.Key("DATA", click.String(&e.data)).Given(&e.hasData)) {
		return
	}
	if e.def.proto == protoTCP {
		e.def.proto = uint8(proto)
	}
	if e.sample > sampleOne {
		a.Errorf("SAMPLE: expected a number from 0 to 1")
	}
	if e.hasData == (e.file != "") {
		a.Errorf("expected either FILENAME or DATA")
	}
}

// Encap implements Encapper.
func (e *FromIPSummaryDump) Encap() (string, error) { return ipEncap, nil }

// flowID sets defaults from "SRC SPORT DST DPORT [PROTO]"; a dash leaves one open.
func (e *FromIPSummaryDump) flowID(w []string) error {
	if len(w) < 4 || len(w) > 5 {
		return errors.New("expected SRC SPORT DST DPORT [PROTO]")
	}
	d := e.def
	forms := [...]*form{formAddr, form16, formAddr, form16, formProto}
	for i, s := range w {
		if s == "-" {
			continue
		}
		v, ok := forms[i].parse(s)
		if !ok {
			return fmt.Errorf("'%s' makes no sense as part %d of a flow", s, i+1)
		}
		switch i {
		case 0:
			d.src = uint32(v.n)
		case 1:
			d.sport = uint16(v.n)
		case 2:
			d.dst = uint32(v.n)
		case 3:
			d.dport = uint16(v.n)
		case 4:
			d.proto = uint8(v.n)
		}
	}
	e.def = d
	return nil
}

// Initialize implements click.Initializer.
func (e *FromIPSummaryDump) Initialize() error {
	if err := e.open(); err != nil {
		return err
	}
	if e.OutputKind(0) == click.PushKind {
		e.task = e.NewTask(e.run)
		e.fullness = e.DownstreamFull(0, e.task)
	}
	e.timer = e.NewTimer(e.wake)
	e.wake()
	return nil
}

func (e *FromIPSummaryDump) open() error {
	if e.hasData {
		e.in.read(strings.NewReader(e.data), int64(len(e.data)))
		return nil
	}
	err := e.in.open(&e.Base, e.file)
	if errors.Is(err, os.ErrNotExist) && e.mayMiss {
		e.in.read(bytes.NewReader(nil), 0)
		return nil
	}
	return err
}

// Cleanup implements click.Cleaner.
func (e *FromIPSummaryDump) Cleanup() {
	e.in.close()
}

func (e *FromIPSummaryDump) wake() {
	on := e.active && !(e.end && e.have == 0)
	e.empty.Set(on)
	if on && e.task != nil {
		e.task.Schedule()
	}
}

func (e *FromIPSummaryDump) run() (int, bool) {
	if !e.active || !e.fullness.Active() {
		return 0, false
	}
	b := e.Thread().Scratch()
	more := e.fill(b, readBurst)
	n := b.Len()
	e.Out(0).Push(b)
	e.Thread().Release(b)
	e.atEnd()
	return n, more && e.active
}

// Pull implements click.Puller.
func (e *FromIPSummaryDump) Pull(_ int, b *packet.Batch, n int) {
	if e.active {
		e.fill(b, n)
	}
	e.empty.Set(e.active && !(e.end && e.have == 0))
	e.atEnd()
}

// EmptyNotifier implements click.EmptyNotifying.
func (e *FromIPSummaryDump) EmptyNotifier(int) *click.Notifier { return &e.empty }

func (e *FromIPSummaryDump) atEnd() {
	if e.end && e.have == 0 && e.stop && !e.stopping {
		e.stopping = true
		e.Router().RequestStop()
	}
}

// fill adds up to n packets to b and reports whether there may be more at once.
func (e *FromIPSummaryDump) fill(b *packet.Batch, n int) (more bool) {
	for skipped := 0; b.Len() < n && b.Room() > 0; {
		if e.have == 0 {
			if e.end {
				return false
			}
			if !e.next() {
				if skipped++; skipped == skipLimit {
					return true
				}
				continue
			}
			if !e.multi {
				e.have = 1
			}
		}
		if e.timing && !e.due() {
			return false
		}
		e.have--
		if e.sample < sampleOne && e.Rand().Uint64()%sampleOne >= e.sample {
			continue
		}
		p := e.m.build(&e.Base, e.full, e.zero)
		if p == nil { // no memory: others may give some back
			e.have++
			e.timer.SetAfter(time.Millisecond)
			return false
		}
		if !e.multi && e.m.count > 1 {
			click.SetExtraPackets(p, e.m.count-1)
		}
		e.count++
		b.Append(p)
	}
	return true
}

// due reports whether the time of the next packet has come, and sets the timer for it if not.
func (e *FromIPSummaryDump) due() bool {
	now := e.Router().WallOf(e.Now())
	if !e.began {
		e.began, e.offset = true, now-e.m.ns
	}
	wait := e.m.ns + e.offset - now
	if wait <= 0 {
		return true
	}
	e.empty.Sleep()
	e.timer.SetAfter(time.Duration(wait))
	return false
}

// next reads a line or record and reports whether it is a packet, which is then in e.m.
func (e *FromIPSummaryDump) next() bool {
	if e.binary {
		return e.nextRecord()
	}
	l, err := e.in.ReadSlice('\n')
	e.line++
	if err == bufio.ErrBufferFull {
		e.warn("line of more than %d bytes is left out", maxLine)
		for err == bufio.ErrBufferFull {
			_, err = e.in.ReadSlice('\n')
		}
		l = nil
	}
	if err != nil {
		e.end = true
		if err != io.EOF {
			e.warn("%v", err)
		}
	}
	return e.text(strings.TrimRight(string(l), "\r\n"))
}

func (e *FromIPSummaryDump) warn(format string, args ...any) {
	if e.warned++; e.warned > 20 {
		return
	}
	name := e.file
	if e.hasData {
		name = "<data>"
	}
	fmt.Fprintf(e.Output(), "%s:%d: %s\n", name, e.line, fmt.Sprintf(format, args...))
	if e.warned == 20 {
		fmt.Fprintf(e.Output(), "%s: further warnings are left out\n", name)
	}
}

// text handles one line of text.
func (e *FromIPSummaryDump) text(l string) bool {
	l = strings.TrimLeft(l, " \t")
	switch {
	case l == "" || l[0] == '#':
		return false
	case l[0] == '!':
		e.note(l)
		return false
	}
	e.words = splitLine(e.words[:0], l)
	if e.fields == nil {
		// Dumps that do not say are of the default fields, unless a first line names some.
		var named []*field
		if len(e.words) > 0 && fieldList(&named)(l, nil) == nil {
			e.fields = named
			return false
		}
		e.fields = []*field{findField("ip_src"), findField("ip_dst")}
		e.warn("no '!data' line; taken as 'ip_src ip_dst'")
	}
	e.m.reset(&e.def)
	good := 0
	for i, w := range e.words {
		if i == len(e.fields) {
			break
		}
		f := e.fields[i]
		if w == "-" || f.form.parse == nil {
			continue
		}
		v, ok := f.form.parse(w)
		if !ok {
			continue
		}
		good++
		e.put(f, v)
	}
	if good == 0 && len(e.words) > 0 && !allDashes(e.words) {
		e.warn("no field of the line makes sense: %.60q", l)
		return false
	}
	e.have = max(e.m.count, 1)
	return e.m.count > 0
}

func allDashes(w []string) bool {
	for _, x := range w {
		if x != "-" {
			return false
		}
	}
	return true
}

func (e *FromIPSummaryDump) put(f *field, v value) {
	if f.put == nil {
		return
	}
	if e.minor == 0 && f.name == "ip_fragoff" { // version 1.0 counted in units of 8 bytes
		v.n = v.n&0xe000 | v.n*8&0x1fff
	}
	f.put(&e.m, v)
}

// splitLine splits at white space outside of double quotes, which stay.
func splitLine(w []string, l string) []string {
	for i := 0; i < len(l); {
		if l[i] == ' ' || l[i] == '\t' {
			i++
			continue
		}
		start, quoted := i, false
		for ; i < len(l) && (quoted || l[i] != ' ' && l[i] != '\t'); i++ {
			switch l[i] {
			case '"':
				quoted = !quoted
			case '\\':
				if quoted {
					i++
				}
			}
		}
		i = min(i, len(l))
		w = append(w, l[start:i])
	}
	return w
}

// note handles a line that begins with an exclamation mark.
func (e *FromIPSummaryDump) note(l string) {
	word, rest, _ := strings.Cut(l[1:], " ")
	rest = strings.TrimSpace(rest)
	switch word {
	case "data", "contents":
		var fs []*field
		if err := fieldList(&fs)(rest, nil); err != nil {
			e.warn("%v", err)
			// What is not known is skipped, so that the rest keeps its place.
			fs = fs[:0]
			for _, w := range lang.SplitWords(rest) {
				if f := findField(lang.Unquote(w)); f != nil {
					fs = append(fs, f)
				} else {
					fs = append(fs, &field{name: w, form: &form{}})
				}
			}
			if len(fs) > 256 {
				fs = fs[:256]
			}
		}
		e.fields = fs
	case "flowid":
		if err := e.flowID(strings.Fields(rest)); err != nil {
			e.warn("!flowid: %v", err)
		}
	case "proto":
		v, ok := formProto.parse(rest)
		if !ok {
			e.warn("!proto: '%.40s' is no protocol", rest)
			return
		}
		e.def.proto = uint8(v.n)
	case "aggregate":
		n, err := strconv.ParseUint(rest, 10, 32)
		if err != nil {
			e.warn("!aggregate: '%.40s' is no number", rest)
			return
		}
		e.def.aggregate = uint32(n)
	case "IPSummaryDump":
		if _, m, ok := strings.Cut(rest, "."); ok {
			if n, err := strconv.Atoi(m); err == nil {
				e.minor = n
			}
		}
	case "binary":
		e.binary = true
		for _, f := range e.fields {
			if f.form.size == 0 {
				e.warn("field '%s' cannot be in a binary file", f.name)
				e.end = true
			}
		}
		if len(e.fields) == 0 {
			e.warn("a binary file needs a line '!data'")
			e.end = true
		}
	}
}

// nextRecord reads a binary record.
func (e *FromIPSummaryDump) nextRecord() bool {
	e.line++
	var head [4]byte
	if _, err := io.ReadFull(e.in, head[:]); err != nil {
		e.end = true
		if err != io.EOF {
			e.warn("the last record is cut off")
		}
		return false
	}
	n := binary.BigEndian.Uint32(head[:])
	meta := n&(1<<31) != 0
	n &^= 1 << 31
	if n < 4 || n > maxLine {
		e.end = true
		e.warn("record of %d bytes: expected 4 to %d", n, maxLine)
		return false
	}
	if cap(e.record) < int(n) {
		e.record = make([]byte, n)
	}
	b := e.record[:n-4]
	if _, err := io.ReadFull(e.in, b); err != nil {
		e.end = true
		e.warn("the last record is cut off")
		return false
	}
	if meta {
		if l := strings.TrimRight(string(b), "\r\n"); strings.HasPrefix(l, "!") {
			e.note(l)
		}
		return false
	}
	e.m.reset(&e.def)
	for _, f := range e.fields {
		v, rest, ok := f.takeRecord(b)
		if !ok {
			e.warn("the record is too short for field '%s'", f.name)
			break
		}
		b = rest
		e.put(f, v)
	}
	e.have = max(e.m.count, 1)
	return e.m.count > 0
}

// AddHandlers implements click.HandlerAdder.
func (e *FromIPSummaryDump) AddHandlers(h *click.Handlers) {
	h.Count("count", &e.count)
	h.Value("active", func() string { return strconv.FormatBool(e.active) }, func(s string, _ *click.Args) error {
		if err := click.Bool(&e.active)(s, nil); err != nil {
			return err
		}
		e.wake()
		return nil
	})
	h.Read("sampling_prob", func() string {
		return strconv.FormatFloat(math.Ldexp(float64(e.sample), -28), 'g', 10, 64)
	})
	h.Read("encap", func() string { return ipEncap })
	h.Read("filesize", func() string {
		return e.in.sizeText()
	})
	h.Read("filepos", func() string { return strconv.FormatInt(e.in.counter.n-int64(e.in.Buffered()), 10) })
	h.Write("stop", func(string) error {
		e.active = false
		e.empty.Set(false)
		e.Router().RequestStop()
		return nil
	})
}
