package vm

import (
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"runtime"
	"testing"

	"github.com/janos-os/janos/resctl"
)

var long = flag.Bool("long", false, "churn 100,000 isolates")

// TestChurn: isolates of every kind come and go: handlers that are evaluated, that fault, that grow; code that was never seen; children; processes that
// end, and that are killed while they compute or wait. Afterwards nothing is charged, nothing is left in the engine's tables, and the heap is what it was.
func TestChurn(t *testing.T) {
	total := 3000
	if *long {
		total = 100_000
	}
	for _, m := range []Mode{ModeInterpreter, ModeAuto} {
		t.Run(m.String(), func(t *testing.T) { churn(t, m, total/2) })
	}
}

func churn(t *testing.T, m Mode, total int) {
	r := newRig(t, m, IsolateSpec{})
	procs, err := r.e.NewClass(ClassSpec{Name: "process", Process: true, Imports: append(processImports(), Calls()...)})
	if err != nil {
		t.Fatal(err)
	}
	read := func(name string) []byte {
		b, err := os.ReadFile("testdata/" + name + ".wasm")
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	load := func(b []byte, c *Class) *Code {
		code, err := r.e.Load(b, c, r.acct)
		if err != nil {
			t.Fatal(err)
		}
		return code
	}
	hog, loop, process := load(read("hog"), r.class), load(read("loop"), r.class), load(read("process"), procs)
	r.codes = append(r.codes, hog, loop, process)
	unseen := read("count")
	at := len(unseen)
	unseen = append(unseen, 0, 6, 1, 'n', 0, 0, 0, 0) // a custom section, whose content makes it another module
	var before, after runtime.MemStats
	goroutines := 0
	charged := r.acct.Use(resctl.Memory)
	for i := range total {
		if i == total/4 { // what is kept for reuse is there by now
			runtime.GC()
			runtime.ReadMemStats(&before)
			goroutines = runtime.NumGoroutine()
		}
		acct, err := r.root.NewChild(resctl.Spec{Name: fmt.Sprint("churn", i), Limit: resctl.Amounts{resctl.Memory: 8 << 20}})
		if err != nil {
			t.Fatal(err)
		}
		w := &told{what: 1 << 24} // a process never ends
		iso, err := r.e.NewIsolate(IsolateSpec{Name: acct.Name(), Account: acct, Data: w})
		if err != nil {
			t.Fatal(err)
		}
		evaluate := func(code *Code, op byte) {
			iso.spec.Data = nil
			in, err := iso.Instantiate(code)
			if err != nil {
				t.Fatal(err)
			}
			c := call([]byte{op, 0, 0, 0, 0, 0, 0, 0})
			c.Budget = 20_000
			in.Evaluate(acct.Meter(0), c)
		}
		switch i % 8 {
		case 0, 1:
			evaluate(hog, 0)
		case 2:
			evaluate(loop, 1+byte(i/8%4)) // it is killed by its fuel
		case 3:
			binary.LittleEndian.PutUint32(unseen[at+4:], uint32(i))
			code := load(unseen, r.class)
			evaluate(code, 0)
			code.Release()
		case 4:
			c, err := iso.NewChild(ChildSpec{Name: "c"})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.NewSegment(make([]byte, 100), AllRights); err != nil {
				t.Fatal(err)
			}
		case 5, 6:
			if i%8 == 6 {
				w.what = 0 // it returns at once
			}
			if err := iso.Start(process, StartSpec{}); err != nil {
				t.Fatal(err)
			}
		case 7:
			if _, err := r.e.NewLink(iso, LinkSpec{Queue: 4, Bytes: 64}); err != nil {
				t.Fatal(err)
			}
		}
		iso.Kill(nil)
		if s := iso.Status().State; s != New && s != Terminated {
			if i%8 == 5 || i%8 == 6 {
				<-iso.Done()
			}
		}
		if err := iso.Close(); err != nil {
			t.Fatalf("isolate %d: %v", i, err)
		}
		acct.Meter(0).Fold()
		if n := acct.Use(resctl.Memory); n != 0 {
			t.Fatalf("isolate %d: %d bytes are charged after its end", i, n)
		}
		if err := acct.Close(); err != nil {
			t.Fatalf("isolate %d: %v", i, err)
		}
	}
	if n := r.acct.Use(resctl.Memory); n != charged {
		t.Errorf("%d bytes of code are charged, %d were before", n, charged)
	}
	if s := r.e.Stats(); s.Isolates != 1 || s.Codes > 4+64 {
		t.Errorf("left over: %+v", s)
	}
	for n := 0; runtime.NumGoroutine() > goroutines && n < 100_000; n++ { // the last ones may be on their way out
		runtime.Gosched()
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines, %d before", n, goroutines)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 4<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
}
