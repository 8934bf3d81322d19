/* The floor of the benchmark: what echo and fan-out cost with epoll and TCP alone. It answers the
 * upgrade correctly and unmasks, since its replies are checked like everybody's; beyond that it has
 * nothing of a WebSocket server: no limits, no UTF-8 check, no fragments, no control frames but
 * close, no output queue (it waits for a full socket: the generator reads on), one room. One read
 * and one write per readiness; a fan-out is one write per member and batch. */
#define _GNU_SOURCE
#include "mask.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BOX = 48 << 20, EVENTS = 1024, MAX_FD = 65536 };

struct peer {
	int fd;
	uint8_t upgraded, in_room, closing;
	uint32_t place; /* in the room */
	uint8_t *held;	/* a part of a frame; what follows it is read behind it */
	size_t held_len, held_room;
};

struct bare {
	int epoll, listener;
	const EVP_MD *sha1;
	uint8_t *box, *in, *out; /* in: the box, or what the peer at hand holds */
	size_t in_len, out_len;
	struct peer **room;
	uint32_t members;
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void push(int fd, const uint8_t *data, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
		if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
			return;
		if (n < 0 && errno != EAGAIN)
			die("bare: send");
		data += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
		if (len > 0)
			poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1);
	}
}

static void leave(struct bare *b, struct peer *p)
{
	if (p->in_room) {
		struct peer *last = b->room[--b->members];
		b->room[p->place] = last;
		last->place = p->place;
	}
	close(p->fd);
	free(p->held);
	free(p);
}

static void upgrade(struct bare *b, struct peer *p)
{
	char *head = (char *)b->in, text[128], reply[256];
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned digest_len;
	b->in[b->in_len] = 0;
	char *key = strcasestr(head, "sec-websocket-key:");
	if (!key)
		die("bare: not an upgrade");
	key += strlen("sec-websocket-key:");
	key += strspn(key, " ");
	int n = snprintf(text, sizeof text, "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
	EVP_Digest(text, (size_t)n, digest, &digest_len, b->sha1, NULL);
	EVP_EncodeBlock((uint8_t *)text, digest, (int)digest_len);
	n = snprintf(
		reply, sizeof reply,
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		text);
	push(p->fd, (uint8_t *)reply, (size_t)n);
	p->upgraded = 1;
	if (strncmp(head, "GET /room/", 10) == 0) {
		p->in_room = 1;
		p->place = b->members;
		b->room[b->members++] = p;
	}
}

/* Appends the unmasked frame at `from` to the output. Returns its length, 0 when it is not whole.
 */
static size_t turn_frame(struct bare *b, struct peer *p, const uint8_t *from, size_t have)
{
	if (have < 6)
		return 0;
	size_t len = from[1] & 127, head = 2;
	if (len >= 126) {
		head = len == 126 ? 4 : 10;
		if (have < head)
			return 0;
		len = 0;
		for (size_t i = 2; i < head; i++)
			len = len << 8 | from[i];
	}
	if (have < head + 4 + len)
		return 0;
	uint8_t *to = b->out + b->out_len;
	memcpy(to, from, head);
	to[1] &= 127;
	mask_xor(to + head, from + head + 4, len, from + head);
	b->out_len += head + len;
	p->closing = (from[0] & 15) == 8;
	return head + 4 + len;
}

static void deliver(struct bare *b, struct peer *p)
{
	if (!b->out_len)
		return;
	if (!p->in_room || p->closing) {
		push(p->fd, b->out, b->out_len);
		return;
	}
	for (uint32_t i = 0; i < b->members; i++)
		if (b->room[i] != p)
			push(b->room[i]->fd, b->out, b->out_len);
}

/* Keeps what is only a part; a whole frame is known to fit, so its memory is found once. */
static void hold(struct bare *b, struct peer *p, size_t at)
{
	size_t rest = b->in_len - at;
	if (rest > 0 && !p->held) {
		p->held_room = rest > BOX / 4 ? BOX : 4 * rest + 4096;
		p->held = malloc(p->held_room);
		memcpy(p->held, b->in + at, rest);
	} else if (rest > 0) {
		memmove(p->held, p->held + at, rest);
	} else {
		free(p->held);
		p->held = NULL;
	}
	p->held_len = rest;
	if (p->held && p->held_room - rest < p->held_room / 2) {
		p->held_room *= 2;
		p->held = realloc(p->held, p->held_room);
	}
}

static void take(struct bare *b, struct peer *p)
{
	b->in = p->held ? p->held : b->box;
	ssize_t n = recv(p->fd, b->in + p->held_len,
			 (p->held ? p->held_room : BOX) - p->held_len - 1, 0);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		leave(b, p);
		return;
	}
	b->in_len = p->held_len + (size_t)n;
	b->out_len = 0;
	size_t at = 0;
	if (p->upgraded) {
		for (size_t k; !p->closing && (k = turn_frame(b, p, b->in + at, b->in_len - at));
		     at += k)
			continue;
		deliver(b, p);
	} else if (memmem(b->in, b->in_len, "\r\n\r\n", 4)) {
		upgrade(b, p);
		at = b->in_len;
	}
	if (p->closing)
		leave(b, p);
	else
		hold(b, p, at);
}

static void welcome(struct bare *b)
{
	for (int fd; (fd = accept4(b->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
		int one = 1;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		struct peer *p = calloc(1, sizeof *p);
		if (!p)
			die("bare");
		p->fd = fd;
		struct epoll_event e = {.events = EPOLLIN, .data.ptr = p};
		epoll_ctl(b->epoll, EPOLL_CTL_ADD, fd, &e);
	}
}

static void start(struct bare *b, int port)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_port = htons((uint16_t)port),
				.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof a;
	int one = 1;
	b->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(b->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(b->listener, (struct sockaddr *)&a, len) || listen(b->listener, 4096) ||
	    getsockname(b->listener, (struct sockaddr *)&a, &len))
		die("bare: listen");
	b->epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
	epoll_ctl(b->epoll, EPOLL_CTL_ADD, b->listener, &e);
	printf("listening %d\n", ntohs(a.sin_port));
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static struct epoll_event events[EVENTS];
	struct bare b = {.sha1 = EVP_MD_fetch(NULL, "SHA1", NULL),
			 .box = malloc(BOX),
			 .out = malloc(BOX),
			 .room = calloc(MAX_FD, sizeof *b.room)};
	if (!b.sha1 || !b.box || !b.out || !b.room)
		die("bare");
	start(&b, argc > 1 ? atoi(argv[1]) : 0);
	for (;;) {
		int n = epoll_wait(b.epoll, events, EVENTS, -1);
		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr)
				take(&b, events[i].data.ptr);
			else
				welcome(&b);
		}
	}
}
