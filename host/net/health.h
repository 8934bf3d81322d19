/* health: what load balancers are told at --health: whether the host would take a client. The
 * hub's loop finds that out; each loop that has clients answers. */
#ifndef TOVA_NET_HEALTH_H
#define TOVA_NET_HEALTH_H

#include <pthread.h>

#include "common/buffer.h"
#include "net/conn.h"

#define HEALTH_PATH_MAX 256

struct health {
	pthread_mutex_t lock;	    /* for all of it */
	char path[HEALTH_PATH_MAX]; /* empty: nobody is told */
	bool ready;
	struct buffer text; /* JSON that says why; empty: it is not known yet */
};

/* Nobody is told anything at first. health_free: no loop answers any more. */
void health_init(struct health *h);
void health_free(struct health *h);
/* path NULL: nobody is told any more. */
void health_set_path(struct health *h, const char *path);
/* What is to be told from now on. Without memory that is what was told before, but for `ready`. */
void health_set(struct health *h, bool ready, struct span text);
/* [any-thread] Is it asked for that? */
bool health_is_asked(struct health *h, const struct request *r);
/* [any-thread] Answers with 200 or 503. GET, HEAD and OPTIONS; others get 405. */
void health_answer(struct health *h, struct conn *c, const struct request *r);

#endif
