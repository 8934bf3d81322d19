#include "c/ipc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "common/pair0.h"

#define IPC_READ 65536	    /* room for a read, at least */
#define IPC_KEEP (1u << 20) /* a larger buffer is given back when it is empty */
#define IPC_DIAL_MS 50	    /* after a first failure, then twice as long each time */
#define IPC_DIAL_MAX_MS 2000

uint64_t ipc_now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

bool ipc_open(struct ipc *i, const char *path)
{
	size_t n = strlen(path);
	*i = (struct ipc){.lock = PTHREAD_MUTEX_INITIALIZER,
			  .fd = -1,
			  .wait_ms = IPC_DIAL_MS,
			  .to = {.sun_family = AF_UNIX}};
	if (n == 0 || n >= sizeof i->to.sun_path)
		return false;
	memcpy(i->to.sun_path, path, n + 1);
	return true;
}

/* --- connections ------------------------------------------------------------------------------ */

static void ipc_close(struct ipc *i)
{
	pthread_mutex_lock(&i->lock);
	if (i->fd >= 0)
		close(i->fd);
	i->fd = -1;
	i->up = false;
	pthread_mutex_unlock(&i->lock);
	i->at = i->len = 0;
	i->behind = NULL;
	i->dial_at = ipc_now_ns() + i->wait_ms * UINT64_C(1000000);
	i->wait_ms = i->wait_ms < IPC_DIAL_MAX_MS / 2 ? 2 * i->wait_ms : IPC_DIAL_MAX_MS;
}

static void ipc_dial(struct ipc *i)
{
	i->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (i->fd < 0 || connect(i->fd, (const struct sockaddr *)&i->to, sizeof i->to) != 0 ||
	    send(i->fd, pair0_greeting, sizeof pair0_greeting, MSG_NOSIGNAL) !=
		    sizeof pair0_greeting)
		ipc_close(i);
}

/* Room for n bytes in all; the room grows with what has come, whatever a length promises. */
static bool ipc_reserve(struct ipc *i, size_t n)
{
	if (i->at > 0) {
		memmove(i->in, i->in + i->at, i->len);
		i->at = 0;
	}
	size_t most = 2 * i->len > IPC_READ ? 2 * i->len : IPC_READ;
	if (n > most)
		n = most;
	if (n <= i->cap)
		return true;
	uint8_t *wider = realloc(i->in, n + 1);
	if (wider == NULL)
		return false;
	i->in = wider;
	i->cap = n;
	return true;
}

/* Reads once, towards n bytes. False: nothing came. */
static bool ipc_fill(struct ipc *i, size_t n)
{
	if (!ipc_reserve(i, n > i->len + IPC_READ / 2 ? n : i->len + IPC_READ / 2)) {
		i->no_memory = true;
		ipc_close(i);
		return false;
	}
	size_t room = i->cap - i->len;
	ssize_t got = recv(i->fd, i->in + i->len, room, 0);
	if (got > 0) {
		i->len += (size_t)got;
		i->drained = (size_t)got < room;
		return true;
	}
	if (got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
		ipc_close(i);
	return false;
}

void ipc_tend(struct ipc *i)
{
	if (i->fd < 0 && ipc_now_ns() >= i->dial_at)
		ipc_dial(i);
	if (i->fd < 0 || i->up || !ipc_fill(i, PAIR0_GREETING) || i->len < PAIR0_GREETING)
		return;
	if (memcmp(i->in, pair0_greeting, PAIR0_GREETING) != 0) {
		ipc_close(i); /* something else listens there */
		return;
	}
	i->at = PAIR0_GREETING;
	i->len -= PAIR0_GREETING;
	pthread_mutex_lock(&i->lock);
	i->up = true;
	pthread_mutex_unlock(&i->lock);
	i->generation++;
	i->wait_ms = IPC_DIAL_MS;
}

/* --- messages --------------------------------------------------------------------------------- */

/* Bytes of the message at hand, its head included, as far as that is known; 0: it is none. */
static uint64_t ipc_size(const struct ipc *i)
{
	if (i->len > 0 && i->in[i->at] != 1)
		return 0;
	if (i->len < PAIR0_HEAD)
		return PAIR0_HEAD;
	uint64_t len = pair0_length(i->in + i->at + 1);
	return len < SIZE_MAX / 4 ? PAIR0_HEAD + len : 0;
}

static bool ipc_is_whole(const struct ipc *i)
{
	return i->len >= PAIR0_HEAD && i->len >= ipc_size(i);
}

int ipc_wait_ms(const struct ipc *i)
{
	uint64_t now = ipc_now_ns();
	if (i->fd >= 0)
		return i->up && ipc_is_whole(i) ? 0 : -1;
	return i->dial_at > now ? (int)((i->dial_at - now) / 1000000) + 1 : 0;
}

static void ipc_take_back(struct ipc *i)
{
	if (i->behind != NULL)
		*i->behind = i->kept;
	i->behind = NULL;
	if (i->len > 0)
		return;
	i->at = 0;
	if (i->cap > IPC_KEEP) {
		free(i->in);
		i->in = NULL;
		i->cap = 0;
	}
}

bool ipc_receive(struct ipc *i, uint8_t **bytes_r, size_t *len_r)
{
	ipc_take_back(i);
	while (i->up) {
		uint64_t size = ipc_size(i);
		if (size == 0) {
			ipc_close(i);
		} else if (ipc_is_whole(i)) {
			*bytes_r = i->in + i->at + PAIR0_HEAD;
			*len_r = (size_t)size - PAIR0_HEAD;
			/* the buffer has one byte more than it uses */
			i->behind = i->in + i->at + size;
			i->kept = *i->behind;
			i->at += (size_t)size;
			i->len -= (size_t)size;
			return true;
		} else if (i->drained) {
			i->drained = false; /* for the next time: poll says when */
			return false;
		} else if (!ipc_fill(i, (size_t)size)) {
			return false;
		}
	}
	return false;
}

/* Half a message may be out, so nothing can follow it. */
static bool ipc_give_up(struct ipc *i)
{
	shutdown(i->fd, SHUT_RDWR);
	return false;
}

static bool ipc_send_parts(struct ipc *i, const void *bytes, size_t n, ipc_patience *patience,
			   void *ctx)
{
	uint64_t since = 0;
	uint8_t head[PAIR0_HEAD];
	pair0_write_head(head, n);
	struct iovec iov[2] = {{head, sizeof head}, {(void *)bytes, n}};
	while (i->up && iov[1].iov_len + iov[0].iov_len > 0) {
		ssize_t sent = sendmsg(i->fd, &(struct msghdr){.msg_iov = iov, .msg_iovlen = 2},
				       MSG_NOSIGNAL);
		if (sent < 0 && errno == EAGAIN) {
			since = since != 0 ? since : ipc_now_ns();
			if (!patience(ctx, i->fd, since))
				return ipc_give_up(i);
		} else if (sent < 0 && errno != EINTR) {
			return ipc_give_up(i);
		}
		for (int k = 0; k < 2 && sent > 0; k++) {
			size_t part = (size_t)sent < iov[k].iov_len ? (size_t)sent : iov[k].iov_len;
			iov[k] = (struct iovec){(uint8_t *)iov[k].iov_base + part,
						iov[k].iov_len - part};
			sent -= (ssize_t)part;
		}
	}
	return i->up;
}

bool ipc_send(struct ipc *i, const void *bytes, size_t n, ipc_patience *patience, void *ctx)
{
	pthread_mutex_lock(&i->lock);
	bool sent = ipc_send_parts(i, bytes, n, patience, ctx);
	pthread_mutex_unlock(&i->lock);
	return sent;
}

void ipc_pulse(struct ipc *i, const void *bytes, size_t n)
{
	uint8_t message[PAIR0_HEAD + 512];
	if (n > sizeof message - PAIR0_HEAD || pthread_mutex_trylock(&i->lock) != 0)
		return;
	pair0_write_head(message, n);
	memcpy(message + PAIR0_HEAD, bytes, n);
	ssize_t sent = i->up ? send(i->fd, message, PAIR0_HEAD + n, MSG_NOSIGNAL) : 0;
	if (sent > 0 && (size_t)sent < PAIR0_HEAD + n)
		ipc_give_up(i);
	pthread_mutex_unlock(&i->lock);
}
