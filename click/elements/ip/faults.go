package ip

import (
	"strconv"

	"github.com/janos-os/janos/click"
)

// Faults counts the bad packets of an element that checks headers, and prints a message about the first of them, or about all.
type Faults struct {
	what    string   // whose header, such as IP
	reasons []string // what may be wrong with it
	verbose bool
	details bool
	total   uint64
	by      []uint64
	buf     []byte
}

// FaultArgs and FaultHandlers are the header entries for what Faults adds to an element.
var (
	FaultArgs = []string{
		"VERBOSE: Whether to print a message about every bad packet and not only about the first; default false.",
		"DETAILS: Whether to count bad packets by reason; default false.",
	}
	FaultHandlers = []string{
		"drops (r): Bad packets, wherever they went.",
		"drop_details (r): Bad packets by reason; only with DETAILS.",
	}
)

// Init says whose header is checked and what may be wrong with it, which Note and Count refer to by index.
func (f *Faults) Init(what string, reasons ...string) {
	f.what, f.reasons, f.by = what, reasons, make([]uint64, len(reasons))
}

// Params returns the parameters VERBOSE and DETAILS.
func (f *Faults) Params(more ...click.Param) []click.Param {
	return append(more, click.Key("VERBOSE", click.Bool(&f.verbose)), click.Key("DETAILS", click.Bool(&f.details)))
}

// Note counts a bad packet and says so on the element's output if it is the first, or with VERBOSE. who is how
// the message calls the element.
func (f *Faults) Note(e *click.Base, who string, why int) {
	if f.total == 0 || f.verbose {
		o := append(append(f.buf[:0], who...), ": "...)
		o = append(append(o, f.what...), " header check failed: "...)
		f.buf = append(append(o, f.reasons[why]...), '\n')
		_, _ = e.Output().Write(f.buf)
	}
	f.total++
	f.by[why]++
}

// Inherit goes on with the counts of old, if it checked for the same reasons.
func (f *Faults) Inherit(old *Faults) {
	if len(old.by) == len(f.by) {
		f.total = old.total
		copy(f.by, old.by)
	}
}

// AddHandlers adds the handlers drops and drop_details.
func (f *Faults) AddHandlers(h *click.Handlers) {
	h.Count("drops", &f.total)
	if !f.details {
		return
	}
	h.Read("drop_details", func() string {
		var b []byte
		for i, n := range f.by {
			b = append(strconv.AppendUint(b, n, 10), '\t')
			b = append(append(b, f.reasons[i]...), '\n')
		}
		return string(b)
	})
}
