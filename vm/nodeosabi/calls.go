package nodeosabi

import (
	"encoding/binary"
	"strings"
	"unicode"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm"
)

var le = binary.LittleEndian

// calls are those of module janos_nodeos in sdk/abi/calls.yaml.
var calls = map[string]vm.GuestCall{
	"time":           callTime,
	"random":         callRandom,
	"log":            callLog,
	"domain_new":     callDomainNew,
	"domain_set":     callDomainSet,
	"domain_status":  callDomainStatus,
	"domain_end":     callDomainEnd,
	"in_new":         callInNew,
	"out_new":        callOutNew,
	"channel_close":  callChannelClose,
	"channel_status": callChannelStatus,
	"receive":        callReceive,
	"send":           callSend,
	"hand_off":       callHandOff,
	"timer_new":      callTimerNew,
	"timer_set":      callTimerSet,
	"timer_take":     callTimerTake,
	"wait":           callWait,
	"isolate_new":    callIsolateNew,
	"isolate_load":   callIsolateLoad,
	"isolate_give":   callIsolateGive,
	"isolate_serve":  callIsolateServe,
}

// me returns what the binding knows of the caller.
func me(in *vm.Instance) *self { return in.Isolate().Data().(*self) }

// at returns guest memory, or errs.Invalid.
func at(in *vm.Instance, addr, n uint64) ([]byte, error) {
	if n <= 1<<32-1 {
		if b, ok := in.Memory(uint32(addr), uint32(n)); ok {
			return b, nil
		}
	}
	return nil, errs.New(errs.Invalid, "nodeosabi: isolate %s: %d bytes at %#x are outside its memory", in.Isolate().Name(), n, addr)
}

// record reads a record of the given size whose first field is the size that the guest knows. What the guest does not know is zero; what it knows and the host
// does not has to be.
func record(in *vm.Instance, addr uint64, size int) ([]byte, error) {
	head, err := at(in, addr, 4)
	if err != nil {
		return nil, err
	}
	n := le.Uint32(head)
	if n < 4 || n > 4096 {
		return nil, errs.New(errs.Invalid, "nodeosabi: isolate %s: a record of %d bytes at %#x, want %d", in.Isolate().Name(), n, addr, size)
	}
	b, err := at(in, addr, uint64(n))
	if err != nil {
		return nil, err
	}
	for _, c := range b[min(int(n), size):] {
		if c != 0 {
			return nil, errs.New(errs.NotSupported, "nodeosabi: isolate %s: the record at %#x has fields that this host does not know", in.Isolate().Name(), addr)
		}
	}
	full := make([]byte, size)
	copy(full, b)
	return full, nil
}

// get finds what a handle names.
func get[T any](in *vm.Instance, id uint64, need vm.Rights) (T, error) {
	var none T
	o, err := in.Isolate().Get(vm.Handle(uint32(id)), vm.OpaqueHandle, need)
	if err != nil {
		return none, err
	}
	t, ok := o.(T)
	if !ok {
		return none, errs.New(errs.Invalid, "nodeosabi: isolate %s: handle %d names a %s, not a %s", in.Isolate().Name(), id, kindOf(o), kindOf(none))
	}
	return t, nil
}

// kindOf names the kind of an object for errors.
func kindOf(o any) string {
	switch o.(type) {
	case *domain:
		return "domain"
	case *Port:
		return "port"
	case *inChannel:
		return "in-channel"
	case *outChannel:
		return "out-channel"
	case *timer:
		return "timer"
	case channel:
		return "channel"
	}
	return "something else"
}

// give gives the caller a handle of what it has made, or ends that.
func give(in *vm.Instance, c closer) (int, error) {
	if err := me(in).own(c); err != nil {
		c.end(err)
		return 0, err
	}
	h, err := in.Isolate().Put(vm.OpaqueHandle, c, vm.AllRights)
	if err != nil {
		me(in).disown(c)
		c.end(err)
	}
	return int(h), err
}

// text reads a string of the guest's that is good for names and logs.
func text(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '.'
		}
		return r
	}, strings.ToValidUTF8(string(b), "."))
}

func callTime(in *vm.Instance, s []uint64) (int, error) {
	b, err := at(in, s[0], 8)
	if err != nil {
		return 0, err
	}
	le.PutUint64(b, uint64(me(in).b.clk.Now()))
	return 0, nil
}

func callRandom(in *vm.Instance, s []uint64) (int, error) {
	if s[1] > 4096 {
		return 0, errs.New(errs.TooBig, "nodeosabi: %d random bytes, at most 4096 at a time", s[1])
	}
	b, err := at(in, s[0], s[1])
	if err != nil {
		return 0, err
	}
	in.Charge(abi.NORandomByte * s[1])
	g := me(in).b
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(b) > 0 {
		var word [8]byte
		le.PutUint64(word[:], g.rand.Uint64())
		b = b[copy(b, word[:]):]
	}
	return 0, nil
}

func callLog(in *vm.Instance, s []uint64) (int, error) {
	b, err := at(in, s[0], s[1])
	if err != nil {
		return 0, err
	}
	me(in).write(text(b[:min(len(b), abi.NOLogMax)]))
	return 0, nil
}

// until returns when a timeout in microseconds is over.
func until(in *vm.Instance, us uint64) clock.Time {
	if us == abi.NOForever {
		return clock.Never
	}
	return me(in).b.clk.Now() + clock.Time(us)*1000
}
