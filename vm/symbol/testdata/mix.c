#include <janos.h>
JANOS_CAPSULE("mix", 64, .window_min = 4)
static unsigned table[16];
static __attribute__((noinline)) unsigned mix(unsigned x) {
  unsigned s = x;
  for (int i = 0; i < 16; i++)
    s = s * 31 + table[i];
  return s;
}
JANOS_EVALUATE {
  unsigned s = mix(janos_window[0]);
  for (unsigned i = 0; i < 64; i++)
    s ^= mix(s + i);
  table[s & 15] = s;
  if (s == 17)
    return JANOS_FORWARD;
  return JANOS_DROP;
}
