package ants

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/resctl"
)

// bigPing is a protocol with code of many chunks, in two classes.
func bigPing(t testing.TB) *Protocol {
	p := proto(t, "big", "ping", "count")
	p.Groups[0].Classes[0].Code = padded(p.Groups[0].Classes[0].Code, 40_000)
	p.Groups[0].Classes[1].Code = padded(p.Groups[0].Classes[1].Code, 5_000)
	return p
}

func TestLoadOfManyChunks(t *testing.T) {
	n := newNet(t)
	x := n.chain(3, nil)
	p := bigPing(t)
	x[0].register(p)
	for seq := range uint32(10) { // all wait for the code
		x[0].send(capsule(t, p, "ping", x[2], pingData(seq)))
	}
	n.pass(time.Second)
	if len(x[0].got) != 10 {
		t.Errorf("%d of 10 came back", len(x[0].got))
	}
	s := x[1].ee.Stats()
	chunks := 0
	for _, c := range p.Groups[0].Classes {
		chunks += chunksOf(len(c.Code))
	}
	if s.Counts.Loads != 1 || int(s.Counts.ChunksIn) != chunks || int(s.Counts.ChunksOut) != chunks {
		t.Errorf("%d loads, %d chunks in, %d out; want 1, %d, %d", s.Counts.Loads, s.Counts.ChunksIn, s.Counts.ChunksOut, chunks, chunks)
	}
	// The second class of the group came along.
	x[0].send(capsule(t, p, "count", x[2], make([]byte, 16)))
	n.pass(time.Second)
	if len(x[2].got) != 1 || x[2].ee.Stats().Counts.Loads != 1 {
		t.Errorf("class count: %d delivered, %d loads", len(x[2].got), x[2].ee.Stats().Counts.Loads)
	}
}

func TestLoadFromALiar(t *testing.T) {
	n := newNet(t)
	x := n.chain(3, nil)
	p := bigPing(t)
	x[0].register(p)
	// What node 1 gives away differs from what it runs by one bit.
	code := x[0].ee.protocols[p.ID()].groups[0].classes[1].bytes
	code[2*ChunkSize+5] ^= 1
	for seq := range uint32(3) {
		x[0].send(capsule(t, p, "ping", x[2], pingData(seq)))
	}
	n.pass(2 * time.Second)
	s := x[1].ee.Stats()
	if s.Counts.LoadsFailed != 1 || s.Counts.LoadsDone != 0 || s.Refused != 2 || len(s.Protocols) != 0 {
		t.Errorf("counts %+v, %d refused, protocols %v", s.Counts, s.Refused, s.Protocols)
	}
	x[1].wantDrops(map[Cause]uint64{DropLoadFailed: 3})
	ev := x[1].last(LoadFailed)
	if ev == nil || !strings.Contains(ev.Reason, "fingerprint") || ev.Dropped != 3 || ev.Peer != x[0].ee.Addr() {
		t.Errorf("event %+v", ev)
	}
	x[1].clean()
	// For a while it is not even tried, at no cost; then it is, and works.
	x[0].send(capsule(t, p, "ping", x[2], pingData(3)))
	n.pass(time.Second)
	x[1].wantDrops(map[Cause]uint64{DropLoadFailed: 3, DropRefused: 1})
	code[2*ChunkSize+5] ^= 1
	n.pass(3 * time.Second)
	x[0].send(capsule(t, p, "ping", x[2], pingData(4)))
	n.pass(time.Second)
	if len(x[0].got) != 1 {
		t.Errorf("%d pings came back once the liar told the truth, want 1", len(x[0].got))
	}
}

// TestLoadIsChecked sends one wrong response each, with the right token.
func TestLoadIsChecked(t *testing.T) {
	p := bigPing(t)
	m, err := p.Method("ping")
	if err != nil {
		t.Fatal(err)
	}
	dir := directory{name: "big", groups: []GroupID{p.Groups[0].ID()}}
	for _, c := range p.Groups[0].Classes {
		dir.classes = append(dir.classes, dirClass{CodeIDOf(c.Code), len(c.Code)})
	}
	swapped := dir
	swapped.classes = []dirClass{{CodeID{1}, 100}}
	long := dir
	long.classes = append([]dirClass(nil), dir.classes...)
	long.classes[0].length = MaxCode + 1
	noName := dir
	noName.name = "a b"
	first := p.Groups[0].Classes[0].Code
	for _, c := range []struct {
		name string
		send []dlResponse
		want string // in the reason; empty: the load goes on, and ends by silence
	}{
		{"refusal", []dlResponse{{kind: dlRefusal}}, "does not have"},
		{"another group", []dlResponse{{kind: dlDirectory, body: swapped.put(nil)}}, "not a group of the protocol"},
		{"code above the limit", []dlResponse{{kind: dlDirectory, body: long.put(nil)}}, "malformed"},
		{"name", []dlResponse{{kind: dlDirectory, body: noName.put(nil)}}, "printable"},
		{"chunk of a wrong length", []dlResponse{{kind: dlDirectory, body: dir.put(nil)},
			{kind: dlChunk, body: (&chunk{dir.classes[0].code, 0, first[:100]}).put(nil)}}, "has 100 bytes"},
		{"chunk of other code", []dlResponse{{kind: dlDirectory, body: dir.put(nil)},
			{kind: dlChunk, body: (&chunk{dir.classes[1].code, 0, first[:ChunkSize]}).put(nil)}}, "did not answer"},
		{"chunk first", []dlResponse{{kind: dlChunk, body: (&chunk{dir.classes[0].code, 0, first[:ChunkSize]}).put(nil)}}, "did not answer"},
		{"silence", nil, "did not answer"},
	} {
		n := newNet(t)
		x := n.chain(2, nil)
		mute := x[0]
		if err := mute.routes.Set(nil, nil); err != nil { // it knows nobody, and therefore answers nobody
			t.Fatal(err)
		}
		x[1].arrive(&Capsule{Method: m, Src: mute.ee.Addr(), Dst: x[1].ee.Addr(), Prev: mute.ee.Addr(), TTL: 3, Data: pingData(1)})
		n.pass(0)
		f := x[1].ee.methods[m].flow
		if f == nil || f.domain.State() != nodeos.Active {
			t.Fatalf("%s: no domain while the code is asked for", c.name)
		}
		if got := f.domain.Account().Use(resctl.CodeLoads); got != 1 {
			t.Errorf("%s: %d code loads charged", c.name, got)
		}
		for _, r := range c.send {
			r.method, r.token = m, f.load.token
			x[1].arrive(&Capsule{Method: MethodDLResponse, Src: mute.ee.Addr(), Dst: x[1].ee.Addr(), Prev: mute.ee.Addr(), Data: r.put(nil)})
			n.pass(0)
		}
		n.pass(3 * time.Second)
		ev := x[1].last(LoadFailed)
		if ev == nil || !strings.Contains(ev.Reason, c.want) || ev.Dropped != 1 {
			t.Errorf("%s: %+v", c.name, ev)
		}
		x[1].clean()
		if got := x[1].ee.Stats().Drops[DropLoadFailed.String()]; got != 1 {
			t.Errorf("%s: %d waiting capsules dropped", c.name, got)
		}
	}
}

func TestUnexpectedResponses(t *testing.T) {
	n := newNet(t)
	x := n.chain(2, nil)
	p := bigPing(t)
	m, _ := p.Method("ping")
	r := dlResponse{method: m, token: 1, kind: dlRefusal}
	answer := &Capsule{Method: MethodDLResponse, Src: x[0].ee.Addr(), Dst: x[1].ee.Addr(), Prev: x[0].ee.Addr(), Data: r.put(nil)}
	x[1].arrive(answer) // nobody asked
	if err := x[0].routes.Set(nil, nil); err != nil {
		t.Fatal(err)
	}
	x[1].arrive(&Capsule{Method: m, Src: x[0].ee.Addr(), Dst: x[1].ee.Addr(), Prev: x[0].ee.Addr(), TTL: 3, Data: pingData(1)})
	f := x[1].ee.methods[m].flow
	r.token = f.load.token + 1
	answer.Data = r.put(nil)
	x[1].arrive(answer) // somebody guessed the token
	r.token = f.load.token
	answer.Data, answer.Src = r.put(nil), 0x0a000009
	x[1].arrive(answer) // somebody else answers
	answer.Src, answer.Data = x[0].ee.Addr(), []byte{1}
	x[1].arrive(answer)
	x[1].wantDrops(map[Cause]uint64{DropUnexpected: 3, DropMalformed: 1})
	if f.state != flowLoading {
		t.Errorf("the load is %s", flowStates[f.state])
	}
	// Requests from nodes that are no neighbours, and malformed ones.
	q := dlRequest{method: m}
	x[1].arrive(&Capsule{Method: MethodDLRequest, Src: 0x0a000009, Dst: x[1].ee.Addr(), Data: q.put(nil)})
	x[1].arrive(&Capsule{Method: MethodDLRequest, Src: x[0].ee.Addr(), Dst: x[1].ee.Addr(), Data: []byte{1}})
	x[1].wantDrops(map[Cause]uint64{DropUnexpected: 3, DropMalformed: 2, DropServe: 1})
}

// TestUnknownFlood sends capsules of very many unknown methods.
func TestUnknownFlood(t *testing.T) {
	n := newNet(t)
	x := n.chain(2, func(s *Spec) { s.Limits.Loading = 4 })
	if err := x[0].routes.Set(nil, nil); err != nil {
		t.Fatal(err)
	}
	c := Capsule{Src: x[0].ee.Addr(), Dst: x[1].ee.Addr(), Prev: x[0].ee.Addr(), TTL: 3, Data: pingData(1)}
	for i := range 2000 {
		c.Method = MethodID{0: byte(i), 1: byte(i >> 8), 2: 1}
		x[1].arrive(&c)
		if i%10 == 0 {
			n.pass(time.Millisecond)
		}
		if l := x[1].ee.loading; l > 2 { // half of the limit, from one neighbour
			t.Fatalf("%d protocols are being loaded at once", l)
		}
	}
	n.pass(5 * time.Second)
	x[1].clean()
	s := x[1].ee.Stats()
	if s.Drops["no_load"]+s.Drops["load_failed"] != 2000 || s.Drops["load_failed"] == 0 {
		t.Errorf("drops %v", s.Drops)
	}
	// From a node that is no neighbour, or by another link, nothing is loaded at all.
	loads := s.Counts.Loads
	c.Prev = 0x0a000009
	x[1].arrive(&c)
	if got := x[1].ee.Stats().Counts.Loads; got != loads {
		t.Errorf("%d loads from strangers", got-loads)
	}
}

func TestWaitingIsBounded(t *testing.T) {
	n := newNet(t)
	x := n.chain(2, func(s *Spec) { s.Limits.Waiting, s.Limits.WaitingBytes = 10, 4000 })
	if err := x[0].routes.Set(nil, nil); err != nil {
		t.Fatal(err)
	}
	c := Capsule{Method: MethodID{1}, Src: x[0].ee.Addr(), Dst: x[1].ee.Addr(), Prev: x[0].ee.Addr(), TTL: 3, Data: make([]byte, 100)}
	for range 15 {
		x[1].arrive(&c)
	}
	c.Method, c.Data = MethodID{2}, make([]byte, 1200)
	for range 5 {
		x[1].arrive(&c)
	}
	x[1].wantDrops(map[Cause]uint64{DropWaiting: 5 + 2})
	n.pass(3 * time.Second)
	x[1].wantDrops(map[Cause]uint64{DropWaiting: 7, DropLoadFailed: 10 + 3})
	x[1].clean()
}

// TestGroupsOfOneProtocol loads two groups at different times: they share one domain and its state.
func TestGroupsOfOneProtocol(t *testing.T) {
	for _, together := range []bool{false, true} {
		n := newNet(t)
		x := n.chain(2, nil)
		p := proto(t, "two", "ping")
		p.Groups = append(p.Groups, Group{Name: "more", Classes: []Class{{"count", wasm(t, "count")}, {"spawn", wasm(t, "spawn")}}})
		x[0].register(p)
		x[0].send(capsule(t, p, "ping", x[1], pingData(1)))
		if !together {
			n.pass(time.Second)
		}
		x[0].send(capsule(t, p, "count", x[1], make([]byte, 16)))
		n.pass(time.Second)
		if len(x[0].got) != 1 || len(x[1].got) != 1 {
			t.Errorf("together %v: %d and %d delivered, events %+v", together, len(x[0].got), len(x[1].got), n.events)
		}
		s := x[1].ee.Stats()
		if len(s.Protocols) != 1 || len(s.Protocols[0].Classes) != 3 || s.Counts.Loads != 2 || s.Counts.LoadsDone != 2 || s.Counts.LoadsFailed != 0 {
			t.Errorf("together %v: %+v", together, s)
		}
		if err := x[1].ee.Unregister(p.ID()); err != nil {
			t.Error(err)
		}
		n.pass(time.Second)
		x[1].clean()
	}
}

func TestIdleProtocolIsForgotten(t *testing.T) {
	n := newNet(t)
	x := n.chain(2, func(s *Spec) { s.Limits.Idle = 20 * time.Second })
	p := proto(t, "ping", "ping")
	x[0].register(p)
	x[0].send(capsule(t, p, "ping", x[1], pingData(1)))
	n.pass(15 * time.Second)
	x[0].send(capsule(t, p, "ping", x[1], pingData(2)))
	n.pass(15 * time.Second)
	if got := len(x[1].ee.Stats().Protocols); got != 1 {
		t.Errorf("%d protocols while it is used", got)
	}
	n.pass(10 * time.Second)
	x[1].clean()
	if ev := x[1].last(DomainEnded); ev == nil || !strings.Contains(ev.Reason, "not used") {
		t.Errorf("event %+v", ev)
	}
	if got := len(x[0].ee.Stats().Protocols); got != 1 {
		t.Errorf("the registered protocol is gone where it was registered")
	}
	x[0].send(capsule(t, p, "ping", x[1], pingData(3)))
	n.pass(time.Second)
	if len(x[0].got) != 3 {
		t.Errorf("%d pings came back", len(x[0].got))
	}
}

// TestDomainEndsWhileLoading has the operator end a domain at a bad moment.
func TestDomainEndsWhileLoading(t *testing.T) {
	n := newNet(t)
	x := n.chain(2, nil)
	if err := x[0].routes.Set(nil, nil); err != nil {
		t.Fatal(err)
	}
	c := Capsule{Method: MethodID{1}, Src: x[0].ee.Addr(), Dst: x[1].ee.Addr(), Prev: x[0].ee.Addr(), TTL: 3, Data: make([]byte, 100)}
	x[1].arrive(&c)
	x[1].ee.methods[c.Method].flow.domain.Terminate(errs.New(errs.Dead, "because"))
	x[1].arrive(&c)
	n.pass(5 * time.Second)
	x[1].clean()
	if x[1].ee.loading != 0 || len(x[1].ee.methods) != 0 {
		t.Errorf("%d loading, %d methods", x[1].ee.loading, len(x[1].ee.methods))
	}
}

func TestMemoryLimitRefusesLoad(t *testing.T) {
	n := newNet(t)
	x := n.chain(2, func(s *Spec) { s.Protocol.Limit[resctl.Memory] = 200 << 10 })
	p := bigPing(t)
	m, _ := p.Method("ping")
	if err := x[0].ee.Register(p); errs.KindOf(err) != errs.Limit {
		t.Errorf("registering 45 KB where its tables do not fit: %v", err)
	}
	n.pass(time.Second)
	x[0].clean()
	if err := x[0].ee.Send(&Capsule{Method: m, Dst: x[1].ee.Addr()}); errs.KindOf(err) != errs.NotFound {
		t.Errorf("sending it all the same: %v", err)
	}
}

// variant returns a protocol of its own that does the same as ping.
func variant(t testing.TB, i int) *Protocol {
	p := proto(t, fmt.Sprintf("ping%d", i), "ping")
	p.Groups[0].Classes[0].Code = padded(p.Groups[0].Classes[0].Code, i)
	return p
}

// TestRoomForProtocols has a node forget the protocol that was not used for the longest time.
func TestRoomForProtocols(t *testing.T) {
	n := newNet(t)
	n.add(nil)
	n.add(func(s *Spec) { s.Limits.Protocols = 3 })
	x := n.nodes
	n.connect(x[0], x[1], 1500)
	x[0].route(nil)
	x[1].route(nil)
	x[1].register(proto(t, "count", "count")) // takes one place, for good
	send := func(i int) {
		p := variant(t, i)
		x[0].register(p)
		x[0].send(capsule(t, p, "ping", x[1], pingData(uint32(i))))
		n.pass(10 * time.Millisecond)
	}
	names := func() (s string) {
		for _, p := range x[1].ee.Stats().Protocols {
			s += p.Name + " "
		}
		return s
	}
	send(1)
	send(2)
	send(3) // all are in use
	if got := names(); got != "count ping1 ping2 " {
		t.Errorf("protocols %s", got)
	}
	x[1].wantDrops(map[Cause]uint64{DropNoLoad: 1})
	n.pass(time.Second)
	send(1)
	send(3)
	if got := names(); got != "count ping1 ping3 " {
		t.Errorf("protocols %s", got)
	}
	if len(x[0].got) != 4 {
		t.Errorf("%d pings came back", len(x[0].got))
	}
}

// TestOperatorEndsProtocol ends the domain of a protocol from outside, with capsules in its queue.
func TestOperatorEndsProtocol(t *testing.T) {
	n := newNet(t)
	x := n.chain(2, nil)
	p := proto(t, "ping", "ping")
	x[0].register(p)
	x[0].send(capsule(t, p, "ping", x[1], pingData(1)))
	n.pass(time.Second)
	c := capsule(t, p, "ping", x[1], pingData(2))
	c.Src, c.Prev, c.TTL = x[0].ee.Addr(), x[0].ee.Addr(), 10
	for range 5 {
		x[1].arrive(c)
	}
	x[1].ee.protocols[p.ID()].domain.Terminate(errs.New(errs.Dead, "the operator says so"))
	n.pass(time.Millisecond)
	x[1].clean()
	x[1].arrive(c)
	left := x[1].ee.Stats()
	if sum := left.Counts.Evaluated + left.Drops["domain_ended"]; sum != 6 || left.Drops["refused"] != 1 {
		t.Errorf("%d evaluated, drops %v", left.Counts.Evaluated, left.Drops)
	}
	n.pass(5 * time.Second)
	x[1].arrive(c)
	n.pass(time.Second)
	if got := x[1].ee.Stats().Counts.LoadsDone; got != 2 {
		t.Errorf("%d loads; after a moment it may come back", got)
	}
}
