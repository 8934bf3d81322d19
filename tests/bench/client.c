#define _GNU_SOURCE
#include "client.h"

#include "mask.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The key and the answer of RFC 6455, 1.3: a server that does not compute the answer is found out, and no SHA-1 is needed here. */
static const char KEY[] = "dGhlIHNhbXBsZSBub25jZQ==";
static const char ACCEPT[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

static void *must(void *p)
{
	if (!p) {
		fprintf(stderr, "load: out of memory\n");
		exit(2);
	}
	return p;
}

void client_box_init(struct client_box *box)
{
	box->data = must(malloc(CLIENT_ROOM));
	box->len = box->at = 0;
}

static int connect_from(int fd, int port, int source)
{
	/* Ports are chosen at connect, per pair of addresses: several sources give more than the 28,000 of one. */
	int one = 1;
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + (uint32_t)source) };
	if (bind(fd, (struct sockaddr *)&a, sizeof a))
		return -1;
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	a.sin_port = htons((uint16_t)port);
	/* Blocking: over loopback this is done at once unless the server's backlog is full, and then waiting is right. */
	if (connect(fd, (struct sockaddr *)&a, sizeof a))
		return -1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	return fcntl(fd, F_SETFL, O_NONBLOCK);
}

int client_open(struct client *c, int port, const char *path, int source)
{
	char head[512];
	int n = snprintf(head, sizeof head, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		"Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n", path, port, KEY);
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return -1;
	if (connect_from(c->fd, port, source) || send(c->fd, head, (size_t)n, MSG_NOSIGNAL) != n) {
		int error = errno;
		client_close(c);
		errno = error;
		return -1;
	}
	return 0;
}

void client_close(struct client *c)
{
	close(c->fd);
	c->fd = -1;
	free(c->held);
	free(c->late);
	c->held = c->late = NULL;
	c->held_len = c->late_len = 0;
}

int client_read(struct client *c, struct client_box *in)
{
	in->at = 0;
	in->len = c->held_len;
	if (c->held_len) {
		memcpy(in->data, c->held, c->held_len);
		free(c->held);
		c->held = NULL;
		c->held_len = 0;
	}
	ssize_t n = recv(c->fd, in->data + in->len, CLIENT_ROOM - in->len, 0);
	if (n > 0) {
		in->len += (size_t)n;
		return 1;
	}
	int nothing = n < 0 && (errno == EAGAIN || errno == EINTR);
	if (nothing)
		client_keep(c, in);
	return nothing ? 0 : -1;
}

void client_keep(struct client *c, struct client_box *in)
{
	c->held_len = in->len - in->at;
	if (c->held_len) {
		c->held = must(malloc(c->held_len));
		memcpy(c->held, in->data + in->at, c->held_len);
	}
	in->at = in->len = 0;
}

int client_take_upgrade(struct client_box *in)
{
	const char *head = (const char *)in->data + in->at;
	size_t len = in->len - in->at;
	const char *end = memmem(head, len, "\r\n\r\n", 4);
	if (!end)
		return len > 8192 ? -1 : 0;
	size_t head_len = (size_t)(end - head) + 4;
	in->at += head_len;
	static const char status[] = "HTTP/1.1 101 ";
	if (head_len < sizeof status || memcmp(head, status, sizeof status - 1) != 0)
		return -1;
	return memmem(head, head_len, ACCEPT, sizeof ACCEPT - 1) ? 1 : -1;
}

int client_take_frame(struct client_box *in, struct client_frame *f_r)
{
	const uint8_t *p = in->data + in->at;
	size_t have = in->len - in->at;
	if (have < 2)
		return 0;
	/* FIN set, nothing reserved, not masked (RFC 6455, 5.1 and 5.2). */
	if ((p[0] & 0xf0) != 0x80 || (p[1] & 0x80))
		return -1;
	size_t head = p[1] == 127 ? 10 : p[1] == 126 ? 4 : 2;
	if (have < head)
		return 0;
	uint64_t len = p[1];
	if (head > 2) {
		len = 0;
		for (size_t i = 2; i < head; i++)
			len = len << 8 | p[i];
	}
	if (len > CLIENT_ROOM / 2)
		return -1;
	if (have - head < len)
		return 0;
	*f_r = (struct client_frame){ .opcode = p[0] & 15, .data = p + head, .len = (size_t)len };
	in->at += head + (size_t)len;
	return 1;
}

static size_t head_size(size_t len)
{
	return (len < 126 ? 2 : len < 65536 ? 4 : 10) + 4;
}

uint8_t *client_put_space(struct client_box *out, size_t len)
{
	if (out->len + head_size(len) + len > CLIENT_ROOM) {
		fprintf(stderr, "load: depth times size is over %d bytes\n", CLIENT_ROOM);
		exit(2);
	}
	return out->data + out->len + head_size(len);
}

void client_put_frame(struct client_box *out, int opcode, size_t len)
{
	/* Changes with every frame, as RFC 6455, 5.3 wants it; that it can be guessed does not matter here. */
	static uint32_t key = 0x9e3779b9u;
	key = key * 1664525u + 1013904223u;
	uint8_t *p = out->data + out->len;
	*p++ = (uint8_t)(0x80 | opcode);
	size_t wide = len < 126 ? 0 : len < 65536 ? 2 : 8;
	*p++ = (uint8_t)(0x80 | (wide == 0 ? len : wide == 2 ? 126 : 127));
	for (size_t i = wide; i-- > 0;)
		*p++ = (uint8_t)(len >> (8 * i));
	uint8_t k[4];
	memcpy(k, &key, 4);
	memcpy(p, k, 4);
	mask_xor(p + 4, p + 4, len, k);
	out->len += head_size(len) + len;
}

static void keep_late(struct client *c, const uint8_t *data, size_t len)
{
	c->late = must(realloc(c->late, c->late_len + len));
	memcpy(c->late + c->late_len, data, len);
	c->late_len += len;
}

static ssize_t send_some(int fd, const uint8_t *data, size_t len)
{
	ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
	return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : n;
}

int client_flush(struct client *c, struct client_box *out)
{
	size_t len = out->len;
	out->len = 0;
	if (c->late_len) {
		keep_late(c, out->data, len);
		ssize_t n = send_some(c->fd, c->late, c->late_len);
		if (n < 0)
			return -1;
		c->late_len -= (size_t)n;
		memmove(c->late, c->late + n, c->late_len);
		return c->late_len > 0;
	}
	if (!len)
		return 0;
	ssize_t n = send_some(c->fd, out->data, len);
	if (n < 0)
		return -1;
	if ((size_t)n < len)
		keep_late(c, out->data + n, len - (size_t)n);
	return (size_t)n < len;
}
