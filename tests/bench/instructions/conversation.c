/* The conversations whose instructions are counted: the real loop, conns, hub and handlers in one
 * process, the clients at socketpairs. Run under callgrind it leaves a dump for each scene; run
 * alone it only checks that everything is answered.
 *
 *	conversation PLUGINS BENCH-PLUGINS
 *
 * Nothing in here may differ from run to run: clock and randomness are made up, and the clients are
 * served in turn.
 */
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/random.h>
#include <sys/un.h>
#include <valgrind/callgrind.h>

#include "../../unit/rig.h"
#include "handler/plugin/plugin.h"
#include "handler/worker/worker.h"

#define ROOMS_STEP 20000
#define PATIENCE_S 60 /* under valgrind, on a busy machine */

struct scene {
	const char *name, *plugin, *path;
	int clients;
	/* returns the units: messages, deliveries, lives */
	unsigned (*talk)(const struct scene *s);
	/* for its talk */
	size_t size; /* bytes of a message */
	int burst, rounds;
	int runs;  /* messages of one connection that its worker takes at a time */
	int rooms; /* that there are before it, in steps of ROOMS_STEP */
};

static struct rig *r;
static const char *scene_name = "none";

static _Noreturn void give_up(const char *why)
{
	fprintf(stderr, "conversation: %s: %s\n", scene_name, why);
	exit(1);
}

/* --- a world without chance ------------------------------------------------------------------- */

/* The host's and libevent's calls come here rather than to libc. Each takes a microsecond, so that
 * time goes on at the same calls. */
int clock_gettime(clockid_t clock, struct timespec *t)
{
	static uint64_t us = UINT64_C(1000000000000);
	(void)clock;
	us++;
	*t = (struct timespec){.tv_sec = (time_t)(us / 1000000),
			       .tv_nsec = (long)(us % 1000000 * 1000)};
	return 0;
}

ssize_t getrandom(void *p, size_t n, unsigned flags)
{
	static uint64_t state = 1;
	(void)flags;
	for (size_t i = 0; i < n; i++) {
		state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		((uint8_t *)p)[i] = (uint8_t)(state >> 56);
	}
	return (ssize_t)n;
}

static void on_alarm(int number)
{
	static const char text[] = "conversation: it does not come to an end\n";
	(void)number;
	if (write(STDERR_FILENO, text, sizeof text - 1) < 0)
		_exit(2);
	_exit(1);
}

/* --- a worker, attached over a Unix socket ---------------------------------------------------- */

static struct {
	int fd;
	char folder[64], link[64];
	char in[1 << 18];
	size_t in_len;
	struct processes processes;
	struct push_sources sources;
	struct deadletter *deadletter;
} worker = {.fd = -1};

static void worker_say(const char *batch, size_t n)
{
	char head[9] = {1};
	for (int i = 0; i < 8; i++)
		head[8 - i] = (char)(n >> 8 * i);
	if (send(worker.fd, head, sizeof head, MSG_DONTWAIT) != sizeof head ||
	    send(worker.fd, batch, n, MSG_DONTWAIT) != (ssize_t)n)
		give_up("the host does not read its worker");
}

/* Sends every message back. */
static void worker_answer(const char *batch, size_t n)
{
	static char acks[1 << 18];
	size_t len = (size_t)sprintf(acks, "[");
	for (const char *p = batch; (p = memmem(p, (size_t)(batch + n - p), "\"s\":", 4)) != NULL;
	     p++) {
		const char *number = p + 4, *end = memchr(p, '}', (size_t)(batch + n - p));
		const char *data = memmem(p, (size_t)(end - p), "\"data\":", 7);
		len += (size_t)sprintf(acks + len, "%s{\"t\":\"ack\",\"link\":\"%s\",\"s\":%lu",
				       len > 1 ? "," : "", worker.link, strtoul(number, NULL, 10));
		if (data != NULL)
			len += (size_t)sprintf(acks + len, ",\"commands\":[{\"c\":\"send\",%.*s}]",
					       (int)(end - data), data);
		len += (size_t)sprintf(acks + len, "}");
	}
	acks[len++] = ']';
	if (len > 2)
		worker_say(acks, len);
}

/* Takes what has come from the host and answers it. */
static void worker_turn(void)
{
	if (worker.fd < 0)
		return;
	ssize_t got = recv(worker.fd, worker.in + worker.in_len, sizeof worker.in - worker.in_len,
			   MSG_DONTWAIT);
	worker.in_len += got > 0 ? (size_t)got : 0;
	for (;;) {
		size_t n = 0;
		for (int i = 1; i < 9; i++)
			n = n << 8 | (uint8_t)worker.in[i];
		if (worker.in_len < 9 || worker.in_len < 9 + n)
			return;
		if (worker.link[0] == '\0')
			sscanf(strstr(worker.in + 9, "\"link\":") + 7, "\"%63[^\"]\"", worker.link);
		else
			worker_answer(worker.in + 9, n);
		worker.in_len -= 9 + n;
		memmove(worker.in, worker.in + 9 + n, worker.in_len);
	}
}

static void worker_dial(int runs)
{
	char hello[128];
	int n = snprintf(
		hello, sizeof hello,
		"[{\"t\":\"hello\",\"v\":1,\"events\":[\"message\"],\"name\":\"w\",\"runs\":%d}]",
		runs);
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	snprintf(a.sun_path, sizeof a.sun_path, "%s/socket", worker.folder);
	worker.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(worker.fd, (struct sockaddr *)&a, sizeof a) != 0 ||
	    fcntl(worker.fd, F_SETFL, O_NONBLOCK) != 0 ||
	    send(worker.fd, "\0SP\0\0\x10\0\0", 8, MSG_DONTWAIT) != 8)
		give_up("the host can not be dialled");
	char theirs[8];
	while (recv(worker.fd, theirs, 8, MSG_DONTWAIT) != 8)
		rig_turn(r);
	worker_say(hello, (size_t)n);
	while (worker.link[0] == '\0') {
		rig_turn(r);
		worker_turn();
	}
}

static void worker_reloaded(void *ctx, struct mount *m, uint64_t number, const char *why)
{
	(void)ctx, (void)m, (void)number, (void)why;
}

static void worker_begin(int runs)
{
	char why[1024], url[128];
	bool attach;
	strcpy(worker.folder, "/tmp/tova-instructions-XXXXXX");
	if (mkdtemp(worker.folder) == NULL)
		give_up("no folder for a socket");
	snprintf(url, sizeof url, "ipc://%s/socket", worker.folder);
	worker.deadletter = deadletter_open(r->loop, NULL);
	push_sources_init(&worker.sources, &r->hub.key);
	if (worker.deadletter == NULL || !processes_init(&worker.processes, r->loop, 1024))
		give_up("no worker is possible");
	const struct worker_settings set = {.attach_url = url,
					    .handler_ms = 30000,
					    .ready_ms = 10000,
					    .max_attempts = 3};
	const struct worker_shared shared = {.processes = &worker.processes,
					     .reloaded = worker_reloaded,
					     .deadletter = worker.deadletter,
					     .sources = &worker.sources};
	if (!worker_attach(r->mount, &set, &shared, &attach, why, sizeof why))
		give_up(why);
	worker_dial(runs);
}

static void worker_end(void)
{
	char path[128];
	r->mount->handler->ops->stop(r->mount->handler);
	close(worker.fd);
	worker.fd = -1;
	worker.link[0] = '\0';
	worker.in_len = 0;
	processes_free(&worker.processes);
	push_sources_free(&worker.sources);
	deadletter_close(&worker.deadletter);
	snprintf(path, sizeof path, "%s/socket", worker.folder);
	unlink(path);
	rmdir(worker.folder);
}

/* --- clients ---------------------------------------------------------------------------------- */

static uint8_t out[1 << 18];
static size_t out_len;

static void put(enum frame_opcode opcode, bool fin, const void *payload, size_t n)
{
	static uint32_t key = 0x9e3779b9u;
	uint8_t *head = out + out_len;
	size_t len = frame_head(head, opcode, n);
	if (out_len + len + 4 + n > sizeof out)
		give_up("too much at once");
	key = key * 1664525u + 1013904223u;
	if (!fin)
		head[0] &= 0x7f;
	head[1] |= 0x80;
	memcpy(head + len, &key, 4);
	for (size_t i = 0; i < n; i++)
		head[len + 4 + i] = (uint8_t)(((const uint8_t *)payload)[i] ^ head[len + i % 4]);
	out_len += len + 4 + n;
}

static void put_text(const char *text)
{
	put(FRAME_TEXT, true, text, strlen(text));
}

/* Messages of that size; each is another text, of letters that JSON has no need to escape. */
static void put_messages(size_t size, int count)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz .,!?+";
	static char text[1 << 16];
	static uint32_t x = 2463534242u;
	for (int k = 0; k < count; k++) {
		for (size_t i = 0; i < size; i++) {
			x = x * 1664525u + 1013904223u;
			text[i] = letters[x >> 27];
		}
		put(FRAME_TEXT, true, text, size);
	}
}

static void send_out(int client)
{
	if (send(r->clients[client].fd, out, out_len, MSG_DONTWAIT | MSG_NOSIGNAL) !=
	    (ssize_t)out_len)
		give_up("the host does not read");
	out_len = 0;
}

static size_t swallow(int client)
{
	static char sink[1 << 18];
	size_t all = 0;
	for (ssize_t n; (n = recv(r->clients[client].fd, sink, sizeof sink, MSG_DONTWAIT)) > 0;)
		all += (size_t)n;
	return all;
}

/* Turns until clients [from, to] have so many bytes together; more is wrong. */
static void await(int from, int to, size_t bytes)
{
	size_t got = 0;
	while (got < bytes) {
		rig_turn(r);
		worker_turn();
		for (int k = from; k <= to; k++)
			got += swallow(k);
	}
	if (got > bytes)
		give_up("more came back than is right");
}

static size_t frame_bytes(size_t payload)
{
	return frame_head_size(payload) + payload;
}

static void connect_to(int client, const char *path)
{
	char request[512];
	rig_connect(r, client);
	int n = snprintf(request, sizeof request, "GET %s HTTP/1.1%s", path,
			 strstr(RIG_UPGRADE, "\r\n"));
	rig_write(r, client, request, (size_t)n);
}

static void await_upgrade(int client)
{
	char head[4096];
	size_t n = 0;
	while (n < 4 || memcmp(head + n - 4, "\r\n\r\n", 4) != 0) {
		rig_turn(r);
		ssize_t got = recv(r->clients[client].fd, head + n, sizeof head - n, MSG_DONTWAIT);
		n += got > 0 ? (size_t)got : 0;
	}
	if (strncmp(head, "HTTP/1.1 101 ", 13) != 0)
		give_up("an upgrade was refused");
}

/* --- talks ------------------------------------------------------------------------------------ */

static unsigned talk_echo(const struct scene *s)
{
	for (int i = 0; i < s->rounds; i++) {
		for (int k = 1; k <= s->clients; k++) {
			put_messages(s->size, s->burst);
			send_out(k);
		}
		await(1, s->clients, frame_bytes(s->size) * (size_t)(s->burst * s->clients));
	}
	return (unsigned)(s->rounds * s->clients * s->burst);
}

/* The first publishes, all others are told. */
static unsigned talk_fanout(const struct scene *s)
{
	for (int i = 0; i < s->rounds; i++) {
		put_messages(s->size, s->burst);
		send_out(1);
		await(1, s->clients, frame_bytes(s->size) * (size_t)(s->burst * (s->clients - 1)));
	}
	return (unsigned)(s->rounds * s->burst * (s->clients - 1));
}

/* All speak in one turn, and all others hear it. */
static unsigned talk_chat(const struct scene *s)
{
	for (int i = 0; i < s->rounds; i++) {
		for (int k = 1; k <= s->clients; k++) {
			put_messages(s->size, s->burst);
			send_out(k);
		}
		await(1, s->clients,
		      frame_bytes(s->size) * (size_t)(s->burst * s->clients * (s->clients - 1)));
	}
	return (unsigned)(s->rounds * s->burst * s->clients * (s->clients - 1));
}

/* Each client joins rooms that others are in and some of its own, speaks to one, and leaves them
 * one by one. */
static unsigned talk_rooms(const struct scene *s)
{
	for (int i = 0; i < s->rounds; i++) {
		size_t due = 0;
		for (int k = 1; k <= s->clients; k++) {
			char text[64];
			for (int verb = 0; verb < 2; verb++) {
				for (int room = 0; room < s->burst; room++) {
					snprintf(text, sizeof text, "%s %s%d",
						 verb == 0 ? "join" : "leave",
						 room % 2 == 0 ? "shared-" : "own-",
						 room % 2 == 0 ? room : k * 100 + room);
					put_text(text);
					due += frame_bytes(strlen(text));
				}
				snprintf(text, sizeof text, "to own-%d hello", k * 100 + 1);
				put_text(text);
				/* the second finds nobody */
				due += verb == 0 ? frame_bytes(strlen(text)) : 0;
			}
			send_out(k);
		}
		await(1, s->clients, due);
	}
	return (unsigned)(s->rounds * s->clients * 2 * (s->burst + 1));
}

/* Fragments, some of which end within a character, with a ping between them. */
static unsigned talk_fragments(const struct scene *s)
{
	static const char text[] =
		"Gr\xc3\xbc\xc3\x9f"
		"e aus K\xc3\xb6ln, \xe2\x82\xac 5, \xf0\x9f\x8e\x89 und mehr als das, damit es lang wird.";
	size_t n = sizeof text - 1,
	       due = (frame_bytes(n) + frame_bytes(4)) * (size_t)(s->clients * s->burst);
	for (int i = 0; i < s->rounds; i++) {
		for (int k = 1; k <= s->clients; k++) {
			for (int b = 0; b < s->burst; b++) {
				put(FRAME_TEXT, false, text, 3);
				put(FRAME_CONTINUATION, false, text + 3, 20);
				put(FRAME_PING, true, "ping", 4);
				put(FRAME_CONTINUATION, true, text + 23, n - 23);
				send_out(k);
				await(k, k, due / (size_t)(s->clients * s->burst));
			}
		}
	}
	return (unsigned)(s->rounds * s->clients * s->burst);
}

static void tell(int client, const char *verb, int first, int count)
{
	char text[64];
	snprintf(text, sizeof text, "%s %d %d", verb, first, count);
	put_text(text);
	send_out(client);
	await(client, client, frame_bytes(strlen(text)));
}

static void say_goodbye(int client)
{
	char end;
	put(FRAME_CLOSE, true, "\x03\xe8", 2);
	send_out(client);
	await(client, client, frame_bytes(2));
	while (recv(r->clients[client].fd, &end, 1, MSG_DONTWAIT) != 0)
		rig_turn(r);
	close(r->clients[client].fd);
	r->clients[client].fd = -1;
	rig_turn(r);
}

/* A connection joins rooms of its own, leaves half of them, and is in the others when it closes. */
static unsigned talk_among(const struct scene *s)
{
	for (int i = 0; i < s->rounds; i++) {
		connect_to(2, s->path);
		await_upgrade(2);
		tell(2, "joins", s->rooms, s->burst);
		tell(2, "leaves", s->rooms, s->burst / 2);
		say_goodbye(2);
	}
	return (unsigned)(s->rounds * s->burst);
}

/* Whole lives: connect, upgrade, one echo, close handshake. */
static unsigned talk_life(const struct scene *s)
{
	for (int i = 0; i < s->rounds; i++) {
		connect_to(1, s->path);
		await_upgrade(1);
		put_messages(s->size, 1);
		send_out(1);
		await(1, 1, frame_bytes(s->size));
		say_goodbye(1);
	}
	return (unsigned)(s->rounds);
}

/* --- scenes ----------------------------------------------------------------------------------- */

static const struct scene scenes[] = {
	{"echo-64-depth-1", "echo", "/", 50, talk_echo, .size = 64, .burst = 1, .rounds = 40},
	{"echo-64-depth-16", "echo", "/", 10, talk_echo, .size = 64, .burst = 16, .rounds = 20},
	{"echo-1k-depth-16", "echo", "/", 10, talk_echo, .size = 1024, .burst = 16, .rounds = 20},
	{"echo-16k-depth-1", "echo", "/", 10, talk_echo, .size = 16384, .burst = 1, .rounds = 20},
	{"fanout-50-depth-1", "relay", "/room/a", 50, talk_fanout, .size = 64, .burst = 1,
	 .rounds = 50},
	{"fanout-50-depth-64", "relay", "/room/a", 50, talk_fanout, .size = 64, .burst = 64,
	 .rounds = 4},
	{"chat-20", "relay", "/room/a", 20, talk_chat, .size = 64, .burst = 1, .rounds = 10},
	{"rooms", "rooms", "/", 10, talk_rooms, .burst = 10, .rounds = 20},
	{"join-among-1", "rooms", "/", 1, talk_among, .burst = 500, .rounds = 4, .rooms = 1},
	/* it closes with 1,000 memberships */
	{"join-2000-at-once", "rooms", "/", 1, talk_among, .burst = 2000, .rounds = 1, .rooms = 1},
	{"join-among-100k", "rooms", "/", 1, talk_among, .burst = 500, .rounds = 4,
	 .rooms = 100000},
	{"fragments", "echo", "/", 10, talk_fragments, .burst = 10, .rounds = 10},
	{"worker-depth-1", NULL, "/", 50, talk_echo, .size = 64, .burst = 1, .rounds = 20},
	{"worker-depth-16", NULL, "/", 10, talk_echo, .size = 64, .burst = 16, .rounds = 10},
	{"worker-runs-depth-16", NULL, "/", 10, talk_echo, .size = 64, .burst = 16, .rounds = 10,
	 .runs = 16},
	{"life", "echo", "/", 0, talk_life, .size = 64, .rounds = 100},
};

static const char *plugins, *bench_plugins;

static void plugin_begin(const char *name)
{
	char path[PATH_MAX], why[1024];
	snprintf(path, sizeof path, "%s/%s.so",
		 strcmp(name, "rooms") == 0 ? bench_plugins : plugins, name);
	if (!plugin_attach(r->mount, path, NULL, 0, 1000, why, sizeof why))
		give_up(why);
}

/* What the rig asserts needs one of Check's tests around it. */
START_TEST(scene)
{
	const struct scene *s = &scenes[_i];
	const struct conn_limits limits = rig_limits();
	char name[64];
	scene_name = s->name;
	signal(SIGALRM, on_alarm); /* Check's would kill the whole process group */
	alarm(PATIENCE_S);
	r = rig_new(&limits, 0);
	atomic_store(&r->mount->budget->max, 64 << 20);
	budgets_set(&r->hub.budgets, 0);
	if (getenv("TOVA_MEASURES") != NULL &&
	    (r->mount->meters = calloc(1, sizeof(struct meters))) == NULL)
		give_up("no memory");
	if (s->plugin != NULL)
		plugin_begin(s->plugin);
	else
		worker_begin(s->runs);
	for (int k = 1; k <= s->clients; k++) {
		connect_to(k, s->path);
		await_upgrade(k);
	}
	for (int first = 0; first < s->rooms; first += ROOMS_STEP)
		tell(1, "joins", first,
		     s->rooms - first < ROOMS_STEP ? s->rooms - first : ROOMS_STEP);
	s->talk(s); /* what is made once is made now */
	/* CALLGRIND_ZERO_STATS leaves something of the blocks that ran before */
	CALLGRIND_DUMP_STATS_AT("before 1");
	snprintf(name, sizeof name, "%s %u", s->name, s->talk(s));
	CALLGRIND_DUMP_STATS_AT(name);
	if (s->plugin == NULL)
		worker_end();
	rig_free(r);
}
END_TEST

int main(int argc, char **argv)
{
	Suite *suite = suite_create("instructions");
	TCase *tc = tcase_create("instructions");
	SRunner *runner = srunner_create(suite);
	if (argc != 3) {
		fprintf(stderr, "usage: conversation PLUGINS BENCH-PLUGINS\n");
		return 2;
	}
	plugins = argv[1];
	bench_plugins = argv[2];
	tcase_add_loop_test(tc, scene, 0, sizeof scenes / sizeof *scenes);
	suite_add_tcase(suite, tc);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_MINIMAL);
	int failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures != 0;
}
