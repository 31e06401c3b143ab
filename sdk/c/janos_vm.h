/* janos_vm.h - Isolates, links and segments
 * Code generated from calls.yaml by sdk/abi/internal/gen; DO NOT EDIT.
 */
#ifndef JANOS_VM_H
#define JANOS_VM_H

#include <stddef.h>
#include <stdint.h>

#define VM_NOWAIT 1 /* flag of send and receive: answer error 8 instead of waiting */
#define VM_MAY_USE 1 /* right to send, receive, read, visit, start */
#define VM_MAY_SEE 2 /* right to ask for status and use */
#define VM_MAY_END 4 /* right to end, suspend, resume, and set limits */
#define VM_MAY_GRANT 8 /* right to pass it on */

/* How an isolate is. */
struct vm_status {
	uint32_t state; /* 0 new, 1 started, 2 exiting, 3 terminated */
	uint32_t cause; /* why it ends, see docs/isolates.md; 0: it does not */
	uint32_t code; /* exit code */
	uint32_t error; /* error kind of the fault or of the reason; 0: none */
};
_Static_assert(sizeof(struct vm_status) == 16, "janos_vm.h: struct vm_status has a wrong size");

/* Calls. Unused ones are not imported. A result below zero is minus an error kind. */

/* ends the own isolate, with its goodbye. Costs 50 units of fuel. */
__attribute__((import_module("janos_vm"), import_name("exit")))
int32_t vm_exit(int32_t code);

/* ends the own isolate at once. Costs 50 units of fuel. */
__attribute__((import_module("janos_vm"), import_name("halt")))
int32_t vm_halt(int32_t code);

/* others may run. Costs 50 units of fuel. */
__attribute__((import_module("janos_vm"), import_name("yield")))
int32_t vm_yield(void);

/* copies what the isolate was started with to buf, as far as it fits, and returns how many
 * bytes there are: first the numbers of the handles that it was given, 4 bytes each, then
 * what its starter wrote. Costs 100 units of fuel. */
__attribute__((import_module("janos_vm"), import_name("args")))
int32_t vm_args(void *buf, uint32_t cap);

/* makes a link with a queue of so many messages (0: sender and receiver meet) of at most so
 * many bytes (0: 1024) and writes the handles of its sending and of its receiving end to
 * out. Costs 2000 units of fuel. */
__attribute__((import_module("janos_vm"), import_name("link_new")))
int32_t vm_link_new(uint32_t queue, uint32_t bytes, void *out);

/* sends a message of bytes and of n handles, of which the receiver gets its own. The handles
 * need the right to be passed on. Costs 500 + 1 for 16 bytes units of fuel. May wait. */
__attribute__((import_module("janos_vm"), import_name("send")))
int32_t vm_send(int32_t link, const void *data, uint32_t len, const void *handles, uint32_t n, uint32_t flags);

/* receives a message and returns its bytes; writes n handles, 0 behind the last. Error 15
 * leaves the message. Costs 500 + 1 for 16 bytes units of fuel. May wait. */
__attribute__((import_module("janos_vm"), import_name("receive")))
int32_t vm_receive(int32_t link, void *buf, uint32_t cap, void *handles, uint32_t n, uint32_t flags);

/* gives a handle up. Costs 200 units of fuel. */
__attribute__((import_module("janos_vm"), import_name("handle_close")))
int32_t vm_handle_close(int32_t h);

/* ends all handles that were made from one, wherever they are, and returns how many; the
 * handle itself stays. Costs 500 units of fuel. */
__attribute__((import_module("janos_vm"), import_name("handle_revoke")))
int32_t vm_handle_revoke(int32_t h);

/* makes another handle of the same object with those of the given rights that h has; it ends
 * when those made from h are revoked. Costs 500 units of fuel. */
__attribute__((import_module("janos_vm"), import_name("handle_narrow")))
int32_t vm_handle_narrow(int32_t h, uint32_t rights);

/* makes a shared segment of a copy of the bytes and returns its handle; who has one is
 * charged for all of it. Costs 2000 + 1 for 16 bytes units of fuel. */
__attribute__((import_module("janos_vm"), import_name("segment_new")))
int32_t vm_segment_new(const void *data, uint32_t len);

/* returns the bytes of a segment. Costs 100 units of fuel. */
__attribute__((import_module("janos_vm"), import_name("segment_size")))
int32_t vm_segment_size(int32_t h);

/* copies bytes of a segment to buf, as many as there are, and returns how many. Costs 200 +
 * 1 for 16 bytes units of fuel. */
__attribute__((import_module("janos_vm"), import_name("segment_read")))
int32_t vm_segment_read(int32_t h, uint32_t offset, void *buf, uint32_t len);

/* calls a service in another isolate with len bytes of buf, at the own cost; the answer of
 * at most cap bytes is in buf, and its length is returned. Costs 500 + 1 for 16 bytes units
 * of fuel. May wait. */
__attribute__((import_module("janos_vm"), import_name("visit")))
int32_t vm_visit(int32_t service, void *buf, uint32_t len, uint32_t cap, uint32_t fuel);

/* makes an isolate inside the own one: at most so many bytes, so many thousand units of fuel
 * a second, share of processor time, handles (0: no limit of its own). Costs 20000 units of
 * fuel. */
__attribute__((import_module("janos_vm"), import_name("child_new")))
int32_t vm_child_new(uint32_t memory, uint32_t fuel, uint32_t share, uint32_t handles);

/* passes a module of a process through the gate, at the child's cost, and returns the handle
 * of its code. Costs 50000 units of fuel. */
__attribute__((import_module("janos_vm"), import_name("child_load")))
int32_t vm_child_load(int32_t child, const void *code, uint32_t len);

/* starts the child's process, with handles of its own for the n that it is given; see args.
 * Costs 50000 units of fuel. */
__attribute__((import_module("janos_vm"), import_name("child_start")))
int32_t vm_child_start(int32_t child, int32_t code, const void *args, uint32_t len, const void *handles, uint32_t n);

/* stops the child until it is resumed or ended. Costs 500 units of fuel. */
__attribute__((import_module("janos_vm"), import_name("child_suspend")))
int32_t vm_child_suspend(int32_t child);

/* undoes child_suspend. Costs 500 units of fuel. */
__attribute__((import_module("janos_vm"), import_name("child_resume")))
int32_t vm_child_resume(int32_t child);

/* asks the child to end, with its goodbye; 1: it was ending already. Costs 500 units of
 * fuel. */
__attribute__((import_module("janos_vm"), import_name("child_exit")))
int32_t vm_child_exit(int32_t child, int32_t code);

/* ends the child at once; 1: it had been halted already. Costs 500 units of fuel. */
__attribute__((import_module("janos_vm"), import_name("child_halt")))
int32_t vm_child_halt(int32_t child, int32_t code);

/* writes how the child is. Costs 200 units of fuel. */
__attribute__((import_module("janos_vm"), import_name("child_status")))
int32_t vm_child_status(int32_t child, struct vm_status *out);

/* waits until the child is terminated, and writes how it ended. Costs 500 units of fuel. May
 * wait. */
__attribute__((import_module("janos_vm"), import_name("child_wait")))
int32_t vm_child_wait(int32_t child, struct vm_status *out);

/* VM_RUN begins the function of a process: VM_RUN { return 0; }. What it returns is the exit code. VM_EXITING begins its goodbye. */
#define VM_RUN __attribute__((export_name("run"))) int32_t run(void)
#define VM_EXITING __attribute__((export_name("exiting"))) void exiting(void)

#endif /* JANOS_VM_H */
