package standard

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/internal/decide"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "Classifier", Ports: "1/-", Processing: "h", Merging: click.MergedInOrder, New: func() click.Element { return &Classifier{} },
		Doc: click.Doc{
			Group: "standard", Title: "sorts packets by their bytes",
			Text: "There is a pattern for each output; a packet goes to the output of the first pattern that fits, and is dropped if none does. " +
				"A pattern is a list of clauses OFFSET/VALUE, the value in hexadecimal, all of which must fit. A question mark in the value stands for any digit; " +
				"VALUE%MASK compares under a mask; an exclamation mark before a clause negates it; a dash as pattern fits every packet.\n\nPackets that end before the bytes of a clause do not fit it.",
			Args:     []string{"<pattern>...: One for each output."},
			Handlers: []string{"program (r): The decision program that the patterns were compiled to."},
			Example:  "c :: Classifier(12/0806 20/0001, 12/0806 20/0002, 12/0800, -);", See: []string{"IPClassifier"},
		},
	})
}

// Classifier sorts packets by their bytes.
type Classifier struct {
	click.Base
	program *decide.Program
}

// Configure implements click.Element.
func (e *Classifier) Configure(a *click.Args) {
	var rules []decide.Rule
	for i, arg := range a.List() {
		x, err := ParsePattern(lang.Unquote(arg))
		if err != nil {
			a.Errorf("pattern %d: %v", i, err)
			continue
		}
		rules = append(rules, decide.Rule{If: x, Then: i})
	}
	if n := len(a.List()); n != a.Outputs() && a.OK() {
		a.Errorf("%d patterns for %d outputs", n, a.Outputs())
	}
	var err error
	if e.program, err = decide.Compile(rules, 1<<16-1); err != nil {
		a.Errorf("%v", err)
	}
}

// ParsePattern compiles one pattern of a Classifier.
func ParsePattern(s string) (decide.Expr, error) {
	words := strings.Fields(s)
	if len(words) == 1 && words[0] == "-" {
		return decide.Const(true), nil
	}
	if len(words) == 0 {
		return nil, fmt.Errorf("is empty; use '-' for all packets")
	}
	var all decide.And
	for _, w := range words {
		clause, neg := strings.CutPrefix(w, "!")
		off, val, ok := strings.Cut(clause, "/")
		n, err := strconv.Atoi(off)
		if !ok || err != nil || n < 0 || n > 1<<16 {
			return nil, fmt.Errorf("'%s' is no OFFSET/VALUE", w)
		}
		val, mask, masked := strings.Cut(val, "%")
		if len(val)%2 != 0 || val == "" || masked && len(mask) != len(val) || len(val) > 4096 {
			return nil, fmt.Errorf("'%s': value and mask need the same, even number of digits", w)
		}
		m := strings.Map(func(c rune) rune {
			if c == '?' {
				return '0'
			}
			return 'f'
		}, val)
		vb, verr := hex.DecodeString(strings.ReplaceAll(val, "?", "0"))
		mb, _ := hex.DecodeString(m)
		if verr != nil {
			return nil, fmt.Errorf("'%s' has digits that are not hexadecimal", w)
		}
		if masked {
			mm, err := hex.DecodeString(mask)
			if err != nil {
				return nil, fmt.Errorf("'%s' has digits that are not hexadecimal", w)
			}
			for i := range mb {
				mb[i] &= mm[i]
			}
		}
		var x decide.And
		for i := 0; i < len(vb); {
			word := (n + i) &^ 3
			t := decide.Test{Off: word}
			for ; i < len(vb) && n+i < word+4; i++ {
				sh := 8 * (3 - (n + i - word))
				t.Mask |= uint32(mb[i]) << sh
				t.Value |= uint32(vb[i]&mb[i]) << sh
			}
			x = append(x, t)
		}
		if neg {
			all = append(all, decide.Not{X: x})
		} else {
			all = append(all, x)
		}
	}
	return all, nil
}

// Push implements click.Pusher.
func (e *Classifier) Push(_ int, b *packet.Batch) {
	var ports [packet.MaxBatch]uint16
	e.program.MatchAll(b.Packets(), ports[:])
	e.Split(b, &ports)
}

// AddHandlers implements click.HandlerAdder.
func (e *Classifier) AddHandlers(h *click.Handlers) {
	h.Read("program", e.program.String)
}
