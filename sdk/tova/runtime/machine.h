/* machine: what stats() tells of the machine and the host. */
#ifndef TOVA_SDK_RUNTIME_MACHINE_H
#define TOVA_SDK_RUNTIME_MACHINE_H

#include "tova/runtime/value.h"

/* Pushes {"time": ms since 1970, "load": [1, 5, 15 minutes], "memory": {"total", "used"}, "host":
 * {...}}; load, memory and host (stats NULL) are nil where they are not known. */
void machine_push_stats(lua_State *L, const tova_stats *stats);

#endif
