/* library_host: what functions that command the host have in common. */
#ifndef TOVA_SDK_RUNTIME_LIBRARY_HOST_H
#define TOVA_SDK_RUNTIME_LIBRARY_HOST_H

#include "tova/runtime/library.h"

/* The event's mount; a fault of `who` where a program runs without a host. */
tova_mount *host_mount(lua_State *L, const char *who);
/* What a command has answered, a TOVA_E_...: 0, or a fault that can not be caught. */
int host_done(lua_State *L, int result, const char *who);
/* The same of a command that was given this code and a reason of this length. */
int host_close_done(lua_State *L, int result, int64_t code, size_t reason_len, const char *who);
/* What is at `at` as a message: texts and bytes as they are, objects and arrays as JSON. It lives
 * as long as the stack does. */
tova_payload host_payload(lua_State *L, int at, const char *who);

/* library_room.c, as methods of a connection: (ws, room, options), (ws, room), (ws) */
int room_join(lua_State *L);
int room_leave(lua_State *L);
int room_leave_all(lua_State *L);
int room_prolong(lua_State *L);

#endif
