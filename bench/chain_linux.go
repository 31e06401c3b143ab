package bench

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/netns"
	"github.com/janos-os/janos/internal/sys"
)

// chain is three network namespaces in a row, joined by two pairs of virtual links without offloads and without IPv6:
//
//	source a0 ---- r0 router r1 ---- b0 sink
type chain struct {
	source, router, sink *netns.Namespace
}

// Hardware addresses of the ends, and one that nobody has.
var (
	macA0    = [6]byte{0x02, 0, 0, 0, 0x0a, 0x01}
	macR0    = [6]byte{0x02, 0, 0, 0, 0x0a, 0x02}
	macR1    = [6]byte{0x02, 0, 0, 0, 0x0b, 0x01}
	macB0    = [6]byte{0x02, 0, 0, 0, 0x0b, 0x02}
	macOther = [6]byte{0x02, 0, 0, 0, 0x0b, 0x99}
)

const nsPrefix = "jnb-"

var chains atomic.Uint32

// needRoot is the refusal of what needs namespaces.
func needRoot() error {
	if os.Geteuid() != 0 {
		return errs.New(errs.Permission, "it makes network namespaces: run it as root")
	}
	return nil
}

// sweepChains removes the namespaces of processes that are gone.
func sweepChains() error {
	names, err := netns.List(netns.Dir, nsPrefix)
	if err != nil {
		return err
	}
	for _, n := range names {
		pid, _, _ := strings.Cut(strings.TrimPrefix(n, nsPrefix), "-")
		if k, err := strconv.Atoi(pid); err != nil || k <= 0 {
			continue // not a name that we give
		}
		if lives(pid) {
			continue
		}
		if err := evict(n); err != nil {
			return err
		}
		if err := netns.Delete(netns.Dir, n); err != nil {
			return err
		}
	}
	return nil
}

// evict kills the processes in a namespace, which a run that was killed had started there.
func evict(name string) error {
	ns, err := netns.Open(netns.Dir, name)
	if err != nil {
		return nil // a name without a namespace: the run was killed in between
	}
	defer ns.Close()
	inode, err := ns.Inode()
	if err != nil {
		return err
	}
	inside := map[uint64]bool{inode: true}
	for _, pid := range netns.Inhabitants(inside) {
		if err := netns.Kill(pid, func() bool { return slices.Contains(netns.Inhabitants(inside), pid) }, 5*time.Second); err != nil {
			return fmt.Errorf("process %d in namespace %s of a run that was killed: %w", pid, name, err)
		}
	}
	return nil
}

// lives reports whether there is a process of that number that has not ended, or whether that cannot be known. One that nobody has waited for
// is still listed.
func lives(pid string) bool {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	_, rest, _ := strings.Cut(string(b[strings.LastIndexByte(string(b), ')')+1:]), " ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

// newChain makes a chain.
func newChain() (c *chain, err error) {
	if err := needRoot(); err != nil {
		return nil, err
	}
	if err := sweepChains(); err != nil {
		return nil, err
	}
	c = new(chain)
	defer func() {
		if err != nil {
			_ = c.close()
		}
	}()
	id := chains.Add(1)
	for _, e := range []struct {
		ns     **netns.Namespace
		suffix string
	}{{&c.source, "a"}, {&c.router, "r"}, {&c.sink, "b"}} {
		if *e.ns, err = netns.Create(netns.Dir, fmt.Sprintf("%s%d-%d%s", nsPrefix, os.Getpid(), id, e.suffix)); err != nil {
			return nil, err
		}
		for _, k := range []string{"all", "default"} {
			// A kernel without IPv6 has no such setting and is quiet anyway.
			if err := (*e.ns).Sysctl("ipv6/conf/"+k+"/disable_ipv6", "1"); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
	}
	if err := join(c.source, "a0", macA0, c.router, "r0", macR0); err != nil {
		return nil, err
	}
	if err := join(c.router, "r1", macR1, c.sink, "b0", macB0); err != nil {
		return nil, err
	}
	return c, nil
}

// join makes a pair of links between two namespaces and waits for their carrier.
func join(a *netns.Namespace, aName string, aMAC [6]byte, b *netns.Namespace, bName string, bMAC [6]byte) error {
	h, err := a.Netlink()
	if err != nil {
		return err
	}
	defer h.Close()
	v := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: aName, HardwareAddr: aMAC[:]}, PeerName: bName, PeerHardwareAddr: bMAC[:], PeerNamespace: netlink.NsFd(b.Fd())}
	if err := h.LinkAdd(v); err != nil {
		return fmt.Errorf("virtual link %s-%s: %w", aName, bName, err)
	}
	ends := []struct {
		ns   *netns.Namespace
		name string
	}{{a, aName}, {b, bName}}
	for _, e := range ends {
		if err := e.ns.Do(func() error {
			if err := sys.OffloadsOff(e.name); err != nil {
				return err
			}
			l, err := netlink.LinkByName(e.name)
			if err != nil {
				return err
			}
			return netlink.LinkSetUp(l)
		}); err != nil {
			return err
		}
	}
	for _, e := range ends {
		if err := e.ns.Do(func() error {
			ok, err := sys.Carrier(e.name)
			if err == nil && !ok {
				err = errs.New(errs.Internal, "link %s has no carrier", e.name)
			}
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// forward makes the kernel of the router forward from 10.0.0.0/24 to 10.0.1.2, whose hardware address is nobody's.
func (c *chain) forward() error {
	for _, k := range []string{"ipv4/ip_forward"} {
		if err := c.router.Sysctl(k, "1"); err != nil {
			return err
		}
	}
	return c.router.Do(func() error {
		for name, addr := range map[string]string{"r0": "10.0.0.1/24", "r1": "10.0.1.1/24"} {
			l, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			a, err := netlink.ParseAddr(addr)
			if err != nil {
				return err
			}
			if err := netlink.AddrAdd(l, a); err != nil {
				return err
			}
			if name != "r1" {
				continue
			}
			if err := netlink.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT, IP: net.IPv4(10, 0, 1, 2), HardwareAddr: macOther[:]}); err != nil {
				return err
			}
		}
		return nil
	})
}

// close removes the namespaces, and with them the links.
func (c *chain) close() error {
	var first error
	for _, ns := range []*netns.Namespace{c.source, c.router, c.sink} {
		if ns == nil {
			continue
		}
		// The kernel dismantles a namespace when it likes; links go at once.
		_ = ns.Do(func() error {
			for _, name := range []string{"a0", "r0", "r1", "b0"} {
				if l, err := netlink.LinkByName(name); err == nil {
					_ = netlink.LinkDel(l)
				}
			}
			return nil
		})
		first = firstError(first, ns.Close(), netns.Delete(netns.Dir, ns.Name()))
	}
	return first
}
