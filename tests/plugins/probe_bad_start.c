/* probe_bad_start: the probe, but starting fails: a reload into it must be refused. */
#define PROBE_VERSION "5.0"
#define PROBE_START_FAILS 1
#include "probe.c"
