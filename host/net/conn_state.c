/* The states of a conn, and which may follow which. */
#include "base/check.h"
#include "net/conn_parts.h"

#define TO(state) (1u << (state))
static const struct {
	const char *name;
	uint16_t next; /* TO those that may follow */
} conn_states[CONN_STATES] = {
	[CONN_NEW] = {"new", TO(CONN_PROXY) | TO(CONN_HEAD)},
	[CONN_PROXY] = {"proxy", TO(CONN_HEAD) | TO(CONN_ANSWER) | TO(CONN_LINGER) | TO(CONN_DEAD)},
	[CONN_HEAD] = {"head", TO(CONN_BODY) | TO(CONN_ASKING) | TO(CONN_ANSWER) | TO(CONN_LINGER) |
				       TO(CONN_DEAD)},
	[CONN_BODY] = {"body", TO(CONN_ASKING) | TO(CONN_ANSWER) | TO(CONN_LINGER) |
				       TO(CONN_DEAD)},
	[CONN_ASKING] = {"asking", TO(CONN_OPEN) | TO(CONN_ANSWER) | TO(CONN_DEAD)},
	[CONN_ANSWER] = {"answer", TO(CONN_HEAD) | TO(CONN_LINGER) | TO(CONN_DEAD)},
	[CONN_OPEN] = {"open", TO(CONN_CLOSED) | TO(CONN_LEAVING) | TO(CONN_CLOSING) |
				       TO(CONN_LINGER) | TO(CONN_DEAD)},
	[CONN_CLOSED] = {"closed", TO(CONN_CLOSING) | TO(CONN_LINGER) | TO(CONN_DEAD)},
	[CONN_LEAVING] = {"leaving", TO(CONN_CLOSING) | TO(CONN_LINGER) | TO(CONN_DEAD)},
	[CONN_CLOSING] = {"closing", TO(CONN_LINGER) | TO(CONN_DEAD)},
	[CONN_LINGER] = {"linger", TO(CONN_LINGER) | TO(CONN_DEAD)},
	[CONN_DEAD] = {"dead", 0},
};
#undef TO

static __attribute__((noinline, cold)) void conn_state_log_state(const struct conn *c,
							   enum conn_state state)
{
	char text[ADDRESS_TEXT];
	LOG(c->conns->loop->log, LOG_DEBUG, LOG_CONN_STATE, "a connection's state",
	    LOG_STR("from", conn_states[c->state].name), LOG_STR("to", conn_states[state].name),
	    LOG_STR("remote", conn_remote_text(c, text)));
}

void conn_set_state(struct conn *c, enum conn_state state)
{
	CHECK(conn_states[c->state].next & (1u << state));
	if (c->conns != NULL && log_would(c->conns->loop->log, LOG_DEBUG))
		conn_state_log_state(c, state);
	c->state = (uint8_t)state;
}
