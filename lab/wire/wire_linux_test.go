package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/internal/netns"
	"github.com/janos-os/janos/internal/netns/netnstest"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/linkmodel"
)

// cable is a namespace with two pairs of virtual links, a0-a1 and b0-b1; the wire joins a1 and b1.
type cable struct {
	t    testing.TB
	ns   *netns.Namespace
	a, b int // packet sockets on a0 and b0
	w    *Wire
}

func newCable(t testing.TB, im linkmodel.Impairment) *cable {
	t.Helper()
	ns := netnstest.New(t, "jntest-wire")
	c := &cable{t: t, ns: ns, a: -1, b: -1}
	t.Cleanup(func() {
		for _, fd := range []int{c.a, c.b} {
			if fd >= 0 {
				unix.Close(fd)
			}
		}
	})
	for _, key := range []string{"ipv6/conf/all/disable_ipv6", "ipv6/conf/default/disable_ipv6"} {
		if err := ns.Sysctl(key, "1"); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	h := netnstest.Netlink(t, ns)
	for _, n := range []string{"a", "b"} {
		if err := h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: n + "0"}, PeerName: n + "1"}); err != nil {
			t.Fatal(err)
		}
		netnstest.Up(t, h, n+"0")
		netnstest.Up(t, h, n+"1")
	}
	err := ns.Do(func() (err error) {
		for _, n := range []string{"a0", "b0", "a1", "b1"} {
			if err := sys.OffloadsOff(n); err != nil {
				return err
			}
		}
		for n, fd := range map[string]*int{"a0": &c.a, "b0": &c.b} {
			ifc, err := net.InterfaceByName(n)
			if err != nil {
				return err
			}
			if *fd, err = openPort(ifc.Index); err != nil {
				return err
			}
		}
		c.w, err = Open(Config{Seed: 1, Links: []LinkConfig{{Name: "a-b", Ports: [2]string{"a1", "b1"}, Impair: im}}}, clock.NewReal())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.w.Run() }()
	t.Cleanup(func() {
		c.w.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		c.w.Close()
	})
	return c
}

// frame returns an Ethernet frame of an experimental type with number n in it.
func frame(n uint32, size int) []byte {
	f := make([]byte, size)
	copy(f, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5})
	binary.BigEndian.PutUint32(f[14:], n)
	return f
}

// get waits for the next frame at fd, and fails the test when none comes.
func (c *cable) get(fd int) []byte {
	c.t.Helper()
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 10_000)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			c.t.Fatalf("no frame came (%v)", err)
		}
		break
	}
	io := sys.NewFrameBatch(1)
	io.Memory[0] = make([]byte, 4096)
	if _, err := io.Receive(fd); err != nil {
		c.t.Fatal(err)
	}
	return bytes.Clone(io.Frame(0))
}

func (c *cable) put(fd int, f []byte) {
	c.t.Helper()
	if _, err := unix.Write(fd, f); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cable) stats() [2]Stats {
	c.t.Helper()
	s, err := c.w.Stats()
	if err != nil || len(s) != 1 || s[0].Name != "a-b" {
		c.t.Fatalf("stats = %v, %v", s, err)
	}
	return s[0].Directions
}

func TestCarriesBothWaysInOrder(t *testing.T) {
	c := newCable(t, linkmodel.Impairment{Delay: time.Millisecond})
	for i := range uint32(200) {
		c.put(c.a, frame(i, 60+int(i)))
		c.put(c.b, frame(1000+i, 1514))
	}
	for i := range uint32(200) {
		if got := c.get(c.b); !bytes.Equal(got, frame(i, 60+int(i))) {
			t.Fatalf("frame %d arrived as %x", i, got)
		}
		if got := c.get(c.a); !bytes.Equal(got, frame(1000+i, 1514)) {
			t.Fatalf("frame %d arrived as %x", 1000+i, got)
		}
	}
	want := Stats{Received: 200, Delivered: 200}
	if s := c.stats(); s != [2]Stats{want, want} {
		t.Errorf("stats = %+v", s)
	}
}

func TestKeepsVLANTags(t *testing.T) {
	c := newCable(t, linkmodel.Impairment{})
	f := frame(1, 100)
	copy(f[12:], []byte{0x81, 0x00, 0x20, 0x07, 0x88, 0xb5})
	c.put(c.a, f)
	if got := c.get(c.b); !bytes.Equal(got, f) {
		t.Errorf("got  %x\nwant %x", got, f)
	}
}

func TestLossChangesAtRunTime(t *testing.T) {
	c := newCable(t, linkmodel.Impairment{Loss: 1})
	for i := range uint32(20) {
		c.put(c.a, frame(i, 60))
	}
	// The command is carried out after the frames that were there before it have been read, or some of them are
	// read after it; the last frame tells that all have been seen.
	for c.stats()[0].Received < 20 {
	}
	if err := c.w.Impair("a-b", linkmodel.Impairment{}); err != nil {
		t.Fatal(err)
	}
	c.put(c.a, frame(99, 60))
	if got := c.get(c.b); !bytes.Equal(got, frame(99, 60)) {
		t.Errorf("got %x", got)
	}
	if s := c.stats()[0]; s != (Stats{Received: 21, Lost: 20, Delivered: 1}) {
		t.Errorf("stats = %+v", s)
	}
	if err := c.w.Impair("b-a", linkmodel.Impairment{}); err == nil {
		t.Error("an unknown link was accepted")
	}
	if err := c.w.Impair("a-b", linkmodel.Impairment{Loss: 2}); err == nil {
		t.Error("an impossible loss was accepted")
	}
}

func TestOtherEndDown(t *testing.T) {
	c := newCable(t, linkmodel.Impairment{})
	set := func(up bool) {
		h, err := c.ns.Netlink()
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		l, err := h.LinkByName("b1")
		if err != nil {
			t.Fatal(err)
		}
		if up {
			err = h.LinkSetUp(l)
		} else {
			err = h.LinkSetDown(l)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	set(false)
	c.put(c.a, frame(1, 60))
	for c.stats()[0].Undelivered == 0 {
	}
	set(true)
	c.put(c.a, frame(2, 60))
	if got := c.get(c.b); !bytes.Equal(got, frame(2, 60)) {
		t.Errorf("got %x", got)
	}
}

func TestStoppedWireSaysSo(t *testing.T) {
	c := newCable(t, linkmodel.Impairment{})
	c.w.Stop()
	<-c.w.done
	if _, err := c.w.Stats(); err == nil {
		t.Error("Stats of a stopped wire succeeded")
	}
	// The cleanup stops it again, which must not block or panic; it expects Run's result, which is still there.
}

// BenchmarkCarry measures a frame's way over a real wire, in rounds of 64.
func BenchmarkCarry(b *testing.B) {
	c := newCable(b, linkmodel.Impairment{})
	f := frame(1, 64)
	io := sys.NewFrameBatch(batch)
	for i := range io.Memory {
		io.Memory[i] = make([]byte, 4096)
		io.Set(i, f)
	}
	fds := []unix.PollFd{{Fd: int32(c.b), Events: unix.POLLIN}}
	b.ReportAllocs()
	for n := 0; n < b.N; n += batch {
		if sent := io.Send(c.a, batch); sent != batch {
			b.Fatalf("sent %d", sent)
		}
		for got := 0; got < batch; {
			if k, err := io.Receive(c.b); err == nil {
				got += k
			} else if _, err := unix.Poll(fds, 10_000); err != nil && err != unix.EINTR {
				b.Fatal(err)
			}
		}
	}
}
