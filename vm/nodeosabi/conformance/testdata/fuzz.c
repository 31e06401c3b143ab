/* fuzz - makes the calls that its arguments say, behind the numbers of its two handles: for each a byte, which one, and six arguments of 4 bytes. The first byte of an argument
 * says what it is: a number, one of the handles that calls have returned, or an address. The list was made of sdk/abi/calls.yaml.
 * janos:build process=1 pages=4 stack=8192 */
#include <janos_nodeos.h>
#include <janos_vm.h>

__attribute__((import_module("janos_vm"), import_name("yield"))) int32_t raw_vm_yield(void);
__attribute__((import_module("janos_vm"), import_name("link_new"))) int32_t raw_vm_link_new(uint32_t, uint32_t, uint32_t);
__attribute__((import_module("janos_vm"), import_name("send"))) int32_t raw_vm_send(uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t);
__attribute__((import_module("janos_vm"), import_name("receive"))) int32_t raw_vm_receive(uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t);
__attribute__((import_module("janos_vm"), import_name("handle_close"))) int32_t raw_vm_handle_close(uint32_t);
__attribute__((import_module("janos_vm"), import_name("handle_revoke"))) int32_t raw_vm_handle_revoke(uint32_t);
__attribute__((import_module("janos_vm"), import_name("handle_narrow"))) int32_t raw_vm_handle_narrow(uint32_t, uint32_t);
__attribute__((import_module("janos_vm"), import_name("segment_new"))) int32_t raw_vm_segment_new(uint32_t, uint32_t);
__attribute__((import_module("janos_vm"), import_name("segment_size"))) int32_t raw_vm_segment_size(uint32_t);
__attribute__((import_module("janos_vm"), import_name("segment_read"))) int32_t raw_vm_segment_read(uint32_t, uint32_t, uint32_t, uint32_t);
__attribute__((import_module("janos_vm"), import_name("visit"))) int32_t raw_vm_visit(uint32_t, uint32_t, uint32_t, uint32_t, uint32_t);
__attribute__((import_module("janos_vm"), import_name("child_new"))) int32_t raw_vm_child_new(uint32_t, uint32_t, uint32_t, uint32_t);
__attribute__((import_module("janos_vm"), import_name("child_load"))) int32_t raw_vm_child_load(uint32_t, uint32_t, uint32_t);
__attribute__((import_module("janos_vm"), import_name("child_start"))) int32_t raw_vm_child_start(uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t);
__attribute__((import_module("janos_vm"), import_name("child_suspend"))) int32_t raw_vm_child_suspend(uint32_t);
__attribute__((import_module("janos_vm"), import_name("child_resume"))) int32_t raw_vm_child_resume(uint32_t);
__attribute__((import_module("janos_vm"), import_name("child_exit"))) int32_t raw_vm_child_exit(uint32_t, uint32_t);
__attribute__((import_module("janos_vm"), import_name("child_halt"))) int32_t raw_vm_child_halt(uint32_t, uint32_t);
__attribute__((import_module("janos_vm"), import_name("child_status"))) int32_t raw_vm_child_status(uint32_t, uint32_t);
__attribute__((import_module("janos_vm"), import_name("child_wait"))) int32_t raw_vm_child_wait(uint32_t, uint32_t);
__attribute__((import_module("janos_nodeos"), import_name("time"))) int32_t raw_no_time(uint32_t);
__attribute__((import_module("janos_nodeos"), import_name("random"))) int32_t raw_no_random(uint32_t, uint32_t);
__attribute__((import_module("janos_nodeos"), import_name("log"))) int32_t raw_no_log(uint32_t, uint32_t);
__attribute__((import_module("janos_nodeos"), import_name("domain_new"))) int32_t raw_no_domain_new(uint32_t, uint32_t);
__attribute__((import_module("janos_nodeos"), import_name("domain_set"))) int32_t raw_no_domain_set(uint32_t, uint32_t);
__attribute__((import_module("janos_nodeos"), import_name("domain_status"))) int32_t raw_no_domain_status(uint32_t, uint32_t);
__attribute__((import_module("janos_nodeos"), import_name("domain_end"))) int32_t raw_no_domain_end(uint32_t);
__attribute__((import_module("janos_nodeos"), import_name("in_new"))) int32_t raw_no_in_new(uint32_t, uint32_t, uint32_t);
__attribute__((import_module("janos_nodeos"), import_name("out_new"))) int32_t raw_no_out_new(uint32_t, uint32_t, uint32_t);
__attribute__((import_module("janos_nodeos"), import_name("channel_close"))) int32_t raw_no_channel_close(uint32_t);
__attribute__((import_module("janos_nodeos"), import_name("channel_status"))) int32_t raw_no_channel_status(uint32_t, uint32_t);
__attribute__((import_module("janos_nodeos"), import_name("receive"))) int32_t raw_no_receive(uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t);
__attribute__((import_module("janos_nodeos"), import_name("send"))) int32_t raw_no_send(uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t);
__attribute__((import_module("janos_nodeos"), import_name("hand_off"))) int32_t raw_no_hand_off(uint32_t, uint32_t, uint32_t, uint32_t, uint32_t);
__attribute__((import_module("janos_nodeos"), import_name("timer_new"))) int32_t raw_no_timer_new(void);
__attribute__((import_module("janos_nodeos"), import_name("timer_set"))) int32_t raw_no_timer_set(uint32_t, uint32_t);
__attribute__((import_module("janos_nodeos"), import_name("timer_take"))) int32_t raw_no_timer_take(uint32_t);
__attribute__((import_module("janos_nodeos"), import_name("wait"))) int32_t raw_no_wait(uint32_t, uint32_t, uint32_t);
__attribute__((import_module("janos_nodeos"), import_name("isolate_new"))) int32_t raw_no_isolate_new(uint32_t, uint32_t, uint32_t);
__attribute__((import_module("janos_nodeos"), import_name("isolate_load"))) int32_t raw_no_isolate_load(uint32_t, uint32_t, uint32_t, uint32_t);
__attribute__((import_module("janos_nodeos"), import_name("isolate_give"))) int32_t raw_no_isolate_give(uint32_t, uint32_t);
__attribute__((import_module("janos_nodeos"), import_name("isolate_serve"))) int32_t raw_no_isolate_serve(uint32_t, uint32_t, uint32_t, uint32_t, uint32_t);

static uint8_t script[16384];
static uint8_t room[32768];
static int32_t made[32];
static uint32_t count;

static int32_t call(uint8_t which, const uint32_t *a)
{
	switch (which % 42) {
	case 0:
		return raw_vm_yield();
	case 1:
		return raw_vm_link_new(a[0], a[1], a[2]);
	case 2:
		return raw_vm_send(a[0], a[1], a[2], a[3], a[4], a[5]);
	case 3:
		return raw_vm_receive(a[0], a[1], a[2], a[3], a[4], a[5]);
	case 4:
		return raw_vm_handle_close(a[0]);
	case 5:
		return raw_vm_handle_revoke(a[0]);
	case 6:
		return raw_vm_handle_narrow(a[0], a[1]);
	case 7:
		return raw_vm_segment_new(a[0], a[1]);
	case 8:
		return raw_vm_segment_size(a[0]);
	case 9:
		return raw_vm_segment_read(a[0], a[1], a[2], a[3]);
	case 10:
		return raw_vm_visit(a[0], a[1], a[2], a[3], a[4]);
	case 11:
		return raw_vm_child_new(a[0], a[1], a[2], a[3]);
	case 12:
		return raw_vm_child_load(a[0], a[1], a[2]);
	case 13:
		return raw_vm_child_start(a[0], a[1], a[2], a[3], a[4], a[5]);
	case 14:
		return raw_vm_child_suspend(a[0]);
	case 15:
		return raw_vm_child_resume(a[0]);
	case 16:
		return raw_vm_child_exit(a[0], a[1]);
	case 17:
		return raw_vm_child_halt(a[0], a[1]);
	case 18:
		return raw_vm_child_status(a[0], a[1]);
	case 19:
		return raw_vm_child_wait(a[0], a[1]);
	case 20:
		return raw_no_time(a[0]);
	case 21:
		return raw_no_random(a[0], a[1]);
	case 22:
		return raw_no_log(a[0], a[1]);
	case 23:
		return raw_no_domain_new(a[0], a[1]);
	case 24:
		return raw_no_domain_set(a[0], a[1]);
	case 25:
		return raw_no_domain_status(a[0], a[1]);
	case 26:
		return raw_no_domain_end(a[0]);
	case 27:
		return raw_no_in_new(a[0], a[1], a[2]);
	case 28:
		return raw_no_out_new(a[0], a[1], a[2]);
	case 29:
		return raw_no_channel_close(a[0]);
	case 30:
		return raw_no_channel_status(a[0], a[1]);
	case 31:
		return raw_no_receive(a[0], a[1], a[2], a[3], a[4], a[5]);
	case 32:
		return raw_no_send(a[0], a[1], a[2], a[3], a[4], a[5]);
	case 33:
		return raw_no_hand_off(a[0], a[1], a[2], a[3], a[4]);
	case 34:
		return raw_no_timer_new();
	case 35:
		return raw_no_timer_set(a[0], a[1]);
	case 36:
		return raw_no_timer_take(a[0]);
	case 37:
		return raw_no_wait(a[0], a[1], a[2]);
	case 38:
		return raw_no_isolate_new(a[0], a[1], a[2]);
	case 39:
		return raw_no_isolate_load(a[0], a[1], a[2], a[3]);
	case 40:
		return raw_no_isolate_give(a[0], a[1]);
	case 41:
		return raw_no_isolate_serve(a[0], a[1], a[2], a[3], a[4]);
	}
	return 0;
}

VM_RUN
{
	int32_t n = vm_args(script, sizeof script);

	if (n < 8)
		return -2;
	if (n > (int32_t)sizeof script)
		n = sizeof script;
	__builtin_memcpy(made, script, 8);
	count = 2;
	for (int32_t at = 8; at + 25 <= n; at += 25) {
		uint32_t a[6];

		for (int k = 0; k < 6; k++) {
			__builtin_memcpy(&a[k], script + at + 1 + 4 * k, 4);
			switch (a[k] & 7) {
			case 0:
				a[k] = (uint32_t)made[(a[k] >> 3) % 32];
				break;
			case 1:
				a[k] = (uint32_t)(uintptr_t)room + (a[k] >> 3) % sizeof room;
				break;
			case 2:
				a[k] = (uint32_t)(uintptr_t)script + (a[k] >> 3) % sizeof script;
				break;
			case 3:
				a[k] = (a[k] >> 3) & 0xff;
				break;
			case 4:
				a[k] = (a[k] >> 3) & 0xffff;
				break;
			default:
				break;
			}
		}
		int32_t r = call(script[at], a);
		if (r > 2 && r < 0x10000)
			made[2 + count++ % 30] = r;
	}
	return 0;
}
