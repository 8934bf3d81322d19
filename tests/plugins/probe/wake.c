/* wake: the mount is woken, by a thread too, and made to wait. */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "probe.h"
#include "text.h"
#include "word.h"

/* Sleeps for so many milliseconds; NULL: not at all. */
void wake_nap(const char *text)
{
	uint64_t ms = text != NULL ? strtoull(text, NULL, 10) : 0;
	struct timespec t = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
	while (nanosleep(&t, &t) != 0 && errno == EINTR)
		;
}

static int wake_mount(struct probe_run *r, char *rest)
{
	(void)rest;
	tova_wake(r->m);
	return 0;
}

static int wake_later(struct probe_run *r, char *rest)
{
	struct probe *me = probe_of(r->m);
	free(me->later);
	me->later = strdup(rest);
	return 0;
}

/* Commands are for the mount's thread only; waking is for any. */
static void *wake_other_thread(void *arg)
{
	tova_mount *m = arg;
	struct probe *me = probe_of(m);
	me->thread_results[0] = tova_broadcast(m, "never", TOVA_NONE);
	me->thread_results[1] = tova_every(m, "never", 1, 1, 1);
	me->thread_results[2] = tova_query_room(m, TOVA_QUERY_COUNT, "never", 1);
	tova_log(m, TOVA_LOG_NOTICE, "%s from a thread", tova_setting(m, "greeting"));
	tova_wake(m);
	return NULL;
}

void wake_end_thread(struct probe *me)
{
	if (me->thread_runs)
		pthread_join(me->thread, NULL);
	me->thread_runs = 0;
}

static int wake_thread(struct probe_run *r, char *rest)
{
	(void)rest;
	struct probe *me = probe_of(r->m);
	wake_end_thread(me);
	me->thread_runs = pthread_create(&me->thread, NULL, wake_other_thread, r->m) == 0;
	return 0;
}

static int wake_stall(struct probe_run *r, char *rest)
{
	(void)r;
	wake_nap(rest);
	return 0;
}

int wake_on(tova_mount *m)
{
	struct probe *me = probe_of(m);
	struct text t = text_event(m, "wake", TOVA_NONE);
	if (me->thread_runs) {
		wake_end_thread(me);
		text_add(&t, ",\"thread\":[%d,%d,%d]", me->thread_results[0], me->thread_results[1],
			 me->thread_results[2]);
	}
	text_report(m, &t);
	char *later = me->later;
	me->later = NULL;
	int result = later != NULL ? script_run(m, TOVA_NONE, later, strlen(later), ";") : 0;
	free(later);
	return result;
}

const struct probe_command wake_commands[] = {
	{"wake", wake_mount},  {"later", wake_later}, {"thread", wake_thread},
	{"stall", wake_stall}, {NULL, NULL},
};
