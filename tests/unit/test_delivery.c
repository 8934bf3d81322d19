/* Delivery: the order of events, failure and error, atomicity, and that close comes once and last.
 */
#include "rig.h"
#include "run.h"

static struct rig *r;

static void setup(void)
{
	const struct conn_limits limits = rig_limits();
	r = rig_new(&limits, 16);
}

static void teardown(void)
{
	rig_free(r);
}

static enum handler_result failed(struct span *why_r, const char *why)
{
	*why_r = span_of(why);
	return HANDLER_FAILED;
}

/* --- order ------------------------------------------------------------------------------------ */

START_TEST(open_messages_close)
{
	rig_open(r, 1);
	rig_text(r, 1, "a");
	rig_text(r, 1, "b");
	rig_frame(r, 1, FRAME_BINARY, "c", 1);
	rig_close_frame(r, 1, 3001);
	rig_expect_close(r, 1, 3001);
	RIG_EXPECT(r, "upgrade:0 open:1 message:1=a message:1=b message:1=c close:1=3001");
	rig_expect_end(r, 1);
	RIG_EXPECT(r, "");
}
END_TEST

/* However it ends: one close, behind all messages that came whole. */
START_TEST(every_kind_of_end)
{
	static const struct {
		const char *name, *expected;
	} ends[] = {
		{"close", "message:1=m close:1=1000"},
		{"close without a code", "message:1=m close:1=1005"},
		{"eof", "message:1=m close:1=1006"},
		{"half a message", "message:1=m close:1=1006"},
		{"reserved opcode", "message:1=m error:1=%s close:1=1002"},
		{"bad text", "message:1=m error:1=%s close:1=1007"},
		{"too big", "message:1=m error:1=%s close:1=1009"},
	};
	rig_open_many(r, 1);
	rig_text(r, 1, "m");
	if (_i == 0)
		rig_close_frame(r, 1, 1000);
	else if (_i == 1)
		rig_close_frame(r, 1, 0);
	else if (_i == 3)
		rig_write(r, 1, "\x81\x85\0\0\0\0ab", 8);
	else if (_i == 4)
		rig_write(r, 1, "\x83\x80\0\0\0\0", 6);
	else if (_i == 5)
		rig_frame(r, 1, FRAME_TEXT, "\xff", 1);
	else if (_i == 6)
		rig_write(r, 1, "\x82\xff\0\0\0\0\x10\0\0\0\0\0\0\0", 14);
	if (_i == 2 || _i == 3)
		shutdown(r->clients[1].fd, SHUT_WR);
	RIG_UNTIL(r, strstr(r->said, "close") != NULL);
	for (int i = 0; i < 5; i++)
		rig_turn(r);
	char *error = strstr(r->said, "error:1="), *from = error != NULL ? error + 8 : NULL,
	     *to = strstr(r->said, " close");
	if (from != NULL) { /* the words are the protocol's; here it counts that they are there */
		ck_assert_ptr_nonnull(to);
		ck_assert_int_gt(to - from, 10);
		memmove(from + 2, to, strlen(to) + 1);
		memcpy(from, "%s", 2);
	}
	ck_assert_msg(strcmp(r->said, ends[_i].expected) == 0, "%s: %s", ends[_i].name, r->said);
	RIG_UNTIL(r, r->hub.sessions.count == 0);
}
END_TEST

START_TEST(a_reset)
{
	rig_open_many(r, 2);
	close(r->clients[1].fd);
	r->clients[1].fd = -1;
	RIG_UNTIL(r, r->hub.sessions.count == 1);
	RIG_EXPECT(r, "close:1=1006");
	rig_text(r, 2, "still here");
	RIG_UNTIL(r, r->said_len > 0);
	RIG_EXPECT(r, "message:2=still here");
}
END_TEST

/* --- failure ---------------------------------------------------------------------------------- */

static enum handler_result fail_some(struct rig *rig, const struct hub_event *e, struct commit *c,
				     struct span *why_r)
{
	(void)rig;
	if (e->kind == EVENT_MESSAGE && e->message.bytes[0] == '!') {
		commit_broadcast(c, false, "lost", 4, 0);
		commit_join(c, e->session->local, SPAN("room"));
		commit_close(c, e->session->local, 1000, (struct span){0});
		return failed(why_r, "out of luck");
	}
	return e->kind == EVENT_ERROR && rig->step == 1 ? failed(why_r, "again") : HANDLER_DONE;
}

START_TEST(a_failure_raises_error_next)
{
	rig_open_many(r, 1);
	r->script = fail_some;
	rig_text(r, 1, "a");
	rig_text(r, 1, "!");
	rig_text(r, 1, "b");
	RIG_UNTIL(r, strstr(r->said, "=b") != NULL);
	RIG_EXPECT(r, "message:1=a message:1=! error:1=out of luck message:1=b");
	/* Nothing of it was done. */
	ck_assert_uint_eq(r->loop->stats.rooms, 0);
	ck_assert_uint_eq(r->loop->stats.messages_out, 0);
	ck_assert_uint_eq(r->loop->stats.failures, 1);
	ck_assert_uint_eq(r->hub.sessions.count, 1);
	ck_assert_uint_eq(r->mount->commit.n, 0);
	rig_expect_silence(r, 1);
}
END_TEST

START_TEST(a_failure_in_error_is_only_counted)
{
	rig_open_many(r, 1);
	r->script = fail_some;
	r->step = 1;
	rig_text(r, 1, "!");
	rig_text(r, 1, "b");
	RIG_UNTIL(r, strstr(r->said, "=b") != NULL);
	RIG_EXPECT(r, "message:1=! error:1=out of luck message:1=b");
	ck_assert_uint_eq(r->loop->stats.failures, 2);
}
END_TEST

static enum handler_result fail_close(struct rig *rig, const struct hub_event *e, struct commit *c,
				      struct span *why_r)
{
	(void)rig;
	(void)c;
	return e->kind == EVENT_CLOSE ? failed(why_r, "no") : HANDLER_DONE;
}

START_TEST(a_failing_close_ends_all_the_same)
{
	rig_open_many(r, 1);
	r->script = fail_close;
	rig_close_frame(r, 1, 1000);
	rig_expect_close(r, 1, 1000);
	RIG_EXPECT(r, "close:1=1000");
	ck_assert_uint_eq(r->loop->stats.failures, 1);
	ck_assert_uint_eq(r->hub.sessions.count, 0);
}
END_TEST

/* Says the commit is to be applied although a command was refused: it is not. */
static enum handler_result spoil(struct rig *rig, const struct hub_event *e, struct commit *c,
				 struct span *why_r)
{
	(void)rig;
	(void)why_r;
	if (e->kind == EVENT_MESSAGE) {
		commit_send(c, e->session->local, false, "before", 6);
		commit_join(c, e->session->local, SPAN(""));
		commit_send(c, e->session->local, false, "behind", 6);
	}
	return HANDLER_DONE;
}

START_TEST(a_refused_command_fails_the_event)
{
	rig_open_many(r, 1);
	r->script = spoil;
	rig_text(r, 1, "a");
	RIG_UNTIL(r, strstr(r->said, "error") != NULL);
	ck_assert_ptr_nonnull(strstr(r->said, commit_error_text(COMMIT_E_ROOM)));
	rig_expect_silence(r, 1);
	ck_assert_uint_eq(r->loop->stats.commits, 3); /* those of upgrade, open and error */
}
END_TEST

static enum handler_result fail_open(struct rig *rig, const struct hub_event *e, struct commit *c,
				     struct span *why_r)
{
	(void)rig;
	(void)c;
	return e->kind == EVENT_OPEN ? failed(why_r, "not today") : HANDLER_DONE;
}

START_TEST(a_failing_open_stays_open)
{
	r->script = fail_open;
	rig_open(r, 1);
	rig_text(r, 1, "a");
	RIG_UNTIL(r, strstr(r->said, "=a") != NULL);
	RIG_EXPECT(r, "upgrade:0 open:1 error:1=not today message:1=a");
}
END_TEST

static enum handler_result refuse(struct rig *rig, const struct hub_event *e, struct commit *c,
				  struct span *why_r)
{
	(void)c;
	if (e->kind != EVENT_UPGRADE)
		return HANDLER_DONE;
	if (rig->step == 1)
		return failed(why_r, "no");
	e->answer->status = 418;
	return HANDLER_DONE;
}

START_TEST(upgrades_refused)
{
	char head[4096];
	r->script = refuse;
	for (r->step = 0; r->step < 2; r->step++) {
		rig_connect(r, 1 + r->step);
		rig_write(r, 1 + r->step, RIG_UPGRADE, sizeof RIG_UPGRADE - 1);
		rig_head(r, 1 + r->step, head);
		ck_assert_int_eq(strncmp(head, r->step == 0 ? "HTTP/1.1 418 " : "HTTP/1.1 500 ",
					 13),
				 0);
	}
	RIG_EXPECT(r, "upgrade:0 upgrade:0");
	ck_assert_uint_eq(r->hub.sessions.count, 0);
	ck_assert_uint_eq(r->loop->stats.refused, 2);
	ck_assert_uint_eq(r->loop->stats.opened, 0);
}
END_TEST

/* What the handler does not want to hear of is not delivered, and does its work all the same. */
START_TEST(unwanted_events)
{
	r->handler.wants = 0;
	rig_open(r, 1);
	rig_text(r, 1, "a");
	rig_close_frame(r, 1, 1000);
	rig_expect_close(r, 1, 1000);
	RIG_EXPECT(r, "");
	ck_assert_uint_eq(r->hub.sessions.count, 0);
	ck_assert_uint_eq(r->loop->stats.events, 0);
}
END_TEST

/* --- events from inside others ---------------------------------------------------------------- */

/* A close of another connection within a commit: its close event comes behind, and it is told only
 * then. */
static enum handler_result close_others(struct rig *rig, const struct hub_event *e,
					struct commit *c, struct span *why_r)
{
	(void)why_r;
	if (e->kind == EVENT_MESSAGE && e->message.bytes[0] == 'x')
		for (int i = 1; i <= 3; i++)
			commit_close(c, rig->clients[i].local, 4000, SPAN("bye"));
	else if (e->kind == EVENT_CLOSE)
		commit_broadcast(c, false, "left", 4, 0);
	return HANDLER_DONE;
}

START_TEST(closing_within_a_commit)
{
	rig_open_many(r, 4);
	r->script = close_others;
	rig_text(r, 2, "x");
	RIG_UNTIL(r, r->hub.sessions.count == 1);
	RIG_EXPECT(r, "message:2=x close:1=4000 close:2=4000 close:3=4000");
	for (int i = 1; i <= 3; i++) {
		/* and no "left" before it: they had left everything by then */
		rig_expect_close(r, i, 4000);
		rig_expect_text(r, 4, "left");
	}
}
END_TEST

static enum handler_result query_twice(struct rig *rig, const struct hub_event *e, struct commit *c,
				       struct span *why_r)
{
	(void)why_r;
	if (e->kind == EVENT_MESSAGE) {
		const struct event_query q = {.kind = EVENT_QUERY_COUNT,
					      .id = ++rig->step * 10ull,
					      .room = SPAN("room")};
		commit_query(c, &q);
		commit_join(c, e->session->local, SPAN("room"));
		commit_query(c, &(struct event_query){.kind = EVENT_QUERY_CONNECTIONS,
						      .id = q.id + 1});
	} else if (e->kind == EVENT_REPLY && e->query.id % 10 == 0) {
		ck_assert(span_eq(e->query.room, SPAN("room")));
		/* the whole commit was applied before */
		ck_assert_ptr_nonnull(room_find(&rig->mount->rooms, e->query.room));
	}
	return HANDLER_DONE;
}

START_TEST(events_from_inside_wait)
{
	rig_open_many(r, 1);
	r->script = query_twice;
	rig_text(r, 1, "a");
	rig_text(r, 1, "b");
	RIG_UNTIL(r, strstr(r->said, "=21") != NULL);
	RIG_EXPECT(r, "message:1=a reply:0=10 reply:0=11 message:1=b reply:0=20 reply:0=21");
}
END_TEST

/* An event for a lane that has older ones waits behind them, though nothing is being handled. */
static enum handler_result submit_inside(struct rig *rig, const struct hub_event *e,
					 struct commit *c, struct span *why_r)
{
	(void)c;
	if (e->kind == EVENT_MESSAGE && e->message.bytes[0] == 'x') {
		struct hub_event timer = {.kind = EVENT_TIMER, .timer = {.name = "first", .id = 1}};
		struct hub_event another = {.kind = EVENT_TIMER,
					    .timer = {.name = "second", .id = 2}};
		ck_assert(delivery_submit(rig->mount, e->session, &timer));
		ck_assert(delivery_submit(rig->mount, rig->clients[2].session, &another));
		ck_assert(delivery_submit(rig->mount, e->session, &another));
		return failed(why_r, "fails");
	}
	return HANDLER_DONE;
}

START_TEST(an_error_passes_what_waits)
{
	rig_open_many(r, 2);
	r->script = submit_inside;
	rig_text(r, 1, "x");
	RIG_UNTIL(r, strstr(r->said, "timer:1=second") != NULL);
	RIG_EXPECT(r, "message:1=x error:1=fails timer:2=second timer:1=first timer:1=second");
}
END_TEST

static enum handler_result close_self_with_more(struct rig *rig, const struct hub_event *e,
						struct commit *c, struct span *why_r)
{
	(void)why_r;
	if (e->kind == EVENT_MESSAGE) {
		struct hub_event timer = {.kind = EVENT_TIMER, .timer = {.name = "late"}};
		delivery_submit(rig->mount, e->session, &timer);
		commit_close(c, e->session->local, 1000, (struct span){0});
		commit_send(c, e->session->local, false, "never", 5);
		commit_join(c, e->session->local, SPAN("room"));
	}
	return HANDLER_DONE;
}

START_TEST(close_is_behind_what_waits)
{
	rig_open_many(r, 1);
	r->script = close_self_with_more;
	rig_text(r, 1, "a");
	rig_text(r, 1, "b"); /* in the same read, but behind the close: ignored */
	rig_expect_close(r, 1, 1000);
	RIG_EXPECT(r, "message:1=a timer:1=late close:1=1000");
	ck_assert_uint_eq(r->loop->stats.gone, 2);
	ck_assert_uint_eq(r->loop->stats.rooms, 0);
	ck_assert_uint_eq(r->hub.sessions.count, 0);
}
END_TEST

/* --- ids of events ---------------------------------------------------------------------------- */

static uint64_t sequences[64];
static int n_sequences;

static enum handler_result note_sequence(struct rig *rig, const struct hub_event *e,
					 struct commit *c, struct span *why_r)
{
	(void)rig;
	(void)c;
	ck_assert_uint_eq(e->attempt, 1);
	if (e->session != NULL)
		sequences[n_sequences++] = e->sequence;
	return e->kind == EVENT_MESSAGE && e->message.bytes[0] == '!' ? failed(why_r, "no")
								      : HANDLER_DONE;
}

START_TEST(sequences_count_without_gaps)
{
	r->script = note_sequence;
	n_sequences = 0;
	rig_open(r, 1);
	rig_text(r, 1, "a");
	rig_text(r, 1, "!");
	rig_text(r, 1, "b");
	rig_close_frame(r, 1, 1000);
	rig_expect_close(r, 1, 1000);
	ck_assert_int_eq(n_sequences, 6);
	for (int i = 0; i < n_sequences; i++)
		ck_assert_uint_eq(sequences[i], (uint64_t)i + 1);
}
END_TEST

/* --- close ------------------------------------------------------------------------------------ */

static enum handler_result look_at_close(struct rig *rig, const struct hub_event *e,
					 struct commit *c, struct span *why_r)
{
	(void)why_r;
	uint64_t local = e->session != NULL ? e->session->local : 0;
	if (e->kind == EVENT_OPEN) {
		commit_join(c, local, SPAN("one"));
		commit_join(c, local, SPAN("two"));
	} else if (e->kind == EVENT_CLOSE) {
		ck_assert_uint_eq(room_count(e->close.rooms), 2);
		for (uint32_t i = 0; i < 2; i++)
			rig_say(rig, "/%s", room_name(e->close.rooms, i));
		rig_say(rig, "/%.*s", (int)e->close.reason.n, e->close.reason.p);
		/* It has left already, its id is known to nobody, and what names it is counted. */
		ck_assert_ptr_null(room_find(&rig->mount->rooms, SPAN("one")));
		ck_assert_ptr_null(hub_find_session(&rig->hub, rig->mount, local));
		ck_assert_uint_eq(rig->mount->n_sessions, 0);
		commit_send(c, local, false, "x", 1);
		commit_join(c, local, SPAN("one"));
		commit_broadcast(c, false, "x", 1, local);
	}
	return HANDLER_DONE;
}

START_TEST(close_tells_the_rooms_that_were_left)
{
	r->script = look_at_close;
	rig_open(r, 1);
	rig_frame(r, 1, FRAME_CLOSE, "\x0f\xa0so long", 9);
	rig_expect_close(r, 1, 4000);
	RIG_EXPECT(r, "upgrade:0 open:1 close:1=4000/one/two/so long");
	ck_assert_uint_eq(r->loop->stats.gone, 2);
	ck_assert_uint_eq(r->loop->stats.rooms, 0);
}
END_TEST

/* The peer's close frame is answered behind what its earlier messages caused. */
static enum handler_result echo(struct rig *rig, const struct hub_event *e, struct commit *c,
				struct span *why_r)
{
	(void)rig;
	(void)why_r;
	if (e->kind == EVENT_MESSAGE)
		commit_send(c, e->session->local, e->message.binary, e->message.bytes,
			    e->message.len);
	return HANDLER_DONE;
}

START_TEST(answers_come_before_the_close)
{
	rig_open_many(r, 1);
	r->script = echo;
	for (int i = 0; i < 100; i++)
		rig_text(r, 1, "echo me");
	rig_close_frame(r, 1, 1000);
	for (int i = 0; i < 100; i++)
		rig_expect_text(r, 1, "echo me");
	rig_expect_close(r, 1, 1000);
	rig_expect_end(r, 1);
}
END_TEST

/* Half closed: what its messages caused is still sent. */
START_TEST(answers_come_after_an_end_of_stream)
{
	rig_open_many(r, 1);
	r->script = echo;
	rig_text(r, 1, "echo me");
	shutdown(r->clients[1].fd, SHUT_WR);
	rig_expect_text(r, 1, "echo me");
	rig_expect_end(r, 1);
	RIG_EXPECT(r, "message:1=echo me close:1=1006");
}
END_TEST

/* The host stops at once: nobody is told, everything is given back (which the teardown looks at).
 */
START_TEST(dropped_without_a_word)
{
	r->script = look_at_close;
	rig_open_many(r, 5);
	hub_drop_sessions(&r->hub);
	RIG_EXPECT(r, "");
	ck_assert_uint_eq(r->hub.sessions.count, 0);
	ck_assert_uint_eq(r->loop->stats.memberships, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("delivery");
	TCase *tc = tcase_create("delivery");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, open_messages_close);
	tcase_add_loop_test(tc, every_kind_of_end, 0, 7);
	tcase_add_test(tc, a_reset);
	tcase_add_test(tc, a_failure_raises_error_next);
	tcase_add_test(tc, a_failure_in_error_is_only_counted);
	tcase_add_test(tc, a_failing_close_ends_all_the_same);
	tcase_add_test(tc, a_refused_command_fails_the_event);
	tcase_add_test(tc, a_failing_open_stays_open);
	tcase_add_test(tc, upgrades_refused);
	tcase_add_test(tc, unwanted_events);
	tcase_add_test(tc, closing_within_a_commit);
	tcase_add_test(tc, events_from_inside_wait);
	tcase_add_test(tc, an_error_passes_what_waits);
	tcase_add_test(tc, close_is_behind_what_waits);
	tcase_add_test(tc, sequences_count_without_gaps);
	tcase_add_test(tc, close_tells_the_rooms_that_were_left);
	tcase_add_test(tc, answers_come_before_the_close);
	tcase_add_test(tc, answers_come_after_an_end_of_stream);
	tcase_add_test(tc, dropped_without_a_word);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
