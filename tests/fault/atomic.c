/* atomic: a plugin that ends its process at a random point of each third callback or so: between
 * two of its five commands, or after them and before they can have been acknowledged. What is
 * visible of one execution says which it was, so that a part of one shows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tova_plugin.h"

struct data {
	char last[48]; /* the execution that was committed last */
};

static void die_if(unsigned long point, unsigned long at)
{
	if (point == at)
		_exit(9);
}

/* A number of this process, which no other has: process ids come again when thousands have died. */
static unsigned long life(void)
{
	static unsigned long number;
	struct timespec now;
	if (number == 0) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		number = ((unsigned long)now.tv_sec * 1000000000u + (unsigned long)now.tv_nsec) *
				 32768 +
			 (unsigned long)getpid() % 32768;
	}
	return number;
}

static unsigned long random_of(unsigned long n)
{
	static unsigned long state;
	if (state == 0)
		state = life() * 2654435761u;
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (state >> 33) % n;
}

static int on_open(tova_mount *m, tova_ws ws, const tova_request *request)
{
	(void)request;
	tova_send(m, ws, "welcome");
	return tova_join(m, ws, "all");
}

static int on_message(tova_mount *m, tova_ws ws, const tova_payload *msg)
{
	static unsigned long executions;
	struct data *data = tova_data(m);
	char run[48], room[64], text[256], was[48];
	/* Less often if it has been tried before, so that workers get something done and are
	 * started again at once. */
	unsigned long at =
		random_of(tova_current_event(m).attempt > 1 ? 10 : 3) == 0 ? random_of(6) : 99;
	snprintf(run, sizeof run, "%lx.%lu", life(), ++executions);
	snprintf(was, sizeof was, "%s", data->last[0] != '\0' ? data->last : "-");
	snprintf(room, sizeof room, "run %s", run);
	die_if(0, at);
	tova_join(m, ws, room);
	die_if(1, at);
	snprintf(text, sizeof text, "sent %.*s %s %s", (int)msg->len, (const char *)msg->data, run,
		 was);
	tova_send(m, ws, text);
	die_if(2, at);
	snprintf(text, sizeof text, "room %.*s %s", (int)msg->len, (const char *)msg->data, run);
	tova_broadcast_to(m, room, text, TOVA_NONE);
	die_if(3, at);
	snprintf(data->last, sizeof data->last, "%s", run);
	die_if(4, at);
	snprintf(text, sizeof text, "all %.*s %s", (int)msg->len, (const char *)msg->data, run);
	tova_broadcast_to(m, "all", text, TOVA_NONE);
	die_if(5, at);
	return 0;
}

TOVA_PLUGIN = {
	TOVA_PLUGIN_HEAD("atomic", "1.0"),
	.data_size = sizeof(struct data),
	.on_open = on_open,
	.on_message = on_message,
};
