#define _GNU_SOURCE
#include "socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static SSL_CTX *tls;

/* --- bytes ------------------------------------------------------------------------------------ */

static void bytes_reserve(struct bytes *b, size_t more)
{
	if (b->at + b->n + more <= b->cap)
		return;
	if (b->n > 0)
		memmove(b->p, b->p + b->at, b->n);
	b->at = 0;
	if (b->n + more <= b->cap)
		return;
	b->cap = 2 * (b->n + more);
	b->p = realloc(b->p, b->cap);
	if (b->p == NULL)
		abort();
}

void bytes_add(struct bytes *b, const void *from, size_t n)
{
	bytes_reserve(b, n);
	memcpy(b->p + b->at + b->n, from, n);
	b->n += n;
}

void bytes_cut(struct bytes *b, size_t n)
{
	b->n -= n;
	b->at = b->n > 0 ? b->at + n : 0;
}

void bytes_free(struct bytes *b)
{
	free(b->p);
	*b = (struct bytes){.p = NULL};
}

/* --- a socket --------------------------------------------------------------------------------- */

void socket_use_tls(void)
{
	tls = SSL_CTX_new(TLS_client_method());
	if (tls == NULL)
		abort();
	SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
}

bool socket_open(struct socket *s, int port)
{
	const struct sockaddr_in to = {.sin_family = AF_INET,
				       .sin_port = htons((uint16_t)port),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int one = 1;
	*s = (struct socket){.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
	if (s->fd < 0)
		return false;
	setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (connect(s->fd, (const struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS) {
		int error = errno;
		socket_cut(s);
		errno = error;
		return false;
	}
	if (tls != NULL) {
		s->tls = SSL_new(tls);
		if (s->tls == NULL || SSL_set_fd(s->tls, s->fd) != 1)
			abort();
		SSL_set_connect_state(s->tls);
	}
	return true;
}

void socket_cut(struct socket *s)
{
	const struct linger at_once = {.l_onoff = 1};
	if (s->fd < 0)
		return;
	setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
	close(s->fd);
	SSL_free(s->tls);
	bytes_free(&s->in);
	bytes_free(&s->out);
	squeeze_end(&s->squeeze);
	*s = (struct socket){.fd = -1};
}

void socket_shut(struct socket *s)
{
	shutdown(s->fd, SHUT_WR);
}

/* 1: some; 0: not now; -1: never again. */
static int socket_tls_result(struct socket *s, int n)
{
	int why = SSL_get_error(s->tls, n);
	if (n > 0)
		return 1;
	return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

bool socket_read(struct socket *s)
{
	for (;;) {
		bytes_reserve(&s->in, 16384);
		ssize_t n;
		int result;
		if (s->tls != NULL) {
			n = SSL_read(s->tls, s->in.p + s->in.at + s->in.n, 16384);
			result = socket_tls_result(s, (int)n);
		} else {
			n = recv(s->fd, s->in.p + s->in.at + s->in.n, 16384, 0);
			result = n > 0 ? 1 : n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
		}
		if (result <= 0)
			return result == 0;
		s->in.n += (size_t)n;
	}
}

bool socket_flush(struct socket *s)
{
	while (s->out.n > 0) {
		ssize_t n;
		int result;
		if (s->tls != NULL) {
			n = SSL_write(s->tls, s->out.p + s->out.at, (int)s->out.n);
			result = socket_tls_result(s, (int)n);
		} else {
			n = send(s->fd, s->out.p + s->out.at, s->out.n, MSG_NOSIGNAL);
			result = n > 0 ? 1
				 : n < 0 && (errno == EAGAIN || errno == ENOTCONN ||
					     errno == EINPROGRESS)
					 ? 0
					 : -1;
		}
		if (result <= 0)
			return result == 0;
		bytes_cut(&s->out, (size_t)n);
	}
	return true;
}

/* --- frames ----------------------------------------------------------------------------------- */

void socket_frame(struct socket *s, int opcode, const void *data, size_t len, bool squeezed)
{
	uint8_t head[8], mask[4];
	size_t n = 2;
	uint32_t key = (uint32_t)random();
	uint8_t *packed = NULL;
	if (squeezed && s->squeeze.on) {
		packed = malloc(squeeze_bound(len));
		len = squeeze_deflate(&s->squeeze, packed, data, len);
		data = packed;
	}
	head[0] = (uint8_t)(0x80 | (packed != NULL ? 0x40 : 0) | opcode);
	head[1] = (uint8_t)(0x80 | (len < 126 ? len : 126));
	if (len >= 126) {
		head[n++] = (uint8_t)(len >> 8);
		head[n++] = (uint8_t)len;
	}
	memcpy(mask, &key, sizeof mask);
	bytes_add(&s->out, head, n);
	bytes_add(&s->out, mask, sizeof mask);
	bytes_add(&s->out, data, len);
	uint8_t *text = s->out.p + s->out.at + s->out.n - len;
	for (size_t i = 0; i < len; i++)
		text[i] ^= mask[i % 4];
	free(packed);
}

int socket_next(struct socket *s, struct socket_frame *f_r)
{
	static uint8_t text[1 << 20];
	const uint8_t *p = s->in.p + s->in.at;
	size_t head = 2, len;
	if (s->in.n < 2)
		return 0;
	len = p[1] & 127;
	if ((p[1] & 128) != 0 || (p[0] & 0x80) == 0 || len == 127)
		return -1;
	if (len == 126) {
		if (s->in.n < 4)
			return 0;
		len = (size_t)p[2] << 8 | p[3];
		head = 4;
	}
	if (s->in.n < head + len)
		return 0;
	*f_r = (struct socket_frame){.opcode = p[0] & 15, .data = text, .len = len};
	const uint8_t *data = p + head;
	if ((p[0] & 0x40) != 0)
		data = squeeze_inflate(&s->squeeze, data, len, &f_r->len);
	if (data == NULL || f_r->len >= sizeof text)
		return -1;
	memcpy(text, data, f_r->len);
	text[f_r->len] = '\0';
	bytes_cut(&s->in, head + len);
	return 1;
}
