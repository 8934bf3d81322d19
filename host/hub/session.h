/* session: a client as the hub knows it, from the acceptance of its upgrade until its close event
 * was handled: identity, rooms, state, events, timers. Its socket is a conn (net/conn.h), which has
 * memory of its own: session_attach gives it one, session_detach takes it away. */
#ifndef TOVA_HUB_SESSION_H
#define TOVA_HUB_SESSION_H

#include <stdlib.h>

#include "base/check.h"
#include "common/id.h"
#include "hub/event.h"
#include "hub/identity.h"
#include "hub/room.h"

#define SESSION_RESUMES UINT8_MAX
#define SESSION_ID_TEXT ID_TEXT
/* Bytes of a client's path that are kept to be shown. */
#define SESSION_PATH_MAX 255

/* 128 bits, opaque to everybody else: which host (a random number of each start), which slot, which
 * generation of it. */
struct session_id {
	uint64_t host, local;
};

/* What only some sessions need. It stays until the session is over. */
struct session_more {
	struct timer *timers;
	struct resume *resume; /* see resume.h; NULL: it ends with its socket */
	char *reason;	       /* what its close event will say, with a NUL behind it; NULL: none */
	char *path;	       /* that it asked for; NULL: its mount's own */
	struct identity *identity; /* who its client is; NULL: nothing is known */
	struct access *access;	   /* see access.h; NULL: nobody asks */
	struct session_trace *trace; /* see session_trace.h; NULL: it belongs to none */
	uint32_t dropped;	   /* messages it did not get for reading too slowly */
	uint16_t reason_len;
	uint16_t data_len;  /* bytes of what a handler that settles later keeps with it */
	uint64_t route_key; /* which workers its key is for, the handler's; 0: it has none */
};

/* The same where the handler settles later: memory for its close event is there from the start. */
struct session_more_async {
	struct session_more more;
	struct event_held close_event;
};

/* Each idle connection pays for what stands here. */
struct session {
	struct mount *mount;
	struct conn *conn; /* see session_conn */
	uint64_t local;	   /* the id's second half; 0: the session is over */
	union {
		struct room_memberships rooms;
		struct session *over_next; /* once it is over: see hub_session_over */
	};
	/* its events; its upgrade is `current` while that is being asked about */
	struct lane lane;
	void *data;		   /* the handler's; NULL without */
	void *route;		   /* which worker serves it; the handler's */
	struct session_more *more; /* or NULL; see session_more */
	union {
		uint32_t place;	     /* in the mount's array of sessions, while it is there */
		uint16_t close_code; /* once it has ended */
	};
	uint16_t magic; /* CHECK_SESSION */
	/* where it stands among its mount's and in rooms: the loop that has its socket, or
	 * SESSION_RESUMES: that it may have none, see resume.h */
	uint8_t shard;
	bool settled : 1; /* its open was handled: it receives broadcasts, and others can name it */
	bool paused : 1;  /* not read from, because its handler is behind */
	/* has left everything; commands that name it do nothing; `rooms` are those that it was
	 * in */
	bool ended : 1;
	bool no_memory : 1;    /* and a victim for that */
	bool victim : 1;       /* reads too slowly: will be ended after the commit */
	bool slow : 1;	       /* messages are given up because it reads too slowly */
	bool memory_limit : 1; /* and a victim for that */
	bool closing : 1;      /* its close event was taken */
	bool watched : 1;      /* somebody looks at it: access.h */
	bool sampled : 1;      /* for traces: session_trace.h */
	/* it was made to end, or was away for as long as it may be: its client is not expected
	 * back */
	bool dismissed : 1;
};

/* Without one yet: for an upgrade that was accepted, or is asked about. async: its handler settles
 * later. NULL without memory. */
struct session *session_new(struct mount *m, bool async);
/* Of one that nobody knows any more, and which has no conn. */
void session_free(struct session **s_p);

/* Its client's address, also of one that is away. */
const char *session_remote_text(const struct session *s, char text[ADDRESS_TEXT]);

/* The session gets the conn, which has no user yet. */
void session_attach(struct session *s, struct conn *c);
/* It has none any more; the conn, which is about to end or has, is released. */
void session_detach(struct session *s);

/* NULL: it is away (resume.h). */
static inline struct conn *session_conn(const struct session *s)
{
	return s->conn;
}

/* What is rarely there, made if need be; NULL without memory. Where the handler settles later it is
 * always there. */
static inline struct session_more *session_more(struct session *s)
{
	if (s->more == NULL)
		s->more = calloc(1, sizeof *s->more);
	return s->more;
}
/* Messages it did not get for reading too slowly. Without memory to count them they are not. */
void session_drop(struct session *s, uint32_t messages);
/* It asked for another path than its mount's, which is kept, at most SESSION_PATH_MAX bytes of it,
 * if there is memory. See hub_session_path. */
void session_set_path(struct session *s, struct span path);
static inline uint32_t session_dropped(const struct session *s)
{
	return s->more != NULL ? s->more->dropped : 0;
}
/* What its close event says. */
static inline struct span session_close_reason(const struct session *s)
{
	return s->more != NULL ? (struct span){s->more->reason, s->more->reason_len}
			       : (struct span){0};
}
/* The room that --route room goes by, and whose state its events come with: the first that it has
 * joined, and once it has left that one of the others; of one that has ended, as it was then. NULL: it
 * is in none. */
static inline const struct room *session_first_room(const struct session *s)
{
	return s != NULL && room_count(&s->rooms) > 0 ? s->rooms.list->v[0].room : NULL;
}
/* What a handler that settles later keeps with it. */
static inline struct span session_state(const struct session *s)
{
	return s->more != NULL ? (struct span){s->data, s->more->data_len} : (struct span){0};
}

/* Whose connection the event is about, as its token says ("sub"), or as whom it counts among users;
 * NULL: nobody's. What its token says, JSON; NULL: there was none. Borrowed until the event is
 * handled. */
const char *session_event_subject(const struct hub_event *e);
const char *session_event_user(const struct hub_event *e);
const char *session_event_claims(const struct hub_event *e);

/* See common/id.h. */
void session_id_text(struct session_id id, char text[SESSION_ID_TEXT]);
bool session_id_parse(struct span text, struct session_id *id_r);

#endif
