/* library_room: who is in a room, and what is said there. What the host refuses can not be caught,
 * as the event has failed with it. */
#include <math.h>
#include <string.h>

#include "common/nearest.h"
#include "common/rules.h"
#include "tova/runtime/library_host.h"

/* --- options ---------------------------------------------------------------------------------- */

/* The object at `at` has no other members than these, which end with NULL. */
static void room_options(lua_State *L, int at, const char *const *known, const char *who)
{
	char what[40];
	snprintf(what, sizeof what, "%s's options", who);
	argument_object(L, at, what);
	size_t n_known = 0, n = value_push_keys(L, at);
	while (known[n_known] != NULL)
		n_known++;
	for (size_t i = 0; i < n; i++) {
		lua_rawgeti(L, -1, (lua_Integer)i + 1);
		const char *key = lua_tostring(L, -1);
		size_t k = 0;
		while (k < n_known && (key == NULL || strcmp(key, known[k]) != 0))
			k++;
		if (k == n_known) {
			const char *near = key != NULL ? nearest_name(key, known, n_known) : NULL;
			runtime_fault(L, "%s has no option \"%.60s\"%s%s", who,
				      key != NULL ? key : "?",
				      near != NULL ? "; did you mean " : "",
				      near != NULL ? near : "");
		}
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

/* Leaves the member on the stack. False: there is none, and nothing is left. */
static bool room_option(lua_State *L, int at, const char *name)
{
	lua_getfield(L, at, name);
	if (!lua_isnil(L, -1))
		return true;
	lua_pop(L, 1);
	return false;
}

/* A whole number from least to most; `absent` if there is none. */
static uint64_t room_number(lua_State *L, int at, const char *name, uint64_t least, uint64_t most,
			    uint64_t absent, const char *who)
{
	if (!room_option(L, at, name))
		return absent;
	double n = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : -1;
	if (n != floor(n) || n < (double)least || n > (double)most) {
		value_push_text(L, -1);
		runtime_fault(L, "%s: %s is a whole number from %llu to %llu, not %.60s", who, name,
			      (unsigned long long)least, (unsigned long long)most,
			      lua_tostring(L, -1));
	}
	lua_pop(L, 1);
	return (uint64_t)n;
}

static bool room_truth(lua_State *L, int at, const char *name, bool absent, const char *who)
{
	if (!room_option(L, at, name))
		return absent;
	if (lua_type(L, -1) != LUA_TBOOLEAN)
		runtime_fault(L, "%s: %s is true or false, not %s", who, name,
			      value_type_name(L, -1));
	bool value = lua_toboolean(L, -1);
	lua_pop(L, 1);
	return value;
}

/* --- in and out ------------------------------------------------------------------------------- */

/* { last: 50 }, or { since: offset, epoch: epoch, else: "fail" }. False: nothing of it. */
static bool room_history(lua_State *L, int at, tova_history *want)
{
	*want = (tova_history){.size = sizeof *want, .how = TOVA_HISTORY_LAST};
	want->last = (uint32_t)room_number(L, at, "last", 0, UINT32_MAX, UINT32_MAX, "join");
	want->since = room_number(L, at, "since", 0, (uint64_t)1 << 53, UINT64_MAX, "join");
	want->epoch = room_number(L, at, "epoch", 0, (uint64_t)1 << 53, 0, "join");
	bool last = want->last != UINT32_MAX, since = want->since != UINT64_MAX, fails = false;
	if (room_option(L, at, "else")) {
		const char *word = lua_tostring(L, -1);
		fails = word != NULL && strcmp(word, "fail") == 0;
		if (word == NULL || (!fails && strcmp(word, "last") != 0))
			runtime_fault(L, "join: else is \"last\" or \"fail\"");
		if (!since)
			runtime_fault(L, "join: else goes with since, an offset");
		lua_pop(L, 1);
	}
	if (!last)
		want->last = 0;
	if (since)
		want->how = fails ? TOVA_HISTORY_SINCE_OR_FAIL : TOVA_HISTORY_SINCE_OR_LAST;
	else
		want->since = 0;
	return last || since;
}

/* { max: 100 }, { users_max: 2 }, { first: true }, { replace: true }. False: nothing of it. */
static bool room_conditions(lua_State *L, int at, tova_conditions *want)
{
	*want = (tova_conditions){.size = sizeof *want};
	want->max = (uint32_t)room_number(L, at, "max", 1, UINT32_MAX, 0, "join");
	want->users_max = (uint32_t)room_number(L, at, "users_max", 1, UINT32_MAX, 0, "join");
	want->first = room_truth(L, at, "first", false, "join");
	want->replace = room_truth(L, at, "replace", false, "join");
	return want->max != 0 || want->users_max != 0 || want->first != 0 || want->replace != 0;
}

/* (ws, room) or (ws, room, options); an array is joined to a text. */
int room_join(lua_State *L)
{
	static const char *const known[] = {"last",	 "since", "epoch",   "else", "max",
					    "users_max", "first", "replace", NULL};
	size_t n;
	if (value_type(L, 1) == VALUE_ARRAY)
		return library_join_array(L);
	lua_settop(L, 3);
	tova_ws ws = value_connection(L, 1);
	const char *room = argument_text(L, 2, &n, "join's room");
	tova_mount *m = host_mount(L, "join");
	tova_history history;
	tova_conditions conditions;
	if (lua_isnil(L, 3))
		return host_done(L, m->host->join(m, ws, room, n), "join");
	room_options(L, 3, known, "join");
	bool conditional = room_conditions(L, 3, &conditions), past = room_history(L, 3, &history);
	if (conditional)
		host_done(L, m->host->join_if(m, ws, room, n, &conditions), "join");
	else if (!past)
		host_done(L, m->host->join(m, ws, room, n), "join");
	return past ? host_done(L, m->host->join_history(m, ws, room, n, &history), "join") : 0;
}

int room_leave(lua_State *L)
{
	size_t n;
	tova_ws ws = value_connection(L, 1);
	const char *room = argument_text(L, 2, &n, "leave's room");
	tova_mount *m = host_mount(L, "leave");
	return host_done(L, m->host->leave(m, ws, room, n), "leave");
}

int room_leave_all(lua_State *L)
{
	tova_ws ws = value_connection(L, 1);
	tova_mount *m = host_mount(L, "leave_all");
	return host_done(L, m->host->leave_all(m, ws), "leave_all");
}

int room_prolong(lua_State *L)
{
	size_t n;
	tova_ws ws = value_connection(L, 1);
	const char *token = argument_text(L, 2, &n, "prolong");
	tova_mount *m = host_mount(L, "prolong");
	return host_done(L, m->host->prolong(m, ws, token, n), "prolong");
}

/* --- whom something is for -------------------------------------------------------------------- */

struct room_among {
	tova_among among;
	const char *rooms[RULES_LIST_MAX], *exclude_users[RULES_LIST_MAX],
		*exclude_rooms[RULES_LIST_MAX];
	tova_ws exclude[RULES_LIST_MAX];
};

/* How many there are in the array at `at`; 1: it is none. */
static size_t room_list(lua_State *L, int at, const char *what)
{
	size_t n = value_type(L, at) == VALUE_ARRAY ? value_array_length(L, at) : 1;
	if (n > RULES_LIST_MAX)
		runtime_fault(L, "%s: at most %d at once, not %zu", what, RULES_LIST_MAX, n);
	runtime_charge(L, n);
	return n;
}

/* Pushes the i-th, which stays alive as a part of the array. */
static void room_listed(lua_State *L, int at, size_t i)
{
	if (value_type(L, at) == VALUE_ARRAY)
		lua_rawgeti(L, at, (lua_Integer)i + 1);
	else
		lua_pushvalue(L, at);
}

/* A text, or an array of such; what: as a fault calls one. */
static size_t room_names(lua_State *L, int at, const char **names, const char *what)
{
	size_t n = room_list(L, at, what), length;
	for (size_t i = 0; i < n; i++) {
		room_listed(L, at, i);
		names[i] = argument_text(L, -1, &length, what);
		if (strlen(names[i]) != length)
			runtime_fatal(L, "%s has a NUL in it", what);
		lua_pop(L, 1);
	}
	return n;
}

/* nil, a connection or an array of such. */
static size_t room_connections(lua_State *L, int at, tova_ws *list)
{
	size_t n = lua_isnoneornil(L, at) ? 0 : room_list(L, at, "exclude");
	for (size_t i = 0; i < n; i++) {
		room_listed(L, at, i);
		list[i] = value_connection(L, -1);
		lua_pop(L, 1);
	}
	return n;
}

static void room_among(lua_State *L, int rooms, int exclude, int options, const char *who,
		       struct room_among *a)
{
	char what[60];
	a->among = (tova_among){.size = sizeof a->among,
				.rooms = a->rooms,
				.exclude = a->exclude,
				.exclude_users = a->exclude_users,
				.exclude_rooms = a->exclude_rooms};
	snprintf(what, sizeof what, "%s's room", who);
	if (rooms != 0)
		a->among.n_rooms = room_names(L, rooms, a->rooms, what);
	a->among.n_exclude = room_connections(L, exclude, a->exclude);
	if (options == 0 || lua_isnil(L, options))
		return;
	if (room_option(L, options, "exclude_users")) {
		a->among.n_exclude_users =
			room_names(L, lua_gettop(L), a->exclude_users, "exclude_users");
		lua_pop(L, 1);
	}
	if (room_option(L, options, "exclude_rooms")) {
		a->among.n_exclude_rooms =
			room_names(L, lua_gettop(L), a->exclude_rooms, "exclude_rooms");
		lua_pop(L, 1);
	}
}

/* --- said and ended --------------------------------------------------------------------------- */

static bool room_is_one(lua_State *L, int exclude)
{
	return lua_isnoneornil(L, exclude) || value_type(L, exclude) == VALUE_CONNECTION;
}

static tova_ws room_exclude(lua_State *L, int at)
{
	return lua_isnoneornil(L, at) ? TOVA_NONE : value_connection(L, at);
}

/* (data, exclude) */
static int room_broadcast(lua_State *L)
{
	struct room_among a;
	lua_settop(L, 2);
	tova_payload p = host_payload(L, 1, "broadcast");
	tova_mount *m = host_mount(L, "broadcast");
	if (room_is_one(L, 2))
		return host_done(L, m->host->broadcast(m, &p, room_exclude(L, 2)), "broadcast");
	room_among(L, 0, 2, 0, "broadcast", &a);
	return host_done(L, m->host->broadcast_among(m, &a.among, &p), "broadcast");
}

static const char *const room_broadcast_options[] = {"keep", "exclude_users", "exclude_rooms",
						     NULL};

/* (room or rooms, data, exclude, options) */
static int room_broadcast_to(lua_State *L)
{
	struct room_among a;
	size_t n;
	lua_settop(L, 4);
	tova_payload p = host_payload(L, 2, "broadcast_to");
	tova_mount *m = host_mount(L, "broadcast_to");
	if (!lua_isnil(L, 4)) {
		room_options(L, 4, room_broadcast_options, "broadcast_to");
		if (!room_truth(L, 4, "keep", true, "broadcast_to"))
			p = tova_unkept(p);
	}
	room_among(L, 1, 3, 4, "broadcast_to", &a);
	if (a.among.n_rooms == 0) /* of the mount's connections that would mean all */
		return 0;
	if (a.among.n_rooms > 1 || a.among.n_exclude > 1 || a.among.n_exclude_users > 0 ||
	    a.among.n_exclude_rooms > 0)
		return host_done(L, m->host->broadcast_among(m, &a.among, &p), "broadcast_to");
	n = strlen(a.rooms[0]);
	return host_done(L,
			 m->host->broadcast_to(m, a.rooms[0], n, &p,
					       a.among.n_exclude > 0 ? a.exclude[0] : TOVA_NONE),
			 "broadcast_to");
}

/* (room or rooms, code, reason, exclude) */
static int room_close(lua_State *L)
{
	struct room_among a;
	size_t n = 0;
	lua_settop(L, 4);
	int64_t code = lua_isnil(L, 2) ? 1000 : argument_whole(L, 2, -1, 65535, "close_room");
	const char *reason = lua_isnil(L, 3) ? NULL : argument_text(L, 3, &n, "close_room");
	tova_mount *m = host_mount(L, "close_room");
	room_among(L, 1, 4, 0, "close_room", &a);
	if (a.among.n_rooms == 0)
		return 0;
	int result =
		code < 0 ? TOVA_E_ARG : m->host->close_room(m, &a.among, (uint16_t)code, reason, n);
	return host_close_done(L, result, code, n, "close_room");
}

/* (room, {grace}) */
static int room_watch(lua_State *L)
{
	static const char *const known[] = {"grace", NULL};
	size_t n;
	uint32_t grace = TOVA_GRACE;
	lua_settop(L, 2);
	const char *room = argument_text(L, 1, &n, "watch's room");
	if (!lua_isnil(L, 2)) {
		room_options(L, 2, known, "watch");
		grace = (uint32_t)room_number(L, 2, "grace", 0, RULES_GRACE_MAX_MS, TOVA_GRACE,
					      "watch");
	}
	tova_mount *m = host_mount(L, "watch");
	return host_done(L, m->host->watch(m, room, n, grace), "watch");
}

/* (room, {if_empty}) */
static int room_unwatch(lua_State *L)
{
	static const char *const known[] = {"if_empty", NULL};
	size_t n;
	lua_settop(L, 2);
	const char *room = argument_text(L, 1, &n, "unwatch's room");
	bool if_empty = false;
	if (!lua_isnil(L, 2)) {
		room_options(L, 2, known, "unwatch");
		if_empty = room_truth(L, 2, "if_empty", false, "unwatch");
	}
	tova_mount *m = host_mount(L, "unwatch");
	return host_done(L, m->host->unwatch(m, room, n, if_empty), "unwatch");
}

const luaL_Reg library_room_functions[] =
	{{"join", room_join},		{"leave", room_leave},
	 {"leave_all", room_leave_all}, {"prolong", room_prolong},
	 {"broadcast", room_broadcast}, {"broadcast_to", room_broadcast_to},
	 {"close_room", room_close},	{"watch", room_watch},
	 {"unwatch", room_unwatch},	{NULL, NULL}};
