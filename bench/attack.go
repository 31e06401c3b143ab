package bench

import (
	_ "embed"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm"
)

//go:embed capsules/attack.wasm
var attackCode []byte

// attacks is how many there are in attack.c.
const attacks = 10

// loadBombs are modules of a few bytes that made an engine without a gate allocate what no machine has, or end the process: counts of 2^32-1.
var loadBombs = []string{
	"\x00asm\x01\x00\x00\x00\x01\x08\x01\x60\xff\xff\xff\xff\x0f\x00",                                                 // parameters
	"\x00asm\x01\x00\x00\x00\x01\x05\xff\xff\xff\xff\x0f",                                                             // types
	"\x00asm\x01\x00\x00\x00\x06\x05\xff\xff\xff\xff\x0f",                                                             // globals
	"\x00asm\x01\x00\x00\x00\x07\x05\xff\xff\xff\xff\x0f",                                                             // exports
	"\x00asm\x01\x00\x00\x00\x09\x05\xff\xff\xff\xff\x0f",                                                             // element segments
	"\x00asm\x01\x00\x00\x00\x0a\x05\xff\xff\xff\xff\x0f",                                                             // bodies
	"\x00asm\x01\x00\x00\x00\x0b\x05\xff\xff\xff\xff\x0f",                                                             // data segments
	"\x00asm\x01\x00\x00\x00\x04\x07\x01\x70\x00\xff\xff\xff\xff\x0f",                                                 // table
	"\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x0a\x0a\x01\x08\x01\xff\xff\xff\xff\x0f\x7f\x0b", // locals
}

func init() {
	register(Scenario{Name: "vm-attack", Tier: "memory", Title: "a guest's delays beside every attack that is known",
		Text: "Two threads, each with an isolate of its own in one engine. The victim's evaluates the capsule flow.c on packets of 64 bytes; a delay is that of 16 evaluations, by the clock. The other is " +
			"quiet at first; then it runs the ten attacks of bench/capsules/attack.c in turn, each with a budget of 100,000 units: loops, recursion, calls through the table, a tree of calls " +
			"without loops, growing memory, bulk operations, traps, outputs that cannot be; a loop with budgets of 1 to 48 units; messages, handles and children until they are refused; and in between gives " +
			"23 modules to the gate that ask for what no machine has or make compilers slow, and " +
			"makes and ends isolates. Every attack must end as a fault or be refused. 'x' is the quotient of the 99th percentiles; quiet and attacked are measured in turn, four times in a round, and the least of either count. " +
			"'killed after' is the time, by the clock, from the decision until a process has given everything back, which computes or waits in a kernel call, beside another that computes and beside the attacks; " +
			"the last of its rows leaves out kills during which threads of the benchmark were kept from the processors by other programs. It needs two processors that " +
			"nobody else uses. Memory is what the process has resident after the attacks and a collection, through what it had before.",
		Open: openAttack})
}

type attackTrial struct {
	env    *Env
	guest  *guest
	talk   *talkers // processes that are killed
	bombs  [][]byte
	evil   *vm.Code
	acct   *resctl.Account // the attacker's
	victim *vm.Instance
	isos   []*vm.Isolate
	stop   atomic.Bool
	rounds uint64 // of attacks
}

func openAttack(e *Env) (Trial, error) {
	g, err := newGuest(e, vm.ModeCompiled)
	if err != nil {
		return nil, err
	}
	t := &attackTrial{env: e, guest: g, bombs: bombs()}
	if err := t.build(); err != nil {
		return nil, closeAfter(t, err)
	}
	return t, nil
}

func (t *attackTrial) build() error {
	root, err := resctl.NewTree(resctl.Spec{Name: "node"}, t.env.Clock, 1)
	if err != nil {
		return err
	}
	if t.acct, err = root.NewChild(resctl.Spec{Name: "attacker", Limit: resctl.Amounts{resctl.Memory: 4 << 20}}); err != nil {
		return err
	}
	if t.evil, err = t.guest.engine.Load(attackCode, t.guest.class, t.acct); err != nil {
		return err
	}
	iso, err := t.guest.engine.NewIsolate(vm.IsolateSpec{Name: "victim", Account: t.guest.acct})
	if err != nil {
		return err
	}
	t.isos = append(t.isos, iso)
	if t.victim, err = iso.Instantiate(t.guest.code); err != nil {
		return err
	}
	if t.talk, err = newTalkers(t.env); err != nil {
		return err
	}
	return t.attack() // what is kept for reuse is there from now on
}

// attack does everything once.
func (t *attackTrial) attack() error {
	meter := t.acct.Meter(0)
	iso, err := t.guest.engine.NewIsolate(vm.IsolateSpec{Name: "attacker", Account: t.acct})
	if err != nil {
		return err
	}
	in, err := iso.Instantiate(t.evil)
	for op := 0; op < attacks && err == nil; op++ {
		c := flowCall(8)
		c.Window = []byte{byte(op), 0, 0, 0, 0, 0, 0, 0}
		if v, fault := in.Evaluate(meter, c); fault == nil {
			err = errs.New(errs.Internal, "attack %d ended with verdict %v", op, v)
		}
		meter.Fold()
	}
	if err == nil {
		err = t.storm(iso, in, meter)
		meter.Fold()
	}
	for _, bomb := range t.bombs {
		if code, refused := t.guest.engine.Load(bomb, t.guest.class, t.acct); refused == nil {
			code.Release()
			err = firstError(err, errs.New(errs.Internal, "the gate accepts % x", bomb[:min(len(bomb), 64)]))
		}
	}
	t.rounds++
	return firstError(err, iso.Close())
}

// watch returns the victim's 99th percentile in nanoseconds.
func (t *attackTrial) watch() (float64, error) {
	const batch = 16
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	meter := t.guest.acct.Meter(0)
	c := flowCall(64)
	c.Window = make([]byte, 64)
	var state [8]byte
	delays := make([]time.Duration, 0, 1<<18)
	for end := time.Now().Add(t.env.Time / 4); len(delays) < cap(delays); {
		t0 := time.Now()
		for range batch {
			c.State = state[:]
			if v, err := t.victim.Evaluate(meter, c); err != nil || v != abi.Forward {
				return 0, fmt.Errorf("the victim: verdict %v: %w", v, err)
			}
			copy(state[:], c.Put)
		}
		meter.Fold()
		now := time.Now()
		delays = append(delays, now.Sub(t0))
		if now.After(end) {
			break
		}
	}
	slices.Sort(delays)
	return float64(delays[(len(delays)*99+99)/100-1]), nil
}

// Measure implements Trial.
func (t *attackTrial) Measure(r *Round) error {
	debug.FreeOSMemory()
	before, known := resident()
	goroutines := runtime.NumGoroutine()
	least := [2]float64{}
	n := t.rounds
	for i := range 8 {
		attacked := i & 1
		ended := make(chan error, 1)
		if attacked == 1 {
			t.attackAll(ended)
		} else {
			ended <- nil
		}
		p, err := t.watch()
		t.stop.Store(true)
		if err = firstError(err, <-ended); err != nil {
			return err
		}
		if least[attacked] == 0 || p < least[attacked] {
			least[attacked] = p
		}
	}
	ended := make(chan error, 1)
	t.attackAll(ended)
	err := t.talk.kills(r)
	t.stop.Store(true)
	if err = firstError(err, <-ended); err != nil {
		return err
	}
	// One that has just told its end may still be there for a moment.
	now := runtime.NumGoroutine()
	for range 1000 {
		if now <= goroutines {
			break
		}
		time.Sleep(time.Millisecond)
		now = runtime.NumGoroutine()
	}
	if now > goroutines {
		return errs.New(errs.Internal, "%d goroutines, %d before the attacks", now, goroutines)
	}
	r.Add("quiet p99", "us", least[0]/1e3)
	r.Add("attacked p99", "us", least[1]/1e3)
	if err := r.Ratio("attacked to quiet", "attacked p99", "quiet p99"); err != nil {
		return err
	}
	r.Add("rounds of attacks", "rounds", float64(t.rounds-n))
	debug.FreeOSMemory()
	if after, ok := resident(); ok && known {
		r.Add("memory after to before", "x", after/before)
	}
	return nil
}

// attackAll attacks on a thread of its own until t.stop is set.
func (t *attackTrial) attackAll(ended chan<- error) {
	t.stop.Store(false)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		var err error
		for err == nil && !t.stop.Load() {
			err = t.attack()
		}
		ended <- err
	}()
}

// resident returns the pages that the process has in memory, where the system tells.
func resident() (float64, bool) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, false
	}
	f := strings.Fields(string(text))
	if len(f) < 2 {
		return 0, false
	}
	n, err := strconv.ParseFloat(f[1], 64)
	return n, err == nil && n > 0
}

// Close implements Trial.
func (t *attackTrial) Close() error {
	var err error
	for _, iso := range t.isos {
		err = firstError(err, iso.Close())
	}
	if t.evil != nil {
		t.evil.Release()
	}
	if t.talk != nil {
		err = firstError(err, t.talk.close())
	}
	err = firstError(err, t.guest.close())
	if t.acct != nil {
		if n := t.acct.Use(resctl.Memory); n != 0 {
			err = firstError(err, errs.New(errs.Internal, "%d bytes are charged to the attacker after everything was closed", n))
		}
	}
	return err
}
