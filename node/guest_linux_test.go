package node

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	_ "github.com/janos-os/janos/channels/udp"
	guestee "github.com/janos-os/janos/examples/guest-ee"
	"github.com/janos-os/janos/internal/netns/netnstest"
)

// talk is the other side of examples/guest-ee.
type talk struct {
	*testing.T
	conn *net.UDPConn
	to   netip.AddrPort
}

// ask sends until something comes that begins with prefix.
func (t *talk) ask(send []byte, prefix string) []byte {
	t.Helper()
	buf := make([]byte, 2000)
	for range 300 {
		if _, err := t.conn.WriteToUDPAddrPort(send, t.to); err != nil && !strings.Contains(err.Error(), "refused") {
			t.Fatal(err)
		}
		t.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		for {
			n, err := t.conn.Read(buf)
			if err != nil {
				break
			}
			if bytes.HasPrefix(buf[:n], []byte(prefix)) {
				return append([]byte(nil), buf[:n]...)
			}
		}
	}
	t.Fatalf("%q is never answered by %q", send, prefix)
	return nil
}

// program loads a program, in one piece, and talks to it.
func (t *talk) program(name string, place byte, say, want string) {
	t.Helper()
	code, err := guestee.Modules.ReadFile("guests/" + name + ".wasm")
	if err != nil {
		t.Fatal(err)
	}
	load := append([]byte("GEL"), place, 0, 0)
	load = append(binary.LittleEndian.AppendUint16(load, uint16(len(code))), code...)
	if got := t.ask(load, "GEA"+string(rune(place))); len(got) != 8 || binary.LittleEndian.Uint32(got[4:]) != 0 {
		t.Fatalf("loading %s: % x", name, got)
	}
	p := "GEP" + string(rune(place))
	if got := t.ask([]byte(p+say), p); string(got) != p+want {
		t.Errorf("%s answers %q", name, got)
	}
}

// TestGuestOnInterface runs the execution environment of examples/guest-ee as that of a domain, on an interface of the host. Who talks to it is a program in another
// namespace with an ordinary socket.
func TestGuestOnInterface(t *testing.T) {
	a, b := netnstest.New(t, "jnguea"), netnstest.New(t, "jngueb")
	ha, hb := netnstest.Netlink(t, a), netnstest.Netlink(t, b)
	if err := ha.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "jngue0"}, PeerName: "jngue1"}); err != nil {
		t.Fatal(err)
	}
	peer, err := ha.LinkByName("jngue1")
	if err != nil {
		t.Fatal(err)
	}
	if err := ha.LinkSetNsFd(peer, b.Fd()); err != nil {
		t.Fatal(err)
	}
	netnstest.Up(t, ha, "jngue0", "10.0.0.1/24")
	netnstest.Up(t, hb, "jngue1", "10.0.0.2/24")
	s, err := Parse("../examples/guest-ee/veth.yaml", []byte(`
node: guest
ants: {off: true}
routing: {off: true}
links: [{name: e0, device: jngue0, driver: packet}]
domains:
  - name: ee
    limits: {memory: 33554432, fuel: 400000000, frames: 1024, code-loads: 100}
    guest: {code: guests/ee.wasm, ports: [{protocol: e0/ether/ip/udp, address: ":3340", to: [10.0.0.0/24]}]}
`))
	if err != nil {
		t.Fatal(err)
	}
	var n *Node
	if err := a.Do(func() (err error) { n, err = Start(s, Env{}); return err }); err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	var conn *net.UDPConn
	if err := b.Do(func() (err error) {
		conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(10, 0, 0, 2)})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	k := &talk{t, conn, netip.MustParseAddrPort("10.0.0.1:3340")}
	k.program("upper", 0, "over a wire", "OVER A WIRE")
	k.program("loop", 1, "on", "on")
	k.ask([]byte("GEP\x01and on"), "GEK\x01") // it loops, and is ended
	k.program("upper", 1, "again", "AGAIN")
	k.program("upper", 0, "still", "STILL")
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

// TestGuestOfExample runs the node file of the example, on another port.
func TestGuestOfExample(t *testing.T) {
	const file = "../examples/guest-ee/node.yaml"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Parse(file, bytes.ReplaceAll(text, []byte("127.0.0.1:3340"), []byte("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(file, []byte(s.Text()))
	if err != nil || again.Domains[0].Guest == nil || again.Domains[0].Guest.Ports[0].Protocol != "net0/udp" {
		t.Fatalf("printed and read: %v\n%s", err, s.Text())
	}
	n, err := Start(s, Env{})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	to := n.OS().Links()[0].(interface{ Local() netip.AddrPort }).Local()
	k := &talk{t, conn, to}
	k.program("upper", 3, "hi", "HI")
	// The same file again changes nothing; another argument starts it afresh, without the program.
	if err := n.Reload(again); err != nil {
		t.Fatal(err)
	}
	k.ask([]byte("GES\x03"), "GEs\x03\x01")
	again.Domains[0].Guest.Args = "other"
	other := *again
	g := *again.Domains[0].Guest
	g.Args = "yet another"
	other.Domains = []Domain{again.Domains[0]}
	other.Domains[0].Guest = &g
	if err := n.Reload(&other); err != nil {
		t.Fatal(err)
	}
	k.ask([]byte("GES\x03"), "GEs\x03\x00")
}

// What a node file says wrongly of a guest is told with its place; a guest that ends takes its domain with it, and that is told.
func TestGuestThatFails(t *testing.T) {
	const head = "node: g\nants: {off: true}\nrouting: {off: true}\nlinks: [{name: l, driver: udp, device: \"127.0.0.1:0\"}]\ndomains:\n  - name: d\n    guest: "
	for text, want := range map[string]string{
		"{}":                                    "code",
		"{code: x, ports: [{protocol: q/udp}]}": "no link q",
		"{code: x, ports: [{protocol: l/udp, key: zz}]}":                   "tuple",
		"{code: x, ports: [{protocol: l/udp, to: [1]}]}":                   "prefix",
		"{code: x, ports: [{protocol: l/udp, no-in: true, no-out: true}]}": "neither",
		"{code: x, handles: 100000}":                                       "65535",
	} {
		if _, err := Parse("g.yaml", []byte(head+text+"\n")); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "g.yaml:") {
			t.Errorf("%s: %v", text, err)
		}
	}
	start := func(code string, stepped bool) (*Node, error) {
		s, err := Parse("g.yaml", []byte(head+"{code: "+code+"}\n"))
		if err != nil {
			t.Fatal(err)
		}
		return Start(s, Env{Stepped: stepped})
	}
	for code, want := range map[string]string{"no/such.wasm": "no such file", "guest.go": "no WebAssembly module"} {
		if n, err := start(code, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", code, err)
			if err == nil {
				n.Close()
			}
		}
	}
	// Without the right to out-channels the execution environment is refused one, and returns that.
	s, err := Parse("g.yaml", []byte(strings.Replace(head, "guest: ", "rights: [new-task, new-in-channel]\n    guest: ", 1)+"{code: ../examples/guest-ee/guests/ee.wasm, ports: [{protocol: l/udp}]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	poor, err := Start(s, Env{})
	if err != nil {
		t.Fatal(err)
	}
	defer poor.Close()
	ended(t, poor, `"exit":-5`)
	n, err := start("../examples/guest-ee/guests/upper.wasm", false) // it has no channels, and returns an error
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	for _, d := range n.OS().Root().Children() {
		<-d.Done()
	}
	ended(t, n, `"cause":"returned"`)
}

// ended waits until an event tells that a guest has ended, with something in it.
func ended(t *testing.T, n *Node, with string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; {
		lines, _, changed := n.Events().Since(0)
		if all := string(bytes.Join(lines, nil)); strings.Contains(all, `"guest-ended"`) {
			if !strings.Contains(all, with) {
				t.Errorf("it is told: %s, want %s", all, with)
			}
			return
		}
		select {
		case <-changed:
		case <-time.After(time.Until(end)):
			t.Fatalf("its end is not told: %s", lines)
		}
	}
}
