/* Built with --debug and -msimd128, which no node accepts: see check.txt. */
#include <janos.h>

typedef unsigned quad __attribute__((vector_size(16)));

JANOS_CAPSULE("vector", 64, .window_min = 16)

static __attribute__((noinline)) void twice(quad *q) {
  *q += *q;
}

JANOS_EVALUATE {
  twice((quad *)janos_window);
  return JANOS_FORWARD;
}
