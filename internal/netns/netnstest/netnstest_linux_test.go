package netnstest

import (
	"net"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/janos-os/janos/internal/leak"
	"github.com/janos-os/janos/internal/netns"
)

func TestMain(m *testing.M) { leak.Main(m, "jn-nstest") }

func TestNamespaceGoesWithItsTest(t *testing.T) {
	const name = "jn-nstest"
	t.Run("inner", func(t *testing.T) {
		stale := New(t, name)
		h := Netlink(t, stale)
		if err := h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "jnold0"}, PeerName: "jnold1"}); err != nil {
			t.Fatal(err)
		}
		ns := New(t, name) // as after a run that was killed
		h = Netlink(t, ns)
		if _, err := h.LinkByName("jnold0"); err == nil {
			t.Error("the interface of before is still there")
		}
		if err := h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "jna0"}, PeerName: "jna1"}); err != nil {
			t.Fatal(err)
		}
		Up(t, h, "jna0", "10.9.0.1/24", "10.9.1.1/24")
		Up(t, h, "jna1")
		err := ns.Do(func() error {
			for dev, want := range map[string]int{"jna0": 2, "jna1": 0} {
				i, err := net.InterfaceByName(dev)
				if err != nil {
					return err
				}
				addrs, err := i.Addrs()
				if err != nil {
					return err
				}
				addrs = slices.DeleteFunc(addrs, func(a net.Addr) bool { return a.(*net.IPNet).IP.To4() == nil })
				if i.Flags&net.FlagUp == 0 || len(addrs) != want {
					t.Errorf("%s has flags %v and addresses %v, want %d", dev, i.Flags, addrs, want)
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	if left, err := netns.List(netns.Dir, name); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
}
