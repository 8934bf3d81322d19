#include "tova/runtime/state.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tova/runtime/json_text.h"

/* The host's bytes of this connection, which has to be the event's. */
static char *state_bytes(lua_State *L, tova_ws ws)
{
	struct runtime *r = runtime_of(L);
	char *bytes = r->mount != NULL && tova_ws_eq(ws, r->ws) ? tova_data(r->mount) : NULL;
	if (bytes == NULL)
		runtime_fault(L, "ws.data is that of the connection whose event it is only");
	return bytes;
}

/* RUNTIME_DATA is ws.data from then on. */
static void state_read(lua_State *L, tova_ws ws)
{
	struct runtime *r = runtime_of(L);
	const char *bytes = state_bytes(L, ws);
	if (r->data == RUNTIME_DATA_READ)
		return;
	size_t n = strnlen(bytes, STATE_SIZE);
	if (n > 0)
		json_text_read(L, bytes, n);
	else
		lua_pushnil(L);
	lua_rawseti(L, LUA_REGISTRYINDEX, RUNTIME_DATA);
	r->data = RUNTIME_DATA_READ;
	r->data_at = runtime_place(L);
}

void state_push_data(lua_State *L, tova_ws ws)
{
	state_read(L, ws);
	lua_rawgeti(L, LUA_REGISTRYINDEX, RUNTIME_DATA);
}

void state_set_data(lua_State *L, tova_ws ws, int at)
{
	struct runtime *r = runtime_of(L);
	state_bytes(L, ws);
	lua_pushvalue(L, at);
	lua_rawseti(L, LUA_REGISTRYINDEX, RUNTIME_DATA);
	r->data = RUNTIME_DATA_READ;
	r->data_at = runtime_place(L);
}

/* Programs look at them one after the other. NULL: it is none of those. */
static const tova_member *state_listed(struct runtime *r, tova_ws ws)
{
	for (size_t i = 0; i < r->n_listed; i++) {
		size_t at = (r->found + i) % r->n_listed;
		if (!tova_ws_eq(r->listed[at].ws, ws))
			continue;
		r->found = at;
		return &r->listed[at];
	}
	return NULL;
}

static const struct {
	const char *name;
	uint32_t what; /* enum tova_about */
	bool listed;   /* members tells it, too */
} state_facts[] = {
	{"user", TOVA_USER, true},
	{"info", TOVA_INFO, true},
	{"claims", TOVA_CLAIMS, false},
	{"traceparent", TOVA_TRACEPARENT, false},
	{"tracestate", TOVA_TRACESTATE, false},
};
#define STATE_FACTS (sizeof state_facts / sizeof *state_facts)

bool state_push_about(lua_State *L, tova_ws ws, const char *name)
{
	struct runtime *r = runtime_of(L);
	size_t i = 0;
	while (i < STATE_FACTS && strcmp(name, state_facts[i].name) != 0)
		i++;
	if (i == STATE_FACTS)
		return false;
	uint32_t what = state_facts[i].what;
	bool own = r->mount != NULL && !tova_ws_eq(ws, TOVA_NONE) && tova_ws_eq(ws, r->ws);
	const tova_member *listed = !own && state_facts[i].listed ? state_listed(r, ws) : NULL;
	if (!own && listed == NULL)
		runtime_fault(L, "ws.%s is that of the connection whose event it is only%s", name,
			      state_facts[i].listed ? ", or of one that members lists" : "");
	const char *text = own		       ? r->mount->host->about(r->mount, what)
			   : what == TOVA_USER ? listed->user
					       : listed->info;
	if (text != NULL && what == TOVA_CLAIMS)
		json_text_read(L, text, strlen(text));
	else
		lua_pushstring(L, text); /* nil for NULL */
	return true;
}

void state_keep(lua_State *L)
{
	struct runtime *r = runtime_of(L);
	struct buffer *b = &r->text;
	if (r->data != RUNTIME_DATA_READ)
		return;
	buffer_clear(b);
	if (lua_rawgeti(L, LUA_REGISTRYINDEX, RUNTIME_DATA) != LUA_TNIL)
		json_text_write(L, b, -1, 0);
	if (b->failed || b->n >= STATE_SIZE)
		runtime_fault_at(L, r->data_at, "ws.data is at most %d bytes of JSON, not %zu",
				 STATE_SIZE - 1, b->n);
	char *bytes = tova_data(r->mount);
	if (strnlen(bytes, STATE_SIZE) != b->n || (b->n > 0 && memcmp(bytes, b->p, b->n) != 0)) {
		memset(bytes, 0, STATE_SIZE);
		if (b->n > 0)
			memcpy(bytes, b->p, b->n);
	}
	lua_pop(L, 1);
}

/* --- the request ------------------------------------------------------------------------------ */

/* Of the object on top. */
static void state_member(lua_State *L, const char *name, const char *value)
{
	lua_pushstring(L, name);
	if (value != NULL)
		lua_pushstring(L, value);
	else
		lua_pushnil(L);
	value_set_member(L, -3);
}

/* Names in small letters; of several lines of one name the first. */
static void state_pairs(lua_State *L, const char *name, const tova_pair *pairs, size_t n,
			bool lower)
{
	char small[256];
	lua_pushstring(L, name);
	value_push_object(L, n);
	int object = lua_gettop(L);
	for (size_t i = 0; i < n; i++) {
		snprintf(small, sizeof small, "%s", pairs[i].name);
		for (char *p = small; lower && *p != '\0'; p++)
			*p = tova_lower_(*p);
		lua_pushstring(L, small);
		bool first = !value_has_member(L, object, -1);
		lua_settop(L, object);
		if (first)
			state_member(L, small, pairs[i].value);
	}
	value_set_member(L, -3);
}

void state_push_request(lua_State *L, tova_ws ws)
{
	const struct runtime *r = runtime_of(L);
	const tova_request *q = r->request;
	if (q == NULL || !tova_ws_eq(ws, r->ws))
		runtime_fault(
			L,
			"ws.request is known in on_open and on_back only: keep what is needed in ws.data");
	value_push_object(L, 12);
	state_member(L, "method", q->method);
	state_member(L, "mount", q->mount);
	state_member(L, "path", q->path);
	state_member(L, "query", q->query);
	state_member(L, "host", q->host);
	state_member(L, "remote_addr", q->remote_addr);
	lua_pushliteral(L, "remote_port");
	lua_pushnumber(L, q->remote_port);
	value_set_member(L, -3);
	lua_pushliteral(L, "secure");
	lua_pushboolean(L, tova_is_secure(q));
	value_set_member(L, -3);
	state_member(L, "tls_subject", q->tls_subject);
	lua_pushliteral(L, "claims");
	if (tova_claims(q) != NULL)
		json_text_read(L, tova_claims(q), strlen(tova_claims(q)));
	else
		lua_pushnil(L);
	value_set_member(L, -3);
	state_pairs(L, "headers", q->headers, q->n_headers, true);
	state_pairs(L, "cookies", q->cookies, q->n_cookies, false);
}

/* --- others ----------------------------------------------------------------------------------- */

void state_timer_name(uint64_t id, char name_r[STATE_TIMER_NAME_MAX])
{
	snprintf(name_r, STATE_TIMER_NAME_MAX, "tova-%" PRIu64, id);
}

void state_print(struct runtime *r, const char *text, size_t n)
{
	if (r->mount != NULL)
		r->mount->host->log(r->mount, TOVA_LOG_INFO, text, n);
	else
		printf("%.*s\n", (int)n, text);
}
