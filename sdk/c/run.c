#include "c/run.h"

#include <stdlib.h>

#include "c/worker.h"

void run_begin(struct run *r, const struct task *t)
{
	r->link = t->link;
	r->s = t->s;
	r->seq = t->event.sequence;
	r->ws = t->event.ws;
	r->outcome = RUN_UNDER_WAY;
	who_copy(&r->who, &t->who);
}

static void run_keep(struct run *r, const void *state, size_t n)
{
	r->has_state = state != NULL && n <= sizeof r->state;
	r->state_len = r->has_state ? n : 0;
	if (r->state_len > 0)
		memcpy(r->state, state, n);
}

void run_end(struct run *r, const struct task *t, bool done)
{
	uint32_t size = worker_plugin(t->worker)->data_size;
	r->outcome = done ? RUN_DONE : RUN_FAILED;
	if (done)
		who_copy(&r->who, &t->who);
	if (!done || size == 0)
		return;
	if (t->data_used)
		run_keep(r, t->data, size);
	else if (t->state != r->state)
		run_keep(r, t->state, t->state_len);
}

struct task_facts run_next(const struct run *r)
{
	return (struct task_facts){
		.s = r->s + 1,
		.seq = r->seq + 1,
		.attempt = 1,
		.has_ws = true,
		.ws = r->ws,
		.who = r->who,
		.state = r->has_state ? r->state : NULL,
		.state_len = r->state_len,
	};
}

bool run_wait(struct run *r, bool binary, const void *bytes, size_t n)
{
	struct run_message *message = malloc(sizeof *message + n + 1);
	if (message == NULL)
		return false;
	*message = (struct run_message){.binary = binary, .n = n};
	if (n > 0)
		memcpy(message->bytes, bytes, n);
	message->bytes[n] = '\0';
	if (r->waiting == NULL)
		r->end = &r->waiting;
	*r->end = message;
	r->end = &message->next;
	return true;
}

struct run_message *run_take(struct run *r)
{
	struct run_message *message = r->waiting;
	if (message != NULL)
		r->waiting = message->next;
	return message;
}

void run_clear(struct run *r)
{
	for (struct run_message *message; (message = run_take(r)) != NULL;)
		free(message);
}

void run_free(struct run *r)
{
	run_clear(r);
	who_clear(&r->who);
	free(r);
}
