package host

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// FuzzMessages applies what a socket might yield, as announcements, while a dump and after it. Whatever it is, nothing panics and counts agree
// with what the table has.
func FuzzMessages(f *testing.F) {
	link := append([]byte{0, 0, 1, 0, 7, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0}, attribute(unix.IFLA_IFNAME, []byte("eth0\x00"))...)
	route4 := append([]byte{unix.AF_INET, 24, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0}, attribute(unix.RTA_DST, []byte{10, 0, 0, 0})...)
	two := append(word(8|1<<24), word(7)...)
	multi := append(route4[:len(route4):len(route4)], attribute(unix.RTA_MULTIPATH, append(two, two...))...)
	route4 = append(route4[:len(route4):len(route4)], attribute(unix.RTA_OIF, word(7))...)
	object := append(append(make([]byte, 8), attribute(unix.NHA_ID, word(1))...), attribute(unix.NHA_OIF, word(7))...)
	neigh := append([]byte{unix.AF_INET, 0, 0, 0, 7, 0, 0, 0, 2, 0, 0, 0}, attribute(unix.NDA_DST, []byte{10, 0, 0, 9})...)
	neigh = append(neigh, attribute(unix.NDA_LLADDR, []byte{2, 0, 0, 0, 0, 9})...)
	addr := append([]byte{unix.AF_INET, 24, 0, 0, 7, 0, 0, 0}, attribute(unix.IFA_LOCAL, []byte{10, 0, 0, 1})...)
	rule := []byte{unix.AF_INET, 0, 0, 0, 254, 0, 0, 1, 0, 0, 0, 0}
	var all []byte
	for _, m := range []struct {
		typ  uint16
		body []byte
	}{{unix.RTM_NEWLINK, link}, {unix.RTM_NEWADDR, addr}, {unix.RTM_NEWNEIGH, neigh}, {unix.RTM_NEWNEXTHOP, object}, {unix.RTM_NEWROUTE, route4},
		{unix.RTM_NEWROUTE, multi}, {unix.RTM_NEWRULE, rule}, {unix.RTM_DELROUTE, route4}, {unix.RTM_DELNEXTHOP, object}, {unix.RTM_DELNEIGH, neigh}, {unix.RTM_DELADDR, addr}, {unix.RTM_DELLINK, link}} {
		b := msg(m.typ, 0, m.body)
		f.Add(b)
		all = append(all, b...)
		f.Add(all[:len(all):len(all)])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		fl := &follower{t: New(), addrs: make(map[int][]netip.Prefix)}
		for round := range 3 {
			if round == 1 {
				fl.t.dump++
				fl.t.touched.begin()
			}
			for rest := b; len(rest) > 0; {
				m, next, err := nextMessage(rest)
				if err != nil {
					break
				}
				rest = next
				fl.t.mu.Lock()
				fl.apply(&m, round == 1 && m.seq&2 == 0)
				fl.t.settle()
			}
		}
		fl.sweep()
		four, six := 0, 0
		fl.t.Routes(func(r *Route) bool {
			for o := r; o != nil; o = o.next {
				if o.Prefix.Addr().Is4() {
					four++
				} else {
					six++
				}
				o.Next(5)
				if o != r && o.better(r) {
					t.Errorf("%v: a better route is second", o.Prefix)
				}
			}
			return true
		})
		n := 0
		fl.t.Neighbors(func(*Neighbor) bool { n++; return true })
		if s := fl.t.Status(); s.Routes4 != four || s.Routes6 != six || s.Neighbors != n {
			t.Errorf("%+v, but there are %d and %d routes and %d neighbours", s, four, six, n)
		}
		for _, i := range fl.t.Interfaces() {
			fl.t.RemoveInterface(i.Index)
		}
		fl.t.mu.Lock()
		fl.t.drop(func(*Route) bool { return true })
		fl.t.mu.Unlock()
		if len(fl.t.ways) != 0 {
			t.Errorf("%d ways are left of no routes", len(fl.t.ways))
		}
	})
}
