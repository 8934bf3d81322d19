/* library_number: numbers, and Math. */
#include <math.h>
#include <stdio.h>

#include "common/random.h"
#include "tova/runtime/json_text.h"
#include "tova/runtime/library.h"

/* A function of one number, and what it is called. Math's are methods of Math: their number is the
 * second argument. */
#define NUMBER_FUNCTIONS(X) \
	X(abs, fabs(x)) \
	X(floor, floor(x)) \
	X(ceil, ceil(x)) \
	X(trunc, trunc(x)) \
	X(sqrt, sqrt(x)) \
	X(round, floor(x) + (x - floor(x) >= 0.5)) \
	X(sign, x > 0 ? 1 : x < 0 ? -1 : x) \
	X(sin, sin(x)) \
	X(cos, cos(x)) \
	X(tan, tan(x)) \
	X(asin, asin(x)) \
	X(acos, acos(x)) \
	X(atan, atan(x)) \
	X(exp, exp(x)) \
	X(log, log(x)) \
	X(log2, log2(x)) \
	X(log10, log10(x)) \
	X(cbrt, cbrt(x))

#define NUMBER_FUNCTION(name, value) \
	static int number_##name(lua_State *L) \
	{ \
		double x = argument_number(L, 1, #name); \
		lua_pushnumber(L, (value)); \
		return 1; \
	} \
	static int number_math_##name(lua_State *L) \
	{ \
		lua_remove(L, 1); \
		return number_##name(L); \
	}
NUMBER_FUNCTIONS(NUMBER_FUNCTION)
#undef NUMBER_FUNCTION

static int number_pow(lua_State *L)
{
	double a = argument_number(L, 1, "pow"), b = argument_number(L, 2, "pow");
	/* where C says 1 */
	bool nan = isnan(b) || (fabs(a) == 1 && isinf(b));
	lua_pushnumber(L, nan ? (lua_Number)NAN : pow(a, b));
	return 1;
}

static int number_clamp(lua_State *L)
{
	double x = argument_number(L, 1, "clamp"), low = argument_number(L, 2, "clamp"),
	       high = argument_number(L, 3, "clamp");
	lua_pushnumber(L, x < low ? low : x > high ? high : x);
	return 1;
}

/* --- chance ----------------------------------------------------------------------------------- */

/* From 0 up to 1, without it: 53 bits. */
static double number_chance(lua_State *L)
{
	uint64_t bits;
	if (!random_bytes(&bits, sizeof bits))
		runtime_fault(L, "there are no random numbers");
	return (double)(bits >> 11) / 9007199254740992.0;
}

static int number_random(lua_State *L)
{
	lua_pushnumber(L, number_chance(L));
	return 1;
}

static int number_random_int(lua_State *L)
{
	double low = ceil(argument_number(L, 1, "randomInt")),
	       high = floor(argument_number(L, 2, "randomInt"));
	if (!(low <= high))
		return runtime_fault(
			L, "randomInt: there is no whole number from the first to the second");
	lua_pushnumber(L, low + floor(number_chance(L) * (high - low + 1)));
	return 1;
}

static int number_choice(lua_State *L)
{
	argument_array(L, 1, "choice");
	size_t n = value_array_length(L, 1);
	if (n == 0)
		return 0;
	lua_rawgeti(L, 1, (lua_Integer)(number_chance(L) * (double)n) + 1);
	return 1;
}

static int number_shuffle(lua_State *L)
{
	argument_array(L, 1, "shuffle");
	size_t n = value_array_length(L, 1);
	runtime_charge(L, n);
	lua_settop(L, 1);
	value_push_array(L, n);
	for (size_t i = 1; i <= n; i++) { /* Fisher and Yates, from inside out */
		lua_Integer at = (lua_Integer)(number_chance(L) * (double)i) + 1;
		lua_rawgeti(L, 2, at);
		lua_rawseti(L, 2, (lua_Integer)i);
		lua_rawgeti(L, 1, (lua_Integer)i);
		lua_rawseti(L, 2, at);
	}
	value_array_made(L, 2, n);
	return 1;
}

/* --- of what kind ----------------------------------------------------------------------------- */

static int number_is_nan(lua_State *L)
{
	lua_pushboolean(L, isnan(argument_number(L, 1, "isNaN")));
	return 1;
}

static int number_is_finite(lua_State *L)
{
	lua_pushboolean(L, isfinite(argument_number(L, 1, "isFinite")));
	return 1;
}

/* --- text ------------------------------------------------------------------------------------- */

static int number_fixed_text(lua_State *L)
{
	char text[400];
	double x = argument_number(L, 1, "toFixed");
	int digits = lua_isnoneornil(L, 2) ? 0 : (int)argument_whole(L, 2, 0, 100, "toFixed");
	if (fabs(x) >= 1e21 || !isfinite(x)) {
		value_push_text(L, 1);
		return 1;
	}
	/* JavaScript takes the larger one of two that are as near; C the even one. Both are as near
	 * only where the number is exact. */
	double scale = pow(10, digits);
	x = x == 0 ? 0 : x; /* no -0 */
	if (digits <= 22 && fabs(x) * scale < 4503599627370496.0 &&
	    fma(fabs(x), scale, -(floor(fabs(x) * scale) + 0.5)) == 0)
		x = (x < 0 ? -1 : 1) * (floor(fabs(x) * scale) + 1) / scale;
	snprintf(text, sizeof text, "%.*f", digits, x);
	lua_pushstring(L, text);
	return 1;
}

/* As the language's documents have it: a number. */
static int number_to_fixed(lua_State *L)
{
	number_fixed_text(L);
	lua_pushnumber(L, lua_tonumber(L, -1));
	return 1;
}

static int number_text_of(lua_State *L)
{
	int64_t base = lua_isnoneornil(L, 2) ? 10 : argument_whole(L, 2, 0, 99, "toString");
	double x = argument_number(L, 1, "toString");
	if (base == 10) {
		value_push_text(L, 1);
		return 1;
	}
	if (base < 2 || base > 36 || x != floor(x) || fabs(x) >= 9007199254740992.0)
		return runtime_fault(L,
				     "toString(base) is for whole numbers and bases from 2 to 36");
	char digits[72], *at = digits + sizeof digits;
	uint64_t left = (uint64_t)fabs(x);
	do
		*--at = "0123456789abcdefghijklmnopqrstuvwxyz"[left % (uint64_t)base];
	while ((left /= (uint64_t)base) > 0);
	if (x < 0)
		*--at = '-';
	lua_pushlstring(L, at, (size_t)(digits + sizeof digits - at));
	return 1;
}

/* --- Math ------------------------------------------------------------------------------------- */

static int number_call_second(lua_State *L, lua_CFunction f)
{
	lua_remove(L, 1);
	return f(L);
}

static int number_math_pow(lua_State *L)
{
	return number_call_second(L, number_pow);
}

static int number_math_random(lua_State *L)
{
	return number_random(L);
}

static int number_math_atan2(lua_State *L)
{
	lua_pushnumber(L, atan2(argument_number(L, 2, "atan2"), argument_number(L, 3, "atan2")));
	return 1;
}

static int number_math_hypot(lua_State *L)
{
	lua_pushnumber(L, hypot(argument_number(L, 2, "hypot"), argument_number(L, 3, "hypot")));
	return 1;
}

/* Of numbers only, and of none: as JavaScript has it. */
static int number_math_extreme(lua_State *L, double best, double sign, const char *who)
{
	int top = lua_gettop(L);
	for (int i = 2; i <= top; i++) {
		double x = argument_number(L, i, who);
		best = isnan(x) || isnan(best) ? (double)NAN : x * sign > best * sign ? x : best;
	}
	lua_pushnumber(L, best);
	return 1;
}

static int number_math_max(lua_State *L)
{
	return number_math_extreme(L, -INFINITY, 1, "max");
}

static int number_math_min(lua_State *L)
{
	return number_math_extreme(L, INFINITY, -1, "min");
}

const luaL_Reg library_number_functions[] = {{"abs", number_abs},
					     {"floor", number_floor},
					     {"ceil", number_ceil},
					     {"round", number_round},
					     {"trunc", number_trunc},
					     {"sign", number_sign},
					     {"clamp", number_clamp},
					     {"sqrt", number_sqrt},
					     {"pow", number_pow},
					     {"random", number_random},
					     {"randomInt", number_random_int},
					     {"choice", number_choice},
					     {"shuffle", number_shuffle},
					     {"isNaN", number_is_nan},
					     {"isFinite", number_is_finite},
					     {"toFixed", number_to_fixed},
					     {NULL, NULL}};
const luaL_Reg library_number_methods[] = {{"toFixed", number_fixed_text},
					   {"toString", number_text_of},
					   {NULL, NULL}};
const luaL_Reg library_math[] = {
#define NUMBER_ROW(name, value) {#name, number_math_##name},
	NUMBER_FUNCTIONS(NUMBER_ROW)
#undef NUMBER_ROW
		{"pow", number_math_pow},
	{"random", number_math_random},
	{"atan2", number_math_atan2},
	{"hypot", number_math_hypot},
	{"min", number_math_min},
	{"max", number_math_max},
	{NULL, NULL}};
