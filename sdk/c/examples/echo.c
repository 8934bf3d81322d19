/* echo: a worker in C. Every message comes back; one that begins with "later " does so from another
 * thread, after a second. */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "tova_worker.h"

struct job {
	tova_mount *event; /* to be settled by the thread */
	tova_ws ws;
	char text[256];
};

static void *work(void *arg)
{
	struct job *job = arg;
	sleep(1);
	tova_send(job->event, job->ws, job->text);
	tova_worker_commit(job->event);
	free(job);
	return NULL;
}

static int later(tova_mount *m, tova_ws ws, const char *text)
{
	pthread_t thread;
	struct job *job = calloc(1, sizeof *job);
	if (job == NULL)
		return tova_fail(m, "no memory");
	snprintf(job->text, sizeof job->text, "%s", text);
	job->ws = ws;
	job->event = tova_worker_defer(m);
	if (job->event != NULL && pthread_create(&thread, NULL, work, job) == 0) {
		pthread_detach(thread);
		return 0;
	}
	if (job->event != NULL)
		tova_worker_abort(job->event);
	free(job);
	return 0;
}

static int on_message(tova_mount *m, tova_ws ws, const tova_payload *msg)
{
	if (msg->kind == TOVA_TEXT && strncmp(msg->data, "later ", 6) == 0)
		return later(m, ws, msg->data);
	return tova_send_payload(m, ws, msg);
}

int main(void)
{
	static const tova_plugin worker = {TOVA_PLUGIN_HEAD("echo", "1.0"),
					   .on_message = on_message};
	return tova_worker_run(&worker, NULL);
}
