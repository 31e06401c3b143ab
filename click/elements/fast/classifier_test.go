package fast

import (
	"strings"
	"testing"
)

func TestParseParts(t *testing.T) {
	good := []string{`c Classifier "12/0800, \"-\"" ip 0`, `ip IPFilter "allow all" 1`}
	parts, err := ParseParts(good)
	if err != nil || len(parts) != 2 || parts[0].Config != `12/0800, "-"` || parts[0].Outputs[0].Part != "ip" || parts[0].Outputs[1].Port != 0 {
		t.Fatalf("%+v, %v", parts, err)
	}
	for i := range parts {
		if parts[i].String() != good[i] {
			t.Errorf("%s prints as %s", good[i], parts[i].String())
		}
	}
	for _, bad := range []string{
		"", "c", "c Classifier", `c Classifier - x`, `c Classifier - 99999`, `c Classifier - 0|c Classifier - 0`, `c Classifier - 0|d Classifier - 0`,
		`c Classifier "-, -" d d|d Classifier - 0`, `c Classifier - 0|d Classifier - c`,
	} {
		args := strings.Split(bad, "|")
		if bad == "" {
			args = nil
		}
		if p, err := ParseParts(args); err == nil {
			t.Errorf("%q is read as %+v", bad, p)
		}
	}
}

func FuzzParseParts(f *testing.F) {
	f.Add(`c Classifier "12/0800, -" ip 0|ip IPFilter "allow all" 1`)
	f.Fuzz(func(t *testing.T, s string) {
		parts, err := ParseParts(strings.Split(s, "|"))
		if err != nil {
			return
		}
		var again []string
		for i := range parts {
			again = append(again, parts[i].String())
		}
		if _, err := ParseParts(again); err != nil {
			t.Errorf("%q prints as %q, which is refused: %v", s, again, err)
		}
	})
}
