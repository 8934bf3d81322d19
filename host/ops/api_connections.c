#include "ops/api_connections.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "common/utf8.h"
#include "hub/access.h"
#include "hub/access.h"
#include "hub/slow_consumer.h"
#include "ops/api_list.h"
#include "ops/api_params.h"
#include "ops/connection.h"
#include "ops/named_mount.h"

#define API_CONNECTIONS_USER_MAX 256
#define API_CONNECTIONS_CLOSE 1000 /* as of the command */

/* --- lists ------------------------------------------------------------------------------------ */

/* What a list of them looks for. Mounts stay while the host runs. */
struct api_connections {
	uint16_t magic; /* CHECK_API_CONNECTIONS */
	const struct api *api;
	struct api_grant grant;
	const struct mount *mount; /* NULL: every one that the token may read */
	uint32_t cursor;	   /* into the hub's sessions */
	uint32_t next;		   /* where the next page begins, once this one is full */
	uint64_t left;
	bool full, members, by_room, by_user, by_address, slow;
	struct address_network network;
	size_t room_len, user_len;
	char room[RULES_NAME_MAX], user[API_CONNECTIONS_USER_MAX];
};

static struct address api_connections_remote(const struct session *s)
{
	return s->conn != NULL ? conn_remote(s->conn) : s->more->resume->remote;
}

static struct span api_connections_user(const struct session *s)
{
	return span_of(identity_user(s));
}

static bool api_connections_wanted(const struct api_connections *l, const struct session *s)
{
	const struct mount *m = s->mount;
	if (s->ended || !s->settled || (l->mount != NULL && m != l->mount))
		return false;
	if (!api_token_may(&l->api->tokens, &l->grant, API_SCOPE_READ, m->path))
		return false;
	if (l->by_room && !room_has(&m->rooms, (struct span){l->room, l->room_len}, s))
		return false;
	if (l->by_user && !span_eq(api_connections_user(s), (struct span){l->user, l->user_len}))
		return false;
	if (l->slow && !connection_is_slow(s))
		return false;
	struct address remote = l->by_address ? api_connections_remote(s) : (struct address){0};
	return !l->by_address || address_network_has(&l->network, &remote);
}

static void api_connections_member(struct session *s, struct codec_out *o)
{
	char id[SESSION_ID_TEXT];
	codec_raw(o, "{\"conn\":", 8);
	codec_string(o, span_of(hub_session_text(s, id)));
	if (api_connections_user(s).p != NULL)
		codec_member_text(o, "user", api_connections_user(s));
	else
		codec_member_raw(o, "user", "null");
	if (identity_info(s).n > 0)
		codec_member_text(o, "info", identity_info(s));
	codec_raw(o, "}", 1);
}

static enum api_list_found api_connections_next(void *ctx, struct codec_out *o)
{
	struct api_connections *l = ctx;
	CHECK_IS(l, CHECK_API_CONNECTIONS);
	uint32_t before = l->cursor;
	struct session *s = slotmap_next(&l->api->hub->sessions, &l->cursor);
	if (s == NULL)
		return API_LIST_END;
	if (!api_connections_wanted(l, s))
		return API_LIST_NOTHING;
	if (l->left == 0) { /* so there is another page */
		l->full = true;
		l->next = before;
		return API_LIST_END;
	}
	l->left--;
	if (l->members)
		api_connections_member(s, o);
	else
		connection_describe(s, o);
	return API_LIST_ITEM;
}

static void api_connections_end(void *ctx, struct codec_out *o)
{
	const struct api_connections *l = ctx;
	CHECK_IS(l, CHECK_API_CONNECTIONS);
	char text[16];
	int n = snprintf(text, sizeof text, "%u", l->next);
	if (l->full)
		codec_member_text(o, "next", (struct span){text, (size_t)n});
}

static bool api_connections_filter_room(struct api_call *call, struct api_connections *l,
					struct span room)
{
	l->by_room = room.p != NULL;
	if (l->by_room && !rules_name_ok(room)) {
		api_call_refuse(call, 400, "room: %s", RULES_E_ROOM);
		return false;
	}
	if (l->by_room)
		memcpy(l->room, room.p, l->room_len = room.n);
	return true;
}

static bool api_connections_filter_user(struct api_call *call, struct api_connections *l,
					struct span user)
{
	l->by_user = user.p != NULL;
	if (user.n > sizeof l->user) {
		api_call_refuse(call, 400, "user has more than %d bytes", API_CONNECTIONS_USER_MAX);
		return false;
	}
	if (user.n > 0)
		memcpy(l->user, user.p, l->user_len = user.n);
	return true;
}

static bool api_connections_filter_address(struct api_call *call, struct api_connections *l,
					   struct span address)
{
	const char *why = address.p != NULL ? address_network_parse(&l->network, address) : NULL;
	l->by_address = address.p != NULL;
	if (why != NULL)
		api_call_refuse(call, 400, "address is \"%.*s\": %s",
				address.n < 64 ? (int)address.n : 64, address.p, why);
	return why == NULL;
}

static bool api_connections_filter_slow(struct api_call *call, struct api_connections *l,
					struct span slow)
{
	bool ok = slow.p == NULL || span_eq(slow, SPAN("true")) || span_eq(slow, SPAN("false"));
	l->slow = span_eq(slow, SPAN("true"));
	if (!ok)
		api_call_refuse(call, 400, "slow is \"%.*s\"; expected true or false",
				slow.n < 64 ? (int)slow.n : 64, slow.p);
	return ok;
}

/* False: it was answered. */
static bool api_connections_read(struct api_call *call, struct api_connections *l, bool members)
{
	struct api_params p;
	struct mount *m;
	uint64_t cursor;
	*l = (struct api_connections){.magic = CHECK_API_CONNECTIONS,
				      .api = call->api,
				      .grant = call->grant,
				      .members = members};
	bool ok = api_params_read(call, &p) && api_params_mount(call, p.values[0], &m) &&
		  api_connections_filter_room(call, l, p.values[1]) &&
		  api_params_number(call, "limit", p.values[2], API_PAGE, API_PAGE_MAX, &l->left) &&
		  api_params_number(call, "cursor", p.values[3], 0, UINT32_MAX, &cursor) &&
		  (members || (api_connections_filter_user(call, l, p.values[4]) &&
			       api_connections_filter_address(call, l, p.values[5]) &&
			       api_connections_filter_slow(call, l, p.values[6])));
	if (!ok)
		return false;
	l->mount = m;
	l->cursor = (uint32_t)cursor;
	return true;
}

static void api_connections_answer(struct api_call *call, const char *name,
				   struct api_connections *l)
{
	const struct api_list list = {.next = api_connections_next,
				      .end = api_connections_end,
				      .free = free,
				      .ctx = l};
	api_list_answer(call, name, &list);
}

static void api_connections_begin(struct api_call *call, const char *name, bool members)
{
	struct api_connections *l = malloc(sizeof *l);
	if (l == NULL) {
		api_call_refuse(call, 503, "no memory for a list");
		return;
	}
	bool read = api_connections_read(call, l, members);
	/* rooms of the same name are others at each mount */
	if (read && members && l->mount == NULL)
		l->mount = api_call_mount(call, (struct span){NULL, 0});
	if (!read || (members && l->mount == NULL)) {
		free(l);
	} else if (members && !l->by_room) {
		free(l);
		api_call_refuse(call, 400, "room is missing: members of which?");
	} else {
		api_connections_answer(call, name, l);
	}
}

void api_connections_list(struct api_call *call)
{
	api_connections_begin(call, "connections", false);
}

void api_connections_members(struct api_call *call)
{
	api_connections_begin(call, "members", true);
}

/* --- one -------------------------------------------------------------------------------------- */

/* NULL: it was answered. Who may not know of it learns no more than that there is no such one. */
static struct session *api_connections_find(struct api_call *call, enum api_scope scope)
{
	struct hub *hub = call->api->hub;
	struct session_id id;
	struct session *s = NULL;
	if (!session_id_parse(call->args[0], &id)) {
		api_call_refuse(call, 400, "\"%.*s\" is no id of a connection",
				call->args[0].n < 64 ? (int)call->args[0].n : 64, call->args[0].p);
		return NULL;
	}
	if (id.host == hub->host_id)
		s = slotmap_get(&hub->sessions, id.local);
	if (s == NULL || s->ended || !s->settled ||
	    (!api_token_may(&call->api->tokens, &call->grant, API_SCOPE_READ, s->mount->path) &&
	     !api_token_may(&call->api->tokens, &call->grant, scope, s->mount->path))) {
		api_call_refuse(call, 404, "there is no such connection, or it has ended");
		return NULL;
	}
	return api_call_may(call, scope, s->mount) ? s : NULL;
}

static void api_connections_rooms(const struct session *s, struct codec_out *o)
{
	codec_member_raw(o, "room_names", "[");
	for (uint32_t i = 0; i < room_count(&s->rooms); i++) {
		codec_raw(o, ",", i > 0);
		codec_string(o, span_of(room_name(&s->rooms, i)));
	}
	codec_raw(o, "]", 1);
}

/* What the client has not read, and what that has come to. */
static void api_connections_queue(struct session *s, struct codec_out *o)
{
	struct conn_load load = session_load(s);
	codec_member_raw(o, "queue", "{");
	codec_raw(o, "\"stalled\":", 10);
	codec_raw(o, load.stalled ? "true" : "false", load.stalled ? 4 : 5);
	codec_member_uint(o, "waiting", load.waiting);
	codec_member_uint(o, "unread", load.unread);
	codec_member_uint(o, "held", load.held);
	codec_member_uint(o, "dropped", slow_consumer_dropped(s));
	codec_raw(o, "}", 1);
}

/* What its handler has not handled. */
static void api_connections_lane(const struct session *s, struct codec_out *o)
{
	codec_member_raw(o, "lane", "{");
	codec_raw(o, "\"with_handler\":", 15);
	codec_raw(o, s->lane.current != NULL ? "true" : "false", s->lane.current != NULL ? 4 : 5);
	codec_member_uint(o, "sequence", s->lane.sequence);
	codec_member_uint(o, "waiting", s->lane.waiting);
	codec_member_uint(o, "blame", s->lane.blame);
	codec_member_raw(o, "paused", s->paused ? "true" : "false");
	codec_raw(o, "}", 1);
}

static void api_connections_tls(const struct session *s, struct codec_out *o)
{
	struct tls_facts facts;
	if (s->conn == NULL || !conn_tls_facts(s->conn, &facts)) {
		codec_member_raw(o, "tls", "null");
		return;
	}
	codec_member_raw(o, "tls", "{");
	codec_raw(o, "\"version\":", 10);
	codec_string(o, span_of(facts.version));
	codec_member_text(o, "cipher", span_of(facts.cipher));
	codec_raw(o, "}", 1);
}

/* A client may have sent bytes that are no text. */
static void api_connections_said(struct codec_out *o, const char *name, const char *text)
{
	if (text != NULL && utf8_valid(text, strlen(text)))
		codec_member_text(o, name, span_of(text));
	else
		codec_member_raw(o, name, "null");
}

static void api_connections_request(struct codec_out *o, const struct access_seen *seen)
{
	codec_member_raw(o, "request", "{\"opened\":");
	codec_string(o, span_of(seen->opened));
	api_connections_said(o, "origin", seen->origin);
	api_connections_said(o, "user_agent", seen->agent);
	api_connections_said(o, "subprotocol", seen->subprotocol);
	api_connections_said(o, "tls", seen->tls);
	codec_raw(o, "}", 1);
}

static void api_connections_rate(struct codec_out *o, const char *name, uint64_t n, uint64_t ms)
{
	char text[32];
	snprintf(text, sizeof text, "%.3f", ms > 0 ? (double)n * 1000 / (double)ms : 0.0);
	codec_member_raw(o, name, text);
}

/* Since somebody has looked first, or since its beginning where there is an access log. */
static void api_connections_traffic(struct codec_out *o, const struct access_seen *seen)
{
	const struct traffic *t = seen->traffic;
	uint64_t in = traffic_read(&t->in_messages), out = traffic_read(&t->out_messages),
		 bytes_in = traffic_read(&t->in_bytes), bytes_out = traffic_read(&t->out_bytes);
	codec_member_raw(o, "traffic", "{\"counted_ms\":");
	char text[32];
	int n = snprintf(text, sizeof text, "%llu", (unsigned long long)seen->counted_ms);
	codec_raw(o, text, (size_t)n);
	codec_member_uint(o, "messages_in", in);
	codec_member_uint(o, "bytes_in", bytes_in);
	codec_member_uint(o, "messages_out", out);
	codec_member_uint(o, "bytes_out", bytes_out);
	codec_member_uint(o, "queue_max", traffic_read(&t->queue_max));
	codec_raw(o, "}", 1);
	codec_member_raw(o, "per_second", "{\"counted_s\":");
	n = snprintf(text, sizeof text, "%.3f", (double)seen->counted_ms / 1000);
	codec_raw(o, text, (size_t)n);
	api_connections_rate(o, "messages_in", in, seen->counted_ms);
	api_connections_rate(o, "bytes_in", bytes_in, seen->counted_ms);
	api_connections_rate(o, "messages_out", out, seen->counted_ms);
	api_connections_rate(o, "bytes_out", bytes_out, seen->counted_ms);
	codec_raw(o, "}", 1);
}

static void api_connections_events(struct codec_out *o, const struct access_seen *seen,
				   uint64_t now)
{
	codec_member_raw(o, "last_events", "[");
	for (unsigned i = 0; i < seen->n_events; i++) {
		const struct access_event *e = &seen->events[i];
		codec_raw(o, ",", i > 0);
		codec_raw(o, "{\"event\":", 9);
		codec_string(o, span_of(event_name((enum event_kind)e->kind)));
		codec_member_uint(o, "ago_ms", now - e->at_ms);
		codec_member_uint(o, "bytes", e->size);
		codec_member_raw(o, "ok", e->ok ? "true" : "false");
		codec_raw(o, "}", 1);
	}
	codec_raw(o, "]", 1);
}

/* Where it is kept: with --admin or --access-log. The first look makes that its traffic is counted
 * and its events are noted. */
static void api_connections_seen(const struct api_call *call, struct session *s,
				 struct codec_out *o)
{
	struct access_seen seen;
	bool watched = access_watch(s);
	if (!access_look(s, &seen))
		return;
	api_connections_request(o, &seen);
	if (!watched || seen.traffic == NULL)
		return;
	api_connections_traffic(o, &seen);
	api_connections_events(o, &seen, loop_now(call->api->hub->loop));
}

void api_connections_one(struct api_call *call)
{
	struct session *s = api_connections_find(call, API_SCOPE_READ);
	if (s == NULL)
		return;
	struct codec_out *o = api_call_out(call);
	connection_describe(s, o);
	if (!codec_failed(o))
		o->text.n--; /* it goes on */
	codec_member_raw(o, "away", s->conn == NULL ? "true" : "false");
	codec_member_raw(o, "resumable", session_resume(s) != NULL ? "true" : "false");
	codec_member_uint(o, "loop", s->conn != NULL ? conn_loop(s->conn) : 0);
	api_connections_tls(s, o);
	api_connections_rooms(s, o);
	api_connections_queue(s, o);
	api_connections_lane(s, o);
	api_connections_seen(call, s, o);
	codec_raw(o, "}", 1);
	api_call_answer(call, 200, (struct span){NULL, 0});
}

void api_connections_delete(struct api_call *call)
{
	struct api_params p;
	uint64_t code;
	struct session *s = api_connections_find(call, API_SCOPE_ADMIN);
	if (s == NULL || !api_params_read(call, &p) ||
	    !api_params_number(call, "code", p.values[0], API_CONNECTIONS_CLOSE, UINT16_MAX, &code))
		return;
	struct span reason = p.values[1].p != NULL ? p.values[1] : SPAN("");
	if (!rules_close_ok((unsigned)code, reason) || !utf8_valid(reason.p, reason.n)) {
		api_call_refuse(
			call, 400,
			"this can be no close frame: code %llu; expected 1000 or one that "
			"endpoints may send, and a reason of at most %d bytes of UTF-8",
			(unsigned long long)code, RULES_REASON_MAX);
		return;
	}
	access_ended_by(s, "push");
	s->dismissed = true;
	hub_close_session(s, (uint16_t)code, reason, false);
	api_call_answer_text(call, 200, (struct span){NULL, 0}, SPAN("{\"closed\":1}"));
}
