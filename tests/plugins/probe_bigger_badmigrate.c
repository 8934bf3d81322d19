/* probe_bigger_badmigrate: the probe with more connection data and a hook that fails: a reload into
 * it must be refused. */
#define PROBE_VERSION "3.2"
#define PROBE_DATA_SIZE 128
#define PROBE_MIGRATE 1
#include "probe.c"
