package jail

import (
	"errors"
	"testing"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm"
)

// FuzzAnswers puts anything into the words, the answers, the call area and the control area of a process that there is not, and collects.
func FuzzAnswers(f *testing.F) {
	good := make([]byte, respData+64)
	le.PutUint32(good[respStatus:], statusVerdict)
	le.PutUint32(good[respVerdict:], uint32(abi.Forward))
	le.PutUint32(good[respPayload:], 64)
	putOut(good[respBlock:respBlock+abi.BlockSize], &abi.Out{Dst: 1, Length: 64})
	f.Add(uint32(1), uint32(0), good, []byte{})
	fault := make([]byte, respHead)
	le.PutUint32(fault[respStatus:], statusFault)
	le.PutUint32(fault[respReason:], uint32(vm.OutOfFuel))
	f.Add(uint32(1), uint32(0), fault, []byte{})
	f.Add(uint32(0), uint32(1), []byte{}, make([]byte, callBytes))
	f.Add(uint32(9), uint32(9), []byte{1}, []byte{1})
	f.Add(uint32(0), uint32(0), []byte(`{"manifest":"AAAA","info":{"charge":1}}`), []byte{})
	class := &classRef{funcs: imports()}
	for k := range class.funcs {
		class.funcs[k].Call = func(in *vm.Instance, s []uint64) { in.Memory(uint32(s[0]), uint32(s[1])) }
	}
	r := newRig(f, Spec{})
	inside := r.instance(r.outside, "count")
	f.Fuzz(func(t *testing.T, completed, calls uint32, answer, hostCall []byte) {
		j := &Jail{spec: Spec{Name: "fuzz", Window: 64, Queues: 1}, layout: layout{window: 64, lanes: 2}, live: make([]*Queue, 2), events: []int{-1, -1, -1}}
		p := &process{j: j, mem: make([]byte, j.layout.bytes()), places: make([]place, 2), end: func() {}}
		p.refs.Store(2) // never unmapped
		for n := range 2 {
			p.lanes = append(p.lanes, j.layout.lane(p.mem, n))
		}
		q := j.newQueue(1)
		code := &Code{p: p, class: class, manifest: &abi.Manifest{Name: "fuzz", WindowSize: 64, StateSize: 8}}
		x := &Instance{Instance: inside, p: p, code: code}
		c := call(make([]byte, 64))
		for range 3 {
			if _, _, err := q.submit(x, nil, c, 0); err != nil {
				t.Fatal(err)
			}
		}
		q.flushed = q.next
		l := q.lane
		l.submitted.Store(q.next)
		l.completed.Store(completed)
		l.calls.Store(calls)
		copy(l.mem[laneCall:laneCall+callBytes], hostCall)
		for n := range uint32(3) {
			copy(l.answer(n), answer)
		}
		for n := 0; q.Pending() > 0 && n < 10; n++ {
			before := q.Pending()
			d, ok := q.Collect(c)
			if !ok {
				break
			}
			switch {
			case q.Pending() != before-1:
				t.Fatalf("%d pending, %d before", q.Pending(), before)
			case d.Err != nil:
				var f *vm.Fault
				if !errors.As(d.Err, &f) && errs.KindOf(d.Err) == errs.OK {
					t.Fatalf("%v", d.Err)
				}
			case !d.Verdict.Valid() || len(c.Payload) > 64 || c.Used > vm.DefaultBudget || int(c.Out.NumEmits) > abi.EmitsMax:
				t.Fatalf("%+v %+v", d, c)
			default:
				for i := range c.Out.Emits[:c.Out.NumEmits] {
					if e := &c.Out.Emits[i]; len(x.EmitBytes(e)) != int(e.Length) {
						t.Fatalf("emit %+v has %d bytes", e, len(x.EmitBytes(e)))
					}
				}
			}
		}
		copy(p.mem[ctlResponse:], answer)
		if r, err := p.answer(uint32(len(answer))); err == nil && r == nil {
			t.Fatal("no answer and no error")
		}
	})
}
