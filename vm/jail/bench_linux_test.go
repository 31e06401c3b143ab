package jail

import (
	"os"
	"testing"

	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm"
)

func BenchmarkQueue(b *testing.B) {
	for _, batch := range []int{1, 8, 64, 128} {
		b.Run(map[int]string{1: "1", 8: "8", 64: "64", 128: "pipelined"}[batch], func(b *testing.B) {
			r := newRig(b, Spec{Mode: vm.ModeCompiled})
			code, err := os.ReadFile("../../bench/capsules/flow.wasm")
			if err != nil {
				b.Fatal(err)
			}
			c, err := r.e.Load(code, r.outside, r.acct)
			if err != nil {
				b.Fatal(err)
			}
			r.codes = append(r.codes, c)
			in, err := r.iso.Instantiate(c)
			if err != nil {
				b.Fatal(err)
			}
			q, err := r.j.Queue()
			if err != nil {
				b.Fatal(err)
			}
			defer q.Close()
			cl := call(make([]byte, 64))
			cl.State = make([]byte, 8)
			meter := r.acct.Meter(0)
			res := new(vm.Call)
			b.ReportAllocs()
			b.ResetTimer()
			sent := 0
			for got := 0; got < b.N; {
				for k := 0; sent < b.N && q.Pending() < batch && k < 64; k++ {
					if _, v, err := q.Submit(in, meter, cl, 0); err != nil || v != abi.Drop {
						b.Fatal(v, err)
					}
					sent++
				}
				q.Flush()
				if err := q.Wait(1e10); err != nil {
					b.Fatal(err)
				}
				for {
					d, ok := q.Collect(res)
					if !ok {
						break
					}
					if d.Err != nil || d.Verdict != abi.Forward {
						b.Fatal(d)
					}
					got++
				}
				if batch < 128 && q.Pending() > 0 {
					continue
				}
			}
			meter.Fold()
		})
	}
}
