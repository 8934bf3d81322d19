/* library_object: objects. */
#include "tova/runtime/library.h"

/* Pushes an array of what `push` makes of each key, which it finds on top. */
static int object_list(lua_State *L, const char *who, void (*push)(lua_State *L))
{
	argument_object(L, 1, who);
	lua_settop(L, 1);
	size_t n = value_push_keys(L, 1);
	runtime_charge(L, n);
	value_push_array(L, n);
	for (size_t i = 1; i <= n; i++) {
		lua_rawgeti(L, 2, (lua_Integer)i);
		push(L);
		lua_rawseti(L, 3, (lua_Integer)i);
	}
	value_array_made(L, 3, n);
	return 1;
}

static void object_key(lua_State *L)
{
	(void)L;
}

static void object_value(lua_State *L)
{
	lua_rawget(L, 1);
}

static void object_entry(lua_State *L)
{
	value_push_array(L, 2);
	lua_insert(L, -2);
	lua_pushvalue(L, -1);
	lua_rawseti(L, -3, 1);
	lua_rawget(L, 1);
	lua_rawseti(L, -2, 2);
	value_array_made(L, -1, 2);
}

static int object_keys(lua_State *L)
{
	return object_list(L, "keys", object_key);
}

static int object_values(lua_State *L)
{
	return object_list(L, "values", object_value);
}

static int object_entries(lua_State *L)
{
	return object_list(L, "entries", object_entry);
}

static int object_from_entries(lua_State *L)
{
	argument_array(L, 1, "fromEntries");
	size_t n = value_array_length(L, 1);
	runtime_charge(L, n);
	lua_settop(L, 1);
	value_push_object(L, n);
	for (size_t i = 1; i <= n; i++) {
		lua_rawgeti(L, 1, (lua_Integer)i);
		argument_array(L, 3, "fromEntries");
		lua_rawgeti(L, 3, 1);
		value_push_key(L, 4);
		lua_rawgeti(L, 3, 2);
		value_set_member(L, 2);
		lua_settop(L, 2);
	}
	return 1;
}

static int object_has_key(lua_State *L)
{
	bool has = false;
	if (!lua_isnil(L, 1)) {
		argument_object(L, 1, "hasKey");
		value_push_key(L, 2);
		has = value_has_member(L, 1, -1);
	}
	lua_pushboolean(L, has);
	return 1;
}

/* Pours the object at `from` into the one at `to`. */
static void object_pour(lua_State *L, int from, int to)
{
	size_t n = value_push_keys(L, from);
	int keys = lua_gettop(L);
	runtime_charge(L, n);
	for (size_t i = 1; i <= n; i++) {
		lua_rawgeti(L, keys, (lua_Integer)i);
		lua_pushvalue(L, -1);
		lua_rawget(L, from);
		value_set_member(L, to);
	}
	lua_pop(L, 1);
}

static int object_merge(lua_State *L)
{
	int top = lua_gettop(L);
	value_push_object(L, 4);
	for (int i = 1; i <= top; i++) {
		if (lua_isnil(L, i))
			continue;
		argument_object(L, i, "merge");
		object_pour(L, i, top + 1);
	}
	return 1;
}

static int object_select(lua_State *L, bool listed, const char *who)
{
	argument_object(L, 1, who);
	argument_array(L, 2, who);
	lua_settop(L, 2);
	value_push_object(L, 4);
	size_t n = value_push_keys(L, 1);
	for (size_t i = 1; i <= n; i++) {
		lua_rawgeti(L, 4, (lua_Integer)i);
		if (value_contains(L, 2, 5) == listed) {
			lua_pushvalue(L, 5);
			lua_pushvalue(L, 5);
			lua_rawget(L, 1);
			value_set_member(L, 3);
		}
		lua_settop(L, 4);
	}
	lua_settop(L, 3);
	return 1;
}

static int object_pick(lua_State *L)
{
	return object_select(L, true, "pick");
}

static int object_omit(lua_State *L)
{
	return object_select(L, false, "omit");
}

static int object_map_values(lua_State *L)
{
	argument_object(L, 1, "mapValues");
	argument_function(L, 2, "mapValues");
	lua_settop(L, 2);
	value_push_object(L, 4);
	size_t n = value_push_keys(L, 1);
	for (size_t i = 1; i <= n; i++) {
		runtime_charge(L, 1);
		lua_rawgeti(L, 4, (lua_Integer)i);
		lua_pushvalue(L, 2);
		lua_pushnil(L);
		lua_pushvalue(L, 5);
		lua_rawget(L, 1);
		lua_pushvalue(L, 5);
		lua_call(L, 3, 1);
		value_set_member(L, 3);
	}
	lua_settop(L, 3);
	return 1;
}

const luaL_Reg library_object_functions[] = {{"keys", object_keys},
					     {"values", object_values},
					     {"entries", object_entries},
					     {"fromEntries", object_from_entries},
					     {"hasKey", object_has_key},
					     {"merge", object_merge},
					     {"pick", object_pick},
					     {"omit", object_omit},
					     {"mapValues", object_map_values},
					     {NULL, NULL}};
