#include "net/poller.h"

#include <sys/epoll.h>
#include <unistd.h>

#include "base/check.h"

/* what is ready beyond that comes in the next turn, after the output of this one */
#define POLLER_BATCH 128

static void poller_on_ready(void *arg)
{
	struct poller *p = arg;
	CHECK_IS(p, CHECK_POLLER);
	struct epoll_event ready[POLLER_BATCH];
	int n = epoll_wait(p->fd, ready, POLLER_BATCH, 0);
	for (int i = 0; i < n; i++)
		p->run(ready[i].data.ptr, ready[i].events);
}

bool poller_init(struct poller *p, struct loop *loop, void (*run)(void *item, uint32_t events))
{
	*p = (struct poller){.magic = CHECK_POLLER, .fd = epoll_create1(EPOLL_CLOEXEC), .run = run};
	if (p->fd < 0)
		return false;
	loop_watch_init(loop, &p->watch, p->fd, false, poller_on_ready, p);
	return loop_watch_set(&p->watch, true);
}

void poller_free(struct poller *p)
{
	if (p->fd < 0)
		return;
	loop_watch_set(&p->watch, false);
	close(p->fd);
	p->fd = -1;
}

bool poller_set(struct poller *p, int fd, void *item, uint32_t before, uint32_t events)
{
	struct epoll_event e = {.events = events, .data = {.ptr = item}};
	int op = before == 0 ? EPOLL_CTL_ADD : events == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
	return before == events || epoll_ctl(p->fd, op, fd, &e) == 0;
}
