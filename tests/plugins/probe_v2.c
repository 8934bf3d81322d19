/* probe_v2: the probe as a newer version, for reloads. */
#define PROBE_VERSION "2.0"
#include "probe.c"
