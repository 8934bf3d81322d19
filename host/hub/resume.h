/* resume: sessions of clients that speak tova.v1 (ws/tova_v1.h), which count what is sent both
 * ways, may lose their socket, and come back.
 *
 * What such a session is sent has a number and waits here until its socket has room for it, so that
 * whatever is given up is told in its place; what the socket has taken is kept until the client
 * confirms it, or until it is too much. A session without a socket is *away*: it stays in its
 * rooms, and ends when nobody comes back for it in time.
 */
#ifndef TOVA_HUB_RESUME_H
#define TOVA_HUB_RESUME_H

#include "hub/commit.h"
#include "hub/history.h"
#include "hub/kept.h"
#include "hub/resume_token.h"
#include "hub/session.h"
#include "net/client_addr.h"
#include "net/rate_limit.h"
#include "net/conn_outcome.h"
#include "net/out_message.h"

#define RESUME_TAKEN_OVER 4409 /* close code: another socket has the session */

struct hub;
struct mount;

/* Of what waits for a session's socket, what does not count where that is judged by --max-queue:
 * see resume_grace.c. */
struct resume_grace {
	uint64_t from, to; /* numbers of the messages that it is */
	uint64_t bytes;	   /* of these; 0: there are none */
	uint64_t given;	   /* what the last delivery has added to what waits */
	uint32_t delivery; /* which that was, as the loop counts them */
	bool over;	   /* it is more than may wait, and so is among them */
	bool pardoned;	   /* some of them are not answers */
};

/* Of one session, from the acceptance of its upgrade, or the question for it, to its end. */
struct resume {
	struct session *session;
	/* The one before stays good until the first frame arrives on the new socket: whoever shows
	 * it gets the same new one again. One of the past is good for nothing, but known. */
	struct resume_token token, before, past;
	const struct resume_token *by; /* with which it is just coming back */
	uint64_t in, done;	       /* messages of the client: received, settled */
	uint64_t done_sent;	       /* the last `done` that it was told */
	uint64_t out, fed,
		confirmed;   /* messages for it: the last, that a socket took, that it has */
	uint64_t most;	     /* that any socket took, before the last return */
	struct kept written; /* that a socket has taken, and it has not confirmed */
	struct kept waiting; /* that wait for a socket, or for room there */
	struct resume_grace grace; /* of those */
	uint64_t failed[TOVA_V1_FAILED_MAX];
	uint32_t n_failed;	  /* events of its messages that failed, of which it may not know */
	uint32_t n_failed_unsent; /* of those, the last, of which it was not told */
	uint64_t failed_sent_at;  /* `fed` when it was last told: who has the next one was told */
	bool keeps;		  /* it may come back: see --resume */
	bool away, due;		  /* in the lists of those */
	bool counted;		  /* at its address, as one that is away */
	bool held;		  /* not read from, as it does not read its own answers */
	char *protocol;		  /* the application's subprotocol; NULL: none */
	struct rate_limit *rate;  /* of its messages; NULL: any */
	struct address remote;	  /* of its last socket */
	uint64_t away_at;	  /* ms */
	bool starves;		  /* in the list of those */
	TAILQ_ENTRY(resume) away_link, due_link, kept_link, starving_link;
};
TAILQ_HEAD(resume_list, resume);

/* A session that somebody closed: who comes back in time hears of it. */
struct resume_end {
	/* its client may not have seen the newest */
	struct resume_token token, before;
	const struct mount *mount;
	uint64_t until; /* ms */
	TAILQ_ENTRY(resume_end) link;
	uint16_t code;
	uint8_t reason_len;
	char reason[]; /* at most RULES_REASON_MAX */
};

struct resume_limits {
	uint32_t queue;	   /* bytes kept for one session */
	uint32_t messages; /* and so many */
	uint64_t kept_max; /* bytes of all, shared ones once; 0: any number */
};

/* Of a hub. */
struct resumes {
	struct resume_limits limits;
	struct resume_tokens tokens;
	struct resume_list due;	 /* have something to say at the end of the turn */
	struct resume_list away; /* longest first */
	struct resume_list kept; /* that keep something */
	TAILQ_HEAD(, resume_end) ends;
	uint32_t n_ends, n_away;
	struct resume_list starving; /* have something to say for which there was no memory */
	uint64_t held;		     /* bytes */
	uint64_t shown;		     /* of these, in the stats */
	struct loop_timer tick;
	/* are all sockets taken if so many sessions without one count? NULL: never */
	bool (*full)(void *ctx, uint32_t away);
	void *full_ctx;
	const struct client_addr *client_addr; /* which counts them, too; NULL: nobody does */
};

/* The hub has its loop. resumes_free: all sessions are over. */
void resumes_init(struct resumes *all, struct hub *hub);
void resumes_free(struct resumes *all);
/* Does it have to be called? It is asked in each turn. */
static inline bool resumes_have_work(const struct resumes *all)
{
	return !TAILQ_EMPTY(&all->due) || all->held != all->shown ||
	       (all->held > all->limits.kept_max && all->limits.kept_max != 0);
}
/* At the end of a turn: what is due is said, what is kept stays within its bounds. */
void resumes_on_turn(struct hub *hub);

static inline struct resume *session_resume(const struct session *s)
{
	return s->more != NULL ? s->more->resume : NULL;
}

/* The session speaks tova.v1. False without memory. */
bool resume_begin(struct session *s);
/* What the application's subprotocol is. False without memory. */
bool resume_know(struct session *s, struct span subprotocol);
/* Its upgrade is accepted: its first message. Call it behind conn_accept. */
void resume_welcome(struct hub *hub, struct session *s, bool resumed);
/* With the session's memory, at the end of the turn. */
void resume_free(struct hub *hub, struct session *s);

/* --- what it sends ---------------------------------------------------------------------------- */

/* A message has come. What is data is in *data_r and *len_r then; false: it was a control message,
 * or one too many, and is dealt with. */
bool resume_take(struct hub *hub, struct session *s, bool binary, uint8_t **data_r, size_t *len_r);
/* The event of one of its messages was settled. */
void resume_settled(struct hub *hub, struct session *s, bool ok);

/* --- what it is sent -------------------------------------------------------------------------- */

/* One message on its way to one of them, or to many. */
struct resume_cast {
	const struct slice *frame; /* as for everybody else */
	struct out_message *out;   /* of that */
	uint64_t key;
	bool escaped;		/* `kept` says something else than `frame` */
	struct slice kept;	/* made when it is needed; chunk NULL: it was not */
	struct out_message own; /* of `kept`, where it is escaped */
};
/* What it points at stays the caller's, until resume_cast_free, which drops what was made. */
void resume_cast_init(struct resume_cast *cast, const struct slice *frame, struct out_message *out,
		      uint64_t key);
void resume_cast_free(struct resume_cast *cast);
/* own: it answers the session's own event. */
void resume_send(struct hub *hub, struct session *s, struct resume_cast *cast, bool own);
/* What of a room's memory follows, in its place. */
void resume_tell_history(struct hub *hub, struct session *s, struct span room,
			 const struct history_found *found, bool own);
/* What waits is sent now, whatever is on its way already: its close frame follows. */
void resume_flush(struct hub *hub, struct session *s);
/* See conn_ops: there is room again. */
void resume_on_drained(struct conn *c);

/* What waits for the client, with what waits here for its socket. */
struct conn_load session_load(const struct session *s);

/* --- away and back ---------------------------------------------------------------------------- */

/* The socket is lost. True: the session stays, without it. */
bool resume_leave(struct hub *hub, struct session *s, enum conn_end end, uint16_t code);
/* Somebody new has come from that address: where it has more than it may have, those of its sessions
 * end that are away for the longest time. */
void resumes_make_way(struct hub *hub, const struct address *remote);
/* A session ends, whoever ends it. */
void resume_end(struct hub *hub, struct session *s);
/* Before that, where it is ended with that code from here: a client that is away, or may be, is
 * told when it comes back. */
void resume_end_note(struct hub *hub, struct session *s, uint16_t code, struct span reason);
/* What whoever is too late to come back is told; code 0: nobody knows of it. */
struct resume_over {
	uint16_t code;
	struct span reason; /* until the hub's next call */
};
/* Who comes back with this offer: the session, or NULL and *over_r. */
struct session *resume_find(struct hub *hub, const struct mount *m,
			    const struct tova_v1_offer *offer, const char *subject,
			    struct resume_over *over_r);
/* It comes back on this conn, which is accepted: see resume_welcome. got: what it has received, no
 * more than it was ever sent. */
void resume_back(struct hub *hub, struct session *s, uint64_t got);
/* Behind its welcome: what it has missed. */
void resume_go_on(struct hub *hub, struct session *s);
/* Behind that: the handler hears of its return. What it was not told yet of earlier losses and
 * returns it never hears of, so that a client that comes and goes makes nothing grow. The session
 * may end in here. */
void resume_tell_back(struct session *s, const struct event_request *request);
/* Is there room for the event of a return, if its handler asks for them? */
bool resume_may_tell(const struct mount *m);
/* Was it ever sent that many? */
bool resume_was_sent(const struct session *s, uint64_t got);
/* How its return stands to the socket that is still there: that one's client has not said a word
 * since it was given a newer token, and may be the one that is alive. */
bool resume_is_behind(const struct session *s);
/* The token with which it is coming back is good no more: that socket has just said something. */
bool resume_is_outdone(const struct session *s);

#endif
