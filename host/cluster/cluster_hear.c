/* What other hosts have published. */
#include <stdio.h>

#include "base/check.h"
#include "cluster/cluster_parts.h"
#include "hub/delivery.h"
#include "net/outq_notes.h"

static void cluster_ignore(struct cluster *c, struct span channel, const char *why)
{
	c->counts.foreign++;
	LOG(c->hub->log, LOG_NOTICE, LOG_CLUSTER, "something that was published is ignored",
	    LOG_SPAN("channel", channel), LOG_STR("why", why));
}

/* --- what is missing -------------------------------------------------------------------------- */

static void cluster_raise(struct mount *m, struct span text)
{
	struct hub_event e = {.kind = EVENT_ERROR,
			      .error = {.kind = EVENT_ERROR_TRANSPORT, .text = text}};
	if (m->handler != NULL && (m->handler->wants & EVENT_BIT(EVENT_ERROR)) != 0)
		delivery_submit(m, NULL, &e);
}

void cluster_tell_lost(struct cluster *c)
{
	char text[768];
	for (size_t i = 0; i < c->n_mounts; i++) {
		struct cluster_mount *of = &c->mounts[i];
		if (of->lost == 0)
			continue;
		snprintf(text, sizeof text,
			 "%llu messages of other hosts were lost, in %u places; the first of host "
			 "%s%s%s",
			 (unsigned long long)of->lost, of->times, of->host,
			 of->room[0] != '\0' ? " in room " : "", of->room);
		LOG(c->hub->log, LOG_WARN, LOG_CLUSTER, "messages of other hosts were lost",
		    LOG_STR("mount", of->mount->path), LOG_U64("messages", of->lost),
		    LOG_U64("places", of->times), LOG_STR("host", of->host),
		    LOG_STR("room", of->room));
		of->lost = of->times = 0;
		cluster_raise(of->mount, span_of(text));
	}
}

void cluster_tell_cut(struct cluster *c, uint64_t ms)
{
	char text[256];
	if (ms < CLUSTER_CUT_MS)
		return;
	snprintf(text, sizeof text,
		 "this host was cut off from the others for %llu s: what they have published then "
		 "may be missing",
		 (unsigned long long)ms / 1000);
	LOG(c->hub->log, LOG_WARN, LOG_CLUSTER,
	    "what other hosts have published meanwhile may be missing", LOG_U64("ms", ms));
	for (size_t i = 0; i < c->n_mounts; i++)
		cluster_raise(c->mounts[i].mount, span_of(text));
}

/* --- what has come ---------------------------------------------------------------------------- */

static void cluster_build(struct commit *commit, const struct channel *at,
			  const struct envelope *e)
{
	struct selection s;
	if (e->kind == ENVELOPE_AMONG || e->kind == ENVELOPE_CLOSE)
		envelope_selection(e, &s);
	switch (e->kind) {
	case ENVELOPE_ROOM:
		commit_broadcast_to(commit, channel_room(at), e->binary, e->data.p, e->data.n, 0);
		break;
	case ENVELOPE_MOUNT:
		commit_broadcast(commit, e->binary, e->data.p, e->data.n, 0);
		break;
	case ENVELOPE_AMONG:
		commit_broadcast_among(commit, &s, e->binary, e->data.p, e->data.n);
		break;
	default:
		commit_close_room(commit, &s, e->code, e->data);
	}
	if (commit->error != COMMIT_OK || e->kind == ENVELOPE_CLOSE)
		return;
	commit->commands[0].key = e->key == OUTQ_NOTES_KEEP ? 1 : e->key;
	if (e->unkept && e->kind != ENVELOPE_MOUNT)
		commit_unkept(commit);
}

/* As a commit of its own, which names nobody of the publisher's. */
static void cluster_apply(struct cluster *c, const struct channel *at, const struct envelope *e)
{
	struct commit *commit = &c->heard;
	if (at->kind == CHANNEL_ROOM && room_find(&at->mount->rooms, channel_room(at)) == NULL)
		return;
	commit_begin(commit, NULL);
	if (e->data.n > CLUSTER_MESSAGE_MAX)
		commit_spoil(commit, COMMIT_E_BIG);
	else
		cluster_build(commit, at, e);
	if (commit->error != COMMIT_OK) {
		commit_drop(commit);
		cluster_ignore(c, channel_text(at), commit_error_text(commit->error));
		return;
	}
	c->counts.received++;
	delivery_apply(at->mount, commit);
}

static bool cluster_fits(const struct channel *at, const struct envelope *e)
{
	return at->kind == CHANNEL_ROOM ? e->kind == ENVELOPE_ROOM
					: e->kind > ENVELOPE_ROOM && e->kind < ENVELOPE_MARK;
}

static void cluster_hear_message(struct cluster *c, struct channel *at, const struct envelope *e)
{
	const struct cluster_host *from = cluster_host(c, e->host);
	uint64_t now = loop_now(c->hub->loop), lost;
	const struct numbers_publisher publisher = {e->host, e->series, e->number, now};
	bool settled = at->since_ms != 0 && now - at->since_ms > NUMBERS_SETTLED_MS;
	if (!cluster_fits(at, e)) {
		cluster_ignore(c, channel_text(at), "it is not for this channel");
	} else if (e->host == c->hub->host_id) {
		return; /* our own: its mark follows */
	} else if (from != NULL && from->refused) {
		c->counts.foreign++;
	} else if (!numbers_hear(&at->publishers, &publisher, settled, &lost)) {
		c->counts.repeated++;
	} else {
		cluster_lose(c, at, e->host, lost);
		cluster_apply(c, at, e);
	}
}

static void cluster_hear_mark(struct cluster *c, const struct envelope *e)
{
	if (e->kind != ENVELOPE_MARK || e->number != c->nonce || e->host != c->hub->host_id)
		cluster_ignore(c, channel_text(c->self), "it is no mark of this host");
	else
		cluster_came_back(c, e->mark);
}

void cluster_hear(struct cluster *c, struct span channel, struct span bytes)
{
	struct channel *at = channel.p != NULL ? channel_find(&c->channels, channel) : NULL;
	struct envelope e;
	if (at == NULL)
		return; /* left a moment ago */
	if (bytes.p == NULL || !envelope_read(&e, bytes)) {
		cluster_ignore(c, channel, "it is nothing that a host writes");
		return;
	}
	if (at->kind == CHANNEL_SELF)
		cluster_hear_mark(c, &e);
	else if (at->kind != CHANNEL_HOSTS)
		cluster_hear_message(c, at, &e);
	else if (e.kind == ENVELOPE_HOST)
		cluster_hear_host(c, &e);
	else
		cluster_ignore(c, channel, "it is no announcement");
}
