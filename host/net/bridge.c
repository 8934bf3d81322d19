#include "net/bridge.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* bytes after which the other loop is shown what there is, so that both work at the same time */
#define BRIDGE_PUBLISH 16384

bool bridge_init(struct bridge *b, struct loop *hub, void (*hub_run)(void *arg), void *hub_arg,
		 struct loop *side, void (*side_run)(void *arg), void *side_arg)
{
	b->put = b->done_seen = 0;
	atomic_init(&b->target, UINT64_MAX);
	atomic_init(&b->done, 0);
	b->room_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	loop_waker_add(hub, &b->to_hub, hub_run, hub_arg);
	loop_waker_add(side, &b->to_side, side_run, side_arg);
	return ring_init(&b->down) && ring_init(&b->up) && b->room_fd >= 0;
}

void bridge_free(struct bridge *b)
{
	loop_waker_remove(&b->to_hub);
	loop_waker_remove(&b->to_side);
	ring_free(&b->down);
	ring_free(&b->up);
	if (b->room_fd >= 0)
		close(b->room_fd);
	b->room_fd = -1;
}

/* Until the other loop has done all but `most` of what was put. It never waits for this one, so
 * that comes. */
static void bridge_wait(struct bridge *b, uint64_t most)
{
	struct pollfd room = {.fd = b->room_fd, .events = POLLIN};
	uint64_t count, target = b->put - most;
	bridge_publish_down(b);
	for (;;) {
		/* Exchanged, as bridge_take_down does, so that one of the two sees what the other
		 * did. */
		atomic_exchange(&b->target, target);
		b->done_seen = atomic_load(&b->done);
		if (b->done_seen >= target)
			break;
		ssize_t n = poll(&room, 1, -1) > 0 ? read(b->room_fd, &count, sizeof count) : 0;
		(void)n; /* it is looked at again whatever ended the wait */
	}
	atomic_store(&b->target, UINT64_MAX);
}

static struct bridge_record *bridge_begin(struct bridge_record *r, int kind, size_t len)
{
	if (r != NULL)
		*r = (struct bridge_record){.kind = (uint8_t)kind, .len = (uint32_t)len};
	return r;
}

static void bridge_keep_pace(struct bridge *b)
{
	if (b->put - b->done_seen <= BRIDGE_AHEAD_MAX)
		return;
	b->done_seen = atomic_load_explicit(&b->done, memory_order_acquire);
	if (b->put - b->done_seen > BRIDGE_AHEAD_MAX)
		bridge_wait(b, BRIDGE_AHEAD_MAX / 2);
}

struct bridge_record *bridge_down(struct bridge *b, enum bridge_down kind, size_t len,
				  uint32_t deliveries)
{
	size_t whole = sizeof(struct bridge_record) + len;
	bridge_keep_pace(b);
	if (b->down.unpublished > BRIDGE_PUBLISH)
		bridge_publish_down(b);
	struct bridge_record *r = bridge_begin(ring_put(&b->down, whole), kind, len);
	/* no memory: when all is done, what there is can be used again */
	while (r == NULL && whole <= RING_SMALL) {
		bridge_wait(b, 0);
		poll(NULL, 0, 1);
		r = bridge_begin(ring_put(&b->down, whole), kind, len);
	}
	if (r == NULL)
		return NULL;
	r->cost = 1 + deliveries + (uint32_t)(len >> 6);
	b->put += r->cost;
	b->to_hub.loop->again = true;
	return r;
}

struct bridge_record *bridge_up(struct bridge *b, enum bridge_up kind, size_t len)
{
	if (b->up.unpublished > BRIDGE_PUBLISH)
		bridge_publish_up(b);
	b->to_side.loop->again = true;
	return bridge_begin(ring_put(&b->up, sizeof(struct bridge_record) + len), kind, len);
}

void bridge_publish_down(struct bridge *b)
{
	if (ring_publish(&b->down))
		loop_wake(&b->to_side);
}

void bridge_publish_up(struct bridge *b)
{
	if (ring_publish(&b->up))
		loop_wake(&b->to_hub);
}

struct bridge_record *bridge_take_up(struct bridge *b)
{
	size_t len;
	return ring_take(&b->up, &len);
}

/* Ends the hub's wait for that, but not another one that it has begun meanwhile. */
static void bridge_end_wait(struct bridge *b, uint64_t target)
{
	const uint64_t one = 1;
	if (!atomic_compare_exchange_strong(&b->target, &target, UINT64_MAX))
		return;
	/* if that fails the counter is full, and ends the wait as well */
	ssize_t n = write(b->room_fd, &one, sizeof one);
	(void)n;
}

struct bridge_record *bridge_take_down(struct bridge *b)
{
	size_t len;
	struct bridge_record *r = ring_take(&b->down, &len);
	if (r != NULL)
		return r;
	/* Not only read, see bridge_wait: before this loop sleeps it has to know whether the hub's
	 * waits for what has been done. */
	uint64_t target = atomic_fetch_add(&b->target, 0);
	if (target <= atomic_load_explicit(&b->done, memory_order_relaxed))
		bridge_end_wait(b, target);
	return NULL;
}

void bridge_done(struct bridge *b, uint32_t cost)
{
	uint64_t done = atomic_load_explicit(&b->done, memory_order_relaxed) + cost;
	atomic_store_explicit(&b->done, done, memory_order_release);
	uint64_t target = atomic_load_explicit(&b->target, memory_order_relaxed);
	if (target <= done)
		bridge_end_wait(b, target);
}
