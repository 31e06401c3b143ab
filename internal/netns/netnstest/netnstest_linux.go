package netnstest

import (
	"os"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/janos-os/janos/internal/netns"
)

// New makes the namespace of the name, which begins with jn and is no other test's, in netns.Dir.
func New(t testing.TB, name string) *netns.Namespace {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	must(t, netns.Delete(netns.Dir, name))
	ns, err := netns.Create(netns.Dir, name)
	must(t, err)
	t.Cleanup(func() {
		ns.Close()
		if err := netns.Delete(netns.Dir, name); err != nil {
			t.Error(err)
		}
	})
	return ns
}

// Netlink returns a netlink socket in the namespace, which is closed with the test.
func Netlink(t testing.TB, ns *netns.Namespace) *netlink.Handle {
	t.Helper()
	h, err := ns.Netlink()
	must(t, err)
	t.Cleanup(h.Close)
	return h
}

// Up gives an interface addresses, such as 10.0.0.1/24, and sets it up.
func Up(t testing.TB, h *netlink.Handle, dev string, addrs ...string) {
	t.Helper()
	l, err := h.LinkByName(dev)
	must(t, err)
	for _, s := range addrs {
		a, err := netlink.ParseAddr(s)
		must(t, err)
		must(t, h.AddrAdd(l, a))
	}
	must(t, h.LinkSetUp(l))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
