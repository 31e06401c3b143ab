package conformance

import (
	"bytes"
	"embed"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/janos-os/janos/errs"
	guestee "github.com/janos-os/janos/examples/guest-ee"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/vm"
	"github.com/janos-os/janos/vm/nodeosabi"
)

//go:embed testdata/*.wasm
var modules embed.FS

// Rig is a host with a domain for guests, and the tester on the other side of a network.
type Rig struct {
	Binding *nodeosabi.Binding
	Domain  nodeosabi.Domain // fresh, with Limits
	Port    *nodeosabi.Port  // of UDP; it leads to Peer and not to 192.0.2.1
	Peer    nodeosabi.Remote // the tester
	Send    func(payload []byte)
	// Receive returns what comes to the tester next, or nil after the given time.
	Receive func(wait time.Duration) []byte
}

// Limits are those of a rig's domain.
func Limits() resctl.Amounts {
	return resctl.Amounts{resctl.Memory: 16 << 20, resctl.Frames: 400, resctl.CodeLoads: 100}
}

// patience is how long something may take that has to happen. It is only used up by a test that fails.
const patience = 20 * time.Second

func module(t testing.TB, name string) []byte {
	t.Helper()
	b, err := modules.ReadFile("testdata/" + name + ".wasm")
	if err != nil {
		b, err = guestee.Modules.ReadFile("guests/" + name + ".wasm")
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// FuzzModule is testdata/fuzz.wasm, for fuzz targets of hosts.
func FuzzModule(t testing.TB) []byte { return module(t, "fuzz") }

// tester is one run.
type tester struct {
	*testing.T
	*Rig
	guest *nodeosabi.Guest
	lines []string
}

// expect waits for a packet that begins with prefix.
func (t *tester) expect(prefix string) []byte {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if b := t.Receive(10 * time.Millisecond); b != nil {
			if strings.HasPrefix(string(b), "GEs\x03") { // an answer to alive that took long
				continue
			}
			if !strings.HasPrefix(string(b), prefix) {
				t.Fatalf("%q came, want %q", b, prefix)
			}
			return b
		}
		select {
		case <-t.guest.Done():
			if b := t.Receive(time.Second); b != nil && strings.HasPrefix(string(b), prefix) {
				return b
			}
			t.Fatalf("the guest has ended before %q: %+v", prefix, t.guest.Status())
		default:
		}
	}
	t.Fatalf("%q did not come; the guest is %+v", prefix, t.guest.Status())
	return nil
}

// upload sends a module in pieces to conform.c.
func (t *tester) upload(name string) {
	code := module(t, name)
	const piece = 1000
	n := (len(code) + piece - 1) / piece
	t.expect("r")
	for k := range n {
		t.Send(append([]byte{'c', byte(n)}, code[k*piece:min((k+1)*piece, len(code))]...))
	}
}

// finish waits for the guest's end and returns how it ended.
func (t *tester) finish() vm.Status {
	t.Helper()
	select {
	case <-t.guest.Done():
	case <-time.After(patience):
		t.Fatalf("the guest does not end: %+v", t.guest.Status())
	}
	return t.guest.Status()
}

// returned wants the guest to have returned 0.
func (t *tester) returned() {
	t.Helper()
	if st := t.finish(); st.Cause != vm.ImplicitExit || st.Code != 0 {
		t.Errorf("the guest ended with %v, code %d, %v (from 1000: that line of conform.c)", st.Cause, st.Code, st.Err)
	}
}

// Run runs the suite on what open makes, once for each part.
func Run(t *testing.T, open func(t *testing.T) *Rig) {
	conform := func(name string, what string, n int, script func(t *tester)) {
		t.Run(name, func(t *testing.T) {
			r := &tester{T: t, Rig: open(t)}
			args := make([]byte, 32, 40)
			nodeosabi.PutRemote(args, &r.Peer)
			r.start(module(t, "conform"), append(args, what[0], byte(n)), 0)
			script(r)
			r.close()
		})
	}
	conform("echo", "e", 0, echo)
	conform("wrong", "w", 0, (*tester).returned)
	conform("domains", "d", 0, (*tester).returned)
	conform("timers", "t", 0, func(t *tester) {
		t.returned()
		if len(t.lines) != 1 || t.lines[0] != "hello.world." {
			t.Errorf("the log has %q", t.lines)
		}
	})
	conform("child", "c", 0, child)
	conform("child halted", "c", 1, child)
	conform("handler", "h", 0, func(t *tester) { handler(t, false) })
	conform("handler that faults", "h", 1, func(t *tester) { handler(t, true) })
	conform("handler that calls", "k", 0, caller)
	conform("hand-off", "o", 0, func(t *tester) {
		t.expect("r")
		t.Send([]byte("over"))
		t.expect("over")
		t.returned()
	})
	for k, what := range []string{"handles", "channels", "domains", "isolates", "closing", "nesting"} {
		conform("storm of "+what, "s", k, (*tester).returned)
	}
	for k, what := range []string{"receive", "wait", "short waits", "polling"} {
		for _, how := range []string{"killed", "its domain ended"} {
			conform(what+", "+how, "z", k, func(t *tester) {
				t.expect("r")
				if how == "killed" {
					t.guest.Kill(errs.New(errs.Refused, "by the tester"))
				} else {
					t.Domain.End(errs.New(errs.Refused, "by the tester"))
				}
				if st := t.finish(); st.Cause != vm.ByKill || errs.KindOf(st.Err) != errs.Refused {
					t.Errorf("it ended with %v, %v", st.Cause, st.Err)
				}
			})
		}
	}
	t.Run("execution environment", func(t *testing.T) {
		r := &tester{T: t, Rig: open(t)}
		r.start(module(t, "ee"), nil, 0)
		environment(r)
		r.close()
	})
}

func (t *tester) start(code, args []byte, handles int) {
	t.Helper()
	var err error
	done := make(chan struct{})
	t.guest, err = t.Binding.Start(t.Domain, nodeosabi.GuestSpec{Name: "conform", Code: code, Ports: []*nodeosabi.Port{t.Port}, Args: args, Handles: handles, Log: func(l string) {
		select {
		case <-done:
		default:
			t.lines = append(t.lines, l)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close(done) })
}

// close ends the domain, which must leave nothing.
func (t *tester) close() {
	t.Helper()
	t.guest.Kill(nil)
	t.finish()
	t.Domain.End(errs.New(errs.Dead, "the test is over"))
	for end := time.Now().Add(patience); ; {
		st, reason := t.Domain.State()
		if st == nodeosabi.Dead {
			if errs.KindOf(reason) == errs.Internal {
				t.Errorf("the domain ended with something left: %v", reason)
			}
			break
		}
		if time.Now().After(end) {
			t.Fatal("the domain does not end")
		}
		t.Receive(time.Millisecond)
	}
	for _, r := range []resctl.Resource{resctl.Memory, resctl.Frames} {
		if n := t.Domain.Account().Use(r); n != 0 {
			t.Errorf("the domain holds %d of %v after its end", n, r)
		}
	}
}

func echo(t *tester) {
	t.expect("r")
	for k := range 40 { // some at a time
		for j := range 5 {
			t.Send(fmt.Appendf(nil, "e-%d-%d", k, j))
		}
		for j := range 5 {
			want := fmt.Sprintf("e-%d-%d", k, j)
			if got := t.expect("e"); string(got) != want {
				t.Fatalf("%q came back, want %q", got, want)
			}
		}
	}
	long := append([]byte("e-"), bytes.Repeat([]byte("x"), 1400)...)
	t.Send(long)
	if got := t.expect("e-x"); !bytes.Equal(got, long) {
		t.Errorf("%d bytes came back, want %d", len(got), len(long))
	}
	t.Send([]byte("f: nobody's"))
	t.Send([]byte("ex"))
	t.returned()
}

func child(t *tester) {
	t.upload("upper")
	t.expect("r")
	for range 3 {
		t.Send([]byte("GEP\x00shouted"))
		if got := t.expect("GEP"); string(got[4:]) != "SHOUTED" {
			t.Errorf("the child answered %q", got)
		}
	}
	t.Send([]byte("c!"))
	t.expect("r")
	t.Send([]byte("c!"))
	t.returned()
}

func handler(t *tester, faults bool) {
	t.upload("shout")
	t.expect("r")
	for k := range 20 {
		t.Send([]byte{'h', byte(k), 'a'})
		if got := t.expect("h"); string(got) != string([]byte{'h', byte(k), 'b'}) {
			t.Errorf("the handler answered %q", got)
		}
	}
	long := append([]byte("h?a"), bytes.Repeat([]byte("tail"), 100)...) // longer than its window
	t.Send(long)
	long[2]++
	if got := t.expect("h"); !bytes.Equal(got, long) {
		t.Errorf("of a long packet came back %q", got)
	}
	t.Send([]byte("c!"))
	t.expect("r")
	t.Send([]byte("c!"))
	if !faults {
		t.expect("r")
		t.Send([]byte("h!a"))
		t.expect("h!b")
		t.Send([]byte("c!"))
	} else {
		for range 16 {
			t.Send([]byte("h?L"))
		}
	}
	t.returned()
}

func caller(t *tester) {
	t.upload("calls")
	t.expect("r")
	for range 5 {
		t.Send([]byte("h?"))
		t.expect("ok")
	}
	t.Send([]byte("c!"))
	t.expect("r")
	t.Send([]byte("h?"))
	t.expect("\xf7\xff\xff\xff") // -9: the handle was revoked
	t.Send([]byte("c!"))
	t.returned()
}

// load gives the execution environment a program.
func (t *tester) load(name string, place byte) int32 {
	code := module(t, name)
	const piece = 1000
	for k := 0; k < len(code); k += piece {
		b := append([]byte("GEL"), place)
		b = binary.LittleEndian.AppendUint16(b, uint16(k))
		b = binary.LittleEndian.AppendUint16(b, uint16(len(code)))
		t.Send(append(b, code[k:min(k+piece, len(code))]...))
	}
	got := t.expect("GEA")
	if got[3] != place || len(got) != 8 {
		t.Fatalf("the answer is % x", got)
	}
	return int32(binary.LittleEndian.Uint32(got[4:]))
}

func (t *tester) upper(place byte) {
	t.Helper()
	t.Send(append([]byte("GEP"), place, 'h', 'i'))
	if got := t.expect("GEP"); string(got[4:]) != "HI" || got[3] != place {
		t.Errorf("place %d answered %q", place, got)
	}
}

// alive asks until the execution environment has its channel.
func (t *tester) alive() {
	t.Helper()
	for range 1000 {
		t.Send([]byte("GES\x03"))
		if b := t.Receive(20 * time.Millisecond); b != nil && string(b[:3]) == "GEs" {
			for t.Receive(50*time.Millisecond) != nil { // answers to the other questions
			}
			return
		}
	}
	t.Fatalf("the execution environment does not answer: %+v", t.guest.Status())
}

// environment: the guest runs programs that it gets from the network, ends the one that loops, and goes on.
func environment(t *tester) {
	t.alive()
	if r := t.load("upper", 0); r != 0 {
		t.Fatalf("loading: %d", r)
	}
	t.upper(0)
	if r := t.load("upper-as", 1); r != 0 {
		t.Fatalf("loading: %d", r)
	}
	t.upper(1)
	t.Send([]byte("GES\x01"))
	if got := t.expect("GEs"); got[4] != 1 || got[5] != 1 {
		t.Errorf("status % x", got)
	}
	if r := t.load("loop", 2); r != 0 {
		t.Fatalf("loading: %d", r)
	}
	t.Send([]byte("GEP\x02go"))
	t.expect("GEP\x02go")
	t.upper(0) // beside it
	t.Send([]byte("GEP\x02more"))
	got := t.expect("GEK")
	if got[3] != 2 || got[4] != byte(errs.OutOfFuel) {
		t.Errorf("the loop ended with % x", got)
	}
	t.upper(0)
	t.upper(1)
	// What the gate refuses is an answer, and the place is free.
	t.Send([]byte("GEL\x02\x00\x00\x04\x00junk"))
	if got := t.expect("GEA"); int32(binary.LittleEndian.Uint32(got[4:])) != -int32(errs.Invalid) {
		t.Errorf("junk: % x", got)
	}
	for range 5 { // the same place again and again
		if r := t.load("upper", 2); r != 0 {
			t.Fatalf("loading again: %d", r)
		}
		t.upper(2)
	}
	t.upper(0)
	select {
	case <-t.guest.Done():
		t.Errorf("the execution environment has ended: %+v", t.guest.Status())
	default:
	}
}
