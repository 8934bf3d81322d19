/* library_text: strings. */
#include <string.h>

#include "tova/runtime/json_text.h"
#include "tova/runtime/library.h"
#include "tova/runtime/text.h"

static int text_push(lua_State *L, const char *p, size_t from, size_t to)
{
	size_t n = to > from ? to - from : 0;
	runtime_charge(L, n / 16);
	lua_pushlstring(L, p + from, n);
	return 1;
}

/* Letters of ASCII and Latin-1, whose cases are 32 apart; all others stay. */
static int text_case(lua_State *L, bool upper, const char *who)
{
	size_t n;
	const char *p = argument_text(L, 1, &n, who);
	struct buffer *b = &runtime_of(L)->text;
	runtime_charge(L, n / 16);
	buffer_clear(b);
	buffer_add(b, p, n);
	for (size_t i = 0; !b->failed && i < n; i++) {
		unsigned char c = (unsigned char)b->p[i],
			      next = i + 1 < n ? (unsigned char)b->p[i + 1] : 0;
		if (upper && c >= 'a' && c <= 'z')
			b->p[i] = (char)(c - 32);
		else if (!upper && c >= 'A' && c <= 'Z')
			b->p[i] = (char)(c + 32);
		else if (c == 0xC3 && next >= (upper ? 0xA0 : 0x80) &&
			 next <= (upper ? 0xBE : 0x9E) && next != (upper ? 0xB7 : 0x97))
			b->p[i + 1] = (char)(upper ? next - 32 : next + 32);
	}
	json_text_push(L, b);
	return 1;
}

static int text_upper(lua_State *L)
{
	return text_case(L, true, "upper");
}

static int text_lower(lua_State *L)
{
	return text_case(L, false, "lower");
}

static int text_capitalize(lua_State *L)
{
	size_t n;
	const char *p = argument_text(L, 1, &n, "capitalize");
	size_t first = text_size(p, n);
	lua_pushcfunction(L, text_upper);
	lua_pushlstring(L, p, first);
	lua_call(L, 1, 1);
	text_push(L, p, first, n);
	lua_concat(L, 2);
	return 1;
}

static int text_trim_by(lua_State *L, bool front, bool behind, const char *who)
{
	size_t n;
	const char *p = argument_text(L, 1, &n, who);
	size_t from = front ? text_space(p, n) : 0;
	size_t to = behind && from < n ? n - text_space_behind(p + from, n - from) : n;
	return text_push(L, p, from, to);
}

static int text_trim(lua_State *L)
{
	return text_trim_by(L, true, true, "trim");
}

static int text_trim_start(lua_State *L)
{
	return text_trim_by(L, true, false, "trimStart");
}

static int text_trim_end(lua_State *L)
{
	return text_trim_by(L, false, true, "trimEnd");
}

/* --- into parts ------------------------------------------------------------------------------- */

static void text_add_part(lua_State *L, const char *p, size_t from, size_t to, size_t *count)
{
	text_push(L, p, from, to);
	lua_rawseti(L, -2, (lua_Integer)++ * count);
	runtime_charge(L, 1);
}

static int text_chars(lua_State *L)
{
	size_t n, count = 0;
	const char *p = argument_text(L, 1, &n, "chars");
	value_push_array(L, n);
	for (size_t at = 0, size; at < n; at += size) {
		size = text_size(p + at, n - at);
		text_add_part(L, p, at, at + size, &count);
	}
	value_array_made(L, -1, count);
	return 1;
}

static int text_split(lua_State *L)
{
	size_t n, m = 0, count = 0, from = 0, at;
	const char *p = argument_text(L, 1, &n, "split");
	const char *q = lua_isnoneornil(L, 2) ? NULL : argument_text(L, 2, &m, "split");
	if (q != NULL && m == 0)
		return text_chars(L);
	value_push_array(L, 4);
	while (q != NULL && (at = text_find(p, n, q, m, from)) < n) {
		text_add_part(L, p, from, at, &count);
		from = at + m;
	}
	text_add_part(L, p, from, n, &count);
	value_array_made(L, -1, count);
	return 1;
}

static int text_words(lua_State *L)
{
	size_t n, count = 0;
	const char *p = argument_text(L, 1, &n, "words");
	value_push_array(L, 4);
	for (size_t at = text_space(p, n); at < n;) {
		size_t from = at;
		while (at < n && text_space(p + at, n - at) == 0)
			at += text_size(p + at, n - at);
		text_add_part(L, p, from, at, &count);
		at += text_space(p + at, n - at);
	}
	value_array_made(L, -1, count);
	return 1;
}

static int text_lines(lua_State *L)
{
	lua_settop(L, 1);
	lua_pushliteral(L, "\n");
	return text_split(L);
}

/* --- finding ---------------------------------------------------------------------------------- */

static int text_place(lua_State *L, const char *p, size_t at, bool found)
{
	lua_pushnumber(L, found ? (lua_Number)text_length(p, at) : -1);
	return 1;
}

int library_index_of_text(lua_State *L)
{
	size_t n, m;
	const char *p = argument_text(L, 1, &n, "indexOf"), *q = argument_text(L, 2, &m, "indexOf");
	size_t from = text_offset(p, n, argument_place(L, 3, n, 0, "indexOf"));
	size_t at = text_find(p, n, q, m, from);
	runtime_charge(L, n / 16);
	return text_place(L, p, at, at < n || m == 0);
}

int library_last_index_of_text(lua_State *L)
{
	size_t n, m;
	const char *p = argument_text(L, 1, &n, "lastIndexOf"),
		   *q = argument_text(L, 2, &m, "lastIndexOf");
	runtime_charge(L, m <= n ? (n - m) / 64 * m : 0);
	size_t at = text_find_last(p, n, q, m);
	return text_place(L, p, at, at < n || m == 0);
}

static int text_starts_with(lua_State *L)
{
	size_t n, m;
	const char *p = argument_text(L, 1, &n, "startsWith"),
		   *q = argument_text(L, 2, &m, "startsWith");
	lua_pushboolean(L, m <= n && memcmp(p, q, m) == 0);
	return 1;
}

static int text_ends_with(lua_State *L)
{
	size_t n, m;
	const char *p = argument_text(L, 1, &n, "endsWith"),
		   *q = argument_text(L, 2, &m, "endsWith");
	lua_pushboolean(L, m <= n && memcmp(p + n - m, q, m) == 0);
	return 1;
}

/* --- pieces ----------------------------------------------------------------------------------- */

int library_slice_text(lua_State *L)
{
	size_t n;
	const char *p = argument_text(L, 1, &n, "slice");
	size_t length = text_length(p, n), from = argument_place(L, 2, length, 0, "slice"),
	       to = argument_place(L, 3, length, length, "slice");
	runtime_charge(L, n / 16);
	return text_push(L, p, text_offset(p, n, from), text_offset(p, n, to));
}

/* Negative places are 0 here, and the smaller one comes first. */
static int text_substring(lua_State *L)
{
	size_t n;
	const char *p = argument_text(L, 1, &n, "substring");
	int64_t length = (int64_t)text_length(p, n),
		from = lua_isnoneornil(L, 2) ? 0 : argument_whole(L, 2, 0, length, "substring"),
		to = lua_isnoneornil(L, 3) ? length : argument_whole(L, 3, 0, length, "substring");
	return text_push(L, p, text_offset(p, n, (size_t)(from < to ? from : to)),
			 text_offset(p, n, (size_t)(from < to ? to : from)));
}

static int text_char_at(lua_State *L)
{
	size_t n;
	const char *p = argument_text(L, 1, &n, "charAt");
	int64_t i = argument_whole(L, 2, -1, INT64_MAX, "charAt");
	size_t at = i < 0 ? n : text_offset(p, n, (size_t)i);
	if (at == n)
		return 0;
	return text_push(L, p, at, at + text_size(p + at, n - at));
}

static int text_replace_by(lua_State *L, bool all, const char *who)
{
	size_t n, m, k, from = 0, at;
	const char *p = argument_text(L, 1, &n, who), *q = argument_text(L, 2, &m, who),
		   *with = argument_text(L, 3, &k, who);
	struct buffer *b = &runtime_of(L)->text;
	buffer_clear(b);
	while (m > 0 && (at = text_find(p, n, q, m, from)) < n) {
		json_text_bound(L, b, at - from + k);
		buffer_add(b, p + from, at - from);
		buffer_add(b, with, k);
		from = at + m;
		runtime_charge(L, 1 + k / 64);
		if (!all)
			break;
	}
	buffer_add(b, p + from, n - from);
	json_text_push(L, b);
	return 1;
}

static int text_replace(lua_State *L)
{
	return text_replace_by(L, true, "replace");
}

static int text_replace_first(lua_State *L)
{
	return text_replace_by(L, false, "replaceFirst");
}

static void text_add_times(lua_State *L, struct buffer *b, const char *p, size_t n, size_t times)
{
	json_text_bound(L, b, 0);
	if (n > 0 && times > runtime_of(L)->memory_max / n)
		json_text_bound(L, b, SIZE_MAX);
	runtime_charge(L, times);
	for (size_t i = 0; n > 0 && i < times; i++)
		buffer_add(b, p, n);
}

static int text_repeat(lua_State *L)
{
	size_t n;
	const char *p = argument_text(L, 1, &n, "repeat");
	struct buffer *b = &runtime_of(L)->text;
	buffer_clear(b);
	text_add_times(L, b, p, n, (size_t)argument_whole(L, 2, 0, INT64_MAX / 2, "repeat"));
	json_text_push(L, b);
	return 1;
}

/* As many characters as are missing. */
static void text_add_fill(lua_State *L, struct buffer *b, size_t missing, const char *who)
{
	size_t n = 1;
	const char *fill = lua_isnoneornil(L, 3) ? " " : argument_text(L, 3, &n, who);
	size_t length = text_length(fill, n);
	if (length == 0)
		return;
	text_add_times(L, b, fill, n, missing / length);
	buffer_add(b, fill, text_offset(fill, n, missing % length));
}

static int text_pad(lua_State *L, bool front, const char *who)
{
	size_t n;
	const char *p = argument_text(L, 1, &n, who);
	size_t wanted = (size_t)argument_whole(L, 2, 0, INT64_MAX / 2, who),
	       has = text_length(p, n), missing = wanted > has ? wanted - has : 0;
	struct buffer *b = &runtime_of(L)->text;
	buffer_clear(b);
	if (front)
		text_add_fill(L, b, missing, who);
	buffer_add(b, p, n);
	if (!front)
		text_add_fill(L, b, missing, who);
	json_text_push(L, b);
	return 1;
}

static int text_pad_start(lua_State *L)
{
	return text_pad(L, true, "padStart");
}

static int text_pad_end(lua_State *L)
{
	return text_pad(L, false, "padEnd");
}

static int text_concat(lua_State *L)
{
	struct buffer *b = &runtime_of(L)->text;
	buffer_clear(b);
	for (int i = 1; i <= lua_gettop(L); i++)
		value_write_text(L, b, i);
	json_text_push(L, b);
	return 1;
}

static int text_itself(lua_State *L)
{
	lua_settop(L, 1);
	return 1;
}

const luaL_Reg library_text_functions[] = {{"upper", text_upper},
					   {"lower", text_lower},
					   {"capitalize", text_capitalize},
					   {"trim", text_trim},
					   {"trimStart", text_trim_start},
					   {"trimEnd", text_trim_end},
					   {"split", text_split},
					   {"chars", text_chars},
					   {"words", text_words},
					   {"lines", text_lines},
					   {"startsWith", text_starts_with},
					   {"endsWith", text_ends_with},
					   {"replace", text_replace},
					   {"replaceFirst", text_replace_first},
					   {"repeat", text_repeat},
					   {"padStart", text_pad_start},
					   {"padEnd", text_pad_end},
					   {"charAt", text_char_at},
					   {"substr", library_slice_text},
					   {NULL, NULL}};

/* Besides those. */
const luaL_Reg library_text_methods[] = {{"toUpperCase", text_upper},
					 {"toLowerCase", text_lower},
					 {"replaceAll", text_replace},
					 {"slice", library_slice_text},
					 {"substring", text_substring},
					 {"indexOf", library_index_of_text},
					 {"lastIndexOf", library_last_index_of_text},
					 {"includes", library_includes},
					 {"contains", library_includes},
					 {"concat", text_concat},
					 {"at", text_char_at},
					 {"toString", text_itself},
					 {NULL, NULL}};
