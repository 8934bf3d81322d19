/* poller: which of a loop's connections are ready, by an epoll set of its own.
 *
 * libevent keeps about 170 bytes for each descriptor that it watches, which is more than the rest
 * of an idle connection. So the sockets of connections stand in this set, and the set is what
 * libevent watches: one system call more a turn, none more a message. Level-triggered, as libevent
 * is.
 */
#ifndef TOVA_NET_POLLER_H
#define TOVA_NET_POLLER_H

#include "net/loop.h"

struct poller {
	uint16_t magic; /* CHECK_POLLER */
	int fd;
	struct loop_watch watch;
	void (*run)(void *item, uint32_t events);
};

/* run: an item is ready, and how: EPOLLIN and the others, those that were asked for and EPOLLERR,
 * EPOLLHUP. It may be told of an item that was removed in the same turn, so items live until the
 * hooks of the turn. False with errno on failure. */
bool poller_init(struct poller *p, struct loop *loop, void (*run)(void *item, uint32_t events));
void poller_free(struct poller *p);

/* Instead of `before`, `events` are waited for; 0: the descriptor is not in the set. False without
 * memory. */
bool poller_set(struct poller *p, int fd, void *item, uint32_t before, uint32_t events);

#endif
