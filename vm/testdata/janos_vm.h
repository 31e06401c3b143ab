/* The calls of package vm for processes. Results below zero are minus an error kind. */
#ifndef JANOS_VM_H
#define JANOS_VM_H
#include <janos.h>

#define VM_CALL(name) __attribute__((import_module("janos_vm"), import_name(#name)))

VM_CALL(exit) int32_t vm_exit(int32_t code);
VM_CALL(halt) int32_t vm_halt(int32_t code);
VM_CALL(yield) int32_t vm_yield(void);
VM_CALL(args) int32_t vm_args(void *buf, uint32_t cap);
VM_CALL(link_new) int32_t vm_link_new(uint32_t queue, uint32_t bytes, int32_t out[2]);
VM_CALL(send) int32_t vm_send(int32_t link, const void *data, uint32_t len, const int32_t *handles, uint32_t n, uint32_t flags);
VM_CALL(receive) int32_t vm_receive(int32_t link, void *buf, uint32_t cap, int32_t *handles, uint32_t n, uint32_t flags);
VM_CALL(handle_close) int32_t vm_close(int32_t h);
VM_CALL(handle_revoke) int32_t vm_revoke(int32_t h);
VM_CALL(segment_new) int32_t vm_segment_new(const void *data, uint32_t len);
VM_CALL(segment_size) int32_t vm_segment_size(int32_t h);
VM_CALL(segment_read) int32_t vm_segment_read(int32_t h, uint32_t offset, void *buf, uint32_t len);
VM_CALL(visit) int32_t vm_visit(int32_t service, void *buf, uint32_t len, uint32_t cap, uint32_t fuel);
VM_CALL(child_new) int32_t vm_child_new(uint32_t memory, uint32_t kfuel, uint32_t share, uint32_t handles);
VM_CALL(child_load) int32_t vm_child_load(int32_t child, const void *code, uint32_t len);
VM_CALL(child_start) int32_t vm_child_start(int32_t child, int32_t code, const void *args, uint32_t len, const int32_t *handles, uint32_t n);
VM_CALL(child_suspend) int32_t vm_child_suspend(int32_t child);
VM_CALL(child_resume) int32_t vm_child_resume(int32_t child);
VM_CALL(child_exit) int32_t vm_child_exit(int32_t child, int32_t code);
VM_CALL(child_halt) int32_t vm_child_halt(int32_t child, int32_t code);
VM_CALL(child_status) int32_t vm_child_status(int32_t child, uint32_t out[4]);
VM_CALL(child_wait) int32_t vm_child_wait(int32_t child, uint32_t out[4]);

#define VM_NOWAIT 1
#endif
