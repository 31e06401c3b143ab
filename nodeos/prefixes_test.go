package nodeos

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

// TestAddressesOfALinkChange: out-channels and cut-through channels that write IP headers send from the address that the link has now.
func TestAddressesOfALinkChange(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	if err := r.node.SetPrefixes("nope", nil); errs.KindOf(err) != errs.NotFound {
		t.Errorf("an unknown link: %v", err)
	}
	if r.node.Prefixes("nope") != nil {
		t.Error("an unknown link has addresses")
	}
	link := r.link("eth0")
	if got := r.node.Prefixes("eth0"); !slices.Equal(got, link.info.Prefixes) {
		t.Errorf("at first %v, want %v", got, link.info.Prefixes)
	}
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	out, err := d.NewOutChan(OutChanSpec{Protocol: "eth0/ether/ip/udp", Address: "10.0.0.2:9", LinkAddr: [6]byte{2}})
	if err != nil {
		t.Fatal(err)
	}
	from := func() string {
		t.Helper()
		link.out = nil
		w := r.node.Worker(0)
		var b packet.Batch
		b.Append(w.Cache().AllocFrom(d.Owner(), []byte("x")))
		out.Send(w, &b)
		r.settle()
		if len(link.out) == 0 {
			return "nothing was sent"
		}
		a, _ := netip.AddrFromSlice(link.out[0][26:30])
		return a.String()
	}
	want := []netip.Prefix{netip.MustParsePrefix("fd00::1/64"), netip.MustParsePrefix("10.77.0.7/24")}
	if err := r.node.SetPrefixes("eth0", want); err != nil {
		t.Fatal(err)
	}
	want[1] = netip.Prefix{} // the node has a copy
	if got := from(); got != "10.77.0.7" {
		t.Errorf("source is %s", got)
	}
	if err := r.node.SetPrefixes("eth0", nil); err != nil {
		t.Fatal(err)
	}
	if got := from(); got != "nothing was sent" {
		t.Errorf("without an address it is sent from %s", got)
	}
}
