#define _GNU_SOURCE
#include "transport.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static SSL_CTX *tls_context;
static int receive_buffer;

void transport_use_tls(const char *ca_file)
{
	tls_context = SSL_CTX_new(TLS_client_method());
	if (!tls_context || SSL_CTX_load_verify_locations(tls_context, ca_file, NULL) != 1) {
		ERR_print_errors_fp(stderr);
		fprintf(stderr, "load: %s can not be used\n", ca_file);
		exit(2);
	}
	SSL_CTX_set_verify(tls_context, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_mode(tls_context, SSL_MODE_ENABLE_PARTIAL_WRITE |
					      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
					      SSL_MODE_RELEASE_BUFFERS);
}

void transport_receive(int bytes)
{
	receive_buffer = bytes;
}

static int connect_from(int fd, int port, int source)
{
	/* Ports are chosen at connect, per pair of addresses: several sources give more than the
	 * 28,000 of one. */
	int one = 1;
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
	if (receive_buffer)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + (uint32_t)source)};
	if (bind(fd, (struct sockaddr *)&a, sizeof a))
		return -1;
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	a.sin_port = htons((uint16_t)port);
	/* Blocking: over loopback this is done at once unless the server's backlog is full, and
	 * then waiting is right. */
	if (connect(fd, (struct sockaddr *)&a, sizeof a))
		return -1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	return 0;
}

static int shake_hands(struct transport *t)
{
	if (!tls_context)
		return 0;
	t->tls = SSL_new(tls_context);
	if (t->tls && SSL_set_fd(t->tls, t->fd) == 1 && SSL_connect(t->tls) == 1)
		return 0;
	ERR_print_errors_fp(stderr);
	errno = EPROTO;
	return -1;
}

int transport_open(struct transport *t, int port, int source)
{
	*t = (struct transport){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
	if (t->fd < 0)
		return -1;
	if (connect_from(t->fd, port, source) || shake_hands(t) ||
	    fcntl(t->fd, F_SETFL, O_NONBLOCK)) {
		int error = errno;
		transport_close(t);
		errno = error;
		return -1;
	}
	return 0;
}

void transport_close(struct transport *t)
{
	SSL_free(t->tls);
	close(t->fd);
	*t = (struct transport){.fd = -1};
}

static ssize_t tls_result(struct transport *t, int r)
{
	int why = SSL_get_error(t->tls, r);
	ERR_clear_error();
	return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

/* Until the library has nothing left: what it holds back, epoll would not tell. */
static ssize_t tls_read(struct transport *t, uint8_t *to, size_t room)
{
	size_t all = 0, n;
	while (all < room) {
		int r = SSL_read_ex(t->tls, to + all, room - all, &n);
		if (r != 1) {
			ssize_t result = tls_result(t, r);
			t->ended = result < 0;
			return all ? (ssize_t)all : result;
		}
		all += n;
	}
	return (ssize_t)all;
}

ssize_t transport_read(struct transport *t, uint8_t *to, size_t room)
{
	if (t->tls)
		return tls_read(t, to, room);
	ssize_t n = recv(t->fd, to, room, 0);
	return n > 0 ? n : n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

static ssize_t tls_send(struct transport *t, const uint8_t *from, size_t len)
{
	size_t all = 0, n;
	while (all < len) {
		int r = SSL_write_ex(t->tls, from + all, len - all, &n);
		if (r != 1) {
			ssize_t result = tls_result(t, r);
			return all ? (ssize_t)all : result;
		}
		all += n;
	}
	return (ssize_t)all;
}

ssize_t transport_send(struct transport *t, const uint8_t *from, size_t len)
{
	if (t->tls)
		return tls_send(t, from, len);
	ssize_t n = send(t->fd, from, len, MSG_NOSIGNAL);
	return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : n;
}
