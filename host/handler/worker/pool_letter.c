/* pool_letter: events that are not tried again, written down. */
#include <stdlib.h>
#include <time.h>

#include "common/random.h"
#include "handler/worker/pool.h"
#include "hub/session_trace.h"

#define POOL_LETTER_ID (SESSION_ID_TEXT + 24)

/* CONN:SEQ; what belongs to no connection has a name of its own in the place of one, as numbers
 * begin anew with the host. */
static const char *pool_letter_id(const struct event_held *e, char id[POOL_LETTER_ID])
{
	struct session_id name;
	char text[SESSION_ID_TEXT];
	/* it is no secret, it only has to be another one each time */
	if (!random_bytes(&name, sizeof name))
		name = (struct session_id){.host = loop_clock(), .local = (uint64_t)(uintptr_t)e};
	session_id_text(name, text);
	hub_session_text(e->event.session, text);
	snprintf(id, POOL_LETTER_ID, "%s:%llu", text, (unsigned long long)e->event.sequence);
	return id;
}

/* The event as it would be delivered, with what led here. */
static char *pool_letter(struct pool *p, const struct event_held *e)
{
	struct codec_out o = {.n = 0};
	struct iovec parts[CODEC_PARTS];
	struct timespec now;
	char id[POOL_LETTER_ID];
	clock_gettime(CLOCK_REALTIME, &now);
	codec_object(&o, "dead_letter");
	codec_member_uint(&o, "time", (uint64_t)now.tv_sec);
	codec_member_text(&o, "mount", span_of(p->base.mount->path));
	codec_member_uint(&o, "blame", e->blame);
	codec_member_text(&o, "event", span_of(event_name(e->event.kind)));
	codec_member_text(&o, "id", span_of(pool_letter_id(e, id)));
	if (codec_failed(&o)) {
		codec_free(&o);
		return NULL;
	}
	codec_dead_event(&o, e);
	codec_object_end(&o);
	codec_parts(&o, parts);
	/* without the batch's bracket */
	char *line = codec_failed(&o) ? NULL : strndup(o.text.p + 1, o.text.n - 1);
	codec_free(&o);
	return line;
}

void pool_condemn(struct pool *p, struct event_held *e)
{
	struct hub *hub = p->base.mount->hub;
	struct session *s = e->event.session;
	char id[SESSION_ID_TEXT];
	LOG(hub->log, LOG_ERROR, LOG_QUARANTINE, "an event was quarantined: its workers died of it",
	    LOG_STR("mount", p->base.mount->path), LOG_STR("event", event_name(e->event.kind)),
	    LOG_STR("conn", hub_session_text(s, id)), LOG_TRACE_ID(s), LOG_U64("seq", e->event.sequence),
	    LOG_U64("attempts", e->event.attempt));
	hub->loop->stats.quarantined++;
	p->base.mount->faults.quarantined++;
	char *line = pool_letter(p, e);
	TAILQ_INSERT_TAIL(&p->dead, e, link);
	if (line == NULL) {
		LOG(hub->log, LOG_ERROR, LOG_QUARANTINE, "no memory for the dead letter");
		p->ops->buried(p, e);
		return;
	}
	deadletter_write(p->shared.deadletter, line, p->ops->buried, p, e);
}
