package threads_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/janos-os/janos/click"
	_ "github.com/janos-os/janos/click/elements"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

func init() {
	click.Register(click.Class{Name: "TestOrder", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &order{} }})
}

// order numbers packets that have no number yet, and complains about those whose number is not the next one.
type order struct {
	click.Base
	numbers   bool
	next, bad uint32
	count     uint64
}

func (e *order) Configure(a *click.Args) { a.Parse(click.May("NUMBERS", click.Bool(&e.numbers))) }

func (e *order) Act(b *packet.Batch) {
	for _, p := range b.Packets() {
		if e.numbers {
			binary.BigEndian.PutUint32(p.Data(), e.next)
		} else if binary.BigEndian.Uint32(p.Data()) != e.next {
			e.bad++
		}
		e.next++
		e.count++
	}
}

func (e *order) Inherit(old click.Element) error {
	o := old.(*order)
	e.next, e.bad, e.count = o.next, o.bad, o.count
	return nil
}

func (e *order) AddHandlers(h *click.Handlers) {
	h.Count("count", &e.count)
	h.Read("bad", func() string { return strconv.Itoa(int(e.bad)) })
}

// running is a router on a node with workers of its own.
type running struct {
	t *testing.T
	r *click.Router
	d *nodeos.Domain

	mu  sync.Mutex
	out bytes.Buffer
}

func (s *running) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(b)
}

func (s *running) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.String()
}

func start(t *testing.T, threads int, config string) *running {
	t.Helper()
	n, err := nodeos.NewNode(nodeos.NodeSpec{Name: "threads", Clock: clock.NewReal(), Seed: 1, Workers: threads})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	spec, err := click.Parse("config", config, click.ParseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s := &running{t: t}
	if s.d, err = n.Root().NewDomain(nodeos.DomainSpec{Account: resctl.Spec{Name: "graph"}}); err != nil {
		t.Fatal(err)
	}
	if s.r, err = click.New(spec, click.Env{Domain: s.d, Worker: 0, Threads: threads, Output: s, Stdout: s}); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *running) read(name string) string {
	s.t.Helper()
	v, err := s.r.Read(name, "")
	if err != nil {
		s.t.Fatalf("%s: %v", name, err)
	}
	return strings.TrimSpace(v)
}

func (s *running) number(name string) int {
	s.t.Helper()
	n, err := strconv.Atoi(s.read(name))
	if err != nil {
		s.t.Fatalf("%s: %v", name, err)
	}
	return n
}

// until reads a handler until it has a value.
func (s *running) until(name, want string) {
	s.t.Helper()
	limit := time.Now().Add(60 * time.Second)
	for s.read(name) != want {
		if time.Now().After(limit) {
			s.t.Fatalf("%s is %s and never %s\n%s", name, s.read(name), want, s.text())
		}
	}
}

// end closes the router, which must not hold a frame afterwards.
func (s *running) end() {
	s.t.Helper()
	s.r.Close()
	for w := range s.d.Node().Workers() { // what was freed elsewhere goes home at the end of a turn
		s.d.Node().Worker(w).Call(func() {})
	}
	if n := s.d.Account().Use(resctl.Frames); n != 0 {
		s.t.Errorf("%d frames are still charged", n)
	}
}

func TestTwoPaths(t *testing.T) {
	s := start(t, 2, `StaticThreadSched(s1 0, s2 1);
		s1 :: InfiniteSource(LIMIT 60000, BURST 4) -> c1 :: Counter -> q1 :: Queue -> u1 :: Unqueue(4) -> Discard;
		s2 :: InfiniteSource(LIMIT 60000, BURST 4) -> c2 :: Counter -> q2 :: Queue -> u2 :: Unqueue(4) -> Discard;
		StaticThreadSched(u1 0, u2 1);`)
	for i, name := range []string{"s1", "u1", "s2", "u2"} {
		if got := s.number(name + ".home_thread"); got != i/2 {
			t.Errorf("%s runs in thread %d", name, got)
		}
	}
	s.until("u1.count", "60000")
	s.until("u2.count", "60000")
	if a, b := s.number("q1.drops"), s.number("q2.drops"); a+b != 0 {
		t.Errorf("drops %d and %d", a, b)
	}
	s.end()
}

// Packets that go from thread to thread through queues of all kinds arrive in their order, and none is lost where sources heed that a queue is full.
func TestPacketsCross(t *testing.T) {
	for _, queue := range []string{"Queue(16)", "QuickNoteQueue(7)", "Queue(1)", "Queue(1000)"} {
		for _, back := range []int{0, 2} {
			t.Run(fmt.Sprintf("%s to %d", queue, back), func(t *testing.T) {
				s := start(t, 3, fmt.Sprintf(`StaticThreadSched(src 0, u 1, v %d);
					src :: InfiniteSource(LIMIT 20000, BURST 1) -> TestOrder(true) -> q :: %s -> u :: Unqueue(3) -> o :: TestOrder
						-> big :: Queue(100000) -> v :: Unqueue(32) -> p :: TestOrder -> d :: Discard;`, back, queue))
				s.until("d.count", "20000")
				if s.read("o.bad") != "0" || s.read("p.bad") != "0" || s.read("q.drops") != "0" || s.read("q.length") != "0" || s.number("q.highwater_length") < 1 {
					t.Errorf("%s and %s in the wrong order, %s dropped, %s left, at most %s", s.read("o.bad"), s.read("p.bad"), s.read("q.drops"), s.read("q.length"), s.read("q.highwater_length"))
				}
				s.end()
			})
		}
	}
}

// What a queue between threads drops is counted or goes to its second output, on the thread that pushes.
func TestQueueOverflowsBetweenThreads(t *testing.T) {
	s := start(t, 2, `StaticThreadSched(src 0, u 1);
		src :: InfiniteSource(LIMIT 50000, BURST 16) -> Null -> q :: SimpleQueue(10) -> u :: Unqueue -> d :: Discard; q[1] -> lost :: Counter -> Discard;`)
	s.until("src.count", "50000")
	s.until("q.length", "0")
	s.until("d.count", strconv.Itoa(50000-s.number("q.drops")))
	if s.number("q.drops") != s.number("lost.count") || s.number("lost.count") == 0 {
		t.Errorf("%d drops, %d went to the second output", s.number("q.drops"), s.number("lost.count"))
	}
	s.end()
}

func TestPartsAreKeptTogether(t *testing.T) {
	s := start(t, 2, `StaticThreadSched(a 0, b 1, r 1);
		a :: InfiniteSource(LIMIT 10) -> c :: Counter -> Discard; b :: InfiniteSource(LIMIT 10) -> c;
		x :: InfiniteSource(LIMIT 10) -> f :: FrontDropQueue -> r :: Unqueue -> Discard;`)
	if !strings.Contains(s.text(), "'a :: InfiniteSource' and 'b :: InfiniteSource' cannot run in threads 0 and 1") {
		t.Errorf("the message is %q", s.text())
	}
	for name, want := range map[string]int{"a": 0, "b": 0, "x": 1, "r": 1} {
		if got := s.number(name + ".home_thread"); got != want {
			t.Errorf("%s runs in thread %d, want %d", name, got, want)
		}
	}
	s.until("c.count", "20")
	s.end()
}

// Elements of two threads call handlers of each other all the time, and so does the control side; nobody waits for ever, and no call is lost.
func TestHandlersOfOtherThreads(t *testing.T) {
	s := start(t, 2, `StaticThreadSched(s1 0, s2 1);
		s1 :: InfiniteSource -> c1 :: Counter(COUNT_CALL 1 k1.run) -> Discard;
		s2 :: InfiniteSource -> c2 :: Counter(COUNT_CALL 1 k2.run) -> Discard;
		k1 :: Script(TYPE PASSIVE, set n $(add $n 1), write c2.reset_counts, write c1.count_call $(add $(c1.count) 50));
		k2 :: Script(TYPE PASSIVE, set n $(add $n 1), write c1.reset_counts, write c2.count_call $(add $(c2.count) 50));
		t1 :: Script(TYPE PASSIVE, return $(c1.count)); t2 :: Script(TYPE PASSIVE, return $(c2.count));`)
	before1, before2 := s.number("s1.count"), s.number("s2.count")
	for range 200 {
		s.number("c1.count")
		s.number("t2.run")
		if err := s.r.Write("c2.reset_counts", ""); err != nil {
			t.Fatal(err)
		}
	}
	limit := time.Now().Add(30 * time.Second)
	for s.number("s1.count") == before1 || s.number("s2.count") == before2 {
		if time.Now().After(limit) {
			t.Fatal("a source stands still")
		}
	}
	if s.text() != "" {
		t.Error(s.text())
	}
	s.end()
}

// Routers replace each other while packets flow on two threads and between them: no packet that was in a queue is lost, and none overtakes another one.
func TestReplaceUnderLoad(t *testing.T) {
	const config = `StaticThreadSched(src 0, u 1, %s 1);
		src :: InfiniteSource(LIMIT 150000, BURST 1) -> TestOrder(true) -> q :: Queue(%d) -> u :: Unqueue(5) -> o :: TestOrder -> d :: Discard;
		other :: InfiniteSource(BURST 4) -> Counter -> Discard;`
	s := start(t, 2, fmt.Sprintf(config, "other", 500))
	for i := range 12 {
		spec, err := click.Parse("next", fmt.Sprintf(config, []string{"other", "src"}[i%2], 500+i), click.ParseOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if s.r, err = s.r.Replace(spec); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			s.number("d.count")
		}
	}
	s.until("d.count", "150000")
	if s.read("o.bad") != "0" || s.read("q.drops") != "0" {
		t.Errorf("%s in the wrong order, %s dropped", s.read("o.bad"), s.read("q.drops"))
	}
	s.end()
}

// The queue between two threads changes its size and is emptied while they run.
func TestQueueChangesBetweenThreads(t *testing.T) {
	s := start(t, 2, `StaticThreadSched(src 0, u 1);
		src :: InfiniteSource(LIMIT 40000, BURST 1) -> q :: Queue(64) -> u :: Unqueue(2) -> d :: Discard;`)
	for i := range 60 {
		if err := s.r.Write("q.capacity", strconv.Itoa(1+i*7%50)); err != nil {
			t.Fatal(err)
		}
		if i%10 == 9 {
			if err := s.r.Write("q.reset", ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.until("src.count", "40000")
	s.until("q.length", "0")
	s.until("d.count", strconv.Itoa(40000-s.number("q.drops")))
	s.end()
}

// The node closes while threads run and the control side asks them things.
func TestNodeClosesMeanwhile(t *testing.T) {
	for range 10 {
		s := start(t, 2, `StaticThreadSched(s1 0, s2 1, u 0); s1 :: InfiniteSource -> c1 :: Counter -> Discard;
			s2 :: InfiniteSource -> c2 :: Counter(COUNT_CALL 10 c1.reset) -> q :: Queue -> u :: Unqueue -> Discard;`)
		asked := make(chan struct{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := 0; ; i++ {
				if _, err := s.r.Read("c2.count", ""); err != nil {
					return
				}
				if i == 3 {
					close(asked)
				}
			}
		}()
		<-asked
		if err := s.d.Node().Close(); err != nil {
			t.Error(err)
		}
		<-done
	}
}
