/* nng-wedge: why the host does not use libnng's sockets. A PAIR0 socket listens, as the host would;
 * one peer process after the other dials in, keeps several messages in flight, and is killed in the
 * middle of them, as workers sometimes die. The listener's only thread that clears pipes away gets
 * stuck sooner or later: from then on no pipe reports its end, and nng_close() does not return.
 *
 *	nng-wedge [IN-FLIGHT [SECONDS [KILLS]]]
 *
 * The default is 64 messages, 120 seconds, 1000 kills. Prints how many kills were survived. Exit
 * code 0: all; 1: it hung; 2: it could not be tried; 3: the time was up before the kills.
 */
#include <errno.h>
#include <nng/nng.h>
#include <nng/protocol/pair0/pair.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define HANG_S 10 /* a peer that dies is noticed in milliseconds */
#define MESSAGE 200

struct listener {
	nng_socket socket;
	sem_t came, went; /* pipes */
	unsigned long echoed;
};

static void refuse(const char *what, int error)
{
	fprintf(stderr, "nng-wedge: %s: %s\n", what, nng_strerror(error));
	exit(2);
}

/* --- the peer, in a process of its own -------------------------------------------------------- */

/* It never stops by itself: whoever started it kills it. */
static int peer(const char *url, int in_flight)
{
	char message[MESSAGE] = {0};
	nng_socket s;
	size_t n;
	if (nng_pair0_open(&s) != 0 || nng_socket_set_int(s, NNG_OPT_SENDBUF, 128) != 0 ||
	    nng_socket_set_int(s, NNG_OPT_RECVBUF, 128) != 0 || nng_dial(s, url, NULL, 0) != 0)
		return 2;
	for (int i = 0; i < in_flight; i++)
		if (nng_send(s, message, sizeof message, 0) != 0)
			return 2;
	for (;;) {
		n = sizeof message;
		if (nng_recv(s, message, &n, 0) != 0 || nng_send(s, message, n, 0) != 0)
			return 2;
	}
}

static pid_t start_peer(const char *url, int in_flight)
{
	char count[16];
	snprintf(count, sizeof count, "%d", in_flight);
	pid_t pid = fork();
	if (pid == 0) {
		/* libnng does not survive a fork: the child begins anew. */
		execl("/proc/self/exe", "nng-wedge", "--peer", url, count, (char *)NULL);
		_exit(2);
	}
	return pid;
}

/* --- the listener ----------------------------------------------------------------------------- */

static void on_pipe(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
	struct listener *l = arg;
	(void)pipe;
	sem_post(event == NNG_PIPE_EV_ADD_POST ? &l->came : &l->went);
}

/* Sends back what comes, as a host that talks to its worker. */
static void *echo(void *arg)
{
	struct listener *l = arg;
	nng_msg *msg;
	while (nng_recvmsg(l->socket, &msg, 0) == 0) {
		if (nng_sendmsg(l->socket, msg, 0) != 0)
			nng_msg_free(msg);
		__atomic_add_fetch(&l->echoed, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void listen_at(struct listener *l, const char *url)
{
	pthread_t thread;
	int error = nng_pair0_open(&l->socket);
	if (error == 0)
		error = nng_socket_set_int(l->socket, NNG_OPT_SENDBUF, 128);
	if (error == 0)
		error = nng_socket_set_int(l->socket, NNG_OPT_RECVBUF, 128);
	if (error == 0)
		error = nng_pipe_notify(l->socket, NNG_PIPE_EV_ADD_POST, on_pipe, l);
	if (error == 0)
		error = nng_pipe_notify(l->socket, NNG_PIPE_EV_REM_POST, on_pipe, l);
	if (error == 0)
		error = nng_listen(l->socket, url, NULL, 0);
	if (error != 0)
		refuse(url, error);
	sem_init(&l->came, 0, 0);
	sem_init(&l->went, 0, 0);
	if (pthread_create(&thread, NULL, echo, l) != 0)
		refuse("thread", NNG_ENOMEM);
}

static double now_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int wait_for(sem_t *what)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += HANG_S;
	while (sem_timedwait(what, &until) != 0)
		if (errno != EINTR)
			return 0;
	return 1;
}

/* Lets the peer work until it is in the middle of something, and kills it there. Returns whether
 * its end was noticed. */
static int kill_one(struct listener *l, const char *url, int in_flight, unsigned i)
{
	pid_t pid = start_peer(url, in_flight);
	if (pid < 0 || !wait_for(&l->came)) {
		if (pid > 0) {
			kill(pid, SIGKILL);
			waitpid(pid, NULL, 0);
		}
		return 0; /* nobody can dial in any more: the same hang, seen from the other side */
	}
	unsigned long until = __atomic_load_n(&l->echoed, __ATOMIC_RELAXED) + 50 + i * 37 % 400;
	double give_up = now_s() + HANG_S;
	while (__atomic_load_n(&l->echoed, __ATOMIC_RELAXED) < until && now_s() < give_up)
		usleep(100);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return wait_for(&l->went);
}

static void *close_socket(void *arg)
{
	struct listener *l = arg;
	nng_close(l->socket);
	sem_post(&l->came);
	return NULL;
}

/* Does nng_close() return? */
static int closes(struct listener *l)
{
	pthread_t thread;
	while (sem_trywait(&l->came) == 0)
		;
	return pthread_create(&thread, NULL, close_socket, l) == 0 && wait_for(&l->came);
}

int main(int argc, char **argv)
{
	static struct listener l;
	char url[64];
	if (argc == 4 && strcmp(argv[1], "--peer") == 0)
		return peer(argv[2], atoi(argv[3]));
	int in_flight = argc > 1 ? atoi(argv[1]) : 64, seconds = argc > 2 ? atoi(argv[2]) : 120;
	unsigned kills = argc > 3 ? (unsigned)atoi(argv[3]) : 1000, survived = 0;
	snprintf(url, sizeof url, "ipc:///tmp/nng-wedge-%d.sock", (int)getpid());
	listen_at(&l, url);
	double began = now_s();
	int alive = 1;
	while (survived < kills && now_s() - began < seconds &&
	       (alive = kill_one(&l, url, in_flight, survived)))
		survived++;
	printf("libnng %s, PAIR0, %d messages in flight: %u kills survived within %.0f s, %lu messages",
	       nng_version(), in_flight, survived, now_s() - began, l.echoed);
	if (alive)
		puts("; no hang");
	else
		printf("; then no pipe reports its end; nng_close() %s\n",
		       closes(&l) ? "returns" : "hangs");
	unlink(url + strlen("ipc://"));
	fflush(NULL);
	_exit(!alive ? 1 : survived == kills ? 0 : 3);
}
