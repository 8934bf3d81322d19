#include "tova/runtime/value.h"

#include <math.h>
#include <string.h>

#include "tova/runtime/json_text.h"
#include "tova/runtime/number_text.h"

const char value_order, value_length, value_absent;

/* --- what is it? ------------------------------------------------------------------------------ */

static bool value_has_meta(lua_State *L, int slot)
{
	lua_rawgeti(L, LUA_REGISTRYINDEX, slot);
	bool same = lua_rawequal(L, -1, -2);
	lua_pop(L, 1);
	return same;
}

static enum value_type value_type_by_meta(lua_State *L, int at)
{
	enum value_type type = VALUE_OTHER;
	if (!lua_getmetatable(L, at))
		return type;
	if (value_has_meta(L, RUNTIME_OBJECT) || value_has_meta(L, RUNTIME_ERROR))
		type = VALUE_OBJECT;
	else if (value_has_meta(L, RUNTIME_ARRAY))
		type = VALUE_ARRAY;
	else if (value_has_meta(L, RUNTIME_CONNECTION))
		type = VALUE_CONNECTION;
	else if (value_has_meta(L, RUNTIME_BYTES))
		type = VALUE_BYTES;
	lua_pop(L, 1);
	return type;
}

enum value_type value_type(lua_State *L, int at)
{
	switch (lua_type(L, at)) {
	case LUA_TNONE:
	case LUA_TNIL:
		return VALUE_NIL;
	case LUA_TBOOLEAN:
		return VALUE_BOOL;
	case LUA_TNUMBER:
		return VALUE_NUMBER;
	case LUA_TSTRING:
		return VALUE_STRING;
	case LUA_TFUNCTION:
		return VALUE_FUNCTION;
	default:
		return value_type_by_meta(L, at);
	}
}

const char *value_type_name(lua_State *L, int at)
{
	static const char *const names[] = {"Nil",  "Bool",   "Float",	    "String", "Function",
					    "List", "Object", "Connection", "Bytes",  "Object"};
	enum value_type type = value_type(L, at);
	if (type == VALUE_NUMBER && floor(lua_tonumber(L, at)) == lua_tonumber(L, at) &&
	    isfinite(lua_tonumber(L, at)))
		return "Int";
	return names[type];
}

/* --- arrays ----------------------------------------------------------------------------------- */

void value_array_made(lua_State *L, int at, size_t n)
{
	at = lua_absindex(L, at);
	lua_pushnumber(L, (lua_Number)n);
	lua_rawsetp(L, at, &value_length);
	lua_rawgeti(L, LUA_REGISTRYINDEX, RUNTIME_ARRAY);
	lua_setmetatable(L, at);
}

void value_push_array(lua_State *L, size_t n)
{
	luaL_checkstack(L, 8, NULL);
	lua_createtable(L, n < 1000 ? (int)n : 1000, 1);
	value_array_made(L, -1, 0);
}

size_t value_array_length(lua_State *L, int at)
{
	lua_rawgetp(L, at, &value_length);
	size_t n = (size_t)lua_tonumber(L, -1);
	lua_pop(L, 1);
	return n;
}

void value_set_length(lua_State *L, int array, size_t n)
{
	array = lua_absindex(L, array);
	lua_pushlightuserdata(L, (void *)&value_length);
	lua_pushnumber(L, (lua_Number)n);
	runtime_set(L, array);
}

void value_set_element(lua_State *L, int array, size_t i)
{
	array = lua_absindex(L, array);
	lua_pushinteger(L, (lua_Integer)i + 1);
	lua_insert(L, -2);
	runtime_set(L, array);
}

void value_append(lua_State *L, int array)
{
	array = lua_absindex(L, array);
	size_t n = value_array_length(L, array);
	value_set_element(L, array, n);
	value_set_length(L, array, n + 1);
}

/* --- objects ---------------------------------------------------------------------------------- */

void value_push_object(lua_State *L, size_t n)
{
	luaL_checkstack(L, 8, NULL);
	lua_createtable(L, 0, n < 1000 ? (int)n + 1 : 1000);
	lua_createtable(L, n < 1000 ? (int)n : 1000, 0);
	lua_rawsetp(L, -2, &value_order);
	lua_rawgeti(L, LUA_REGISTRYINDEX, RUNTIME_OBJECT);
	lua_setmetatable(L, -2);
}

size_t value_push_keys(lua_State *L, int object)
{
	lua_rawgetp(L, object, &value_order);
	return lua_rawlen(L, -1);
}

/* Pushes the set of keys whose value is nil, which is made if it is not there. */
static void value_push_absent(lua_State *L, int object)
{
	if (lua_rawgetp(L, object, &value_absent) != LUA_TNIL)
		return;
	lua_pop(L, 1);
	lua_newtable(L);
	size_t n = value_push_keys(L, object); /* set keys */
	runtime_charge(L, n);
	for (size_t i = 1; i <= n; i++) {
		lua_rawgeti(L, -1, (lua_Integer)i);
		lua_pushvalue(L, -1);
		if (lua_rawget(L, object) == LUA_TNIL) {
			lua_pop(L, 1);
			lua_pushboolean(L, true);
			lua_rawset(L, -4);
		} else {
			lua_pop(L, 2);
		}
	}
	lua_pop(L, 1);
	lua_pushlightuserdata(L, (void *)&value_absent);
	lua_pushvalue(L, -2);
	runtime_set(L, object);
}

/* Pushes the order, one of its own. */
static void value_push_own_keys(lua_State *L, int object)
{
	size_t n = value_push_keys(L, object);
	if (lua_rawgeti(L, -1, 0) == LUA_TNIL) {
		lua_pop(L, 1);
		return;
	}
	lua_pop(L, 1);
	lua_createtable(L, (int)n + 1, 0);
	for (size_t i = 1; i <= n; i++) {
		lua_rawgeti(L, -2, (lua_Integer)i);
		lua_rawseti(L, -2, (lua_Integer)i);
	}
	lua_remove(L, -2);
	lua_pushlightuserdata(L, (void *)&value_order);
	lua_pushvalue(L, -2);
	runtime_set(L, object);
}

/* key at `key`: is it one whose value is nil? Else it is new, and gets its place at the end. */
static void value_add_key(lua_State *L, int object, int key)
{
	value_push_absent(L, object);
	int absent = lua_gettop(L);
	lua_pushvalue(L, key);
	if (lua_rawget(L, absent) == LUA_TNIL) {
		value_push_own_keys(L, object);
		lua_pushinteger(L, (lua_Integer)lua_rawlen(L, -1) + 1);
		lua_pushvalue(L, key);
		runtime_set(L, lua_gettop(L) - 2);
	}
	lua_settop(L, absent);
	lua_pushvalue(L, key);
	lua_pushboolean(L, true);
	runtime_set(L, absent);
	lua_pop(L, 1);
}

static void value_mark_absent(lua_State *L, int object, int key, bool absent)
{
	if (lua_rawgetp(L, object, &value_absent) != LUA_TNIL) {
		lua_pushvalue(L, key);
		if (absent)
			lua_pushboolean(L, true);
		else
			lua_pushnil(L);
		runtime_set(L, lua_gettop(L) - 2);
	}
	lua_pop(L, 1);
}

void value_set_member(lua_State *L, int object)
{
	object = lua_absindex(L, object);
	luaL_checkstack(L, 12, NULL);
	int key = lua_gettop(L) - 1;
	lua_pushvalue(L, key);
	bool had = lua_rawget(L, object) != LUA_TNIL, has = !lua_isnil(L, key + 1);
	lua_pop(L, 1);
	if (!had)
		value_add_key(L, object, key);
	if (had != has)
		value_mark_absent(L, object, key, !has);
	runtime_set(L, object);
}

void value_add_member(lua_State *L, int object, bool *absent)
{
	bool nil = lua_isnil(L, -1);
	if (*absent) { /* who knows whether this key is one of them */
		value_set_member(L, object);
		return;
	}
	lua_pushvalue(L, -2);
	if (lua_rawget(L, object) == LUA_TNIL) {
		lua_rawgetp(L, object, &value_order);
		lua_pushvalue(L, -4);
		lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
	*absent = nil;
	lua_rawset(L, object);
}

bool value_has_member(lua_State *L, int object, int key)
{
	object = lua_absindex(L, object);
	key = lua_absindex(L, key);
	lua_pushvalue(L, key);
	bool has = lua_rawget(L, object) != LUA_TNIL;
	lua_pop(L, 1);
	if (has)
		return true;
	value_push_absent(L, object);
	lua_pushvalue(L, key);
	has = lua_rawget(L, -2) != LUA_TNIL;
	lua_pop(L, 2);
	return has;
}

/* --- connections and bytes -------------------------------------------------------------------- */

void value_push_connection(lua_State *L, tova_ws ws)
{
	tova_ws *p = lua_newuserdatauv(L, sizeof *p, 0);
	*p = ws;
	lua_rawgeti(L, LUA_REGISTRYINDEX, RUNTIME_CONNECTION);
	lua_setmetatable(L, -2);
}

tova_ws value_connection(lua_State *L, int at)
{
	if (value_type(L, at) != VALUE_CONNECTION)
		runtime_fault(L, "a connection (ws) was expected, not %s", value_type_name(L, at));
	return *(tova_ws *)lua_touserdata(L, at);
}

void value_push_bytes(lua_State *L, const void *p, size_t n)
{
	struct value_bytes *b = lua_newuserdatauv(L, sizeof *b + n, 0);
	b->n = n;
	memcpy(b->p, p, n);
	lua_rawgeti(L, LUA_REGISTRYINDEX, RUNTIME_BYTES);
	lua_setmetatable(L, -2);
}

/* --- text ------------------------------------------------------------------------------------- */

static void value_write_connection(lua_State *L, struct buffer *b, int at)
{
	char text[TOVA_WS_TEXT] = "connection";
	const struct runtime *r = runtime_of(L);
	if (r->mount != NULL)
		r->mount->host->ws_text(*(tova_ws *)lua_touserdata(L, at), text);
	buffer_add_text(b, text);
}

static void value_write_table(lua_State *L, struct buffer *b, int at)
{
	if (lua_getmetatable(L, at)) {
		bool error = value_has_meta(L, RUNTIME_ERROR);
		lua_pop(L, 1);
		if (error) {
			size_t n;
			lua_getfield(L, at, "message");
			const char *p = lua_tolstring(L, -1, &n);
			if (p != NULL)
				buffer_add(b, p, n);
			lua_pop(L, 1);
			return;
		}
	}
	json_text_write(L, b, at, 0);
}

void value_write_text(lua_State *L, struct buffer *b, int at)
{
	char number[NUMBER_TEXT_MAX];
	size_t n;
	const char *p;
	at = lua_absindex(L, at);
	switch (value_type(L, at)) {
	case VALUE_STRING:
		p = lua_tolstring(L, at, &n);
		json_text_bound(L, b, n);
		buffer_add(b, p, n);
		break;
	case VALUE_NUMBER:
		buffer_add(b, number, number_text(lua_tonumber(L, at), number));
		break;
	case VALUE_NIL:
		buffer_add_text(b, "nil");
		break;
	case VALUE_BOOL:
		buffer_add_text(b, lua_toboolean(L, at) ? "true" : "false");
		break;
	case VALUE_CONNECTION:
		value_write_connection(L, b, at);
		break;
	case VALUE_BYTES: {
		const struct value_bytes *bytes = lua_touserdata(L, at);
		buffer_addf(b, "<%zu bytes>", bytes->n);
		break;
	}
	case VALUE_ARRAY:
	case VALUE_OBJECT:
		value_write_table(L, b, at);
		break;
	default:
		buffer_add_text(b, "<function>");
	}
}

void value_push_text(lua_State *L, int at)
{
	struct buffer *b = &runtime_of(L)->text;
	if (lua_type(L, at) == LUA_TSTRING) {
		lua_pushvalue(L, at);
		return;
	}
	buffer_clear(b);
	value_write_text(L, b, at);
	json_text_push(L, b);
}

void value_push_key(lua_State *L, int at)
{
	enum value_type type = value_type(L, at);
	if (type == VALUE_NUMBER)
		value_push_text(L, at);
	else if (type == VALUE_STRING)
		lua_pushvalue(L, at);
	else
		runtime_fault(L, "a key is a String, not %s", value_type_name(L, at));
}

/* --- comparing -------------------------------------------------------------------------------- */

bool value_equal(lua_State *L, int a, int b)
{
	return lua_compare(L, a, b, LUA_OPEQ) != 0;
}

static bool value_array_contains(lua_State *L, int array, int at)
{
	size_t n = value_array_length(L, array);
	bool found = false;
	runtime_charge(L, n);
	for (size_t i = 1; i <= n && !found; i++) {
		lua_rawgeti(L, array, (lua_Integer)i);
		found = value_equal(L, -1, at);
		lua_pop(L, 1);
	}
	return found;
}

bool value_contains(lua_State *L, int container, int at)
{
	container = lua_absindex(L, container);
	at = lua_absindex(L, at);
	size_t n, m;
	const char *p, *q;
	bool has;
	switch (value_type(L, container)) {
	case VALUE_ARRAY:
		return value_array_contains(L, container, at);
	case VALUE_OBJECT:
		value_push_key(L, at);
		has = value_has_member(L, container, -1);
		lua_pop(L, 1);
		return has;
	case VALUE_STRING:
		if (lua_type(L, at) != LUA_TSTRING)
			return runtime_fault(L, "a String holds Strings, not %s",
					     value_type_name(L, at)) != 0;
		p = lua_tolstring(L, container, &n);
		q = lua_tolstring(L, at, &m);
		runtime_charge(L, n / 16);
		return m == 0 || memmem(p, n, q, m) != NULL;
	default:
		return runtime_fault(L, "nothing can be in %s", value_type_name(L, container)) != 0;
	}
}
