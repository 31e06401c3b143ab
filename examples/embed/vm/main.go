// Command vm uses Janos's isolates alone: it runs a capsule that counts, with what it keeps in the caller's hands, and one that
// loops for ever, which ends when its fuel does. Both are paid for by an account. The sources are in guests;
// janos capsule build compiles them.
package main

import (
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"log"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/vm"
)

//go:embed guests/count.wasm
var count []byte

//go:embed guests/loop.wasm
var loop []byte

func main() {
	clk := clock.NewReal()
	engine, err := vm.NewEngine(vm.EngineSpec{Clock: clk})
	check(err)
	// What guests may be: the limits of capsules, and no host calls.
	class, err := engine.NewClass(vm.ClassSpec{Name: "capsule"})
	check(err)
	root, err := resctl.NewTree(resctl.Spec{Name: "host"}, clk, 1)
	check(err)
	account, err := root.NewChild(resctl.Spec{Name: "guest", Limit: resctl.Amounts{resctl.Memory: 4 << 20}})
	check(err)
	isolate, err := engine.NewIsolate(vm.IsolateSpec{Name: "guest", Account: account})
	check(err)

	// A module that is damaged does not get past the gate, which says where and why.
	_, err = engine.Load(count[:100], class, account)
	if err == nil {
		log.Fatal("half a module was accepted")
	}
	fmt.Println("refused:", err)

	// The counter keeps its number under a key; where that lies is the caller's affair.
	code, err := engine.Load(count, class, account)
	check(err)
	counter, err := isolate.Instantiate(code)
	check(err)
	call := vm.Call{Window: []byte{0, 0, 0, 7, 0, 0, 0, 0}, Budget: 1000}
	call.In.Length = uint32(len(call.Window))
	var kept []byte
	for range 3 {
		call.State = kept
		verdict, err := counter.Evaluate(account.Meter(0), &call)
		check(err)
		kept = append(kept[:0], call.Put...)
		fmt.Printf("%s: counted %d with %d units of fuel\n", verdict, binary.BigEndian.Uint32(call.Payload[4:]), call.Used)
	}
	if n := binary.BigEndian.Uint32(call.Payload[4:]); n != 3 {
		log.Fatalf("three capsules were counted as %d", n)
	}

	hostile, err := engine.Load(loop, class, account)
	check(err)
	looping, err := isolate.Instantiate(hostile)
	check(err)
	call = vm.Call{Window: make([]byte, 64), Budget: 100_000}
	call.In.Length = 64
	var fault *vm.Fault
	if _, err = looping.Evaluate(account.Meter(0), &call); !errors.As(err, &fault) || fault.Reason != vm.OutOfFuel {
		log.Fatalf("a loop ended with %v", err)
	}
	fmt.Println("killed:", fault)

	// Everything goes back.
	check(isolate.Close())
	code.Release()
	hostile.Release()
	check(engine.Close())
	fmt.Printf("memory that is still charged: %d bytes\n", account.Use(resctl.Memory))
	if account.Use(resctl.Memory) != 0 {
		log.Fatal("it should be none")
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
