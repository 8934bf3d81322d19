/* The run: clients of tova.v1 that say numbered things to themselves and to rooms, and whose
 * sockets are cut again and again. Each message has to take effect once, in order, in both
 * directions.
 *
 *     resume-run --port N [--path /probe] [--clients 1000] [--seconds 60] [--rate 20000] [--tls]
 * [--deflate] [--seed N]
 *
 * The handler is tests/plugins/probe.c, or one that speaks as it does. Prints a line of JSON; exit
 * status 1, and a sentence, when something is not as it has to be.
 */
#define _GNU_SOURCE
#include "client.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

enum { TICK_MS = 5, PATIENCE_MS = 120000, COMING_MAX = 64 };

static struct {
	uint32_t seconds, rate;
	unsigned seed;
	uint64_t patience;
} set = {.seconds = 60, .rate = 20000, .patience = PATIENCE_MS};

static uint64_t run_clock(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void run_turn(struct run *run)
{
	struct epoll_event events[256];
	int n = epoll_wait(run->epoll, events, 256, TICK_MS);
	uint64_t before = run->now;
	run->now = run_clock();
	for (int i = 0; i < n; i++)
		client_on_ready(run, events[i].data.ptr);
	if (run->now == before)
		return;
	for (uint32_t i = 0; i < run->n; i++)
		if (run->clients[i].said != NULL)
			client_on_tick(run, &run->clients[i]);
}

/* Some time; until all of these are so. */
static void run_until(struct run *run, bool (*is)(const struct client *c), const char *what)
{
	uint64_t end = run_clock() + set.patience;
	uint32_t left = run->n;
	while (left > 0) {
		run_turn(run);
		for (left = run->n; left > 0 && is(&run->clients[left - 1]);)
			left--;
		if (left > 0 && run->now > end)
			client_fault(&run->clients[left - 1], "not within %llu ms: %s",
				     (unsigned long long)set.patience, what);
	}
}

/* Some at a time, as browsers of a house would. */
static void run_come(struct run *run)
{
	uint32_t begun = 0, done = 0;
	uint64_t end = run_clock() + set.patience;
	while (done < run->n) {
		while (begun < run->n && begun - done < COMING_MAX)
			client_say(run, &run->clients[begun++], SAY_JOIN);
		run_turn(run);
		while (done < begun && client_is_done(&run->clients[done]))
			done++;
		if (run->now > end)
			client_fault(&run->clients[done], "it can not come");
	}
}

/* What one of them says makes so many deliveries. */
static enum say run_choose(uint32_t *deliveries_r)
{
	static const struct {
		enum say kind;
		uint32_t of_1000;
	} choices[] = {{SAY_ROOM + 2, 5}, {SAY_ROOM + 1, 40}, {SAY_ROOM, 300},
		       {SAY_BINARY, 150}, {SAY_MARKED, 150},  {SAY_FAILS, 10}};
	uint32_t at = (uint32_t)random() % 1000;
	enum say kind = SAY_SELF;
	for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
		if (at < choices[i].of_1000) {
			kind = choices[i].kind;
			break;
		}
		at -= choices[i].of_1000;
	}
	*deliveries_r = 1 + (kind >= SAY_ROOM && kind < SAY_JOIN ? room_size[kind - SAY_ROOM] : 0);
	return kind;
}

static void run_talk(struct run *run)
{
	uint64_t end = run_clock() + set.seconds * 1000ull, last = run_clock();
	double due = 0;
	run->cutting = true;
	while (run->now < end) {
		uint32_t deliveries;
		run_turn(run);
		due += (double)(run->now - last) * set.rate / 1000;
		if (due > set.rate) /* the machine stood still: that is not made up for */
			due = set.rate;
		last = run->now;
		for (; due > 0; due -= deliveries) {
			enum say kind = run_choose(&deliveries);
			if (deliveries > run->n)
				deliveries = run->n;
			client_say(run, &run->clients[(uint32_t)random() % run->n], kind);
		}
	}
	run->cutting = false;
}

/* Everybody has heard everything, and in one order. */
static bool run_has_heard(const struct run *run, const struct client *c, int room)
{
	const struct member *m = &c->rooms[room];
	for (uint32_t i = 0; i < m->size; i++)
		if (m->heard[i] != run->clients[m->first + i].in_room[room])
			return false;
	return true;
}

static void run_hear(struct run *run)
{
	uint64_t end = run_clock() + set.patience;
	for (uint32_t i = 0; i < run->n * ROOMS; i++) {
		const struct client *c = &run->clients[i / ROOMS];
		while (!run_has_heard(run, c, i % ROOMS)) {
			run_turn(run);
			if (run->now > end)
				client_fault(c, "room %c has said more than it hears",
					     'a' + i % ROOMS);
		}
	}
	for (uint32_t i = 0; i < run->n * ROOMS; i++) {
		const struct client *c = &run->clients[i / ROOMS];
		const struct member *m = &c->rooms[i % ROOMS];
		if (m->order != run->clients[m->first].rooms[i % ROOMS].order)
			client_fault(c, "in room %c it heard another order than client %u",
				     'a' + i % ROOMS, m->first);
	}
}

static bool run_is_over(const struct client *c)
{
	return c->now.fd < 0;
}

static void run_print(const struct run *run)
{
	static const char *const names[CUT_KINDS] = {"plain",	       "in_frame",
						     "behind_got",     "shut",
						     "leave",	       "taken",
						     "in_connect",     "in_request",
						     "behind_request", "behind_101",
						     "behind_welcome", "in_resend"};
	uint64_t cuts = 0;
	printf("{\"clients\": %u, \"seconds\": %u, \"messages\": %llu, \"deliveries\": %llu, \"returns\": %llu, \"refused\": %llu, \"retries\": %llu, \"late\": %llu, ",
	       run->n, set.seconds, (unsigned long long)run->messages,
	       (unsigned long long)run->deliveries, (unsigned long long)run->returns,
	       (unsigned long long)run->refused, (unsigned long long)run->retries,
	       (unsigned long long)run->late);
	printf("\"cuts\": {");
	for (int i = 0; i < CUT_KINDS; i++) {
		printf("%s\"%s\": %llu", i > 0 ? ", " : "", names[i],
		       (unsigned long long)run->cuts[i]);
		cuts += run->cuts[i];
	}
	printf("}, \"all_cuts\": %llu, \"seed\": %u}\n", (unsigned long long)cuts, set.seed);
}

static uint32_t run_number(const char *name, const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);
	if (*text != '\0' && *end == '\0' && n > 0 && n <= UINT32_MAX)
		return (uint32_t)n;
	fprintf(stderr, "resume-run: --%s \"%s\" is no number\n", name, text);
	exit(2);
}

static void run_options(struct run *run, int argc, char **argv)
{
	static const struct option options[] = {{"port", required_argument, NULL, 'p'},
						{"path", required_argument, NULL, 'a'},
						{"clients", required_argument, NULL, 'n'},
						{"seconds", required_argument, NULL, 's'},
						{"rate", required_argument, NULL, 'r'},
						{"seed", required_argument, NULL, 'e'},
						{"tls", no_argument, NULL, 't'},
						{"deflate", no_argument, NULL, 'd'},
						{"patience", required_argument, NULL, 'w'},
						{NULL, 0, NULL, 0}};
	int c, at;
	while ((c = getopt_long(argc, argv, "", options, &at)) != -1) {
		const char *name = c == '?' ? "" : options[at].name;
		switch (c) {
		case 'p':
			run->port = (int)run_number(name, optarg);
			break;
		case 'a':
			run->path = optarg;
			break;
		case 'n':
			run->n = run_number(name, optarg);
			break;
		case 's':
			set.seconds = run_number(name, optarg);
			break;
		case 'r':
			set.rate = run_number(name, optarg);
			break;
		case 'e':
			set.seed = run_number(name, optarg);
			break;
		case 'w':
			set.patience = run_number(name, optarg) * 1000ull;
			break;
		case 't':
			socket_use_tls();
			break;
		case 'd':
			run->deflate = true;
			break;
		default:
			exit(2);
		}
	}
	if (optind < argc || run->port == 0) {
		fprintf(stderr, "resume-run: --port is missing, or a word too many\n");
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct run run = {.n = 1000, .path = "/probe", .epoll = epoll_create1(EPOLL_CLOEXEC)};
	set.seed = (unsigned)time(NULL);
	run_options(&run, argc, argv);
	signal(SIGPIPE, SIG_IGN);
	srandom(set.seed);
	run.now = run_clock();
	run.clients = calloc(run.n, sizeof *run.clients);
	if (run.clients == NULL || run.epoll < 0)
		return 2;
	for (uint32_t i = 0; i < run.n; i++)
		client_init(&run, &run.clients[i], i);
	run_come(&run);
	run_talk(&run);
	run_until(&run, client_is_done, "all that it has said is settled");
	run_hear(&run);
	for (uint32_t i = 0; i < run.n; i++)
		client_leave(&run, &run.clients[i]);
	run_until(&run, run_is_over, "its session ends");
	run_print(&run);
	return 0;
}
