/* Handlers that settle later: order, one event of a connection at a time, and what happens to
 * connections meanwhile. */
#include "rig.h"
#include "run.h"

#define HOLD (1u << 20)

static struct rig *r;

static void setup(void)
{
	struct conn_limits limits = rig_limits();
	limits.ask_ms = 3600000;
	r = rig_new_async(&limits, HOLD);
}

static void teardown(void)
{
	rig_free(r);
	r = NULL;
}

/* A client whose handshake the handler has settled, its open too. */
static void open_settled(int client)
{
	char head[4096];
	rig_connect(r, client);
	rig_write(r, client, RIG_UPGRADE, sizeof RIG_UPGRADE - 1);
	RIG_UNTIL(r, !TAILQ_EMPTY(&r->given));
	rig_settle(r);
	r->opening = client;
	RIG_UNTIL(r, !TAILQ_EMPTY(&r->given));
	rig_settle(r);
	rig_head(r, client, head);
	ck_assert_int_eq(strncmp(head, "HTTP/1.1 101 ", 13), 0);
	r->said[r->said_len = 0] = '\0';
}

static void settle_all(void)
{
	while (!TAILQ_EMPTY(&r->given))
		rig_settle(r);
}

static uint32_t n_given(void)
{
	const struct event_held *e;
	uint32_t n = 0;
	TAILQ_FOREACH (e, &r->given, link)
		n++;
	return n;
}

/* --- order ------------------------------------------------------------------------------------ */

START_TEST(one_at_a_time)
{
	open_settled(1);
	open_settled(2);
	for (int i = 0; i < 3; i++) {
		rig_text(r, 1, i == 0 ? "a" : i == 1 ? "b" : "c");
		rig_text(r, 2, i == 0 ? "x" : i == 1 ? "y" : "z");
	}
	rig_close_frame(r, 1, 1000);
	RIG_UNTIL(r, r->loop->stats.messages_in == 6);
	ck_assert_uint_eq(n_given(), 2); /* concurrency comes from connections */
	rig_expect_silence(r, 1); /* the echo of its close frame waits for its earlier messages */
	settle_all();
	RIG_EXPECT(
		r,
		"message:1=a message:2=x message:1=b message:2=y message:1=c message:2=z close:1=1000");
	rig_expect_close(r, 1, 1000);
	ck_assert_uint_eq(budget_held(r->mount->budget), 0);
}
END_TEST

static enum handler_result fail_messages(struct rig *rig, const struct hub_event *e,
					 struct commit *c, struct span *why_r)
{
	(void)rig;
	if (e->kind != EVENT_MESSAGE)
		return HANDLER_DONE;
	commit_broadcast(c, false, "lost", 4, 0);
	*why_r = SPAN("no");
	return HANDLER_FAILED;
}

START_TEST(error_comes_next)
{
	open_settled(1);
	r->script = fail_messages;
	rig_text(r, 1, "a");
	rig_text(r, 1, "b");
	RIG_UNTIL(r, r->loop->stats.messages_in == 2);
	settle_all();
	RIG_EXPECT(r, "message:1=a error:1=no message:1=b error:1=no");
	rig_expect_silence(r, 1);
}
END_TEST

/* --- runs ------------------------------------------------------------------------------------- */

/* Several messages that have come in. */
static void say_all(int client, const char *letters)
{
	uint64_t before = r->loop->stats.messages_in;
	size_t n = strlen(letters);
	for (size_t i = 0; i < n; i++)
		rig_frame(r, client, FRAME_TEXT, letters + i, 1);
	RIG_UNTIL(r, r->loop->stats.messages_in == before + n);
}

/* Numbers only rise, by one. */
static void check_number(struct rig *rig, const struct hub_event *e)
{
	if (e->session == NULL || e->kind == EVENT_UPGRADE)
		return;
	ck_assert_uint_eq(e->sequence, rig->seen + 1);
	rig->seen = e->sequence;
}

static enum handler_result count_numbers(struct rig *rig, const struct hub_event *e,
					 struct commit *c, struct span *why_r)
{
	(void)c;
	(void)why_r;
	check_number(rig, e);
	return HANDLER_DONE;
}

START_TEST(a_run)
{
	r->runs = 3;
	r->script = count_numbers;
	open_settled(1);
	say_all(1, "abcde");
	ck_assert_uint_eq(n_given(), 3);
	uint64_t held = budget_held(r->mount->budget);
	rig_settle(r);
	ck_assert_uint_eq(n_given(), 2); /* the next comes when the whole run is settled */
	ck_assert_uint_eq(budget_held(r->mount->budget), held / 5 * 4);
	say_all(1, "f");
	rig_settle(r);
	rig_settle(r);
	ck_assert_uint_eq(n_given(), 3);
	rig_close_frame(r, 1, 1000);
	for (int i = 0; i < 3; i++)
		rig_turn(r);
	settle_all();
	RIG_EXPECT(
		r,
		"message:1=a message:1=b message:1=c message:1=d message:1=e message:1=f close:1=1000");
	rig_expect_close(r, 1, 1000);
	ck_assert_uint_eq(budget_held(r->mount->budget), 0);
	ck_assert_uint_eq(r->taken, 0);
}
END_TEST

/* One that fails, or whose commands are refused. */
static enum handler_result fail_one(struct rig *rig, const struct hub_event *e, struct commit *c,
				    struct span *why_r)
{
	check_number(rig, e);
	if (e->kind != EVENT_MESSAGE || e->message.bytes[0] != 'b')
		return HANDLER_DONE;
	commit_set(c, e->session->local, "never", 5);
	if (rig->step == 0) {
		*why_r = SPAN("no");
		return HANDLER_FAILED;
	}
	commit_join(c, e->session->local, SPAN(""));
	return HANDLER_DONE;
}

START_TEST(what_follows_a_failure)
{
	struct session *s;
	r->runs = 8;
	r->step = _i;
	r->script = fail_one;
	open_settled(1);
	s = r->clients[1].session;
	say_all(1, "abcd");
	rig_settle(r);
	ck_assert_uint_eq(n_given(), 3);
	rig_settle(r);
	ck_assert_uint_eq(n_given(), 1); /* error, or c under its old number: alone */
	ck_assert_uint_eq(r->taken, 2);
	say_all(1, "ef");
	settle_all();
	ck_assert_uint_eq(session_state(s).n, 0);
	/* Those that came later are a run again; what was taken back is in none. */
	if (_i == 0)
		RIG_EXPECT(
			r,
			"message:1=a message:1=b error:1=no message:1=c message:1=d message:1=e message:1=f");
	else
		RIG_EXPECT(
			r,
			"message:1=a message:1=b message:1=c message:1=d "
			"error:1=a command named a room with a name that is not 1 to 255 bytes of UTF-8 without NUL "
			"message:1=e message:1=f");
	ck_assert_uint_eq(budget_held(r->mount->budget), 0);
	ck_assert_uint_eq(r->loop->stats.redelivered, _i == 0 ? 0 : 2);
}
END_TEST

/* Client 2 sets the state of client 1, which is the same as before or not. */
static enum handler_result set_of_other(struct rig *rig, const struct hub_event *e,
					struct commit *c, struct span *why_r)
{
	(void)why_r;
	if (e->kind == EVENT_MESSAGE && e->message.bytes[0] == '2')
		commit_set(c, rig->clients[1].local, "theirs", 6);
	else if (e->kind == EVENT_MESSAGE && e->message.bytes[0] == 'a')
		commit_set(c, e->session->local, "mine", 4);
	return HANDLER_DONE;
}

START_TEST(a_state_that_others_set)
{
	r->runs = 8;
	r->script = set_of_other;
	open_settled(1);
	open_settled(2);
	say_all(2, "2");
	say_all(1, "abc");
	ck_assert_uint_eq(n_given(), 4);
	rig_settle(r);
	ck_assert_uint_eq(r->taken, 2);
	ck_assert_uint_eq(n_given(), 1);
	ck_assert_uint_eq(session_state(r->clients[1].session).n, 6);
	say_all(1, "d");
	settle_all();
	RIG_EXPECT(r, "message:2=2 message:1=a message:1=b message:1=c message:1=d");
	ck_assert_uint_eq(budget_held(r->mount->budget), 0);
	/* The connection's own events may. */
	say_all(1, "ae");
	settle_all();
	ck_assert_uint_eq(r->taken, 2);
}
END_TEST

/* The host stops, or what was given is taken back, with a run under way and more behind it. */
START_TEST(a_run_that_is_cut)
{
	r->runs = 2;
	open_settled(1);
	say_all(1, "abcd");
	ck_assert_uint_eq(n_given(), 2);
	if (_i == 0) {
		TAILQ_INIT(&r->given);
		return;
	}
	struct event_held *first = TAILQ_FIRST(&r->given), *second = TAILQ_NEXT(first, link);
	delivery_end_run(r->mount, second, true); /* it is not the first of its run */
	ck_assert_uint_eq(r->taken, 0);
	delivery_end_run(r->mount, first, _i == 1);
	delivery_end_run(r->mount, first, _i == 1);
	ck_assert_uint_eq(r->taken, 1);
	settle_all();
	RIG_EXPECT(r, "message:1=a message:1=b message:1=c message:1=d");
}
END_TEST

static enum handler_result answer(struct rig *rig, const struct hub_event *e, struct commit *c,
				  struct span *why_r)
{
	(void)rig;
	(void)why_r;
	if (e->kind == EVENT_MESSAGE) {
		commit_send(c, e->session->local, false, "answer", 6);
		commit_join(c, e->session->local, SPAN("room"));
		commit_broadcast_to(c, SPAN("room"), false, "to the room", 11, 0);
	}
	return HANDLER_DONE;
}

/* Its peer has closed, or half closed, while its event was under way: the answer still leaves,
 * nothing else is done to it. */
START_TEST(answers_to_one_that_has_closed)
{
	open_settled(1);
	r->script = answer;
	rig_text(r, 1, "a");
	if (_i == 0)
		rig_close_frame(r, 1, 1000);
	else
		shutdown(r->clients[1].fd, SHUT_WR);
	RIG_UNTIL(r, r->loop->stats.connections == 0);
	settle_all();
	RIG_EXPECT(r, _i == 0 ? "message:1=a close:1=1000" : "message:1=a close:1=1006");
	rig_expect_text(r, 1, "answer");
	if (_i == 0)
		rig_expect_close(r, 1, 1000);
	rig_expect_end(r, 1);
	ck_assert_uint_eq(r->loop->stats.rooms, 0);
	ck_assert_uint_eq(r->loop->stats.gone, 1);
}
END_TEST

START_TEST(answers_to_one_that_is_gone)
{
	open_settled(1);
	r->script = answer;
	rig_text(r, 1, "a");
	RIG_UNTIL(r, n_given() == 1);
	close(r->clients[1].fd);
	r->clients[1].fd = -1;
	RIG_UNTIL(r, r->loop->stats.connections == 0);
	for (int i = 0; i < 5; i++)
		rig_turn(r); /* its conn may not be freed before its events are settled */
	settle_all();
	RIG_EXPECT(r, "message:1=a close:1=1006");
	RIG_UNTIL(r, r->conns.count == 0);
	ck_assert_uint_eq(r->hub.sessions.count, 0);
}
END_TEST

/* Nobody hears of a connection before its open is settled, and it hears nothing. */
START_TEST(unsettled)
{
	char head[4096];
	open_settled(1);
	rig_connect(r, 2);
	rig_write(r, 2, RIG_UPGRADE, sizeof RIG_UPGRADE - 1);
	RIG_UNTIL(r, n_given() == 1);
	rig_settle(r);
	rig_head(r, 2, head);
	const uint64_t local = TAILQ_FIRST(&r->given)->event.session->local;
	ck_assert_uint_eq(r->mount->n_sessions, 1);
	commit_begin(&r->mount->commit, NULL);
	commit_broadcast(&r->mount->commit, false, "early", 5, 0);
	commit_send(&r->mount->commit, local, false, "you", 3);
	commit_join(&r->mount->commit, local, SPAN("room"));
	ck_assert(delivery_commit(r->mount));
	rig_expect_text(r, 1, "early");
	rig_expect_silence(r, 2);
	ck_assert_uint_eq(r->loop->stats.gone, 2);
	r->opening = 2;
	rig_settle(r);
	commit_begin(&r->mount->commit, NULL);
	commit_broadcast(&r->mount->commit, false, "later", 5, 0);
	ck_assert(delivery_commit(r->mount));
	rig_expect_text(r, 1, "later");
	rig_expect_text(r, 2, "later");
}
END_TEST

/* One that ends before its open is settled; and a push that is spoiled does nothing. */
START_TEST(gone_before_its_open_is_settled)
{
	char head[4096];
	rig_connect(r, 1);
	rig_write(r, 1, RIG_UPGRADE, sizeof RIG_UPGRADE - 1);
	RIG_UNTIL(r, n_given() == 1);
	rig_settle(r);
	RIG_UNTIL(r, n_given() == 1);
	rig_head(r, 1, head);
	r->opening = 1;
	close(r->clients[1].fd);
	r->clients[1].fd = -1;
	RIG_UNTIL(r, r->loop->stats.connections == 0);
	ck_assert_uint_eq(r->mount->shards[0].n_unsettled, 0);
	settle_all();
	RIG_EXPECT(r, "upgrade:0 open:1 close:1=1006");
	ck_assert_uint_eq(r->mount->n_sessions, 0);
	commit_begin(&r->mount->commit, NULL);
	commit_broadcast(&r->mount->commit, false, "\xff", 1, 0);
	ck_assert(!delivery_commit(r->mount));
	ck_assert_uint_eq(r->mount->commit.n, 0);
}
END_TEST

/* --- upgrades --------------------------------------------------------------------------------- */

START_TEST(withdrawn)
{
	rig_connect(r, 1);
	rig_write(r, 1, RIG_UPGRADE, sizeof RIG_UPGRADE - 1);
	RIG_UNTIL(r, n_given() == 1);
	close(r->clients[1].fd);
	r->clients[1].fd = -1;
	RIG_UNTIL(r, r->conns.count == 0);
	for (int i = 0; i < 3; i++)
		rig_turn(r);
	rig_settle(r);
	ck_assert_uint_eq(n_given(), 0); /* no open */
	ck_assert_uint_eq(budget_held(r->mount->budget), 0);
	ck_assert_uint_eq(r->loop->stats.opened, 0);
}
END_TEST

START_TEST(not_answered_in_time)
{
	char head[4096];
	struct conn_limits limits = rig_limits();
	limits.ask_ms = 5;
	conns_set_limits(&r->conns, &limits);
	rig_connect(r, 1);
	rig_write(r, 1, RIG_UPGRADE, sizeof RIG_UPGRADE - 1);
	rig_head(r, 1, head);
	ck_assert_int_eq(strncmp(head, "HTTP/1.1 503 ", 13), 0);
	rig_settle(r);
	ck_assert_uint_eq(n_given(), 0);
	ck_assert_uint_eq(budget_held(r->mount->budget), 0);
	ck_assert_uint_eq(r->loop->stats.opened, 0);
}
END_TEST

START_TEST(too_much_waits)
{
	char head[4096];
	budget_add_event(r->mount->budget, HOLD);
	rig_connect(r, 1);
	rig_write(r, 1, RIG_UPGRADE, sizeof RIG_UPGRADE - 1);
	rig_head(r, 1, head);
	ck_assert_int_eq(strncmp(head, "HTTP/1.1 503 ", 13), 0);
	ck_assert_uint_eq(n_given(), 0);
	budget_sub_event(r->mount->budget, HOLD);
}
END_TEST

/* Frames that came with the request are heard once it was accepted. */
START_TEST(what_came_behind_the_request)
{
	rig_connect(r, 1);
	rig_write(r, 1, RIG_UPGRADE, sizeof RIG_UPGRADE - 1);
	rig_text(r, 1, "early bird");
	RIG_UNTIL(r, n_given() == 1);
	rig_settle(r);
	r->opening = 1;
	RIG_UNTIL(r, r->loop->stats.messages_in == 1);
	settle_all();
	RIG_EXPECT(r, "upgrade:0 open:1 message:1=early bird");
}
END_TEST

/* --- back-pressure ---------------------------------------------------------------------------- */

/* A client that goes on sending is not read from; when its handler has caught up it is, and nothing
 * is lost. */
START_TEST(a_lane_that_is_full)
{
	enum { N = 600, LEN = 4000 };
	size_t at = 0, frame = 8 + LEN, all = N * frame;
	uint8_t *bytes = calloc(1, all);
	open_settled(1);
	for (uint32_t i = 0; i < N; i++) {
		const uint8_t head[8] = {0x81, 0x80 | 126, LEN >> 8, LEN & 255};
		memcpy(bytes + i * frame, head, sizeof head);
		memset(bytes + i * frame + 8, 'x', LEN);
		snprintf((char *)bytes + i * frame + 8, 8, "%07u", i);
		bytes[i * frame + 15] = 'x';
	}
	for (uint32_t settled = 0; settled < N;) {
		ssize_t n =
			at < all ? send(r->clients[1].fd, bytes + at, all - at, MSG_DONTWAIT) : 0;
		at += n > 0 ? (size_t)n : 0;
		for (int i = 0; i < 3; i++)
			rig_turn(r);
		ck_assert_uint_le(budget_held(r->mount->budget), HUB_LANE_MAX + LOOP_INPUT + 20000);
		ck_assert(settled > 0 || at < all); /* so much does not fit anywhere */
		while (n <= 0 && n_given() > 0) {
			char expected[32];
			snprintf(expected, sizeof expected, "message:1=%07ux", settled++);
			r->said[r->said_len = 0] = '\0';
			rig_settle(r);
			ck_assert_int_eq(strncmp(r->said, expected, strlen(expected)), 0);
			if (settled % 7 == 0)
				break;
		}
	}
	ck_assert_uint_eq(budget_held(r->mount->budget), 0);
	ck_assert_uint_eq(r->mount->budget->waiting, 0);
	free(bytes);
}
END_TEST

/* All clients are paused by the common bound; when they go on, events that are settled at once end
 * some of those that would be next. */
static enum handler_result close_the_next(struct rig *rig, const struct hub_event *e,
					  struct commit *c, struct span *why_r)
{
	(void)why_r;
	if (e->kind == EVENT_MESSAGE && e->message.len == 4 &&
	    memcmp(e->message.bytes, "next", 4) == 0)
		for (int i = 2; i <= 6; i += 2)
			commit_close(c, rig->clients[i].local, 4000, (struct span){0});
	return HANDLER_DONE;
}

START_TEST(going_on_while_others_end)
{
	enum { N = 8 };
	static char block[8000];
	for (int i = 1; i <= N; i++)
		open_settled(i);
	if (_i == 1)
		r->handler.wants &= ~EVENT_BIT(EVENT_CLOSE);
	r->script = close_the_next;
	atomic_store(&r->mount->budget->max, 8000);
	budgets_set(&r->hub.budgets, 0);
	rig_frame(r, N, FRAME_BINARY, block, sizeof block); /* holds everybody up */
	RIG_UNTIL(r, n_given() == 1);
	for (int i = 1; i < N; i++) {
		rig_text(r, i, "first");
		rig_text(r, i, "second");
		rig_text(r, i, "next");
		rig_close_frame(r, i, 1000);
	}
	for (int i = 0; i < 5; i++)
		rig_turn(r);
	struct event_held *last = TAILQ_FIRST(&r->given);
	TAILQ_REMOVE(&r->given, last, link);
	settle_all();
	TAILQ_INSERT_TAIL(&r->given, last, link);
	uint32_t paused = 0;
	const struct conn *c;
	TAILQ_FOREACH (c, &r->mount->budget->queues[0].waiting[BUDGET_WAIT_REST], more->budget_link)
		paused++;
	ck_assert_uint_eq(paused, N - 1);
	r->at_once = true;
	rig_settle(r);
	RIG_UNTIL(r, r->hub.sessions.count == 1);
	ck_assert_uint_eq(budget_held(r->mount->budget), 0);
	ck_assert_uint_eq(r->mount->budget->waiting, 0);
}
END_TEST

/* The host stops with events under way: they are given back (which the teardown and the sanitizer
 * look at). */
START_TEST(stopping_in_the_middle)
{
	open_settled(1);
	open_settled(2);
	rig_text(r, 1, "a");
	rig_text(r, 1, "b");
	rig_text(r, 2, "c");
	rig_close_frame(r, 2, 1000);
	RIG_UNTIL(r, r->loop->stats.connections == 1);
	hub_drop_sessions(&r->hub);
	TAILQ_INIT(&r->given);
	ck_assert_uint_eq(r->hub.sessions.count, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("settle");
	TCase *tc = tcase_create("settle");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, one_at_a_time);
	tcase_add_test(tc, error_comes_next);
	tcase_add_test(tc, a_run);
	tcase_add_loop_test(tc, what_follows_a_failure, 0, 2);
	tcase_add_test(tc, a_state_that_others_set);
	tcase_add_loop_test(tc, a_run_that_is_cut, 0, 3);
	tcase_add_loop_test(tc, answers_to_one_that_has_closed, 0, 2);
	tcase_add_test(tc, answers_to_one_that_is_gone);
	tcase_add_test(tc, unsettled);
	tcase_add_test(tc, gone_before_its_open_is_settled);
	tcase_add_test(tc, withdrawn);
	tcase_add_test(tc, not_answered_in_time);
	tcase_add_test(tc, too_much_waits);
	tcase_add_test(tc, what_came_behind_the_request);
	tcase_add_test(tc, a_lane_that_is_full);
	tcase_add_loop_test(tc, going_on_while_others_end, 0, 2);
	tcase_add_test(tc, stopping_in_the_middle);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
