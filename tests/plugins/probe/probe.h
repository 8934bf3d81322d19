/* The parts of tests/plugins/probe.c, and what its variants differ in. */
#ifndef PROBE_PROBE_H
#define PROBE_PROBE_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tova_plugin.h"

#define PROBE_RESULTS_MAX 256

/* Each library has one. */
struct probe_kind {
	const char *version;
	size_t data_size;
	int start_fails;
};
extern const struct probe_kind probe_kind;

struct hook;
struct opened;
struct text;

/* What a mount has. */
struct probe {
	struct hook *hooks;
	struct opened *opened;
	char *later;			/* script of the next wake */
	int results[PROBE_RESULTS_MAX]; /* of the previous callback with a script */
	size_t n_results;
	/* strange: a second open, a second close or a close without an open */
	unsigned long opens, closes, strange;
	pthread_t thread;
	int thread_runs, thread_results[3];
	int log_events;
};

static inline struct probe *probe_of(tova_mount *m)
{
	return m->user;
}

/* One run of a script. */
struct probe_run {
	tova_mount *m;
	tova_ws me;
	int results[PROBE_RESULTS_MAX];
	size_t n_results;
	int ended, status; /* fail or failcode came */
	const char *key;   /* NULL: none */
	size_t key_len;
	uint64_t keys;
};

/* What begins a line; run gets the rest of it, and returns what the host's function did. */
struct probe_command {
	const char *name;
	int (*run)(struct probe_run *r, char *rest);
};

/* The last has no name. */
extern const struct probe_command say_commands[], room_commands[], end_commands[], data_commands[],
	timer_commands[], ask_commands[], quote_commands[], wake_commands[], look_commands[],
	upgrade_commands[], hook_commands[];

/* Runs a script in the name of that connection; its result is the callback's. */
int script_run(tova_mount *m, tova_ws me, const char *text, size_t len, const char *separators);
/* That of a parameter of the request's query, if it is there. */
int script_run_parameter(tova_mount *m, tova_ws ws, const tova_request *request, const char *name);

/* Runs what `on` has left for that connection and event, once. */
int hook_run(tova_mount *m, tova_ws ws, const char *event);
void hook_free_all(struct probe *me);

/* The key of what the script sends. */
void say_set_key(const struct probe_run *r, tova_payload *p);
/* Waits for so many milliseconds; NULL: not at all. */
void wake_nap(const char *text);
void wake_end_thread(struct probe *me);
void upgrade_request_text(struct text *t, const tova_request *r);

/* The callbacks. */
int life_start(tova_mount *m);
void life_stop(tova_mount *m);
int upgrade_on(tova_mount *m, const tova_request *request);
int life_on_open(tova_mount *m, tova_ws ws, const tova_request *request);
int life_on_message(tova_mount *m, tova_ws ws, const tova_payload *message);
int life_on_close(tova_mount *m, tova_ws ws, const tova_close *why);
int life_on_error(tova_mount *m, tova_ws ws, const tova_error *error);
int life_on_timer(tova_mount *m, const tova_timer *timer);
int life_on_away(tova_mount *m, tova_ws ws, uint16_t code);
int life_on_back(tova_mount *m, tova_ws ws, const tova_request *request);
int ask_on_reply(tova_mount *m, const tova_reply *reply);
int wake_on(tova_mount *m);

#endif
