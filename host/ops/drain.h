/* drain: the way to stop without dropping anybody. Upgrades get 503, connections are closed with
 * 1001 one after the other over some time, so that the clients' reconnects do not arrive elsewhere
 * all at once. */
#ifndef TOVA_OPS_DRAIN_H
#define TOVA_OPS_DRAIN_H

#include "hub/hub.h"

struct drain {
	uint16_t magic; /* CHECK_DRAIN */
	struct hub *hub;
	struct conns *conns;
	struct io_threads *io_threads;
	struct loop_timer tick;
	uint64_t began, over_ms;
	uint64_t empty;	 /* since when there has been no session any more; 0: there is one */
	uint32_t cursor; /* into the hub's sessions */
	bool running;
	bool leaving; /* nobody is left, the handlers come to their end */
};

/* All of them are borrowed; nothing is stopped yet. */
void drain_init(struct drain *d, struct hub *hub, struct conns *conns,
		struct io_threads *io_threads);
/* Stops the loop when everybody is gone, or has not answered the close handshake in time. Peers
 * that keep coming, or that take an answer slowly, can not put it off. */
void drain_begin(struct drain *d, uint64_t over_ms);
void drain_cancel(struct drain *d);

#endif
