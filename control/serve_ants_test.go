package control

import (
	"testing"

	"github.com/janos-os/janos/ee/ants"
	"github.com/janos-os/janos/errs"
)

func TestNamesStandForWhatWasRegistered(t *testing.T) {
	protocol := func(name string, pinned bool, id byte) ants.ProtocolStats {
		return ants.ProtocolStats{Name: name, Pinned: pinned, Classes: []ants.ClassStats{{Name: "data", Method: ants.MethodID{id}}}}
	}
	all := []ants.ProtocolStats{protocol("ping", false, 1), protocol("ping", true, 2), protocol("ping", false, 3), protocol("loaded", false, 4),
		protocol("twice", true, 5), protocol("twice", true, 6)}
	for _, c := range []struct {
		name, class string
		kind        errs.Kind
		id          byte
	}{
		{"ping", "data", errs.OK, 2},
		{"ping", "other", errs.NotFound, 0},
		{"loaded", "data", errs.NotFound, 0},
		{"absent", "data", errs.NotFound, 0},
		{"twice", "data", errs.Invalid, 0},
	} {
		id, err := method(all, c.name, c.class)
		if errs.KindOf(err) != c.kind || id != (ants.MethodID{c.id}) {
			t.Errorf("%s/%s: method %s, error %v; want %x and kind %v", c.name, c.class, id, err, c.id, c.kind)
		}
	}
}
