/* library_any: functions for values of any kind, and JSON. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tova/runtime/json_text.h"
#include "tova/runtime/library.h"
#include "tova/runtime/text.h"

/* --- of what kind ----------------------------------------------------------------------------- */

static int any_type_of(lua_State *L)
{
	lua_pushstring(L, value_type_name(L, 1));
	return 1;
}

/* -1: it has none. */
static int64_t any_length(lua_State *L, int at)
{
	size_t n;
	const char *p;
	switch (value_type(L, at)) {
	case VALUE_STRING:
		p = lua_tolstring(L, at, &n);
		runtime_charge(L, n / 64);
		return (int64_t)text_length(p, n);
	case VALUE_ARRAY:
		return (int64_t)value_array_length(L, at);
	case VALUE_OBJECT:
		n = value_push_keys(L, at);
		lua_pop(L, 1);
		return (int64_t)n;
	case VALUE_BYTES:
		return (int64_t)((struct value_bytes *)lua_touserdata(L, at))->n;
	case VALUE_NIL:
		return 0;
	default:
		return -1;
	}
}

static int any_len(lua_State *L)
{
	int64_t n = any_length(L, 1);
	if (n < 0)
		return runtime_fault(L, "%s has no length", value_type_name(L, 1));
	lua_pushnumber(L, (lua_Number)n);
	return 1;
}

static int any_is_empty(lua_State *L)
{
	int64_t n = any_length(L, 1);
	if (n < 0)
		return runtime_fault(L, "isEmpty: %s has no length", value_type_name(L, 1));
	lua_pushboolean(L, n == 0);
	return 1;
}

/* --- into another kind ------------------------------------------------------------------------ */

static int any_to_string(lua_State *L)
{
	value_push_text(L, 1);
	return 1;
}

/* A number that the whole text says, but for white space around it. */
static bool any_number(lua_State *L, double *value_r)
{
	size_t n;
	char *end;
	if (lua_isboolean(L, 1)) {
		*value_r = lua_toboolean(L, 1);
		return true;
	}
	if (lua_type(L, 1) == LUA_TNUMBER) {
		*value_r = lua_tonumber(L, 1);
		return true;
	}
	if (lua_type(L, 1) != LUA_TSTRING)
		return false;
	const char *p = lua_tolstring(L, 1, &n);
	size_t from = text_space(p, n);
	const char *digit = p + from + (p[from] == '-' || p[from] == '+');
	if (!((*digit >= '0' && *digit <= '9') || *digit == '.') ||
	    (digit[0] == '0' && (digit[1] | 32) == 'x'))
		return false;
	*value_r = strtod(p + from, &end);
	return end != p + from && text_space(end, (size_t)(p + n - end)) == (size_t)(p + n - end);
}

static int any_to_float(lua_State *L)
{
	double value;
	if (!any_number(L, &value))
		return 0;
	lua_pushnumber(L, value);
	return 1;
}

static int any_to_int(lua_State *L)
{
	double value;
	if (!any_number(L, &value) || !isfinite(value))
		return 0;
	lua_pushnumber(L, trunc(value));
	return 1;
}

static int any_to_bool(lua_State *L)
{
	bool yes = lua_toboolean(L, 1);
	size_t n;
	if (lua_type(L, 1) == LUA_TSTRING) {
		const char *p = lua_tolstring(L, 1, &n);
		yes = n > 0 && !(n == 1 && *p == '0') && !(n == 5 && strcmp(p, "false") == 0);
	} else if (lua_type(L, 1) == LUA_TNUMBER) {
		yes = lua_tonumber(L, 1) != 0 && !isnan(lua_tonumber(L, 1));
	}
	lua_pushboolean(L, yes);
	return 1;
}

/* A copy of what is at `at`, and of all in it, on top. */
static void any_push_clone(lua_State *L, int at, int depth)
{
	enum value_type type = value_type(L, at);
	if (type != VALUE_ARRAY && type != VALUE_OBJECT) {
		lua_pushvalue(L, at);
		return;
	}
	if (depth > JSON_TEXT_DEPTH_MAX)
		runtime_fault(L, "clone: a value that is nested too deeply, or holds itself");
	luaL_checkstack(L, 12, NULL);
	size_t n = type == VALUE_ARRAY ? value_array_length(L, at) : value_push_keys(L, at);
	int keys = lua_gettop(L);
	bool absent = false;
	runtime_charge(L, n + 1);
	if (type == VALUE_ARRAY)
		value_push_array(L, n);
	else
		value_push_object(L, n);
	int to = lua_gettop(L);
	for (size_t i = 1; i <= n; i++) {
		if (type == VALUE_ARRAY) {
			lua_rawgeti(L, at, (lua_Integer)i);
			any_push_clone(L, to + 1, depth + 1);
			lua_rawseti(L, to, (lua_Integer)i);
		} else {
			lua_rawgeti(L, keys, (lua_Integer)i);
			lua_pushvalue(L, -1);
			lua_rawget(L, at);
			any_push_clone(L, to + 2, depth + 1);
			lua_remove(L, to + 2);
			value_add_member(L, to, &absent);
		}
		lua_settop(L, to);
	}
	if (type == VALUE_ARRAY)
		value_array_made(L, to, n);
	else
		lua_remove(L, keys);
}

static int any_clone(lua_State *L)
{
	any_push_clone(L, 1, 0);
	return 1;
}

/* --- by the kind of the first argument -------------------------------------------------------- */

int library_includes(lua_State *L)
{
	lua_settop(L, 2);
	lua_pushboolean(L, value_contains(L, 1, 2));
	return 1;
}

/* As functions they say nil for what is not there, as methods -1. */
static int any_place(lua_State *L, lua_CFunction of_text, lua_CFunction of_array)
{
	if (lua_type(L, 1) == LUA_TSTRING)
		of_text(L);
	else
		of_array(L);
	if (lua_tonumber(L, -1) < 0)
		lua_pushnil(L);
	return 1;
}

static int any_index_of(lua_State *L)
{
	return any_place(L, library_index_of_text, library_index_of_array);
}

static int any_last_index_of(lua_State *L)
{
	return any_place(L, library_last_index_of_text, library_last_index_of_array);
}

static int any_slice(lua_State *L)
{
	return lua_type(L, 1) == LUA_TSTRING ? library_slice_text(L) : library_slice_array(L);
}

/* --- arrays of numbers ------------------------------------------------------------------------ */

#define ANY_RANGE_MAX 10000000

static int any_range(lua_State *L)
{
	bool one = lua_gettop(L) < 2;
	double from = one ? 0 : argument_number(L, 1, "range"),
	       to = argument_number(L, one ? 1 : 2, "range"),
	       step = lua_isnoneornil(L, 3) ? 1 : argument_number(L, 3, "range");
	double count = step != 0 ? ceil((to - from) / step) : NAN;
	if (isnan(count) || count > ANY_RANGE_MAX)
		return runtime_fault(L, "range: that is no number of steps, or more than %d",
				     ANY_RANGE_MAX);
	size_t n = count > 0 ? (size_t)count : 0;
	runtime_charge(L, n);
	value_push_array(L, n);
	for (size_t i = 0; i < n; i++) {
		lua_pushnumber(L, from + (double)i * step);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	value_array_made(L, -1, n);
	return 1;
}

static int any_filled(lua_State *L)
{
	size_t n = (size_t)argument_whole(L, 1, 0, ANY_RANGE_MAX, "filled");
	runtime_charge(L, n);
	value_push_array(L, n);
	for (size_t i = 1; i <= n; i++) {
		lua_pushvalue(L, 2);
		lua_rawseti(L, -2, (lua_Integer)i);
	}
	value_array_made(L, -1, n);
	return 1;
}

/* --- JSON ------------------------------------------------------------------------------------- */

static int any_parse(lua_State *L)
{
	size_t n;
	if (value_type(L, 2) == VALUE_BYTES) {
		const struct value_bytes *bytes = lua_touserdata(L, 2);
		json_text_read(L, bytes->p, bytes->n);
		return 1;
	}
	const char *p = argument_text(L, 2, &n, "JSON.parse");
	json_text_read(L, p, n);
	return 1;
}

/* (value, replacer, indent): the second one is for JavaScript's sake. */
static int any_stringify(lua_State *L)
{
	struct buffer *b = &runtime_of(L)->text;
	int indent = lua_isnoneornil(L, 4) ? 0 : (int)argument_whole(L, 4, 0, 10, "JSON.stringify");
	if (!lua_isnoneornil(L, 3))
		return runtime_fault(L, "JSON.stringify takes no second value here but nil");
	if (!json_text_is(L, 2))
		return 0;
	buffer_clear(b);
	json_text_write(L, b, 2, indent);
	json_text_push(L, b);
	return 1;
}

const luaL_Reg library_any_functions[] = {{"typeOf", any_type_of},
					  {"type_of", any_type_of},
					  {"len", any_len},
					  {"isEmpty", any_is_empty},
					  {"toString", any_to_string},
					  {"toInt", any_to_int},
					  {"toFloat", any_to_float},
					  {"toBool", any_to_bool},
					  {"clone", any_clone},
					  {"contains", library_includes},
					  {"includes", library_includes},
					  {"indexOf", any_index_of},
					  {"lastIndexOf", any_last_index_of},
					  {"slice", any_slice},
					  {"range", any_range},
					  {"filled", any_filled},
					  {NULL, NULL}};
const luaL_Reg library_json[] = {{"parse", any_parse}, {"stringify", any_stringify}, {NULL, NULL}};
