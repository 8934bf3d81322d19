/* notify: what systemd is told of a service of Type=notify (sd_notify(3)): when it serves, that it
 * reloads or stops, a line about what it does, and that its loop still turns (WatchdogSec=). Where
 * nobody wants to know (NOTIFY_SOCKET is not set) nothing of this costs anything. */
#ifndef TOVA_OPS_NOTIFY_H
#define TOVA_OPS_NOTIFY_H

#include "net/loop.h"

#define NOTIFY_STATUS_MAX 160

struct notify_source {
	/* Does every handler take events? Asked until it says so. */
	bool (*serves)(const void *ctx);
	/* What `systemctl status` shows; one line. */
	void (*status)(const void *ctx, char text_r[NOTIFY_STATUS_MAX]);
	const void *ctx;
};

struct notify {
	uint16_t magic; /* CHECK_NOTIFY */
	const struct notify_source *source;
	struct loop *loop;
	struct loop_timer tick;
	uint64_t beat_ms;  /* between two signs of life; 0: nobody waits for them */
	uint64_t beat_due; /* by loop_now, as the next */
	uint64_t status_due;
	bool on, ready, stopping;
	char said[NOTIFY_STATUS_MAX]; /* the status as it was told last */
};

/* Clients can connect: tells that as soon as every handler serves, and from then on what there is
 * to tell. The source is borrowed until notify_end. */
void notify_begin(struct notify *n, struct loop *loop, const struct notify_source *source);
/* A reload begins, and is done. */
void notify_reloading(struct notify *n);
void notify_reloaded(struct notify *n);
/* The host stops: there is still a status, and signs of life, until notify_end. May be repeated. */
void notify_stopping(struct notify *n);
/* Before the loop is freed; good for one that has not begun. */
void notify_end(struct notify *n);

#endif
