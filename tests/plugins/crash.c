/* crash: does so, in the callback that the setting `at` names, in the way that `how` names. A
 * message "timer", "reply", "wake" or "fail" leads to that callback, "come" to on_join, and "go" then
 * to on_leave; "stall" waits in on_message. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "tova_plugin.h"

#ifndef CRASH_DATA_SIZE
#define CRASH_DATA_SIZE 8
#endif

struct deep {
	char bytes[4096];
};

/* As deep as the stack goes. */
static int fall(volatile struct deep *above, volatile int *end)
{
	volatile struct deep here;
	here.bytes[0] = above != NULL ? above->bytes[0] : 1;
	return *end ? 0 : fall(&here, end) + here.bytes[0];
}

static void *crash_in_thread(void *arg)
{
	volatile int *nowhere = arg;
	*nowhere = 1;
	return NULL;
}

/* A name to find in a backtrace. */
__attribute__((noinline)) static void crash_here(const char *how)
{
	pthread_t thread;
	volatile int never = 0;
	if (strcmp(how, "abort") == 0)
		abort();
	if (strcmp(how, "stack") == 0)
		fall(NULL, &never);
	if (strcmp(how, "sent") == 0)
		raise(SIGBUS);
	if (strcmp(how, "thread") == 0 && pthread_create(&thread, NULL, crash_in_thread, NULL) == 0)
		pthread_join(thread, NULL);
	volatile int *volatile nowhere = NULL;
	*nowhere = 1;
}

static void come_to(tova_mount *m, const char *callback)
{
	const char *at = tova_setting(m, "at"), *how = tova_setting(m, "how");
	if (at != NULL && strcmp(at, callback) == 0)
		crash_here(how != NULL ? how : "");
}

static int start(tova_mount *m)
{
	come_to(m, "start");
	return 0;
}

static void stop(tova_mount *m)
{
	come_to(m, "stop");
}

static int on_upgrade(tova_mount *m, const tova_request *request)
{
	(void)request;
	come_to(m, "on_upgrade");
	return 0;
}

static int on_open(tova_mount *m, tova_ws ws, const tova_request *request)
{
	(void)request;
	come_to(m, "on_open");
	return tova_send(m, ws, "open");
}

static int on_message(tova_mount *m, tova_ws ws, const tova_payload *message)
{
	const char *text = message->data;
	come_to(m, "on_message");
	if (strcmp(text, "timer") == 0)
		return tova_after_ws(m, ws, "t", 1, 0);
	if (strcmp(text, "reply") == 0)
		return tova_query_ws(m, TOVA_QUERY_STATS, TOVA_NONE, 1);
	if (strcmp(text, "fail") == 0)
		return tova_fail(m, "as asked");
	if (strcmp(text, "come") == 0) {
		tova_info(m, ws, NULL, "ann");
		tova_join(m, ws, "room");
		return tova_watch_for(m, "room", 0);
	}
	if (strcmp(text, "go") == 0)
		return tova_leave(m, ws, "room");
	if (strcmp(text, "stall") == 0) {
		const struct timespec long_time = {.tv_sec = 600};
		nanosleep(&long_time, NULL);
	}
	tova_wake(m);
	return tova_send_payload(m, ws, message);
}

static int on_close(tova_mount *m, tova_ws ws, const tova_close *why)
{
	(void)ws;
	(void)why;
	come_to(m, "on_close");
	return 0;
}

static int on_error(tova_mount *m, tova_ws ws, const tova_error *error)
{
	(void)ws;
	(void)error;
	come_to(m, "on_error");
	return 0;
}

static int on_timer(tova_mount *m, const tova_timer *timer)
{
	(void)timer;
	come_to(m, "on_timer");
	return 0;
}

static int on_reply(tova_mount *m, const tova_reply *reply)
{
	(void)reply;
	come_to(m, "on_reply");
	return 0;
}

static int on_wake(tova_mount *m)
{
	come_to(m, "on_wake");
	return 0;
}

static int migrate(tova_mount *m, tova_ws ws, const void *old_data, size_t old_size,
		   const char *old_version)
{
	(void)ws;
	(void)old_data;
	(void)old_size;
	(void)old_version;
	come_to(m, "migrate");
	return 0;
}

static int on_save(tova_mount *m)
{
	come_to(m, "on_save");
	return 0;
}

static int on_away(tova_mount *m, tova_ws ws, uint16_t code)
{
	(void)ws;
	(void)code;
	come_to(m, "on_away");
	return 0;
}

static int on_back(tova_mount *m, tova_ws ws, const tova_request *request)
{
	(void)ws;
	(void)request;
	come_to(m, "on_back");
	return 0;
}

static int on_join(tova_mount *m, const tova_presence *who)
{
	come_to(m, "on_join");
	return tova_send(m, who->ws, "has come");
}

static int on_leave(tova_mount *m, const tova_presence *who)
{
	(void)who;
	come_to(m, "on_leave");
	return 0;
}

TOVA_PLUGIN = {
	TOVA_PLUGIN_HEAD("crash", "3.1"),
	.data_size = CRASH_DATA_SIZE,
	.start = start,
	.stop = stop,
	.on_upgrade = on_upgrade,
	.on_open = on_open,
	.on_message = on_message,
	.on_close = on_close,
	.on_error = on_error,
	.on_timer = on_timer,
	.on_reply = on_reply,
	.on_wake = on_wake,
	.migrate = migrate,
	.on_save = on_save,
	.on_away = on_away,
	.on_back = on_back,
	.on_join = on_join,
	.on_leave = on_leave,
};
