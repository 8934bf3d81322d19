/* harness: what the files of the test harness share: a mount as it is in a host, in memory. */
#ifndef TOVA_TEST_HARNESS_H
#define TOVA_TEST_HARNESS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "common/abi.h"
#include "common/buffer.h"
#include "common/rules.h"
#include "common/scratch.h"
#include "test/tova_test.h"

#define HARNESS_FAIL_MAX ABI_FAIL_MAX
#define HARNESS_LOG_MAX 1024

enum harness_phase {
	HARNESS_IDLE,
	HARNESS_COMMANDS,
	HARNESS_UPGRADE,
	HARNESS_SILENT, /* stop: no commands */
};

struct harness_message {
	struct harness_message *next;
	tova_payload payload;
	char *key;
	unsigned char bytes[]; /* and a NUL */
};

struct harness_room {
	struct harness_room *next;
	char name[RULES_NAME_MAX + 1];
};

/* A connection; it stays, so that the test can look at it when it is gone. */
struct harness_peer {
	struct harness_peer *next;
	tova_ws ws;
	bool gone;
	bool lost; /* it ended by itself */
	uint16_t closed;
	uint64_t sequence;
	char *subject, *claims;
	char user[RULES_NAME_MAX + 1], info[RULES_INFO_MAX + 1]; /* empty: none */
	struct harness_room *rooms, *left; /* left: what it was in, while it is told of its end */
	struct harness_message *inbox, *taken;
	_Alignas(max_align_t) unsigned char data[RULES_DATA_MAX];
};

enum harness_kind {
	HARNESS_SEND,
	HARNESS_JOIN,
	HARNESS_LEAVE,
	HARNESS_BROADCAST,
	HARNESS_BROADCAST_TO,
	HARNESS_CLOSE,
	HARNESS_SET,
	HARNESS_SET_IF,
	HARNESS_TIMER,
	HARNESS_CANCEL,
	HARNESS_QUERY,
	HARNESS_LEAVE_ALL,
	HARNESS_PROLONG,
	HARNESS_INFO,
	HARNESS_AMONG,
	HARNESS_CLOSE_ROOM,
	HARNESS_WATCH,
	HARNESS_UNWATCH,
	HARNESS_UNWATCH_EMPTY,
	HARNESS_SET_ROOM,
};

/* Copies of a tova_among. */
struct harness_among {
	size_t n_rooms, n_users, n_except, n_exclude;
	char (*rooms)[RULES_NAME_MAX + 1], (*except)[RULES_NAME_MAX + 1];
	char **users;
	tova_ws *exclude;
};

struct harness_command {
	struct harness_command *next;
	enum harness_kind kind;
	tova_ws ws; /* target, or who is excluded */
	char name[RULES_NAME_MAX + 1];
	uint16_t code; /* of a close; BROADCAST_TO: 1 if the room does not remember it */
	tova_timer timer;
	tova_query query;
	tova_history want; /* of a join; how 0: nothing */
	struct harness_message *message;
	size_t len, expected_len;
	unsigned char *bytes, *expected;
	tova_conditions conditions; /* of a join */
	struct harness_among among;
	char *info, *user; /* NULL: as it was */
	uint32_t grace_ms; /* of a watch */
	uint64_t version;  /* of a SET_ROOM */
};

struct harness_timer {
	struct harness_timer *next;
	tova_ws ws;
	char name[RULES_NAME_MAX + 1];
	uint64_t id, delay_ms, period_ms, due, order;
};

struct tova_test {
	tova_mount api; /* first: a mount that a plugin hands in is found by it */
	tova_plugin plugin;
	const tova_pair *settings;
	pthread_t thread;
	enum harness_phase phase;
	struct harness_peer *peers;
	struct harness_timer *timers;
	struct harness_remembered *history; /* of all rooms, oldest first */
	struct presence_watch *watches;
	struct harness_kept *kept;	    /* with rooms */
	uint64_t now, orders, ids, stale, sequence, version;
	unsigned char *mount_data, *mount_copy; /* mount_size bytes; the copy that a callback has */
	bool mount_used;
	/* The event at hand. */
	struct harness_peer *own;
	const tova_request *request;
	int error; /* of the first command that was wrong */
	struct harness_command *commands, **commands_end;
	struct harness_command *queries, **queries_end; /* asked, not answered */
	struct scratch scratch;
	bool data_used;
	_Alignas(max_align_t) unsigned char data[RULES_DATA_MAX];
	char fail[HARNESS_FAIL_MAX], why[HARNESS_FAIL_MAX];
	bool failed;
	atomic_bool woken;
	/* The answer to the last upgrade. */
	unsigned status;
	const char *subprotocol;
	char user[RULES_NAME_MAX + 1], info[RULES_INFO_MAX + 1];
	struct buffer headers, body;
	pthread_mutex_t log_lock;
	char log[HARNESS_LOG_MAX];
};

extern const tova_host harness_table; /* table.c */

static inline tova_test *harness_of(tova_mount *m)
{
	return (tova_test *)m;
}

/* Memory, or the end of the test. */
void *harness_alloc(size_t size);
struct harness_peer *harness_find(const tova_test *t, tova_ws ws); /* NULL: gone, or never there */

/* commit.c */
/* What a callback commands, checked as the host does; the code of the first that is wrong spoils
 * all. */
int commit_spoil(tova_test *t, int error);
struct harness_command *commit_add(tova_test *t, enum harness_kind kind, tova_ws ws);
const char *commit_error_text(int error);
/* What the callback commanded happens, or is dropped. */
void commit_apply(tova_test *t);
void commit_drop(tova_test *t);
void commit_free_messages(struct harness_message *list);
/* It leaves its rooms; its timers (TOVA_NONE: the mount's) do not run any more. */
void commit_leave_all(struct harness_peer *p);
void commit_cancel_all(tova_test *t, tova_ws ws);
/* Whose it is; NULL: nobody's. */
const char *commit_user(const struct harness_peer *p);
bool commit_is_member(const struct harness_peer *p, const char *room);
/* With its key; the caller's to free. */
struct harness_message *commit_copy(const struct harness_message *message);
/* A copy goes into its inbox, unless it is closed. */
void commit_give(struct harness_peer *p, const struct harness_message *message);

/* presence.c: */
/* What a watch and an unwatch do. */
void presence_watch(tova_test *t, const struct harness_command *c);
void presence_unwatch(tova_test *t, const char *room);
/* Nobody is there, or counts as that. */
bool presence_is_empty(const tova_test *t, const char *room);
/* Somebody has come or gone whom the plugin is to be told of: it counts as told of. False: nobody.
 * *come_r: has he come? who_r is good until the next call. */
bool presence_next(tova_test *t, tova_presence *who_r, bool *come_r);
/* When somebody who is lost will count as gone; UINT64_MAX: nobody is. */
uint64_t presence_due(const tova_test *t);
/* The first user behind `after` (NULL: of all) who is lost and counts as there; NULL: no more. */
const char *presence_lost(const tova_test *t, const char *room, const char *after);
void presence_forget(tova_test *t);

/* kept.c: what is kept with a room; an old version of it is none that a set_room may have. */
void kept_state(const tova_test *t, const char *room, tova_room_state *state_r);
void kept_set(tova_test *t, const char *room, const void *data, size_t len);
bool kept_holds(const tova_test *t, const struct harness_command *c);
void kept_forget(tova_test *t);

/* history.c: */
/* Remembers a copy. */
void history_keep(tova_test *t, const char *room, const struct harness_message *message);
/* Is a join that wants all or nothing to be had? */
bool history_holds(const tova_test *t, const struct harness_command *c);
/* What the join wants of it. */
void history_give(const tova_test *t, struct harness_peer *p, const struct harness_command *c);
/* Fills in the reply; its list is the caller's to free. */
tova_remembered *history_reply(const tova_test *t, const struct harness_command *c,
			       tova_reply *reply);
/* All of it, at the end of the test. */
void history_forget(tova_test *t);

#endif
