/* library_array: arrays. A callback is given the element and its place. */
#include "tova/runtime/json_text.h"
#include "tova/runtime/library.h"

static void array_get(lua_State *L, int array, size_t i)
{
	lua_rawgeti(L, array, (lua_Integer)i + 1);
}

/* Calls the function at `f` with element i of the array at 1; its result is on top. */
static void array_ask(lua_State *L, int f, size_t i)
{
	runtime_charge(L, 1);
	lua_pushvalue(L, f);
	lua_pushnil(L);
	array_get(L, 1, i);
	lua_pushnumber(L, (lua_Number)i);
	lua_call(L, 3, 1);
}

/* An array that nobody has seen yet: without the journal. */
static void array_put(lua_State *L, int array, size_t i)
{
	lua_rawseti(L, array, (lua_Integer)i + 1);
}

/* The array at 1 and the function at 2; returns the length. What is behind is taken off the stack.
 */
static size_t array_and_function(lua_State *L, const char *who)
{
	argument_array(L, 1, who);
	argument_function(L, 2, who);
	return value_array_length(L, 1);
}

/* --- one element for each --------------------------------------------------------------------- */

static int array_map(lua_State *L)
{
	size_t n = array_and_function(L, "map");
	value_push_array(L, n);
	int to = lua_gettop(L);
	for (size_t i = 0; i < n; i++) {
		array_ask(L, 2, i);
		array_put(L, to, i);
	}
	value_array_made(L, to, n);
	return 1;
}

static int array_filter(lua_State *L)
{
	size_t n = array_and_function(L, "filter"), count = 0;
	value_push_array(L, 4);
	int to = lua_gettop(L);
	for (size_t i = 0; i < n; i++) {
		array_ask(L, 2, i);
		if (lua_toboolean(L, -1)) {
			array_get(L, 1, i);
			array_put(L, to, count++);
		}
		lua_pop(L, 1);
	}
	value_array_made(L, to, count);
	return 1;
}

static int array_partition(lua_State *L)
{
	size_t n = array_and_function(L, "partition"), count[2] = {0, 0};
	value_push_array(L, 2);
	value_push_array(L, 4);
	value_push_array(L, 4);
	int to = lua_gettop(L) - 2;
	for (size_t i = 0; i < n; i++) {
		array_ask(L, 2, i);
		int side = !lua_toboolean(L, -1);
		lua_pop(L, 1);
		array_get(L, 1, i);
		array_put(L, to + 1 + side, count[side]++);
	}
	value_array_made(L, to + 1, count[0]);
	value_array_made(L, to + 2, count[1]);
	array_put(L, to, 1);
	array_put(L, to, 0);
	value_array_made(L, to, 2);
	return 1;
}

static int array_for_each(lua_State *L)
{
	size_t n = array_and_function(L, "forEach");
	for (size_t i = 0; i < n; i++) {
		array_ask(L, 2, i);
		lua_pop(L, 1);
	}
	return 0;
}

static int array_reduce(lua_State *L)
{
	size_t n = array_and_function(L, "reduce"), i = 0;
	bool begins = lua_gettop(L) >= 3;
	lua_settop(L, 3);
	if (!begins) {
		if (n == 0)
			return runtime_fault(L,
					     "reduce of an empty List needs a value to begin with");
		array_get(L, 1, i++);
		lua_replace(L, 3);
	}
	for (; i < n; i++) {
		runtime_charge(L, 1);
		lua_pushvalue(L, 2);
		lua_pushnil(L);
		lua_pushvalue(L, 3);
		array_get(L, 1, i);
		lua_pushnumber(L, (lua_Number)i);
		lua_call(L, 4, 1);
		lua_replace(L, 3);
	}
	return 1;
}

/* --- looking for one -------------------------------------------------------------------------- */

/* The first place for which the function says `sought`; n: there is none. */
static size_t array_search(lua_State *L, const char *who, bool sought, size_t *n_r)
{
	size_t n = array_and_function(L, who), i = 0;
	*n_r = n;
	for (; i < n; i++) {
		array_ask(L, 2, i);
		bool yes = lua_toboolean(L, -1);
		lua_pop(L, 1);
		if (yes == sought)
			break;
	}
	return i;
}

static int array_find(lua_State *L)
{
	size_t n, i = array_search(L, "find", true, &n);
	if (i == n)
		return 0;
	array_get(L, 1, i);
	return 1;
}

static int array_find_index(lua_State *L)
{
	size_t n, i = array_search(L, "findIndex", true, &n);
	lua_pushnumber(L, i < n ? (lua_Number)i : -1);
	return 1;
}

/* Without a function: of the elements themselves. */
static int array_any(lua_State *L)
{
	size_t n, i = array_search(L, "any", true, &n);
	lua_pushboolean(L, i < n);
	return 1;
}

static int array_all(lua_State *L)
{
	size_t n, i = array_search(L, "all", false, &n);
	lua_pushboolean(L, i == n);
	return 1;
}

int library_count_array(lua_State *L)
{
	size_t n = array_and_function(L, "count"), count = 0;
	for (size_t i = 0; i < n; i++) {
		array_ask(L, 2, i);
		count += lua_toboolean(L, -1);
		lua_pop(L, 1);
	}
	lua_pushnumber(L, (lua_Number)count);
	return 1;
}

int library_index_of_array(lua_State *L)
{
	argument_array(L, 1, "indexOf");
	size_t n = value_array_length(L, 1), i = argument_place(L, 3, n, 0, "indexOf");
	runtime_charge(L, n);
	for (; i < n; i++) {
		array_get(L, 1, i);
		if (value_equal(L, -1, 2))
			break;
		lua_pop(L, 1);
	}
	lua_pushnumber(L, i < n ? (lua_Number)i : -1);
	return 1;
}

int library_last_index_of_array(lua_State *L)
{
	argument_array(L, 1, "lastIndexOf");
	size_t i = value_array_length(L, 1);
	runtime_charge(L, i);
	for (; i > 0; i--) {
		array_get(L, 1, i - 1);
		if (value_equal(L, -1, 2))
			break;
		lua_pop(L, 1);
	}
	lua_pushnumber(L, (lua_Number)i - 1);
	return 1;
}

/* --- changing it ------------------------------------------------------------------------------ */

static int array_push(lua_State *L)
{
	argument_array(L, 1, "push");
	int top = lua_gettop(L);
	for (int i = 2; i <= top; i++) {
		lua_pushvalue(L, i);
		value_append(L, 1);
	}
	lua_pushnumber(L, (lua_Number)value_array_length(L, 1));
	return 1;
}

static int array_pop(lua_State *L)
{
	argument_array(L, 1, "pop");
	size_t n = value_array_length(L, 1);
	if (n == 0)
		return 0;
	array_get(L, 1, n - 1);
	lua_pushnil(L);
	value_set_element(L, 1, n - 1);
	value_set_length(L, 1, n - 1);
	return 1;
}

/* Moves what stands from `from` on to `to`; n is the length, and stays what it is. */
static void array_move(lua_State *L, size_t from, size_t to, size_t n)
{
	runtime_charge(L, n - from);
	for (size_t i = from; to < from && i < n; i++) {
		array_get(L, 1, i);
		value_set_element(L, 1, i - from + to);
	}
	for (size_t i = n; to > from && i > from; i--) {
		array_get(L, 1, i - 1);
		value_set_element(L, 1, i - 1 - from + to);
	}
}

/* Takes `gone` elements from a place on out of it, and leaves room for `come`. */
static void array_make_room(lua_State *L, size_t at, size_t gone, size_t come)
{
	size_t n = value_array_length(L, 1), after = n - gone + come;
	array_move(L, at + gone, at + come, n);
	for (size_t i = after; i < n; i++) {
		lua_pushnil(L);
		value_set_element(L, 1, i);
	}
	value_set_length(L, 1, after);
}

static int array_shift(lua_State *L)
{
	argument_array(L, 1, "shift");
	if (value_array_length(L, 1) == 0)
		return 0;
	array_get(L, 1, 0);
	array_make_room(L, 0, 1, 0);
	return 1;
}

static int array_unshift(lua_State *L)
{
	argument_array(L, 1, "unshift");
	int top = lua_gettop(L);
	array_make_room(L, 0, 0, (size_t)(top - 1));
	for (int i = 2; i <= top; i++) {
		lua_pushvalue(L, i);
		value_set_element(L, 1, (size_t)(i - 2));
	}
	lua_pushnumber(L, (lua_Number)value_array_length(L, 1));
	return 1;
}

static int array_splice(lua_State *L)
{
	argument_array(L, 1, "splice");
	int top = lua_gettop(L), more = top > 3 ? top - 3 : 0;
	size_t n = value_array_length(L, 1), at = argument_place(L, 2, n, 0, "splice");
	size_t gone = top < 2	? 0
		      : top < 3 ? n - at
				: (size_t)argument_whole(L, 3, 0, (int64_t)(n - at), "splice");
	value_push_array(L, gone);
	for (size_t i = 0; i < gone; i++) {
		array_get(L, 1, at + i);
		array_put(L, top + 1, i);
	}
	value_array_made(L, top + 1, gone);
	array_make_room(L, at, gone, (size_t)more);
	for (int i = 0; i < more; i++) {
		lua_pushvalue(L, 4 + i);
		value_set_element(L, 1, at + (size_t)i);
	}
	return 1;
}

static int array_fill(lua_State *L)
{
	argument_array(L, 1, "fill");
	size_t n = value_array_length(L, 1);
	runtime_charge(L, n);
	for (size_t i = 0; i < n; i++) {
		lua_pushvalue(L, 2);
		value_set_element(L, 1, i);
	}
	lua_settop(L, 1);
	return 1;
}

static int array_reverse(lua_State *L)
{
	argument_array(L, 1, "reverse");
	size_t n = value_array_length(L, 1);
	runtime_charge(L, n);
	for (size_t i = 0; i < n / 2; i++) {
		array_get(L, 1, i);
		array_get(L, 1, n - 1 - i);
		value_set_element(L, 1, i);
		value_set_element(L, 1, n - 1 - i);
	}
	lua_settop(L, 1);
	return 1;
}

/* --- a new one of it -------------------------------------------------------------------------- */

static int array_copy(lua_State *L, size_t from, size_t to)
{
	size_t n = to > from ? to - from : 0;
	runtime_charge(L, n);
	value_push_array(L, n);
	for (size_t i = 0; i < n; i++) {
		array_get(L, 1, from + i);
		array_put(L, lua_gettop(L) - 1, i);
	}
	value_array_made(L, -1, n);
	return 1;
}

int library_slice_array(lua_State *L)
{
	argument_array(L, 1, "slice");
	size_t n = value_array_length(L, 1), from = argument_place(L, 2, n, 0, "slice");
	return array_copy(L, from, argument_place(L, 3, n, n, "slice"));
}

static int array_take(lua_State *L)
{
	argument_array(L, 1, "take");
	int64_t n = (int64_t)value_array_length(L, 1);
	return array_copy(L, 0, (size_t)argument_whole(L, 2, 0, n, "take"));
}

static int array_drop(lua_State *L)
{
	argument_array(L, 1, "drop");
	int64_t n = (int64_t)value_array_length(L, 1);
	return array_copy(L, (size_t)argument_whole(L, 2, 0, n, "drop"), (size_t)n);
}

static int array_reversed(lua_State *L)
{
	argument_array(L, 1, "reversed");
	size_t n = value_array_length(L, 1);
	runtime_charge(L, n);
	value_push_array(L, n);
	for (size_t i = 0; i < n; i++) {
		array_get(L, 1, n - 1 - i);
		array_put(L, lua_gettop(L) - 1, i);
	}
	value_array_made(L, -1, n);
	return 1;
}

/* Appends the elements of the array on top, or the value itself, to the one at `to`, and pops it.
 */
static void array_pour(lua_State *L, int to, size_t *count)
{
	if (value_type(L, -1) != VALUE_ARRAY) {
		array_put(L, to, (*count)++);
		return;
	}
	size_t n = value_array_length(L, -1);
	runtime_charge(L, n);
	for (size_t i = 0; i < n; i++) {
		array_get(L, -1, i);
		array_put(L, to, (*count)++);
	}
	lua_pop(L, 1);
}

static int array_concat(lua_State *L)
{
	argument_array(L, 1, "concat");
	int top = lua_gettop(L);
	size_t count = 0;
	value_push_array(L, 4);
	for (int i = 1; i <= top; i++) {
		lua_pushvalue(L, i);
		array_pour(L, top + 1, &count);
	}
	value_array_made(L, top + 1, count);
	return 1;
}

static int array_flatten(lua_State *L)
{
	argument_array(L, 1, "flatten");
	size_t n = value_array_length(L, 1), count = 0;
	value_push_array(L, n);
	int to = lua_gettop(L);
	for (size_t i = 0; i < n; i++) {
		array_get(L, 1, i);
		array_pour(L, to, &count);
	}
	value_array_made(L, to, count);
	return 1;
}

static int array_flat_map(lua_State *L)
{
	size_t n = array_and_function(L, "flatMap"), count = 0;
	value_push_array(L, n);
	int to = lua_gettop(L);
	for (size_t i = 0; i < n; i++) {
		array_ask(L, 2, i);
		array_pour(L, to, &count);
	}
	value_array_made(L, to, count);
	return 1;
}

/* What was seen is the keys of a Lua table, so that it does not cost the square of the length. */
static int array_unique(lua_State *L)
{
	argument_array(L, 1, "unique");
	size_t n = value_array_length(L, 1), count = 0;
	bool nil = false;
	lua_settop(L, 1);
	value_push_array(L, 4);
	lua_newtable(L);
	runtime_charge(L, n);
	for (size_t i = 0; i < n; i++) {
		array_get(L, 1, i);
		bool is_nil = lua_isnil(L, -1),
		     nan = lua_isnumber(L, -1) && !lua_rawequal(L, -1, -1);
		lua_pushvalue(L, -1);
		bool seen = is_nil ? nil : !nan && lua_rawget(L, 3) != LUA_TNIL;
		lua_settop(L, 4);
		nil = nil || is_nil;
		if (!seen) {
			lua_pushvalue(L, 4);
			array_put(L, 2, count++);
		}
		if (!seen && !is_nil && !nan) {
			lua_pushvalue(L, 4);
			lua_pushboolean(L, true);
			lua_rawset(L, 3);
		}
		lua_settop(L, 3);
	}
	lua_settop(L, 2);
	value_array_made(L, 2, count);
	return 1;
}

/* [a, b] on top of the stack, of the two values there. */
static void array_pair(lua_State *L)
{
	value_push_array(L, 2);
	lua_insert(L, -3);
	array_put(L, lua_gettop(L) - 2, 1);
	array_put(L, lua_gettop(L) - 1, 0);
	value_array_made(L, -1, 2);
}

static int array_enumerate(lua_State *L)
{
	argument_array(L, 1, "enumerate");
	size_t n = value_array_length(L, 1);
	runtime_charge(L, n);
	value_push_array(L, n);
	int to = lua_gettop(L);
	for (size_t i = 0; i < n; i++) {
		lua_pushnumber(L, (lua_Number)i);
		array_get(L, 1, i);
		array_pair(L);
		array_put(L, to, i);
	}
	value_array_made(L, to, n);
	return 1;
}

static int array_zip(lua_State *L)
{
	int top = lua_gettop(L);
	size_t n = SIZE_MAX;
	for (int i = 1; i <= top; i++) {
		argument_array(L, i, "zip");
		size_t length = value_array_length(L, i);
		n = length < n ? length : n;
	}
	value_push_array(L, n);
	for (size_t i = 0; i < n; i++) {
		runtime_charge(L, (size_t)top);
		value_push_array(L, (size_t)top);
		for (int k = 1; k <= top; k++) {
			array_get(L, k, i);
			array_put(L, top + 2, (size_t)k - 1);
		}
		value_array_made(L, top + 2, (size_t)top);
		array_put(L, top + 1, i);
	}
	value_array_made(L, top + 1, n);
	return 1;
}

static int array_group_by(lua_State *L)
{
	size_t n = array_and_function(L, "groupBy");
	lua_settop(L, 2);
	value_push_object(L, 4);
	for (size_t i = 0; i < n; i++) {
		array_ask(L, 2, i);
		value_push_key(L, 4);
		lua_pushvalue(L, 5);
		if (lua_rawget(L, 3) == LUA_TNIL) {
			lua_pop(L, 1);
			lua_pushvalue(L, 5);
			value_push_array(L, 2);
			lua_pushvalue(L, -1);
			lua_insert(L, 6); /* key' list key list */
			value_set_member(L, 3);
		}
		array_get(L, 1, i);
		value_append(L, 6);
		lua_settop(L, 3);
	}
	return 1;
}

/* --- elements --------------------------------------------------------------------------------- */

static int array_first(lua_State *L)
{
	argument_array(L, 1, "first");
	array_get(L, 1, 0);
	return 1;
}

static int array_last(lua_State *L)
{
	argument_array(L, 1, "last");
	size_t n = value_array_length(L, 1);
	if (n == 0)
		return 0;
	array_get(L, 1, n - 1);
	return 1;
}

static int array_at(lua_State *L)
{
	argument_array(L, 1, "at");
	int64_t n = (int64_t)value_array_length(L, 1), i = argument_whole(L, 2, -n - 1, n, "at");
	if (i < 0)
		i += n;
	if (i < 0 || i >= n)
		return 0;
	array_get(L, 1, (size_t)i);
	return 1;
}

static int array_sum(lua_State *L)
{
	argument_array(L, 1, "sum");
	size_t n = value_array_length(L, 1);
	double sum = 0;
	runtime_charge(L, n);
	for (size_t i = 0; i < n; i++) {
		array_get(L, 1, i);
		sum += argument_number(L, -1, "sum");
		lua_pop(L, 1);
	}
	lua_pushnumber(L, sum);
	return 1;
}

int library_join_array(lua_State *L)
{
	size_t m = 1;
	argument_array(L, 1, "join");
	const char *between = lua_isnoneornil(L, 2) ? "," : argument_text(L, 2, &m, "join");
	size_t n = value_array_length(L, 1);
	struct buffer b = runtime_of(L)->text;
	runtime_charge(L, n);
	/* What an element needs to become a text is the same buffer: it is written behind. */
	buffer_clear(&b);
	runtime_of(L)->text = b;
	for (size_t i = 0; i < n; i++) {
		struct buffer *to = &runtime_of(L)->text;
		json_text_bound(L, to, m);
		if (i > 0)
			buffer_add(to, between, m);
		array_get(L, 1, i);
		if (!lua_isnil(L, -1))
			value_write_text(L, to, -1);
		lua_pop(L, 1);
	}
	json_text_push(L, &runtime_of(L)->text);
	return 1;
}

static int array_keys(lua_State *L)
{
	argument_array(L, 1, "keys");
	size_t n = value_array_length(L, 1);
	runtime_charge(L, n);
	value_push_array(L, n);
	for (size_t i = 0; i < n; i++) {
		lua_pushnumber(L, (lua_Number)i);
		array_put(L, lua_gettop(L) - 1, i);
	}
	value_array_made(L, -1, n);
	return 1;
}

static int array_text(lua_State *L)
{
	value_push_text(L, 1);
	return 1;
}

const luaL_Reg library_array_functions[] = {{"map", array_map},
					    {"filter", array_filter},
					    {"reduce", array_reduce},
					    {"find", array_find},
					    {"findIndex", array_find_index},
					    {"any", array_any},
					    {"all", array_all},
					    {"sum", array_sum},
					    {"reversed", array_reversed},
					    {"first", array_first},
					    {"last", array_last},
					    {"take", array_take},
					    {"drop", array_drop},
					    {"unique", array_unique},
					    {"flatten", array_flatten},
					    {"flatMap", array_flat_map},
					    {"enumerate", array_enumerate},
					    {"zip", array_zip},
					    {"groupBy", array_group_by},
					    {"partition", array_partition},
					    {NULL, NULL}};

/* Besides those. */
const luaL_Reg library_array_methods[] = {{"forEach", array_for_each},
					  {"some", array_any},
					  {"every", array_all},
					  {"push", array_push},
					  {"pop", array_pop},
					  {"shift", array_shift},
					  {"unshift", array_unshift},
					  {"splice", array_splice},
					  {"fill", array_fill},
					  {"reverse", array_reverse},
					  {"slice", library_slice_array},
					  {"concat", array_concat},
					  {"flat", array_flatten},
					  {"indexOf", library_index_of_array},
					  {"lastIndexOf", library_last_index_of_array},
					  {"includes", library_includes},
					  {"contains", library_includes},
					  {"join", library_join_array},
					  {"count", library_count_array},
					  {"keys", array_keys},
					  {"at", array_at},
					  {"toString", array_text},
					  {NULL, NULL}};
