/* library_helpers: what the generator calls for operators and statements that Lua has not. No
 * argument in front. Their names are short, as texts of programs are full of them. */
#include <math.h>
#include <string.h>

#include "tova/runtime/json_text.h"
#include "tova/runtime/library.h"
#include "tova/runtime/text.h"

/* --- making arrays and objects ---------------------------------------------------------------- */

/* A(table, length) */
static int helper_array(lua_State *L)
{
	lua_rawsetp(L, 1, &value_length);
	lua_rawgeti(L, LUA_REGISTRYINDEX, RUNTIME_ARRAY);
	lua_setmetatable(L, 1);
	return 1;
}

/* O(table): its order is in it. */
static int helper_object(lua_State *L)
{
	lua_rawgeti(L, LUA_REGISTRYINDEX, RUNTIME_OBJECT);
	lua_setmetatable(L, 1);
	return 1;
}

/* AC(a, b, ...): the elements of all of these. */
static int helper_concat(lua_State *L)
{
	int top = lua_gettop(L);
	size_t count = 0;
	value_push_array(L, 8);
	for (int i = 1; i <= top; i++) {
		if (value_type(L, i) != VALUE_ARRAY)
			return runtime_fault(L, "'...' in a List needs a List, not %s",
					     value_type_name(L, i));
		size_t n = value_array_length(L, i);
		runtime_charge(L, n);
		for (size_t k = 1; k <= n; k++) {
			lua_rawgeti(L, i, (lua_Integer)k);
			lua_rawseti(L, top + 1, (lua_Integer)++count);
		}
	}
	value_array_made(L, top + 1, count);
	return 1;
}

/* AP(array, value), for comprehensions: nobody has seen the array. */
static int helper_append(lua_State *L)
{
	size_t n = value_array_length(L, 1);
	lua_settop(L, 2);
	lua_rawseti(L, 1, (lua_Integer)n + 1);
	lua_pushnumber(L, (lua_Number)n + 1);
	lua_rawsetp(L, 1, &value_length);
	return 0;
}

/* OM(a, b, ...): the members of all of these. */
static int helper_merge(lua_State *L)
{
	int top = lua_gettop(L);
	bool absent = false;
	value_push_object(L, 4);
	for (int i = 1; i <= top; i++) {
		if (lua_isnil(L, i))
			continue;
		if (value_type(L, i) != VALUE_OBJECT)
			return runtime_fault(L, "'...' in an Object needs an Object, not %s",
					     value_type_name(L, i));
		size_t n = value_push_keys(L, i);
		runtime_charge(L, n);
		for (size_t k = 1; k <= n; k++) {
			lua_rawgeti(L, top + 2, (lua_Integer)k);
			lua_pushvalue(L, -1);
			lua_rawget(L, i);
			value_add_member(L, top + 1, &absent);
		}
		lua_settop(L, top + 1);
	}
	return 1;
}

/* OS(object, key, value), for comprehensions. */
static int helper_member(lua_State *L)
{
	value_push_key(L, 2);
	lua_pushvalue(L, 3);
	value_set_member(L, 1);
	return 0;
}

/* OE(key, value): an object of one. */
static int helper_entry(lua_State *L)
{
	value_push_object(L, 1);
	value_push_key(L, 1);
	lua_pushvalue(L, 2);
	value_set_member(L, 3);
	return 1;
}

/* --- elements --------------------------------------------------------------------------------- */

static int helper_nil(lua_State *L)
{
	lua_pushnil(L);
	return 1;
}

/* The whole number that this says, counted from the end if it is negative; false: it says none, or
 * one that is before the beginning. */
static bool helper_place(lua_State *L, int at, size_t length, size_t *i_r)
{
	if (lua_type(L, at) != LUA_TNUMBER)
		runtime_fault(L, "an element is named by a number, not %s", value_type_name(L, at));
	double value = lua_tonumber(L, at);
	if (value < 0)
		value += (double)length;
	if (!(value >= 0 && value < 9007199254740992.0) || value != floor(value))
		return false;
	*i_r = (size_t)value;
	return true;
}

static int helper_get_text(lua_State *L)
{
	size_t n, i;
	const char *p = lua_tolstring(L, 1, &n);
	size_t length = lua_tonumber(L, 2) < 0 ? text_length(p, n) : n;
	if (!helper_place(L, 2, length, &i))
		return helper_nil(L);
	runtime_charge(L, i / 16);
	size_t at = text_offset(p, n, i);
	if (at == n)
		return helper_nil(L);
	lua_pushlstring(L, p + at, text_size(p + at, n - at));
	return 1;
}

/* GT(value, key) */
static int helper_get(lua_State *L)
{
	size_t i;
	switch (value_type(L, 1)) {
	case VALUE_ARRAY:
		if (lua_type(L, 2) == LUA_TSTRING) {
			lua_gettable(L, 1);
			return 1;
		}
		if (!helper_place(L, 2, value_array_length(L, 1), &i))
			return helper_nil(L);
		lua_rawgeti(L, 1, (lua_Integer)i + 1);
		return 1;
	case VALUE_OBJECT:
		value_push_key(L, 2);
		lua_rawget(L, 1);
		return 1;
	case VALUE_STRING:
		if (lua_type(L, 2) == LUA_TNUMBER)
			return helper_get_text(L);
		lua_gettable(L, 1);
		return 1;
	case VALUE_CONNECTION:
		lua_gettable(L, 1);
		return 1;
	default:
		value_push_text(L, 2);
		return runtime_fault(L, "%s has no element %.60s", value_type_name(L, 1),
				     lua_tostring(L, -1));
	}
}

static int helper_set_element(lua_State *L)
{
	size_t i, n = value_array_length(L, 1);
	if (lua_type(L, 2) == LUA_TSTRING)
		return runtime_fault(L, "a List has elements only: \"%.60s\" can not be set",
				     lua_tostring(L, 2));
	if (!helper_place(L, 2, n, &i) || i > n) {
		value_push_text(L, 2);
		return runtime_fault(L, "there is no element %.60s in a List of %zu",
				     lua_tostring(L, -1), n);
	}
	lua_pushvalue(L, 3);
	if (i == n)
		value_append(L, 1);
	else
		value_set_element(L, 1, i);
	return 0;
}

/* ST(value, key, new) */
static int helper_set(lua_State *L)
{
	lua_settop(L, 3);
	switch (value_type(L, 1)) {
	case VALUE_ARRAY:
		return helper_set_element(L);
	case VALUE_OBJECT:
		value_push_key(L, 2);
		lua_pushvalue(L, 3);
		value_set_member(L, 1);
		return 0;
	case VALUE_CONNECTION:
		lua_settable(L, 1);
		return 0;
	case VALUE_OTHER:
		lua_rawgeti(L, LUA_REGISTRYINDEX, RUNTIME_TOP);
		if (!lua_rawequal(L, 1, -1))
			return runtime_fault(L, "what the library has can not be changed");
		lua_pop(L, 1);
		runtime_set(L, 1);
		return 0;
	default:
		value_push_text(L, 2);
		return runtime_fault(L, "%s has no member %.60s that can be set",
				     value_type_name(L, 1), lua_tostring(L, -1));
	}
}

/* L(value): value.length */
static int helper_length(lua_State *L)
{
	size_t n;
	const char *p;
	switch (value_type(L, 1)) {
	case VALUE_ARRAY:
		lua_pushnumber(L, (lua_Number)value_array_length(L, 1));
		return 1;
	case VALUE_STRING:
		p = lua_tolstring(L, 1, &n);
		runtime_charge(L, n / 64);
		lua_pushnumber(L, (lua_Number)text_length(p, n));
		return 1;
	case VALUE_BYTES:
		lua_pushnumber(L, (lua_Number)((struct value_bytes *)lua_touserdata(L, 1))->n);
		return 1;
	default: /* a member of that name */
		lua_pushliteral(L, "length");
		lua_gettable(L, 1);
		return 1;
	}
}

/* QM(value, name): value?.name */
static int helper_maybe(lua_State *L)
{
	size_t n;
	if (lua_isnil(L, 1))
		return helper_nil(L);
	const char *name = lua_tolstring(L, 2, &n);
	if (strcmp(name, "length") == 0)
		return helper_length(L);
	lua_gettable(L, 1);
	return 1;
}

/* IN(value, name, ...): value.name(...) where Lua can not say it. */
static int helper_invoke(lua_State *L)
{
	lua_pushvalue(L, 2);
	lua_gettable(L, 1);
	lua_replace(L, 2);
	lua_pushvalue(L, 1);
	lua_pushvalue(L, 2);
	lua_replace(L, 1);
	lua_replace(L, 2);
	lua_call(L, lua_gettop(L) - 1, 1);
	return 1;
}

/* UP(array): all of its elements */
static int helper_unpack(lua_State *L)
{
	if (value_type(L, 1) != VALUE_ARRAY)
		return runtime_fault(L, "'...' in a call needs a List, not %s",
				     value_type_name(L, 1));
	size_t n = value_array_length(L, 1);
	if (n > 200)
		return runtime_fault(L, "'...' in a call is for at most 200 elements, not %zu", n);
	luaL_checkstack(L, (int)n, NULL);
	for (size_t i = 1; i <= n; i++)
		lua_rawgeti(L, 1, (lua_Integer)i);
	return (int)n;
}

/* --- operators -------------------------------------------------------------------------------- */

static int helper_modulo(lua_State *L)
{
	double a, b;
	if (lua_type(L, 1) != LUA_TNUMBER || lua_type(L, 2) != LUA_TNUMBER)
		return runtime_fault(L, "%s %% %s: both have to be numbers", value_type_name(L, 1),
				     value_type_name(L, 2));
	a = lua_tonumber(L, 1);
	b = lua_tonumber(L, 2);
	lua_pushnumber(L, fmod(a, b));
	return 1;
}

static int helper_power(lua_State *L)
{
	if (lua_type(L, 1) != LUA_TNUMBER || lua_type(L, 2) != LUA_TNUMBER)
		return runtime_fault(L, "%s ** %s: both have to be numbers", value_type_name(L, 1),
				     value_type_name(L, 2));
	double a = lua_tonumber(L, 1), b = lua_tonumber(L, 2);
	bool nan = isnan(b) || (fabs(a) == 1 && isinf(b)); /* where C says 1 */
	lua_pushnumber(L, nan ? (lua_Number)NAN : pow(a, b));
	return 1;
}

/* CN(value, container) */
static int helper_in(lua_State *L)
{
	lua_pushboolean(L, value_contains(L, 2, 1));
	return 1;
}

/* EQ(value, other): value ?? other */
static int helper_coalesce(lua_State *L)
{
	lua_settop(L, 2);
	lua_pushvalue(L, lua_isnil(L, 1) ? 2 : 1);
	return 1;
}

/* CL(value, function) */
static int helper_coalesce_later(lua_State *L)
{
	if (!lua_isnil(L, 1)) {
		lua_settop(L, 1);
		return 1;
	}
	lua_call(L, 0, 1);
	return 1;
}

/* TX(...): all as one text */
static int helper_text(lua_State *L)
{
	struct buffer *b = &runtime_of(L)->text;
	int top = lua_gettop(L);
	buffer_clear(b);
	for (int i = 1; i <= top; i++)
		value_write_text(L, b, i);
	json_text_push(L, b);
	return 1;
}

/* WI(value, from, to, with): does it lie there? */
static int helper_within(lua_State *L)
{
	bool is = lua_type(L, 1) == LUA_TNUMBER;
	double value = is ? lua_tonumber(L, 1) : 0, to = lua_tonumber(L, 3);
	is = is && value >= lua_tonumber(L, 2) && (lua_toboolean(L, 4) ? value <= to : value < to);
	lua_pushboolean(L, is);
	return 1;
}

/* --- ranges and loops ------------------------------------------------------------------------- */

static double helper_end(lua_State *L, int at)
{
	if (lua_type(L, at) != LUA_TNUMBER)
		runtime_fault(L, "a range goes from a number to a number, not %s",
			      value_type_name(L, at));
	return lua_tonumber(L, at);
}

/* FL(value): an end of a range that belongs to it */
static int helper_to(lua_State *L)
{
	lua_pushnumber(L, helper_end(L, 1));
	return 1;
}

/* BF(value): one that does not */
static int helper_before(lua_State *L)
{
	lua_pushnumber(L, nextafter(helper_end(L, 1), -INFINITY));
	return 1;
}

#define HELPER_RANGE_MAX 10000000

/* RG(from, to, with): as an array */
static int helper_range(lua_State *L)
{
	double from = helper_end(L, 1), to = helper_end(L, 2);
	double count = lua_toboolean(L, 3) ? floor(to - from) + 1 : ceil(to - from);
	if (isnan(count) || count > HELPER_RANGE_MAX)
		return runtime_fault(L, "a range of more than %d numbers", HELPER_RANGE_MAX);
	size_t n = count > 0 ? (size_t)count : 0;
	runtime_charge(L, n);
	value_push_array(L, n);
	for (size_t i = 0; i < n; i++) {
		lua_pushnumber(L, from + (double)i);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	value_array_made(L, -1, n);
	return 1;
}

/* (array, place) to the next place and its element */
static int helper_next_element(lua_State *L)
{
	lua_Number next = lua_tonumber(L, 2) + 1;
	if (next >= (lua_Number)value_array_length(L, 1))
		return 0;
	lua_pushnumber(L, next);
	lua_rawgeti(L, 1, (lua_Integer)next + 1);
	return 2;
}

/* Upvalues: the keys, the object, how many were there. */
static int helper_next_member(lua_State *L)
{
	lua_Integer i = lua_tointeger(L, lua_upvalueindex(3)) + 1;
	if (lua_rawgeti(L, lua_upvalueindex(1), i) == LUA_TNIL)
		return 0;
	lua_pushinteger(L, i);
	lua_replace(L, lua_upvalueindex(3));
	lua_pushvalue(L, -1);
	lua_rawget(L, lua_upvalueindex(2));
	return 2;
}

static void helper_push_chars(lua_State *L)
{
	lua_getfield(L, 1, "chars");
	lua_pushvalue(L, 1);
	lua_call(L, 1, 1);
}

/* AT(value, two): what `for` walks; two: with the place or key in front of the element. */
static int helper_walk(lua_State *L)
{
	enum value_type type = value_type(L, 1);
	bool two = lua_toboolean(L, 2);
	lua_settop(L, 1);
	if (type == VALUE_OBJECT && two) {
		value_push_keys(L, 1);
		lua_pushvalue(L, 1);
		lua_pushinteger(L, 0);
		lua_pushcclosure(L, helper_next_member, 3);
		return 1;
	}
	lua_pushcfunction(L, helper_next_element);
	if (type == VALUE_STRING) {
		helper_push_chars(L);
	} else if (type == VALUE_OBJECT) { /* its keys: a list that does not change with it */
		size_t n = value_push_keys(L, 1);
		value_push_array(L, n);
		for (size_t i = 1; i <= n; i++) {
			lua_rawgeti(L, -2, (lua_Integer)i);
			lua_rawseti(L, -2, (lua_Integer)i);
		}
		value_array_made(L, -1, n);
		lua_remove(L, -2);
	} else if (type == VALUE_ARRAY) {
		lua_pushvalue(L, 1);
	} else {
		return runtime_fault(L, "for walks Lists, Objects, Strings and ranges, not %s",
				     value_type_name(L, 1));
	}
	lua_pushnumber(L, -1);
	return 3;
}

/* --- names and faults ------------------------------------------------------------------------- */

/* KV(name, value): what a var begins with: what it was before a reload, if that was kept. */
static int helper_keep(lua_State *L)
{
	lua_settop(L, 2);
	lua_rawgeti(L, LUA_REGISTRYINDEX, RUNTIME_KEPT);
	lua_pushvalue(L, 1);
	if (lua_rawget(L, 3) == LUA_TNIL)
		lua_settop(L, 2);
	return 1;
}

/* TR(function): true and what it returns, or false and its fault. */
static int helper_try(lua_State *L)
{
	lua_settop(L, 1);
	if (runtime_call(L, 0, 2) != LUA_OK) {
		if (runtime_of(L)->fatal)
			return lua_error(L);
		lua_pushboolean(L, false);
		lua_insert(L, -2);
		return 2;
	}
	lua_pushboolean(L, true);
	lua_insert(L, -3);
	return 3;
}

const luaL_Reg library_helpers[] =
	{{"A", helper_array},	{"AC", helper_concat},	 {"AP", helper_append},
	 {"AT", helper_walk},	{"BF", helper_before},	 {"CL", helper_coalesce_later},
	 {"CN", helper_in},	{"EQ", helper_coalesce}, {"FL", helper_to},
	 {"GT", helper_get},	{"IN", helper_invoke},	 {"KV", helper_keep},
	 {"L", helper_length},	{"MD", helper_modulo},	 {"O", helper_object},
	 {"OE", helper_entry},	{"OM", helper_merge},	 {"OS", helper_member},
	 {"PW", helper_power},	{"QM", helper_maybe},	 {"RG", helper_range},
	 {"ST", helper_set},	{"TR", helper_try},	 {"TX", helper_text},
	 {"UP", helper_unpack}, {"WI", helper_within},	 {NULL, NULL}};
