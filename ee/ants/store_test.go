package ants

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/resctl"
)

func testKey(i uint32) (k stateKey) {
	k.set(1, false, binary.BigEndian.AppendUint32(nil, i))
	return k
}

func newAccount(t testing.TB, memory int64) *resctl.Account {
	t.Helper()
	a, err := resctl.NewTree(resctl.Spec{Name: "a", Limit: resctl.Amounts{resctl.Memory: memory}}, new(clock.Virtual), 1)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestStoreGivesUpTheLeastRecentlyUsed(t *testing.T) {
	a := newAccount(t, 0)
	s := newStore(a, 3)
	for i := range uint32(3) {
		k := testKey(i)
		s.put(&k, []byte{byte(i)}, 100, 0)
	}
	k := testKey(0)
	if v := s.get(&k, 1); len(v) != 1 || v[0] != 0 {
		t.Fatalf("value %v", v)
	}
	k = testKey(3)
	s.put(&k, []byte{3}, 100, 0) // 1 is the oldest now
	for i, want := range []bool{true, false, true, true} {
		k := testKey(uint32(i))
		if got := s.get(&k, 2) != nil; got != want {
			t.Errorf("key %d is there: %v", i, got)
		}
	}
	if st := s.stats(); st.Entries != 3 || st.Evicted != 1 {
		t.Errorf("%+v", st)
	}
	if a.Use(resctl.Memory) == 0 {
		t.Error("nobody pays")
	}
	s.close()
	if n := a.Use(resctl.Memory); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
	if s.get(&k, 3) != nil {
		t.Error("a closed store has a value")
	}
}

func TestStoreKeepsToItsAccount(t *testing.T) {
	a := newAccount(t, 3*stateBytes+4*1024)
	s := newStore(a, 1024)
	for i := range uint32(1000) {
		k := testKey(i)
		if !s.put(&k, []byte{1}, clock.Never, 0) {
			t.Fatalf("put %d refused although older values could go", i)
		}
	}
	if st := s.stats(); st.Entries != 3*statePage || st.Evicted != 1000-3*statePage {
		t.Errorf("%+v", st)
	}
	none := newStore(newAccount(t, 100), 1024)
	k := testKey(1)
	if none.put(&k, []byte{1}, clock.Never, 0) || none.stats().Refused != 1 {
		t.Error("put without memory")
	}
}

// TestStoreAgainstAMap does the same to a store and to a map.
func TestStoreAgainstAMap(t *testing.T) {
	type value struct {
		data    byte
		expires clock.Time
	}
	rng := rand.New(rand.NewPCG(1, 2))
	s := newStore(newAccount(t, 0), 1<<12)
	m := make(map[uint32]value)
	now := clock.Time(0)
	for range 50_000 {
		now += clock.Time(rng.IntN(3))
		i := rng.Uint32N(2000)
		k := testKey(i)
		switch rng.IntN(4) {
		case 0:
			s.delete(&k)
			delete(m, i)
		case 1:
			v := value{byte(rng.Uint32()), now + clock.Time(rng.IntN(2000))}
			s.put(&k, []byte{v.data}, v.expires, now)
			m[i] = v
		default:
			want, ok := m[i]
			ok = ok && now < want.expires
			if got := s.get(&k, now); (got != nil) != ok || ok && got[0] != want.data {
				t.Fatalf("key %d at %d: %v, want %v %v", i, now, got, want, ok)
			}
		}
	}
	if s.stats().Evicted != 0 {
		t.Error("values were given up although there was room")
	}
	k := testKey(7)
	if n := testing.AllocsPerRun(100, func() {
		s.put(&k, []byte{1}, clock.Never, 0)
		s.get(&k, 1)
		s.delete(&k)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestRefusalsAreBounded(t *testing.T) {
	var r refusals
	r.init(4)
	id := func(i int) MethodID { return MethodID{0: byte(i), 15: 1} }
	for i := range 6 {
		r.add(id(i), clock.Time(time.Second))
	}
	for i := range 6 {
		if got := r.has(id(i), 0); got != (i >= 2) {
			t.Errorf("method %d refused: %v", i, got)
		}
	}
	r.add(id(5), 2*clock.Time(time.Second))
	if !r.has(id(5), clock.Time(time.Second)) || r.has(id(4), clock.Time(time.Second)) {
		t.Error("a refusal did not last as long as the later one, or longer than it should")
	}
	r.forget(id(5))
	if r.has(id(5), 0) || len(r.byMethod) > 4 {
		t.Error("forgotten, and still there")
	}
	for i := range 100 { // whatever was forgotten meanwhile, no more than four
		r.add(id(i), clock.Never)
		if i%3 == 0 {
			r.forget(id(i))
		}
		if len(r.byMethod) > 4 {
			t.Fatal(fmt.Sprint(len(r.byMethod), " refusals"))
		}
	}
}

func TestBucket(t *testing.T) {
	b := newBucket(10, 2)
	at := func(ms int) clock.Time { return clock.Time(ms) * clock.Time(time.Millisecond) }
	for i, c := range []struct {
		ms   int
		want bool
	}{{0, true}, {0, true}, {0, false}, {50, false}, {100, true}, {150, false}, {5000, true}, {5000, true}, {5000, false}} {
		if got := b.take(1, at(c.ms)); got != c.want {
			t.Errorf("step %d: %v", i, got)
		}
	}
}
