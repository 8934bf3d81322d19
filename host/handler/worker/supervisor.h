/* supervisor: keeps the pool's processes running, and replaces them by a new generation. */
#ifndef TOVA_HANDLER_WORKER_SUPERVISOR_H
#define TOVA_HANDLER_WORKER_SUPERVISOR_H

#include "handler/worker/pool.h"

/* Starts the first generation. False without memory. */
bool supervisor_start(struct pool *p);
/* Every tick; now: of loop_now. */
void supervisor_tick(struct pool *p, uint64_t now);
/* Whose token is it? NULL: no process's that is waited for. */
struct child *supervisor_find(struct pool *p, const struct json_string *token);
/* The link of a child is gone; leaving: it has said bye. */
void supervisor_lost(struct child *child, bool leaving);
/* It takes events. */
void supervisor_ready(struct child *child);
/* Another process is started to take its place. False without memory. */
bool supervisor_relieve(struct child *child);
/* For people, as members of an object that is open: how often it was started, and how it last
 * ended. NULL: nothing of a process. */
void supervisor_describe(const struct child *child, struct codec_out *o);
/* Those that have no link: an object each, appended as members of an array. */
void supervisor_count_unlinked(const struct pool *p, struct worker_states *n);
void supervisor_describe_unlinked(const struct pool *p, struct codec_out *o, bool *any);
/* It is ended at once; why is for the log. */
void supervisor_kill(struct child *child, const char *why);
/* Lets every process end by itself, or makes it; none is started again. Returns whether all
 * have. */
bool supervisor_retire_all(struct pool *p);
/* The host ends: those that are left are left to the guard. */
void supervisor_stop_all(struct pool *p);

/* --- relief.c --------------------------------------------------------------------------------- */

/* Processes that have done their share are replaced, one at a time. */
void relief_tick(struct pool *p, uint64_t now);

#endif
