/* Load generator: one thread, one epoll. Checks everything that it receives, measures the server
 * from outside, prints one JSON line. */
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int64_t clock_ns(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t load_now(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

void load_break(struct load *l, const char *why)
{
	l->broken++;
	if (!l->why)
		l->why = why;
}

void load_watch(struct load *l, struct client *c)
{
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
	epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->transport.fd, &e);
}

int load_take_upgrade(struct load *l, struct client *c)
{
	int r = client_take_upgrade(c, &l->in);
	if (r > 0 && l->squeeze != c->squeeze.on)
		return -1;
	return r;
}

static int await_upgrade(struct load *l, struct client *c)
{
	for (;;) {
		struct pollfd p = {.fd = c->transport.fd, .events = POLLIN};
		if (poll(&p, 1, l->patience_ms) <= 0)
			return -1;
		if (client_read(c, &l->in) < 0)
			return -1;
		int r = load_take_upgrade(l, c);
		client_keep(c, &l->in);
		if (r)
			return r < 0 ? -1 : 0;
	}
}

int load_open(struct load *l, uint32_t from, uint32_t to)
{
	for (uint32_t i = from; i < to; i++) {
		struct client *c = &l->clients[i];
		c->id = i;
		const char *path = i == 0 && l->publisher ? l->publisher : l->path;
		if (client_open(c, l->port, path, (int)(i % l->sources), l->squeeze)) {
			load_break(l, strerror(errno));
			return -1;
		}
		if (await_upgrade(l, c)) {
			load_break(l, "upgrade refused, wrong or not answered");
			return -1;
		}
		load_watch(l, c);
	}
	return 0;
}

static void mark(struct load *l, int which)
{
	l->mark_units[which] = l->units;
	l->mark_wall[which] = load_now();
	/* Servers that start a process for each connection have more of them now than at the
	 * beginning. */
	if (which == 0 && probe_open(&l->probe, l->pid))
		load_break(l, "the server has gone");
	l->mark_cpu[which] = probe_cpu_ns(&l->probe, l->forks, &l->mark_root[which]);
	l->mark_own[which] = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	if (l->mark_cpu[which] < 0)
		load_break(l, "a process of the server has gone");
}

void load_tick(struct load *l)
{
	int64_t now = load_now();
	if (!l->mark_wall[1])
		l->mark_wall[1] = now; /* until the counting ends this is where the warm-up began */
	if (l->phase == LOAD_WARMING && now - l->mark_wall[1] >= (int64_t)(l->warmup * 1e9)) {
		mark(l, 0);
		l->phase = LOAD_COUNTING;
	} else if (l->phase == LOAD_COUNTING &&
		   now - l->mark_wall[0] >= (int64_t)(l->seconds * 1e9)) {
		mark(l, 1);
		l->phase = LOAD_DRAINING;
	}
}

int load_wait(struct load *l)
{
	l->turns = 0;
	if (l->broken)
		return -1;
	int n = epoll_wait(l->epoll, l->events, LOAD_EVENTS, l->patience_ms);
	return n < 0 && errno == EINTR ? load_wait(l) : n;
}

static void judge(struct load *l, struct client *c, uint32_t sender, const struct client_frame *f)
{
	uint32_t seq;
	enum message_verdict v = f->opcode != l->opcode ? MESSAGE_WRONG
							: message_check(f->data, f->len, l->size,
									sender, c->got, &seq);
	if (v == MESSAGE_REPEATED) {
		l->repeated++;
		return;
	}
	if (v == MESSAGE_WRONG)
		l->wrong++;
	else if (v == MESSAGE_EARLY) {
		l->lost += seq - c->got;
		c->got = seq;
	}
	c->got++;
}

uint32_t load_take(struct load *l, struct client *c, uint32_t sender)
{
	uint32_t before = c->got;
	struct client_frame f;
	int r = client_read(c, &l->in);
	if (r < 0)
		load_break(l, "the server closed a connection");
	if (r <= 0)
		return 0;
	while ((r = client_take_frame(c, &l->in, &f)) > 0) {
		if (f.opcode == CLIENT_CLOSE)
			load_break(l, "the server sent a close frame");
		else if (f.opcode < CLIENT_CLOSE)
			judge(l, c, sender, &f);
	}
	if (r < 0)
		load_break(l, "not a frame that a server may send");
	client_keep(c, &l->in);
	return c->got - before;
}

void load_flush(struct load *l, struct client *c)
{
	int had = c->late_len > 0;
	int r = client_flush(c, &l->out);
	if (r < 0)
		load_break(l, "the server reset a connection");
	else if (r != had) {
		struct epoll_event e = {.events = EPOLLIN | (r ? EPOLLOUT : 0), .data.ptr = c};
		epoll_ctl(l->epoll, EPOLL_CTL_MOD, c->transport.fd, &e);
	}
}

void load_send(struct load *l, struct client *c, uint32_t count)
{
	for (; count; count--) {
		message_build(client_put_space(&l->out, l->size), l->size, c->id, c->sent++);
		client_put_frame(c, &l->out, l->opcode, l->size);
	}
	load_flush(l, c);
}

/* 1: the close frame was there. */
static int take_close(struct load *l, struct client *c)
{
	struct client_frame f;
	int r, closed = 0;
	while ((r = client_take_frame(c, &l->in, &f)) > 0) {
		if (f.opcode == CLIENT_CLOSE)
			closed = 1;
		else if (f.opcode < CLIENT_CLOSE && !(l->publisher && c->id == 0))
			l->repeated++;
	}
	if (r < 0)
		load_break(l, "not a frame that a server may send");
	client_keep(c, &l->in);
	return closed;
}

void load_goodbye(struct load *l, uint32_t n)
{
	uint32_t left = n;
	for (uint32_t i = 0; i < n; i++) {
		memcpy(client_put_space(&l->out, 2), "\x03\xe8", 2);
		client_put_frame(&l->clients[i], &l->out, CLIENT_CLOSE, 2);
		load_flush(l, &l->clients[i]);
		l->clients[i].state = 0;
	}
	while (left && !l->broken) {
		int e = load_wait(l);
		if (e <= 0)
			load_break(l, "a close handshake was not completed");
		for (int i = 0; i < e; i++) {
			struct client *c = l->events[i].data.ptr;
			int r = client_read(c, &l->in);
			if (r > 0 && take_close(l, c))
				c->state = 1;
			if (r >= 0 && !c->transport.ended)
				continue;
			if (!c->state)
				load_break(l, "closed without a close frame");
			client_close(c);
			left--;
		}
	}
}

static void usage(void)
{
	fprintf(stderr,
		"usage: load echo|fanout|churn|idle|lone|pause|rooms|slow --port N --pid PID [--path /echo] [--conns N] [--depth N] [--size BYTES]\n"
		"            [--warmup SECONDS] [--seconds SECONDS] [--patience SECONDS] [--sources N] [--cpu N] [--binary]\n"
		"            [--interval MS] [--publisher PATH] [--forks] [--tls CA.pem] [--deflate] [--words] [--rooms N] [--stopped N]\n"
		"  fanout: conns is the number of members, depth the number of broadcasts in flight\n");
	exit(2);
}

static void pin(int cpu)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	if (sched_setaffinity(0, sizeof set, &set)) {
		perror("load: sched_setaffinity");
		exit(2);
	}
}

static const struct option options[] = {
	{"port", required_argument, NULL, 'p'},
	{"pid", required_argument, NULL, 'P'},
	{"path", required_argument, NULL, 'u'},
	{"interval", required_argument, NULL, 'i'},
	{"conns", required_argument, NULL, 'c'},
	{"depth", required_argument, NULL, 'd'},
	{"size", required_argument, NULL, 's'},
	{"warmup", required_argument, NULL, 'w'},
	{"seconds", required_argument, NULL, 't'},
	{"sources", required_argument, NULL, 'S'},
	{"cpu", required_argument, NULL, 'C'},
	{"patience", required_argument, NULL, 'W'},
	{"binary", no_argument, NULL, 'b'},
	{"publisher", required_argument, NULL, 'B'},
	{"forks", no_argument, NULL, 'f'},
	{"tls", required_argument, NULL, 'T'},
	{"rooms", required_argument, NULL, 'r'},
	{"stopped", required_argument, NULL, 'o'},
	{"deflate", no_argument, NULL, 'z'},
	{"words", no_argument, NULL, 'm'},
	{NULL, 0, NULL, 0},
};

static void read_options(struct load *l, int argc, char **argv)
{
	for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		/* clang-format off */
		switch (o) {
		case 'p': l->port = atoi(optarg); break;
		case 'P': l->pid = atoi(optarg); break;
		case 'u': l->path = optarg; break;
		case 'c': l->conns = (uint32_t)atoi(optarg); break;
		case 'i': l->interval_ms = atoi(optarg); break;
		case 'd': l->depth = (uint32_t)atoi(optarg); break;
		case 's': l->size = (uint32_t)atoi(optarg); break;
		case 'w': l->warmup = atof(optarg); break;
		case 't': l->seconds = atof(optarg); break;
		case 'S': l->sources = (uint32_t)atoi(optarg); break;
		case 'C': pin(atoi(optarg)); break;
		case 'W': l->patience_ms = (int)(atof(optarg) * 1000); break;
		case 'b': l->opcode = CLIENT_BINARY; break;
		case 'B': l->publisher = optarg; break;
		case 'f': l->forks = 1; break;
		case 'T': transport_use_tls(optarg); break;
		case 'r': l->rooms = (uint32_t)atoi(optarg); break;
		case 'o': l->stopped = (uint32_t)atoi(optarg); break;
		case 'z': l->squeeze = 1; break;
		case 'm': l->words = 1; break;
		default: usage();
			/* clang-format on */
		}
	}
	if (optind + 1 != argc || l->port <= 0 || l->pid <= 0 || !l->conns || !l->depth ||
	    l->interval_ms <= 0 || !l->sources || l->sources > 250)
		usage();
	if (l->size < MESSAGE_MIN || l->size > MESSAGE_MAX)
		usage();
	l->mode = argv[optind];
}

static double took(const int64_t mark[2])
{
	return (double)(mark[1] - mark[0]);
}

static void report_counted(const struct load *l)
{
	double units = (double)(l->mark_units[1] - l->mark_units[0]), wall = took(l->mark_wall),
	       cpu = took(l->mark_cpu);
	if (l->phase != LOAD_DRAINING || units <= 0)
		return;
	printf(",\"seconds\":%.3f,\"units\":%.0f,\"rate\":%.0f,\"cpu_us\":%.4f,\"root_us\":%.4f,"
	       "\"server_busy\":%.3f,\"load_busy\":%.3f",
	       wall / 1e9, units, units / wall * 1e9, cpu / 1e3 / units,
	       took(l->mark_root) / 1e3 / units, cpu / wall, took(l->mark_own) / wall);
}

static int report(const struct load *l)
{
	int ok = !(l->lost || l->repeated || l->wrong || l->broken);
	printf("{\"mode\":\"%s\",\"conns\":%u,\"depth\":%u,\"size\":%u,\"path\":\"%s\"", l->mode,
	       l->conns, l->depth, l->size, l->path);
	report_counted(l);
	if (l->idle_bytes > 0)
		printf(",\"idle_bytes\":%.1f,\"used_bytes\":%.1f", l->idle_bytes, l->used_bytes);
	if (l->p50_us > 0)
		printf(",\"p50_us\":%.1f,\"p99_us\":%.1f", l->p50_us, l->p99_us);
	if (l->stopped)
		printf(",\"stopped\":%u,\"stopped_closed\":%llu,\"stopped_missed\":%llu",
		       l->stopped, (unsigned long long)l->stopped_closed,
		       (unsigned long long)l->stopped_missed);
	if (l->rooms)
		printf(",\"rooms\":%u,\"room_bytes\":%.1f,\"join_us\":%.4f,\"leave_us\":%.4f,\"join_there_us\":%.4f,"
		       "\"leave_there_us\":%.4f,\"end_us\":%.3f",
		       l->rooms, l->room_bytes, l->join_us, l->leave_us, l->join_there_us,
		       l->leave_there_us, l->end_us);
	if (l->ended_at > 0)
		printf(",\"quiet_median_ms\":%.2f,\"quiet_most_ms\":%.2f,\"reload_median_ms\":%.2f,\"reload_most_ms\":%.2f,"
		       "\"reload_at\":%.3f,\"ended_at\":%.3f",
		       l->quiet.median_ms, l->quiet.most_ms, l->reload.median_ms, l->reload.most_ms,
		       l->reload_at, l->ended_at);
	printf(",\"lost\":%llu,\"repeated\":%llu,\"wrong\":%llu,\"broken\":%llu,\"ok\":%s",
	       (unsigned long long)l->lost, (unsigned long long)l->repeated,
	       (unsigned long long)l->wrong, (unsigned long long)l->broken, ok ? "true" : "false");
	if (l->why)
		printf(",\"why\":\"%s\"", l->why);
	printf("}\n");
	return ok ? 0 : 1;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(struct load *);
	} modes[] = {
		{"echo", echo_run},   {"fanout", fanout_run}, {"churn", churn_run},
		{"idle", idle_run},   {"lone", lone_run},     {"pause", pause_run},
		{"rooms", rooms_run}, {"slow", slow_run},
	};
	struct load *l = calloc(1, sizeof *l);
	if (!l)
		return 2;
	*l = (struct load){.path = "/echo",
			   .opcode = CLIENT_TEXT,
			   .conns = 100,
			   .depth = 1,
			   .size = 64,
			   .sources = 8,
			   .warmup = 1,
			   .seconds = 3,
			   .interval_ms = 10,
			   .patience_ms = 10000};
	read_options(l, argc, argv);
	message_init(l->words);
	client_box_init(&l->in);
	client_box_init(&l->out);
	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	l->clients = calloc((size_t)l->conns + 1 + l->stopped, sizeof *l->clients);
	if (l->epoll < 0 || !l->clients || probe_open(&l->probe, l->pid)) {
		fprintf(stderr, "load: no such process, or no memory\n");
		return 2;
	}
	for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
		if (strcmp(modes[i].name, l->mode) == 0) {
			modes[i].run(l);
			return report(l);
		}
	}
	usage();
}
