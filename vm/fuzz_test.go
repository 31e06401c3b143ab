package vm

import (
	"encoding/binary"
	"testing"

	"github.com/janos-os/janos/resctl"
)

// FuzzCalls makes calls of guests with arbitrary arguments, several one after the other, on handles of every kind. Nothing panics, the account's limit holds, and
// everything goes back.
func FuzzCalls(f *testing.F) {
	calls := Calls()
	seed := func(words ...uint32) {
		var b []byte
		for _, w := range words {
			b = binary.LittleEndian.AppendUint32(b, w)
		}
		f.Add(b)
	}
	for k, c := range calls {
		if c.Name == "exit" || c.Name == "halt" {
			continue
		}
		seed(uint32(k), 1, 64, 128, 4096, 8, 0)
		seed(uint32(k), 2, 4096, 16, 1024, 2, 1, uint32(k), 3, 0xffffffff, 0xfffffff0, 0, 0, 0)
		seed(4, 4, 64, 512, 0, 0, 0, 5, 7, 1024, 64, 512, 2, 1, 6, 8, 1024, 64, 600, 2, 1, uint32(k), 5, 0, 0, 0, 0, 0)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := newRig(t, ModeInterpreter, IsolateSpec{})
		in := r.instance("echo")
		l, err := r.e.NewLink(r.iso, LinkSpec{Queue: 2, Bytes: 64})
		if err != nil {
			t.Fatal(err)
		}
		svc, err := r.iso.NewService(in.code)
		if err != nil {
			t.Fatal(err)
		}
		child, err := r.iso.NewChild(ChildSpec{Name: "first"})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range []struct {
			k HandleKind
			o any
		}{{SendHandle, l}, {ReceiveHandle, l}, {ServiceHandle, svc}, {IsolateHandle, child}, {CodeHandle, in.code}, {OpaqueHandle, 1}} {
			if _, err := r.iso.Put(p.k, p.o, AllRights); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := r.iso.NewSegment([]byte("segment"), AllRights); err != nil {
			t.Fatal(err)
		}
		for n := 0; n < 16 && len(b) >= 28; n++ {
			c := calls[binary.LittleEndian.Uint32(b)%uint32(len(calls))]
			var stack [6]uint64
			for k := range stack {
				stack[k] = uint64(binary.LittleEndian.Uint32(b[4+4*k:]))
			}
			b = b[28:]
			c.Call(in, stack[:max(c.Params, 1)])
			if u := r.acct.Usage(resctl.Memory); u.Use > u.Limit {
				t.Fatalf("%s: %+v", c.Name, u)
			}
		}
		for _, c := range r.iso.Children() {
			c.Halt(0)
		}
	})
}
