/* session: a connection as the hub sees it. It lies in the conn's own memory, from the acceptance
 * of the upgrade until its close event was handled. */
#ifndef TOVA_HUB_SESSION_H
#define TOVA_HUB_SESSION_H

#include "common/id.h"
#include "hub/event.h"
#include "hub/room.h"
#include "net/conn.h"

#define SESSION_ID_TEXT ID_TEXT

/* 128 bits, opaque to everybody else: which host (a random number of each start), which slot, which
 * generation of it. */
struct session_id {
	uint64_t host, local;
};

/* What only some sessions need. It stays until the session is over. */
struct session_more {
	struct timer *timers;
	uint16_t reason_len;
	char *reason; /* what its close event will say, with a NUL behind it; NULL: none */
};

/* Each idle connection pays for what stands here. */
struct session {
	struct mount *mount;
	uint64_t local; /* the id's second half; 0: the session is over */
	struct room_memberships rooms;
	uint32_t place;	  /* in the mount's array of sessions, once it is settled */
	uint32_t dropped; /* messages it did not get for reading too slowly */
	struct lane lane; /* its events */
	void *data;	  /* the handler's; NULL without */
	void *route;	  /* which worker serves it; the handler's */
	/* its close event, or its upgrade while that is being asked about */
	struct event_held *last_event;
	struct session_more *more; /* or NULL; see session_more */
	uint16_t magic;		   /* CHECK_SESSION, once it is one */
	uint16_t close_code;
	uint16_t data_len; /* bytes */
	uint8_t blame;	   /* deaths of workers that are laid to its events; the handler's */
	bool settled : 1; /* its open was handled: it receives broadcasts, and others can name it */
	bool paused : 1;  /* not read from, because its handler is behind */
	/* has left everything; commands that name it do nothing; `rooms` are those that it was
	 * in */
	bool ended : 1;
	bool no_memory : 1;    /* and a victim for that */
	bool victim : 1;       /* reads too slowly: will be ended after the commit */
	bool slow : 1;	       /* messages are given up because it reads too slowly */
	bool memory_limit : 1; /* and a victim for that */
	/* the commit that is being applied has closed it: what follows in that is not sent to it */
	bool parting : 1;
};

static inline struct conn *session_conn(struct session *s)
{
	return conn_of_session(s);
}

/* What is rarely there, made if need be; NULL without memory. */
struct session_more *session_more(struct session *s);
/* What its close event says. */
static inline struct span session_close_reason(const struct session *s)
{
	return s->more != NULL ? (struct span){s->more->reason, s->more->reason_len}
			       : (struct span){0};
}

/* See common/id.h. */
void session_id_text(struct session_id id, char text[SESSION_ID_TEXT]);
bool session_id_parse(struct span text, struct session_id *id_r);

#endif
