/* mount: a URL path prefix, its handler, and a name space of rooms. Its events are handled one at a
 * time, in one order. */
#ifndef TOVA_HUB_MOUNT_H
#define TOVA_HUB_MOUNT_H

#include "hub/gate.h"
#include "hub/handler.h"
#include "hub/history.h"
#include "hub/meters.h"
#include "hub/room.h"
#include "hub/session.h"
#include "hub/user_limit.h"
#include "auth/token.h"
#include "net/rate_limit.h"

/* The sessions whose sockets one loop has, or those that may have none. */
struct mount_shard {
	union { /* dense; session->place is its index */
		struct conn **conns;
		struct session **sessions; /* of those of resume.h */
	};
	uint32_t n, cap;
	uint32_t n_unsettled; /* sessions that will come into the array, for which it has room */
	/* the same array on that loop; NULL for the hub's own, and while there was none */
	struct conn_group *group;
};

/* What serves a mount, and since when, for people and programs that deploy. */
struct mount_deploy {
	int64_t at;	/* s of the clock on the wall; 0: nothing has served yet */
	int64_t failed; /* since then something was to take its place, and did not; 0: nothing */
	char why[512];
};

struct mount {
	struct hub *hub;
	char *path; /* "/" or "/a/b" */
	struct handler *handler;
	struct handler *pushers;     /* who attach beside it, and only push and ask; NULL: none */
	uint32_t data_size;	     /* of each session's data */
	struct token_policy *tokens; /* what upgrades must carry; NULL: nothing */
	/* a list: the host chooses one where the handler has not; NULL: it does not */
	char *subprotocols;
	struct rate_limit_rule rule; /* what each connection may send */
	struct budget *budget;	     /* what may be held of what they have sent */
	struct room_table rooms;
	struct history *history;    /* what they remember; NULL: nothing */
	bool said_history_missing;  /* the log has it that somebody asks for that in vain */
	struct mount_shard *shards; /* of the hub's loop, and of each other: 1 + hub->n_far */
	struct mount_shard resumes; /* those of resume.h */
	uint32_t n_sessions;	    /* of all, settled ones */
	struct timer *timers;
	struct lane lane; /* the mount's own events */
	struct lane *ready_first, *ready_last;
	struct commit commit; /* of the event being handled */
	struct gate_queue parked; /* commits that wait for other hosts: gate.h */
	/* whose commit is being judged; NULL: of none that can be given again */
	struct event_held *settling;
	uint8_t slow;	      /* enum slow_policy */
	uint32_t
		resume_ms; /* a session without a socket waits for one so long; 0: there are none */
	struct user_limits user_limits;
	bool running; /* an event is being handled or committed: others wait in their lanes */
	/* commands of the last delivery_commit that named a connection that is gone, or a room
	 * without members */
	uint32_t nobody;
	/* connections that its commands were for, each counted for each command */
	uint64_t receivers;
	/* where the last message is that its commands had a room remember */
	struct history_place kept;
	/* the version that its last set_room has given a room; 0: there was none, or it has emptied
	 * it */
	uint64_t room_version;
	bool counts; /* it is being applied, and counts them */
	/* as in stats, of this one */
	struct mount_faults {
		uint64_t failures, redelivered, quarantined, dropped;
	} faults;
	/* of a million connections so many are sampled for traces; -1: it takes no part in traces */
	int32_t trace_sample;
	struct mount_deploy deploy;
	struct meters *meters; /* NULL: nobody asks */
	struct mount *next;    /* longer paths first */
};

/* It did not get so many messages for reading too slowly. */
static inline void mount_drop(struct session *s, uint32_t messages)
{
	s->mount->faults.dropped += messages;
	session_drop(s, messages);
}

/* path is copied. NULL without memory. */
struct mount *mount_new(struct hub *hub, const char *path);
void mount_free(struct mount **m_p);
/* The list is copied; NULL: none. False without memory: nothing has changed. */
bool mount_set_subprotocols(struct mount *m, const char *list);

/* Its handler is another than before, or the first. now: see mount_deploy. */
void mount_deployed(struct mount *m, int64_t now);
void mount_not_deployed(struct mount *m, int64_t now, const char *why);

/* Does the path lie at or below the mount, by whole segments? */
bool mount_matches(const struct mount *m, struct span path);
/* The mount with the longest path that matches, or NULL. */
struct mount *mount_find(const struct hub *hub, struct span path);

/* Sessions of a mount, for `broadcast`. Room is made when a session begins, so that settling it can
 * not fail. */
bool mount_reserve(struct mount *m, const struct session *s);
void mount_settle(struct mount *m, struct session *s);
/* Settled or not. */
void mount_remove(struct mount *m, struct session *s);
/* The i-th of all. */
struct session *mount_session(const struct mount *m, uint32_t i);
/* The other loops forget their arrays: the last session is over. */
void mount_drop_groups(struct mount *m);

#endif
