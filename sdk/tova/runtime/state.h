/* state: what belongs to a connection and an event: ws.data, ws.user, ws.request, and the log. */
#ifndef TOVA_SDK_RUNTIME_STATE_H
#define TOVA_SDK_RUNTIME_STATE_H

#include "tova/runtime/value.h"

/* Bytes that the host keeps with each connection: JSON, and NUL behind it. */
#define STATE_SIZE 1024

/* Pushes ws.data of the connection, which has to be the event's. What the program changes in it is
 * kept by state_keep. */
void state_push_data(lua_State *L, tova_ws ws);
/* ws.data = the value at `at`. */
void state_set_data(lua_State *L, tova_ws ws, int at);
/* Pushes what is known of a connection by that name (user, info, claims, traceparent, tracestate),
 * or nil: of the event's own, or, user and info, of one that an answer lists; a fault of any other.
 * False: there is no such name, and nothing is pushed. */
bool state_push_about(lua_State *L, tova_ws ws, const char *name);
/* Pushes the request, in on_open; elsewhere a fault. */
void state_push_request(lua_State *L, tova_ws ws);
/* At the end of an event: what ws.data is now goes to the host. Faults if that is too much. */
void state_keep(lua_State *L);

#define STATE_TIMER_NAME_MAX 40
/* The name that the host knows the program's timer of this number by. */
void state_timer_name(uint64_t id, char name_r[STATE_TIMER_NAME_MAX]);
/* A line of the log, of at most what that takes. */
void state_print(struct runtime *r, const char *text, size_t n);

#endif
