package info

import (
	"strconv"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
)

func init() {
	click.Register(click.Class{
		Name: "AnnotationInfo", Ports: "0/0", Processing: "a", New: func() click.Element { return &AnnotationInfo{} },
		Doc: click.Doc{
			Group: "information", Title: "gives annotations names",
			Text:    "Names hold in the compound of the element and in those inside of it. PAINT cannot be defined anew.",
			Args:    []string{"<NAME OFFSET [SIZE]>...: Place and bytes of an annotation in Click's annotation area of 48 bytes; SIZE is 1 by default.", "CHECK_OVERLAP: Names, apart by spaces, of which no two may share bytes."},
			Example: "AnnotationInfo(MARK 32, CLASS 33, CHECK_OVERLAP MARK CLASS); Idle -> Paint(3, MARK) -> Discard;", See: []string{"SetAnnoByte", "Paint"},
		},
	})
}

// AnnotationInfo names annotations.
type AnnotationInfo struct{ info }

// Configure implements click.Element.
func (*AnnotationInfo) Configure(a *click.Args) {
	var check []string
	overlap := func(s string, _ *click.Args) error { check = lang.SplitWords(s); return nil }
	var defs []string
	a.Parse(click.Key("CHECK_OVERLAP", overlap), click.Rest(func(args []string) { defs = args }))
	place := map[string][2]uint64{"PAINT": {16, 1}}
	for _, arg := range defs {
		w := lang.SplitWords(arg)
		if len(w) == 0 {
			continue
		}
		var offset, size uint64 = 0, 1
		bad := len(w) < 2 || len(w) > 3
		if !bad {
			var err error
			offset, err = strconv.ParseUint(w[1], 0, 16)
			bad = err != nil
			if len(w) == 3 && !bad {
				size, err = strconv.ParseUint(w[2], 0, 16)
				bad = err != nil || size == 0
			}
		}
		switch {
		case bad || offset+size > 48:
			a.Errorf("'%s': expected 'NAME OFFSET [SIZE]' within 48 bytes", arg)
		case w[0] == "PAINT":
			a.Errorf("PAINT cannot be defined anew")
		default:
			place[w[0]] = [2]uint64{offset, size}
			if size == 1 { // others no element can use
				a.Define(click.NameAnno, w[0], strconv.FormatUint(offset, 10))
			}
		}
	}
	for i, x := range check {
		p, ok := place[x]
		if !ok {
			a.Errorf("CHECK_OVERLAP: no annotation named '%s'", x)
		}
		for _, y := range check[:i] {
			if q, there := place[y]; ok && there && p[0] < q[0]+q[1] && q[0] < p[0]+p[1] {
				a.Errorf("CHECK_OVERLAP: %s share bytes", strings.Join([]string{y, x}, " and "))
			}
		}
	}
}
