#include "tova/runtime/json_text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "tova/runtime/number_text.h"

/* --- writing ---------------------------------------------------------------------------------- */

struct json_writer {
	lua_State *L;
	struct buffer *b;
	int indent, depth;
};

static void json_write(struct json_writer *w, int at);

bool json_text_is(lua_State *L, int at)
{
	enum value_type type = value_type(L, at);
	return type != VALUE_FUNCTION && type != VALUE_OTHER;
}

/* One byte, or a new line with its spaces. */
static void json_write_sign(struct json_writer *w, char sign, bool line)
{
	buffer_add(w->b, &sign, 1);
	if (w->indent == 0 || !line)
		return;
	buffer_add(w->b, "\n", 1);
	for (int i = 0; i < w->indent * w->depth; i++)
		buffer_add(w->b, " ", 1);
}

static void json_write_end(struct json_writer *w, char sign, bool any)
{
	w->depth--;
	if (any && w->indent > 0) {
		buffer_add(w->b, "\n", 1);
		for (int i = 0; i < w->indent * w->depth; i++)
			buffer_add(w->b, " ", 1);
	}
	buffer_add(w->b, &sign, 1);
}

static void json_write_array(struct json_writer *w, int at)
{
	size_t n = value_array_length(w->L, at);
	w->depth++;
	json_write_sign(w, '[', n > 0);
	for (size_t i = 1; i <= n; i++) {
		if (i > 1)
			json_write_sign(w, ',', true);
		lua_rawgeti(w->L, at, (lua_Integer)i);
		json_write(w, lua_gettop(w->L));
		lua_pop(w->L, 1);
	}
	json_write_end(w, ']', n > 0);
}

static void json_write_object(struct json_writer *w, int at)
{
	lua_State *L = w->L;
	size_t n = value_push_keys(L, at);
	int keys = lua_gettop(L);
	bool any = false;
	w->depth++;
	for (size_t i = 1; i <= n; i++) {
		size_t len;
		lua_rawgeti(L, keys, (lua_Integer)i);
		const char *key = lua_tolstring(L, -1, &len);
		lua_pushvalue(L, -1);
		lua_rawget(L, at);
		if (json_text_is(L, -1)) {
			json_write_sign(w, any ? ',' : '{', true);
			buffer_add_json(w->b, key, len);
			buffer_add(w->b, ": ", w->indent > 0 ? 2 : 1);
			json_write(w, lua_gettop(L));
			any = true;
		}
		lua_pop(L, 2);
	}
	if (!any)
		buffer_add(w->b, "{", 1);
	json_write_end(w, '}', any);
	lua_pop(L, 1);
}

static void json_write_table(struct json_writer *w, int at, bool array)
{
	if (w->depth >= JSON_TEXT_DEPTH_MAX)
		runtime_fault(w->L,
			      "a value that is nested too deeply, or holds itself, has no JSON");
	luaL_checkstack(w->L, 8, NULL);
	runtime_charge(w->L, 1);
	json_text_bound(w->L, w->b, 0);
	if (array)
		json_write_array(w, at);
	else
		json_write_object(w, at);
}

void json_text_bound(lua_State *L, const struct buffer *b, size_t n)
{
	const struct runtime *r = runtime_of(L);
	if (b->n > r->memory_max || n > r->memory_max - b->n)
		runtime_fatal(L, "a text of more than %zu bytes (max-memory)", r->memory_max);
}

static void json_write(struct json_writer *w, int at)
{
	char number[NUMBER_TEXT_MAX];
	double value;
	size_t n;
	const char *p;
	switch (value_type(w->L, at)) {
	case VALUE_STRING:
		p = lua_tolstring(w->L, at, &n);
		json_text_bound(w->L, w->b, n);
		buffer_add_json(w->b, p, n);
		break;
	case VALUE_NUMBER:
		value = lua_tonumber(w->L, at);
		if (isfinite(value))
			buffer_add(w->b, number, number_text(value, number));
		else
			buffer_add_text(w->b, "null");
		break;
	case VALUE_BOOL:
		buffer_add_text(w->b, lua_toboolean(w->L, at) ? "true" : "false");
		break;
	case VALUE_ARRAY:
	case VALUE_OBJECT:
		json_write_table(w, at, value_type(w->L, at) == VALUE_ARRAY);
		break;
	case VALUE_CONNECTION:
		buffer_add(w->b, "\"", 1);
		value_write_text(w->L, w->b, at);
		buffer_add(w->b, "\"", 1);
		break;
	default:
		buffer_add_text(w->b, "null");
	}
}

void json_text_write(lua_State *L, struct buffer *b, int at, int indent)
{
	struct json_writer w = {.L = L, .b = b, .indent = indent};
	json_write(&w, lua_absindex(L, at));
}

void json_text_push(lua_State *L, const struct buffer *b)
{
	if (b->failed)
		runtime_fatal(L, "no memory for a text");
	runtime_charge(L, b->n / 16);
	lua_pushlstring(L, b->p != NULL ? b->p : "", b->n);
}

/* --- reading ---------------------------------------------------------------------------------- */

struct json_reader {
	lua_State *L;
	struct json json;
	int depth;
};

static bool json_read(struct json_reader *r);

static void json_push_string(struct json_reader *r, const struct json_string *s)
{
	struct buffer *b = &runtime_of(r->L)->text;
	if (!s->escaped) {
		lua_pushlstring(r->L, s->p, s->n);
		return;
	}
	buffer_clear(b);
	buffer_add(b, s->p, s->n);
	if (!b->failed && b->n > 0)
		b->n = json_unescape(s, b->p);
	json_text_push(r->L, b);
}

static bool json_read_array(struct json_reader *r)
{
	size_t n = 0;
	value_push_array(r->L, 4);
	for (bool first = json_enter(&r->json, '['); json_next(&r->json, ']', &first); n++) {
		if (!json_read(r))
			return false;
		lua_rawseti(r->L, -2, (lua_Integer)n + 1);
	}
	lua_pushnumber(r->L, (lua_Number)n);
	lua_rawsetp(r->L, -2, &value_length);
	return r->json.why == NULL;
}

static bool json_read_member(struct json_reader *r, int object, bool *absent)
{
	struct json_string key;
	if (!json_read_string(&r->json, &key))
		return false;
	json_push_string(r, &key);
	if (!json_next_is(&r->json, ':'))
		return json_fail(&r->json, "a colon was expected");
	r->json.p++;
	if (!json_read(r))
		return false;
	value_add_member(r->L, object, absent);
	return true;
}

static bool json_read_object(struct json_reader *r)
{
	value_push_object(r->L, 4);
	int object = lua_gettop(r->L);
	bool absent = false;
	for (bool first = json_enter(&r->json, '{'); json_next(&r->json, '}', &first);)
		if (!json_read_member(r, object, &absent))
			return false;
	return r->json.why == NULL;
}

static bool json_read_number(struct json_reader *r)
{
	struct span text;
	char copy[64];
	if (!json_skip(&r->json, &text))
		return false;
	if (text.n < sizeof copy) {
		memcpy(copy, text.p, text.n);
		copy[text.n] = '\0';
		lua_pushnumber(r->L, strtod(copy, NULL));
		return true;
	}
	lua_pushlstring(r->L, text.p, text.n); /* ends in NUL */
	double value = strtod(lua_tostring(r->L, -1), NULL);
	lua_pop(r->L, 1);
	lua_pushnumber(r->L, value);
	return true;
}

static bool json_read_word(struct json_reader *r, char first)
{
	bool yes = false;
	if (first == 'n') {
		if (!json_skip(&r->json, NULL))
			return false;
		lua_pushnil(r->L);
		return true;
	}
	if (!json_read_bool(&r->json, &yes))
		return false;
	lua_pushboolean(r->L, yes);
	return true;
}

static bool json_read(struct json_reader *r)
{
	struct json_string s;
	bool ok;
	if (json_next_is(&r->json, '"')) {
		if (!json_read_string(&r->json, &s))
			return false;
		json_push_string(r, &s);
		return true;
	}
	char c = '\0';
	if (r->json.p < r->json.end)
		c = *r->json.p;
	if (c == 't' || c == 'f' || c == 'n')
		return json_read_word(r, c);
	if (c != '[' && c != '{')
		return json_read_number(r);
	if (++r->depth > JSON_TEXT_DEPTH_MAX)
		return json_fail(&r->json, "nested too deeply");
	luaL_checkstack(r->L, 12, NULL);
	runtime_charge(r->L, 1);
	ok = c == '[' ? json_read_array(r) : json_read_object(r);
	r->depth--;
	return ok;
}

void json_text_read(lua_State *L, const char *p, size_t n)
{
	struct json_reader r = {.L = L, .json = {.p = p, .end = p + n}};
	runtime_charge(L, n / 16);
	bool ok = json_read(&r);
	if (ok && (json_next_is(&r.json, ' '), r.json.p != r.json.end))
		ok = json_fail(&r.json, "something behind the value");
	if (!ok)
		runtime_fault(L, "JSON.parse: %s", r.json.why != NULL ? r.json.why : "no value");
}
