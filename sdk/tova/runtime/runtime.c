#include "tova/runtime/runtime.h"

#include <lualib.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tova/runtime/value.h"

#define RUNTIME_HOOK_EVERY 1000	  /* instructions */
#define RUNTIME_WORDS_MAX 65536	  /* bytes, to say what was wrong */
#define RUNTIME_JOURNAL_KEPT 1024 /* entries for which there is room from one event to the next */
#define RUNTIME_CHUNK "tova"	  /* what errors of Lua's own begin with */

/* --- limits ----------------------------------------------------------------------------------- */

/* Where the program is. Takes no memory, and only reads what calls there are. */
struct position runtime_place(lua_State *L)
{
	const struct runtime *r = runtime_of(L);
	lua_Debug ar;
	for (int level = 0; lua_getstack(L, level, &ar); level++) {
		lua_getinfo(L, "Sl", &ar);
		if (ar.currentline > 0 && (size_t)ar.currentline < r->n_lines &&
		    strcmp(ar.source, "=" RUNTIME_CHUNK) == 0)
			return r->lines[ar.currentline];
	}
	return (struct position){0, 0};
}

static void *runtime_allocate(void *arg, void *p, size_t old, size_t size)
{
	struct runtime *r = arg;
	size_t had = p != NULL ? old : 0;
	if (size == 0) {
		free(p);
		r->memory -= had;
		return NULL;
	}
	if (size > had && r->memory + (size - had) > r->memory_max) {
		/* Lua calls no handler of ours for this, which could ask where it was. */
		if (r->L != NULL)
			r->starved = runtime_place(r->L);
		return NULL;
	}
	void *new = realloc(p, size);
	if (new != NULL)
		r->memory += size - had;
	return new;
}

static void runtime_spend(lua_State *L, int64_t n)
{
	struct runtime *r = runtime_of(L);
	r->instructions -= n;
	if (r->instructions < 0)
		runtime_fatal(L, "it took more than %lld instructions (max-instructions)",
			      (long long)r->instructions_max);
}

static uint64_t runtime_cpu_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void runtime_on_count(lua_State *L, lua_Debug *ar)
{
	struct runtime *r = runtime_of(L);
	uint64_t now = runtime_cpu_ns();
	(void)ar;
	if (r->cpu_began_ns == 0)
		r->cpu_began_ns = now;
	if (now - r->cpu_began_ns > r->cpu_max_ms * 1000000)
		runtime_fatal(L, "it took more than %llu ms of the processor (max-time)",
			      (unsigned long long)r->cpu_max_ms);
	runtime_spend(L, RUNTIME_HOOK_EVERY);
}

void runtime_charge(lua_State *L, size_t n)
{
	runtime_spend(L, n < INT64_MAX / 2 ? (int64_t)n : INT64_MAX / 2);
}

/* --- faults ----------------------------------------------------------------------------------- */

int runtime_fault(lua_State *L, const char *format, ...)
{
	char text[512];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	lua_pushstring(L, text);
	lua_error(L);
	abort(); /* it does not return */
}

int runtime_fatal(lua_State *L, const char *format, ...)
{
	char text[512];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	runtime_of(L)->fatal = true;
	lua_pushstring(L, text);
	lua_error(L);
	abort(); /* it does not return */
}

/* What Lua itself says, in the program's words. */
static const char *runtime_words(const char *text)
{
	static const char mark[] = RUNTIME_CHUNK ":";
	if (strstr(text, "stack overflow") != NULL || strstr(text, "error in error") != NULL)
		return "too many calls within calls";
	if (strncmp(text, mark, sizeof mark - 1) == 0) {
		const char *rest = strstr(text, ": ");
		return rest != NULL ? rest + 2 : text;
	}
	return text;
}

static void runtime_push_error(lua_State *L, const char *text, struct position at)
{
	lua_createtable(L, 0, 4);
	lua_pushstring(L, text);
	lua_setfield(L, -2, "message");
	lua_pushnumber(L, at.line);
	lua_setfield(L, -2, "line");
	lua_pushnumber(L, at.column);
	lua_setfield(L, -2, "column");
	lua_createtable(L, 3, 0);
	static const char *const keys[] = {"message", "line", "column"};
	for (int i = 0; i < 3; i++) {
		lua_pushstring(L, keys[i]);
		lua_rawseti(L, -2, i + 1);
	}
	lua_rawsetp(L, -2, &value_order);
	lua_rawgeti(L, LUA_REGISTRYINDEX, RUNTIME_ERROR);
	lua_setmetatable(L, -2);
}

int runtime_fault_at(lua_State *L, struct position at, const char *format, ...)
{
	char text[512];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	runtime_push_error(L, text, at);
	lua_error(L);
	abort(); /* it does not return */
}

static int runtime_on_error(lua_State *L)
{
	const char *text = lua_tostring(L, 1);
	if (text == NULL) /* it has its place: somebody throws it again */
		return 1;
	/* what ends for want of memory has to be said, too */
	struct runtime *r = runtime_of(L);
	size_t max = r->memory_max;
	r->memory_max = max + RUNTIME_WORDS_MAX;
	runtime_push_error(L, runtime_words(text), runtime_place(L));
	r->memory_max = max;
	return 1;
}

int runtime_call(lua_State *L, int arguments, int results)
{
	int at = lua_gettop(L) - arguments;
	lua_pushcfunction(L, runtime_on_error);
	lua_insert(L, at);
	int status = lua_pcall(L, arguments, results, at);
	lua_remove(L, at);
	if (status == LUA_ERRMEM)
		runtime_of(L)->fatal = true;
	return status;
}

static void runtime_text_at(const char *file, struct position at, const char *message, char *text_r,
			    size_t cap)
{
	if (at.line > 0)
		snprintf(text_r, cap, "%s:%u:%u: %s", file, at.line, at.column, message);
	else
		snprintf(text_r, cap, "%s: %s", file, message);
}

/* Of what is on top of the stack, a text of Lua's own. */
static void runtime_bare_error_text(const struct runtime *r, const char *file, char *text_r,
				    size_t cap)
{
	const char *text = lua_tostring(r->L, -1);
	char memory[80];
	snprintf(memory, sizeof memory, "it took more than %zu bytes of memory (max-memory)",
		 r->memory_max);
	if (text == NULL || strstr(text, "not enough memory") != NULL)
		runtime_text_at(file, r->starved, memory, text_r, cap);
	else
		runtime_text_at(file, (struct position){0, 0}, runtime_words(text), text_r, cap);
}

void runtime_error_text(struct runtime *r, const char *file, char *text_r, size_t cap)
{
	lua_State *L = r->L;
	if (!lua_istable(L, -1)) { /* no memory: there was none for more words */
		runtime_bare_error_text(r, file, text_r, cap);
		lua_pop(L, 1);
		return;
	}
	lua_pushstring(L, "line"); /* short strings that the state has: they take no memory */
	lua_rawget(L, -2);
	unsigned line = (unsigned)lua_tonumber(L, -1);
	lua_pushstring(L, "column");
	lua_rawget(L, -3);
	unsigned column = (unsigned)lua_tonumber(L, -1);
	lua_pushstring(L, "message");
	lua_rawget(L, -4);
	const char *message = lua_tostring(L, -1);
	runtime_text_at(file, (struct position){line, column}, message, text_r, cap);
	lua_pop(L, 4);
}

/* --- what can be taken back ------------------------------------------------------------------- */

void runtime_begin(struct runtime *r)
{
	r->in_event = true;
	r->journal = 0;
	r->fatal = false;
	r->starved = (struct position){0, 0};
	r->instructions = r->instructions_max;
	r->cpu_began_ns = 0;
	r->data = RUNTIME_DATA_UNREAD;
}

static int runtime_new_journal(lua_State *L)
{
	lua_newtable(L);
	lua_rawseti(L, LUA_REGISTRYINDEX, RUNTIME_JOURNAL);
	return 0;
}

/* A table never shrinks: what a large event took is given back with it. False without memory for
 * an empty one. */
static bool runtime_replace_journal(struct runtime *r)
{
	lua_State *L = r->L;
	size_t max = r->memory_max;
	r->memory_max = max + RUNTIME_WORDS_MAX;
	lua_pushcfunction(L, runtime_new_journal);
	bool ok = lua_pcall(L, 0, 0, 0) == LUA_OK;
	if (!ok)
		lua_pop(L, 1);
	r->memory_max = max;
	return ok;
}

static void runtime_end(struct runtime *r)
{
	lua_State *L = r->L;
	bool replaced = r->journal > RUNTIME_JOURNAL_KEPT && runtime_replace_journal(r);
	if (r->journal > 0 && !replaced) { /* what it names is nobody's any more */
		lua_rawgeti(L, LUA_REGISTRYINDEX, RUNTIME_JOURNAL);
		for (size_t i = 0; i < 3 * r->journal; i++) {
			lua_pushboolean(L, false);
			lua_rawseti(L, -2, (lua_Integer)i + 1);
		}
		lua_pop(L, 1);
	}
	r->journal = 0;
	r->in_event = false;
}

void runtime_commit(struct runtime *r)
{
	runtime_end(r);
}

/* Stack: nothing. */
static int runtime_do_undo(lua_State *L)
{
	const struct runtime *r = runtime_of(L);
	lua_rawgeti(L, LUA_REGISTRYINDEX, RUNTIME_JOURNAL);
	for (size_t i = r->journal; i > 0; i--) {
		lua_Integer at = (lua_Integer)(3 * (i - 1));
		lua_rawgeti(L, 1, at + 1);
		lua_rawgeti(L, 1, at + 2);
		lua_rawgeti(L, 1, at + 3);
		lua_rawset(L, 2);
		lua_settop(L, 1);
	}
	return 0;
}

/* What was there before has a right to its memory, whatever the event took: the bound is lifted,
 * and the event's garbage goes. */
void runtime_undo(struct runtime *r)
{
	lua_State *L = r->L;
	size_t max = r->memory_max;
	r->memory_max = SIZE_MAX / 2;
	lua_sethook(L, NULL, 0, 0);
	lua_pushcfunction(L, runtime_do_undo);
	if (lua_pcall(L, 0, 0, 0) != LUA_OK)
		lua_pop(L, 1);
	lua_sethook(L, runtime_on_count, LUA_MASKCOUNT, RUNTIME_HOOK_EVERY);
	runtime_end(r);
	if (r->fatal)
		lua_gc(L, LUA_GCCOLLECT);
	r->memory_max = max;
}

void runtime_set(lua_State *L, int table)
{
	struct runtime *r = runtime_of(L);
	if (r->in_event) {
		lua_Integer at = (lua_Integer)(3 * r->journal);
		lua_rawgeti(L, LUA_REGISTRYINDEX, RUNTIME_JOURNAL); /* k v J */
		lua_pushvalue(L, -3);
		lua_rawget(L, table); /* k v J old */
		lua_rawseti(L, -2, at + 3);
		lua_pushvalue(L, -3);
		lua_rawseti(L, -2, at + 2);
		lua_pushvalue(L, table);
		lua_rawseti(L, -2, at + 1);
		lua_pop(L, 1);
		r->journal++;
	}
	lua_rawset(L, table);
}

/* --- the state -------------------------------------------------------------------------------- */

static int runtime_prepare(lua_State *L)
{
	for (int i = RUNTIME_ARRAY; i <= RUNTIME_DATA; i++) {
		lua_newtable(L);
		lua_rawseti(L, LUA_REGISTRYINDEX, i);
	}
	return 0;
}

lua_State *runtime_open(struct runtime *r)
{
	r->L = lua_newstate(runtime_allocate, r);
	if (r->L == NULL)
		return NULL;
	*(struct runtime **)lua_getextraspace(r->L) = r;
	r->instructions = r->instructions_max;
	lua_pushcfunction(r->L, runtime_prepare);
	if (lua_pcall(r->L, 0, 0, 0) != LUA_OK) {
		lua_close(r->L);
		r->L = NULL;
		return NULL;
	}
	lua_sethook(r->L, runtime_on_count, LUA_MASKCOUNT, RUNTIME_HOOK_EVERY);
	return r->L;
}

void runtime_close(struct runtime *r)
{
	if (r->L != NULL)
		lua_close(r->L);
	r->L = NULL;
	buffer_free(&r->text);
}
