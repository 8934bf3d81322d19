#include "hub/session_trace.h"
#include "hub/slow_consumer.h"

#include "base/check.h"
#include "hub/access.h"
#include "hub/session_conn.h"
#include "net/conn.h"

static void slow_consumer_log(struct hub *hub, struct session *s, enum log_level level,
			      const char *what)
{
	static const char *const policies[] = {"close", "drop-oldest", "conflate"};
	char id[SESSION_ID_TEXT], remote[ADDRESS_TEXT];
	if (!log_would(hub->log, level))
		return;
	struct conn_load load = session_load(s);
	LOG(hub->log, level, LOG_CONN_SLOW, what, LOG_STR("mount", s->mount->path),
	    LOG_STR("conn", hub_session_text(s, id)), LOG_TRACE_ID(s),
	    LOG_STR("remote", session_remote_text(s, remote)),
	    LOG_STR("policy", policies[s->mount->slow]), LOG_U64("waiting", load.waiting),
	    LOG_U64("held", (uint64_t)load.waiting + load.held),
	    LOG_U64("dropped", slow_consumer_dropped(s)));
}

static void slow_consumer_begin(struct hub *hub, struct session *s)
{
	if (s->slow)
		return;
	s->slow = true;
	hub->loop->stats.slow++;
	slow_consumer_log(hub, s, LOG_NOTICE,
			  "messages are given up: the connection reads too slowly");
}

void slow_consumer_end(struct hub *hub, struct session *s)
{
	CHECK(hub->loop->stats.slow >= s->slow);
	hub->loop->stats.slow -= s->slow;
	s->slow = false;
}

void slow_consumer_refused(struct hub *hub, struct session *s, struct out_message *o,
			   enum conn_sent sent, bool own)
{
	/* for a victim nobody gives way any more */
	enum slow_policy policy = s->victim ? SLOW_POLICY_CLOSE : s->mount->slow;
	struct conn_refusal r = conn_refused(session_conn(s), o, sent, own, policy);
	if (r.gives_up)
		slow_consumer_begin(hub, s);
	if (r.sent == CONN_SENT)
		return;
	mount_drop(s, 1);
	if (!r.over)
		return;
	s->no_memory = s->no_memory || r.sent == CONN_NO_MEMORY;
	hub_mark_victim(hub, s);
}

bool slow_consumer_memory_limit(struct conn *c)
{
	struct session *s = session_of(c);
	struct hub *hub = s->mount->hub;
	if (s->mount->slow == SLOW_POLICY_DROP_OLDEST && s->shard != SESSION_RESUMES &&
	    !s->victim && conn_lighten(c)) {
		slow_consumer_begin(hub, s);
		return true;
	}
	slow_consumer_log(hub, s, LOG_NOTICE,
			  "connection closed: it holds most where --max-buffered is reached");
	s->memory_limit = true;
	hub_mark_victim(hub, s);
	return false;
}

void slow_consumer_unsent(struct session *s, enum conn_sent sent, uint32_t messages)
{
	mount_drop(s, messages);
	s->no_memory = s->no_memory || sent == CONN_NO_MEMORY;
	hub_mark_victim(s->mount->hub, s);
}

void slow_consumer_began(struct conn *c)
{
	struct session *s = session_of(c);
	slow_consumer_begin(s->mount->hub, s);
}

void slow_consumer_caught_up(struct hub *hub, struct session *s)
{
	if (!s->slow)
		return;
	slow_consumer_log(hub, s, LOG_INFO, "the connection has caught up");
	slow_consumer_end(hub, s);
}

struct span slow_consumer_blame(struct hub *hub, struct session *s)
{
	access_ended_by(s, "slow");
	if (s->memory_limit) {
		hub->loop->stats.heavy_ended++;
		return SPAN("the host holds too much");
	}
	slow_consumer_log(hub, s, LOG_NOTICE, "connection closed: it reads too slowly");
	hub->loop->stats.slow_ended++;
	return SPAN("reads too slowly");
}

void slow_consumer_gave_up(struct conn *c, uint32_t messages, bool gone)
{
	struct session *s = session_of(c);
	struct hub *hub = s->mount->hub;
	mount_drop(s, messages);
	if (!gone)
		slow_consumer_caught_up(hub, s);
	slow_consumer_end(hub, s);
}
