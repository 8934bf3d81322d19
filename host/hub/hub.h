/* hub: all mounts and sessions, and what conns tell of them.
 *
 * A commit is applied whole (hub/apply.h), in order, between two events. What it means for a
 * connection whose socket another loop has goes there as a record (threads/remote_conn.h), in the
 * same order; a broadcast goes to each loop once, which knows who the members are that it has. With
 * one loop all of this is a function call.
 */
#ifndef TOVA_HUB_HUB_H
#define TOVA_HUB_HUB_H

#include "base/check.h"
#include "base/hash.h"
#include "base/slotmap.h"
#include "net/budget.h"
#include "net/loop.h"
#include "hub/mount.h"
#include "hub/resume.h"
#include "hub/room_limits.h"
#include "hub/room_state.h"
#include "hub/timer.h"

/* Bytes of events that may wait behind a connection's current one before it is not read from any
 * more. */
#define HUB_LANE_MAX (256u << 10)
/* One bit less, so that an id's text begins with a letter: a leading `-` would be an option
 * wherever an id is typed in a shell. */
#define HUB_HOST_ID_MASK (UINT64_MAX >> 1)

struct conn_ops;

/* Each code has a count of its own, those of applications (4000 to 4999) as many as there is room
 * for. */
#define CLOSE_COUNTS 48
struct close_counts {
	struct close_count {
		uint16_t code;
		uint64_t n;
	} codes[CLOSE_COUNTS];
	unsigned n;
	uint64_t others;
};

/* What those who know little of the hub tell those who know all of it (hub.c). */
struct hub_ops {
	/* A session has ended: its close event is due. */
	void (*ended)(struct mount *m, struct session *s);
	/* The event of a timer is due, of this session or (NULL) of the mount. */
	bool (*timer)(struct mount *m, struct session *s, struct hub_event *e);
	/* The token that it came with is good no more. */
	void (*token_over)(struct session *s);
	/* Whether traces are told of messages as they come. */
	void (*trace_messages)(struct hub *hub, bool on);
};

struct hub {
	uint16_t magic; /* CHECK_HUB */
	const struct hub_ops *ops;
	struct loop *loop;
	/* of all loops; NULL: there is this one only */
	struct stats (*all_stats)(const void *ctx);
	const void *all_stats_ctx;
	uint32_t n_far; /* how many; set before there are mounts */
	struct log *log;
	struct slotmap sessions; /* local id to session */
	uint64_t host_id;	 /* first half of every id of this host's connections */
	struct hash_key key;
	struct mount *mounts;	  /* longest path first */
	struct session **victims; /* read too slowly, to be ended; room for all sessions */
	uint32_t n_victims, cap_victims;
	struct session *over; /* whose memory goes with the turn */
	struct loop_hook hook;
	struct loop_timer more_victims; /* set: there are more than are ended in one turn */
	bool watching_due;		/* a handler may be told who has come or gone */
	struct loop_timer watching_later; /* set: there is more to be told than fits into a turn */
	char *const *origins;		/* see upgrade_origin_ok; the settings' */
	/* Where the admin page comes from, whose console may connect; the server's. */
	char **page_origins;
	size_t n_page_origins;
	size_t n_origins;
	struct room_limits room_limits;
	struct resumes resumes;	    /* clients that may come back */
	struct histories histories; /* what rooms remember */
	struct room_states room_states; /* what handlers keep with rooms */
	struct tova_v1_offer offer; /* of the upgrade that is being decided */
	struct timers timers;	    /* of all mounts and sessions */
	struct log *access_log;	    /* NULL: none */
	struct traces *traces;	    /* see trace.h; NULL: nobody looks */
	const struct gate *gate;    /* see gate.h; NULL: there is this host only */
	struct conn_ops *conn_ops;  /* of the hub's conns; NULL: nothing can be traced */
	uint64_t started_ms;
	struct budgets budgets;	    /* of the mounts: what they may hold */
	bool draining;		    /* upgrades get 503 */
	bool measures;		    /* mounts have meters; set before there are any */
	struct close_counts closes; /* with which codes connections have ended */
	void (*emptied)(void *ctx); /* the last session is over; NULL: nobody asks */
	void *emptied_ctx;
};

/* False with errno when there are no random numbers, or no descriptor; hub_free is for either. */
bool hub_init(struct hub *hub, struct loop *loop);
/* Forgets every session without telling its handler: the host stops at once. Before conns_free. */
void hub_drop_sessions(struct hub *hub);
/* The conns are gone, the handlers stopped. */
void hub_free(struct hub *hub);

/* The hub's side of conns: pass these and the hub to conns_init. `request` is left for others to
 * fill in. */
extern const struct conn_ops hub_conn_ops;

/* Takes over the mount. */
void hub_add_mount(struct hub *hub, struct mount *m);

/* --- hub_session.c ---------------------------------------------------------------------------- */

/* Room for one session more. Returns false without memory. */
bool hub_reserve(struct hub *hub);
/* Its id as a text, which is put into `text` and returned; NULL: there is no session. */
const char *hub_session_text(const struct session *s, char text[SESSION_ID_TEXT]);

/* The session of that mount, or NULL: gone, of another mount, of another host, or not settled yet,
 * when only its own open event's commands can name it. */
static inline struct session *hub_find_session(const struct hub *hub, const struct mount *m,
					       uint64_t local)
{
	struct session *s = slotmap_get(&hub->sessions, local);
	CHECK(s == NULL || s->magic == CHECK_SESSION);
	return s != NULL && s->mount == m && !s->ended && (s->settled || s == m->commit.origin)
		       ? s
		       : NULL;
}

/* The path that it asked for. */
const char *hub_session_path(const struct session *s);
/* It has its id from now on. */
void hub_session_opened(struct session *s);
/* How long ago that was, in steps of a tenth of a second. */
uint64_t hub_session_age_ms(const struct session *s);

/* What all loops have counted. */
static inline struct stats hub_stats(const struct hub *hub)
{
	return hub->all_stats != NULL ? hub->all_stats(hub->all_stats_ctx) : hub->loop->stats;
}

/* Stops reading from the session while its own events wait, and goes on when they are few. What all
 * of a mount hold: net/budget.h. */
void hub_pause(struct session *s);
void hub_unpause(struct session *s);

/* It is ended after the commit: the members of a room may be being walked, and the rest of the
 * commit counts it as there. */
void hub_mark_victim(struct hub *hub, struct session *s);

/* --- hub_end.c -------------------------------------------------------------------------------- */

/* From here on nobody finds the session. It is over once its close event was handled. */
void hub_end_session(struct session *s, uint16_t code, struct span reason);
/* Ends those that were found to read too slowly, some of them in this turn. */
void hub_end_victims(struct hub *hub);
/* Ends a session: it leaves its rooms, `close` is queued for its handler, and the close handshake
 * starts. */
void hub_close_session(struct session *s, uint16_t code, struct span reason, bool urgent);
/* Its earlier events have been dealt with: its close frame may leave. */
void hub_echo_close(struct session *s);
/* The close event was handled: nothing knows the session any more. */
void hub_session_over(struct session *s);

/* --- hub_dropped.c ---------------------------------------------------------------------------- */

/* So many messages of it were dropped, as it sends more than it may: a line and an error, once in
 * the time of its mount's rule. */
void hub_dropped(struct session *s, uint32_t n);

#endif
