/* library_sort: sorting (stable, by merging), and what is least and most. */
#include <math.h>
#include <string.h>

#include "tova/runtime/library.h"

/* Is the value at `a` behind the one at `b`? Numbers and strings only, alike. */
static bool sort_is_behind(lua_State *L, int a, int b, const char *who)
{
	int type = lua_type(L, a);
	if (type != lua_type(L, b) || (type != LUA_TNUMBER && type != LUA_TSTRING))
		runtime_fault(L, "%s: %s and %s have no order: say which with a function", who,
			      value_type_name(L, a), value_type_name(L, b));
	return lua_compare(L, b, a, LUA_OPLT) != 0;
}

struct sort {
	lua_State *L;
	int from, to; /* Lua arrays of the same elements */
	int less;     /* a function (a, b) < 0, or 0 */
	int keys;     /* arrays of keys beside them, in the same order, or 0 */
	int keys_to;
};

static bool sort_swaps(struct sort *s, size_t a, size_t b)
{
	lua_State *L = s->L;
	bool behind;
	runtime_charge(L, 1);
	if (s->less != 0) {
		lua_pushvalue(L, s->less);
		lua_pushnil(L);
	}
	lua_rawgeti(L, s->keys != 0 ? s->keys : s->from, (lua_Integer)a + 1);
	lua_rawgeti(L, s->keys != 0 ? s->keys : s->from, (lua_Integer)b + 1);
	if (s->less != 0) {
		lua_call(L, 3, 1);
		behind = argument_number(L, -1, "sort's function") > 0;
		lua_pop(L, 1);
		return behind;
	}
	behind = sort_is_behind(L, lua_gettop(L) - 1, lua_gettop(L), "sort");
	lua_pop(L, 2);
	return behind;
}

static void sort_take(struct sort *s, size_t from, size_t to)
{
	lua_rawgeti(s->L, s->from, (lua_Integer)from + 1);
	lua_rawseti(s->L, s->to, (lua_Integer)to + 1);
	if (s->keys != 0) {
		lua_rawgeti(s->L, s->keys, (lua_Integer)from + 1);
		lua_rawseti(s->L, s->keys_to, (lua_Integer)to + 1);
	}
}

static void sort_merge(struct sort *s, size_t a, size_t b, size_t end)
{
	size_t middle = b;
	for (size_t to = a; to < end; to++) {
		if (a == middle || (b < end && sort_swaps(s, a, b)))
			sort_take(s, b++, to);
		else
			sort_take(s, a++, to);
	}
}

/* Sorted pieces of twice the size, again and again; the result is in `from`. */
static void sort_all(struct sort *s, size_t n)
{
	for (size_t size = 1; size < n; size *= 2) {
		for (size_t at = 0; at < n; at += 2 * size) {
			size_t middle = at + size < n ? at + size : n,
			       end = at + 2 * size < n ? at + 2 * size : n;
			sort_merge(s, at, middle, end);
		}
		int swap = s->from;
		s->from = s->to;
		s->to = swap;
		swap = s->keys;
		s->keys = s->keys_to;
		s->keys_to = swap;
	}
}

/* Pushes an array with the elements of the one at 1. */
static int sort_copy(lua_State *L, size_t n)
{
	runtime_charge(L, n);
	value_push_array(L, n);
	for (size_t i = 1; i <= n; i++) {
		lua_rawgeti(L, 1, (lua_Integer)i);
		lua_rawseti(L, -2, (lua_Integer)i);
	}
	value_array_made(L, -1, n);
	return lua_gettop(L);
}

static int sort_in_place(lua_State *L)
{
	argument_array(L, 1, "sort");
	if (!lua_isnoneornil(L, 2))
		argument_function(L, 2, "sort");
	lua_settop(L, 2);
	size_t n = value_array_length(L, 1);
	struct sort s = {.L = L, .less = lua_isnil(L, 2) ? 0 : 2};
	s.from = sort_copy(L, n);
	s.to = sort_copy(L, n);
	sort_all(&s, n);
	for (size_t i = 0; i < n; i++) {
		lua_rawgeti(L, s.from, (lua_Integer)i + 1);
		value_set_element(L, 1, i);
	}
	lua_settop(L, 1);
	return 1;
}

/* A new one; the function says of each element by what it is sorted. */
static int sort_sorted(lua_State *L)
{
	argument_array(L, 1, "sorted");
	if (!lua_isnoneornil(L, 2))
		argument_function(L, 2, "sorted");
	lua_settop(L, 2);
	size_t n = value_array_length(L, 1);
	struct sort s = {.L = L};
	s.from = sort_copy(L, n);
	s.to = sort_copy(L, n);
	if (!lua_isnil(L, 2)) {
		s.keys = sort_copy(L, n);
		s.keys_to = sort_copy(L, n);
		for (size_t i = 1; i <= n; i++) {
			lua_pushvalue(L, 2);
			lua_pushnil(L);
			lua_rawgeti(L, 1, (lua_Integer)i);
			lua_call(L, 2, 1);
			lua_rawseti(L, s.keys, (lua_Integer)i);
		}
	}
	sort_all(&s, n);
	lua_pushvalue(L, s.from);
	return 1;
}

/* --- least and most --------------------------------------------------------------------------- */

/* Of the values given, or of the elements of the only one. */
static int sort_extreme(lua_State *L, bool most, const char *who)
{
	bool array = lua_gettop(L) == 1 && value_type(L, 1) == VALUE_ARRAY;
	size_t n = array ? value_array_length(L, 1) : (size_t)lua_gettop(L);
	runtime_charge(L, n);
	lua_pushnil(L);
	int best = lua_gettop(L);
	for (size_t i = 1; i <= n; i++) {
		if (array)
			lua_rawgeti(L, 1, (lua_Integer)i);
		else
			lua_pushvalue(L, (int)i);
		bool nan = lua_isnumber(L, -1) && isnan(lua_tonumber(L, -1));
		if (i == 1 || nan ||
		    (most ? sort_is_behind(L, best + 1, best, who)
			  : sort_is_behind(L, best, best + 1, who)))
			lua_copy(L, best + 1, best);
		lua_settop(L, best);
		if (nan)
			break;
	}
	return 1;
}

static int sort_min(lua_State *L)
{
	return sort_extreme(L, false, "min");
}

static int sort_max(lua_State *L)
{
	return sort_extreme(L, true, "max");
}

const luaL_Reg library_sort_functions[] = {{"sorted", sort_sorted},
					   {"min", sort_min},
					   {"max", sort_max},
					   {NULL, NULL}};
/* Besides those. */
const luaL_Reg library_sort_methods[] = {{"sort", sort_in_place}, {NULL, NULL}};
