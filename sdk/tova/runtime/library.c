#include "tova/runtime/json_text.h"
#include "tova/runtime/library.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Leaves out the argument in front. Upvalue 1: the function. */
static int library_free(lua_State *L)
{
	lua_CFunction f = lua_tocfunction(L, lua_upvalueindex(1));
	lua_remove(L, 1);
	return f(L);
}

void library_add(lua_State *L, const luaL_Reg *functions, bool free)
{
	for (; functions->name != NULL; functions++) {
		lua_pushcfunction(L, functions->func);
		if (free)
			lua_pushcclosure(L, library_free, 1);
		lua_setfield(L, -2, functions->name);
	}
}

/* --- what an operator says of values that it is not for ----------------------------------------
 */

/* The name that a program has for what Lua calls so: without the number behind a local's. */
static const char *library_called(lua_State *L, char *name, size_t cap, bool *method_r)
{
	lua_Debug ar;
	if (!lua_getstack(L, 0, &ar) || !lua_getinfo(L, "n", &ar) || ar.name == NULL)
		return NULL;
	snprintf(name, cap, "%s", ar.name);
	*method_r = ar.namewhat != NULL && strcmp(ar.namewhat, "method") == 0;
	char *number = strrchr(name, '_');
	if (number != NULL && ar.namewhat != NULL &&
	    (strcmp(ar.namewhat, "local") == 0 || strcmp(ar.namewhat, "upvalue") == 0) &&
	    strspn(number + 1, "0123456789") == strlen(number + 1))
		*number = '\0';
	return name;
}

/* x.name(...) where x, at index 2, has no such member: a function that takes x is said. */
static int library_no_method(lua_State *L, const char *name)
{
	const char *type = value_type_name(L, 2);
	lua_rawgeti(L, LUA_REGISTRYINDEX, RUNTIME_LIBRARY);
	lua_pushstring(L, name);
	bool function = lua_rawget(L, -2) == LUA_TFUNCTION;
	lua_pop(L, 2);
	return runtime_fault(L,
			     function ? "%s has no method \"%s\": write %s(...)"
				      : "%s has no method \"%s\"",
			     type, name, name);
}

static int library_no_call(lua_State *L)
{
	char name[80];
	bool method = false;
	const char *called = library_called(L, name, sizeof name, &method);
	if (lua_isnil(L, 1) && called != NULL && method)
		return library_no_method(L, called);
	if (lua_isnil(L, 1) && called != NULL)
		return runtime_fault(L, "there is no function \"%s\" here", called);
	return runtime_fault(L, "%s is no function", value_type_name(L, 1));
}

static int library_no_index(lua_State *L)
{
	const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
	return runtime_fault(L, "%s has no member \"%.60s\"", value_type_name(L, 1), name);
}

static int library_no_order(lua_State *L)
{
	return runtime_fault(L, "%s and %s can not be compared", value_type_name(L, 1),
			     value_type_name(L, 2));
}

static int library_no_operator(lua_State *L, const char *op)
{
	return runtime_fault(L, "%s %s %s: both have to be numbers", value_type_name(L, 1), op,
			     value_type_name(L, 2));
}

/* A string and anything are one text. */
static int library_add_values(lua_State *L)
{
	if (lua_type(L, 1) != LUA_TSTRING && lua_type(L, 2) != LUA_TSTRING)
		return runtime_fault(L, "%s + %s: both have to be numbers, or one a String",
				     value_type_name(L, 1), value_type_name(L, 2));
	struct buffer *b = &runtime_of(L)->text;
	buffer_clear(b);
	value_write_text(L, b, 1);
	value_write_text(L, b, 2);
	json_text_push(L, b);
	return 1;
}

static int library_subtract(lua_State *L)
{
	return library_no_operator(L, "-");
}

static int library_multiply(lua_State *L)
{
	if (lua_type(L, 1) != LUA_TSTRING || lua_type(L, 2) != LUA_TNUMBER)
		return library_no_operator(L, "*");
	for (const luaL_Reg *r = library_text_functions; r->name != NULL; r++)
		if (strcmp(r->name, "repeat") == 0)
			return r->func(L);
	return 0;
}

static int library_divide(lua_State *L)
{
	return library_no_operator(L, "/");
}

static int library_negate(lua_State *L)
{
	return runtime_fault(L, "-%s: it has to be a number", value_type_name(L, 1));
}

static const luaL_Reg library_operators[] =
	{{"__add", library_add_values}, {"__sub", library_subtract}, {"__mul", library_multiply},
	 {"__div", library_divide},	{"__unm", library_negate},   {"__lt", library_no_order},
	 {"__le", library_no_order},	{"__call", library_no_call}, {NULL, NULL}};

/* --- metatables ------------------------------------------------------------------------------- */

/* Of a table or userdata: into a slot. The members of what has it, but for its own, are in
 * `methods`, lists that end with NULL; NULL: it has none. */
static void library_meta(lua_State *L, int slot, const luaL_Reg *const *methods)
{
	lua_rawgeti(L, LUA_REGISTRYINDEX, slot);
	library_add(L, library_operators, false);
	if (methods != NULL) {
		lua_newtable(L);
		for (; *methods != NULL; methods++)
			library_add(L, *methods, false);
		lua_setfield(L, -2, "__index");
	}
	lua_pop(L, 1);
}

/* Of all values like the one on top, which is popped. */
static void library_type_meta(lua_State *L, const luaL_Reg *const *methods)
{
	lua_newtable(L);
	library_add(L, library_operators, false);
	if (methods == NULL) {
		lua_pushcfunction(L, library_no_index);
	} else {
		lua_newtable(L);
		for (; *methods != NULL; methods++)
			library_add(L, *methods, false);
	}
	lua_setfield(L, -2, "__index");
	lua_setmetatable(L, -2);
	lua_pop(L, 1);
}

static int library_nothing(lua_State *L)
{
	(void)L;
	return 0;
}

static void library_types(lua_State *L)
{
	static const luaL_Reg *const texts[] = {library_text_functions, library_text_methods, NULL},
				     *const numbers[] = {library_number_methods, NULL},
				     *const arrays[] = {library_array_functions,
							library_array_methods,
							library_sort_functions,
							library_sort_methods, NULL};
	lua_pushnil(L);
	library_type_meta(L, NULL);
	lua_pushboolean(L, true);
	library_type_meta(L, NULL);
	lua_pushcfunction(L, library_nothing);
	library_type_meta(L, NULL);
	lua_pushnumber(L, 0);
	library_type_meta(L, numbers);
	lua_pushliteral(L, "");
	library_type_meta(L, texts);
	library_meta(L, RUNTIME_ARRAY, arrays);
	library_meta(L, RUNTIME_OBJECT, NULL);
	library_meta(L, RUNTIME_ERROR, NULL);
	library_meta(L, RUNTIME_BYTES, NULL);
	library_meta(L, RUNTIME_CONNECTION, NULL);
	lua_rawgeti(L, LUA_REGISTRYINDEX, RUNTIME_CONNECTION);
	library_connection_meta(L);
	lua_pop(L, 1);
}

/* --- all of it -------------------------------------------------------------------------------- */

static void library_number_value(lua_State *L, const char *name, double value)
{
	lua_pushnumber(L, value);
	lua_setfield(L, -2, name);
}

static void library_namespaces(lua_State *L)
{
	lua_newtable(L);
	library_add(L, library_json, false);
	lua_setfield(L, -2, "JSON");
	lua_newtable(L);
	library_add(L, library_math, false);
	library_number_value(L, "PI", M_PI);
	library_number_value(L, "E", M_E);
	lua_setfield(L, -2, "Math");
	library_number_value(L, "PI", M_PI);
	library_number_value(L, "E", M_E);
	library_number_value(L, "INF", INFINITY);
}

int library_open(lua_State *L)
{
	library_types(L);
	lua_rawgeti(L, LUA_REGISTRYINDEX, RUNTIME_LIBRARY);
	library_add(L, library_host_functions, true);
	library_add(L, library_room_functions, true);
	library_add(L, library_any_functions, true);
	library_add(L, library_text_functions, true);
	library_add(L, library_array_functions, true);
	library_add(L, library_sort_functions, true);
	library_add(L, library_object_functions, true);
	library_add(L, library_number_functions, true);
	library_namespaces(L);
	lua_rawgeti(L, LUA_REGISTRYINDEX, RUNTIME_HELPERS);
	library_add(L, library_helpers, false);
	lua_pop(L, 2);
	return 0;
}
