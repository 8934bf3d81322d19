/* ipc: the nng wire protocol (PAIR0) on a Unix socket, for workers beside the host. libnng would
 * hand each message from thread to thread, which costs several times what a small handler does;
 * this has none. One thread uses it, but for ipc_pulse. It dials again by itself, whenever it is
 * tended. */
#ifndef TOVA_SDK_IPC_H
#define TOVA_SDK_IPC_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

struct ipc {
	/* of the descriptor, and of what is written: ipc_pulse() is another thread's */
	pthread_mutex_t lock;
	struct sockaddr_un to;
	int fd;		     /* -1: not connected; to be polled for reading */
	bool up;	     /* the host has said that it speaks PAIR0 */
	bool drained;	     /* the last read took all that was there */
	bool no_memory;	     /* a message was lost for that */
	unsigned generation; /* counts connections that came up */
	uint8_t *in;	     /* one byte more than cap */
	size_t at, len, cap;
	uint8_t *behind,
		kept;	  /* a byte that was lent to the owner of the last message; NULL: none is */
	uint64_t dial_at; /* ns of the monotonic clock */
	unsigned wait_ms; /* before the next attempt but one */
};

/* The host does not take a message since then (ns of the monotonic clock): waits until the
 * descriptor can be written to, or something else is to be seen to; -1: waits for nothing. False:
 * it is given up. */
typedef bool ipc_patience(void *ctx, int fd, uint64_t since);

/* The clock of dial_at and of ipc_patience, which never goes back. */
uint64_t ipc_now_ns(void);

/* From another thread: writes a whole small message between two of the owner's, or nothing. */
void ipc_pulse(struct ipc *i, const void *bytes, size_t n);

/* False: the path is longer than a Unix socket's may be. */
bool ipc_open(struct ipc *i, const char *path);
/* Dials if it is time, and takes the host's greeting. */
void ipc_tend(struct ipc *i);
/* How long until something is to be done, whatever the descriptor says: 0 while a message is there;
 * -1: there is nothing. */
int ipc_wait_ms(const struct ipc *i);
/* The next message, with one byte behind it that may be written; both are there until the next
 * call. False: there is none, or the connection has ended (up). */
bool ipc_receive(struct ipc *i, uint8_t **bytes_r, size_t *len_r);
/* Waits while the host does not read, and the owner has patience. False: the connection is gone;
 * what came before its end can still be received. */
bool ipc_send(struct ipc *i, const void *bytes, size_t n, ipc_patience *patience, void *ctx);

#endif
