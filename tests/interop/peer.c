/* peer: a program on libnng that does what lines on its standard input say, as an independent peer
 * for the host.
 *
 *	peer PROTOCOL URL	PROTOCOL: pair0, pair1, req0, push0, bus0
 *
 *	send TEXT		sends it, up to the end of the line; \n in it is a line feed
 *	big N			sends N bytes: a batch with one pong and white space
 *	flood N TEXT		sends it N times
 *	end			ends the process at once, with messages under way
 *
 * It prints `+` when a pipe has come, `-` when one has gone, `= ` and the first 4,096 bytes of each
 * message that it gets, and `! ` and the reason when something could not be sent.
 */
#include <nng/nng.h>
#include <nng/protocol/bus0/bus.h>
#include <nng/protocol/pair0/pair.h>
#include <nng/protocol/pair1/pair.h>
#include <nng/protocol/pipeline0/push.h>
#include <nng/protocol/reqrep0/req.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SHOWN 4096
#define SEND_MS 20000

static void on_pipe(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
	(void)pipe, (void)arg;
	puts(event == NNG_PIPE_EV_ADD_POST ? "+" : "-");
}

static void *receive(void *arg)
{
	nng_socket s = *(nng_socket *)arg;
	nng_msg *msg;
	while (nng_recvmsg(s, &msg, 0) == 0) {
		size_t n = nng_msg_len(msg);
		printf("= %.*s\n", (int)(n < SHOWN ? n : SHOWN), (const char *)nng_msg_body(msg));
		nng_msg_free(msg);
	}
	return NULL;
}

static void send_bytes(nng_socket s, const void *bytes, size_t n)
{
	int error = nng_send(s, (void *)bytes, n, 0);
	if (error != 0)
		printf("! %s\n", nng_strerror(error));
}

static size_t unescape(char *text)
{
	char *to = text;
	for (const char *p = text; *p != '\0'; p++) {
		bool feed = p[0] == '\\' && p[1] == 'n';
		*to++ = *(feed ? "\n" : p);
		p += feed;
	}
	return (size_t)(to - text);
}

static void send_big(nng_socket s, size_t n)
{
	static const char batch[] = "[{\"t\":\"pong\"}";
	char *bytes = malloc(n);
	if (bytes == NULL || n < sizeof batch) {
		puts("! no memory, or too small");
		return;
	}
	memset(bytes, ' ', n);
	memcpy(bytes, batch, sizeof batch - 1);
	bytes[n - 1] = ']';
	send_bytes(s, bytes, n);
	free(bytes);
}

static void obey(nng_socket s, char *line)
{
	char *rest = line + strcspn(line, " ");
	if (*rest != '\0')
		*rest++ = '\0';
	if (strcmp(line, "send") == 0) {
		send_bytes(s, rest, unescape(rest));
	} else if (strcmp(line, "big") == 0) {
		send_big(s, strtoul(rest, NULL, 10));
	} else if (strcmp(line, "flood") == 0) {
		unsigned long times = strtoul(rest, &rest, 10);
		size_t n = unescape(++rest);
		while (times-- > 0)
			send_bytes(s, rest, n);
	} else if (strcmp(line, "end") == 0) {
		_exit(0);
	} else {
		printf("! no command: %s\n", line);
	}
}

static int open_socket(const char *protocol, nng_socket *s)
{
	static const struct {
		const char *name;
		int (*open)(nng_socket *s);
	} protocols[] = {{"pair0", nng_pair0_open},
			 {"pair1", nng_pair1_open},
			 {"req0", nng_req0_open},
			 {"push0", nng_push0_open},
			 {"bus0", nng_bus0_open}};
	for (size_t i = 0; i < sizeof protocols / sizeof *protocols; i++)
		if (strcmp(protocols[i].name, protocol) == 0)
			return protocols[i].open(s);
	return NNG_EPROTO;
}

static int setup(nng_socket *s, char **argv)
{
	int error = open_socket(argv[1], s);
	if (error == 0)
		error = nng_socket_set_ms(*s, NNG_OPT_RECONNMINT, 20);
	if (error == 0)
		error = nng_socket_set_ms(*s, NNG_OPT_RECONNMAXT, 100);
	if (error == 0)
		error = nng_socket_set_ms(*s, NNG_OPT_SENDTIMEO, SEND_MS);
	if (error == 0)
		error = nng_socket_set_size(*s, NNG_OPT_RECVMAXSZ, 0);
	if (error == 0)
		error = nng_pipe_notify(*s, NNG_PIPE_EV_ADD_POST, on_pipe, NULL);
	if (error == 0)
		error = nng_pipe_notify(*s, NNG_PIPE_EV_REM_POST, on_pipe, NULL);
	if (error == 0)
		error = nng_dial(*s, argv[2], NULL, NNG_FLAG_NONBLOCK);
	return error;
}

int main(int argc, char **argv)
{
	static nng_socket s;
	pthread_t thread;
	char *line = NULL;
	size_t cap = 0;
	ssize_t n;
	setvbuf(stdout, NULL, _IOLBF, 0);
	int error = argc == 3 ? setup(&s, argv) : NNG_EINVAL;
	if (error != 0 || pthread_create(&thread, NULL, receive, &s) != 0) {
		fprintf(stderr, "peer: %s\n", nng_strerror(error));
		return 2;
	}
	while ((n = getline(&line, &cap, stdin)) > 0) {
		line[n - (line[n - 1] == '\n')] = '\0';
		obey(s, line);
	}
	free(line);
	fflush(stdout);
	_exit(0); /* nng_close() may hang while messages are under way */
}
