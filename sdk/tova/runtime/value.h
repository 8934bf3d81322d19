/* value: arrays, objects and connections as a program has them, in Lua's memory.
 *
 * - nil, Bool, String (UTF-8) and Function are Lua's own; each number is a double.
 * - An array is a table with its elements from 1, and its length, a number, under &value_length.
 * - An object is a table with its members, and under &value_order an array of its keys in their
 *   order. A key whose value is nil stands in the order only; once somebody had to know, such keys
 * are the keys of a table under &value_absent. An order with something at index 0 is shared: it is
 *   copied before it is changed.
 * - Calls have an argument in front that counts for methods only.
 */
#ifndef TOVA_SDK_RUNTIME_VALUE_H
#define TOVA_SDK_RUNTIME_VALUE_H

#include "tova/runtime/runtime.h"

/* Only their addresses matter. */
extern const char value_order, value_length, value_absent;

enum value_type {
	VALUE_NIL,
	VALUE_BOOL,
	VALUE_NUMBER,
	VALUE_STRING,
	VALUE_FUNCTION,
	VALUE_ARRAY,
	VALUE_OBJECT, /* errors, too */
	VALUE_CONNECTION,
	VALUE_BYTES, /* a binary message */
	VALUE_OTHER
};

struct value_bytes {
	size_t n;
	char p[];
};

/* Of what stands at that place of the stack. */
enum value_type value_type(lua_State *L, int at);
/* "Int", "List", ...: as the language calls it. */
const char *value_type_name(lua_State *L, int at);

/* --- arrays */
/* Pushes an empty one with room for n elements. */
void value_push_array(lua_State *L, size_t n);
size_t value_array_length(lua_State *L, int at);
/* Says how long one is that nobody knows yet. */
void value_array_made(lua_State *L, int at, size_t n);
/* Pops a value and appends it, noted in the journal. */
void value_append(lua_State *L, int array);
/* Pops a value into element i, from 0, noted. */
void value_set_element(lua_State *L, int array, size_t i);
void value_set_length(lua_State *L, int array, size_t n);

/* --- objects */
/* An empty one, with room for n members. */
void value_push_object(lua_State *L, size_t n);
/* Pops a value and a key (below it) into the object, noted. */
void value_set_member(lua_State *L, int object);
/* The same for an object that nobody has seen yet: nothing is noted. *absent: some of its keys have
 * the value nil; false at first. */
void value_add_member(lua_State *L, int object, bool *absent);
bool value_has_member(lua_State *L, int object, int key);
/* Pushes the array of its keys; returns how many. */
size_t value_push_keys(lua_State *L, int object);

/* --- connections and bytes */
/* Each connection is one value: the same one is pushed again. */
void value_push_connection(lua_State *L, tova_ws ws);
tova_ws value_connection(lua_State *L, int at); /* a fault if it is none */
/* A copy. */
void value_push_bytes(lua_State *L, const void *p, size_t n);

/* --- any */
/* Appends what a person is to see. */
void value_write_text(lua_State *L, struct buffer *b, int at);
/* Pushes that. */
void value_push_text(lua_State *L, int at);
/* The key of an object: a string, or the text of a number. A fault otherwise. Pushes it. */
void value_push_key(lua_State *L, int at);
/* Is there such an element in the array, such a key in the object, such a text in the string? */
bool value_contains(lua_State *L, int container, int at);
bool value_equal(lua_State *L, int a, int b);

#endif
