/* json_text: JSON.parse and JSON.stringify. */
#ifndef TOVA_SDK_RUNTIME_JSON_TEXT_H
#define TOVA_SDK_RUNTIME_JSON_TEXT_H

#include "tova/runtime/value.h"

#define JSON_TEXT_DEPTH_MAX 200

/* Appends the value at `at`; indent: spaces of a level, 0: all in one line. What JSON has no form
 * for (functions) is left out of objects and null elsewhere. */
void json_text_write(lua_State *L, struct buffer *b, int at, int indent);
/* Is there a text for it at all? */
bool json_text_is(lua_State *L, int at);
/* Faults if the buffer with n bytes more would be more than the program may use. */
void json_text_bound(lua_State *L, const struct buffer *b, size_t n);
/* Pushes what is in the buffer, or faults if there was no memory for it. */
void json_text_push(lua_State *L, const struct buffer *b);
/* Pushes what the text says, or faults with what is wrong and where. */
void json_text_read(lua_State *L, const char *p, size_t n);

#endif
