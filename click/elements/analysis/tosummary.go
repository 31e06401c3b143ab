package analysis

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/packet"
)

func init() {
	var names []string
	for _, f := range fields {
		names = append(names, f.name)
	}
	click.Register(click.Class{
		Name: "ToIPSummaryDump", Ports: "1/0-1", Processing: "a/h", New: func() click.Element { return &ToIPSummaryDump{} },
		Doc: click.Doc{
			Group: "analysis", Title: "writes a line for each packet",
			Text: "The file begins with lines that say its version and fields, each of which begins with an exclamation mark; then each line has the values of one packet, and a dash for each that it does not have. " +
				"Packets go on to the output if there is one.\n\nThe fields: " + strings.Join(names, ", ") + ".",
			Args: []string{
				"FILENAME: Where to write; a dash is standard output.", "FIELDS: Names of fields, apart by spaces; default ip_src ip_dst.", "HEADER: Whether to write the lines at the beginning; default true.",
				"VERBOSE: Whether those lines tell host and time too; default false.", "BANNER: Who made the file, for a line at the beginning.", "BINARY: Whether packets are binary records; default false.",
				"MULTIPACKET: Whether a packet that stands for several gets as many lines; default false.", "BAD_PACKETS: Whether a line !bad comes before packets with bad headers; default false.",
				"CAREFUL_TRUNC: Whether packets that are shorter than they say count as bad; default true.", "EXTRA_LENGTH: Whether bytes that a packet has lost count for its lengths; default true.",
			},
			Handlers: []string{"count (r): Packets written.", "flush (w): Writes what waits in memory."},
			Example:  "... -> ToIPSummaryDump(-, FIELDS timestamp ip_src ip_dst ip_len);", See: []string{"FromIPSummaryDump"},
		},
	})
}

// ToIPSummaryDump writes a line for each packet.
type ToIPSummaryDump struct {
	click.Base
	file                      string
	fields                    []*field
	header, verbose, binary   bool
	multi, bad, careful, more bool
	banner                    string

	out    outFile
	count  uint64
	buf    []byte
	view   view
	intake *click.Intake
}

// fieldList parses names of fields, apart by spaces.
func fieldList(to *[]*field) click.Value {
	return func(s string, _ *click.Args) error {
		var list []*field
		for _, w := range lang.SplitWords(s) {
			// The whole list may be in quotes, and so may be a name with spaces.
			if x := lang.Unquote(w); findField(x) == nil {
				for _, y := range strings.Fields(x) {
					f := findField(y)
					if f == nil {
						return fmt.Errorf("unknown field '%s'", y)
					}
					list = append(list, f)
				}
				continue
			}
			list = append(list, findField(lang.Unquote(w)))
		}
		if len(list) == 0 || len(list) > 256 {
			return errors.New("expected the names of 1 to 256 fields")
		}
		*to = list
		return nil
	}
}

// Configure implements click.Element.
func (e *ToIPSummaryDump) Configure(a *click.Args) {
	e.header, e.careful, e.more = true, true, true
	e.fields = []*field{findField("ip_src"), findField("ip_dst")}
	f := fieldList(&e.fields)
	if a.Parse(click.Must("FILENAME", click.String(&e.file)), click.Key("FIELDS", f), click.Key("CONTENTS", f), click.Key("HEADER", click.Bool(&e.header)), click.Key("VERBOSE", click.Bool(&e.verbose)),
		click.Key("BANNER", click.String(&e.banner)), click.Key("BINARY", click.Bool(&e.binary)), click.Key("MULTIPACKET", click.Bool(&e.multi)), click.Key("BAD_PACKETS", click.Bool(&e.bad)),
		click.Key("CAREFUL_TRUNC", click.Bool(&e.careful)), click.Key("EXTRA_LENGTH", click.Bool(&e.more))) && e.binary {
		for _, f := range e.fields {
			if f.form.size == 0 {
				a.Errorf("FIELDS: '%s' cannot be in a binary file", f.name)
			}
		}
	}
	for _, f := range e.fields {
		e.multi = e.multi && f.name != "count"
	}
}

// Initialize implements click.Initializer.
func (e *ToIPSummaryDump) Initialize() error {
	if err := e.out.open(&e.Base, e.file); err != nil {
		return err
	}
	if e.header {
		e.writeHeader()
	}
	if e.InputKind(0) == click.PullKind {
		t := e.NewTask(e.run)
		e.intake = e.NewIntake(0, t)
		t.Schedule()
	}
	return nil
}

func (e *ToIPSummaryDump) writeHeader() {
	o := e.out
	o.WriteString("!IPSummaryDump 1.3\n")
	if e.banner != "" {
		fmt.Fprintf(o, "!creator %q\n", e.banner)
	}
	if e.verbose {
		if h, err := os.Hostname(); err == nil {
			fmt.Fprintf(o, "!host %s\n", h)
		}
		now := e.Router().Wall()
		fmt.Fprintf(o, "!runtime %s (%s)\n", click.AppendTime(nil, now.UnixNano()), now.UTC().Format("Mon Jan _2 15:04:05 2006"))
	}
	o.WriteString("!data")
	for _, f := range e.fields {
		o.WriteString(" " + f.name)
	}
	o.WriteString("\n")
	if e.binary {
		o.WriteString("!binary\n")
	}
}

// Push implements click.Pusher.
func (e *ToIPSummaryDump) Push(_ int, b *packet.Batch) {
	for _, p := range b.Packets() {
		n := uint64(1)
		if e.multi {
			n += uint64(min(click.ExtraPackets(p), 1<<16))
		}
		for range n {
			e.write(p)
		}
	}
	if e.out.shared {
		e.out.report(&e.Base, e.out.Flush())
	}
	if e.Outputs() > 0 {
		e.Out(0).Push(b)
		return
	}
	e.Cache().FreeBatch(b)
}

func (e *ToIPSummaryDump) run() (int, bool) {
	b := e.Thread().Scratch()
	n, more := e.intake.Pull(b, 32)
	if n > 0 {
		e.Push(0, b)
	}
	e.Thread().Release(b)
	return n, more
}

func (e *ToIPSummaryDump) write(p *packet.Packet) {
	e.view.look(e.Router(), p, e.more)
	if bad := e.view.bad; bad != "" && e.bad && (e.careful || !strings.HasPrefix(bad, "truncated IP length")) {
		e.writeNote("!bad " + bad + "\n")
	}
	b := e.buf[:0]
	if e.binary {
		b = append(b, 0, 0, 0, 0)
		for _, f := range e.fields {
			b = f.appendRecord(b, f.get(&e.view))
		}
		binary.BigEndian.PutUint32(b, uint32(len(b)))
	} else {
		for i, f := range e.fields {
			if i > 0 {
				b = append(b, ' ')
			}
			if v := f.get(&e.view); v.ok {
				b = f.form.text(b, v)
			} else {
				b = append(b, '-')
			}
		}
		b = append(b, '\n')
	}
	e.buf = b
	e.count++
	e.put(b)
}

// writeNote writes a line that is no packet.
func (e *ToIPSummaryDump) writeNote(s string) {
	if !e.binary {
		e.put([]byte(s))
		return
	}
	e.put(append(binary.BigEndian.AppendUint32(nil, uint32(len(s)+4)|1<<31), s...))
}

func (e *ToIPSummaryDump) put(b []byte) {
	_, err := e.out.Write(b)
	e.out.report(&e.Base, err)
}

// Cleanup implements click.Cleaner.
func (e *ToIPSummaryDump) Cleanup() {
	e.out.report(&e.Base, e.out.close())
}

// AddHandlers implements click.HandlerAdder.
func (e *ToIPSummaryDump) AddHandlers(h *click.Handlers) {
	h.Count("count", &e.count)
	h.Write("flush", func(string) error { return e.out.Flush() })
}
