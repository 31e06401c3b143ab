// janos_vm.ts - Isolates, links and segments
// Code generated from calls.yaml by sdk/abi/internal/gen; DO NOT EDIT.
// Records are described by the offsets of their fields. Unused calls are not imported; a result below zero is minus an error kind.

export const VM_NOWAIT: u32 = 1; // flag of send and receive: answer error 8 instead of waiting
export const VM_MAY_USE: u32 = 1; // right to send, receive, read, visit, start
export const VM_MAY_SEE: u32 = 2; // right to ask for status and use
export const VM_MAY_END: u32 = 4; // right to end, suspend, resume, and set limits
export const VM_MAY_GRANT: u32 = 8; // right to pass it on

// How an isolate is.
export const VM_SIZEOF_STATUS: usize = 16;
export const VM_STATUS_STATE: usize = 0; // u32: 0 new, 1 started, 2 exiting, 3 terminated
export const VM_STATUS_CAUSE: usize = 4; // u32: why it ends, see docs/isolates.md; 0: it does not
export const VM_STATUS_CODE: usize = 8; // u32: exit code
export const VM_STATUS_ERROR: usize = 12; // u32: error kind of the fault or of the reason; 0: none

// ends the own isolate, with its goodbye. Costs 50 units of fuel.
@external("janos_vm", "exit")
export declare function vm_exit(code: i32): i32;

// ends the own isolate at once. Costs 50 units of fuel.
@external("janos_vm", "halt")
export declare function vm_halt(code: i32): i32;

// others may run. Costs 50 units of fuel.
@external("janos_vm", "yield")
export declare function vm_yield(): i32;

// copies what the isolate was started with to buf, as far as it fits, and returns how many bytes there are: first the numbers of the handles that it was given, 4 bytes each, then what its starter wrote. Costs 100 units of fuel.
@external("janos_vm", "args")
export declare function vm_args(buf: usize, cap: u32): i32;

// makes a link with a queue of so many messages (0: sender and receiver meet) of at most so many bytes (0: 1024) and writes the handles of its sending and of its receiving end to out. Costs 2000 units of fuel.
@external("janos_vm", "link_new")
export declare function vm_link_new(queue: u32, bytes: u32, out: usize): i32;

// sends a message of bytes and of n handles, of which the receiver gets its own. The handles need the right to be passed on. Costs 500 + 1 for 16 bytes units of fuel.
@external("janos_vm", "send")
export declare function vm_send(link: i32, data: usize, len: u32, handles: usize, n: u32, flags: u32): i32;

// receives a message and returns its bytes; writes n handles, 0 behind the last. Error 15 leaves the message. Costs 500 + 1 for 16 bytes units of fuel.
@external("janos_vm", "receive")
export declare function vm_receive(link: i32, buf: usize, cap: u32, handles: usize, n: u32, flags: u32): i32;

// gives a handle up. Costs 200 units of fuel.
@external("janos_vm", "handle_close")
export declare function vm_handle_close(h: i32): i32;

// ends all handles that were made from one, wherever they are, and returns how many; the handle itself stays. Costs 500 units of fuel.
@external("janos_vm", "handle_revoke")
export declare function vm_handle_revoke(h: i32): i32;

// makes another handle of the same object with those of the given rights that h has; it ends when those made from h are revoked. Costs 500 units of fuel.
@external("janos_vm", "handle_narrow")
export declare function vm_handle_narrow(h: i32, rights: u32): i32;

// makes a shared segment of a copy of the bytes and returns its handle; who has one is charged for all of it. Costs 2000 + 1 for 16 bytes units of fuel.
@external("janos_vm", "segment_new")
export declare function vm_segment_new(data: usize, len: u32): i32;

// returns the bytes of a segment. Costs 100 units of fuel.
@external("janos_vm", "segment_size")
export declare function vm_segment_size(h: i32): i32;

// copies bytes of a segment to buf, as many as there are, and returns how many. Costs 200 + 1 for 16 bytes units of fuel.
@external("janos_vm", "segment_read")
export declare function vm_segment_read(h: i32, offset: u32, buf: usize, len: u32): i32;

// calls a service in another isolate with len bytes of buf, at the own cost; the answer of at most cap bytes is in buf, and its length is returned. Costs 500 + 1 for 16 bytes units of fuel.
@external("janos_vm", "visit")
export declare function vm_visit(service: i32, buf: usize, len: u32, cap: u32, fuel: u32): i32;

// makes an isolate inside the own one: at most so many bytes, so many thousand units of fuel a second, share of processor time, handles (0: no limit of its own). Costs 20000 units of fuel.
@external("janos_vm", "child_new")
export declare function vm_child_new(memory: u32, fuel: u32, share: u32, handles: u32): i32;

// passes a module of a process through the gate, at the child's cost, and returns the handle of its code. Costs 50000 units of fuel.
@external("janos_vm", "child_load")
export declare function vm_child_load(child: i32, code: usize, len: u32): i32;

// starts the child's process, with handles of its own for the n that it is given; see args. Costs 50000 units of fuel.
@external("janos_vm", "child_start")
export declare function vm_child_start(child: i32, code: i32, args: usize, len: u32, handles: usize, n: u32): i32;

// stops the child until it is resumed or ended. Costs 500 units of fuel.
@external("janos_vm", "child_suspend")
export declare function vm_child_suspend(child: i32): i32;

// undoes child_suspend. Costs 500 units of fuel.
@external("janos_vm", "child_resume")
export declare function vm_child_resume(child: i32): i32;

// asks the child to end, with its goodbye; 1: it was ending already. Costs 500 units of fuel.
@external("janos_vm", "child_exit")
export declare function vm_child_exit(child: i32, code: i32): i32;

// ends the child at once; 1: it had been halted already. Costs 500 units of fuel.
@external("janos_vm", "child_halt")
export declare function vm_child_halt(child: i32, code: i32): i32;

// writes how the child is. Costs 200 units of fuel.
@external("janos_vm", "child_status")
export declare function vm_child_status(child: i32, out: usize): i32;

// waits until the child is terminated, and writes how it ended. Costs 500 units of fuel.
@external("janos_vm", "child_wait")
export declare function vm_child_wait(child: i32, out: usize): i32;
