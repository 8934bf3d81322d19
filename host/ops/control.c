#include "ops/control.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "base/check.h"
#include "handler/worker/query.h"
#include "handler/worker/worker.h"
#include "hub/slow_consumer.h"
#include "handler/worker/sp.h"
#include "ops/connection.h"
#include "ops/cluster_report.h"
#include "ops/control_trace.h"
#include "ops/named_mount.h"
#include "ops/replay.h"
#include "net/conn.h"

#define CONTROL_MESSAGE_MAX (64u << 20)
#define CONTROL_PARTS_MAX (1u << 20)
#define CONTROL_PEERS_MAX 64 /* connections at once */
/* bytes that one has not read when it asks for more in the same batch: it is cut off */
#define CONTROL_UNREAD_MAX (16u << 20)
#define CONTROL_PUBLISHES \
	"members of --control-group may send, broadcast and broadcast_to, nothing else"

/* A question whose answer takes the time of a disk, or of a handler that comes up. */
struct control_later {
	uint16_t magic; /* CHECK_CONTROL_LATER */
	LIST_ENTRY(control_later) others;
	struct control *control;
	struct sp_pipe *pipe; /* NULL: whoever asked has gone */
	uint64_t q;
};

struct control {
	uint16_t magic; /* CHECK_CONTROL */
	struct hub *hub;
	struct sp_listener *listener;
	struct push_sources *sources;
	struct replay *letters;
	LIST_HEAD(, control_later) later;
	struct control_traces traces;
	struct control_actions actions;
	struct codec_batch batch;
	struct codec_out out; /* of the batch being answered */
};

/* Nothing is said to this one any more. */
static void control_forget(struct control *c, const struct sp_pipe *pipe)
{
	struct control_later *later;
	control_trace_end(&c->traces, pipe);
	LIST_FOREACH(later, &c->later, others)
	if (later->pipe == pipe)
		later->pipe = NULL;
}

static void control_cut(struct control *c, struct sp_pipe *pipe, const char *why)
{
	char remote[SP_REMOTE_MAX];
	LOG(c->hub->log, LOG_WARN, LOG_HOST, "a connection at the control socket is cut off",
	    LOG_STR("remote", sp_remote(pipe, remote)), LOG_STR("error", why));
	codec_reset(&c->out);
	control_forget(c, pipe);
	sp_close(pipe);
}

static void control_flush(struct control *c, struct sp_pipe *pipe)
{
	struct iovec parts[CODEC_PARTS];
	if (c->out.n == 0)
		return;
	int n = codec_parts(&c->out, parts);
	bool ok = !codec_failed(&c->out) && sp_send(pipe, parts, n);
	codec_reset(&c->out);
	if (!ok)
		control_cut(c, pipe, "no memory for what it is to be told");
}

/* The path that is named; p NULL: none. */
static struct span control_path(struct codec_item *item)
{
	return item->mount.p != NULL ? codec_text(&item->mount) : (struct span){NULL, 0};
}

static struct span control_no_mount_text(const struct control *c, struct codec_item *item,
					 char why[NAMED_MOUNT_WHY_MAX])
{
	return named_mount_why(c->hub, control_path(item), "with -m PATH", why);
}

/* --- what goes beyond a worker's queries ------------------------------------------------------ */

/* only: of that mount, or NULL: of all. */
static void control_mounts(struct control *c, const struct mount *only)
{
	struct codec_out *o = &c->out;
	bool any = false;
	codec_member_raw(o, "mounts", "[");
	for (const struct mount *m = c->hub->mounts; m != NULL; m = m->next) {
		if (only != NULL && m != only)
			continue;
		codec_raw(o, ",", any);
		any = true;
		named_mount_describe(m, o);
	}
	codec_raw(o, "]", 1);
}

static void control_workers(struct control *c, const struct mount *only)
{
	bool any = false;
	codec_member_raw(&c->out, "workers", "[");
	for (const struct mount *m = c->hub->mounts; m != NULL; m = m->next)
		if (worker_is(m) && (only == NULL || m == only))
			worker_describe(m, &c->out, &any);
	codec_raw(&c->out, "]", 1);
}

static void control_connection(struct control *c, struct session *s, bool first)
{
	codec_raw(&c->out, ",", !first);
	connection_describe(s, &c->out);
}

static void control_all_connections(struct control *c, const struct mount *only)
{
	struct session *s;
	uint32_t cursor = 0;
	bool first = true;
	codec_member_raw(&c->out, "connections", "[");
	while ((s = slotmap_next(&c->hub->sessions, &cursor)) != NULL) {
		if (s->ended || (only != NULL && s->mount != only))
			continue;
		control_connection(c, s, first);
		first = false;
	}
	codec_raw(&c->out, "]", 1);
}

static int control_by_waiting(const void *a, const void *b)
{
	uint32_t one = session_load(*(struct session *const *)a).waiting,
		 other = session_load(*(struct session *const *)b).waiting;
	return (one < other) - (one > other);
}

/* Those that read too slowly: the one for which most waits first, where there is memory to sort
 * them. */
static void control_slow_connections(struct control *c, const struct mount *only)
{
	struct session *s, **slow = malloc((c->hub->sessions.count + 1) * sizeof(struct session *));
	uint32_t cursor = 0, n = 0, said = 0;
	codec_member_raw(&c->out, "connections", "[");
	while ((s = slotmap_next(&c->hub->sessions, &cursor)) != NULL) {
		if (s->ended || (only != NULL && s->mount != only) || !connection_is_slow(s))
			continue;
		if (slow != NULL)
			slow[n++] = s;
		else
			control_connection(c, s, said++ == 0);
	}
	if (n > 0)
		qsort(slow, n, sizeof(struct session *), control_by_waiting);
	for (uint32_t i = 0; i < n; i++)
		control_connection(c, slow[i], i == 0);
	free(slow);
	codec_raw(&c->out, "]", 1);
}

static void control_all_rooms(struct control *c, const struct mount *only)
{
	struct codec_out *o = &c->out;
	bool first = true;
	codec_member_raw(o, "rooms", "[");
	for (const struct mount *m = c->hub->mounts; m != NULL; m = m->next) {
		const struct hash_link *at = NULL;
		while ((only == NULL || only == m) &&
		       (at = hash_table_next(&m->rooms.table, at)) != NULL) {
			const struct room *r = HASH_ENTRY(at, struct room, link);
			codec_raw(o, ",", !first);
			codec_raw(o, "{\"room\":", 8);
			codec_string(o, (struct span){r->name, r->len});
			codec_member_text(o, "mount", span_of(m->path));
			codec_member_uint(o, "members", r->n);
			codec_raw(o, "}", 1);
			first = false;
		}
	}
	codec_raw(o, "]", 1);
}

static bool control_query_of_host(struct control *c, struct codec_item *item,
				  const struct mount *named)
{
	char why[NAMED_MOUNT_WHY_MAX];
	const struct mount *m = item->mount.p != NULL ? named : NULL;
	static const char *const words[] = {"mounts",	 "workers",	     "all_connections",
					    "all_rooms", "slow_connections", "stats",
					    "cluster"};
	size_t i = 0;
	while (i < sizeof words / sizeof *words && !json_is(&item->what, words[i]))
		i++;
	if (i == sizeof words / sizeof *words)
		return false;
	codec_object(&c->out, "reply");
	codec_member_uint(&c->out, "q", item->q);
	if (item->mount.p != NULL && m == NULL)
		codec_member_text(&c->out, "error", control_no_mount_text(c, item, why));
	else if (i == 0)
		control_mounts(c, m);
	else if (i == 1)
		control_workers(c, m);
	else if (i == 2)
		control_all_connections(c, m);
	else if (i == 3)
		control_all_rooms(c, m);
	else if (i == 4)
		control_slow_connections(c, m);
	else if (item->mount.p != NULL)
		codec_member_text(&c->out, "error",
				  i == 5 ? SPAN("stats are of the whole host: without -m")
					 : SPAN("the cluster is of the whole host: without -m"));
	else if (i == 6)
		cluster_report(c->actions.cluster, &c->out);
	else
		query_stats(&c->out, c->hub); /* there may be no mount at all */
	codec_object_end(&c->out);
	return true;
}

static void control_no_mount(struct control *c, struct codec_item *item, const char *type)
{
	char why[NAMED_MOUNT_WHY_MAX];
	codec_object(&c->out, type);
	if (item->has_q)
		codec_member_uint(&c->out, "q", item->q);
	if (item->has_ref)
		codec_member_uint(&c->out, "ref", item->ref);
	codec_member_text(&c->out, "error", control_no_mount_text(c, item, why));
	codec_object_end(&c->out);
}

static void control_refuse(struct control *c, const struct codec_item *item, const char *why)
{
	codec_object(&c->out, "reply");
	codec_member_uint(&c->out, "q", item->q);
	codec_member_text(&c->out, "error", span_of(why));
	codec_object_end(&c->out);
}

static void control_answer(struct control *c, struct sp_pipe *pipe, uint64_t q, struct span members)
{
	codec_object(&c->out, "reply");
	codec_member_uint(&c->out, "q", q);
	codec_raw(&c->out, members.p, members.n);
	codec_object_end(&c->out);
	control_flush(c, pipe);
}

static void control_on_answer(void *ctx, struct span members)
{
	struct control_later *later = ctx;
	CHECK_IS(later, CHECK_CONTROL_LATER);
	LIST_REMOVE(later, others);
	if (later->pipe != NULL)
		control_answer(later->control, later->pipe, later->q, members);
	free(later);
}

/* The answer comes later. NULL: whoever asked has gone, or there is no memory. */
static struct control_later *control_later(struct control *c, struct sp_pipe *pipe,
					   const struct codec_item *item)
{
	struct control_later *later = calloc(1, sizeof *later);
	control_flush(c, pipe);
	if (later == NULL || sp_is_closed(pipe)) {
		free(later);
		return NULL;
	}
	*later = (struct control_later){.magic = CHECK_CONTROL_LATER,
					.control = c,
					.pipe = pipe,
					.q = item->q};
	LIST_INSERT_HEAD(&c->later, later, others);
	return later;
}

/* It does not come. */
static void control_never(struct control *c, struct control_later *later, const char *why)
{
	struct codec_item item = {.q = later->q};
	struct sp_pipe *pipe = later->pipe;
	LIST_REMOVE(later, others);
	free(later);
	control_refuse(c, &item, why);
	control_flush(c, pipe);
}

/* Dead letters, of the mount that is named, or of all: the answer comes when they are read, or
 * given back. */
static void control_letters(struct control *c, struct sp_pipe *pipe, struct codec_item *item,
			    const struct mount *m)
{
	struct span id = item->id.p != NULL ? codec_text(&item->id) : (struct span){0};
	struct span mount = item->mount.p != NULL ? span_of(m->path) : (struct span){0};
	if (item->id.p != NULL && id.n == 0) {
		control_refuse(c, item, "an empty id; expected a dead letter's, or none for all");
		return;
	}
	struct control_later *later = control_later(c, pipe, item);
	if (later == NULL)
		return;
	bool asked = item->type == CODEC_QUERY
			     ? replay_list(c->letters, mount, control_on_answer, later)
			     : replay_replay(c->letters, mount, id, control_on_answer, later);
	if (!asked)
		control_never(c, later, "no memory");
}

static void control_on_reload(void *ctx, bool ok, struct span members)
{
	(void)ok; /* else they have an error */
	control_on_answer(ctx, members);
}

/* Nobody waits for it: the log tells. */
static void control_on_reload_alone(void *ctx, bool ok, struct span members)
{
	(void)ctx, (void)ok, (void)members;
}

/* m: of that mount's handler alone; NULL: all. */
static void control_reload(struct control *c, struct sp_pipe *pipe, struct codec_item *item,
			   const struct mount *m)
{
	struct control_later *later = item->waits ? control_later(c, pipe, item) : NULL;
	const char *why = NULL;
	if (item->waits && later == NULL)
		return;
	if (later != NULL || m != NULL)
		why = reload_begin(c->actions.reloads, m,
				   later != NULL ? control_on_reload : control_on_reload_alone,
				   later);
	if (later != NULL && why != NULL)
		control_never(c, later, why);
	if (later != NULL)
		return;
	if (why != NULL)
		control_refuse(c, item, why);
	else
		control_answer(c, pipe, item->q, (struct span){NULL, 0});
	if (m == NULL)
		c->actions.reload(c->actions.ctx);
}

static void control_admin_url(struct control *c, struct codec_item *item)
{
	char url[512];
	if (!c->actions.admin_url(c->actions.ctx, url, sizeof url)) {
		control_refuse(c, item, "there is no admin page: the host runs without --admin");
		return;
	}
	codec_object(&c->out, "reply");
	codec_member_uint(&c->out, "q", item->q);
	codec_member_text(&c->out, "url", span_of(url));
	codec_object_end(&c->out);
}

/* Lines follow the answer, until the peer goes. */
static void control_trace(struct control *c, struct sp_pipe *pipe, struct codec_item *item,
			  const struct mount *m)
{
	struct trace_filter filter = {.mount = m};
	struct session_id id = {0};
	bool known = item->conn.p == NULL;
	if (item->conn.p == NULL && item->user.p == NULL && item->mount.p == NULL) {
		control_refuse(c, item, "whose events? expected conn, user or mount");
		return;
	}
	if (item->user.p != NULL)
		filter.user = codec_text(&item->user);
	if (!known && session_id_parse(codec_text(&item->conn), &id)) {
		const struct session *s = id.host == c->hub->host_id
						  ? slotmap_get(&c->hub->sessions, id.local)
						  : NULL;
		known = s != NULL && !s->ended && (m == NULL || s->mount == m);
		filter.local = id.local;
	}
	const char *why =
		known ? control_trace_begin(&c->traces, c->hub, pipe, item->q, &filter) : NULL;
	if (why != NULL)
		control_refuse(c, item, why);
	else
		control_answer(c, pipe, item->q,
			       known ? (struct span){NULL, 0} : SPAN(",\"unknown\":true"));
}

static void control_do(struct control *c, struct sp_pipe *pipe, struct codec_item *item,
		       const struct mount *m)
{
	bool reload = json_is(&item->what_to_do, "reload"),
	     drain = json_is(&item->what_to_do, "drain");
	if (json_is(&item->what_to_do, "replay")) {
		control_letters(c, pipe, item, m);
		return;
	}
	if (json_is(&item->what_to_do, "trace")) {
		control_trace(c, pipe, item, item->mount.p != NULL ? m : NULL);
		return;
	}
	if (json_is(&item->what_to_do, "admin_url")) {
		control_admin_url(c, item);
		return;
	}
	if (!reload && !drain) {
		control_refuse(
			c, item,
			"an unknown action; expected reload, drain, replay, trace or admin_url");
		return;
	}
	if (reload) {
		control_reload(c, pipe, item, item->mount.p != NULL ? m : NULL);
		return;
	}
	if (item->mount.p != NULL) {
		control_refuse(c, item, "drain is for the whole host: without -m");
		return;
	}
	control_answer(c, pipe, item->q, (struct span){NULL, 0});
	c->actions.drain(c->actions.ctx);
}

/* --- batches ---------------------------------------------------------------------------------- */

static void control_item(struct control *c, struct sp_pipe *pipe, struct codec_item *item)
{
	struct mount *m = named_mount_find(c->hub, control_path(item));
	if (sp_waiting(pipe) > CONTROL_UNREAD_MAX) {
		control_cut(c, pipe, "it asks and does not read the answers");
		return;
	}
	if (!sp_is_owner(pipe) && (item->type == CODEC_QUERY || item->type == CODEC_CONTROL)) {
		control_refuse(c, item, CONTROL_PUBLISHES);
		return;
	}
	item->only_publishes = !sp_is_owner(pipe);
	switch (item->type) {
	case CODEC_HELLO:
		codec_welcome(&c->out, "control", m != NULL ? m->path : "", 0, CONTROL_PARTS_MAX, 1,
			      false);
		break;
	case CODEC_PUSH:
		if (m != NULL)
			query_push(&c->out, m, c->sources, &c->batch, item);
		else
			control_no_mount(c, item, "done");
		break;
	case CODEC_QUERY:
		if (json_is(&item->what, "dead_letters") && (m != NULL || item->mount.p == NULL)) {
			control_letters(c, pipe, item, m);
			break;
		}
		if (control_query_of_host(c, item, m))
			break;
		if (m != NULL)
			query_answer(&c->out, m, item);
		else
			control_no_mount(c, item, "reply");
		break;
	case CODEC_CONTROL:
		if (m != NULL || item->mount.p == NULL)
			control_do(c, pipe, item, m);
		else
			control_no_mount(c, item, "reply");
		break;
	case CODEC_BYE:
		sp_finish(pipe, 1000);
		break;
	default:
		break; /* no events are given, so nothing is acknowledged */
	}
	if (codec_size(&c->out) > CONTROL_PARTS_MAX)
		control_flush(c, pipe);
}

static void control_on_opened(void *ctx, struct sp_pipe *pipe, void **user_r)
{
	(void)pipe;
	*user_r = ctx;
}

static void control_on_message(void *ctx, struct sp_pipe *pipe, void *user, uint8_t *bytes,
			       size_t len)
{
	struct control *c = ctx;
	CHECK_IS(c, CHECK_CONTROL);
	(void)user;
	if (!codec_read(&c->batch, bytes, len)) {
		LOG(c->hub->log, LOG_WARN, LOG_HOST,
		    "the control socket was sent something malformed",
		    LOG_STR("error", c->batch.why));
		codec_bye(&c->out, c->batch.why);
		control_flush(c, pipe);
		sp_finish(pipe, 1000);
		return;
	}
	for (size_t i = 0; i < c->batch.n && !sp_is_closed(pipe); i++)
		control_item(c, pipe, &c->batch.items[i]);
	codec_batch_done(&c->batch);
	if (!sp_is_closed(pipe))
		control_flush(c, pipe);
	sp_touch(pipe);
	sp_wait_for_reader(pipe, CONTROL_PARTS_MAX);
}

static void control_on_closed(void *ctx, struct sp_pipe *pipe, void *user, const char *why)
{
	struct control *c = ctx;
	CHECK_IS(c, CHECK_CONTROL);
	char remote[SP_REMOTE_MAX];
	(void)user;
	control_forget(c, pipe);
	if (why != NULL)
		LOG(c->hub->log, LOG_NOTICE, LOG_HOST, "a connection at the control socket ended",
		    LOG_STR("remote", sp_remote(pipe, remote)), LOG_STR("error", why));
}

static const struct sp_ops control_ops = {.opened = control_on_opened,
					  .message = control_on_message,
					  .closed = control_on_closed};

struct control *control_open(struct hub *hub, const char *path, const gid_t *group,
			     struct push_sources *sources, struct replay *letters,
			     const struct control_actions *actions, char *why, size_t why_cap)
{
	const struct sp_limits limits = {
		.message_max = CONTROL_MESSAGE_MAX,
		.strangers = CONTROL_PEERS_MAX,
		.crowd =
			"many connections at the control socket: the one that was silent longest "
			"gives way to each new one",
		.user = DESCRIPTORS_HOST,
		.group = group,
	};
	char url[256];
	struct control *c = calloc(1, sizeof *c);
	if (c == NULL || (size_t)snprintf(url, sizeof url, "ipc://%s", path) >= sizeof url) {
		snprintf(why, why_cap, c == NULL ? "no memory" : "the path is too long");
		free(c);
		return NULL;
	}
	*c = (struct control){.magic = CHECK_CONTROL,
			      .hub = hub,
			      .sources = sources,
			      .letters = letters,
			      .actions = *actions};
	LIST_INIT(&c->later);
	LIST_INIT(&c->traces);
	c->listener = sp_listen(hub->loop, url, &control_ops, c, &limits, why, why_cap);
	if (c->listener != NULL)
		return c;
	control_free(&c);
	return NULL;
}

void control_close(struct control *c)
{
	if (c == NULL)
		return;
	control_trace_end(&c->traces, NULL);
	sp_listener_free(&c->listener);
}

void control_free(struct control **c_p)
{
	struct control *c = *c_p;
	*c_p = NULL;
	struct control_later *later;
	if (c == NULL)
		return;
	while ((later = LIST_FIRST(&c->later)) != NULL) {
		reload_forget(c->actions.reloads, later);
		LIST_REMOVE(later, others);
		free(later);
	}
	codec_batch_free(&c->batch);
	codec_free(&c->out);
	free(c);
}
