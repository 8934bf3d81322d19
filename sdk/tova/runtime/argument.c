#include "tova/runtime/argument.h"

#include <math.h>

static void argument_wrong(lua_State *L, int at, const char *who, const char *needs)
{
	runtime_fault(L, "%s needs %s, not %s", who, needs, value_type_name(L, at));
}

const char *argument_text(lua_State *L, int at, size_t *n_r, const char *who)
{
	if (lua_type(L, at) != LUA_TSTRING)
		argument_wrong(L, at, who, "a String");
	return lua_tolstring(L, at, n_r);
}

double argument_number(lua_State *L, int at, const char *who)
{
	if (lua_type(L, at) != LUA_TNUMBER)
		argument_wrong(L, at, who, "a number");
	return lua_tonumber(L, at);
}

int64_t argument_whole(lua_State *L, int at, int64_t least, int64_t most, const char *who)
{
	double value = argument_number(L, at, who);
	if (isnan(value))
		value = 0;
	return value <= (double)least ? least : value >= (double)most ? most : (int64_t)value;
}

void argument_array(lua_State *L, int at, const char *who)
{
	if (value_type(L, at) != VALUE_ARRAY)
		argument_wrong(L, at, who, "a List");
}

void argument_object(lua_State *L, int at, const char *who)
{
	if (value_type(L, at) != VALUE_OBJECT)
		argument_wrong(L, at, who, "an Object");
}

void argument_function(lua_State *L, int at, const char *who)
{
	if (!lua_isfunction(L, at))
		argument_wrong(L, at, who, "a Function");
}

size_t argument_place(lua_State *L, int at, size_t length, size_t fallback, const char *who)
{
	if (lua_isnoneornil(L, at))
		return fallback;
	int64_t place = argument_whole(L, at, -(int64_t)length, (int64_t)length, who);
	return place < 0 ? length - (size_t)-place : (size_t)place;
}
