/* probe_bigger: the probe with more connection data, and a hook that carries the old data over. */
#define PROBE_VERSION "3.0"
#define PROBE_DATA_SIZE 128
#define PROBE_MIGRATE 0
#include "probe.c"
