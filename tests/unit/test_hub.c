/* The hub: what commands do to whom, who is excluded, who is a victim and when that one ends. */
#include "rig.h"
#include "run.h"

static struct rig *r;

static void setup(void)
{
	struct conn_limits limits = rig_limits();
	limits.queue_max = 64 << 10;
	r = rig_new(&limits, 8);
}

static void teardown(void)
{
	rig_free(r);
}

/* --- a handler that does what the message says ------------------------------------------------ */

/* Words of one letter and a number: j2 joins client 2 to the room, l2 leaves, b2 broadcasts but not
 * to 2, r2 the same to the room, s2 sends to 2, c2 closes 2, d2 sets the data of 2, t2 a timer
 * of 2. 99 is nobody, no number is none. */
static void do_word(struct rig *rig, struct commit *c, char word, int n)
{
	uint64_t target = n == 99 ? UINT64_MAX : n > 0 ? rig->clients[n].local : 0;
	const struct event_timer timer = {.name = "t", .id = (uint64_t)n};
	switch (word) {
	case 'j':
		commit_join(c, target, SPAN("room"));
		break;
	case 'l':
		commit_leave(c, target, SPAN("room"));
		break;
	case 'b':
		commit_broadcast(c, false, "all", 3, target);
		break;
	case 'r':
		commit_broadcast_to(c, SPAN("room"), false, "room", 4, target);
		break;
	case 's':
		commit_send(c, target, false, "you", 3);
		break;
	case 'c':
		commit_close(c, target, 4000, SPAN("end"));
		break;
	case 'd':
		commit_set(c, target, "data", 4);
		break;
	case 't':
		commit_timer(c, true, target, &timer);
		break;
	default:
		ck_abort_msg("no word %c", word);
	}
}

static enum handler_result obey(struct rig *rig, const struct hub_event *e, struct commit *c,
				struct span *why_r)
{
	(void)why_r;
	if (e->kind != EVENT_MESSAGE)
		return HANDLER_DONE;
	const char *p = (const char *)e->message.bytes, *end = p + e->message.len;
	while (p < end) {
		char word = *p++;
		int n = 0;
		while (p < end && *p >= '0' && *p <= '9')
			n = n * 10 + *p++ - '0';
		do_word(rig, c, word, n);
		p += p < end && *p == ' ';
	}
	return HANDLER_DONE;
}

/* Client 1 says the words; they have been done when this returns. */
static void words(const char *text)
{
	r->script = obey;
	uint64_t before = r->loop->stats.messages_in;
	rig_text(r, 1, text);
	RIG_UNTIL(r, r->loop->stats.messages_in > before);
	rig_turn(r);
}

/* --- tests ------------------------------------------------------------------------------------ */

START_TEST(excluded)
{
	rig_open_many(r, 4);
	words("b b2 b99");
	for (int i = 1; i <= 4; i++) {
		rig_expect_text(r, i, "all");
		if (i != 2)
			rig_expect_text(r, i, "all");
		rig_expect_text(r, i, "all"); /* nobody has that id, nobody is excluded */
		rig_expect_silence(r, i);
	}
	ck_assert_uint_eq(r->loop->stats.messages_out, 11);
}
END_TEST

START_TEST(only_members)
{
	rig_open_many(r, 4);
	words("j2 j3 j3 r r3 l2 r");
	rig_expect_text(r, 2, "room");
	rig_expect_text(r, 2, "room");
	rig_expect_text(r, 3, "room");
	rig_expect_text(r, 3, "room");
	for (int i = 1; i <= 4; i++)
		rig_expect_silence(r, i);
	ck_assert_uint_eq(r->loop->stats.memberships, 1);
	words("l3 r l3");
	ck_assert_uint_eq(r->loop->stats.unknown_rooms, 2);
	ck_assert_uint_eq(r->loop->stats.rooms, 0);
	rig_expect_silence(r, 3);
}
END_TEST

START_TEST(those_that_are_gone)
{
	rig_open_many(r, 3);
	words("c2");
	rig_expect_close(r, 2, 4000);
	words("s2 j2 l2 c2 d2 t2 s0");
	ck_assert_uint_eq(r->loop->stats.gone, 7);
	ck_assert_uint_eq(r->loop->stats.rooms, 0);
	ck_assert_ptr_null(r->mount->timers);
	words("b2 r2"); /* an excluded one that is gone excludes nobody */
	rig_expect_text(r, 1, "all");
	rig_expect_text(r, 3, "all");
}
END_TEST

START_TEST(sessions_of_another_mount)
{
	struct mount *other = mount_new(&r->hub, "/other");
	ck_assert_ptr_nonnull(other);
	rig_open_many(r, 1);
	ck_assert_ptr_eq(hub_find_session(&r->hub, r->mount, r->clients[1].local),
			 r->clients[1].session);
	ck_assert_ptr_null(hub_find_session(&r->hub, other, r->clients[1].local));
	ck_assert_ptr_null(hub_find_session(&r->hub, r->mount, r->clients[1].local + 1));
	ck_assert_ptr_null(hub_find_session(&r->hub, r->mount, 0));
	mount_free(&other);
}
END_TEST

START_TEST(commands_of_one_commit_are_in_order)
{
	rig_open_many(r, 2);
	words("s2 j2 r b s2 l2 r c2 s2 b");
	static const char *const expected[] = {"you", "room", "all", "you"};
	for (int i = 0; i < 4; i++)
		rig_expect_text(r, 2, expected[i]);
	rig_expect_close(r, 2, 4000);
	rig_expect_text(r, 1, "all");
	rig_expect_text(r, 1, "all");
	ck_assert_uint_eq(r->loop->stats.gone, 1);
}
END_TEST

START_TEST(data_is_replaced_whole)
{
	rig_open_many(r, 2);
	struct session *s = r->clients[2].session;
	memset(s->data, 'x', 8);
	words("d2");
	ck_assert_mem_eq(s->data, "data\0\0\0\0", 8);
}
END_TEST

/* One after the other, all in the order of the mount, in every member's queue. */
START_TEST(one_order_for_all)
{
	enum { N = 20 };
	rig_open_many(r, N);
	r->script = obey;
	for (int i = 1; i <= N; i++)
		rig_text(r, i, i % 2 == 0 ? "b r" : "r b");
	words("b");
	char first[4096], other[4096];
	size_t n = 0;
	RIG_UNTIL(r, r->loop->stats.messages_in == N + 1);
	n = (size_t)recv(r->clients[1].fd, first, sizeof first, 0);
	for (int i = 2; i <= N; i++) {
		ck_assert_int_eq(recv(r->clients[i].fd, other, sizeof other, 0), (ssize_t)n);
		ck_assert_mem_eq(first, other, n);
	}
}
END_TEST

START_TEST(paths)
{
	static const struct {
		const char *mount, *path;
		bool matches;
	} cases[] = {
		{"/", "/", true},	  {"/", "/a/b", true},	 {"/a", "/a", true},
		{"/a", "/a/", true},	  {"/a", "/a/b", true},	 {"/a", "/ab", false},
		{"/a", "/", false},	  {"/a/b", "/a", false}, {"/a/b", "/a/b/c", true},
		{"/a/b", "/a/bc", false},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct mount *m = mount_new(&r->hub, cases[i].mount);
		ck_assert_msg(mount_matches(m, span_of(cases[i].path)) == cases[i].matches, "%s %s",
			      cases[i].mount, cases[i].path);
		mount_free(&m);
	}
	static const char *const mounts[] = {"/a", "/a/b/c", "/a/b"};
	for (size_t i = 0; i < 3; i++) {
		struct mount *m = mount_new(&r->hub, mounts[i]);
		m->handler = &r->handler;
		hub_add_mount(&r->hub, m);
	}
	ck_assert_str_eq(mount_find(&r->hub, SPAN("/a/b/c/d"))->path, "/a/b/c");
	ck_assert_str_eq(mount_find(&r->hub, SPAN("/a/b/x"))->path, "/a/b");
	ck_assert_str_eq(mount_find(&r->hub, SPAN("/a/bb"))->path, "/a");
	ck_assert_str_eq(mount_find(&r->hub, SPAN("/b"))->path, "/");
}
END_TEST

/* --- those that read too slowly --------------------------------------------------------------- */

static char *large(size_t n)
{
	static char *block;
	if (block == NULL)
		block = malloc(4 << 20);
	memset(block, 'x', n);
	return block;
}

/* Broadcasts 100 KiB in pieces as one commit, to all but itself; and looks at itself in the middle
 * of the walk. */
static enum handler_result pour(struct rig *rig, const struct hub_event *e, struct commit *c,
				struct span *why_r)
{
	(void)why_r;
	if (e->kind == EVENT_MESSAGE) {
		commit_join(c, rig->clients[2].local, SPAN("room"));
		for (int i = 0; i < 100; i++)
			commit_broadcast(c, true, large(1024), 1024, e->session->local);
		/* The victim still counts as there in the rest of the commit. */
		commit_join(c, rig->clients[2].local, SPAN("another"));
		commit_send(c, e->session->local, false, "done", 4);
	} else if (e->kind == EVENT_CLOSE) {
		rig_say(rig, "/%u", room_count(e->close.rooms));
	}
	return HANDLER_DONE;
}

START_TEST(victims_end_after_the_commit)
{
	const int small = 4096;
	rig_open_many(r, 4);
	r->script = pour;
	setsockopt(session_conn(r->clients[2].session)->fd, SOL_SOCKET, SO_SNDBUF, &small,
		   sizeof small);
	setsockopt(session_conn(r->clients[3].session)->fd, SOL_SOCKET, SO_SNDBUF, &small,
		   sizeof small);
	/* All of the first is let in, as it came before the socket was found full, and of the
	 * second, which does not count either; the third does, and the fourth is too much. */
	for (int pours = 1; pours <= 4; pours++) {
		ck_assert_ptr_null(strstr(r->said, "close"));
		rig_text(r, 1, "pour");
		rig_expect_text(r, 1, "done");
		for (int i = 0; i < 100; i++) { /* the one that reads gets everything */
			uint8_t first;
			size_t n;
			free(rig_next(r, 4, &first, &n));
			ck_assert_uint_eq(n, 1024);
		}
	}
	RIG_UNTIL(r, strstr(r->said, "close:3") != NULL && strstr(r->said, "close:2") != NULL);
	/* both rooms: it ended after the last command */
	ck_assert_ptr_nonnull(strstr(r->said, "close:2=1013/2"));
	ck_assert_ptr_nonnull(strstr(r->said, "close:3=1013/0"));
	ck_assert_uint_eq(r->loop->stats.slow_ended, 2);
	ck_assert_uint_gt(r->loop->stats.dropped, 0);
	ck_assert_uint_eq(r->loop->stats.rooms, 0);
	/* They are told why as soon as they read. */
	for (int i = 2; i <= 3; i++) {
		uint8_t first = 0;
		size_t n;
		unsigned code = 0;
		while (first != (0x80 | FRAME_CLOSE)) {
			char *p = rig_next(r, i, &first, &n);
			code = (unsigned)(uint8_t)p[0] << 8 | (uint8_t)p[1];
			free(p);
		}
		ck_assert_uint_eq(code, 1013);
	}
}
END_TEST

/* An empty queue takes any one message. */
static enum handler_result one_large(struct rig *rig, const struct hub_event *e, struct commit *c,
				     struct span *why_r)
{
	(void)why_r;
	if (e->kind == EVENT_MESSAGE)
		commit_send(c, rig->clients[2].local, true, large(4 << 20), 4 << 20);
	return HANDLER_DONE;
}

START_TEST(an_empty_queue_takes_any_message)
{
	uint8_t first;
	size_t n;
	rig_open_many(r, 2);
	r->script = one_large;
	rig_text(r, 1, "x");
	char *p = rig_next(r, 2, &first, &n);
	ck_assert_uint_eq(n, 4 << 20);
	free(p);
	ck_assert_uint_eq(r->loop->stats.slow_ended, 0);
	rig_expect_silence(r, 2);
}
END_TEST

/* What answers its own messages does not make a client a victim: it is not read any more, and goes
 * on when it reads. */
static enum handler_result echo_large(struct rig *rig, const struct hub_event *e, struct commit *c,
				      struct span *why_r)
{
	(void)rig;
	(void)why_r;
	if (e->kind == EVENT_MESSAGE)
		commit_send(c, e->session->local, true, large(10000), 10000);
	return HANDLER_DONE;
}

START_TEST(its_own_answers_stop_its_reading)
{
	enum { N = 200 };
	const int small = 4096;
	rig_open_many(r, 1);
	r->script = echo_large;
	struct conn *c = session_conn(r->clients[1].session);
	setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
	for (int i = 0; i < N; i++)
		rig_text(r, 1, "x");
	for (int i = 0; i < 20; i++)
		rig_turn(r);
	ck_assert_uint_lt(r->loop->stats.messages_in, N);
	ck_assert_uint_le(c->out.bytes, (64 << 10) + 10004);
	ck_assert_uint_ne(c->paused, 0);
	for (int i = 0; i < N; i++) {
		uint8_t first;
		size_t n;
		free(rig_next(r, 1, &first, &n));
		ck_assert_uint_eq(n, 10000);
	}
	ck_assert_uint_eq(r->loop->stats.messages_in, N);
	ck_assert_uint_eq(r->loop->stats.slow_ended, 0);
	ck_assert_uint_eq(c->paused, 0);
}
END_TEST

/* Timers of a connection are no answers to it: who does not read can not be fed for ever by them.
 */
static enum handler_result feed(struct rig *rig, const struct hub_event *e, struct commit *c,
				struct span *why_r)
{
	(void)rig;
	(void)why_r;
	const struct event_timer timer = {.name = "feed", .delay_ms = 0, .period_ms = 1};
	if (e->kind == EVENT_OPEN)
		commit_timer(c, true, e->session->local, &timer);
	else if (e->kind == EVENT_TIMER)
		commit_send(c, e->session->local, true, large(16000), 16000);
	return HANDLER_DONE;
}

START_TEST(its_timers_do_not_feed_it_for_ever)
{
	const int small = 4096;
	r->script = feed;
	rig_open(r, 1);
	struct conn *c = session_conn(r->clients[1].session);
	setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
	uint32_t most = 0;
	RIG_UNTIL(r, (most = c->out.bytes > most ? c->out.bytes : most) > (4 << 20) ||
			     r->loop->stats.slow_ended == 1);
	ck_assert_uint_le(most, (64 << 10) + 16004);
	ck_assert_uint_eq(r->loop->stats.slow_ended, 1);
}
END_TEST

/* An id is typed in a shell, where a `-` in front would make it an option. */
START_TEST(ids_begin_with_a_letter)
{
	for (int i = 0; i < 200; i++) {
		struct hub hub;
		char text[SESSION_ID_TEXT];
		ck_assert(hub_init(&hub, r->loop));
		session_id_text((struct session_id){.host = hub.host_id, .local = 1}, text);
		ck_assert_msg((text[0] | 0x20) >= 'a' && (text[0] | 0x20) <= 'z', "%s", text);
		hub_free(&hub);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("hub");
	TCase *tc = tcase_create("hub");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, ids_begin_with_a_letter);
	tcase_add_test(tc, excluded);
	tcase_add_test(tc, only_members);
	tcase_add_test(tc, those_that_are_gone);
	tcase_add_test(tc, sessions_of_another_mount);
	tcase_add_test(tc, commands_of_one_commit_are_in_order);
	tcase_add_test(tc, data_is_replaced_whole);
	tcase_add_test(tc, one_order_for_all);
	tcase_add_test(tc, paths);
	tcase_add_test(tc, victims_end_after_the_commit);
	tcase_add_test(tc, an_empty_queue_takes_any_message);
	tcase_add_test(tc, its_own_answers_stop_its_reading);
	tcase_add_test(tc, its_timers_do_not_feed_it_for_ever);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
