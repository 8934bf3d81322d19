/* probe_bigger_nomigrate: the probe with more connection data and no hook: a reload into it must be
 * refused. */
#define PROBE_VERSION "3.1"
#define PROBE_DATA_SIZE 128
#include "probe.c"
