#include "ops/notify.h"

#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#include "base/check.h"

#define NOTIFY_LOOK_MS 50 /* at handlers that do not serve yet */
#define NOTIFY_STATUS_MS 5000

static void notify_status(struct notify *n, uint64_t now)
{
	char text[NOTIFY_STATUS_MAX];
	n->status_due = now + NOTIFY_STATUS_MS;
	n->source->status(n->source->ctx, text);
	if (strcmp(text, n->said) == 0)
		return;
	strcpy(n->said, text);
	sd_notifyf(0, "STATUS=%s", text);
}

static void notify_wait(struct notify *n, uint64_t now)
{
	uint64_t next = n->ready || n->stopping ? n->status_due : now + NOTIFY_LOOK_MS;
	if (n->beat_ms != 0 && n->beat_due < next)
		next = n->beat_due;
	loop_timer_set(&n->tick, next > now ? next - now : 1);
}

static void notify_on_tick(void *arg)
{
	struct notify *n = arg;
	CHECK_IS(n, CHECK_NOTIFY);
	uint64_t now = loop_now(n->loop);
	if (!n->ready && !n->stopping && n->source->serves(n->source->ctx)) {
		n->ready = true;
		sd_notify(0, "READY=1");
		notify_status(n, now);
	}
	if (now >= n->status_due)
		notify_status(n, now);
	if (n->beat_ms != 0 && now >= n->beat_due) {
		n->beat_due = now + n->beat_ms;
		sd_notify(0, "WATCHDOG=1");
	}
	notify_wait(n, now);
}

/* The host may be looked at by a systemd that only wants to know when it is ready. */
static void notify_read_watchdog(struct notify *n)
{
	uint64_t usec = 0;
	if (sd_watchdog_enabled(0, &usec) > 0)
		n->beat_ms = usec / 2000 > 0 ? usec / 2000 : 1;
}

void notify_begin(struct notify *n, struct loop *loop, const struct notify_source *source)
{
	if (getenv("NOTIFY_SOCKET") == NULL)
		return;
	*n = (struct notify){.magic = CHECK_NOTIFY, .on = true, .loop = loop, .source = source};
	notify_read_watchdog(n);
	loop_timer_init(loop, &n->tick, notify_on_tick, n);
	loop_timer_set(&n->tick, 0);
}

/* The stamp tells systemd that this answers the HUP which it has just sent. */
void notify_reloading(struct notify *n)
{
	struct timespec now;
	if (!n->on || !n->ready || n->stopping)
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu",
		   (unsigned long long)now.tv_sec * 1000000 +
			   (unsigned long long)now.tv_nsec / 1000);
}

void notify_reloaded(struct notify *n)
{
	if (n->on && n->ready && !n->stopping)
		sd_notify(0, "READY=1");
}

void notify_stopping(struct notify *n)
{
	if (!n->on || n->stopping)
		return;
	n->stopping = true;
	sd_notify(0, "STOPPING=1");
	notify_status(n, loop_now(n->loop));
}

void notify_end(struct notify *n)
{
	if (n->on)
		loop_timer_cancel(&n->tick);
	n->on = false;
}
