/* asks - uses the host calls, with addresses that the window says: byte 0 is the call, then key, key length, value, value length as four numbers
 * of four bytes each. What came is in the next four bytes, and the value where it said. */
#include <janos.h>

JANOS_CAPSULE("asks", 512, .window_min = 24)

JANOS_EVALUATE
{
	uint8_t *w = janos_window;
	void *key = (void *)(uintptr_t)janos_get32(4), *value = (void *)(uintptr_t)janos_get32(12);
	uint32_t key_len = janos_get32(8), len = janos_get32(16), r = 0;

	if (!key)
		key = w + 64;
	if (!value)
		value = w + 128;
	switch (w[0]) {
	case 1:
		r = janos_state_get(key, key_len, value, len);
		break;
	case 2:
		r = janos_state_put(key, key_len, value, len, 7);
		break;
	case 3:
		r = janos_neighbour(len);
		break;
	case 4:
		janos_log(key, key_len);
		break;
	}
	janos_put32(20, r);
	return JANOS_FORWARD;
}
