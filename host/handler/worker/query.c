#include "handler/worker/query.h"

#include <time.h>

#include "common/utf8.h"
#include "handler/worker/query_history.h"
#include "hub/delivery.h"
#include "hub/roster.h"
#include "hub/watching.h"

/* --- pushes ----------------------------------------------------------------------------------- */

static const char *query_push_verdict_text(enum push_verdict v)
{
	switch (v) {
	case PUSH_UNKNOWN:
		return "the source is not known and does not begin at 1";
	case PUSH_GAP:
		return "numbers were left out";
	case PUSH_NO_MEMORY:
		return "no memory";
	case PUSH_BAD_NAME:
		return "a source has 1 to 64 bytes";
	default:
		return NULL;
	}
}

/* Has its time passed? By the clock that whoever gave it has, too. */
static bool query_push_expired(const struct codec_item *item)
{
	struct timespec now;
	if (!item->has_expires)
		return false;
	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000 > item->expires;
}

/* What is no message may not be done. */
static void query_push_check_messages(struct commit *c)
{
	for (uint32_t i = 0; c->error == COMMIT_OK && i < c->n; i++)
		if (!command_has_frame(&c->commands[i]))
			commit_spoil_at(c, COMMIT_E_SCOPE, i);
}

const char *query_commit(struct mount *m, const struct codec_batch *b, struct codec_item *item)
{
	commit_begin(&m->commit, NULL);
	if (item->mute)
		commit_spoil_at(&m->commit, COMMIT_E_SCOPE, COMMIT_WHOLE);
	else if (query_push_expired(item))
		commit_spoil_at(&m->commit, COMMIT_E_EXPIRED, COMMIT_WHOLE);
	else
		codec_commands(b, item, m->hub, NULL, &m->commit);
	if (item->only_publishes)
		query_push_check_messages(&m->commit);
	if (!delivery_commit(m))
		return commit_error_text(m->commit.error);
	m->hub->loop->stats.pushes++;
	return NULL;
}

static struct push_outcome query_push_commit(struct mount *m, const struct codec_batch *b,
				       struct codec_item *item)
{
	if (query_commit(m, b, item) == NULL)
		return (struct push_outcome){.receivers = m->receivers, .nobody = m->nobody};
	return (struct push_outcome){.error = m->commit.error, .wrong = m->commit.wrong};
}

static void query_push_tell(struct codec_out *o, const struct push_outcome *outcome)
{
	if (outcome->error != COMMIT_OK) {
		codec_member_text(o, "error", span_of(commit_error_text(outcome->error)));
		if (outcome->wrong != COMMIT_WHOLE)
			codec_member_uint(o, "index", outcome->wrong);
		return;
	}
	codec_member_uint(o, "receivers", outcome->receivers);
	if (outcome->nobody > 0)
		codec_member_uint(o, "nobody", outcome->nobody);
}

/* One that has a number. Returns what became of it, NULL: that is not known, or the verdict says
 * why it can not be done. */
static const struct push_outcome *query_push_once(struct mount *m, struct push_sources *sources,
					    const struct codec_batch *b, struct codec_item *item,
					    struct span source, enum push_verdict *verdict_r)
{
	*verdict_r = push_judge(sources, source, item->n);
	if (*verdict_r == PUSH_NEW) {
		const struct push_outcome outcome = query_push_commit(m, b, item);
		push_done(sources, source, item->n, &outcome);
	}
	return *verdict_r == PUSH_NEW || *verdict_r == PUSH_REPEATED
		       ? push_outcome(sources, source, item->n)
		       : NULL;
}

void query_push(struct codec_out *o, struct mount *m, struct push_sources *sources,
		const struct codec_batch *b, struct codec_item *item)
{
	struct span source = item->source.p != NULL ? codec_text(&item->source) : (struct span){0};
	enum push_verdict verdict = PUSH_NEW;
	struct push_outcome alone;
	const struct push_outcome *outcome = &alone;
	if (item->source.p != NULL)
		outcome = query_push_once(m, sources, b, item, source, &verdict);
	else
		alone = query_push_commit(m, b, item);
	if (item->source.p == NULL && !item->has_ref)
		return;
	codec_object(o, "done");
	if (item->source.p != NULL) {
		codec_member_text(o, "source", source);
		codec_member_uint(o, "n", item->n);
	}
	if (item->has_ref)
		codec_member_uint(o, "ref", item->ref);
	if (verdict == PUSH_REPEATED)
		codec_member_raw(o, "repeated", "true");
	if (verdict == PUSH_UNKNOWN)
		codec_member_raw(o, "unknown", "true");
	if (query_push_verdict_text(verdict) != NULL)
		codec_member_text(o, "error", span_of(query_push_verdict_text(verdict)));
	if (outcome != NULL)
		query_push_tell(o, outcome);
	if (verdict == PUSH_NEW && outcome->error == COMMIT_OK) {
		query_kept(o, m);
		if (m->room_version != 0)
			codec_member_uint(o, "version", m->room_version);
	}
	codec_object_end(o);
}

/* --- queries ---------------------------------------------------------------------------------- */

static void query_list_begin(struct codec_out *o, const char *name, uint64_t count)
{
	codec_member_uint(o, "count", count);
	codec_member_raw(o, name, "[");
}

static void query_list_conn(struct codec_out *o, const struct session *s, bool first)
{
	char id[SESSION_ID_TEXT];
	codec_raw(o, ",", !first);
	codec_string(o, span_of(hub_session_text(s, id)));
}

static void query_members(struct codec_out *o, const struct mount *m, struct codec_item *item,
			  bool list)
{
	const struct room *r = room_find(&m->rooms, codec_text(&item->room));
	uint32_t n = r != NULL ? r->n : 0;
	if (r == NULL)
		codec_member_raw(o, "unknown", "true");
	if (!list) {
		codec_member_uint(o, "count", n);
		return;
	}
	query_list_begin(o, "connections", n);
	for (uint32_t i = 0; i < n; i++)
		query_list_conn(o, room_session(r, i), i == 0);
	codec_raw(o, "]", 1);
}

static void query_list_member(struct codec_out *o, const struct session *s, bool first)
{
	char id[SESSION_ID_TEXT];
	const char *user = identity_user(s);
	struct span info = identity_info(s);
	codec_raw(o, first ? "{\"conn\":" : ",{\"conn\":", first ? 8 : 9);
	codec_string(o, span_of(hub_session_text(s, id)));
	if (user != NULL)
		codec_member_text(o, "user", span_of(user));
	if (info.n > 0)
		codec_member_text(o, "info", info);
	codec_object_end(o);
}

/* A page: with who they are. */
static void query_members_page(struct codec_out *o, const struct mount *m, struct codec_item *item)
{
	const struct room *r = room_find(&m->rooms, codec_text(&item->room));
	struct session_id after = {0};
	struct roster_page page = {.n = 0};
	char id[SESSION_ID_TEXT];
	if (item->after.p != NULL && !session_id_parse(codec_text(&item->after), &after)) {
		codec_member_text(o, "error", SPAN("\"after\" is what \"next\" was in the reply "
						   "before"));
		return;
	}
	if (r == NULL)
		codec_member_raw(o, "unknown", "true");
	else
		roster_members(&page, r, after.local,
			       item->limit < ROSTER_PAGE ? (uint32_t)item->limit : 0);
	query_list_begin(o, "members", r != NULL ? r->n : 0);
	for (uint32_t i = 0; i < page.n; i++)
		query_list_member(o, page.members[i], i == 0);
	codec_raw(o, "]", 1);
	if (page.more)
		codec_member_text(o, "next",
				  span_of(hub_session_text(page.members[page.n - 1], id)));
}

static void query_list_user(struct codec_out *o, const struct room_user *user, bool first)
{
	codec_raw(o, first ? "{\"user\":" : ",{\"user\":", first ? 8 : 9);
	codec_string(o, span_of(user->name));
	codec_member_uint(o, "connections", user->connections);
	codec_object_end(o);
}

void query_users(struct codec_out *o, const struct mount *m, struct span room, struct span after,
		 uint64_t limit)
{
	const struct room_users *users = watching_users(m, room);
	uint64_t most = limit > 0 && limit < ROSTER_PAGE ? limit : ROSTER_PAGE;
	if (users == NULL) {
		codec_member_text(o, "error", SPAN("no memory for the users of a room"));
		return;
	}
	if (room_find(&m->rooms, room) == NULL && users->n == 0)
		codec_member_raw(o, "unknown", "true");
	uint32_t from = room_users_after(users, after), i = from;
	codec_member_uint(o, "anonymous", users->anonymous);
	query_list_begin(o, "users", users->n);
	for (; i < users->n && i - from < most; i++)
		query_list_user(o, users->v[i], i == from);
	codec_raw(o, "]", 1);
	if (i < users->n)
		codec_member_text(o, "next", span_of(users->v[i - 1]->name));
}

static void query_rooms(struct codec_out *o, const struct mount *m, struct codec_item *item)
{
	struct session_id id = {0};
	if (!session_id_parse(codec_text(&item->conn), &id)) {
		codec_member_text(o, "error", SPAN("\"conn\" is no connection's id"));
		return;
	}
	const struct session *s =
		id.host == m->hub->host_id ? hub_find_session(m->hub, m, id.local) : NULL;
	uint32_t n = s != NULL ? room_count(&s->rooms) : 0;
	if (s == NULL)
		codec_member_raw(o, "unknown", "true");
	query_list_begin(o, "rooms", n);
	for (uint32_t i = 0; i < n; i++) {
		codec_raw(o, ",", i > 0);
		codec_string(o, span_of(room_name(&s->rooms, i)));
	}
	codec_raw(o, "]", 1);
}

static void query_connections(struct codec_out *o, const struct mount *m)
{
	query_list_begin(o, "connections", m->n_sessions);
	for (uint32_t i = 0; i < m->n_sessions; i++)
		query_list_conn(o, mount_session(m, i), i == 0);
	codec_raw(o, "]", 1);
}

void query_stats(struct codec_out *o, const struct hub *hub)
{
	const struct stats sum = hub_stats(hub), *s = &sum;
	char text[32];
	codec_member_raw(o, "stats", "{\"uptime_ms\":");
	int n = snprintf(text, sizeof text, "%llu",
			 (unsigned long long)(loop_now(hub->loop) - hub->started_ms));
	codec_raw(o, text, (size_t)n);
#define STATS_MEMBER(name, metric, about) codec_member_uint(o, #name, s->name);
	STATS_TABLE(STATS_MEMBER)
#undef STATS_MEMBER
	codec_raw(o, "}", 1);
}

static void query_room_history(struct codec_out *o, struct mount *m, struct codec_item *item)
{
	const struct query_history q = {.room = codec_text(&item->room),
					.has_since = item->has_since,
					.since = item->since,
					.epoch = item->epoch,
					.limit = item->limit};
	if (m->history == NULL)
		codec_member_text(o, "error", SPAN(QUERY_HISTORY_OFF));
	else
		query_history(o, m, &q);
}

void query_room_state(struct codec_out *o, const struct mount *m, struct span room)
{
	const struct room_state *state = room_state_find(m, room);
	struct span bytes = room_state_bytes(state);
	codec_member_uint(o, "version", room_state_version(state));
	if (bytes.n > 0 && utf8_valid(bytes.p, bytes.n))
		codec_member_text(o, "state", bytes);
	else if (bytes.n > 0)
		codec_member_base64(o, "state_base64", bytes);
}

void query_answer(struct codec_out *o, struct mount *m, struct codec_item *item)
{
	codec_object(o, "reply");
	codec_member_uint(o, "q", item->q);
	bool room = item->room.p != NULL, conn = item->conn.p != NULL;
	if (item->mute)
		codec_member_text(
			o, "error",
			SPAN("this token is not enough; expected one with the scope read"));
	else if (json_is(&item->what, "members") && room && item->limit > 0)
		query_members_page(o, m, item);
	else if (json_is(&item->what, "users") && room)
		query_users(o, m, codec_text(&item->room),
			    item->after.p != NULL ? codec_text(&item->after) : (struct span){0},
			    item->limit);
	else if (json_is(&item->what, "members") && room)
		query_members(o, m, item, true);
	else if (json_is(&item->what, "count") && room)
		query_members(o, m, item, false);
	else if (json_is(&item->what, "history") && room)
		query_room_history(o, m, item);
	else if (json_is(&item->what, "room_state") && room)
		query_room_state(o, m, codec_text(&item->room));
	else if (json_is(&item->what, "rooms") && conn)
		query_rooms(o, m, item);
	else if (json_is(&item->what, "connections"))
		query_connections(o, m);
	else if (json_is(&item->what, "stats"))
		query_stats(o, m->hub);
	else
		codec_member_text(o, "error",
				  SPAN("an unknown query, or one that lacks its room or conn"));
	codec_object_end(o);
}
