package capsulecmd

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"sort"
	"strings"
)

// hexBytes is bytes that are hexadecimal in JSON.
type hexBytes []byte

// MarshalText implements encoding.TextMarshaler.
func (b hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(b)), nil }

// dumpMax is how many bytes of a window are printed.
const dumpMax = 256

// dump prints b in lines of 16 bytes, with title before the first.
func dump(w io.Writer, title string, b []byte) {
	if len(b) == 0 {
		fmt.Fprintf(w, "  %-8s empty\n", title)
		return
	}
	for i := 0; i < len(b) && i < dumpMax; i += 16 {
		line := b[i:min(i+16, len(b), dumpMax)]
		text := bytes.Map(func(r rune) rune {
			if r < ' ' || r > '~' {
				return '.'
			}
			return r
		}, latin1(line))
		fmt.Fprintf(w, "  %-8s %04x  %-47s  |%s|\n", title, i, fmt.Sprintf("% x", line), text)
		title = ""
	}
	if len(b) > dumpMax {
		fmt.Fprintf(w, "  %-8s and %d bytes more\n", "", len(b)-dumpMax)
	}
}

// latin1 makes each byte a rune.
func latin1(b []byte) []byte {
	var s strings.Builder
	for _, c := range b {
		s.WriteRune(rune(c))
	}
	return []byte(s.String())
}

func from(a addr) string {
	if a == 0 {
		return "an application"
	}
	return a.String()
}

// printStep prints an evaluation in several lines.
func printStep(w io.Writer, st *step) {
	fmt.Fprintf(w, "%d. %s at %s, from %s; %s -> %s, ttl %d, credit %d, %.3f s\n",
		st.Number, st.Class, st.Node, from(st.Prev), st.Src, st.Dst, st.TTL, st.Credit, st.Time.Seconds())
	dump(w, "window", st.Before)
	fmt.Fprintf(w, "  %-8s %s, %d fuel\n", "verdict", st.Verdict, st.Fuel)
	if st.Fault != "" {
		fmt.Fprintf(w, "  %-8s %s\n", "why", st.Fault)
	}
	for _, l := range st.Logs {
		fmt.Fprintf(w, "  %-8s %s\n", "log", l)
	}
	if st.After != nil && !bytes.Equal(st.Before, st.After) {
		dump(w, "after", st.After)
	}
	for _, s := range st.State {
		key := fmt.Sprintf("space %d, key %x", s.Space, []byte(s.Key))
		if len(s.Key) == 0 {
			key = fmt.Sprintf("space %d", s.Space)
		}
		if s.Value == nil {
			fmt.Fprintf(w, "  %-8s forgotten: %s\n", "state", key)
			continue
		}
		life := "the node's default time"
		if s.Seconds > 0 {
			life = fmt.Sprintf("%d s", s.Seconds)
		}
		fmt.Fprintf(w, "  %-8s written: %s, for %s\n", "state", key, life)
		dump(w, "", bytes.TrimRight(s.Value, "\x00"))
	}
	for _, o := range st.Outputs {
		what := "capsule"
		if o.Class != "" {
			what = "new " + o.Class
		}
		switch {
		case o.Lost != "":
			fmt.Fprintf(w, "  %-8s %s for %s is lost: %s\n", "out", what, o.To, o.Lost)
		case o.Here:
			fmt.Fprintf(w, "  %-8s %s to the application here\n", "out", what)
		default:
			fmt.Fprintf(w, "  %-8s %s to %s, ttl %d, credit %d\n", "out", what, o.To, o.TTL, o.Credit)
		}
		if o.Class != "" {
			dump(w, "", o.Data)
		}
	}
}

// printLine prints an evaluation in one line.
func printLine(w io.Writer, st *step) {
	var to []string
	for _, o := range st.Outputs {
		switch {
		case o.Lost != "":
			to = append(to, "lost: "+o.Lost)
		case o.Here:
			to = append(to, "application")
		default:
			to = append(to, o.To.String())
		}
	}
	outs := ""
	if len(to) > 0 {
		outs = " -> " + strings.Join(to, ", ")
	}
	why := ""
	if st.Fault != "" {
		why = ": " + st.Fault
	}
	fmt.Fprintf(w, "%d. %s at %s: %s%s, %d fuel%s\n", st.Number, st.Class, st.Node, st.Verdict, why, st.Fuel, outs)
}

// total sums evaluations up.
type total struct {
	evaluations, delivered, sent, lost int
	fuel, most                         uint64
	verdicts                           map[string]int
}

func (t *total) add(st *step) {
	if t.verdicts == nil {
		t.verdicts = make(map[string]int)
	}
	t.evaluations++
	t.fuel += st.Fuel
	t.most = max(t.most, st.Fuel)
	t.verdicts[st.Verdict]++
	for _, o := range st.Outputs {
		switch {
		case o.Lost != "":
			t.lost++
		case o.Here:
			t.delivered++
		default:
			t.sent++
		}
	}
}

func (t *total) print(w io.Writer) {
	var vs []string
	for v, n := range t.verdicts {
		vs = append(vs, fmt.Sprintf("%d %s", n, v))
	}
	sort.Strings(vs)
	fmt.Fprintf(w, "%d evaluations (%s), %d sent, %d delivered, %d lost; fuel %d, at most %d\n",
		t.evaluations, strings.Join(vs, ", "), t.sent, t.delivered, t.lost, t.fuel, t.most)
}
