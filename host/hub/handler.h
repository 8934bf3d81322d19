/* handler: the one table behind which every kind of handler stands. The kinds are in
 * host/handler/. */
#ifndef TOVA_HUB_HANDLER_H
#define TOVA_HUB_HANDLER_H

#include "hub/commit.h"
#include "hub/event.h"

struct mount;
struct handler;

enum handler_result {
	HANDLER_DONE,	/* acknowledged: the commit is to be applied */
	HANDLER_FAILED, /* the commit is to be dropped; *why_r says what happened */
};

struct handler_ops {
	/* One of the two. Handles one event of its mount, at once. Commands go into the commit.
	 * *why_r lives until the next call. Must not call into the hub. */
	enum handler_result (*deliver)(struct handler *h, const struct hub_event *e,
				       struct commit *commit, struct span *why_r);
	/* Takes an event that will be settled with delivery_settle, in here or later: one of a
	 * connection at a time, but for runs. */
	void (*give)(struct handler *h, struct event_held *e);
	/* Takes a message of the same connection behind `last`, the last that was given of it,
	 * without waiting for that to be settled: a run, which is settled in its order. False: it
	 * waits. Must not settle anything. May be NULL. */
	bool (*follow)(struct handler *h, struct event_held *last, struct event_held *e);
	/* An event that followed is taken back: what is still said about it is void. handled: it
	 * may have been; else it was no attempt. NULL without follow. */
	void (*withdraw)(struct handler *h, struct event_held *e, bool handled);
	/* The session is over: forget its route. May be NULL. */
	void (*forget)(struct handler *h, struct session *s);
	/* The host stops and no event will follow: lets what was started come to its own end.
	 * Called again until it returns true. May be NULL. */
	bool (*leave)(struct handler *h);
	/* While a connection's close event is with the handler, what that gives the connection is
	 * still sent: it calls conn_echo_close once it has said all. */
	bool answers_until_closed;
	/* After the last event. */
	void (*stop)(struct handler *h);
	void (*free)(struct handler *h);
};

/* The common part, first in each kind's own struct. */
struct handler {
	const struct handler_ops *ops;
	struct mount *mount;
	unsigned wants; /* EVENT_BITs: others are not delivered */
	bool room_states; /* some of its events come with what is kept with a room */
};

/* Does it settle its events later? */
static inline bool handler_is_async(const struct handler *h)
{
	return h->ops->give != NULL;
}

#endif
