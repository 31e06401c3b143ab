package socket_test

import (
	"bytes"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/internal/netns"
	"github.com/janos-os/janos/internal/netns/netnstest"
	"github.com/janos-os/janos/nodeos"
)

// place is a namespace of its own with a node that has a worker.
type place struct {
	t    *testing.T
	ns   *netns.Namespace
	node *nodeos.Node
	out  *text
}

// text is a buffer that several goroutines write.
type text struct {
	sync.Mutex
	bytes.Buffer
}

func (b *text) Write(p []byte) (int, error) {
	b.Lock()
	defer b.Unlock()
	return b.Buffer.Write(p)
}

func (b *text) get() string {
	b.Lock()
	defer b.Unlock()
	return b.Buffer.String()
}

func newPlace(t *testing.T, name string) *place {
	p := &place{t: t, ns: netnstest.New(t, name), out: &text{}}
	netnstest.Up(t, netnstest.Netlink(t, p.ns), "lo")
	n, err := nodeos.NewNode(nodeos.NodeSpec{Name: "n", Clock: clock.NewReal()})
	if err != nil {
		t.Fatal(err)
	}
	p.node = n
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// run starts a graph whose sockets are in the namespace.
func (p *place) run(config string) *click.Router {
	p.t.Helper()
	spec, err := click.Parse("config", config, click.ParseOptions{})
	if err != nil {
		p.t.Fatal(err)
	}
	var r *click.Router
	if err := p.ns.Do(func() (err error) {
		r, err = click.New(spec, click.Env{Domain: p.node.Root(), Host: true, Output: p.out, Stdout: p.out})
		return err
	}); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(r.Close)
	return r
}

func read(t *testing.T, r *click.Router, name string) string {
	t.Helper()
	v, err := r.Read(name, "")
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// until waits for a handler to have a value.
func until(t *testing.T, r *click.Router, name, want string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); read(t, r, name) != want; {
		if time.Now().After(end) {
			t.Fatalf("%s is %s, want %s", name, read(t, r, name), want)
		}
	}
}

func TestUDP(t *testing.T) {
	p := newPlace(t, "jnsock-udp")
	server := p.run(`allow :: RadixIPLookup(127.0.0.0/8 0); deny :: RadixIPLookup(0.0.0.0/0 0); Idle -> allow -> deny -> Idle;
		echo :: Socket(UDP, 127.0.0.1, 0, ALLOW allow, DENY deny) -> c :: Counter -> echo; strict :: Socket(UDP, 127.0.0.1, 0, DENY deny) -> strict;`)
	port := func(name string) string { return strings.TrimPrefix(read(t, server, name+".address"), "127.0.0.1:") }
	for range 2 { // a second client, with its own address: the server answers to who sent last
		client := p.run(`src :: InfiniteSource(LIMIT 50, BURST 7, LENGTH 1400) -> s :: Socket(UDP, 127.0.0.1, ` + port("echo") + `, 127.0.0.1, 0) -> c :: Counter -> Discard;`)
		until(t, client, "c.count", "50")
		until(t, client, "c.byte_count", "70000")
		if v := read(t, client, "s.sent") + " " + read(t, client, "s.drops"); v != "50 0" {
			t.Errorf("client sent and dropped %s", v)
		}
		client.Close()
	}
	byAnno := p.run(`InfiniteSource(LIMIT 5) -> SetIPAddress(127.0.0.1) -> s :: Socket(UDP, 0.0.0.0, ` + port("strict") + `, CLIENT true) -> Discard; InfiniteSource(LIMIT 3) -> s;`)
	until(t, byAnno, "s.drops", "3") // without a destination annotation
	until(t, server, "strict.drops", "5")
}

func TestTCP(t *testing.T) {
	p := newPlace(t, "jnsock-tcp")
	server := p.run(`echo :: Socket(TCP, 127.0.0.1, 0, VERBOSE true) -> c :: Counter -> echo; FromSocket(TCP, 127.0.0.1, 0) -> Discard;`)
	at := read(t, server, "echo.address")
	_, port, _ := strings.Cut(at, ":")
	for i := range 2 {
		client := p.run(`src :: InfiniteSource(LIMIT 300, BURST 32, LENGTH 1000) -> s :: Socket(TCP, 127.0.0.1, ` + port + `, CLIENT true) -> c :: Counter -> Discard;`)
		until(t, client, "c.byte_count", "300000")
		client.Close()
		until(t, server, "c.byte_count", strconv.Itoa(300000*(i+1)))
	}
	if err := p.ns.Do(func() error { // a foreign client, who is told the end of it
		c, err := net.Dial("tcp", at)
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(30 * time.Second))
		if _, err := c.Write([]byte("hello")); err != nil {
			return err
		}
		b := make([]byte, 5)
		if _, err := c.Read(b); err != nil || string(b) != "hello" {
			return fmt.Errorf("%q %w", b, err)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if s := p.out.get(); strings.Count(s, "opened connection from 127.0.0.1:") != 3 {
		t.Errorf("messages:\n%s", s)
	}
	// Nobody is there.
	spec, err := click.Parse("config", "InfiniteSource -> ToSocket(TCP, 127.0.0.1, 9);", click.ParseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.ns.Do(func() error {
		r, err := click.New(spec, click.Env{Domain: p.node.Root(), Host: true})
		if err == nil {
			r.Close()
		}
		return err
	}); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("connecting to nobody: %v", err)
	}
}

// TestSwap: a connection goes on with the element that takes the place.
func TestSwap(t *testing.T) {
	p := newPlace(t, "jnsock-swap")
	server := p.run(`echo :: Socket(TCP, 127.0.0.1, 0) -> c :: Counter -> echo; r :: RawSocket(ICMP) -> Discard; m :: McastSocket(239.1.1.1, 4000, 127.0.0.1) -> Discard;`)
	_, port, _ := strings.Cut(read(t, server, "echo.address"), ":")
	client := p.run(`in :: InfiniteSource(LIMIT 10, LENGTH 100, ACTIVE false) -> s :: Socket(TCP, 127.0.0.1, ` + port + `, CLIENT true) -> c :: Counter -> Discard;`)
	if err := client.Write("in.active", "true"); err != nil {
		t.Fatal(err)
	}
	until(t, client, "c.byte_count", "1000")
	spec, err := click.Parse("config", `echo :: Socket(TCP, 127.0.0.1, 0) -> d :: Counter -> echo; r :: RawSocket(ICMP) -> Discard; m :: McastSocket(239.1.1.1, 4000, 127.0.0.1) -> Discard;`, click.ParseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n, err := server.Replace(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	if err := client.Write("in.reset", ""); err != nil {
		t.Fatal(err)
	}
	until(t, client, "c.byte_count", "2000")
	until(t, n, "d.byte_count", "1000")
}

func TestMulticast(t *testing.T) {
	p := newPlace(t, "jnsock-mcast")
	const socket = `McastSocket(239.1.1.1, 4000, 127.0.0.1, LOOP true)`
	a := p.run(`s :: ` + socket + ` -> c :: Counter -> Discard; in :: InfiniteSource(LIMIT 50, BURST 50, ACTIVE false) -> s;`)
	b := p.run(`s :: ` + socket + ` -> c :: Counter -> Discard; in :: InfiniteSource(LIMIT 20, ACTIVE false) -> Queue -> s;`)
	for _, r := range []*click.Router{a, b} {
		if err := r.Write("in.active", "true"); err != nil {
			t.Fatal(err)
		}
	}
	until(t, a, "c.count", "20")
	until(t, b, "c.count", "50")
	until(t, a, "s.sent", "50")
	if v := read(t, a, "s.received"); v != "20" {
		t.Errorf("received %s, want the other's 20 only", v)
	}
}

func TestRaw(t *testing.T) {
	p := newPlace(t, "jnsock-raw")
	a := p.run(`s :: RawSocket(UDP, 4000) -> CheckIPHeader -> CheckUDPHeader -> c :: Counter -> Discard; i :: FromRawSocket(ICMP, 7) -> IPPrint(ping, TIMESTAMP false) -> d :: Counter -> Discard;
		InfiniteSource(LIMIT 30, LENGTH 50) -> UDPIPEncap(127.0.0.1, 1, 127.0.0.1, 4000) -> s; InfiniteSource(LIMIT 30) -> UDPIPEncap(127.0.0.1, 1, 127.0.0.1, 4001) -> s;
		InfiniteSource(LIMIT 4) -> t :: ToRawSocket(TCP);`)
	until(t, a, "c.count", "30")
	until(t, a, "s.sent", "60")
	until(t, a, "t.drops", "4")
	// The host answers to pings by itself.
	b := p.run(`in :: InfiniteSource(LIMIT 2) -> ICMPPingEncap(127.0.0.1, 127.0.0.1, IDENTIFIER 7) -> ToRawSocket(ICMP); j :: InfiniteSource(LIMIT 2) -> ICMPPingEncap(127.0.0.1, 127.0.0.1, IDENTIFIER 8) -> ToRawSocket(ICMP);`)
	until(t, a, "d.count", "4")
	_ = b
	if s := p.out.get(); strings.Count(s, "icmp echo (") != 2 || strings.Count(s, "icmp echo-reply (") != 2 {
		t.Errorf("printed\n%s", s)
	}
}

// TestNoRights: a graph that does not speak for the process opens nothing.
func TestNoRights(t *testing.T) {
	p := newPlace(t, "jnsock-none")
	for _, config := range []string{"FromSocket(UDP, 127.0.0.1, 0) -> Discard;", "McastSocket(239.1.1.1, 4000) -> Discard;", "RawSocket(ICMP) -> Discard;"} {
		spec, err := click.Parse("config", config, click.ParseOptions{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := click.New(spec, click.Env{Domain: p.node.Root()})
		if err == nil {
			r.Close()
			t.Errorf("%s: no error", config)
		}
	}
}

// TestHandlersAreInHeaders: the handlers of an element are those that its header names.
func TestHandlersAreInHeaders(t *testing.T) {
	p := newPlace(t, "jnsock-doc")
	general := map[string]bool{"class": true, "name": true, "config": true, "ports": true, "handlers": true, "drops": true, "scheduled": true, "tickets": true, "home_thread": true, "runs": true}
	for class, config := range map[string]string{
		"Socket": "x :: Socket(UDP, 127.0.0.1, 0) -> Discard;", "FromSocket": "x :: FromSocket(UDP, 127.0.0.1, 0) -> Discard;", "ToSocket": "Idle -> x :: ToSocket(UDP, 127.0.0.1, 9);",
		"McastSocket": "x :: McastSocket(239.0.0.1, 5, 127.0.0.1) -> Discard;", "RawSocket": "x :: RawSocket(GRE) -> Discard;", "FromRawSocket": "x :: FromRawSocket(GRE) -> Discard;", "ToRawSocket": "Idle -> x :: ToRawSocket(GRE);",
		"KernelTun": "x :: KernelTun(10.1.0.1/24) -> Discard;", "KernelTap": "x :: KernelTap(10.2.0.1/24) -> Discard;", "FromHost": "x :: FromHost(jnsock2) -> Discard;", "ToHost": "FromHost(jnsock3) -> Discard; Idle -> x :: ToHost(jnsock3);",
	} {
		want := map[string]bool{}
		for _, e := range click.LookupClass(class).Doc.Handlers {
			name, _, _ := strings.Cut(e, ": ")
			want[strings.Replace(name, " (", "\t", 1)] = true
		}
		for _, line := range strings.Split(strings.TrimSpace(read(t, p.run(config), "x.handlers")), "\n") {
			name, _, _ := strings.Cut(line, "\t")
			if e := line + ")"; !want[e] && !general[name] {
				t.Errorf("%s has the handler %s, which its header does not name", class, line)
			} else {
				delete(want, e)
			}
		}
		for e := range want {
			t.Errorf("%s has no handler %s", class, e)
		}
	}
}
