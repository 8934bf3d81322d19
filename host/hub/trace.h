/* trace: what happens to the events of some connections, told to whoever looks on. While nobody
 * does, hub->traces is NULL, and that is all there is of it.
 *
 * Whoever traces is told within what is traced: he writes down what he is told, and calls nothing
 * of the hub. */
#ifndef TOVA_HUB_TRACE_H
#define TOVA_HUB_TRACE_H

#include "hub/hub.h"

#define TRACES_MAX 16 /* at once */

enum trace_point {
	TRACE_RECEIVED,	    /* a message is here, whole */
	TRACE_GIVEN,	    /* to `who` */
	TRACE_ACKNOWLEDGED, /* with so many commands */
	TRACE_COMMITTED,    /* they have taken effect */
	TRACE_FAILED,	    /* nothing of it has: `why` */
	TRACE_WRITTEN,	    /* the client's socket has taken all that waited for it then */
};
#define TRACE_POINTS (TRACE_WRITTEN + 1)

/* Borrowed for the time of the call. */
struct trace_told {
	enum trace_point point;
	const struct mount *mount;
	const struct session *session; /* NULL: an event of the mount */
	enum event_kind kind;
	uint64_t sequence; /* of the event; 0: it has none yet */
	uint32_t attempt;  /* 0: it is not given yet */
	uint64_t bytes;	   /* of a message */
	uint32_t commands;
	struct span who, why;	 /* p NULL: nobody, nothing */
	int64_t us;		 /* of the clock on the wall */
	const char *traceparent; /* NULL: it belongs to no distributed trace */
};

/* What is looked at: each that is given has to be so. */
struct trace_filter {
	const struct mount *mount; /* NULL: any */
	uint64_t local;		   /* a session's; 0: any */
	struct span user;	   /* p NULL: any; copied */
	bool sampled; /* those alone that are, see session_trace.h; no other than one */
};

struct trace;

/* NULL without memory, or where TRACES_MAX look already. */
struct trace *trace_begin(struct hub *hub, const struct trace_filter *filter,
			  void (*tell)(void *ctx, const struct trace_told *told), void *ctx);
/* He is told nothing more. Not while he is being told. */
void trace_end(struct trace **trace_p);

/* Where hub->traces is not NULL. */
void trace_message(struct session *s, size_t len);
void trace_given(struct mount *m, const struct hub_event *e, const char *who);
/* ok: its commands are about to take effect, or have, when `applied`. */
void trace_settled(struct mount *m, const struct hub_event *e, bool ok, bool applied,
		   uint32_t commands, struct span why);

/* Static. */
const char *trace_point_name(enum trace_point point);

#endif
