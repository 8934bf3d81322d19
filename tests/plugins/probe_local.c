/* probe_local: the probe with connection data that could hold pointers. */
#define PROBE_VERSION "4.0"
#define PROBE_FLAGS TOVA_LOCAL_DATA
#include "probe.c"
