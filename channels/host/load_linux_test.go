package host

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func word(v uint32) []byte { return native.AppendUint32(nil, v) }

func attribute(typ uint16, v []byte) []byte {
	b := native.AppendUint16(nil, uint16(4+len(v)))
	b = append(native.AppendUint16(b, typ), v...)
	return append(b, make([]byte, -len(b)&3)...)
}

func msg(typ, flags uint16, body []byte) []byte {
	b := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(body))
	b = append(b, body...)
	putHeader(b, typ, flags|unix.NLM_F_REQUEST, 2)
	return b
}

// send gives the kernel messages in one piece and waits for the first answer; the last of them asks for one.
func send(s *space, b []byte) error {
	return s.ns.Do(func() error {
		fd, err := openSocket()
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.SetNonblock(fd, false); err != nil {
			return err
		}
		return ask1(fd, b)
	})
}

func ask1(fd int, b []byte) error {
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	buf := make([]byte, 8192)
	n, _, err := unix.Recvfrom(fd, buf, 0)
	if err != nil {
		return err
	}
	m, _, err := nextMessage(buf[:n])
	if err != nil {
		return err
	}
	if no := -int32(native.Uint32(m.body)); m.typ == unix.NLMSG_ERROR && no != 0 {
		return unix.Errno(no)
	}
	return nil
}

// numbered is prefix i of 2^20 that load enters: a /24 of 64.0.0.0/4 or 2000::/3's 24 bits.
func numbered(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(64 + i>>16), byte(i >> 8), byte(i), 0}), 24)
}

// load enters n routes, many with each system call.
func load(s *space, index int, gw string, n int, flags uint16) error {
	return batch(s, n, unix.RTM_NEWROUTE, flags, append(attribute(unix.RTA_OIF, word(uint32(index))), attribute(unix.RTA_GATEWAY, netip.MustParseAddr(gw).AsSlice())...))
}

func unload(s *space, n int) error { return batch(s, n, unix.RTM_DELROUTE, 0, nil) }

func batch(s *space, n int, typ, flags uint16, rest []byte) error {
	return s.ns.Do(func() error {
		fd, err := openSocket()
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.SetNonblock(fd, false); err != nil {
			return err
		}
		var b []byte
		for i := range n {
			p := numbered(i)
			body := []byte{unix.AF_INET, 24, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BIRD, 0, unix.RTN_UNICAST, 0, 0, 0, 0}
			body = append(append(body, attribute(unix.RTA_DST, p.Addr().AsSlice())...), rest...)
			f := flags
			last := i == n-1 || len(b) > 48<<10
			if last {
				f |= unix.NLM_F_ACK
			}
			b = append(b, msg(typ, f, body)...)
			if last {
				if err := ask1(fd, b); err != nil {
					return fmt.Errorf("route %d: %w", i, err)
				}
				b = b[:0]
			}
		}
		return nil
	})
}

// TestManyRoutes enters a hundred thousand routes before and while they are followed, changes some, and looks that the table has
// them all. It reports how long a change took to be seen; the bound is not asserted.
func TestManyRoutes(t *testing.T) {
	const routes, changes = 100_000, 200
	s := newSpace(t, "jnhomany", 2, Spec{})
	i0, i1 := s.index(t, "jnho0"), s.index(t, "jnho1")
	must(t, load(s, i0, "10.0.0.2", routes, unix.NLM_F_CREATE))
	s.until(t, "all routes are there", func() bool { return s.t.Status().Routes4 >= routes })
	if st := s.t.Status(); st.Malformed != 0 {
		t.Errorf("%+v", st)
	}
	var took []time.Duration
	for i := range changes {
		p := numbered(i * 499)
		body := []byte{unix.AF_INET, 24, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BIRD, 0, unix.RTN_UNICAST, 0, 0, 0, 0}
		body = append(append(body, attribute(unix.RTA_DST, p.Addr().AsSlice())...), attribute(unix.RTA_OIF, word(uint32(i1)))...)
		body = append(body, attribute(unix.RTA_GATEWAY, []byte{10, 0, 1, 2})...)
		m := msg(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK, body)
		seen := make(chan time.Time, 1)
		cancel := s.t.Watch(func() {
			if h := s.t.Lookup(p.Addr()).Next(0); h.Ifindex == i1 {
				select {
				case seen <- time.Now():
				default:
				}
			}
		})
		began := time.Now()
		must(t, send(s, m))
		select {
		case at := <-seen:
			took = append(took, at.Sub(began))
		case <-time.After(20 * time.Second):
			t.Fatalf("change %d is not seen", i)
		}
		cancel()
	}
	slices.Sort(took)
	t.Logf("a change is seen after p50 %v, p99 %v, max %v, from before the request to the kernel", took[changes/2], took[changes*99/100], took[changes-1])

	before := new(runtime.MemStats)
	after := new(runtime.MemStats)
	runtime.GC()
	runtime.ReadMemStats(before)
	began := time.Now()
	var fresh *Table
	must(t, s.ns.Do(func() (err error) { fresh, err = Follow(Spec{}); return err }))
	defer fresh.Close()
	loaded := time.Since(began)
	runtime.GC()
	runtime.ReadMemStats(after)
	t.Logf("a table of %d routes is there after %v and takes %.1f MB", fresh.Status().Routes4, loaded, float64(after.HeapAlloc-before.HeapAlloc)/1e6)
	if fresh.Status().Routes4 != s.t.Status().Routes4 {
		t.Errorf("%d routes by a dump, %d by announcements", fresh.Status().Routes4, s.t.Status().Routes4)
	}
	n := 0
	fresh.Routes(func(r *Route) bool {
		if h := r.Next(0); h != nil && h.Gateway.IsValid() && h.Ifindex == i1 {
			n++
		}
		return true
	})
	if n != changes {
		t.Errorf("%d routes go to the second interface, want %d", n, changes)
	}
}

// BenchmarkLookup looks up in a table of 100,000 routes while the kernel changes some of them.
func BenchmarkLookup(b *testing.B) {
	s := newSpace(b, "jnhobench", 2, Spec{})
	i0 := s.index(b, "jnho0")
	must(b, load(s, i0, "10.0.0.2", 100_000, unix.NLM_F_CREATE))
	s.until(b, "all routes are there", func() bool { return s.t.Status().Routes4 >= 100_000 })
	for _, changing := range []bool{false, true} {
		name := "quiet"
		if changing {
			name = "changing"
		}
		b.Run(name, func(b *testing.B) {
			var stop atomic.Bool
			done := make(chan error, 1)
			go func() {
				var err error
				for i := 0; changing && err == nil && !stop.Load(); i++ {
					err = load(s, i0, [...]string{"10.0.0.3", "10.0.0.2"}[i%2], 2000, unix.NLM_F_CREATE|unix.NLM_F_REPLACE)
				}
				done <- err
			}()
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				i = (i + 7919) % 100_000
				if s.t.Lookup4([4]byte{byte(64 + i>>16), byte(i >> 8), byte(i), 9}).Next(0) == nil {
					b.Fatal("no hop")
				}
			}
			stop.Store(true)
			must(b, <-done)
		})
	}
}

// BenchmarkFollow makes a table of 100,000 routes.
func BenchmarkFollow(b *testing.B) {
	s := newSpace(b, "jnhobench", 2, Spec{})
	must(b, load(s, s.index(b, "jnho0"), "10.0.0.2", 100_000, unix.NLM_F_CREATE))
	for b.Loop() {
		var t *Table
		must(b, s.ns.Do(func() (err error) { t, err = Follow(Spec{}); return err }))
		must(b, t.Close())
	}
}
