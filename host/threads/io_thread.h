/* io_thread: another loop, with a thread of its own, that has a share of the sockets.
 *
 * It reads, parses, answers plain HTTP, and sends; what concerns the hub it passes over the
 * channel, and does what comes back. The loop of the hub is that of the main thread, and has
 * sockets, too; with one loop none of this exists.
 */
#ifndef TOVA_THREADS_IO_THREAD_H
#define TOVA_THREADS_IO_THREAD_H

#include <pthread.h>

#include "threads/remote_conn.h"
#include "net/files.h"
#include "net/listener.h"

struct io_thread_conn;

struct io_thread {
	uint16_t magic;			/* CHECK_IO_THREAD */
	struct remote_conn remote_conn; /* the hub's end of the channel */
	struct loop *loop;
	struct conns conns;
	struct listeners listeners;
	struct files files;
	struct address_set trusted; /* the gate's, and so is */
	char *hosts;
	struct io_thread_rule *rules; /* of mounts */
	struct loop_hook hook;
	struct loop_timer retry, show;
	TAILQ_HEAD(, io_thread_conn) shown; /* whose load was shown and is not nothing */
	/* for want of room on the channel; for want of memory */
	TAILQ_HEAD(io_thread_list, io_thread_conn)
	paused, retrying;
	bool draining, ended;
	bool running; /* the main thread's: there is a thread */
	pthread_t thread;
	/* as of the end of its last turn */
	_Alignas(64) _Atomic uint64_t stats[sizeof(struct stats) / sizeof(uint64_t)];
};

/* All loops but the hub's. */
struct io_threads {
	uint16_t magic; /* CHECK_IO_THREADS */
	struct io_thread **v;
	unsigned n;
	struct balance balance;
	struct conns *here; /* the hub's loop's own, and its listeners */
	struct listeners *listeners;
};

/* n: how many loops there are to be in all; with 1 nothing is made. `here` and `listeners` are
 * those of the hub's loop, and are told what they need. False with errno on failure;
 * io_threads_free is called all the same. */
bool io_threads_init(struct io_threads *s, unsigned n, struct conns *here,
		     struct listeners *listeners);
/* Listens on each loop where the hub's does. */
bool io_threads_listen(struct io_threads *s, int backlog, char *why, size_t why_cap);
/* False with errno when there can be no more threads. */
bool io_threads_start(struct io_threads *s);
/* Ends the threads. */
void io_threads_stop(struct io_threads *s);
/* Closes all sockets. Stubs are gone after it. */
void io_threads_free(struct io_threads *s);

/* As conns_set_limits. */
void io_threads_set_limits(struct io_threads *s, const struct conn_limits *limits);
/* As conns_set_budgets; before they start. */
void io_threads_set_budgets(struct io_threads *s, struct budgets *budgets);
/* False when there are no descriptors for that; the old folder is served then. */
bool io_threads_set_files(struct io_threads *s, const struct files *files);
/* False without memory; the old one goes on. */
bool io_threads_set_gate(struct io_threads *s, const struct client_addr *client_addr);
/* As conns_set_tls. */
void io_threads_set_tls(struct io_threads *s, struct tls_server *tls);
/* What was given to conn_measure has changed. */
void io_threads_set_rule(struct io_threads *s, const struct rate_limit_rule *rule);
void io_threads_drain(struct io_threads *s);
/* Is there anything that a stop would cut off? */
enum conns_busy io_threads_busy(const struct io_threads *s);
/* What all loops have counted, the hub's included. */
struct stats io_threads_stats(const struct io_threads *s);

#endif
