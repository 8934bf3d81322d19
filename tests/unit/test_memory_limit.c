/* Connections that hold memory, and --max-buffered: who gives way, in which order, how, and that
 * nobody else is touched. */
#include "rig.h"
#include "run.h"

#define LIMIT (8u << 20)

static struct rig *r;

static void setup(void)
{
	struct conn_limits limits = rig_limits();
	limits.queue_max = 64 << 20;
	limits.buffered_max = LIMIT;
	r = rig_new(&limits, 8);
}

static void teardown(void)
{
	rig_free(r);
	r = NULL;
}

static char *block(size_t n)
{
	static char *bytes;
	if (bytes == NULL)
		bytes = malloc(16 << 20);
	memset(bytes, 'x', n);
	return bytes;
}

/* What one event sends to whom: pieces of that size, `kib` in all, to each client in turn. */
static struct pour {
	int to;
	size_t kib, piece;
} pours[8];

static enum handler_result pour(struct rig *rig, const struct hub_event *e, struct commit *c,
				struct span *why_r)
{
	(void)why_r;
	if (e->kind != EVENT_MESSAGE)
		return HANDLER_DONE;
	for (struct pour *p = pours; p->to > 0; p++)
		for (size_t sent = 0; sent < p->kib << 10; sent += p->piece)
			commit_send(c, rig->clients[p->to].local, true, block(p->piece), p->piece);
	return HANDLER_DONE;
}

/* Clients of whom all but the first read nothing. */
static void open_slow(int n)
{
	const int small = 4096;
	rig_open_many(r, n);
	for (int i = 2; i <= n; i++)
		setsockopt(session_conn(r->clients[i].session)->fd, SOL_SOCKET, SO_SNDBUF, &small,
			   sizeof small);
	r->script = pour;
}

static void go(void)
{
	uint64_t before = r->loop->stats.messages_in;
	rig_text(r, 1, "go");
	RIG_UNTIL(r, r->loop->stats.messages_in > before);
	rig_turn(r);
	memset(pours, 0, sizeof pours);
}

static void expect_all(int client, size_t kib, size_t piece)
{
	for (size_t n = 0; n < kib << 10; n += piece) {
		uint8_t first;
		size_t len;
		free(rig_next(r, client, &first, &len));
		ck_assert_uint_eq(len, piece);
	}
	rig_expect_silence(r, client);
}

/* --- output ----------------------------------------------------------------------------------- */

START_TEST(whoever_holds_most)
{
	open_slow(5);
	pours[0] = (struct pour){2, 1600, 1000};
	pours[1] = (struct pour){3, 3200, 1000};
	pours[2] = (struct pour){4, 2000, 1000};
	go();
	RIG_EXPECT(r, "message:1=go");
	ck_assert_uint_gt(r->loop->stats.buffered, 6400 << 10);
	/* that is too much: 3 ends, and all others get what is theirs */
	pours[0] = (struct pour){5, 2080, 1000};
	go();
	RIG_EXPECT(r, "message:1=go close:3=1013");
	ck_assert_uint_le(r->loop->stats.buffered, LIMIT);
	ck_assert_uint_eq(r->loop->stats.heavy_ended, 1);
	ck_assert_uint_eq(r->loop->stats.slow_ended, 0);
	pours[0] = (struct pour){2, 3200, 1000}; /* now 2 has most */
	go();
	RIG_EXPECT(r, "message:1=go close:2=1013");
	expect_all(4, 2000, 1000);
	expect_all(5, 2080, 1000);
	/* the rest of a message on its way to each of those that were closed */
	ck_assert_uint_le(r->loop->stats.buffered, 16 << 10);
}
END_TEST

/* Within one commit, which may send far more than there is room for: the bound holds all the time,
 * and the members that are walked stay where they are until it is over. */
static enum handler_result pour_to_all(struct rig *rig, const struct hub_event *e, struct commit *c,
				       struct span *why_r)
{
	(void)why_r;
	if (e->kind == EVENT_MESSAGE) {
		for (int i = 0; i < 4000; i++)
			commit_broadcast(c, true, block(1000), 1000, e->session->local);
		for (int i = 2; i <= 9; i++)
			commit_join(c, rig->clients[i].local, SPAN("room"));
	} else if (e->kind == EVENT_CLOSE) {
		rig_say(rig, "/%u", room_count(e->close.rooms));
	}
	return HANDLER_DONE;
}

START_TEST(in_one_commit)
{
	open_slow(9);
	r->script = pour_to_all;
	rig_text(r, 1, "go");
	RIG_UNTIL(r, r->loop->stats.messages_in > 0);
	rig_turn(r);
	ck_assert_uint_le(r->conns.spare.account.held, LIMIT);
	unsigned closed = 0;
	for (const char *at = r->said; (at = strstr(at, "=1013/1")) != NULL; at++)
		closed++; /* each was still there for the last command */
	ck_assert_uint_ge(closed, 6);
	ck_assert_uint_eq(r->loop->stats.heavy_ended, closed);
	ck_assert_uint_eq(r->loop->stats.connections, 9 - closed);
}
END_TEST

/* Where the oldest may be given up, they are, and the connection stays. */
START_TEST(giving_up_instead)
{
	open_slow(4);
	r->mount->slow = SLOW_POLICY_DROP_OLDEST;
	pours[0] = (struct pour){2, 2400, 1000};
	pours[1] = (struct pour){3, 4800, 1000};
	pours[2] = (struct pour){4, 2400, 1000};
	go();
	RIG_EXPECT(r, "message:1=go");
	ck_assert_uint_le(r->loop->stats.buffered, LIMIT);
	ck_assert_uint_eq(r->loop->stats.heavy_ended, 0);
	ck_assert_uint_eq(conn_given_up(session_conn(r->clients[2].session)), 0);
	ck_assert_uint_gt(conn_given_up(session_conn(r->clients[3].session)), 1600);
	ck_assert_uint_eq(conn_given_up(session_conn(r->clients[4].session)), 0);
	ck_assert_uint_eq(r->loop->stats.slow, 1);
	expect_all(2, 2400, 1000);
	expect_all(4, 2400, 1000);
}
END_TEST

/* One large message is one chunk, for whoever is to get it. */
START_TEST(shared_ones_count_once)
{
	open_slow(9);
	r->script = NULL;
	struct commit *c = &r->mount->commit;
	commit_begin(c, NULL);
	commit_broadcast(c, true, block(7200 << 10), 7200 << 10, 0);
	ck_assert(delivery_commit(r->mount));
	rig_turn(r);
	ck_assert_uint_ge(r->loop->stats.buffered, (7200 << 10) + 10);
	ck_assert_uint_le(r->loop->stats.buffered, (7200 << 10) + 9 * 2048);
	ck_assert_uint_eq(r->loop->stats.heavy_ended, 0);
	for (int i = 1; i <= 9; i++)
		expect_all(i, 7200, 7200 << 10);
	rig_turn(r);
	ck_assert_uint_eq(r->loop->stats.buffered, 0);
}
END_TEST

/* A large message on its way is not waited for: its connection ends at once. */
START_TEST(a_large_message_on_its_way)
{
	open_slow(3);
	pours[0] = (struct pour){2, 10 << 10, 10 << 20};
	go();
	RIG_EXPECT(r, "message:1=go close:2=1013");
	RIG_UNTIL(r, r->loop->stats.buffered == 0);
	ck_assert_uint_eq(r->loop->stats.sockets, 2);
	char byte;
	while (recv(r->clients[2].fd, &byte, 1, MSG_DONTWAIT) > 0)
		;
	ck_assert_int_eq(recv(r->clients[2].fd, &byte, 1, MSG_DONTWAIT), 0);
	pours[0] = (struct pour){3, 10, 1000};
	go();
	expect_all(3, 10, 1000);
}
END_TEST

/* --- input ------------------------------------------------------------------------------------ */

/* The first `kib` of a message that has one more; the buffer for it may be twice as large. */
static void begin_message(int client, size_t kib)
{
	uint8_t head[FRAME_HEAD_MAX] = {0};
	size_t len = frame_head(head, FRAME_BINARY, (kib + 1) << 10);
	head[1] |= 0x80;
	rig_write(r, client, head, len + 4);
	rig_write(r, client, block(kib << 10), kib << 10);
	for (int i = 0; i < 50; i++)
		rig_turn(r);
}

START_TEST(messages_in_part)
{
	rig_open_many(r, 12);
	begin_message(2, 800);
	begin_message(3, 2400);
	ck_assert_uint_ge(r->loop->stats.buffered, 3200 << 10);
	RIG_EXPECT(r, "");
	int last = 4;
	for (; r->said_len == 0; last++)
		begin_message(last, 800);
	RIG_EXPECT(r, "close:3=1013");
	ck_assert_uint_ge(last, 6);
	ck_assert_uint_le(r->loop->stats.buffered, LIMIT);
	rig_expect_close(r, 3, 1013);
	rig_write(r, 3, block(1 << 20), 1 << 20); /* what else it sends is taken, and forgotten */
	rig_turn(r);
	ck_assert_uint_le(r->loop->stats.buffered, LIMIT);
	for (int i = 2; i < last; i++) /* the others go on */
		if (i != 3)
			rig_write(r, i, block(1024), 1024);
	RIG_UNTIL(r, r->loop->stats.messages_in == (uint64_t)last - 3);
	ck_assert_ptr_nonnull(strstr(r->said, "message:2=xxx"));
	RIG_UNTIL(r, r->loop->stats.buffered == 0);
}
END_TEST

START_TEST(input_and_output_together)
{
	open_slow(4);
	begin_message(2, 2400);
	uint64_t input = conn_held(session_conn(r->clients[2].session));
	/* more than either of what 2 holds, and less than both */
	pours[0] = (struct pour){3, (input >> 10) + 400, 1000};
	pours[1] = (struct pour){2, 1600, 1000};
	go();
	RIG_EXPECT(r, "message:1=go");
	pours[0] = (struct pour){4, 2000, 1000};
	go();
	RIG_EXPECT(r, "message:1=go close:2=1013");
	expect_all(3, (input >> 10) + 400, 1000);
}
END_TEST

/* Nobody above waits for a connection that is closing: its socket ends. */
START_TEST(closing_ones)
{
	open_slow(3);
	pours[0] = (struct pour){2, 4800, 1000};
	go();
	hub_close_session(r->clients[2].session, 4000, SPAN("end"), false);
	rig_turn(r);
	RIG_EXPECT(r, "message:1=go close:2=4000");
	ck_assert_uint_eq(r->loop->stats.sockets, 3);
	pours[0] = (struct pour){3, 4000, 1000};
	go();
	RIG_EXPECT(r, "message:1=go");
	ck_assert_uint_eq(r->loop->stats.sockets, 2);
	ck_assert_uint_eq(r->loop->stats.heavy_ended, 0);
	expect_all(3, 4000, 1000);
}
END_TEST

START_TEST(without_a_limit)
{
	struct conn_limits limits = r->conns.limits;
	limits.buffered_max = 0;
	conns_set_limits(&r->conns, &limits);
	open_slow(3);
	pours[0] = (struct pour){2, 6000, 1000};
	pours[1] = (struct pour){3, 6000, 1000};
	go();
	RIG_EXPECT(r, "message:1=go");
	ck_assert_uint_gt(r->loop->stats.buffered, 10 << 20);
	expect_all(2, 6000, 1000);
	expect_all(3, 6000, 1000);
	rig_turn(r);
	ck_assert_uint_eq(r->loop->stats.buffered, 0);
	ck_assert_ptr_null(LIST_FIRST(&r->conns.memory_limits.list));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("heavy");
	TCase *tc = tcase_create("heavy");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, whoever_holds_most);
	tcase_add_test(tc, in_one_commit);
	tcase_add_test(tc, giving_up_instead);
	tcase_add_test(tc, shared_ones_count_once);
	tcase_add_test(tc, a_large_message_on_its_way);
	tcase_add_test(tc, messages_in_part);
	tcase_add_test(tc, input_and_output_together);
	tcase_add_test(tc, closing_ones);
	tcase_add_test(tc, without_a_limit);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
