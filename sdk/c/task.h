/* task: one event, push or callback: what it is about, what it commands, what comes of it. The
 * handler knows it as its tova_mount. */
#ifndef TOVA_SDK_TASK_H
#define TOVA_SDK_TASK_H

#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "c/batch.h"
#include "c/commands.h"
#include "c/pending.h"
#include "c/who.h"
#include "common/abi.h"
#include "common/rules.h"
#include "common/scratch.h"
#include "tova_plugin.h"

#define TASK_RETRY_MAX_MS 3600000u

struct worker;

/* What may be called now. */
enum task_phase {
	TASK_IDLE, /* nothing */
	TASK_COMMANDS,
	TASK_UPGRADE, /* commands, and the answer */
	TASK_SILENT,  /* migrate and stop: no commands */
};

/* The answer to an upgrade. */
struct task_answer {
	unsigned status; /* 0: accepted */
	size_t head_len;
	const char *subprotocol; /* in the event's JSON */
	struct buffer headers;	 /* JSON pairs */
	struct buffer body;
	char type[RULES_TYPE_MAX];
	bool has_user, has_info;
	char user[RULES_NAME_MAX + 1], info[RULES_INFO_MAX + 1];
};

/* What the plugin keeps for its mount, as this process has it: what the host has told, and what
 * acknowledgements have changed since, each of which names the version that it was made from. */
struct task_mount {
	unsigned char *bytes; /* NULL: nothing */
	uint32_t size;
	uint64_t version; /* 0: nothing was told */
};

/* What is said of an event before its handler is called. */
struct task_facts {
	uint64_t s, seq;
	uint32_t attempt;
	bool has_ws, is_close;
	tova_ws ws;
	const uint8_t *state; /* NULL: none. Lent until task_clear */
	size_t state_len;
	tova_room_state room; /* room NULL: it is not known. Lent likewise */
	struct who who;	     /* lent for the call */
	json_t *json;	     /* all of it, which the task takes over; NULL for a message */
};

struct task {
	tova_mount api; /* what the handler is handed */
	struct worker *worker;
	struct task *next; /* ended by another thread, not yet seen by the worker's */
	enum task_phase phase;
	pthread_t thread; /* whose it is */
	bool any_thread;  /* or nobody's in particular */
	/* The event, where it is one of the host's. */
	bool is_event, has_ws, is_close;
	json_t *json; /* NULL for a message */
	uint64_t s;
	unsigned link; /* on which of the links */
	tova_event event;
	const uint8_t *state; /* as it came */
	size_t state_len;
	tova_room_state room; /* room NULL: it is not known */
	const char *callback; /* that runs, for last words; NULL: none does */
	struct who who;	      /* whose connection it is */
	struct scratch scratch;
	/* What the handler wants. */
	struct commands commands;
	struct query *queries;
	struct push *push; /* what a push of another thread has become */
	struct task_answer answer;
	bool deferred, aborted, retry;
	uint32_t retry_ms;
	size_t fail_len;
	char fail[ABI_FAIL_MAX];
	/* The connection's data: what it was, and what the handler works on once it has asked for
	 * it. */
	bool data_used, data_new; /* data_new: it differs, whatever the bytes say */
	/* The same of the mount's: a copy, made when it is asked for; NULL: it was not. */
	unsigned char *mount_data;
	uint64_t mount_version;
	unsigned char before[RULES_DATA_MAX];
	_Alignas(max_align_t) unsigned char data[RULES_DATA_MAX];
};

extern const tova_host task_host; /* table.c */

static inline struct task *task_of(tova_mount *m)
{
	return (struct task *)((char *)m - offsetof(struct task, api));
}

/* A task that is used again and again. */
void task_begin(struct task *t, enum task_phase phase);
/* The task is that event's. */
void task_begin_event(struct task *t, enum task_phase phase, const struct task_facts *facts);
/* Data of another size than the plugin's is its own to bring over; false with a text set when that
 * fails. */
bool task_bring_data_over(struct task *t);
/* The data at hand, or NULL where there is none. */
void *task_data(struct task *t);
void *task_mount_data(struct task *t);

/* What a callback that returned `result` failed of, or NULL: it has not failed. */
const char *task_failure(struct task *t, int result);
/* Writes the acknowledgement of an event, with its commands. False: it could not be, and the event
 * was refused. */
bool task_acknowledge(struct task *t, struct batch *out);
void task_refuse(struct task *t, const char *why, struct batch *out);

/* Forgets all, keeps memory. */
void task_clear(struct task *t);
void task_free(struct task *t);

#endif
