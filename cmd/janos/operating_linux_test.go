package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/janos-os/janos/internal/netns"
	"github.com/janos-os/janos/internal/netns/netnstest"
	"github.com/janos-os/janos/node"
)

// examples returns the node files of docs/operating.md, by their names.
func examples(t *testing.T) map[string]string {
	t.Helper()
	page, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, m := range regexp.MustCompile("(?s)```yaml\n# example: (\\w+)\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		out[m[1]] = m[2]
	}
	return out
}

// TestOperatingPage runs the node file of the page, on interfaces, with all that it says in force.
func TestOperatingPage(t *testing.T) {
	text, ok := examples(t)["domains"]
	if !ok {
		t.Fatal("the page has no example called domains")
	}
	p := newPair(t)
	p.second(1)
	write(t, p.dir, "r1.yaml", text)
	out, _ := janos(t, p.dir, 0, "node", "validate", "r1.yaml")
	contains(t, out, "r1.yaml: ok")
	a := p.run(p.a, "r1")
	out, _ = janos(t, p.dir, 0, "show", "domains", "--control", "r1.sock")
	for _, w := range []string{"node/guests/video ", "300 ", "200ms", "0/2000", "rights: new-task", "files: 0 open", "node/transit", "node/graph", "node/ants"} {
		contains(t, out, w)
	}
	out, _ = janos(t, p.dir, 0, "show", "pools", "--control", "r1.sock")
	contains(t, out, "0/67108864")
	out, _ = janos(t, p.dir, 0, "show", "graph", "--control", "r1.sock")
	contains(t, out, "QUOTA 512")
	out, _ = janos(t, p.dir, 0, "show", "links", "--control", "r1.sock")
	contains(t, out, "eth1")

	// It does what it says: the domain's channel and the cut-through channel take what is theirs.
	sink := p.listen(p.b, "10.8.0.2:5006")
	c := p.dial(p.b, "10.9.0.1:5004")
	x := p.dial(p.b, "10.9.0.1:5006")
	p.hwaddr(p.b, "eth1", "02:00:00:00:00:02")
	a.await("a datagram went through", func() bool {
		_, _ = c.Write([]byte("video"))
		_, _ = x.Write([]byte("transit"))
		b := make([]byte, 100)
		_ = sink.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		n, err := sink.Read(b)
		return err == nil && string(b[:n]) == "transit"
	})
	a.await("the domain has run", func() bool {
		ds, err := a.Domains(t.Context())
		if err != nil {
			return false
		}
		for _, d := range ds {
			if d.Path == "node/guests/video" {
				return d.Runs.Packets > 0
			}
		}
		return false
	})
	if code := a.end(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestSchemaIsPrinted: the file that has every key is valid, and so is what is printed of it.
func TestSchemaIsPrinted(t *testing.T) {
	dir := t.TempDir()
	out, _ := janos(t, dir, 0, "node", "schema")
	write(t, dir, "s.yaml", out)
	if out != node.Schema {
		t.Error("what is printed is another schema")
	}
	out, _ = janos(t, dir, 0, "node", "print", "s.yaml")
	write(t, dir, "p.yaml", out)
	again, _ := janos(t, dir, 0, "node", "print", "p.yaml")
	if out != again {
		t.Errorf("printed again it differs:\n%s\n%s", out, again)
	}
	out, _ = janos(t, dir, 0, "node", "validate", "s.yaml", "p.yaml")
	contains(t, out, "p.yaml: ok")
	// Protocols of the file are read too, and all errors are told with their places.
	write(t, dir, "bad.yaml", "node: r1\naddress: 10.255.0.1\nants:\n  protocols:\n    - no.yaml\n    - neither.yaml\ngraph: Idle -> Nope(1);\n")
	_, msg := janos(t, dir, 19, "node", "validate", "bad.yaml")
	for _, w := range []string{"bad.yaml:5:7: protocol no.yaml", "bad.yaml:6:7: protocol neither.yaml", "bad.yaml:7:16: unknown element class 'Nope'"} {
		contains(t, msg, w)
	}
}

// TestDoctorWithoutPrivileges: what takes rights is a no that names them, and nothing is inconclusive for that.
func TestDoctorWithoutPrivileges(t *testing.T) {
	out := asNobody(t, "doctor")
	for _, name := range []string{"XDP native", "packet sockets", "network namespaces", "devmap redirect"} {
		i := strings.Index(out, name+" ")
		if i < 0 {
			t.Fatalf("no row %s in\n%s", name, out)
		}
		line, _, _ := strings.Cut(out[i:], "\n")
		if f := strings.Fields(strings.TrimPrefix(line, name)); f[0] != "no" || !strings.Contains(line, "not permitted") || !strings.Contains(line, "CAP_NET_ADMIN") && !strings.Contains(line, "root") {
			t.Errorf("%s", line)
		}
	}
}

// asNobody runs janos as a user without rights and returns what it prints.
func asNobody(t *testing.T, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	self := filepath.Join(dir, "janos")
	exe, err := os.ReadFile("/proc/self/exe")
	must(t, err)
	must(t, os.WriteFile(self, exe, 0o755))
	cmd := exec.Command(self, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), envMain+"=1")
	if os.Geteuid() == 0 {
		must(t, os.Chmod(filepath.Dir(dir), 0o755)) // the test's own directory, private by default
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// second makes another link between the namespaces, with as many queues: eth1 with 10.8.0.1 in one, with 10.8.0.2 in the other.
func (p *pair) second(queues int) {
	p.t.Helper()
	h, err := p.a.Netlink()
	must(p.t, err)
	defer h.Close()
	must(p.t, h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth1", NumTxQueues: queues, NumRxQueues: queues}, PeerName: "eth1", PeerNamespace: netlink.NsFd(p.b.Fd())}))
	for ns, addr := range map[*netns.Namespace]string{p.a: "10.8.0.1/24", p.b: "10.8.0.2/24"} {
		h, err := ns.Netlink()
		must(p.t, err)
		netnstest.Up(p.t, h, "eth1", addr)
		h.Close()
	}
}

func (p *pair) hwaddr(ns *netns.Namespace, dev, addr string) {
	p.t.Helper()
	h, err := ns.Netlink()
	must(p.t, err)
	defer h.Close()
	l, err := h.LinkByName(dev)
	must(p.t, err)
	mac, err := net.ParseMAC(addr)
	must(p.t, err)
	must(p.t, h.LinkSetHardwareAddr(l, mac))
}

func (p *pair) listen(ns *netns.Namespace, addr string) *net.UDPConn {
	p.t.Helper()
	a, err := net.ResolveUDPAddr("udp4", addr)
	must(p.t, err)
	var c *net.UDPConn
	must(p.t, ns.Do(func() (err error) {
		c, err = net.ListenUDP("udp4", a)
		return err
	}))
	p.t.Cleanup(func() { c.Close() })
	return c
}

func (p *pair) dial(ns *netns.Namespace, addr string) *net.UDPConn {
	p.t.Helper()
	a, err := net.ResolveUDPAddr("udp4", addr)
	must(p.t, err)
	var c *net.UDPConn
	must(p.t, ns.Do(func() (err error) {
		c, err = net.DialUDP("udp4", nil, a)
		return err
	}))
	p.t.Cleanup(func() { c.Close() })
	return c
}
