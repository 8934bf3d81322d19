/* worker: what runs the handler: the loop, and what tasks need of it. */
#ifndef TOVA_SDK_WORKER_H
#define TOVA_SDK_WORKER_H

#include "c/task.h"
#include "tova_plugin.h"

struct worker;

/* The table that it was run with; the caller's. */
const tova_plugin *worker_plugin(const struct worker *w);
/* What the plugin keeps for its mount. */
struct task_mount *worker_mount_data(struct worker *w);
/* The number of the link that is up, from 1; 0: none is. [the worker's thread] */
unsigned worker_link(const struct worker *w);
/* [any thread] */
const char *worker_setting(const struct worker *w, const char *key);
void worker_wake(struct worker *w);
struct pending *worker_pending(struct worker *w);
/* A task was ended by any thread; takes it over. */
void worker_submit(struct worker *w, struct task *t);

#endif
