/* commit: the commands of one event, collected while its handler works and applied as one, or
 * dropped as one.
 *
 * Each command is checked when it is added; the first that is wrong spoils the commit. What goes
 * out is written down as a finished frame at once, so that applying a command moves references and
 * no bytes.
 */
#ifndef TOVA_HUB_COMMIT_H
#define TOVA_HUB_COMMIT_H

#include <stdint.h>

#include "base/chunk.h"
#include "base/hash.h"
#include "common/span.h"
#include "hub/event.h"
#include "hub/selection.h"

/* of all that one event sends, so that a loop in a handler ends as its failure */
#define COMMIT_BYTES_MAX (256u << 20)
#define COMMIT_COMMANDS_MAX (1u << 20)
#define COMMIT_WHOLE UINT32_MAX

enum commit_error {
	COMMIT_OK = 0,
	COMMIT_E_ROOM,
	COMMIT_E_UTF8,
	COMMIT_E_LIMIT,
	COMMIT_E_ARG,
	COMMIT_E_MEMORY,
	/* Of a commit as a whole: see room_limits.h. */
	COMMIT_E_ROOM_NAME,
	COMMIT_E_ROOMS,
	COMMIT_E_MOUNT_ROOMS,
	COMMIT_E_STATE, /* see state.h */
	COMMIT_E_HISTORY, /* see history.h */
	/* Of what a worker wrote. */
	COMMIT_E_DELAY,
	COMMIT_E_EXCLUDE,
	COMMIT_E_WANT,
	COMMIT_E_CONN,
	COMMIT_E_INFO,
	COMMIT_E_USER,
	COMMIT_E_LIST,
	/* Of a join's conditions: see condition.h. */
	COMMIT_E_FULL,
	COMMIT_E_FIRST,
	COMMIT_E_USERS,
	/* Of a room's state: see room_state.h. */
	COMMIT_E_ROOM_STATE,
	COMMIT_E_ROOM_STATE_TRIES,
	COMMIT_E_ROOM_STATE_BYTES,
	COMMIT_E_ROOM_STATE_SIZE,
	/* Of a prolong: see prolong.h. */
	COMMIT_E_TOKEN,
	COMMIT_E_NO_TOKENS,
	/* Of a watch: see watch.h. */
	COMMIT_E_WATCHES,
	COMMIT_E_GRACE,
	/* Of a push: its time was over before it came. */
	COMMIT_E_EXPIRED,
	/* Of a push: whoever gave it may not do that. */
	COMMIT_E_SCOPE,
	/* In a cluster (gate.h): not done yet over several hosts, or not now. */
	COMMIT_E_ELSEWHERE,
	COMMIT_E_CONDITION,
	COMMIT_E_BIG,
	COMMIT_E_PUSH,
	COMMIT_E_ALONE,
	COMMIT_E_AWAY,
};

enum command_kind {
	COMMAND_SEND, /* these have a frame: see command_has_frame */
	COMMAND_BROADCAST,
	COMMAND_BROADCAST_TO,
	COMMAND_BROADCAST_AMONG,
	COMMAND_JOIN,
	COMMAND_LEAVE,
	COMMAND_CLOSE,
	COMMAND_SET,
	COMMAND_TIMER,
	COMMAND_CANCEL,
	COMMAND_QUERY,
	COMMAND_INFO,
	COMMAND_LEAVE_ALL,
	COMMAND_CLOSE_ROOM,
	COMMAND_SET_ROOM,
	COMMAND_PROLONG,
	COMMAND_WATCH,
	COMMAND_UNWATCH,
};

/* What has to be true when a join is done, or its event fails; and what is done then. All zero:
 * nothing. */
struct commit_conditions {
	uint32_t max;	    /* members that the room has afterwards, at most; 0: any number */
	uint32_t users_max; /* users, of which one may have several connections there */
	bool first;	    /* nobody else is there */
	bool replace;	    /* the others are closed */
};

/* What a join wants of what its room remembers: see history.h. */
enum history_how {
	HISTORY_WANT_NOTHING,
	HISTORY_WANT_LAST,	    /* the last so many */
	HISTORY_WANT_SINCE_OR_LAST, /* all behind an offset; if some are missing the last so many */
	HISTORY_WANT_SINCE_OR_FAIL, /* or else the event fails */
};

struct history_want {
	uint8_t how; /* enum history_how */
	uint32_t last;
	uint64_t since; /* 0: from the beginning */
	uint64_t epoch; /* of that */
};

struct command {
	uint8_t kind;
	/* CLOSE, CLOSE_ROOM; UNWATCH: 1 if only where nobody is; SET, SET_ROOM: 1 if it compares; JOIN: 1: see command_is_judged; BROADCAST_TO,
	 * BROADCAST_AMONG: 1 if it is not kept */
	uint16_t code;
	uint32_t text, text_len; /* in the arena: room, reason, data, timer's name, token */
	uint64_t target; /* local id of the session named; 0: one that is not here, or none */
	union {
		struct {
			struct slice frame; /* what is sent */
			uint64_t exclude;
			uint64_t key; /* hash of its conflation key; 0: none */
		};
		struct history_want want; /* JOIN */
		struct {
			uint64_t id, delay_ms, period_ms;
		} timer;
		struct {
			uint64_t id, asker[2];
			uint32_t kind, limit;
		} query;
		uint32_t grace_ms; /* WATCH */
		struct {
			uint32_t text, len; /* in the arena: what a SET that compares expects */
		} expected;
		struct {
			uint32_t text, len; /* in the arena: what a SET_ROOM sets */
			uint64_t version;   /* that it replaces, if it compares */
			uint64_t next;	    /* that it makes; 0: any */
		} room_state;
		struct {
			uint32_t text, len; /* in the arena: the user of an INFO; of a CLOSE_ROOM
					     * whom it is for, see selection.h */
			bool is_set, info_is_set; /* INFO: the user, the text */
		} more;
	};
};

struct commit {
	struct command *commands;
	uint8_t *arena;
	uint32_t n, cap, arena_len, arena_cap;
	uint64_t bytes;
	bool judged;		 /* some may fail when it comes to that: see delivery_judge */
	bool parted;		 /* while it is applied: it has closed its own connection */
	uint64_t mount_next; /* the version that a commit_set_mount makes; 0: there is none */
	/* It is about to be applied, of that event: for a handler that settles at once. NULL: nothing */
	void (*applied)(void *ctx, const struct hub_event *e);
	void *applied_ctx;
	enum commit_error error; /* of the first command that was wrong */
	uint32_t wrong;		 /* its place, from 0; COMMIT_WHOLE: it is none of them */
	struct session *origin;	 /* whose event it is, or NULL */
	/* the same where what it gives its own connection is an answer, for which that is not read
	 * from if it does not read; NULL for timers, where to read less would not stop it, so that
	 * the queue's bound has to */
	struct session *answers;
	/* text that is known to be UTF-8: the event's own, which many handlers pass on as it
	 * came */
	struct span checked;
	struct chunk_pool *chunks;
	uint32_t data_size;
	/* of conflation keys; NULL: they are checked, and mean nothing */
	const struct hash_key *hash;
};

/* data_size: most bytes of a `set`. */
void commit_init(struct commit *c, struct chunk_pool *chunks, uint32_t data_size);
/* Starts anew; keeps its memory. */
static inline void commit_begin(struct commit *c, struct session *origin)
{
	c->origin = c->answers = origin;
	c->error = COMMIT_OK;
	c->judged = false;
	c->bytes = 0;
	c->checked = (struct span){0};
	c->mount_next = 0;
	c->applied = NULL;
}
/* Its memory goes; there are no commands, or they were dropped. */
void commit_free(struct commit *c);
/* Drops all commands. */
void commit_drop(struct commit *c);
/* The same for commands that hold nothing any more. A rare large commit gives its memory back. */
/* bytes of the arena, and of commands, that are kept for the next event */
#define COMMIT_KEEP 65536
static inline void commit_emptied(struct commit *c)
{
	c->n = c->arena_len = 0;
	if (c->arena_cap > COMMIT_KEEP || c->cap > COMMIT_KEEP / sizeof *c->commands)
		commit_free(c);
}
static inline bool command_has_frame(const struct command *command)
{
	return command->kind <= COMMAND_BROADCAST_AMONG;
}
static inline void command_drop(struct command *command)
{
	if (command_has_frame(command))
		slice_unref(&command->frame);
}
/* Makes the event fail for an error that was found before a command could be added. Returns
 * error. */
enum commit_error commit_spoil(struct commit *c, enum commit_error error);
/* The same for one that was added, or, with COMMIT_WHOLE, for all together. */
enum commit_error commit_spoil_at(struct commit *c, enum commit_error error, uint32_t wrong);

/* Each returns c->error of this command; after the first error the commit stays spoiled. target 0:
 * a connection that is gone; the command is counted when it is applied. */
enum commit_error commit_send(struct commit *c, uint64_t target, bool binary, const void *data,
			      size_t len);
enum commit_error commit_join(struct commit *c, uint64_t target, struct span room);
/* conditions: what has to be true when it is done. want: and is sent what the room remembers. */
enum commit_error commit_join_if(struct commit *c, uint64_t target, struct span room,
				 const struct commit_conditions *conditions,
				 const struct history_want *want);
enum commit_error commit_leave(struct commit *c, uint64_t target, struct span room);
enum commit_error commit_leave_all(struct commit *c, uint64_t target);
/* A fresh token for the connection's. */
enum commit_error commit_prolong(struct commit *c, uint64_t target, struct span token);
/* exclude: local id of whom it is not for; 0: it is for all. */
enum commit_error commit_broadcast(struct commit *c, bool binary, const void *data, size_t len,
				   uint64_t exclude);
enum commit_error commit_broadcast_to(struct commit *c, struct span room, bool binary,
				      const void *data, size_t len, uint64_t exclude);
enum commit_error commit_broadcast_among(struct commit *c, const struct selection *among,
					 bool binary, const void *data, size_t len);
/* Gives the join that was added last conditions, and what was added last for a room or all further
 * rooms, and those who are left out. COMMIT_E_ARG: it is none; nothing is spoiled. */
enum commit_error commit_condition(struct commit *c, const struct commit_conditions *conditions);
enum commit_error commit_among(struct commit *c, const struct selection *others);
/* Gives the message that was added last a conflation key; an empty one is none. */
enum commit_error commit_key(struct commit *c, struct span key);
/* What was added last is a join; it is sent what its room remembers. */
enum commit_error commit_history(struct commit *c, const struct history_want *want);
/* What was added last is a broadcast to rooms, which do not remember it. */
enum commit_error commit_unkept(struct commit *c);
enum commit_error commit_close(struct commit *c, uint64_t target, uint16_t code,
			       struct span reason);
/* Of all of the selection, which has rooms. */
enum commit_error commit_close_room(struct commit *c, const struct selection *of, uint16_t code,
				    struct span reason);
/* See identity_set. */
enum commit_error commit_info(struct commit *c, uint64_t target, struct span info,
			      struct span user);
enum commit_error commit_set(struct commit *c, uint64_t target, const void *data, size_t len);
/* The commit fails if what is stored is something else than these bytes when it comes to that; see
 * state.h. */
enum commit_error commit_set_if(struct commit *c, uint64_t target, const void *data, size_t len,
				const void *expected, size_t expected_len);
/* What is kept with the room, of which *version there is now; NULL: of any. See room_state.h; no bytes:
 * nothing is kept. */
enum commit_error commit_set_room(struct commit *c, struct span room, const void *data, size_t len,
				  const uint64_t *version);
/* What the plugin of a worker keeps for its mount: it has made it from `version` (0: there was
 * nothing), and calls it `next`. */
enum commit_error commit_set_mount(struct commit *c, const void *data, size_t len, uint64_t version,
				   uint64_t next);
/* of_session: the timer belongs to `target`; else to the mount. */
enum commit_error commit_timer(struct commit *c, bool of_session, uint64_t target,
			       const struct event_timer *timer);
enum commit_error commit_cancel(struct commit *c, bool of_session, uint64_t target,
				struct span name);
/* grace_ms: how long a user whose last connection was lost still counts as there; see
 * RULES_GRACE_MAX_MS. */
enum commit_error commit_watch(struct commit *c, struct span room, uint64_t grace_ms);
/* if_empty: only where nobody is there any more. */
enum commit_error commit_unwatch(struct commit *c, struct span room, bool if_empty);
enum commit_error commit_query(struct commit *c, const struct event_query *query);

static inline struct span commit_text(const struct commit *c, const struct command *command)
{
	/* There may be no arena yet, and nothing is added to no pointer. */
	return (struct span){command->text_len > 0 ? (const char *)c->arena + command->text : "",
			     command->text_len};
}

/* A join with conditions, which lie in the arena in front of its room. */
static inline bool command_is_judged(const struct command *command)
{
	return command->kind == COMMAND_JOIN && command->code == 1;
}
/* All zero without. */
struct commit_conditions commit_conditions_of(const struct commit *c,
					      const struct command *command);

/* A sentence, static; empty for COMMIT_OK. */
const char *commit_error_text(enum commit_error error);

#endif
