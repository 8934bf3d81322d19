#include "threads/channel.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/check.h"
/* bytes after which the other loop is shown what there is, so that both work at the same time */
#define CHANNEL_PUBLISH 16384

bool channel_init(struct channel *b, struct loop *hub, void (*hub_run)(void *arg), void *hub_arg,
		  struct loop *side, void (*io_thread_run)(void *arg), void *io_thread_arg)
{
	CHECK(loop_is_own(hub) && loop_is_own(side));
	b->put = b->done_seen = 0;
	atomic_init(&b->target, UINT64_MAX);
	atomic_init(&b->done, 0);
	b->room_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	loop_waker_add(hub, &b->to_hub, hub_run, hub_arg);
	loop_waker_add(side, &b->to_side, io_thread_run, io_thread_arg);
	return ring_init(&b->down) && ring_init(&b->up) && b->room_fd >= 0;
}

void channel_free(struct channel *b)
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
static void channel_wait(struct channel *b, uint64_t most)
{
	struct pollfd room = {.fd = b->room_fd, .events = POLLIN};
	CHECK(b->put >= most);
	uint64_t count, target = b->put - most;
	channel_publish_down(b);
	for (;;) {
		/* Exchanged, as channel_take_down does, so that one of the two sees what the other
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

static struct channel_record *channel_begin(struct channel_record *r, int kind, size_t len)
{
	if (r != NULL)
		*r = (struct channel_record){.kind = (uint8_t)kind, .len = (uint32_t)len};
	return r;
}

static void channel_keep_pace(struct channel *b)
{
	CHECK(b->put >= b->done_seen);
	if (b->put - b->done_seen <= CHANNEL_AHEAD_MAX)
		return;
	b->done_seen = atomic_load_explicit(&b->done, memory_order_acquire);
	if (b->put - b->done_seen > CHANNEL_AHEAD_MAX)
		channel_wait(b, CHANNEL_AHEAD_MAX / 2);
}

struct channel_record *channel_down(struct channel *b, enum channel_down kind, size_t len,
				    uint32_t deliveries)
{
	size_t whole = sizeof(struct channel_record) + len;
	CHECK(kind <= CHANNEL_STOP && loop_is_own(b->to_hub.loop));
	channel_keep_pace(b);
	if (b->down.unpublished > CHANNEL_PUBLISH)
		channel_publish_down(b);
	struct channel_record *r = channel_begin(ring_put(&b->down, whole), kind, len);
	/* no memory: when all is done, what there is can be used again */
	while (r == NULL && whole <= RING_SMALL) {
		channel_wait(b, 0);
		poll(NULL, 0, 1);
		r = channel_begin(ring_put(&b->down, whole), kind, len);
	}
	if (r == NULL)
		return NULL;
	r->cost = 1 + deliveries + (uint32_t)(len >> 6);
	b->put += r->cost;
	b->to_hub.loop->again = true;
	return r;
}

struct channel_record *channel_up(struct channel *b, enum channel_up kind, size_t len)
{
	CHECK(kind >= CHANNEL_UPGRADE && loop_is_own(b->to_side.loop));
	if (b->up.unpublished > CHANNEL_PUBLISH)
		channel_publish_up(b);
	b->to_side.loop->again = true;
	return channel_begin(ring_put(&b->up, sizeof(struct channel_record) + len), kind, len);
}

void channel_publish_down(struct channel *b)
{
	if (ring_publish(&b->down))
		loop_wake(&b->to_side);
}

void channel_publish_up(struct channel *b)
{
	if (ring_publish(&b->up))
		loop_wake(&b->to_hub);
}

struct channel_record *channel_take_up(struct channel *b)
{
	size_t len;
	return ring_take(&b->up, &len);
}

/* Ends the hub's wait for that, but not another one that it has begun meanwhile. */
static void channel_end_wait(struct channel *b, uint64_t target)
{
	const uint64_t one = 1;
	if (!atomic_compare_exchange_strong(&b->target, &target, UINT64_MAX))
		return;
	/* if that fails the counter is full, and ends the wait as well */
	ssize_t n = write(b->room_fd, &one, sizeof one);
	(void)n;
}

struct channel_record *channel_take_down(struct channel *b)
{
	size_t len;
	struct channel_record *r = ring_take(&b->down, &len);
	if (r != NULL)
		return r;
	/* Not only read, see channel_wait: before this loop sleeps it has to know whether the hub's
	 * waits for what has been done. */
	uint64_t target = atomic_fetch_add(&b->target, 0);
	if (target <= atomic_load_explicit(&b->done, memory_order_relaxed))
		channel_end_wait(b, target);
	return NULL;
}

void channel_done(struct channel *b, uint32_t cost)
{
	uint64_t done = atomic_load_explicit(&b->done, memory_order_relaxed) + cost;
	atomic_store_explicit(&b->done, done, memory_order_release);
	uint64_t target = atomic_load_explicit(&b->target, memory_order_relaxed);
	if (target <= done)
		channel_end_wait(b, target);
}
