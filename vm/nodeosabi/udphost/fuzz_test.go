package udphost

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/vm"
	"github.com/janos-os/janos/vm/nodeosabi"
	"github.com/janos-os/janos/vm/nodeosabi/conformance"
)

var born atomic.Int64

// FuzzCalls makes calls of both modules with whatever arguments there are: they answer with a number, the guest can be ended, and nothing of it is left.
func FuzzCalls(f *testing.F) {
	call := func(n byte, args ...uint32) []byte {
		b := []byte{n}
		for k := range 6 {
			v := uint32(0)
			if k < len(args) {
				v = args[k]
			}
			b = binary.LittleEndian.AppendUint32(b, v)
		}
		return b
	}
	const handle, room = 0, 1
	for n := range byte(45) {
		f.Add(call(n, handle, handle|1<<3, room, room|800, 3|8<<3, 3|100<<3))
		f.Add(append(call(n, handle, room, room|4096), call(n+1, handle|2<<3, room, 3|1<<3, room|4096, 4|1000<<3)...))
	}
	clk := clock.NewReal()
	e, err := vm.NewEngine(vm.EngineSpec{Clock: clk})
	if err != nil {
		f.Fatal(err)
	}
	b, err := nodeosabi.New(nodeosabi.Spec{Engine: e})
	if err != nil {
		f.Fatal(err)
	}
	h, err := New(Spec{Listen: "127.0.0.1:0", Clock: clk})
	if err != nil {
		f.Fatal(err)
	}
	code, err := e.Load(conformance.FuzzModule(f), b.Process(), nil) // stays in the cache
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		code.Release()
		h.Close()
		if err := e.Close(); err != nil {
			f.Error(err)
		}
	})
	module := conformance.FuzzModule(f)
	f.Fuzz(func(t *testing.T, script []byte) {
		d, err := h.NewDomain(fmt.Sprint("f", os.Getpid(), "-", born.Add(1)), resctl.Amounts{resctl.Memory: 4 << 20})
		if err != nil {
			t.Fatal(err)
		}
		g, err := b.Start(d, nodeosabi.GuestSpec{Name: "fuzz", Code: module, Args: script[:min(len(script), 16000)], Ports: []*nodeosabi.Port{{Protocol: "if/udp", To: nil, NoOut: true}}, Fuel: 20_000_000})
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-g.Done():
		case <-time.After(100 * time.Millisecond): // it may be waiting
			g.Kill(nil)
			<-g.Done()
		}
		if st := g.Status(); errs.KindOf(st.Err) == errs.Internal {
			t.Errorf("it ended with %v, %v", st.Cause, st.Err)
		}
		d.End(errs.Dead)
		for range 10_000 {
			if st, reason := d.State(); st == nodeosabi.Dead {
				if errs.KindOf(reason) == errs.Internal {
					t.Error(reason)
				}
				return
			}
			<-time.After(time.Millisecond)
		}
		t.Error("the domain does not end")
	})
}
