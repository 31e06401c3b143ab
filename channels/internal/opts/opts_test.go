package opts

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/janos-os/janos/errs"
)

func TestReader(t *testing.T) {
	r := New(map[string]string{"promisc": "true", "mtu": "9000", "mac": "02:00:00:00:00:01", "addr": "10.0.0.1/24, fd00::1/64", "latency": "low"})
	if !r.Bool("promisc", false) || r.Int("mtu", 1500, 68, 65535) != 9000 || r.MAC("mac") != [6]byte{2, 5: 1} ||
		r.OneOf("latency", "normal", "low") != "low" || r.Text("absent", "x") != "x" {
		t.Error("a value was not read")
	}
	ps := r.Prefixes("addr")
	if len(ps) != 2 || ps[1] != netip.MustParsePrefix("fd00::1/64") {
		t.Errorf("prefixes %v", ps)
	}
	if err := r.Done("d"); err != nil {
		t.Error(err)
	}

	r = New(map[string]string{"promisc": "maybe", "mtu": "9", "mac": "x", "addr": "y", "latency": "z", "typo": "1"})
	r.Bool("promisc", false)
	r.Int("mtu", 1500, 68, 65535)
	r.MAC("mac")
	r.Prefixes("addr")
	r.OneOf("latency", "normal", "low")
	err := r.Done("d")
	if errs.KindOf(err) != errs.Invalid {
		t.Fatal(err)
	}
	for _, want := range []string{"promisc=", "mtu=", "mac=", "addr=", "latency=", `unknown option "typo" (there are promisc, mtu,`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q lacks %q", err, want)
		}
	}
}
