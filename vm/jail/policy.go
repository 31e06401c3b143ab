package jail

import (
	"fmt"
	"slices"
	"strings"
)

// Call is a system call that a worker may make once it is sealed.
type Call struct {
	Name string `json:"name"`
	Args []Arg  `json:"args,omitempty"` // all must hold
	Why  string `json:"why"`
	nr   uint32
}

// Arg is what an argument of a system call has to be. The upper half of its 64 bits must be zero unless Upper says otherwise.
type Arg struct {
	Index int      `json:"index"`
	Mask  uint32   `json:"mask"`  // which bits are looked at
	In    []uint32 `json:"in"`    // what they may be
	Upper bool     `json:"upper"` // the upper half may be anything: the kernel takes an int
	Means string   `json:"means"` // in words
}

// policy is what the seal of one worker depends on.
type policy struct {
	pid     uint32   // of itself, in its own namespace
	reads   []uint32 // descriptors that it may read: that by which the runtime wakes its own poller
	writes  []uint32 // descriptors that it may write: those by which it wakes the node, and standard error
	compile bool     // it makes machine code
}

// String returns the call with its conditions.
func (c *Call) String() string {
	var parts []string
	for _, a := range c.Args {
		parts = append(parts, a.Means)
	}
	if len(parts) == 0 {
		return c.Name
	}
	return c.Name + "(" + strings.Join(parts, ", ") + ")"
}

// exactly is an argument that is one of some numbers.
func exactly(index int, means string, in ...uint32) Arg {
	return Arg{Index: index, Mask: ^uint32(0), In: in, Means: means}
}

// Calls returns the system calls that workers may make, in the order in which the filter looks for them, with compiled guest code or without.
func Calls(compile bool) []Call {
	return calls(&policy{pid: 1, reads: []uint32{0}, writes: []uint32{0}, compile: compile})
}

// rules are the numbers of Linux that the list needs; they are the same for all processors.
const (
	protRead, protWrite, protExec = 1, 2, 4
	mapAnonymous                  = 0x20
	sigURG                        = 23
)

// calls is the list for one worker.
func calls(p *policy) []Call {
	cs := []Call{
		{Name: "futex", Args: []Arg{exactly(1, "wait or wake", 0, 1, 0x80, 0x81)}, Why: "waiting for work, and for each other inside the runtime"},
		{Name: "write", Args: []Arg{exactly(0, "to the node's eventfds, the runtime's own, standard error", p.writes...)}, Why: "telling the node that there are answers; the last words of a crash"},
		{Name: "epoll_pwait", Why: "the runtime's poller, with which it waits for timers; it has no other descriptor than the next"},
		{Name: "read", Args: []Arg{exactly(0, "from the runtime's own eventfd", p.reads...)}, Why: "the runtime waking its poller"},
		{Name: "nanosleep", Why: "the runtime's watch over its threads"},
		{Name: "clock_gettime", Why: "where the clock cannot be read without the kernel"},
		{Name: "sched_yield", Why: "the runtime's spinning locks"},
		{Name: "madvise", Args: []Arg{exactly(2, "free, don't need, huge pages or not", 4, 8, 14, 15, 25)}, Why: "giving memory back"},
		{Name: "mmap", Args: []Arg{
			{Index: 2, Mask: ^uint32(protRead | protWrite), In: []uint32{0}, Means: "not executable"},
			{Index: 3, Mask: mapAnonymous, In: []uint32{mapAnonymous}, Means: "anonymous"},
			{Index: 4, Mask: ^uint32(0), In: []uint32{^uint32(0)}, Upper: true, Means: "of no file"},
		}, Why: "memory, within the limit"},
		{Name: "munmap", Why: "memory"},
		{Name: "getpid", Why: "before the next"},
		{Name: "tgkill", Args: []Arg{exactly(0, "to itself", p.pid), exactly(2, "SIGURG", sigURG)}, Why: "interrupting its own threads for the garbage collection"},
		{Name: "rt_sigreturn", Why: "after that"},
		{Name: "gettid", Why: "a thread that was just being made when the process was sealed"},
		{Name: "rt_sigprocmask", Why: "the same; no more are made"},
		{Name: "sigaltstack", Why: "the same"},
		{Name: "restart_syscall", Why: "going on after it was stopped and continued"},
		{Name: "exit_group", Why: "ending"},
	}
	cs = append(cs, forTests...)
	if p.compile {
		cs = append(cs, Call{Name: "mprotect", Args: []Arg{exactly(2, "readable and executable, not writable", protRead|protExec)}, Why: "compiled guest code; not in a jail with mode interpreter"})
	}
	for i := range cs {
		cs[i].nr = numbers[cs[i].Name]
	}
	return cs
}

// Instructions of classic BPF (linux/bpf_common.h) that the filter is made of.
const (
	opLoad = 0x20 // BPF_LD | BPF_W | BPF_ABS
	opAnd  = 0x54 // BPF_ALU | BPF_AND | BPF_K
	opJeq  = 0x15 // BPF_JMP | BPF_JEQ | BPF_K
	opJge  = 0x35 // BPF_JMP | BPF_JGE | BPF_K
	opRet  = 0x06 // BPF_RET | BPF_K
)

// What the filter answers (linux/seccomp.h).
const (
	retKill  = 0x80000000
	retAllow = 0x7fff0000
)

// Offsets in struct seccomp_data; both supported processors keep the lower half first.
const (
	offNumber = 0
	offArch   = 4
	offArgs   = 16
)

// inst is an instruction: struct sock_filter.
type inst struct {
	code   uint16
	jt, jf uint8
	k      uint32
}

// filter translates a list to a program that gives one answer, to kill the process, to everything that is not on it, another processor's calls included.
//
//	load arch; is it ours?            no: kill
//	load number; is it x32?          yes: kill
//	is it call 1?                     no: to the next
//	  load upper half of argument; 0?  no: kill
//	  load lower half; mask; is it one of ...?  no: kill
//	  allow
//	...
//	kill
func filter(list []Call, answer uint32) ([]inst, error) {
	prog := []inst{
		{opLoad, 0, 0, offArch},
		{opJeq, 1, 0, auditArch},
		{opRet, 0, 0, answer},
		{opLoad, 0, 0, offNumber},
	}
	if x32Bit != 0 {
		prog = append(prog, inst{opJge, 0, 1, x32Bit}, inst{opRet, 0, 0, answer})
	}
	seen := map[uint32]bool{}
	for i := range list {
		c := &list[i]
		if seen[c.nr] || c.Name == "" {
			return nil, fmt.Errorf("vm/jail: system call %s is in the list twice, or has no name", c.Name)
		}
		seen[c.nr] = true
		body, err := c.body(answer)
		if err != nil {
			return nil, err
		}
		if len(body) > 255 {
			return nil, fmt.Errorf("vm/jail: the conditions of system call %s take %d instructions", c.Name, len(body))
		}
		prog = append(prog, inst{opJeq, 0, uint8(len(body)), c.nr})
		prog = append(prog, body...)
	}
	return append(prog, inst{opRet, 0, 0, answer}), nil
}

// body checks the arguments of a call and ends with allow or kill. The number is loaded when it begins, and needed no more.
func (c *Call) body(answer uint32) ([]inst, error) {
	var b []inst
	for _, a := range c.Args {
		if a.Index < 0 || a.Index > 5 || len(a.In) == 0 || len(a.In) > 100 {
			return nil, fmt.Errorf("vm/jail: system call %s: argument %d with %d possibilities", c.Name, a.Index, len(a.In))
		}
		at := uint32(offArgs + 8*a.Index)
		if !a.Upper {
			b = append(b, inst{opLoad, 0, 0, at + 4}, inst{opJeq, 1, 0, 0}, inst{opRet, 0, 0, answer})
		}
		b = append(b, inst{opLoad, 0, 0, at})
		if a.Mask != ^uint32(0) {
			b = append(b, inst{opAnd, 0, 0, a.Mask})
		}
		in := slices.Compact(slices.Sorted(slices.Values(a.In)))
		for k, v := range in {
			b = append(b, inst{opJeq, uint8(len(in) - k), 0, v})
		}
		b = append(b, inst{opRet, 0, 0, answer})
	}
	return append(b, inst{opRet, 0, 0, retAllow}), nil
}
