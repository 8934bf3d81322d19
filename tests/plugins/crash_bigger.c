/* crash_bigger: crash with more connection data, for reloads that call migrate. */
#define CRASH_DATA_SIZE 16
#include "crash.c"
