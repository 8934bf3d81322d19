/* No allocation per message: the real loop, hub and plugins, with every allocation of the host and
 * of libevent counted. */
#include <event2/event.h>
#include <limits.h>

#include "handler/plugin/plugin.h"
#include "rig.h"
#include "run.h"

/* --- counting --------------------------------------------------------------------------------- */

static unsigned long allocations;

void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_malloc(size_t n)
{
	allocations++;
	return __real_malloc(n);
}

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
	allocations++;
	return __real_calloc(n, size);
}

void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n)
{
	allocations++;
	return __real_realloc(p, n);
}

/* --- hosts ------------------------------------------------------------------------------------ */

#define MESSAGES 10000

static struct rig *r;

/* The plugins lie beside the tests: BUILD/tests/unit/test_alloc, BUILD/plugins/NAME.so. */
static void start(const char *plugin)
{
	const struct conn_limits limits = rig_limits();
	char path[PATH_MAX + 64], why[1024];
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX);
	ck_assert_int_gt(n, 0);
	path[n] = '\0';
	for (int up = 0; up < 3; up++)
		*strrchr(path, '/') = '\0';
	snprintf(path + strlen(path), 64, "/plugins/%s.so", plugin);
	r = rig_new(&limits, 0);
	ck_assert_msg(plugin_attach(r->mount, path, NULL, 0, 1000, why, sizeof why), "%s: %s", path,
		      why);
}

static void setup(void)
{
	event_set_mem_functions(__wrap_malloc, __wrap_realloc, free);
}

static void teardown(void)
{
	rig_free(r);
}

static void open_with(int client, const char *path, const char *header)
{
	char head[4096];
	rig_connect(r, client);
	int n = snprintf(head, sizeof head, "GET %s HTTP/1.1%s%s", path, header,
			 strstr(RIG_UPGRADE, "\r\n"));
	rig_write(r, client, head, (size_t)n);
	rig_head(r, client, head);
	ck_assert_int_eq(strncmp(head, "HTTP/1.1 101 ", 13), 0);
}

static void open_at(int client, const char *path)
{
	open_with(client, path, "");
}

/* Reads and forgets what has come for this client; returns the bytes. The checks are Check's and
 * allocate: none here. */
static size_t swallow(int client)
{
	static char sink[1 << 20];
	size_t all = 0;
	for (ssize_t n; (n = recv(r->clients[client].fd, sink, sizeof sink, MSG_DONTWAIT)) > 0;)
		all += (size_t)n;
	return all;
}

static size_t frame_bytes(size_t payload)
{
	return frame_head_size(payload) + payload;
}

/* A masked frame of that many bytes of payload, written at once. */
static bool say(int client, size_t payload)
{
	static uint8_t frame[FRAME_HEAD_MAX + (1 << 20)];
	size_t head = frame_head(frame, FRAME_BINARY, payload);
	frame[1] |= 0x80;
	memset(frame + head, 0, 4);
	memset(frame + head + 4, 'x', payload);
	return send(r->clients[client].fd, frame, head + 4 + payload, MSG_DONTWAIT) ==
	       (ssize_t)(head + 4 + payload);
}

/* --- tests ------------------------------------------------------------------------------------ */

static const struct {
	size_t payload;
	int burst; /* messages sent before the host gets its turn */
} loads[] = {{16, 1}, {16, 50}, {1000, 20}, {4000, 1}, {16000, 1}, {16000, 6}};

/* Sends bursts and takes the echoes; returns the allocations that n messages took. */
static unsigned long echo_many(int n, size_t payload, int burst)
{
	unsigned long before = allocations;
	for (int done = 0; done < n; done += burst) {
		size_t got = 0, want = frame_bytes(payload) * (size_t)burst;
		for (int i = 0; i < burst; i++)
			if (!say(1, payload))
				return ULONG_MAX;
		double end = rig_seconds() + RIG_PATIENCE_S;
		while (got < want) {
			rig_turn(r);
			got += swallow(1);
			if (rig_seconds() > end)
				return ULONG_MAX;
		}
	}
	return allocations - before;
}

START_TEST(echo)
{
	start("echo");
	open_at(1, "/");
	echo_many(500, loads[_i].payload, loads[_i].burst);
	uint64_t before = r->loop->stats.messages_out;
	unsigned long taken = echo_many(MESSAGES, loads[_i].payload, loads[_i].burst);
	ck_assert_uint_ge(r->loop->stats.messages_out - before, MESSAGES);
	ck_assert_msg(taken == 0, "%lu allocations for %d messages of %zu bytes in bursts of %d",
		      taken, MESSAGES, loads[_i].payload, loads[_i].burst);
}
END_TEST

/* All members of a room speak in one turn, as they do in a busy chat; each message goes to all
 * others. */
static unsigned long relay_many(int rounds, int members, size_t payload)
{
	unsigned long before = allocations;
	for (int i = 0; i < rounds; i++) {
		size_t got = 0,
		       want = frame_bytes(payload) * (size_t)members * (size_t)(members - 1);
		for (int k = 1; k <= members; k++)
			if (!say(k, payload))
				return ULONG_MAX;
		double end = rig_seconds() + RIG_PATIENCE_S;
		while (got < want) {
			rig_turn(r);
			for (int k = 1; k <= members; k++)
				got += swallow(k);
			if (rig_seconds() > end)
				return ULONG_MAX;
		}
	}
	return allocations - before;
}

START_TEST(relay)
{
	static const struct {
		int members;
		size_t payload;
	} rooms[] = {{2, 50}, {10, 50}, {50, 50}, {10, 3000}};
	int members = rooms[_i].members;
	start("relay");
	for (int k = 1; k <= members; k++)
		open_at(k, "/room/busy");
	relay_many(20, members, rooms[_i].payload);
	uint64_t before = r->loop->stats.messages_in;
	unsigned long taken = relay_many(MESSAGES / members, members, rooms[_i].payload);
	ck_assert_uint_ge(r->loop->stats.messages_in - before, MESSAGES / members * members);
	ck_assert_msg(taken == 0, "%lu allocations for %d messages to a room of %d, %zu bytes each",
		      taken, MESSAGES, members, rooms[_i].payload);
}
END_TEST

/* Two rooms whose members speak by turns: what one connection gets does not lie in one piece. */
START_TEST(two_rooms)
{
	start("relay");
	for (int k = 1; k <= 20; k++)
		open_at(k, k % 2 == 0 ? "/room/even" : "/room/odd");
	unsigned long taken = 0;
	for (int i = 0; i < MESSAGES / 20 + 20; i++) {
		size_t got = 0;
		if (i == 20)
			taken = allocations;
		for (int k = 1; k <= 20; k++)
			say(k, 100);
		while (got < 20 * 9 * frame_bytes(100)) {
			rig_turn(r);
			for (int k = 1; k <= 20; k++)
				got += swallow(k);
		}
	}
	taken = allocations - taken;
	ck_assert_msg(taken == 0, "%lu allocations for %d messages", taken, MESSAGES);
}
END_TEST

/* A masked frame with a message that comes compressed. */
static size_t pack(uint8_t frame[4096])
{
	static char text[3000];
	uint8_t packed[3000 + DEFLATE_TAIL];
	z_stream z;
	for (size_t i = 0; i < sizeof text; i++)
		text[i] = (char)('a' + i * i / 100 % 20);
	ck_assert(deflate_start(&z, 6, 15));
	size_t n = deflate_message(&z, (const uint8_t *)text, sizeof text, packed),
	       head = frame_head(frame, FRAME_TEXT, n);
	deflateEnd(&z);
	ck_assert_uint_gt(n, 0);
	frame[0] |= 0x40;
	frame[1] |= 0x80;
	memset(frame + head, 0, 4);
	memcpy(frame + head + 4, packed, n);
	return head + 4 + n;
}

/* Compressed messages, inflated and compressed again for a room, without and with a window of each
 * connection's own. */
START_TEST(compressed)
{
	struct conn_limits limits = rig_limits();
	uint8_t frame[4096];
	size_t n = pack(frame);
	unsigned long taken = 0;
	start("relay");
	limits.deflate = (struct deflate_limits){.policy = {.on = true,
							    .keep_in = _i,
							    .keep_out = _i,
							    .bits = 15},
						 .level = 1,
						 .min = 100,
						 .memory = 64 << 20};
	conns_set_limits(&r->conns, &limits);
	for (int k = 1; k <= 10; k++)
		open_with(k, "/room/packed", "\r\nSec-WebSocket-Extensions: permessage-deflate");
	ck_assert_uint_eq(r->loop->stats.deflate_connections, 10);
	for (int i = 0; i < 120; i++) {
		uint64_t want = r->loop->stats.messages_out + 10 * 9;
		if (i == 20)
			taken = allocations;
		for (int k = 1; k <= 10; k++)
			send(r->clients[k].fd, frame, n, MSG_DONTWAIT);
		while (r->loop->stats.messages_out < want) {
			rig_turn(r);
			for (int k = 1; k <= 10; k++)
				swallow(k);
		}
	}
	taken = allocations - taken;
	ck_assert_uint_eq(r->loop->stats.deflated, 1200);
	ck_assert_msg(taken == 0, "%lu allocations for 1,000 compressed messages", taken);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("alloc");
	TCase *tc = tcase_create("alloc");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, echo, 0, sizeof loads / sizeof *loads);
	tcase_add_loop_test(tc, relay, 0, 4);
	tcase_add_test(tc, two_rooms);
	tcase_add_loop_test(tc, compressed, 0, 2);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
