package netns

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/internal/sys"
)

// root skips the test when the process may not make namespaces.
func root(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
}

func create(t *testing.T, name string) *Namespace {
	t.Helper()
	if err := Delete(Dir, name); err != nil { // left behind by a run that was killed
		t.Fatal(err)
	}
	n, err := Create(Dir, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.Close()
		if err := Delete(Dir, name); err != nil {
			t.Error(err)
		}
		if left, _ := List(Dir, name); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	return n
}

func TestCreateIsExclusiveAndVisible(t *testing.T) {
	root(t)
	n := create(t, "jntest-a")
	if _, err := Create(Dir, "jntest-a"); !errors.Is(err, os.ErrExist) {
		t.Errorf("second Create: %v, want ErrExist", err)
	}
	got, err := List(Dir, "jntest-")
	if err != nil || len(got) != 1 || got[0] != "jntest-a" {
		t.Errorf("List = %v, %v", got, err)
	}
	in, err := n.Inode()
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &st); err != nil {
		t.Fatal(err)
	}
	if st.Ino == in {
		t.Error("the new namespace is the caller's")
	}
	if err := Delete(Dir, "jntest-a"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Dir, "jntest-a"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Open after Delete: %v", err)
	}
}

func TestOpenRefusesPlainFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/x", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := Open(dir, "x"); err == nil {
		n.Close()
		t.Error("Open of a plain file succeeded")
	}
	for _, name := range []string{"", ".", "..", "a/b"} {
		if _, err := Open(dir, name); err == nil {
			t.Errorf("Open(%q) succeeded", name)
		}
	}
}

func TestDoIsInsideAndComesBack(t *testing.T) {
	root(t)
	n := create(t, "jntest-b")
	h, err := n.Netlink()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	v := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "jnv0"}, PeerName: "jnv1"}
	if err := h.LinkAdd(v); err != nil {
		t.Fatal(err)
	}
	var inside error
	if err := n.Do(func() error { _, inside = net.InterfaceByName("jnv0"); return nil }); err != nil {
		t.Fatal(err)
	}
	if inside != nil {
		t.Errorf("inside: %v", inside)
	}
	if _, err := net.InterfaceByName("jnv0"); err == nil {
		t.Error("jnv0 is visible outside")
	}
	if err := n.Sysctl("ipv4/ip_forward", "1"); err != nil {
		t.Fatal(err)
	}
	var val []byte
	if err := n.Do(func() (err error) { val, err = os.ReadFile("/proc/sys/net/ipv4/ip_forward"); return err }); err != nil {
		t.Fatal(err)
	}
	if string(val) != "1\n" {
		t.Errorf("ip_forward inside = %q", val)
	}
	if err := n.Sysctl("../kernel/hostname", "x"); err == nil {
		t.Error("Sysctl left /proc/sys/net")
	}

	on, err := offload(n, "jnv0")
	if err != nil || !on {
		t.Fatalf("checksum offload of a new veth = %v, %v; the test expects it on", on, err)
	}
	if err := n.Do(func() error { return sys.OffloadsOff("jnv0") }); err != nil {
		t.Fatal(err)
	}
	if on, err = offload(n, "jnv0"); err != nil || on {
		t.Errorf("checksum offload after OffloadsOff = %v, %v", on, err)
	}
}

func offload(n *Namespace, ifname string) (on bool, err error) {
	err = n.Do(func() (err error) { on, err = sys.TxChecksumOffload(ifname); return err })
	return on, err
}

func TestInhabitantsAndKill(t *testing.T) {
	root(t)
	n := create(t, "jntest-c")
	cmd := exec.Command("sleep", "1000")
	if err := n.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	in, err := n.Inode()
	if err != nil {
		t.Fatal(err)
	}
	// The child is inside before it runs sleep: Start returns after exec.
	pids := Inhabitants(map[uint64]bool{in: true})
	if len(pids) != 1 || pids[0] != cmd.Process.Pid {
		t.Errorf("Inhabitants = %v, want %d", pids, cmd.Process.Pid)
	}
	if err := Kill(cmd.Process.Pid, func() bool { return false }, time.Minute); err != nil {
		t.Error(err)
	}
	if err := cmd.Process.Signal(unix.Signal(0)); err != nil {
		t.Errorf("Kill hit a process that check refused: %v", err)
	}
	if err := Kill(cmd.Process.Pid, func() bool { return true }, time.Minute); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("sleep ended without a signal")
	}
	if err := Kill(cmd.Process.Pid, func() bool { return true }, time.Minute); err != nil {
		t.Errorf("Kill of a dead process: %v", err)
	}
}
