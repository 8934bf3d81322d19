#include "c/link.h"

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
		error = nng_socket_set_size(l->socket, NNG_OPT_RECVMAXSZ,
					    0); /* the host decides how large a message may be */
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
		error = nng_dialer_set_int(dialer, NNG_OPT_TLS_AUTH_MODE,
					   NNG_TLS_AUTH_MODE_REQUIRED);
		if (error == 0)
			error = nng_dialer_set_string(dialer, NNG_OPT_TLS_CA_FILE,
						      tls->ca_file != NULL ? tls->ca_file
									   : LINK_SYSTEM_CA);
		if (error == 0 && tls->cert_file != NULL)
			error = nng_dialer_set_string(dialer, NNG_OPT_TLS_CERT_KEY_FILE,
						      tls->cert_file);
	}
	return error != 0 ? error : nng_dialer_start(dialer, NNG_FLAG_NONBLOCK);
}

#define LINK_IPC "ipc://"

bool link_open(struct link *l, const char *url, const struct link_tls *tls, int wake_fd, char *why,
	       size_t why_cap)
{
	l->local = strncmp(url, LINK_IPC, strlen(LINK_IPC)) == 0;
	if (l->local) {
		if (ipc_open(&l->ipc, url + strlen(LINK_IPC)))
			return true;
		snprintf(why, why_cap, "%s: expected a path of 1 to %zu bytes", url,
			 sizeof l->ipc.to.sun_path - 1);
		return false;
	}
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

int link_fd(const struct link *l)
{
	return l->local ? l->ipc.fd : l->recv_fd;
}

void link_tend(struct link *l)
{
	if (l->local)
		ipc_tend(&l->ipc);
}

int link_wait_ms(const struct link *l)
{
	return l->local ? ipc_wait_ms(&l->ipc) : -1;
}

bool link_is_up(struct link *l, unsigned *generation_r)
{
	if (l->local) {
		*generation_r = l->ipc.generation;
		return l->ipc.up;
	}
	/* In this order: a pipe that goes in between is missed once and reported by its own
	 * wake. */
	unsigned down = atomic_load(&l->down), up = atomic_load(&l->up);
	*generation_r = up;
	return up > down;
}

bool link_receive(struct link *l, struct link_message *message_r)
{
	*message_r = (struct link_message){.msg = NULL};
	if (l->local) {
		bool came = ipc_receive(&l->ipc, &message_r->bytes, &message_r->len);
		l->lost = l->ipc.no_memory;
		return came;
	}
	if (nng_recvmsg(l->socket, &message_r->msg, NNG_FLAG_NONBLOCK) != 0)
		return false;
	message_r->len = nng_msg_len(message_r->msg);
	if (nng_msg_append(message_r->msg, "", 1) != 0) {
		l->lost = true;
		nng_msg_free(message_r->msg);
		return false;
	}
	message_r->bytes = nng_msg_body(message_r->msg);
	return true;
}

void link_release(struct link_message *message)
{
	if (message->msg != NULL)
		nng_msg_free(message->msg);
}

bool link_send(struct link *l, const struct buffer *message)
{
	nng_msg *msg;
	unsigned then, now;
	if (l->local)
		return !message->failed &&
		       ipc_send(&l->ipc, message->p, message->n, l->patience, l->ctx);
	if (message->failed || !link_is_up(l, &then) || nng_msg_alloc(&msg, message->n) != 0)
		return false;
	memcpy(nng_msg_body(msg), message->p, message->n);
	uint64_t since = ipc_now_ns();
	int error;
	while ((error = nng_sendmsg(l->socket, msg, 0)) == NNG_ETIMEDOUT && link_is_up(l, &now) &&
	       now == then && l->patience(l->ctx, -1, since))
		;
	if (error != 0)
		nng_msg_free(msg);
	return error == 0;
}

void link_pulse(struct link *l, const void *bytes, size_t n)
{
	nng_msg *msg;
	if (l->local) {
		ipc_pulse(&l->ipc, bytes, n);
		return;
	}
	if (nng_msg_alloc(&msg, n) != 0)
		return;
	memcpy(nng_msg_body(msg), bytes, n);
	if (nng_sendmsg(l->socket, msg, NNG_FLAG_NONBLOCK) != 0)
		nng_msg_free(msg);
}
