/* The limit of any worker: two processes and a Unix socket. One has so many messages under way, the
 * other sends each back. They are framed as on a worker's link (9 bytes: 01, length), and that is
 * all; both ends read and write as many at once as there are.
 *
 *	unix_echo OUTSTANDING WARMUP SECONDS CPU
 *
 * prints a line of JSON in the form of load's; root is the end that asks.
 */
#define _GNU_SOURCE
#include "message.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	HEAD = 9,
	SIZE = 64,
	FRAME = HEAD + SIZE,
	ROOM = 1 << 20,
	PATIENCE_MS = 10000,
	SAMPLES = 1 << 20
};

struct pipe_end {
	int fd;
	uint8_t in[ROOM], out[ROOM];
	size_t in_len, out_len;
};

struct asking {
	uint32_t outstanding, sent, got;
	int64_t asked_at;
	uint32_t *samples, n_samples; /* round trips, where only one message is under way */
	const char *why;
};

struct mark {
	int64_t wall, cpu, other;
	uint32_t got;
};

static _Noreturn void fail(const char *what)
{
	perror(what);
	exit(2);
}

static int64_t clock_ns(clockid_t clock)
{
	struct timespec t;
	if (clock_gettime(clock, &t))
		fail("unix_echo: clock");
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static uint8_t *put_frame(struct pipe_end *e)
{
	uint8_t *p = e->out + e->out_len;
	memcpy(p, "\1\0\0\0\0\0\0\0\100", HEAD);
	_Static_assert(SIZE == 0100, "the frame's length");
	e->out_len += FRAME;
	return p + HEAD;
}

/* The next whole frame's payload; NULL: there is none. */
static const uint8_t *take_frame(struct pipe_end *e, size_t *at)
{
	const uint8_t *p = e->in + *at;
	if (e->in_len - *at < FRAME)
		return NULL;
	*at += FRAME;
	return memcmp(p, "\1\0\0\0\0\0\0\0\100", HEAD) == 0 ? p + HEAD : (const uint8_t *)"";
}

static void keep_rest(struct pipe_end *e, size_t at)
{
	e->in_len -= at;
	memmove(e->in, e->in + at, e->in_len);
}

static ssize_t read_more(struct pipe_end *e)
{
	ssize_t n = read(e->fd, e->in + e->in_len, ROOM - e->in_len);
	if (n > 0)
		e->in_len += (size_t)n;
	return n;
}

/* Until the asking end has gone. It may block: the other end always reads. */
static void answer(struct pipe_end *e)
{
	while (read_more(e) > 0) {
		size_t at = 0;
		for (const uint8_t *p; (p = take_frame(e, &at)) != NULL;)
			memcpy(put_frame(e), p, SIZE);
		keep_rest(e, at);
		for (size_t done = 0; done < e->out_len;) {
			ssize_t n = write(e->fd, e->out + done, e->out_len - done);
			if (n < 0)
				return;
			done += (size_t)n;
		}
		e->out_len = 0;
	}
}

static void flush(struct pipe_end *e)
{
	ssize_t n = send(e->fd, e->out, e->out_len, MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN)
		fail("unix_echo: send");
	if (n <= 0)
		return;
	e->out_len -= (size_t)n;
	memmove(e->out, e->out + n, e->out_len);
}

static void ask(struct pipe_end *e, struct asking *a)
{
	a->asked_at = clock_ns(CLOCK_MONOTONIC);
	while (a->sent - a->got < a->outstanding)
		message_build(put_frame(e), SIZE, 0, a->sent++);
	flush(e);
}

static void check(struct pipe_end *e, struct asking *a)
{
	uint32_t seq;
	size_t at = 0;
	for (const uint8_t *p; (p = take_frame(e, &at)) != NULL; a->got++)
		if (!*p || message_check(p, SIZE, SIZE, 0, a->got, &seq) != MESSAGE_RIGHT)
			a->why = "a message was lost, repeated or changed";
	keep_rest(e, at);
}

static void one_turn(struct pipe_end *e, struct asking *a)
{
	struct pollfd p = {.fd = e->fd, .events = (short)(POLLIN | (e->out_len ? POLLOUT : 0))};
	if (poll(&p, 1, PATIENCE_MS) <= 0) {
		a->why = "replies are missing";
		return;
	}
	if (p.revents & POLLOUT)
		flush(e);
	if (!(p.revents & (POLLIN | POLLHUP)))
		return;
	if (read_more(e) <= 0)
		a->why = "the other end has gone";
	check(e, a);
	if (a->samples && a->n_samples < SAMPLES)
		a->samples[a->n_samples++] = (uint32_t)(clock_ns(CLOCK_MONOTONIC) - a->asked_at);
	ask(e, a);
}

static struct mark run_for(struct pipe_end *e, struct asking *a, clockid_t other, double seconds)
{
	int64_t end = clock_ns(CLOCK_MONOTONIC) + (int64_t)(seconds * 1e9);
	while (!a->why && clock_ns(CLOCK_MONOTONIC) < end)
		one_turn(e, a);
	return (struct mark){clock_ns(CLOCK_MONOTONIC), clock_ns(CLOCK_PROCESS_CPUTIME_ID),
			     clock_ns(other), a->got};
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static int report(struct asking *a, const struct mark *from, const struct mark *to)
{
	double units = to->got - from->got, own = (double)(to->cpu - from->cpu),
	       other = (double)(to->other - from->other);
	if (a->why || units <= 0) {
		printf("{\"ok\":false,\"why\":\"%s\"}\n", a->why ? a->why : "nothing came back");
		return 1;
	}
	double wall = (double)(to->wall - from->wall);
	printf("{\"units\":%.0f,\"rate\":%.0f,\"root_us\":%.4f,\"cpu_us\":%.4f,\"server_busy\":%.3f,",
	       units, units / wall * 1e9, own / units / 1e3, (own + other) / units / 1e3,
	       (own + other) / wall);
	if (a->n_samples) {
		qsort(a->samples, a->n_samples, sizeof *a->samples, compare);
		printf("\"p50_us\":%.1f,\"p99_us\":%.1f,", a->samples[a->n_samples / 2] / 1e3,
		       a->samples[(uint64_t)a->n_samples * 99 / 100] / 1e3);
	}
	printf("\"ok\":true}\n");
	return 0;
}

static pid_t start_other(struct pipe_end *e, int fd, int cpu)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	if (sched_setaffinity(0, sizeof set, &set))
		fail("unix_echo: sched_setaffinity");
	pid_t pid = fork();
	if (pid < 0)
		fail("unix_echo: fork");
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(e->fd);
	e->fd = fd;
	answer(e);
	_exit(0);
}

int main(int argc, char **argv)
{
	static struct pipe_end end;
	int fd[2];
	clockid_t other;
	struct asking a = {.outstanding = argc == 5 ? (uint32_t)atoi(argv[1]) : 0};
	if (!a.outstanding || a.outstanding > ROOM / FRAME) {
		fprintf(stderr, "usage: unix_echo OUTSTANDING WARMUP SECONDS CPU\n");
		return 2;
	}
	message_init(0);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd))
		fail("unix_echo: socketpair");
	end.fd = fd[0];
	pid_t pid = start_other(&end, fd[1], atoi(argv[4]));
	close(fd[1]);
	if (fcntl(fd[0], F_SETFL, O_NONBLOCK) || clock_getcpuclockid(pid, &other))
		fail("unix_echo: start");
	ask(&end, &a);
	run_for(&end, &a, other, atof(argv[2]));
	if (a.outstanding == 1 && !(a.samples = malloc(SAMPLES * sizeof *a.samples)))
		fail("unix_echo: malloc");
	struct mark from = run_for(&end, &a, other, 0),
		    to = run_for(&end, &a, other, atof(argv[3]));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return report(&a, &from, &to);
}
