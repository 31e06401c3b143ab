package all

import (
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
)

func TestDrivers(t *testing.T) {
	if got, want := nodeos.Drivers(), []string{"mem", "packet", "pcap", "udp", "xdp"}; !slices.Equal(got, want) {
		t.Errorf("drivers %v, want %v", got, want)
	}
	n, err := nodeos.NewNode(nodeos.NodeSpec{Name: "n", Clock: clock.NewReal()})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	// No driver can open this; the error says what was tried, in the order of degradation.
	_, err = n.OpenLink(nodeos.LinkSpec{Name: "jn-absent0"})
	if err == nil {
		t.Fatal("a link that is not there was opened")
	}
	if !strings.Contains(err.Error(), "none of the drivers xdp, packet, udp could") || !strings.Contains(err.Error(), "no interface jn-absent0; ") {
		t.Errorf("error %q: want xdp tried before packet and udp, and mem not at all", err)
	}
	if n := strings.Count(err.Error(), "there is no interface"); runtime.GOOS == "linux" && n != 1 {
		t.Errorf("error %q says %d times that there is no interface", err, n)
	}
	if n := strings.Count(err.Error(), "link jn-absent0"); n != 1 {
		t.Errorf("error %q names the link %d times", err, n)
	}
	if want := errs.NotFound; runtime.GOOS == "linux" && errs.KindOf(err) != want {
		t.Errorf("kind %v, want %v: both drivers of interfaces say that there is none", errs.KindOf(err), want)
	}
	l, err := n.OpenLink(nodeos.LinkSpec{Name: "m0", Driver: "mem"})
	if err != nil || l.Info().Driver != "mem" {
		t.Errorf("%v, %v", l, err)
	}
}
