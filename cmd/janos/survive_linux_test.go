package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"github.com/janos-os/janos/control"
	"github.com/janos-os/janos/ee/ants"
	"github.com/janos-os/janos/internal/netns"
	"github.com/janos-os/janos/internal/netns/netnstest"
	"github.com/janos-os/janos/internal/sys"
)

// session is a TCP connection from b to a's host on the node's interface, that carries numbers both ways without a pause.
type session struct {
	t      *testing.T
	ends   [2]net.Conn
	got    [2]atomic.Uint64 // numbers received in order
	sent   [2]atomic.Uint64
	ending atomic.Bool
	done   sync.WaitGroup
	err    [2]error
}

func (p *pair) session() *session {
	p.t.Helper()
	s := &session{t: p.t}
	var ln net.Listener
	must(p.t, p.a.Do(func() (err error) {
		ln, err = net.Listen("tcp4", "10.9.0.1:0")
		return err
	}))
	defer ln.Close()
	must(p.t, p.b.Do(func() (err error) {
		s.ends[0], err = net.DialTCP("tcp4", nil, ln.Addr().(*net.TCPAddr))
		return err
	}))
	var err error
	s.ends[1], err = ln.Accept()
	must(p.t, err)
	for i, c := range s.ends {
		p.t.Cleanup(func() { c.Close() })
		s.done.Add(2)
		go s.write(i, c.(*net.TCPConn))
		go s.read(i, c)
	}
	s.progress("at first")
	return s
}

// write sends numbers in blocks of 800 bytes, at most 2,000 blocks a second, so that the test does not take the whole machine.
func (s *session) write(i int, c *net.TCPConn) {
	defer s.done.Done()
	block := make([]byte, 0, 800)
	pace := time.NewTicker(500 * time.Microsecond)
	defer pace.Stop()
	for !s.ending.Load() {
		<-pace.C
		block = block[:0]
		for n := s.sent[i].Load(); len(block) < cap(block); n++ {
			block = binary.BigEndian.AppendUint64(block, n)
		}
		if _, err := c.Write(block); err != nil {
			s.err[i] = err
			return
		}
		s.sent[i].Add(100)
	}
	_ = c.CloseWrite() // the reader sees what is missing
}

func (s *session) read(i int, c io.Reader) {
	defer s.done.Done()
	r := bufio.NewReader(c)
	var b [8]byte
	for {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			if err != io.EOF {
				s.t.Errorf("end %d after %d numbers: %v", i, s.got[i].Load(), err)
			}
			return
		}
		if n := binary.BigEndian.Uint64(b[:]); n != s.got[i].Load() {
			s.t.Errorf("end %d received %d, want %d", i, n, s.got[i].Load())
			return
		}
		s.got[i].Add(1)
	}
}

// progress waits until numbers that are sent from now on have arrived at both ends.
func (s *session) progress(when string) {
	s.t.Helper()
	from := [2]uint64{s.sent[1].Load(), s.sent[0].Load()}
	for end := time.Now().Add(20 * time.Second); s.got[0].Load() <= from[0]+200 || s.got[1].Load() <= from[1]+200; {
		if time.Now().After(end) || s.t.Failed() {
			s.t.Fatalf("%s: the session stands still", when)
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-s.t.Context().Done():
		}
	}
}

// end ends the session in order and compares.
func (s *session) end() {
	s.t.Helper()
	s.ending.Store(true)
	for _, c := range s.ends {
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	}
	s.done.Wait()
	for i := range s.ends {
		if s.err[i] != nil || s.got[i].Load() != s.sent[1-i].Load() {
			s.t.Errorf("end %d: %d numbers of %d arrived, %v", i, s.got[i].Load(), s.sent[1-i].Load(), s.err[i])
		}
	}
	s.t.Logf("%d and %d numbers", s.got[0].Load(), s.got[1].Load())
}

// linkForms are the forms of links on interfaces, in the degradation order.
var linkForms = []struct{ name, yaml, mode string }{
	{"native", "driver: xdp, options: {mode: native}", "native"},
	{"generic", "driver: xdp, options: {mode: generic}", "generic"},
	{"packet", "driver: packet", ""},
}

// TestSessionSurvivesTheNode has a TCP session to the router's host on the interface of the node, whatever happens to the node.
func TestSessionSurvivesTheNode(t *testing.T) {
	p := newPair(t)
	const file = "node: a\naddress: 10.255.0.1\ncontrol: a.sock\nlinks: [{name: eth0, %s}]\n%s"
	var host *net.UDPConn
	must(t, p.a.Do(func() (err error) {
		host, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(10, 9, 0, 1), Port: ants.UDPPort})
		return err
	}))
	defer host.Close()
	var there *net.UDPConn
	must(t, p.b.Do(func() (err error) {
		there, err = net.DialUDP("udp4", nil, host.LocalAddr().(*net.UDPAddr))
		return err
	}))
	defer there.Close()
	capsule := (&ants.Capsule{Method: ants.MethodID{9}, Src: 1, Dst: 2, Prev: 1}).Append(nil)
	s := p.session()
	for _, f := range linkForms {
		put := func(more string) { write(t, p.dir, "a.yaml", fmt.Sprintf(file, f.yaml, more)) }
		put("")
		a := p.run(p.a, "a")
		s.progress(f.name + ": start")
		ls, err := a.Links(context.Background())
		must(t, err)
		if len(ls) != 1 || ls[0].State != "up" || ls[0].Mode != f.mode || len(ls[0].Tried) != 0 {
			t.Errorf("%s: links %+v", f.name, ls)
		}
		before, err := a.Status(context.Background())
		must(t, err)
		id := p.xdpProgram(p.a)

		// A capsule is the node's, so the host's socket does not see it. The node's counter tells that it has come.
		_, err = there.Write(capsule)
		must(t, err)
		a.await("the capsule", func() bool { return a.ants().Counts.Received == 1 })

		// Reload: other routing, another graph, more domains; the link stays, with its program.
		put("routing: {prefixes: [192.0.2.0/24]}\ndomains: [{name: d, graph: 'FromChannel(eth0/ether/ip/udp, :7) -> Discard;'}]\ngraph: |\n  FromChannel(eth0/ether/ip/udp, :9) -> Discard;\n")
		out, _ := janos(t, p.dir, 0, "node", "reload", "--control", "a.sock")
		contains(t, out, "reloaded")
		s.progress(f.name + ": reload")
		after, err := a.Status(context.Background())
		must(t, err)
		if after.Links[0].Number != before.Links[0].Number || f.mode != "" && (id == 0 || p.xdpProgram(p.a) != id) {
			t.Errorf("%s: the reload has opened the link again", f.name)
		}
		// And by a signal; and one that is refused.
		put("")
		must(t, a.cmd.Process.Signal(syscall.SIGHUP))
		a.await("the reload by SIGHUP", func() bool {
			c, err := a.Config(context.Background())
			return err == nil && !strings.Contains(c, "192.0.2.0")
		})
		put("graph: Idle -> Nope(1);\n")
		_, msg := janos(t, p.dir, 19, "node", "reload", "--control", "a.sock")
		contains(t, msg, "a.yaml:5:16: unknown element class 'Nope'")
		put("") // another link
		write(t, p.dir, "a.yaml", strings.Replace(fmt.Sprintf(file, f.yaml, ""), "{name: eth0", "{name: other, device: eth0, ring: 128", 1))
		janos(t, p.dir, 0, "node", "reload", "--control", "a.sock")
		s.progress(f.name + ": another link")
		put("")

		// The end, and the start after it.
		if code := a.end(syscall.SIGTERM); code != 0 {
			t.Errorf("exit code %d", code)
		}
		s.progress(f.name + ": end")
		a = p.run(p.a, "a")
		s.progress(f.name + ": start again")
		must(t, host.SetReadDeadline(time.Now().Add(-time.Second)))
		if n, err := host.Read(make([]byte, 2000)); err == nil {
			t.Errorf("%s: the host's socket got %d bytes that were the node's", f.name, n)
		}

		// kill -9, and the claimed packets are the host's again; started again at once.
		a.end(syscall.SIGKILL)
		a = p.run(p.a, "a")
		s.progress(f.name + ": started right after kill -9")
		a.end(syscall.SIGKILL)
		s.progress(f.name + ": kill -9")
		got := make([]byte, 2000)
		for end := time.Now().Add(20 * time.Second); ; { // until the kernel has taken the program off
			_, err := there.Write(capsule)
			must(t, err)
			must(t, host.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
			if n, err := host.Read(got); err == nil && string(got[:n]) == string(capsule) {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%s: after kill -9 the host does not get what the node had claimed", f.name)
			}
		}
		for { // what was sent meanwhile
			must(t, host.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
			if _, err := host.Read(got); err != nil {
				break
			}
		}
		if n := p.programs(p.a); n != 0 {
			t.Errorf("%s: %d programs are on the interface of a dead node", f.name, n)
		}
	}
	s.end()
}

// xdpProgram returns the number of the XDP program on the interface of a namespace, or 0.
func (p *pair) xdpProgram(ns *netns.Namespace) (id uint32) {
	p.t.Helper()
	must(p.t, ns.Do(func() error {
		l, err := netlink.LinkByName("eth0")
		if err == nil && l.Attrs().Xdp != nil {
			id = l.Attrs().Xdp.ProgId
		}
		return err
	}))
	return id
}

// TestConfirm lets starts and reloads run out, and confirms others.
func TestConfirm(t *testing.T) {
	p := newPair(t)
	const file = "node: a\naddress: 10.255.0.1\ncontrol: a.sock\nlinks: [{name: eth0}]\nrouting: {prefixes: [%s]}\n"
	write(t, p.dir, "a.yaml", fmt.Sprintf(file, "192.0.2.0/24"))
	s := p.session()

	// Not confirmed: the node ends, with an exit code of its own, and leaves nothing.
	a := p.start(p.a, "a", "--confirm", "1500ms")
	if code := a.end(0); code != 27 {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{"the start is undone in 1.5s unless it is confirmed: janos node confirm --control a.sock", "the start is undone in 1s unless", "was not confirmed within 1.5s: undone"} {
		contains(t, a.log.String(), want)
	}
	if n := p.programs(p.a); n != 0 {
		t.Errorf("%d programs left", n)
	}
	if _, err := os.Stat(filepath.Join(p.dir, "a.sock")); err == nil {
		t.Error("the control socket is left")
	}
	s.progress("undone")

	// Confirmed: it stays. While it waits no reload may begin.
	a = p.start(p.a, "a", "--confirm", "1h")
	a.awaitTrial("start")
	_, msg := janos(t, p.dir, 20, "node", "reload", "--control", "a.sock")
	contains(t, msg, "a start waits to be confirmed for another")
	out, _ := janos(t, p.dir, 0, "show", "status", "--control", "a.sock")
	contains(t, out, "unless it is confirmed")
	out, _ = janos(t, p.dir, 0, "node", "confirm", "--control", "a.sock")
	contains(t, out, "confirmed: the start stays")
	_, msg = janos(t, p.dir, 19, "node", "confirm", "--control", "a.sock")
	contains(t, msg, "no change waits")

	// A reload that nobody confirms, of a file elsewhere.
	has := func(prefix string) func() bool {
		return func() bool {
			c, err := a.Config(context.Background())
			return err == nil && strings.Contains(c, prefix)
		}
	}
	write(t, p.dir, "b.yaml", fmt.Sprintf(file, "198.51.100.0/24"))
	out, _ = janos(t, p.dir, 0, "node", "reload", "b.yaml", "--confirm", "1s", "--control", "a.sock")
	contains(t, out, "it is undone in 1s unless it is confirmed: janos node confirm --control a.sock")
	a.await("it is undone", has("192.0.2.0"))
	janos(t, p.dir, 0, "node", "reload", "b.yaml", "--confirm", "1h", "--control", "a.sock")
	if !has("198.51.100.0")() {
		t.Error("the reload is not in force while it waits")
	}
	out, _ = janos(t, p.dir, 0, "node", "confirm", "--control", "a.sock")
	contains(t, out, "confirmed: the reload stays")
	for _, bad := range [][]string{{"node", "reload", "--confirm", "0s"}, {"node", "reload", "--confirm", "48h"}, {"node", "reload", "--confirm", "soon"}, {"node", "run", "--confirm", "-1s", "a.yaml"}} {
		if bad[1] == "reload" {
			bad = append(bad, "--control", "a.sock")
		}
		_, msg := janos(t, p.dir, 18, bad...)
		contains(t, msg, "confirm")
	}
	write(t, p.dir, "c.yaml", "node: c\naddress: 10.255.0.1\n")
	_, msg = janos(t, p.dir, 18, "node", "run", "--confirm", "1s", "c.yaml")
	contains(t, msg, "no control socket")
	s.progress("confirmed")
	if code := a.end(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	contains(t, a.log.String(), "the reload was not confirmed in time: undone")
	s.end()
}

// awaitTrial waits until a change waits to be confirmed.
func (n *nodeProcess) awaitTrial(what string) {
	n.t.Helper()
	n.await("a "+what+" waits", func() bool {
		s, err := n.Status(context.Background())
		return err == nil && s.Trial != nil && s.Trial.What == what
	})
}

// TestDegradation gives interfaces on which a driver cannot be had, and expects the next one, with the reason at the start and in show links.
func TestDegradation(t *testing.T) {
	p := newPair(t)
	write(t, p.dir, "a.yaml", "node: a\naddress: 10.255.0.1\ncontrol: a.sock\nlinks: [{name: eth0}]\n")
	theirs := p.foreign(p.a)
	defer func() { theirs() }()
	id := p.xdpProgram(p.a)
	a := p.run(p.a, "a")
	ls, err := a.Links(context.Background())
	must(t, err)
	if len(ls) != 1 || ls[0].Driver != "packet" || len(ls[0].Tried) != 1 || ls[0].Tried[0].Driver != "xdp" || !strings.Contains(ls[0].Tried[0].Why, "XDP program of somebody else, which is left alone") {
		t.Errorf("the slot is taken: %+v", ls)
	}
	out, _ := janos(t, p.dir, 0, "show", "links", "--control", "a.sock")
	contains(t, out, "refused")
	contains(t, out, "somebody else")
	if got := p.xdpProgram(p.a); got != id || id == 0 {
		t.Errorf("their program was %d and is %d", id, got)
	}
	a.end(syscall.SIGTERM)
	contains(t, a.log.String(), "link eth0 on eth0: xdp refused (")
	contains(t, a.log.String(), "runs packet")
	if got := p.xdpProgram(p.a); got != id {
		t.Errorf("their program was %d and is %d after the node's end", id, got)
	}

	// The node file can insist, and is told why it cannot be had.
	write(t, p.dir, "x.yaml", "node: x\naddress: 10.255.0.1\nlinks: [{name: eth0, driver: xdp}]\n")
	x := p.start(p.a, "x")
	if code := x.end(0); code != 20 {
		t.Errorf("exit code %d", code)
	}
	contains(t, x.log.String(), "interface eth0 has an XDP program of somebody else, which is left alone (ip link show eth0 names it)")
	theirs()
	theirs = func() {}

	// Frames that the interface has and the node's packets cannot hold.
	p.mtu(p.a, 9000)
	x = p.start(p.a, "x")
	if code := x.end(0); code == 0 || code == -1 {
		t.Errorf("exit code %d", code)
	}
	contains(t, x.log.String(), "MTU 9000 of interface eth0 is more than a packet frame of the node holds")
	a = p.run(p.a, "a")
	ls, err = a.Links(context.Background())
	must(t, err)
	if ls[0].Driver != "packet" || !strings.Contains(ls[0].Tried[0].Why, "MTU 9000") || !strings.Contains(fmt.Sprint(ls[0].Notes), "MTU 9000") {
		t.Errorf("long frames: %+v", ls)
	}
	a.end(syscall.SIGTERM)
	p.mtu(p.a, 1500)
	a = p.run(p.a, "a")
	if ls, err = a.Links(context.Background()); err != nil || ls[0].Driver != "xdp" || len(ls[0].Tried) != 0 {
		t.Errorf("%+v, %v", ls, err)
	}
	out, _ = janos(t, p.dir, 0, "show", "links", "--control", "a.sock")
	contains(t, out, "xdp, native")
	a.end(syscall.SIGTERM)
	contains(t, a.log.String(), "link eth0 on eth0: runs xdp, native")
}

func (p *pair) mtu(ns *netns.Namespace, mtu int) {
	p.t.Helper()
	h, err := ns.Netlink()
	must(p.t, err)
	defer h.Close()
	l, err := h.LinkByName("eth0")
	must(p.t, err)
	must(p.t, h.LinkSetMTU(l, mtu))
}

// loopback sets the loopback interface of a namespace up.
func (p *pair) loopback(ns *netns.Namespace) {
	p.t.Helper()
	h, err := ns.Netlink()
	must(p.t, err)
	defer h.Close()
	netnstest.Up(p.t, h, "lo")
}

// foreign attaches an XDP program that is not ours to the interface of a namespace, and returns what takes it off.
func (p *pair) foreign(ns *netns.Namespace) (off func()) {
	p.t.Helper()
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "theirs", Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{
		asm.Mov.Imm(asm.R0, 2), asm.Return(), // XDP_PASS
	}})
	must(p.t, err)
	defer prog.Close() // the link holds it
	var l link.Link
	must(p.t, ns.Do(func() error {
		i, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		l, err = link.AttachXDP(link.XDPOptions{Program: prog, Interface: i.Index})
		return err
	}))
	return func() { must(p.t, l.Close()) }
}

// TestInterfaceComesBack takes the interface of a node with two links away and gives it another, for each driver; the other link works meanwhile.
func TestInterfaceComesBack(t *testing.T) {
	for _, f := range linkForms {
		t.Run(f.name, func(t *testing.T) {
			p := newPair(t)
			p.loopback(p.a)
			write(t, p.dir, "a.yaml", fmt.Sprintf("node: a\naddress: 10.255.0.1\ncontrol: a.sock\nlinks: [{name: eth0, %s}, {name: over, driver: udp, device: '127.0.0.1:0', peers: ['127.0.0.1:9']}]\n"+
				"domains: [{name: d, graph: 'FromChannel(eth0/ether/ip/udp, :7) -> c :: Counter -> Discard;'}]\n", f.yaml))
			a := p.run(p.a, "a")
			h, err := p.a.Netlink()
			must(t, err)
			defer h.Close()
			l, err := h.LinkByName("eth0")
			must(t, err)
			must(t, h.LinkDel(l))
			state := func(want string) func() bool {
				return func() bool {
					ls, err := a.Links(context.Background())
					return err == nil && len(ls) == 2 && ls[0].State == want && ls[1].State == "up"
				}
			}
			a.await("the link is gone", state("gone"))
			p.wire()
			// Somebody else was faster: the node tries, says why it cannot, and tries again.
			taken := func() {}
			if f.mode != "" {
				taken = p.foreign(p.a)
				a.await("the link could not be opened", state("failed"))
				ls, err := a.Links(context.Background())
				must(t, err)
				if !strings.Contains(ls[0].Why, "somebody else") || !strings.Contains(ls[0].Why, "next attempt in") || ls[0].Retried == 0 {
					t.Errorf("%+v", ls[0])
				}
				s, err := a.Status(context.Background())
				must(t, err)
				if d := fmt.Sprint(s.Domains); !strings.Contains(d, "node/graph active") || !strings.Contains(d, "node/d active") {
					t.Errorf("the graphs end while a link cannot be opened: %s", d)
				}
			}
			taken()
			a.await("the link is back", state("up"))
			ls, err := a.Links(context.Background())
			must(t, err)
			if ls[0].Opened != 2 || ls[0].Mode != f.mode || ls[0].Why != "" {
				t.Errorf("%+v", ls[0])
			}
			var c *net.UDPConn
			must(t, p.b.Do(func() (err error) {
				c, err = net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(10, 9, 0, 1), Port: 7})
				return err
			}))
			defer c.Close()
			a.await("packets come to the domain's channel", func() bool {
				_, _ = c.Write([]byte("x")) // lost at first: the link is still being made
				s, err := a.Status(context.Background())
				return err == nil && slices.ContainsFunc(s.Links, func(l control.Link) bool { return l.Name == "eth0" && l.Stats.RxPackets > 0 })
			})
			a.await("the events are told", func() bool { // the last one after the link is up
				events := ""
				must(t, a.Events(context.Background(), 0, false, func(line []byte) error { events += string(line); return nil }))
				return strings.Contains(events, `"kind":"link-gone"`) && strings.Contains(events, `"kind":"link-up"`)
			})
			if code := a.end(syscall.SIGTERM); code != 0 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

// TestTwoNodesOnOneMachine: on two interfaces of one namespace, each is its own; one on both is refused and disturbs neither.
func TestTwoNodesOnOneMachine(t *testing.T) {
	p := newPair(t)
	p.second(1)
	p.loopback(p.a)
	file := "node: %s\naddress: 10.255.0.%d\ncontrol: %s.sock\nlinks: [%s]\n"
	write(t, p.dir, "a.yaml", fmt.Sprintf(file, "a", 1, "a", "{name: eth0}"))
	write(t, p.dir, "c.yaml", fmt.Sprintf(file, "c", 3, "c", "{name: eth1}"))
	write(t, p.dir, "both.yaml", fmt.Sprintf(file, "both", 4, "both", "{name: eth1, driver: packet}, {name: eth0, driver: packet}"))
	write(t, p.dir, "b.yaml", fmt.Sprintf(file, "b", 2, "b", "{name: eth0}, {name: eth1}"))
	a, c := p.run(p.a, "a"), p.run(p.a, "c")
	b := p.run(p.b, "b")
	a.awaitNeighbour("10.255.0.2")
	c.awaitNeighbour("10.255.0.2")
	x := p.start(p.a, "both")
	if code := x.end(0); code != 20 {
		t.Errorf("exit code %d", code)
	}
	contains(t, x.log.String(), "another node runs on interface eth1; end it first, or leave the interface out")
	b.await("both nodes are neighbours still", func() bool {
		r, err := b.Routes(context.Background())
		return err == nil && len(r.Neighbours) == 2 && r.Neighbours[0].Adjacent && r.Neighbours[1].Adjacent
	})
	// One lets an interface go by a reload, and the other takes it.
	write(t, p.dir, "c.yaml", fmt.Sprintf(file, "c", 3, "c", "{name: over, driver: udp, device: '127.0.0.1:0', peers: ['127.0.0.1:9']}"))
	janos(t, p.dir, 0, "node", "reload", "--control", "c.sock")
	write(t, p.dir, "a.yaml", fmt.Sprintf(file, "a", 1, "a", "{name: eth0}, {name: eth1}"))
	janos(t, p.dir, 0, "node", "reload", "--control", "a.sock")
	write(t, p.dir, "c.yaml", fmt.Sprintf(file, "c", 3, "c", "{name: eth1, driver: packet}"))
	_, msg := janos(t, p.dir, 20, "node", "reload", "--control", "c.sock")
	contains(t, msg, "the configuration before is in force again")
	contains(t, msg, "another node runs on interface eth1")
	for _, n := range []*nodeProcess{a, b, c} {
		if code := n.end(syscall.SIGTERM); code != 0 {
			t.Errorf("exit code %d", code)
		}
	}
}

// TestQueuesChange gives a node's interface more queues: the link is opened anew, and takes what comes by all of them. Fewer the kernel refuses while
// the node's sockets are on them.
func TestQueuesChange(t *testing.T) {
	p := newPair(t)
	p.second(2)
	write(t, p.dir, "a.yaml", "node: a\naddress: 10.255.0.1\ncontrol: a.sock\nlinks: [{name: eth1, driver: xdp, options: {mode: generic}}]\n"+
		"domains: [{name: d, graph: 'FromChannel(eth1/ether/ip/udp, :7) -> c :: Counter -> Discard;'}]\n")
	queues := func(n int) {
		t.Helper()
		must(t, p.a.Do(func() error {
			ctl, err := sys.OpenControl()
			if err != nil {
				return err
			}
			defer sys.CloseFD(ctl)
			return sys.SetQueues(ctl, "eth1", n)
		}))
	}
	queues(1)
	a := p.run(p.a, "a")
	queues(2)
	a.await("the link is opened anew", func() bool {
		ls, err := a.Links(context.Background())
		return err == nil && ls[0].Opened == 2 && ls[0].State == "up"
	})
	c := p.dial(p.b, "10.8.0.1:7")
	a.await("packets come", func() bool {
		_, _ = c.Write([]byte("x"))
		s, err := a.Status(context.Background())
		return err == nil && len(s.Links) == 1 && s.Links[0].Stats.RxPackets > 0
	})
	if code := a.end(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	contains(t, a.log.String(), "had 1 receive queues when it was opened and has 2 now")
}
