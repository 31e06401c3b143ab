package info

import (
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
)

func init() {
	click.Register(click.Class{
		Name: "ScheduleInfo", Ports: "0/0", Processing: "a", New: func() click.Element { return &ScheduleInfo{} },
		Doc: click.Doc{
			Group: "information", Title: "says how often tasks of elements run in proportion to others",
			Text: "An element without a share has 1. What is said about a compound multiplies the shares inside of it, and an outer element that names an inner one in full (c/i 2) decides alone. " +
				"The shares set the handlers tickets of the elements that have tasks.",
			Args:    []string{"<ELEMENT SHARE>...: A number above 0, such as 0.5."},
			Example: "src :: InfiniteSource -> Discard; ScheduleInfo(src 0.5);",
		},
	})
	click.Register(click.Class{
		Name: "AlignmentInfo", Ports: "0/0", Processing: "a", New: func() click.Element { return &AlignmentInfo{} },
		Doc: click.Doc{
			Group: "information", Title: "says how packets are aligned when they reach an element",
			Text:    "Tools write it; elements of this program work with any alignment and ask for none.",
			Args:    []string{"<ELEMENT [MODULUS OFFSET]...>...: For each input of an element."},
			Example: "x :: Idle -> d :: Discard; AlignmentInfo(d 4 2);",
		},
	})
}

// ScheduleInfo sets shares of tasks.
type ScheduleInfo struct{ info }

// Configure implements click.Element.
func (*ScheduleInfo) Configure(a *click.Args) {
	for _, arg := range a.List() {
		w := lang.SplitWords(arg)
		if len(w) == 0 {
			continue
		}
		bad := true
		if len(w) == 2 {
			v, err := strconv.ParseFloat(w[1], 64)
			bad = err != nil || !(v > 0 && v <= click.MaxTickets)
		}
		if bad {
			a.Errorf("'%s': expected 'ELEMENT SHARE', the share above 0 and at most %d", arg, click.MaxTickets)
			continue
		}
		a.Define(click.NameShare, lang.Unquote(w[0]), w[1])
	}
}

// AlignmentInfo is for tools.
type AlignmentInfo struct{ info }

// Configure implements click.Element.
func (*AlignmentInfo) Configure(a *click.Args) {
	for _, arg := range a.List() {
		w := lang.SplitWords(arg)
		if len(w) == 0 {
			continue
		}
		bad := len(w)%2 == 0
		for i := 1; i+1 < len(w) && !bad; i += 2 {
			m, merr := strconv.ParseUint(w[i], 0, 16)
			o, oerr := strconv.ParseUint(w[i+1], 0, 16)
			bad = merr != nil || oerr != nil || m == 0 || o >= m
		}
		if bad {
			a.Errorf("'%s': expected 'ELEMENT [MODULUS OFFSET]...', each offset less than its modulus", arg)
		}
	}
}
