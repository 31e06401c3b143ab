//go:build amd64 || arm64

package jail

import (
	"encoding/binary"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/janos-os/janos/sdk/abi"
)

// run interprets a filter as the kernel does.
func run(t *testing.T, prog []inst, arch, nr uint32, args [6]uint64) uint32 {
	t.Helper()
	var data [64]byte
	binary.LittleEndian.PutUint32(data[offNumber:], nr)
	binary.LittleEndian.PutUint32(data[offArch:], arch)
	for k, a := range args {
		binary.LittleEndian.PutUint64(data[offArgs+8*k:], a)
	}
	acc := uint32(0)
	for pc := 0; pc < len(prog); pc++ {
		in := &prog[pc]
		jump := func(yes bool) {
			if yes {
				pc += int(in.jt)
			} else {
				pc += int(in.jf)
			}
		}
		switch in.code {
		case opLoad:
			acc = binary.LittleEndian.Uint32(data[in.k:])
		case opAnd:
			acc &= in.k
		case opJeq:
			jump(acc == in.k)
		case opJge:
			jump(acc >= in.k)
		case opRet:
			return in.k
		default:
			t.Fatalf("instruction %d is unknown: %+v", pc, in)
		}
	}
	t.Fatal("the filter does not end")
	return 0
}

var testPolicy = policy{pid: 1, reads: []uint32{9}, writes: []uint32{2, 5, 6, 9}, compile: true}

// may says what the list means, in another way than the filter.
func may(list []Call, arch, nr uint32, args [6]uint64) bool {
	for _, c := range list {
		if arch != auditArch || c.nr != nr {
			continue
		}
		for _, a := range c.Args {
			v := args[a.Index]
			if v>>32 != 0 && !a.Upper || !slices.Contains(a.In, uint32(v)&a.Mask) {
				return false
			}
		}
		return true
	}
	return false
}

func TestFilterIsTheList(t *testing.T) {
	list := calls(&testPolicy)
	prog, err := filter(list, retKill)
	if err != nil {
		t.Fatal(err)
	}
	check := func(arch, nr uint32, args [6]uint64) {
		t.Helper()
		want := uint32(retKill)
		if may(list, arch, nr, args) {
			want = retAllow
		}
		if got := run(t, prog, arch, nr, args); got != want {
			t.Errorf("arch %#x, call %d%v: %#x, want %#x", arch, nr, args, got, want)
		}
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	interesting := []uint64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 23, 0x20, 0x21, 0x22, 0x80, 0x81, 0xffffffff, 1 << 32, 1<<32 + 1, ^uint64(0)}
	for nr := range uint32(1024) {
		for _, arch := range []uint32{auditArch, 0xc000003e, 0xc00000b7, 0x40000003, 0} {
			for range 20 {
				var args [6]uint64
				for k := range args {
					args[k] = interesting[rnd.IntN(len(interesting))]
				}
				check(arch, nr, args)
				check(arch, nr|0x40000000, args) // x32
			}
		}
	}
	for _, c := range list {
		if c.nr == 0 && c.Name != "read" || c.Why == "" {
			t.Errorf("%s has number %d, why: %q", c.String(), c.nr, c.Why)
		}
		for k := range 20_000 {
			var args [6]uint64
			for k := range args {
				args[k] = interesting[rnd.IntN(len(interesting))]
			}
			if k < 200 { // nearly right
				for _, a := range c.Args {
					args[a.Index] = uint64(a.In[rnd.IntN(len(a.In))])
				}
				if len(c.Args) > 0 && k%2 == 0 {
					args[c.Args[k%len(c.Args)].Index] ^= 1 << rnd.IntN(64)
				}
			}
			check(auditArch, c.nr, args)
		}
	}
	if len(prog) > 200 {
		t.Errorf("the filter has %d instructions", len(prog))
	}
}

func TestExecutableMemoryIsForCompilersOnly(t *testing.T) {
	for _, c := range Calls(false) {
		if c.Name == "mprotect" {
			t.Error("a jail without compiler may make memory executable")
		}
	}
	if cs := Calls(true); cs[len(cs)-1].Name != "mprotect" {
		t.Error("a jail with a compiler may not")
	}
}

func TestBadLists(t *testing.T) {
	for name, list := range map[string][]Call{
		"twice":       {{Name: "a", nr: 1}, {Name: "b", nr: 1}},
		"nameless":    {{nr: 1}},
		"no argument": {{Name: "a", nr: 1, Args: []Arg{{Index: 6, In: []uint32{1}}}}},
		"nothing":     {{Name: "a", nr: 1, Args: []Arg{{Index: 1}}}},
		"too much":    {{Name: "a", nr: 1, Args: []Arg{exactly(0, "", make([]uint32, 101)...)}}},
	} {
		if _, err := filter(list, retKill); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestIn fills every field of abi.In, so that a new one that getIn forgets is found.
func TestIn(t *testing.T) {
	var in, out abi.In
	v := reflect.ValueOf(&in).Elem()
	for k := range v.NumField() {
		v.Field(k).SetUint(uint64(1000 + k))
	}
	var b [abi.BlockSize]byte
	in.Put(b[:])
	getIn(b[:], &out)
	if in != out {
		t.Errorf("put %+v, got %+v", in, out)
	}
}

func TestManifest(t *testing.T) {
	m := &abi.Manifest{Name: "name", WindowSize: 1500, WindowMin: 24, StateSpace: 7, StateSize: 32, Key: []abi.KeyPart{{Offset: 0, Length: 4}, {Offset: 8, Length: 16}}}
	got, err := abi.ParseManifest(putManifest(m))
	if err != nil || !reflect.DeepEqual(m, got) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestOut(t *testing.T) {
	o := abi.Out{Dst: 1, Length: 20, StateAct: abi.StateWrite, StateLifetime: 3, NumOutputs: abi.OutputsMax, NumEmits: abi.EmitsMax}
	for i := range o.Outputs {
		o.Outputs[i] = abi.Output{To: uint32(i), TTL: uint16(10 + i), Share: uint16(20 + i)}
	}
	at := uint32(0)
	for i := range o.Emits {
		o.Emits[i] = abi.Emit{Dst: uint32(i), Class: uint16(i), TTL: uint16(30 + i), Share: uint16(40 + i), Offset: at, Length: uint32(5 + i)}
		at += uint32(5 + i)
	}
	var from, to [abi.BlockSize]byte
	putOut(from[:], &o)
	copy(from[abi.BlockStateOff:], "state")
	takeOut(&to, from[:])
	var got abi.Out
	if err := got.Get(to[:], &abi.In{Length: 20, Captured: 20}, 64, true, at); err != nil || got != o {
		t.Errorf("%+v, %v", got, err)
	}
	if string(to[abi.BlockStateOff:abi.BlockStateOff+5]) != "state" {
		t.Error("the state was not taken")
	}
}
