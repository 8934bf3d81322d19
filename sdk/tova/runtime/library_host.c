/* library_host: rooms, connections, time: what the host does for a program. What the host refuses
 * can not be caught, as the event has failed with it. */
#include <string.h>
#include <time.h>

#include "common/rules.h"
#include "tova/runtime/json_text.h"
#include "tova/runtime/library_host.h"
#include "tova/runtime/machine.h"
#include "tova/runtime/state.h"

tova_mount *host_mount(lua_State *L, const char *who)
{
	tova_mount *m = runtime_of(L)->mount;
	if (m == NULL)
		runtime_fault(L, "%s: there is no host here", who);
	return m;
}

int host_done(lua_State *L, int result, const char *who)
{
	static const char *const texts[] = {
		"",
		"a room's name is 1 to 255 bytes long, without NUL",
		"the text is not UTF-8",
		"more than a limit of the host allows",
		"a value is out of range",
		"not on this thread",
		"not allowed here",
		"no memory",
	};
	if (result == TOVA_OK)
		return 0;
	size_t i =
		result < 0 && (size_t)-result < sizeof texts / sizeof *texts ? (size_t)-result : 4;
	return runtime_fatal(L, "%s: %s", who, texts[i]);
}

tova_payload host_payload(lua_State *L, int at, const char *who)
{
	enum value_type type = value_type(L, at);
	tova_payload p = tova_text_n("", 0);
	if (type == VALUE_BYTES) {
		const struct value_bytes *bytes = lua_touserdata(L, at);
		return tova_binary(bytes->p, bytes->n);
	}
	if (type == VALUE_ARRAY || type == VALUE_OBJECT) {
		struct buffer *b = &runtime_of(L)->text;
		buffer_clear(b);
		json_text_write(L, b, at, 0);
		json_text_push(L, b);
		lua_replace(L, at);
	} else if (type != VALUE_STRING) {
		runtime_fault(L, "%s sends a String, a List or an Object, not %s", who,
			      value_type_name(L, at));
	}
	p.data = lua_tolstring(L, at, &p.len);
	return p;
}

int host_close_done(lua_State *L, int result, int64_t code, size_t reason_len, const char *who)
{
	if (result == TOVA_E_ARG && reason_len > RULES_REASON_MAX)
		return runtime_fatal(L, "%s: the reason is at most %d bytes long, not %zu", who,
				     RULES_REASON_MAX, reason_len);
	if (result == TOVA_E_ARG)
		return runtime_fatal(
			L, "%s: the code is 1000, 1001, 1003, 1007 to 1014 or 3000 to 4999, not %d",
			who, (int)code);
	return host_done(L, result, who);
}

/* --- later ------------------------------------------------------------------------------------ */

/* Keeps the function at `at` under a new id, which is returned. */
static uint64_t host_keep(lua_State *L, int at)
{
	struct runtime *r = runtime_of(L);
	uint64_t id = ++r->next_id;
	lua_rawgeti(L, LUA_REGISTRYINDEX, RUNTIME_LATER);
	lua_pushinteger(L, (lua_Integer)id);
	lua_pushvalue(L, at);
	runtime_set(L, lua_gettop(L) - 2);
	lua_pop(L, 1);
	return id;
}

static int host_ask(lua_State *L, uint32_t kind, const char *who)
{
	size_t n;
	const char *room = argument_text(L, 1, &n, who);
	argument_function(L, 2, who);
	if (!rules_name_ok((struct span){room, n}))
		return host_done(L, TOVA_E_ROOM, who);
	tova_mount *m = host_mount(L, who);
	tova_query q = {.size = sizeof q, .kind = kind, .room = room, .room_len = n};
	q.since = TOVA_NEWEST;
	q.id = host_keep(L, 2);
	return host_done(L, m->host->query(m, &q), who);
}

/* (room, function): the function is given the connections in it, as an event of its own. */
static int host_members(lua_State *L)
{
	return host_ask(L, TOVA_QUERY_MEMBERS, "members");
}

/* (room, function): the function is given the names of the users in it, each once. */
static int host_users(lua_State *L)
{
	return host_ask(L, TOVA_QUERY_USERS, "users");
}

/* (room, function): the function is given what is kept with the room, and its version. */
static int host_room_state(lua_State *L)
{
	return host_ask(L, TOVA_QUERY_ROOM_STATE, "room_state");
}

/* (room, value, version): any value that is JSON; nil: nothing any more, or any version. */
static int host_set_room(lua_State *L)
{
	size_t n_room, n = 0;
	const char *room = argument_text(L, 1, &n_room, "set_room"), *state = NULL;
	uint64_t version = TOVA_ANY_VERSION;
	if (!lua_isnil(L, 3))
		version = (uint64_t)argument_whole(L, 3, 0, INT64_MAX / 2, "set_room");
	tova_mount *m = host_mount(L, "set_room");
	if (!lua_isnil(L, 2)) {
		struct buffer *b = &runtime_of(L)->text;
		buffer_clear(b);
		json_text_write(L, b, 2, 0);
		json_text_push(L, b);
		state = lua_tolstring(L, -1, &n);
	}
	return host_done(L, m->host->set_room(m, room, n_room, state, n, version), "set_room");
}

/* (ws, what the others may know of it, and as whom it counts): nil: as it was. */
static int host_info(lua_State *L)
{
	size_t n_info = 0, n_user = 0;
	if (value_type(L, 1) != VALUE_CONNECTION)
		return runtime_fault(L, "info: a connection is expected, not %s",
				     value_type_name(L, 1));
	tova_ws ws = value_connection(L, 1);
	const char *user = lua_isnoneornil(L, 3) ? NULL : argument_text(L, 3, &n_user, "info");
	tova_mount *m = host_mount(L, "info");
	const char *info = NULL;
	if (!lua_isnil(L, 2)) {
		tova_payload p = host_payload(L, 2, "info");
		info = p.data;
		n_info = p.len;
	}
	return host_done(L, m->host->info(m, ws, info, n_info, user, n_user), "info");
}

/* (room, function): the function is given the last messages that the room remembers. */
static int host_history(lua_State *L)
{
	return host_ask(L, TOVA_QUERY_HISTORY, "history");
}

/* (room, function), or (array, function) */
static int host_count(lua_State *L)
{
	return value_type(L, 1) == VALUE_ARRAY ? library_count_array(L)
					       : host_ask(L, TOVA_QUERY_COUNT, "count");
}

static int host_timer(lua_State *L, bool again, const char *who)
{
	double ms = argument_number(L, 1, who);
	char name[40];
	argument_function(L, 2, who);
	if (!(ms >= (again ? 1 : 0) && ms <= (double)RULES_TIMER_MAX_MS))
		return runtime_fault(L, "%s: the milliseconds are %d to %.0f, not %g", who, again,
				     (double)RULES_TIMER_MAX_MS, ms);
	tova_mount *m = host_mount(L, who);
	uint64_t id = host_keep(L, 2), delay = (uint64_t)ms;
	state_timer_name(id, name);
	int result = tova_every(m, name, id, delay, again ? delay : 0);
	if (result != TOVA_OK)
		return host_done(L, result, who);
	lua_pushnumber(L, (lua_Number)id);
	return 1;
}

static int host_every(lua_State *L)
{
	return host_timer(L, true, "every");
}

static int host_after(lua_State *L)
{
	return host_timer(L, false, "after");
}

static int host_cancel(lua_State *L)
{
	char name[40];
	uint64_t id = (uint64_t)argument_whole(L, 1, 0, INT64_MAX / 2, "cancel");
	tova_mount *m = host_mount(L, "cancel");
	lua_rawgeti(L, LUA_REGISTRYINDEX, RUNTIME_LATER);
	lua_pushinteger(L, (lua_Integer)id);
	lua_pushnil(L);
	runtime_set(L, lua_gettop(L) - 2);
	state_timer_name(id, name);
	return host_done(L, tova_cancel_timer(m, TOVA_NONE, name), "cancel");
}

/* --- looking ---------------------------------------------------------------------------------- */

static int host_now(lua_State *L)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	int64_t ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
	lua_pushnumber(L, (lua_Number)ms);
	return 1;
}

static int host_stats(lua_State *L)
{
	const struct runtime *r = runtime_of(L);
	machine_push_stats(L, r->has_stats ? &r->stats : NULL);
	return 1;
}

/* Into the log, with the connection whose event it is. */
static int host_print(lua_State *L)
{
	struct runtime *r = runtime_of(L);
	struct buffer *b = &r->text;
	char ws[TOVA_WS_TEXT];
	int top = lua_gettop(L);
	buffer_clear(b);
	if (r->mount != NULL && !tova_ws_eq(r->ws, TOVA_NONE)) {
		r->mount->host->ws_text(r->ws, ws);
		buffer_addf(b, "[%s] ", ws);
	}
	for (int i = 1; i <= top; i++) {
		if (i > 1)
			buffer_add(b, " ", 1);
		value_write_text(L, b, i);
	}
	json_text_push(L, b);
	size_t n;
	const char *text = lua_tolstring(L, -1, &n);
	state_print(r, text, n);
	return 0;
}

const luaL_Reg library_host_functions[] =
	{{"history", host_history},   {"members", host_members},
	 {"users", host_users},	      {"info", host_info},
	 {"set_room", host_set_room}, {"room_state", host_room_state},
	 {"count", host_count},	      {"every", host_every},
	 {"after", host_after},	      {"cancel", host_cancel},
	 {"now", host_now},	      {"stats", host_stats},
	 {"print", host_print},	      {NULL, NULL}};

/* --- a connection ----------------------------------------------------------------------------- */

static int connection_send(lua_State *L)
{
	tova_ws ws = value_connection(L, 1);
	lua_settop(L, 2);
	tova_payload p = host_payload(L, 2, "ws.send");
	tova_mount *m = host_mount(L, "ws.send");
	return host_done(L, m->host->send(m, ws, &p), "ws.send");
}

static int connection_close(lua_State *L)
{
	size_t n = 0;
	tova_ws ws = value_connection(L, 1);
	int64_t code = lua_isnoneornil(L, 2) ? 1000 : argument_whole(L, 2, -1, 65535, "ws.close");
	const char *reason = lua_isnoneornil(L, 3) ? NULL : argument_text(L, 3, &n, "ws.close");
	tova_mount *m = host_mount(L, "ws.close");
	int result = code < 0 ? TOVA_E_ARG : m->host->close(m, ws, (uint16_t)code, reason, n);
	return host_close_done(L, result, code, n, "ws.close");
}

static const luaL_Reg connection_methods[] = {{"send", connection_send},
					      {"close", connection_close},
					      {"join", room_join},
					      {"leave", room_leave},
					      {"leave_all", room_leave_all},
					      {"prolong", room_prolong},
					      {NULL, NULL}};

/* (ws, name): a method, or a member. Upvalue 1: the methods. */
static int connection_get(lua_State *L)
{
	lua_pushvalue(L, 2);
	if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
		return 1;
	const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
	tova_ws ws = value_connection(L, 1);
	if (strcmp(name, "id") == 0)
		value_push_text(L, 1);
	else if (strcmp(name, "data") == 0)
		state_push_data(L, ws);
	else if (strcmp(name, "request") == 0)
		state_push_request(L, ws);
	else if (!state_push_about(L, ws, name))
		lua_pushnil(L);
	return 1;
}

static int connection_set(lua_State *L)
{
	const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
	tova_ws ws = value_connection(L, 1);
	if (strcmp(name, "data") != 0)
		return runtime_fault(
			L, "ws.%.60s can not be set: what is to be kept is kept in ws.data", name);
	state_set_data(L, ws, 3);
	return 0;
}

static int connection_equal(lua_State *L)
{
	lua_pushboolean(L, value_type(L, 1) == VALUE_CONNECTION &&
				   value_type(L, 2) == VALUE_CONNECTION &&
				   tova_ws_eq(value_connection(L, 1), value_connection(L, 2)));
	return 1;
}

void library_connection_meta(lua_State *L)
{
	lua_newtable(L);
	library_add(L, connection_methods, false);
	lua_pushcclosure(L, connection_get, 1);
	lua_setfield(L, -2, "__index");
	lua_pushcfunction(L, connection_set);
	lua_setfield(L, -2, "__newindex");
	lua_pushcfunction(L, connection_equal);
	lua_setfield(L, -2, "__eq");
}
