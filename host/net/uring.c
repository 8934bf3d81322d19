#include "net/uring.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/check.h"
#define URING_UNDER_WAY (URING_NOT_TRIED + 1) /* no result yet */

static bool uring_give_up(struct uring *u)
{
	if (u->ring != NULL)
		io_uring_queue_exit(u->ring);
	free(u->ring);
	u->ring = NULL;
	u->off = true;
	return false;
}

/* COOP_TASKRUN (Linux 5.19): our own calls finish everything, so nobody needs to interrupt us for
 * it. */
static bool uring_set_up(struct uring *u)
{
	struct io_uring *ring = calloc(1, sizeof *ring);
	u->sends = calloc(URING_MAX, sizeof *u->sends);
	if (ring == NULL || u->sends == NULL ||
	    (io_uring_queue_init(URING_MAX, ring, IORING_SETUP_COOP_TASKRUN) != 0 &&
	     io_uring_queue_init(URING_MAX, ring, 0) != 0)) {
		free(ring);
		return uring_give_up(u);
	}
	u->ring = ring;
	struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
	bool can = probe != NULL && io_uring_opcode_supported(probe, IORING_OP_SEND);
	io_uring_free_probe(probe);
	return can || uring_give_up(u);
}

bool uring_begin(struct uring *u)
{
	return u->ring != NULL || (!u->off && uring_set_up(u));
}

void uring_skip(struct uring *u, void *item)
{
	CHECK(u->n < URING_MAX);
	u->sends[u->n++] = (struct uring_send){.item = item, .result = URING_NOT_TRIED};
}

void uring_add(struct uring *u, int fd, const void *bytes, size_t len, void *item)
{
	/* there is room: every uring_run empties the queue */
	struct io_uring_sqe *e = io_uring_get_sqe(u->ring);
	CHECK(e != NULL);
	io_uring_prep_send(e, fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	io_uring_sqe_set_data64(e, u->n);
	u->queued++;
	uring_skip(u, item);
	u->sends[u->n - 1].result = URING_UNDER_WAY;
}

static unsigned uring_reap(struct uring *u)
{
	struct io_uring_cqe *e;
	unsigned head, seen = 0;
	io_uring_for_each_cqe(u->ring, head, e)
	{
		CHECK(e->user_data < u->n && u->sends[e->user_data].result == URING_UNDER_WAY);
		u->sends[e->user_data].result = e->res;
		seen++;
	}
	io_uring_cq_advance(u->ring, seen);
	return seen;
}

/* The kernel takes entries in their order. Those that it has taken may have sent something though
 * nobody says what: to send them once more could repeat it, so they are broken. The others were not
 * tried. */
static void uring_judge_rest(struct uring *u, unsigned taken)
{
	for (unsigned i = 0; i < u->n; i++) {
		struct uring_send *s = &u->sends[i];
		if (s->result == URING_NOT_TRIED)
			continue;
		bool tried = taken > 0;
		taken -= tried;
		if (s->result == URING_UNDER_WAY)
			s->result = tried ? -EIO : URING_NOT_TRIED;
	}
}

void uring_run(struct uring *u)
{
	unsigned done = 0;
	while (done < u->queued) {
		int rc = io_uring_submit_and_wait(u->ring, u->queued - done);
		done += uring_reap(u);
		if (rc < 0 && rc != -EINTR && done < u->queued) {
			uring_judge_rest(u, u->queued - io_uring_sq_ready(u->ring));
			uring_give_up(u); /* nothing comes here any more */
			return;
		}
	}
}

void uring_clear(struct uring *u)
{
	u->n = u->queued = 0;
}

void uring_free(struct uring *u)
{
	uring_give_up(u);
	free(u->sends);
	*u = (struct uring){.ring = NULL};
}
