/* event: what is delivered to a handler, and the lanes in which events wait for their turn. */
#ifndef TOVA_HUB_EVENT_H
#define TOVA_HUB_EVENT_H

#include <stdint.h>
#include <sys/queue.h>

#include "base/address.h"
#include "base/check.h"
#include "common/rules.h"
#include "common/span.h"
#include "tls/tls.h"
#include "ws/trace_context.h"

struct conn;
struct request;

enum event_kind {
	EVENT_UPGRADE,
	EVENT_OPEN,
	EVENT_MESSAGE,
	EVENT_CLOSE,
	EVENT_ERROR,
	EVENT_TIMER,
	EVENT_REPLY,
	EVENT_WAKE,
	/* of a client of tova.v1 (resume.h), for handlers that ask for them */
	EVENT_AWAY,
	EVENT_BACK,
	/* of a room that is watched (watch.h) */
	EVENT_JOIN,
	EVENT_LEAVE,
	EVENT_KINDS,
};
#define EVENT_BIT(kind) (1u << (kind))

/* A request as a handler wants to know it. */
struct token_claims;

struct event_request {
	/* its bytes may be written to, between its spans; NULL in an event that waited: see head */
	struct request *request;
	struct span head; /* the request as it came, to be parsed again */
	struct address remote, local;
	bool secure;	      /* the client speaks TLS, with us or with a trusted proxy */
	struct tls_facts tls; /* with us; all NULL: none */
	const char *mount_path;
	const struct token_claims *token; /* NULL: the mount asks for none */
	bool traced; /* it belongs to this trace; see session_trace.h */
	struct trace_context trace;
};

/* A handler's answer to an upgrade. */
struct event_answer {
	int status;	 /* 0: accepted */
	const char *why; /* for the log, constant; NULL: that the handler has refused it */
	char subprotocol[RULES_SUBPROTOCOL_MAX + 1];
	char head[RULES_HEAD_MAX]; /* header lines, each with CRLF */
	size_t head_len;
	char type[RULES_TYPE_MAX]; /* of the body; empty: plain text */
	char *body;		   /* of a refusal; malloc, or NULL */
	size_t body_len;
	const void *data; /* initial data of the connection, or NULL for zeroes; the handler's */
	size_t data_len;  /* its bytes; of a handler that answers at once: mount->data_size */
	/* who it is, see identity_set; as far as it is said */
	bool has_user, has_info;
	char user[RULES_NAME_MAX + 1];
	char info[RULES_INFO_MAX + 1];
};

enum event_error {
	EVENT_ERROR_HANDLER = 1,
	EVENT_ERROR_PROTOCOL,
	EVENT_ERROR_TRANSPORT,
	EVENT_ERROR_LIMIT
};

struct event_timer {
	const char *name;
	uint64_t id, delay_ms, period_ms;
};

enum event_query_kind {
	EVENT_QUERY_COUNT = 1,
	EVENT_QUERY_MEMBERS,
	EVENT_QUERY_ROOMS,
	EVENT_QUERY_CONNECTIONS,
	EVENT_QUERY_STATS,
	EVENT_QUERY_HISTORY,
	EVENT_QUERY_USERS,
	EVENT_QUERY_ROOM_STATE,
};

/* A question; it is answered from what is committed when its event is delivered. */
struct event_query {
	uint32_t kind;
	uint32_t limit;	   /* HISTORY; 0: as many as usual */
	uint64_t id;	   /* the asker's */
	uint64_t asker[2]; /* the asker's, too: what it takes for a connection */
	union {
		uint64_t session; /* local id, ROOMS */
		uint64_t since;	  /* HISTORY: an offset; UINT64_MAX: the newest */
	};
	struct span room; /* COUNT, MEMBERS, HISTORY */
};

/* Who has come into a watched room, or has gone from it. One piece of memory. */
struct event_presence {
	uint64_t host, conn; /* the id of the connection with which he has */
	uint32_t users; /* of whom the handler knows then, he and all of whom it was told */
	uint32_t user_len; /* 0: nobody in particular */
	uint16_t info_len;
	uint8_t room_len;
	char texts[]; /* the room, the user and what is said of him, each with a NUL */
};

/* Numbers are to be filled in. The caller's to free; NULL without memory. */
struct event_presence *event_presence_new(struct span room, struct span user, struct span info);
/* Each ends in NUL. */
static inline struct span event_presence_room(const struct event_presence *p)
{
	return (struct span){p->texts, p->room_len};
}
static inline struct span event_presence_user(const struct event_presence *p)
{
	return (struct span){p->texts + p->room_len + 1, p->user_len};
}
static inline struct span event_presence_info(const struct event_presence *p)
{
	return (struct span){p->texts + p->room_len + 1 + p->user_len + 1, p->info_len};
}

/* One event. Pointers are borrowed until it has been handled. */
struct hub_event {
	enum event_kind kind;
	uint32_t attempt;
	uint64_t sequence;	 /* counts the events of the session, or of the mount, from 1 */
	struct session *session; /* NULL: the mount's */
	union {
		struct {
			const struct event_request *request;
			/* UPGRADE, for a handler that answers at once */
			struct event_answer *answer;
			struct conn *conn; /* UPGRADE; NULL: the client has gone meanwhile */
		};
		struct {
			uint8_t *bytes; /* one byte behind them may be written if it is restored */
			size_t len;
			bool binary;
			uint8_t skip; /* bytes in front of it that are not of it */
		} message;
		struct {
			uint16_t code;
			struct span reason;
			const struct room_memberships *rooms; /* that were left */
		} close;
		struct {
			enum event_error kind;
			struct span text;
		} error;
		struct {
			uint16_t code; /* as a close event would have it */
		} away;
		struct event_timer timer;
		struct event_query query;
		const struct event_presence *presence; /* JOIN, LEAVE */
	};
};

/* An event that waits, or that a handler works on, with copies of what it points at. */
struct event_held {
	struct event_held *next;
	struct hub_event event;
	size_t size;  /* bytes, for the account */
	void *memory; /* of a large message, taken over as it came; NULL: it lies behind this */
	struct lane *lane; /* NULL: an upgrade, which belongs to no connection yet */
	/* of the lane's current event: the last of those that are with the handler, linked by
	 * `next` */
	struct event_held *run_last;
	/* The handler's, from `give` to delivery_settle. */
	TAILQ_ENTRY(event_held) link;
	void *with;	 /* the worker that has it */
	uint64_t number; /* `s`: its number there */
	uint64_t since;	 /* when it was delivered, or is to be delivered again */
	uint16_t magic;	 /* CHECK_EVENT */
	uint16_t blame;	 /* deaths that are laid to it */
	uint16_t run;	 /* its place in a run, from 1 */
	uint8_t pardons; /* deaths that may have been its, but that a network was held for */
	uint8_t conflicts; /* times that its commit had an old version, see room_state.h */
	/* stamps of meters.h: when it came, 0: it is not looked at; and, then, when a worker was
	 * given it */
	uint32_t received, given;
	/* a worker died with it: nothing else is under way there when it is delivered */
	bool suspect : 1;
	bool single : 1;   /* it was given before, in a run that ended early: it is given alone */
	bool embedded : 1; /* in the memory of its session */
	bool turn : 1;	   /* it may change a room's state now, see room_state.h */
	bool again : 1;	   /* its commit was undone, and it is given once more */
	/* it was handled, and its commit is parked (gate.h); it holds the place of its lane */
	bool parked : 1;
	_Alignas(struct event_request) char bytes[]; /* the facts of a request lie in front */
};
TAILQ_HEAD(event_queue, event_held);

/* Events that happen one after the other: those of a session, or the mount's own. */
struct lane {
	struct event_held *last; /* of a ring: the one behind it is the first */
	/* that a handler works on, and behind it those that follow in the same run; not among the
	 * others */
	struct event_held *current;
	struct lane *ready_next;
	uint64_t sequence;
	uint32_t waiting; /* bytes of the events that wait */
	uint8_t blame;	  /* deaths of workers that are laid to its events; the handler's */
	bool ready : 1;	  /* in the mount's list of lanes that have work */
	/* its next event is being given: one that is settled at once must not nest */
	bool pumping : 1;
};

/* A copy that owns everything the event points at. NULL without memory. CLOSE points at nothing
 * that its session does not keep. */
struct event_held *event_hold(const struct hub_event *e);
/* Of a message that lies in this memory of `size` bytes, which is taken over (and freed if there is
 * none for the rest). */
struct event_held *event_hold_memory(const struct hub_event *e, void *memory, size_t size);
/* Its lane, if it has one, does not have it any more. NULL: there is none. */
void event_held_free(struct event_held **h_p);
/* This one and those behind it. */
void event_free_all(struct event_held **first_p);

static inline struct event_held *lane_first(const struct lane *lane)
{
	return lane->last != NULL ? lane->last->next : NULL;
}

/* The one that waits behind h; NULL: h is the last. */
static inline struct event_held *lane_next(const struct lane *lane, const struct event_held *h)
{
	return h != lane->last ? h->next : NULL;
}

/* Before all others. */
static inline void lane_push_front(struct lane *lane, struct event_held *h)
{
	if (lane->last == NULL)
		lane->last = h;
	else
		h->next = lane->last->next;
	lane->last->next = h;
}

static inline void lane_push(struct lane *lane, struct event_held *h)
{
	lane_push_front(lane, h);
	lane->last = h;
}

/* Before all that have no number yet: what belongs to the event that has just been handled. Those
 * that were given before keep their numbers, and numbers only rise. */
static inline void lane_push_next(struct lane *lane, struct event_held *h)
{
	struct event_held *before = NULL;
	for (struct event_held *at = lane_first(lane); at != NULL && at->event.sequence > 0;
	     at = lane_next(lane, at))
		before = at;
	if (before == NULL) {
		lane_push_front(lane, h);
		return;
	}
	h->next = before->next;
	before->next = h;
	if (lane->last == before)
		lane->last = h;
}

static inline struct event_held *lane_pop(struct lane *lane)
{
	struct event_held *h = lane_first(lane);
	if (h == NULL)
		return NULL;
	CHECK_IS(h, CHECK_EVENT);
	if (h == lane->last)
		lane->last = NULL;
	else
		lane->last->next = h->next;
	h->next = NULL;
	return h;
}

/* As workers and the log call it; static. */
const char *event_name(enum event_kind kind);

/* Who the connection is, if it is accepted: see identity_set. False: see RULES_INFO_MAX, and rules_name_ok. */
bool event_answer_identity(struct event_answer *a, struct span info, struct span user);
/* False: not allowed (header_ok), or no room. */
bool event_answer_header(struct event_answer *a, const char *name, const char *value);

#endif
