/* What the modes of the load generator share: settings, the phases of a run, connections, and the
 * count of what went wrong. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "client.h"
#include "message.h"
#include "probe.h"

#include <stdint.h>
#include <sys/epoll.h>

enum { LOAD_EVENTS = 1024 };
enum load_phase { LOAD_WARMING, LOAD_COUNTING, LOAD_DRAINING };

struct load {
	/* settings */
	const char *mode, *path;
	/* mode fanout: the publisher's path, where a server answers it what came of its messages;
	 * NULL: path */
	const char *publisher;
	int squeeze; /* offers permessage-deflate, and has to get it */
	int words;   /* messages are words rather than letters by chance */
	int forks;   /* the server has a process for each connection, which may end at any time */
	int port, opcode;
	pid_t pid;
	uint32_t conns, depth, size, sources;
	double warmup, seconds;
	int interval_ms;  /* modes pause and slow */
	uint32_t stopped; /* mode slow: members that do not read */
	int patience_ms;  /* what did not come so long after anything else came is lost */
	/* connections */
	int epoll;
	struct client *clients;
	struct client_box in, out;
	struct epoll_event events[LOAD_EVENTS];
	/* connections that may send once this batch of events is read */
	struct client *turn[LOAD_EVENTS];
	int turns;
	/* measuring: units counts from the beginning, the marks are taken where the warm-up ends
	 * and where the counting ends */
	struct probe probe;
	enum load_phase phase;
	uint64_t units, mark_units[2];
	/* root: the server's first process alone */
	int64_t mark_wall[2], mark_cpu[2], mark_root[2], mark_own[2];
	/* mode idle: per connection, without and after one message */
	double idle_bytes, used_bytes;
	uint32_t rooms; /* mode rooms: how many there are */
	/* likewise: what it found */
	double room_bytes, join_us, leave_us, join_there_us, leave_there_us, end_us;
	double p50_us, p99_us; /* mode lone: a round trip; mode slow: a delivery */
	/* mode slow: how many of those were closed, messages that the others missed */
	uint64_t stopped_closed, stopped_missed;
	/* mode pause: over the connections, the longest time that each waited for a reply */
	struct load_gaps {
		double median_ms, most_ms;
	} quiet, reload;
	double reload_at, ended_at; /* seconds since 1970, to compare with the server's log */
	/* faults; any of them fails the run */
	uint64_t lost, repeated, wrong, broken;
	const char *why;
};

int64_t load_now(void);
/* Notes a fault that makes going on pointless. */
void load_break(struct load *l, const char *why);
/* As client_take_upgrade; it is wrong without the extension that was asked for, or with one that
 * was not. */
int load_take_upgrade(struct load *l, struct client *c);
/* Opens clients [from, to) one after the other, waits for each one's 101 and watches it. Returns 0
 * or -1 after load_break. */
int load_open(struct load *l, uint32_t from, uint32_t to);
void load_watch(struct load *l, struct client *c);
/* Moves to the next phase when it is time; warming starts with the first call. */
void load_tick(struct load *l);
/* One batch of events. 0 or less: nothing came within the patience of the generator, or the run is
 * broken. */
int load_wait(struct load *l);
/* Reads what a client has; each data frame of `sender` is judged and counted into c->got. Returns
 * the number of messages. */
uint32_t load_take(struct load *l, struct client *c, uint32_t sender);
/* Puts `count` messages of c into one write. */
void load_send(struct load *l, struct client *c, uint32_t count);
void load_flush(struct load *l, struct client *c);
/* The close handshake on clients [0, n): what arrives before the close frame arrived once too
 * often. */
void load_goodbye(struct load *l, uint32_t n);

void echo_run(struct load *l);
void fanout_run(struct load *l);
void churn_run(struct load *l);
void idle_run(struct load *l);
void lone_run(struct load *l);
void pause_run(struct load *l);
void rooms_run(struct load *l);
void slow_run(struct load *l);

#endif
