#include "tova/runtime/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/json.h"
#include "tova/runtime/json_text.h"
#include "tova/runtime/library.h"
#include "tova/runtime/state.h"

#define PROGRAM_STATS_MS 1000		  /* the host's counters are as old as that, at most */
#define PROGRAM_STATS_ID JSON_INTEGER_MAX /* workers have no larger numbers */
#define PROGRAM_SAVED_MAX (1u << 20)

struct program {
	struct runtime runtime;
	struct translation translation;
	char *file;
};

/* --- made and freed --------------------------------------------------------------------------- */

static void program_say_faults(const char *file, const struct faults *faults, char *why, size_t cap)
{
	size_t at = 0;
	for (size_t i = 0; i < faults->n && at < cap; i++) {
		const struct fault *f = &faults->v[i];
		const char *end = i > 0 ? "\n" : "";
		at += (size_t)(f->at.line > 0 ? snprintf(why + at, cap - at, "%s%s:%u:%u: %s", end,
							 file, f->at.line, f->at.column, f->text)
					      : snprintf(why + at, cap - at, "%s%s: %s", end, file,
							 f->text));
	}
}

/* Stack: the text as a light userdata, its length. Leaves the function. */
static int program_load(lua_State *L)
{
	const char *text = lua_touserdata(L, 1);
	size_t n = (size_t)lua_tointeger(L, 2);
	library_open(L);
	if (luaL_loadbufferx(L, text, n, "=tova", "t") != LUA_OK)
		return lua_error(L);
	return 1;
}

/* Lua says "tova:LINE: ..." of what it can not compile, as it is too large for it. */
static void program_explain(struct program *p, char *why, size_t cap)
{
	const char *text = lua_tostring(p->runtime.L, -1);
	unsigned line = 0;
	struct position at = {0, 0};
	if (text != NULL && sscanf(text, "tova:%u:", &line) == 1 && line < p->runtime.n_lines)
		at = p->runtime.lines[line];
	snprintf(why, cap, "%s:%u:%u: this is too much for one function or one value (%s)", p->file,
		 at.line, at.column, text != NULL ? text : "no memory");
}

static bool program_open(struct program *p, char *why, size_t cap)
{
	const struct generated *g = &p->translation.generated;
	lua_State *L = runtime_open(&p->runtime);
	p->runtime.lines = g->lines;
	p->runtime.n_lines = g->n_lines;
	if (L == NULL) {
		snprintf(why, cap, "%s: no memory, or max-memory is too little to begin with",
			 p->file);
		return false;
	}
	lua_pushcfunction(L, program_load);
	lua_pushlightuserdata(L, g->lua.p);
	lua_pushinteger(L, (lua_Integer)g->lua.n);
	if (lua_pcall(L, 2, 1, 0) == LUA_OK)
		return true;
	program_explain(p, why, cap);
	return false;
}

struct program *program_new(const char *file, const char *text, size_t n, tova_mount *mount,
			    const struct program_limits *limits, char *why, size_t why_cap)
{
	struct program *p = calloc(1, sizeof *p);
	if (p == NULL || (p->file = strdup(file)) == NULL) {
		free(p);
		snprintf(why, why_cap, "no memory");
		return NULL;
	}
	p->runtime.mount = mount;
	p->runtime.memory_max = limits->memory;
	p->runtime.instructions_max = limits->instructions;
	p->runtime.cpu_max_ms = limits->cpu_ms;
	if (!translate(text, n, &p->translation)) {
		program_say_faults(file, &p->translation.faults, why, why_cap);
	} else if (program_open(p, why, why_cap)) {
		buffer_free(&p->translation.generated.lua);
		return p;
	}
	program_free(p);
	return NULL;
}

void program_free(struct program *p)
{
	if (p == NULL)
		return;
	runtime_close(&p->runtime);
	translation_free(&p->translation);
	free(p->file);
	free(p);
}

/* --- one event -------------------------------------------------------------------------------- */

/* What it is to be called with, on top of the stack. */
static int program_finish(lua_State *L)
{
	state_keep(L);
	return 0;
}

/* The function and its arguments are on the stack, `arguments` of them, the one in front included.
 * Leaves nothing. */
static bool program_call(struct program *p, int arguments, char *why, size_t cap)
{
	struct runtime *r = &p->runtime;
	lua_State *L = r->L;
	bool ok = runtime_call(L, arguments, 0) == LUA_OK;
	if (ok && r->data != RUNTIME_DATA_UNREAD) {
		lua_pushcfunction(L, program_finish);
		ok = runtime_call(L, 0, 0) == LUA_OK;
	}
	if (ok) {
		runtime_commit(r);
	} else {
		runtime_error_text(r, p->file, why, cap);
		runtime_undo(r);
	}
	r->ws = TOVA_NONE;
	r->request = NULL;
	return ok;
}

/* Begins an event. What builds its arguments may lack memory, so it is done in the protected call:
 * by `build`, with what it needs as a light userdata. It calls the function, too. */
static int program_event(struct program *p, tova_ws ws, lua_CFunction build, void *what)
{
	char why[PROGRAM_WHY_MAX];
	lua_State *L = p->runtime.L;
	runtime_begin(&p->runtime);
	p->runtime.ws = ws;
	lua_pushcfunction(L, build);
	lua_pushlightuserdata(L, what);
	if (program_call(p, 1, why, sizeof why))
		return 0;
	return tova_fail(p->runtime.mount, "%s", why);
}

/* Pushes a handler, and the argument in front. */
static void program_push_handler(lua_State *L, enum checker_handler kind)
{
	lua_rawgeti(L, LUA_REGISTRYINDEX, RUNTIME_HANDLERS);
	lua_rawgeti(L, -1, (lua_Integer)kind + 1);
	lua_pushnil(L);
	value_push_connection(L, runtime_of(L)->ws);
}

static int program_do_open(lua_State *L)
{
	program_push_handler(L, CHECKER_OPEN);
	lua_call(L, 2, 0);
	return 0;
}

int program_on_open(struct program *p, tova_ws ws, const tova_request *request)
{
	if (!p->translation.handlers[CHECKER_OPEN])
		return 0;
	p->runtime.request = request;
	return program_event(p, ws, program_do_open, NULL);
}

static int program_do_message(lua_State *L)
{
	const tova_payload *message = lua_touserdata(L, 1);
	program_push_handler(L, CHECKER_MESSAGE);
	if (message->kind == TOVA_TEXT)
		lua_pushlstring(L, message->data, message->len);
	else
		value_push_bytes(L, message->data, message->len);
	lua_call(L, 3, 0);
	return 0;
}

int program_on_message(struct program *p, tova_ws ws, const tova_payload *message)
{
	return p->translation.handlers[CHECKER_MESSAGE]
		       ? program_event(p, ws, program_do_message, (void *)message)
		       : 0;
}

static int program_do_close(lua_State *L)
{
	const tova_close *why = lua_touserdata(L, 1);
	program_push_handler(L, CHECKER_CLOSE);
	lua_pushnumber(L, why->code);
	lua_pushlstring(L, why->reason, why->reason_len);
	lua_call(L, 4, 0);
	return 0;
}

int program_on_close(struct program *p, tova_ws ws, const tova_close *why)
{
	return p->translation.handlers[CHECKER_CLOSE]
		       ? program_event(p, ws, program_do_close, (void *)why)
		       : 0;
}

/* {"message": ..., "kind": ...}, as errors are that a program catches. */
static int program_do_error(lua_State *L)
{
	static const char *const kinds[] = {"", "handler", "protocol", "transport", "limit"};
	const tova_error *error = lua_touserdata(L, 1);
	program_push_handler(L, CHECKER_ERROR);
	value_push_object(L, 2);
	lua_pushliteral(L, "message");
	lua_pushlstring(L, error->text, error->text_len);
	value_set_member(L, -3);
	lua_pushliteral(L, "kind");
	lua_pushstring(L, error->kind < sizeof kinds / sizeof *kinds ? kinds[error->kind] : "");
	value_set_member(L, -3);
	lua_rawgeti(L, LUA_REGISTRYINDEX, RUNTIME_ERROR);
	lua_setmetatable(L, -2);
	lua_call(L, 3, 0);
	return 0;
}

int program_on_error(struct program *p, tova_ws ws, const tova_error *error)
{
	return p->translation.handlers[CHECKER_ERROR]
		       ? program_event(p, ws, program_do_error, (void *)error)
		       : 0;
}

static int program_do_away(lua_State *L)
{
	const uint16_t *code = lua_touserdata(L, 1);
	program_push_handler(L, CHECKER_AWAY);
	lua_pushnumber(L, *code);
	lua_call(L, 3, 0);
	return 0;
}

int program_on_away(struct program *p, tova_ws ws, uint16_t code)
{
	return p->translation.handlers[CHECKER_AWAY] ? program_event(p, ws, program_do_away, &code)
						     : 0;
}

static int program_do_back(lua_State *L)
{
	program_push_handler(L, CHECKER_BACK);
	lua_call(L, 2, 0);
	return 0;
}

int program_on_back(struct program *p, tova_ws ws, const tova_request *request)
{
	if (!p->translation.handlers[CHECKER_BACK])
		return 0;
	p->runtime.request = request;
	return program_event(p, ws, program_do_back, NULL);
}

static void program_push_number_member(lua_State *L, const char *name, uint64_t value)
{
	bool absent = false;
	lua_pushstring(L, name);
	lua_pushnumber(L, (lua_Number)value);
	value_add_member(L, lua_gettop(L) - 2, &absent);
}

static void program_set_text(lua_State *L, const char *name, const char *text, size_t n)
{
	lua_pushstring(L, name);
	if (n > 0)
		lua_pushlstring(L, text, n);
	else
		lua_pushnil(L);
	value_set_member(L, -3);
}

/* An event of no connection of its own: { room, user, info, users, ws } */
static void program_tell_presence(lua_State *L, enum checker_handler kind,
				  const tova_presence *who)
{
	lua_rawgeti(L, LUA_REGISTRYINDEX, RUNTIME_HANDLERS);
	lua_rawgeti(L, -1, (lua_Integer)kind + 1);
	lua_pushnil(L);
	value_push_object(L, 5);
	program_set_text(L, "room", who->room, who->room_len);
	program_set_text(L, "user", who->user, who->user_len);
	program_set_text(L, "info", who->info, who->info_len);
	program_push_number_member(L, "users", who->users);
	lua_pushliteral(L, "ws");
	value_push_connection(L, who->ws);
	value_set_member(L, -3);
	lua_call(L, 2, 0);
}

static int program_do_join(lua_State *L)
{
	program_tell_presence(L, CHECKER_JOIN, lua_touserdata(L, 1));
	return 0;
}

static int program_do_leave(lua_State *L)
{
	program_tell_presence(L, CHECKER_LEAVE, lua_touserdata(L, 1));
	return 0;
}

int program_on_join(struct program *p, const tova_presence *who)
{
	return p->translation.handlers[CHECKER_JOIN]
		       ? program_event(p, TOVA_NONE, program_do_join, (void *)who)
		       : 0;
}

int program_on_leave(struct program *p, const tova_presence *who)
{
	return p->translation.handlers[CHECKER_LEAVE]
		       ? program_event(p, TOVA_NONE, program_do_leave, (void *)who)
		       : 0;
}

/* --- timers and answers ----------------------------------------------------------------------- */

/* Pushes the function kept under this id; false: there is none, and nothing is pushed. */
static bool program_push_later(lua_State *L, uint64_t id)
{
	lua_rawgeti(L, LUA_REGISTRYINDEX, RUNTIME_LATER);
	bool found = lua_rawgeti(L, -1, (lua_Integer)id) != LUA_TNIL;
	lua_remove(L, -2);
	if (!found)
		lua_pop(L, 1);
	return found;
}

static void program_forget_later(struct program *p, uint64_t id)
{
	lua_State *L = p->runtime.L;
	lua_rawgeti(L, LUA_REGISTRYINDEX, RUNTIME_LATER);
	lua_pushnil(L);
	lua_rawseti(L, -2, (lua_Integer)id);
	lua_pop(L, 1);
}

static int program_do_timer(lua_State *L)
{
	const tova_timer *timer = lua_touserdata(L, 1);
	if (!program_push_later(L, timer->id))
		return 0;
	lua_pushnil(L);
	lua_call(L, 1, 0);
	return 0;
}

/* One of an earlier generation of the program, which this one does not know, ends. */
static bool program_knows(struct program *p, uint64_t id)
{
	bool known = program_push_later(p->runtime.L, id);
	if (known)
		lua_pop(p->runtime.L, 1);
	return known;
}

int program_on_timer(struct program *p, const tova_timer *timer)
{
	tova_mount *m = p->runtime.mount;
	if (timer->id == PROGRAM_STATS_ID)
		return tova_query_ws(m, TOVA_QUERY_STATS, TOVA_NONE, PROGRAM_STATS_ID);
	if (!program_knows(p, timer->id)) {
		tova_log(
			m, TOVA_LOG_NOTICE,
			"a timer of an earlier program, or of another process, is passed over: its function is not here");
		return timer->period_ms > 0 ? tova_cancel_timer(m, TOVA_NONE, timer->name) : 0;
	}
	int result = program_event(p, TOVA_NONE, program_do_timer, (void *)timer);
	if (timer->period_ms == 0)
		program_forget_later(p, timer->id);
	return result;
}

/* { offset, at, data }: data is a text, or bytes. */
static void program_push_remembered(lua_State *L, const tova_remembered *message)
{
	bool absent = false;
	const tova_payload *p = &message->payload;
	value_push_object(L, 3);
	program_push_number_member(L, "offset", message->offset);
	program_push_number_member(L, "at", message->at_ms);
	lua_pushliteral(L, "data");
	if (p->kind == TOVA_BINARY)
		value_push_bytes(L, p->data, p->len);
	else
		lua_pushlstring(L, p->data, p->len);
	value_add_member(L, lua_gettop(L) - 2, &absent);
}

/* { state, version } */
static void program_push_room_state(lua_State *L, const tova_room_state *kept)
{
	value_push_object(L, 2);
	lua_pushliteral(L, "state");
	if (kept->len == 0)
		lua_pushnil(L);
	else
		json_text_read(L, kept->data, kept->len);
	value_set_member(L, -3);
	program_push_number_member(L, "version", kept->version);
}

static int program_do_reply(lua_State *L)
{
	const tova_reply *reply = lua_touserdata(L, 1);
	if (!program_push_later(L, reply->id))
		return 0;
	lua_pushnil(L);
	if (reply->kind == TOVA_QUERY_COUNT) {
		lua_pushnumber(L, (lua_Number)reply->count);
	} else if (reply->kind == TOVA_QUERY_ROOM_STATE) {
		program_push_room_state(L, tova_replied_room_state(reply));
	} else {
		value_push_array(L, (size_t)reply->count);
		for (uint64_t i = 0; i < reply->count; i++) {
			if (reply->kind == TOVA_QUERY_HISTORY)
				program_push_remembered(L, &reply->messages[i]);
			else if (reply->kind == TOVA_QUERY_USERS)
				lua_pushstring(L, tova_users(reply)[i].name);
			else
				value_push_connection(L, reply->connections[i]);
			lua_rawseti(L, -2, (lua_Integer)i + 1);
		}
		value_array_made(L, -1, (size_t)reply->count);
	}
	lua_call(L, 2, 0);
	return 0;
}

int program_on_reply(struct program *p, const tova_reply *reply)
{
	if (reply->kind == TOVA_QUERY_STATS) {
		size_t n = reply->stats->size < sizeof p->runtime.stats ? reply->stats->size
									: sizeof p->runtime.stats;
		memcpy(&p->runtime.stats, reply->stats, n);
		p->runtime.has_stats = true;
		return 0;
	}
	p->runtime.listed = tova_members(reply);
	p->runtime.n_listed = p->runtime.listed != NULL ? (size_t)reply->count : 0;
	p->runtime.found = 0;
	int result = program_event(p, TOVA_NONE, program_do_reply, (void *)reply);
	p->runtime.listed = NULL;
	p->runtime.n_listed = 0;
	program_forget_later(p, reply->id);
	return result;
}

/* --- start and reload ------------------------------------------------------------------------- */

struct program_kept {
	const char *text;
	size_t n;
};

/* Stack: the program's function, what was kept. */
static int program_do_start(lua_State *L)
{
	const struct program_kept *kept = lua_touserdata(L, 2);
	static const enum runtime_slot slots[] = {RUNTIME_LIBRARY, RUNTIME_TOP, RUNTIME_HANDLERS};
	lua_settop(L, 1);
	if (kept->text != NULL) {
		json_text_read(L, kept->text, kept->n);
		lua_rawseti(L, LUA_REGISTRYINDEX, RUNTIME_KEPT);
	}
	for (size_t i = 0; i < sizeof slots / sizeof *slots; i++)
		lua_rawgeti(L, LUA_REGISTRYINDEX, slots[i]);
	lua_pushlightuserdata(L, (void *)&value_order);
	lua_newtable(L);
	lua_rawgeti(L, LUA_REGISTRYINDEX, RUNTIME_HELPERS);
	lua_call(L, 6, 0);
	lua_newtable(L);
	lua_rawseti(L, LUA_REGISTRYINDEX, RUNTIME_KEPT);
	return 0;
}

/* Ids of what the program asks for at its start are the same in each generation, so that a reload
 * leaves its timers as they are; those of later ones never come again. */
static uint64_t program_first_id(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

bool program_start(struct program *p, const char *kept, size_t kept_len, char *why, size_t why_cap)
{
	struct runtime *r = &p->runtime;
	struct program_kept given = {kept, kept_len};
	runtime_begin(r);
	r->next_id = 0;
	lua_pushcfunction(r->L, program_do_start);
	lua_insert(r->L, 1); /* below the program */
	lua_pushlightuserdata(r->L, &given);
	if (!program_call(p, 2, why, why_cap))
		return false;
	r->next_id = program_first_id();
	if (p->translation.stats && r->mount != NULL) {
		tova_query_ws(r->mount, TOVA_QUERY_STATS, TOVA_NONE, PROGRAM_STATS_ID);
		tova_every(r->mount, "tova-stats", PROGRAM_STATS_ID, PROGRAM_STATS_MS,
			   PROGRAM_STATS_MS);
	}
	return true;
}

/* Stack: the program. Leaves the text. */
static int program_do_save(lua_State *L)
{
	const struct program *p = lua_touserdata(L, 1);
	struct buffer *b = &runtime_of(L)->text;
	bool absent = false;
	value_push_object(L, p->translation.n_vars);
	lua_rawgeti(L, LUA_REGISTRYINDEX, RUNTIME_TOP);
	for (size_t i = 0; i < p->translation.n_vars; i++) {
		lua_pushstring(L, p->translation.vars[i]);
		lua_pushvalue(L, -1);
		lua_rawget(L, 3);
		enum value_type type = value_type(L, -1);
		if (type <= VALUE_OBJECT && type != VALUE_FUNCTION)
			value_add_member(L, 2, &absent);
		lua_settop(L, 3);
	}
	buffer_clear(b);
	json_text_write(L, b, 2, 0);
	json_text_push(L, b);
	return 1;
}

char *program_save(struct program *p, size_t *n_r)
{
	lua_State *L = p->runtime.L;
	char *copy = NULL;
	const char *text;
	if (p->translation.n_vars == 0)
		return NULL;
	runtime_begin(&p->runtime);
	lua_pushcfunction(L, program_do_save);
	lua_pushlightuserdata(L, p);
	if (runtime_call(L, 1, 1) == LUA_OK && (text = lua_tolstring(L, -1, n_r)) != NULL &&
	    *n_r <= PROGRAM_SAVED_MAX)
		copy = strndup(text, *n_r);
	lua_pop(L, 1);
	runtime_commit(&p->runtime);
	return copy;
}
