package opts

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/janos-os/janos/errs"
)

func TestReader(t *testing.T) {
	r := New(map[string]string{"promisc": "true", "mtu": "9000", "mac": "02:00:00:00:00:01", "addr": "10.0.0.1/24, fd00::1/64", "latency": "low", "delay": "5ms"})
	if !r.Bool("promisc", false) || r.Int("mtu", 1500, 68, 65535) != 9000 || r.MAC("mac") != [6]byte{2, 5: 1} ||
		r.OneOf("latency", "normal", "low") != "low" || r.Duration("delay", 0, 0, time.Second) != 5*time.Millisecond || r.Duration("wait", 7, 0, 9) != 7 || r.Text("absent", "x") != "x" {
		t.Error("a value was not read")
	}
	ps := r.Prefixes("addr")
	if len(ps) != 2 || ps[1] != netip.MustParsePrefix("fd00::1/64") {
		t.Errorf("prefixes %v", ps)
	}
	if err := r.Done("d"); err != nil {
		t.Error(err)
	}

	r = New(map[string]string{"promisc": "maybe", "mtu": "9", "mac": "x", "addr": "y", "latency": "z", "delay": "2s", "wait": "5", "typo": "1"})
	r.Bool("promisc", false)
	r.Int("mtu", 1500, 68, 65535)
	r.MAC("mac")
	r.Prefixes("addr")
	r.OneOf("latency", "normal", "low")
	if r.Duration("delay", time.Second, 0, time.Second) != time.Second || r.Duration("wait", 0, 0, time.Second) != 0 {
		t.Error("a wrong time is not the default")
	}
	err := r.Done("d")
	if errs.KindOf(err) != errs.Invalid {
		t.Fatal(err)
	}
	for _, want := range []string{"promisc=", "mtu=", "mac=", "addr=", "latency=", "delay=", "wait=", `unknown option "typo" (there are promisc, mtu,`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q lacks %q", err, want)
		}
	}
}
