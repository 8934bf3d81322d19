#include "link.h"

#include <nng/protocol/pair0/pair.h>
#include <nng/supplemental/tls/tls.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINK_BUFFER 128	     /* messages, each way */
#define LINK_SEND_MS 250     /* how often a blocked send looks whether the pipe is still there */
#define LINK_RECONNECT_MS 50 /* at first */
#define LINK_RECONNECT_MAX_MS 2000
#define LINK_SYSTEM_CA "/etc/ssl/certs/ca-certificates.crt"

static void link_on_pipe(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
	struct link *l = arg;
	const uint64_t one = 1;
	(void)pipe;
	atomic_fetch_add(event == NNG_PIPE_EV_ADD_POST ? &l->up : &l->down, 1);
	/* An eventfd takes this unless it is readable already. */
	ssize_t written = write(l->wake_fd, &one, sizeof one);
	(void)written;
}

static int link_setup(struct link *l)
{
	int error = nng_pair0_open(&l->socket);
	if (error == 0)
		error = nng_socket_set_int(l->socket, NNG_OPT_SENDBUF, LINK_BUFFER);
	if (error == 0)
		error = nng_socket_set_int(l->socket, NNG_OPT_RECVBUF, LINK_BUFFER);
	if (error == 0)
		error = nng_socket_set_size(l->socket, NNG_OPT_RECVMAXSZ, 0); /* the host decides how large a message may be */
	if (error == 0)
		error = nng_socket_set_ms(l->socket, NNG_OPT_SENDTIMEO, LINK_SEND_MS);
	if (error == 0)
		error = nng_socket_set_ms(l->socket, NNG_OPT_RECONNMINT, LINK_RECONNECT_MS);
	if (error == 0)
		error = nng_socket_set_ms(l->socket, NNG_OPT_RECONNMAXT, LINK_RECONNECT_MAX_MS);
	if (error == 0)
		error = nng_pipe_notify(l->socket, NNG_PIPE_EV_ADD_POST, link_on_pipe, l);
	if (error == 0)
		error = nng_pipe_notify(l->socket, NNG_PIPE_EV_REM_POST, link_on_pipe, l);
	if (error == 0)
		error = nng_socket_get_int(l->socket, NNG_OPT_RECVFD, &l->recv_fd);
	return error;
}

static int link_dial(struct link *l, const char *url, const struct link_tls *tls)
{
	nng_dialer dialer;
	int error = nng_dialer_create(&dialer, l->socket, url);
	if (error == 0 && strncmp(url, "tls", 3) == 0) {
		error = nng_dialer_set_int(dialer, NNG_OPT_TLS_AUTH_MODE, NNG_TLS_AUTH_MODE_REQUIRED);
		if (error == 0)
			error = nng_dialer_set_string(dialer, NNG_OPT_TLS_CA_FILE,
						      tls->ca_file != NULL ? tls->ca_file : LINK_SYSTEM_CA);
		if (error == 0 && tls->cert_file != NULL)
			error = nng_dialer_set_string(dialer, NNG_OPT_TLS_CERT_KEY_FILE, tls->cert_file);
	}
	return error != 0 ? error : nng_dialer_start(dialer, NNG_FLAG_NONBLOCK);
}

bool link_open(struct link *l, const char *url, const struct link_tls *tls, int wake_fd, char *why, size_t why_cap)
{
	l->wake_fd = wake_fd;
	atomic_init(&l->up, 0);
	atomic_init(&l->down, 0);
	int error = link_setup(l);
	if (error == 0)
		error = link_dial(l, url, tls);
	if (error != 0)
		snprintf(why, why_cap, "%s: %s", url, nng_strerror(error));
	return error == 0;
}

bool link_is_up(struct link *l, unsigned *generation_r)
{
	/* In this order: a pipe that goes in between is missed once and reported by its own wake. */
	unsigned down = atomic_load(&l->down), up = atomic_load(&l->up);
	*generation_r = up;
	return up > down;
}

nng_msg *link_receive(struct link *l)
{
	nng_msg *msg;
	if (nng_recvmsg(l->socket, &msg, NNG_FLAG_NONBLOCK) != 0)
		return NULL;
	if (nng_msg_append(msg, "", 1) != 0) {
		l->lost = true;
		nng_msg_free(msg);
		return NULL;
	}
	return msg;
}

bool link_send(struct link *l, const struct buffer *message)
{
	nng_msg *msg;
	unsigned then, now;
	if (message->failed || !link_is_up(l, &then) || nng_msg_alloc(&msg, message->n) != 0)
		return false;
	memcpy(nng_msg_body(msg), message->p, message->n);
	int error;
	while ((error = nng_sendmsg(l->socket, msg, 0)) == NNG_ETIMEDOUT && link_is_up(l, &now) && now == then)
		;
	if (error != 0)
		nng_msg_free(msg);
	return error == 0;
}
