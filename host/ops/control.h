/* control: the Unix socket of tova-ctl. It speaks the worker grammar (sdk/PROTOCOL.md section 8),
 * for all mounts, and gets no events. */
#ifndef TOVA_OPS_CONTROL_H
#define TOVA_OPS_CONTROL_H

#include "handler/worker/deadletter.h"
#include "handler/worker/push.h"
#include "hub/hub.h"
#include "ops/reload.h"

struct control;
struct replay;

struct control_actions {
	void (*reload)(void *ctx); /* for whom does not wait for what becomes of it */
	struct reloads *reloads;   /* for who does */
	void (*drain)(void *ctx);
	const struct cluster *cluster; /* NULL: there is this host only */
	/* A URL of the admin page; false: there is none. */
	bool (*admin_url)(void *ctx, char *url_r, size_t cap);
	void *ctx;
};

/* group: whose members may send messages, and nothing else; NULL: nobody's. NULL with a sentence in
 * why. */
struct control *control_open(struct hub *hub, const char *path, const gid_t *group,
			     struct push_sources *sources, struct replay *letters,
			     const struct control_actions *actions, char *why, size_t why_cap);
/* Nobody is listened to any more. */
void control_close(struct control *c);
/* After deadletter_close, as that may be at work for it. */
void control_free(struct control **c_p);

#endif
