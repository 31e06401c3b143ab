package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/netns"
	"github.com/janos-os/janos/nodeos"
)

func root(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("it makes network namespaces, which needs root")
	}
}

// left are the namespaces of this process.
func left(t *testing.T) []string {
	t.Helper()
	names, err := netns.List(netns.Dir, fmt.Sprintf("%s%d-", nsPrefix, os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestSmokeKernel measures every scenario with sockets and namespaces once, as shortly as possible.
func TestSmokeKernel(t *testing.T) {
	root(t)
	list, err := Select([]string{"kernel", "socket"})
	if err != nil {
		t.Fatal(err)
	}
	list = slices.DeleteFunc(list, func(s Scenario) bool { return s.Driver != "" && !slices.Contains(nodeos.Drivers(), s.Driver) })
	if len(list) < 3 {
		t.Fatalf("only %d scenarios", len(list))
	}
	// An allocation for each packet or batch is there each time, and those of a call of the generator, or of whatever else the process does, are not.
	for range 3 {
		var again []Scenario
		for _, res := range smoke(t, list).Results {
			for _, m := range res.Metrics {
				if !strings.HasSuffix(m.Name, " chain"+allocsSuffix) || m.Median <= 0.02 {
					continue
				}
				t.Logf("%s, %s: %v for a packet", res.Scenario, m.Name, m.Median)
				if i := slices.IndexFunc(list, func(s Scenario) bool { return s.Name == res.Scenario }); !slices.ContainsFunc(again, func(s Scenario) bool { return s.Name == res.Scenario }) {
					again = append(again, list[i])
				}
			}
		}
		if list = again; len(list) == 0 {
			break
		}
	}
	for _, s := range list {
		t.Errorf("%s allocates for packets", s.Name)
	}
	if n := left(t); len(n) != 0 {
		t.Errorf("left over: %v", n)
	}
}

// TestScenariosOfTheKernel has the names that others count on.
func TestScenariosOfTheKernel(t *testing.T) {
	names := []string{"cut-through", "xdp-l2fwd", "packet-l2fwd", "udp-overlay", "demux-scale", "channel-isolation", "idle", "churn", "worker-gap"}
	list, err := Select(names)
	if err != nil || len(list) != len(names) {
		t.Errorf("%d scenarios, %v", len(list), err)
	}
}

func TestChainIsRemovedAndStaleOnesAreSwept(t *testing.T) {
	root(t)
	stale := nsPrefix + "4194304-1a" // one above the highest process number of any Linux
	ns, err := netns.Create(netns.Dir, stale)
	if err != nil {
		t.Fatal(err)
	}
	if err := ns.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := newChain()
	if err != nil {
		t.Fatal(err)
	}
	if n := left(t); len(n) != 3 {
		t.Errorf("a chain has %v", n)
	}
	if n, err := netns.List(netns.Dir, stale); err != nil || len(n) != 0 {
		t.Errorf("a dead process's namespace is still there: %v, %v", n, err)
	}
	if err := c.close(); err != nil {
		t.Error(err)
	}
	if n := left(t); len(n) != 0 {
		t.Errorf("left over: %v", n)
	}
}

// bridged makes a chain whose router is a bridge, so that frames pass.
func bridged(t *testing.T) *chain {
	t.Helper()
	c, err := newChain()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.close(); err != nil {
			t.Error(err)
		}
	})
	if err := c.router.Do(func() error {
		br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
		if err := netlink.LinkAdd(br); err != nil {
			return err
		}
		for _, n := range []string{"r0", "r1"} {
			l, err := netlink.LinkByName(n)
			if err != nil {
				return err
			}
			if err := netlink.LinkSetMaster(l, br); err != nil {
				return err
			}
		}
		return netlink.LinkSetUp(br)
	}); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTesterCountsWhatArrives(t *testing.T) {
	root(t)
	c := bridged(t)
	traffic := [][]byte{frame64(macOther, macA0, [4]byte{10, 0, 0, 2}, [4]byte{10, 0, 1, 2}, 1, 2)}
	x, err := newTester(clock.NewReal(), c.source, "a0", c.sink, "b0", traffic)
	if err != nil {
		t.Fatal(err)
	}
	defer x.close()
	if err := x.closed(3000, 512); err != nil {
		t.Fatal(err)
	}
	if !x.ledger.clean(3000) || x.sent != 3000 {
		t.Errorf("sent %d, %+v", x.sent, x.ledger)
	}
	rate, err := x.paced(20000, 50*time.Millisecond)
	if err != nil || x.sent == 0 || x.sent > 1000 || x.ledger.received == 0 || rate <= 0 { // fewer where the machine is busy: a schedule is moved, not made up for
		t.Errorf("sent %d at %v, %v; received %d", x.sent, rate, err, x.ledger.received)
	}
	// With the bridge down everything is lost, and the tester comes to an end all the same.
	if err := c.router.Do(func() error {
		l, err := netlink.LinkByName("br0")
		if err != nil {
			return err
		}
		return netlink.LinkSetDown(l)
	}); err != nil {
		t.Fatal(err)
	}
	x.stall = 50 * time.Millisecond
	if err := x.closed(1000, 512); err != nil || x.sent != 1000 || x.ledger.received != 0 {
		t.Errorf("%v: sent %d, %+v", err, x.sent, x.ledger)
	}
}

// TestSweepEndsPrograms kills what a run that was killed had started in its namespaces.
func TestSweepEndsPrograms(t *testing.T) {
	root(t)
	name := nsPrefix + "4194304-2r"
	ns, err := netns.Create(netns.Dir, name)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "1000")
	if err := ns.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	if err := ns.Close(); err != nil {
		t.Error(err)
	}
	if err := sweepChains(); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != -1 {
		t.Errorf("the program ended with %v", err)
	}
	if n, err := netns.List(netns.Dir, name); err != nil || len(n) != 0 {
		t.Errorf("left over: %v, %v", n, err)
	}
}

// TestClickThatEnds gives a program that is no Click.
func TestClickThatEnds(t *testing.T) {
	root(t)
	list, err := Select([]string{"packet-l2fwd"})
	if err != nil {
		t.Fatal(err)
	}
	o := fast()
	o.Reps, o.smoke = 1, true
	for _, path := range []string{"/bin/false", "/jn/no/such/program"} {
		o.Click = path
		if _, err := Run(context.Background(), list, o); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if n := left(t); len(n) != 0 {
		t.Errorf("left over: %v", n)
	}
}

func TestUsersInterfaces(t *testing.T) {
	root(t)
	list, err := Select([]string{"packet-l2fwd", "xdp-l2fwd", "cut-through"})
	if err != nil {
		t.Fatal(err)
	}
	o := fast()
	o.In, o.Out, o.Reps, o.smoke = "jnnone0", "jnnone1", 1, true
	if _, err := Run(context.Background(), list, o); errs.KindOf(err) != errs.NotFound {
		t.Errorf("interfaces that are not there: %v", err)
	}
	// A pair of links in this namespace: what goes in by one end comes out at the other.
	v := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "jnbt0"}, PeerName: "jnbt1"}
	if l, err := netlink.LinkByName("jnbt0"); err == nil { // of a test that was killed
		_ = netlink.LinkDel(l)
	}
	if err := netlink.LinkAdd(v); err != nil {
		t.Fatal(err)
	}
	defer netlink.LinkDel(v)
	o.In, o.Out = "jnbt0", "jnbt1"
	if _, err := Run(context.Background(), list, o); err == nil {
		t.Error("links that are down forwarded something")
	}
	for _, n := range []string{"jnbt0", "jnbt1"} {
		l, err := netlink.LinkByName(n)
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkSetUp(l); err != nil {
			t.Fatal(err)
		}
	}
	rep, err := Run(context.Background(), list, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, res := range rep.Results {
		if res.Scenario == "cut-through" {
			if !strings.Contains(res.Skipped, "--in and --out are for") {
				t.Errorf("%s was not skipped: %+v", res.Scenario, res)
			}
			continue
		}
		if m := res.Metrics; len(m) == 0 || m[0].Name != "outside loss-free" {
			t.Errorf("%s: %+v", res.Scenario, m)
		}
	}
	// As it was found: no program, not promiscuous.
	for _, n := range []string{"jnbt0", "jnbt1"} {
		l, err := netlink.LinkByName(n)
		if err != nil {
			t.Fatal(err)
		}
		if a := l.Attrs(); a.Promisc != 0 || a.Xdp != nil && a.Xdp.Attached {
			t.Errorf("%s: promiscuous %d, XDP %+v", n, a.Promisc, a.Xdp)
		}
	}
}
