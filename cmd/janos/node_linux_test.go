package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"github.com/janos-os/janos/control"
	"github.com/janos-os/janos/ee/ants"
	"github.com/janos-os/janos/ee/ants/routing"
	"github.com/janos-os/janos/internal/netns"
	"github.com/janos-os/janos/internal/netns/netnstest"
)

// pair is two network namespaces that share a link: eth0 with 10.9.0.1 in one, with 10.9.0.2 in the other.
type pair struct {
	t    *testing.T
	dir  string
	a, b *netns.Namespace
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{t: t, dir: t.TempDir(), a: netnstest.New(t, "jn-node-a"), b: netnstest.New(t, "jn-node-b")}
	p.wire()
	return p
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wire makes the link.
func (p *pair) wire() {
	p.t.Helper()
	a, b := netnstest.Netlink(p.t, p.a), netnstest.Netlink(p.t, p.b)
	must(p.t, a.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(p.b.Fd())}))
	netnstest.Up(p.t, a, "eth0", "10.9.0.1/24")
	netnstest.Up(p.t, b, "eth0", "10.9.0.2/24")
}

// routes returns the routes of a namespace that nodes have entered.
func (p *pair) routes(ns *netns.Namespace) []string {
	p.t.Helper()
	h, err := ns.Netlink()
	must(p.t, err)
	defer h.Close()
	rs, err := h.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Protocol: 167}, netlink.RT_FILTER_PROTOCOL)
	must(p.t, err)
	var out []string
	for _, r := range rs {
		out = append(out, r.Dst.String())
	}
	return out
}

// nodeProcess is a running janos node run.
type nodeProcess struct {
	*control.Client
	t   *testing.T
	cmd *exec.Cmd
	log *bytes.Buffer
}

const fileOfNode = `node: %s
address: %s
control: %s.sock
links: [{name: eth0}]
routing: {hello: 300ms, dead: 30, kernel-routes: true, prefixes: [%s]}
`

func (p *pair) file(name, addr, prefix string) {
	write(p.t, p.dir, name+".yaml", fmt.Sprintf(fileOfNode, name, addr, name, prefix))
}

// run starts janos node run in a namespace and waits until its control socket answers.
func (p *pair) run(ns *netns.Namespace, name string) *nodeProcess {
	p.t.Helper()
	n := p.start(ns, name)
	n.await("the node answers", func() bool {
		_, err := n.Status(context.Background())
		return err == nil
	})
	return n
}

func (p *pair) start(ns *netns.Namespace, name string, flags ...string) *nodeProcess {
	p.t.Helper()
	n := &nodeProcess{Client: control.Dial(filepath.Join(p.dir, name+".sock")), t: p.t, log: new(bytes.Buffer)}
	n.cmd = exec.Command("/proc/self/exe", append([]string{"node", "run", name + ".yaml"}, flags...)...)
	n.cmd.Dir, n.cmd.Env = p.dir, append(os.Environ(), envMain+"=1")
	n.cmd.Stdout, n.cmd.Stderr = n.log, n.log
	must(p.t, ns.Do(n.cmd.Start))
	p.t.Cleanup(func() {
		if n.cmd.ProcessState == nil {
			_ = n.cmd.Process.Kill()
			_ = n.cmd.Wait()
		}
		if p.t.Failed() {
			p.t.Logf("log of %s:\n%s", name, n.log)
		}
	})
	return n
}

// end sends a signal and waits; it returns the exit code, -1 for a death by signal.
func (n *nodeProcess) end(s syscall.Signal) int {
	n.t.Helper()
	must(n.t, n.cmd.Process.Signal(s))
	_ = n.cmd.Wait() // the code says it
	return n.cmd.ProcessState.ExitCode()
}

// await asks again and again until ok or until patience is over; nothing is measured.
func (n *nodeProcess) await(what string, ok func() bool) {
	n.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; {
		if ok() {
			return
		}
		if time.Now().After(end) {
			s, _ := n.ANTS(context.Background())
			text, _ := json.Marshal(s)
			n.t.Fatalf("not within 20 s: %s\n%s", what, text)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-n.t.Context().Done():
			n.t.FailNow()
		}
	}
}

func (n *nodeProcess) awaitNeighbour(addr string) {
	n.t.Helper()
	want, err := routing.ParseNodeAddr(addr)
	must(n.t, err)
	n.await("neighbour "+addr, func() bool {
		r, err := n.Routes(context.Background())
		return err == nil && len(r.Neighbours) == 1 && r.Neighbours[0].Node == want && r.Neighbours[0].Adjacent
	})
}

func (n *nodeProcess) ants() control.ANTS {
	n.t.Helper()
	s, err := n.ANTS(context.Background())
	must(n.t, err)
	return s
}

// awaitDrops waits until the node has dropped exactly these.
func (n *nodeProcess) awaitDrops(what string, want map[string]uint64) {
	n.t.Helper()
	n.await(what, func() bool { return fmt.Sprint(n.ants().Drops) == fmt.Sprint(want) })
}

// failedLoad returns the last event of a load that failed.
func (n *nodeProcess) failedLoad() (ev ants.Event) {
	n.t.Helper()
	must(n.t, n.Events(context.Background(), 0, false, func(line []byte) error {
		var e ants.Event
		if err := json.Unmarshal(line, &e); err == nil && e.Kind == ants.LoadFailed {
			ev = e
		}
		return nil
	}))
	return ev
}

// attacker speaks to a node as its dead neighbour would.
type attacker struct {
	t    *testing.T
	conn *net.UDPConn
	self ants.NodeAddr
	to   ants.NodeAddr
}

func (a *attacker) write(b []byte) {
	a.t.Helper()
	_, err := a.conn.WriteToUDP(b, &net.UDPAddr{IP: net.IPv4(10, 9, 0, 1), Port: ants.UDPPort})
	must(a.t, err)
}

func (a *attacker) capsule(m ants.MethodID, data []byte) *ants.Capsule {
	return &ants.Capsule{Method: m, Src: a.self, Dst: a.to, Prev: a.self, TTL: 5, Data: data}
}

// request waits for a load request and returns what it asks for, by the tables of docs/wire-ants.md.
func (a *attacker) request() (method ants.MethodID, code ants.CodeID, token, first, bits uint32) {
	a.t.Helper()
	must(a.t, a.conn.SetReadDeadline(time.Now().Add(20*time.Second)))
	b := make([]byte, 2048)
	for {
		n, _, err := a.conn.ReadFromUDP(b)
		must(a.t, err)
		var c ants.Capsule
		if c.Decode(b[:n]) != nil || c.Method != ants.MethodDLRequest || len(c.Data) != 44 {
			continue
		}
		copy(method[:], c.Data)
		copy(code[:], c.Data[16:])
		return method, code, binary.BigEndian.Uint32(c.Data[32:]), binary.BigEndian.Uint32(c.Data[36:]), binary.BigEndian.Uint32(c.Data[40:])
	}
}

// respond sends a response; kind is 0 for a directory, 1 for a chunk.
func (a *attacker) respond(m ants.MethodID, token uint32, kind byte, body []byte) {
	a.t.Helper()
	d := binary.BigEndian.AppendUint32(append([]byte(nil), m[:]...), token)
	d = append(append(d, kind, 0, 0, 0), body...)
	c := ants.Capsule{Method: ants.MethodDLResponse, Src: a.self, Dst: a.to, Prev: a.self, Data: d}
	a.write(c.Append(nil))
}

// serve answers the requests for a protocol of one small class: the directory of its own code, and the bytes given.
func (a *attacker) serve(p *ants.Protocol, bytes []byte) {
	a.t.Helper()
	code := p.Groups[0].Classes[0].Code
	id, group := ants.CodeIDOf(code), p.Groups[0].ID()
	dir := append([]byte{1, 1, byte(len(p.Name)), 0}, group[:]...)
	dir = binary.BigEndian.AppendUint32(append(dir, id[:]...), uint32(len(code)))
	dir = append(dir, p.Name...)
	method, err := p.Method("ping")
	must(a.t, err)
	for {
		m, want, token, first, bits := a.request()
		if m != method {
			continue // of an earlier load, whose requests nobody has read
		}
		if want == (ants.CodeID{}) {
			a.respond(m, token, 0, dir)
			continue
		}
		if want != id || first != 0 || bits != 1 {
			a.t.Fatalf("asked for chunks %#x from %d of %s", bits, first, want)
		}
		a.respond(m, token, 1, append(binary.BigEndian.AppendUint32(append([]byte(nil), id[:]...), 0), bytes...))
		return
	}
}

// TestNodeAgainstItsNeighbour sends a real node everything that a hostile or broken neighbour can, and finds each in its counters.
func TestNodeAgainstItsNeighbour(t *testing.T) {
	p := newPair(t)
	p.file("a", "10.255.0.1", "192.0.2.0/24")
	p.file("b", "10.255.0.2", "198.51.100.0/24")
	a, b := p.run(p.a, "a"), p.run(p.b, "b")
	a.awaitNeighbour("10.255.0.2")
	b.end(syscall.SIGKILL) // which a notices only after 9 seconds

	ping, err := os.ReadFile("../../examples/capsules/ping/ping.wasm")
	must(t, err)
	protocol := func(code []byte) (*ants.Protocol, ants.MethodID) {
		pr := &ants.Protocol{Name: "p", Groups: []ants.Group{{Name: "g", Classes: []ants.Class{{Name: "ping", Code: code}}}}}
		m, err := pr.Method("ping")
		must(t, err)
		return pr, m
	}
	_, m := protocol(ping)
	var conn *net.UDPConn
	must(t, p.b.Do(func() (err error) {
		conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(10, 9, 0, 2), Port: ants.UDPPort})
		return err
	}))
	defer conn.Close()
	x := &attacker{t: t, conn: conn, self: 0x0aff0002, to: 0x0aff0001}
	good := x.capsule(m, make([]byte, 8)).Append(nil)
	drops := make(map[string]uint64)

	for cut := 8; cut < len(good)-8; cut += 3 { // in the ANEP header, its options, the capsule header; the ANEP length says more
		x.write(good[:cut])
		drops["malformed"]++
	}
	x.write(append(append([]byte(nil), good...), 1, 2, 3)) // longer than it says
	x.write(append(append([]byte(nil), good...), make([]byte, 1200)...))
	drops["malformed"] += 2
	a.awaitDrops("truncated and over-long capsules", drops)

	bad := append([]byte(nil), good...)
	bad[len(good)-8-36+3] = 3 // capsule version
	x.write(bad)
	drops["version"]++
	bad = append([]byte(nil), good...)
	bad[0] = 2 // ANEP version: not even claimed, so the host's stack gets it, and the node none
	x.write(bad)
	bad = append([]byte(nil), good...)
	bad[3] = 99 // type id: likewise
	x.write(bad)
	a.awaitDrops("wrong versions", drops)

	_, silent := protocol(append(append([]byte(nil), ping...), 0, 3, 1, 'x', 0)) // ping with a custom section: other code
	for range 3 {
		x.write(x.capsule(silent, make([]byte, 8)).Append(nil))
	}
	x.request() // and no answer
	drops["load_failed"] = 3
	a.awaitDrops("the previous hop does not answer", drops)
	if ev := a.failedLoad(); !strings.Contains(ev.Reason, "did not answer") || ev.Dropped != 3 || ev.Peer != x.self {
		t.Errorf("event %+v", ev)
	}
	x.write(x.capsule(silent, make([]byte, 8)).Append(nil))
	drops["refused"]++
	a.awaitDrops("for a while it is refused at once", drops)

	stranger := x.capsule(ants.MethodID{1, 2, 3}, make([]byte, 8))
	stranger.Prev = 0x0aff0063 // no neighbour: nobody to ask
	x.write(stranger.Append(nil))
	drops["no_load"]++
	a.awaitDrops("the previous hop is no neighbour", drops)

	liar, method := protocol(ping)
	flipped := append([]byte(nil), ping...)
	flipped[len(ping)/2] ^= 1
	x.write(x.capsule(method, make([]byte, 8)).Append(nil))
	x.serve(liar, flipped)
	drops["load_failed"]++
	a.awaitDrops("a chunk that does not hash", drops)
	if ev := a.failedLoad(); !strings.Contains(ev.Reason, "fingerprint") || ev.Dropped != 1 {
		t.Errorf("event %+v", ev)
	}

	// Right fingerprints, and a start function, which the gate refuses at its byte.
	start := []byte{0, 'a', 's', 'm', 1, 0, 0, 0, 1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 8, 1, 0, 10, 4, 1, 2, 0, 0x0b}
	hostile, method := protocol(start)
	x.write(x.capsule(method, make([]byte, 8)).Append(nil))
	x.serve(hostile, start)
	drops["load_failed"]++
	a.awaitDrops("a module that the gate refuses", drops)
	if ev := a.failedLoad(); !strings.Contains(ev.Reason, "module offset 0x14: ") || !strings.Contains(ev.Reason, "link with --no-entry") {
		t.Errorf("event %+v", ev)
	}

	// After all this the node works: code that is what it says is loaded and runs.
	other := append(append([]byte(nil), ping...), 0, 3, 1, 'y', 0)
	honest, method := protocol(other)
	x.write(x.capsule(method, make([]byte, 8)).Append(nil))
	x.serve(honest, other)
	a.await("an honest protocol runs", func() bool { return a.ants().Counts.Evaluated == 1 })
	s := a.ants()
	if s.Counts.LoadsFailed != 3 || s.Counts.LoadsDone != 1 || len(s.Protocols) != 1 {
		t.Errorf("counts %+v, protocols %+v", s.Counts, s.Protocols)
	}
	st, err := a.Status(context.Background())
	must(t, err)
	if st.Frames["held"] != 0 {
		t.Errorf("frames %v", st.Frames)
	}

	// By hand, a refused module is an error that says why, and the node stays as it is.
	dir := filepath.Join(p.dir, "bad")
	must(t, os.Mkdir(dir, 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "start.wasm"), start, 0o644))
	write(t, dir, "protocol.yaml", "name: bad\ngroups:\n  - name: g\n    classes: [{name: start, code: start.wasm}]\n")
	_, msg := janos(t, p.dir, 32, "capsule", "send", "bad/protocol.yaml", "--control", "a.sock", "--to", "10.255.0.1")
	contains(t, msg, "module offset 0x14: ")
	contains(t, msg, "link with --no-entry")
	if n := len(a.ants().Protocols); n != 1 {
		t.Errorf("%d protocols", n)
	}
	if code := a.end(syscall.SIGINT); code != 0 {
		t.Errorf("exit code %d after an interrupt", code)
	}
}

// TestNodeComesAndGoes starts a node twice, kills it, starts it again, takes its interface away and gives it another one.
func TestNodeComesAndGoes(t *testing.T) {
	p := newPair(t)
	p.file("a", "10.255.0.1", "192.0.2.0/24")
	p.file("b", "10.255.0.2", "198.51.100.0/24")
	a, b := p.run(p.a, "a"), p.run(p.b, "b")
	a.awaitNeighbour("10.255.0.2")
	b.awaitNeighbour("10.255.0.1")
	theirs := "[10.255.0.1/32 192.0.2.0/24]"
	b.await("routes in the kernel", func() bool { return fmt.Sprint(p.routes(p.b)) == theirs })

	// The same file again, and another file with the same interface.
	again := p.start(p.b, "b")
	if code := again.end(0); code != 20 || !strings.Contains(again.log.String(), "another node runs on interface eth0") {
		t.Errorf("started twice: exit code %d\n%s", code, again.log)
	}
	p.file("c", "10.255.0.3", "203.0.113.0/24")
	again = p.start(p.b, "c")
	if code := again.end(0); code != 20 || !strings.Contains(again.log.String(), "another node runs on interface eth0") {
		t.Errorf("two nodes on one interface: exit code %d\n%s", code, again.log)
	}
	if _, err := os.Stat(filepath.Join(p.dir, "c.sock")); err == nil {
		t.Error("a node that did not start has left a control socket")
	}
	// Another interface's node with the control socket of this one.
	write(t, p.dir, "d.yaml", "node: d\naddress: 10.255.0.4\ncontrol: b.sock\nlinks: []\nrouting: {off: true}\n")
	again = p.start(p.a, "d")
	if code := again.end(0); code != 20 || !strings.Contains(again.log.String(), "another node answers there") {
		t.Errorf("a socket that is taken: exit code %d\n%s", code, again.log)
	}
	if s, err := b.Status(context.Background()); err != nil || s.PID != b.cmd.Process.Pid {
		t.Errorf("the node that was there: %v, %+v", err, s)
	}

	// Killed, it leaves routes and a socket, and nothing on the interface; the next run makes both its own.
	b.end(syscall.SIGKILL)
	if fmt.Sprint(p.routes(p.b)) != theirs {
		t.Error("kill -9 leaves no routes: this test tests nothing")
	}
	if n := p.programs(p.b); n != 0 {
		t.Errorf("%d programs are on the interface of a dead node", n)
	}
	b = p.run(p.b, "b")
	b.awaitNeighbour("10.255.0.1")
	b.await("routes in the kernel", func() bool { return fmt.Sprint(p.routes(p.b)) == theirs })
	if n := p.programs(p.b); n != 1 {
		t.Errorf("%d programs are on the interface, want one", n)
	}

	// The interface goes, and one of the same name comes.
	h, err := p.b.Netlink()
	must(t, err)
	l, err := h.LinkByName("eth0")
	must(t, err)
	must(t, h.LinkDel(l))
	h.Close()
	for _, n := range []*nodeProcess{a, b} {
		n.await("the node says that its link does not work", func() bool {
			s, err := n.Status(context.Background())
			return err == nil && strings.Contains(fmt.Sprint(s.Links[0].Notes), "down or gone")
		})
	}
	p.wire()
	for n, addr := range map[*nodeProcess]string{a: "10.255.0.2", b: "10.255.0.1"} {
		n.await("a link that works", func() bool {
			s, err := n.Status(context.Background())
			return err == nil && len(s.Links) == 1 && len(s.Links[0].Notes) == 0
		})
		n.awaitNeighbour(addr)
	}
	b.await("routes in the kernel", func() bool { return fmt.Sprint(p.routes(p.b)) == theirs })
	ping, err := filepath.Abs("../../examples/capsules/ping/protocol.yaml")
	must(t, err)
	out, _ := janos(t, p.dir, 0, "capsule", "send", ping, "--control", "b.sock", "--to", "10.255.0.1", "--size", "64", "--probe", "--count", "3", "--interval", "1ms")
	contains(t, out, "3 sent, 3 came back")

	for _, n := range []*nodeProcess{a, b} {
		if code := n.end(syscall.SIGTERM); code != 0 {
			t.Errorf("exit code %d after SIGTERM", code)
		}
	}
	for _, ns := range []*netns.Namespace{p.a, p.b} {
		if r := p.routes(ns); len(r) != 0 {
			t.Errorf("routes left: %v", r)
		}
		if n := p.programs(ns); n != 0 {
			t.Errorf("%d programs left", n)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(p.dir, "*.sock")); len(left) != 0 {
		t.Errorf("sockets left: %v", left)
	}
}

// programs returns how many BPF programs the interface of a namespace has at its XDP hook and at its ingress.
func (p *pair) programs(ns *netns.Namespace) (n int) {
	p.t.Helper()
	must(p.t, ns.Do(func() error {
		i, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		r, err := link.QueryPrograms(link.QueryOptions{Target: i.Index, Attach: ebpf.AttachTCXIngress})
		if errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, syscall.EINVAL) {
			p.t.Skip("this kernel has no tcx")
		}
		if err != nil {
			return err
		}
		n = len(r.Programs)
		l, err := netlink.LinkByIndex(i.Index)
		if err == nil && l.Attrs().Xdp != nil && l.Attrs().Xdp.Attached {
			n++
		}
		return err
	}))
	return n
}

// TestNodeWithLongFrames: an interface whose MTU is above what packets hold works, and the status says what does not.
func TestNodeWithLongFrames(t *testing.T) {
	p := newPair(t)
	for _, ns := range []*netns.Namespace{p.a, p.b} {
		h, err := ns.Netlink()
		must(t, err)
		l, err := h.LinkByName("eth0")
		must(t, err)
		must(t, h.LinkSetMTU(l, 9000))
		h.Close()
	}
	p.file("a", "10.255.0.1", "192.0.2.0/24")
	p.file("b", "10.255.0.2", "198.51.100.0/24")
	a, _ := p.run(p.a, "a"), p.run(p.b, "b")
	a.awaitNeighbour("10.255.0.2")
	s, err := a.Status(context.Background())
	must(t, err)
	if notes := fmt.Sprint(s.Links[0].Notes); !strings.Contains(notes, "MTU 9000 is more than the node's packet frames hold") {
		t.Errorf("notes %s", notes)
	}
	ping, err := filepath.Abs("../../examples/capsules/ping/protocol.yaml")
	must(t, err)
	out, _ := janos(t, p.dir, 0, "capsule", "send", ping, "--control", "a.sock", "--to", "10.255.0.2", "--size", "1400", "--probe", "--count", "3", "--interval", "1ms")
	contains(t, out, "3 sent, 3 came back")
	// Longer than a frame, claimed or not: dropped and counted, or the host's; the node goes on.
	must(t, p.b.Do(func() error {
		c, err := net.Dial("udp4", fmt.Sprintf("10.9.0.1:%d", ants.UDPPort))
		if err != nil {
			return err
		}
		defer c.Close()
		big := (&ants.Capsule{Method: ants.MethodID{1}, Src: 1, Dst: 2, Prev: 1, Data: make([]byte, 6000)}).Append(nil)
		_, err = c.Write(big)
		return err
	}))
	a.await("the long frame is counted", func() bool {
		s, err := a.Status(context.Background())
		return err == nil && s.Links[0].Stats.RxDrops > 0
	})
	out, _ = janos(t, p.dir, 0, "capsule", "send", ping, "--control", "a.sock", "--to", "10.255.0.2", "--size", "64", "--probe", "--count", "3", "--interval", "1ms")
	contains(t, out, "3 sent, 3 came back")
}

// TestNodeWithoutPrivileges runs two nodes over UDP sockets as a user that may nothing.
func TestNodeWithoutPrivileges(t *testing.T) {
	dir := t.TempDir()
	user := &syscall.SysProcAttr{}
	if os.Geteuid() == 0 {
		must(t, os.Chmod(filepath.Dir(dir), 0o755)) // the test's own directory, private by default
		must(t, os.Chown(dir, 65534, 65534))
		user.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	self := filepath.Join(dir, "janos")
	exe, err := os.ReadFile("/proc/self/exe")
	must(t, err)
	must(t, os.WriteFile(self, exe, 0o755))
	var ports []string
	for range 2 {
		c, err := net.ListenPacket("udp4", "127.0.0.1:0")
		must(t, err)
		ports = append(ports, c.LocalAddr().String())
		must(t, c.Close())
	}
	start := func(name, text string) *nodeProcess {
		write(t, dir, name+".yaml", text)
		n := &nodeProcess{Client: control.Dial(filepath.Join(dir, name+".sock")), t: t, log: new(bytes.Buffer)}
		n.cmd = exec.Command(self, "node", "run", name+".yaml")
		n.cmd.Dir, n.cmd.Env, n.cmd.SysProcAttr = dir, append(os.Environ(), envMain+"=1"), user
		n.cmd.Stdout, n.cmd.Stderr = n.log, n.log
		must(t, n.cmd.Start())
		t.Cleanup(func() {
			if n.cmd.ProcessState == nil {
				_ = n.cmd.Process.Kill()
				_ = n.cmd.Wait()
			}
		})
		return n
	}
	n := start("real", "node: real\naddress: 10.255.0.9\nlinks: [{name: lo}]\n")
	if code := n.end(0); code == 0 || !strings.Contains(n.log.String(), "janos doctor") {
		t.Errorf("an interface without privileges: exit code %d\n%s", code, n.log)
	}
	overlay := "node: %s\naddress: %s\ncontrol: %s.sock\nlinks: [{name: over, driver: udp, device: '%s', peers: ['%s']}]\n"
	a := start("a", fmt.Sprintf(overlay, "a", "10.255.0.1", "a", ports[0], ports[1]))
	start("b", fmt.Sprintf(overlay, "b", "10.255.0.2", "b", ports[1], ports[0]))
	a.awaitNeighbour("10.255.0.2")
	ping, err := filepath.Abs("../../examples/capsules/ping/protocol.yaml")
	must(t, err)
	if os.Geteuid() == 0 { // the node reads the description itself
		must(t, os.CopyFS(filepath.Join(dir, "ping"), os.DirFS(filepath.Dir(ping))))
		ping = filepath.Join(dir, "ping", "protocol.yaml")
	}
	out, _ := janos(t, dir, 0, "capsule", "send", ping, "--control", "a.sock", "--to", "10.255.0.2", "--size", "64", "--probe", "--count", "3", "--interval", "1ms")
	contains(t, out, "3 sent, 3 came back")
}

// TestLabInterruptedWhileItIsBuilt interrupts when the first line is out, and expects everything undone, and said so.
func TestLabInterruptedWhileItIsBuilt(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	dir := t.TempDir()
	write(t, dir, "lab.yaml", "name: jnearly\nnodes: [{name: a, kind: host}, {name: b, kind: router}]\nlinks: [{ends: [a, b], delay: 1ms}]\n")
	cmd := exec.Command("/proc/self/exe", "lab", "up", "--state="+dir, "lab.yaml")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), envMain+"=1")
	out, err := cmd.StdoutPipe()
	must(t, err)
	var msg bytes.Buffer
	cmd.Stderr = &msg
	must(t, cmd.Start())
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatalf("no output: %v, %s", err, &msg)
	}
	must(t, cmd.Process.Signal(syscall.SIGINT))
	_, _ = io.Copy(io.Discard, out) // so that it is not held up by its output
	_ = cmd.Wait()                  // the code says it
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted || !strings.Contains(msg.String(), "janos: interrupted") {
		t.Errorf("exit code %d\n%s", code, &msg)
	}
	if left, _ := filepath.Glob("/run/netns/jn-jnearly*"); len(left) != 0 {
		t.Errorf("namespaces left: %v", left)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "janos-lab-*")); len(left) != 0 {
		t.Errorf("state left: %v", left)
	}
}
