/* argument: what functions of the library are given. A wrong one is a fault that names the
 * function, what it needs and what it got. */
#ifndef TOVA_SDK_RUNTIME_ARGUMENT_H
#define TOVA_SDK_RUNTIME_ARGUMENT_H

#include "tova/runtime/value.h"

/* Valid as long as the argument is on the stack. who: the function, as the fault calls it. */
const char *argument_text(lua_State *L, int at, size_t *n_r, const char *who);
double argument_number(lua_State *L, int at, const char *who);
/* A whole number, cut towards 0 and to the range from least to most. */
int64_t argument_whole(lua_State *L, int at, int64_t least, int64_t most, const char *who);
/* Faults if it is something else. */
void argument_array(lua_State *L, int at, const char *who);
void argument_object(lua_State *L, int at, const char *who);
void argument_function(lua_State *L, int at, const char *who);
/* A place in something of this length, as slice() takes it: counted from its end if it is negative;
 * fallback where there is none. */
size_t argument_place(lua_State *L, int at, size_t length, size_t fallback, const char *who);

#endif
