/* Watched rooms: of whom a handler is told, and when. */
#include "hub/watch.h"
#include "hub/watching.h"
#include "run.h"
#include "rig.h"

#define LONG_MS 3600000 /* longer than any test */

static struct rig *r;

static void setup(void)
{
	const struct conn_limits limits = rig_limits();
	r = rig_new(&limits, 0);
}

static void setup_async(void)
{
	const struct conn_limits limits = rig_limits();
	r = rig_new_async(&limits, 1 << 20);
	r->at_once = true;
}

static void teardown(void)
{
	rig_free(r);
}

/* --- commands --------------------------------------------------------------------------------- */

/* Each of these begins the commit that `commit` ends. */
static bool begun;

static struct commit *now(void)
{
	if (!begun)
		commit_begin(&r->mount->commit, NULL);
	begun = true;
	return &r->mount->commit;
}

static void commit(void)
{
	now();
	begun = false;
	ck_assert(delivery_commit(r->mount));
	rig_turn(r);
	/* what a turn had no time for, on a machine that is busy */
	if (r->at_once)
		RIG_UNTIL(r, r->loop->stats.watch_waiting == 0);
}

static void user(int client, const char *name)
{
	commit_info(now(), r->clients[client].local, (struct span){NULL, 0}, span_of(name));
}

static void join(int client, const char *room)
{
	commit_join(now(), r->clients[client].local, span_of(room));
}

static void leave(int client, const char *room)
{
	commit_leave(now(), r->clients[client].local, span_of(room));
}

static void watch(const char *room, unsigned grace_ms)
{
	commit_watch(now(), span_of(room), grace_ms);
}

/* So many connections, those from 1 on of these users; "" is nobody. */
static void open_as(int n, const char *const *names)
{
	rig_open_many(r, n);
	for (int i = 0; i < n; i++)
		if (names[i][0] != '\0')
			user(i + 1, names[i]);
	commit();
}

/* The socket breaks, and nobody has said anything. */
static void lose(int client)
{
	close(r->clients[client].fd);
	r->clients[client].fd = -1;
	RIG_UNTIL(r, r->clients[client].session == NULL);
	rig_turn(r);
}

static uint32_t counted(const char *room, uint32_t *listed_r)
{
	const struct room_users *users = watching_users(r->mount, span_of(room));
	*listed_r = users->n;
	return room_users_count(users);
}

/* --- who is told of --------------------------------------------------------------------------- */

START_TEST(each_user_once)
{
	open_as(4, (const char *const[]){"ann", "ann", "bob", ""});
	watch("r", LONG_MS);
	commit();
	RIG_EXPECT(r, "");
	join(1, "r");
	join(2, "r");
	commit();
	RIG_EXPECT(r, "join:0=r,ann,1");
	join(3, "r");
	join(4, "r");
	join(3, "other");
	commit();
	RIG_EXPECT(r, "join:0=r,bob,2 join:0=r,,3");
	leave(1, "r");
	commit();
	RIG_EXPECT(r, "");
	leave(4, "r");
	leave(2, "r");
	commit();
	RIG_EXPECT(r, "leave:0=r,,2 leave:0=r,ann,1");
	ck_assert_uint_eq(r->loop->stats.watches, 1);
	ck_assert_uint_eq(r->loop->stats.watch_waiting, 0);
}
END_TEST

START_TEST(who_is_there_already)
{
	open_as(3, (const char *const[]){"ann", "ann", "bob"});
	join(1, "r");
	join(2, "r");
	join(3, "r");
	commit();
	watch("r", LONG_MS);
	commit();
	RIG_EXPECT(r, "join:0=r,ann,1 join:0=r,bob,2");
	watch("r", LONG_MS);
	commit();
	RIG_EXPECT(r, "");
}
END_TEST

/* The order of the commands in a commit is that of what they do. */
START_TEST(comes_and_goes_in_one_commit)
{
	open_as(2, (const char *const[]){"ann", "bob"});
	watch("r", LONG_MS);
	join(1, "r");
	leave(1, "r");
	join(2, "r");
	commit();
	RIG_EXPECT(r, "join:0=r,bob,1");
	leave(2, "r");
	join(2, "r");
	commit();
	RIG_EXPECT(r, "");
}
END_TEST

/* Whoever is nobody goes when somebody is known to be him. */
START_TEST(becomes_somebody)
{
	open_as(2, (const char *const[]){"", "ann"});
	watch("r", LONG_MS);
	join(1, "r");
	commit();
	RIG_EXPECT(r, "join:0=r,,1");
	user(1, "ann");
	commit();
	RIG_EXPECT(r, "join:0=r,ann,2 leave:0=r,,1");
	join(2, "r");
	user(2, "bob");
	commit();
	RIG_EXPECT(r, "join:0=r,bob,2");
	user(1, "");
	commit();
	RIG_EXPECT(r, "join:0=r,,3 leave:0=r,ann,2");
	user(2, "bob");
	commit();
	RIG_EXPECT(r, "");
}
END_TEST

START_TEST(not_any_more)
{
	open_as(2, (const char *const[]){"ann", "bob"});
	watch("r", LONG_MS);
	join(1, "r");
	commit();
	RIG_EXPECT(r, "join:0=r,ann,1");
	join(2, "r");
	ck_assert_int_eq(commit_unwatch(now(), SPAN("r"), false), COMMIT_OK);
	commit();
	RIG_EXPECT(r, "");
	leave(1, "r");
	commit();
	RIG_EXPECT(r, "");
	ck_assert_uint_eq(r->loop->stats.watches, 0);
	uint64_t unknown = r->loop->stats.unknown_rooms;
	commit_unwatch(now(), SPAN("r"), false);
	commit();
	ck_assert_uint_eq(r->loop->stats.unknown_rooms, unknown + 1);
	watch("r", LONG_MS);
	commit();
	RIG_EXPECT(r, "join:0=r,bob,1");
}
END_TEST

static enum handler_result end_with_the_last(struct rig *rig, const struct hub_event *e,
					     struct commit *c, struct span *why_r)
{
	(void)rig;
	(void)why_r;
	if (e->kind == EVENT_LEAVE && e->presence->users == 0)
		commit_unwatch(c, SPAN("r"), true);
	return HANDLER_DONE;
}

/* Whoever has come while the last was told of keeps the watch. */
START_TEST(ends_with_the_last)
{
	open_as(2, (const char *const[]){"ann", "bob"});
	r->script = end_with_the_last;
	watch("r", LONG_MS);
	join(1, "r");
	commit();
	leave(1, "r");
	join(2, "r");
	commit();
	RIG_EXPECT(r, "join:0=r,ann,1 leave:0=r,ann,0 join:0=r,bob,1");
	leave(2, "r");
	commit();
	RIG_EXPECT(r, "leave:0=r,bob,0");
	ck_assert_uint_eq(r->loop->stats.watches, 0);
}
END_TEST

static enum handler_result always_fail(struct rig *rig, const struct hub_event *e,
				       struct commit *c, struct span *why_r)
{
	(void)rig;
	if (e->kind == EVENT_MESSAGE)
		commit_watch(c, SPAN("r"), LONG_MS);
	if (e->kind == EVENT_MESSAGE)
		commit_join(c, e->session->local, SPAN("s"));
	*why_r = SPAN("no");
	return HANDLER_FAILED;
}

/* What an event does that fails is not done; and who has come is told of once, even so. */
START_TEST(failed)
{
	open_as(1, (const char *const[]){"ann"});
	watch("s", LONG_MS);
	commit();
	r->script = always_fail;
	rig_text(r, 1, "x");
	RIG_UNTIL(r, strstr(r->said, "error") != NULL);
	rig_turn(r);
	RIG_EXPECT(r, "message:1=x error:1=no");
	join(1, "r");
	join(1, "s");
	commit();
	RIG_EXPECT(r, "join:0=s,ann,1");
	rig_turn(r);
	RIG_EXPECT(r, "");
}
END_TEST

/* --- when ------------------------------------------------------------------------------------- */

START_TEST(lost_and_back)
{
	uint32_t listed;
	open_as(3, (const char *const[]){"ann", "ann", ""});
	watch("r", LONG_MS);
	join(1, "r");
	join(3, "r");
	commit();
	RIG_EXPECT(r, "join:0=r,ann,1 join:0=r,,2");
	lose(1);
	RIG_EXPECT(r, "close:1=1006");
	ck_assert_uint_eq(counted("r", &listed), 1); /* for conditions he is not there */
	ck_assert_uint_eq(listed, 1);
	lose(3); /* who would know him again? and the room has gone */
	RIG_EXPECT(r, "close:3=1006 leave:0=r,,1");
	ck_assert_uint_eq(r->loop->stats.rooms, 0);
	ck_assert_uint_eq(counted("r", &listed), 0);
	ck_assert_uint_eq(listed, 1);
	join(2, "r");
	commit();
	RIG_EXPECT(r, "");
	ck_assert_uint_eq(counted("r", &listed), 1);
	ck_assert_uint_eq(listed, 1);
	leave(2, "r");
	commit();
	RIG_EXPECT(r, "leave:0=r,ann,0");
	ck_assert_uint_eq(counted("r", &listed), 0);
	ck_assert_uint_eq(listed, 0);
}
END_TEST

START_TEST(lost_for_good)
{
	open_as(2, (const char *const[]){"ann", "bob"});
	watch("r", 20);
	join(1, "r");
	join(2, "r");
	commit();
	RIG_EXPECT(r, "join:0=r,ann,1 join:0=r,bob,2");
	lose(1);
	RIG_UNTIL(r, strstr(r->said, "leave") != NULL);
	RIG_EXPECT(r, "close:1=1006 leave:0=r,ann,1");
	watch("r", 0);
	commit();
	lose(2);
	RIG_EXPECT(r, "close:2=1006 leave:0=r,bob,0");
}
END_TEST

/* Those who are lost go in the order of their times, whatever grace there was. */
START_TEST(another_grace)
{
	open_as(3, (const char *const[]){"ann", "bob", "cy"});
	watch("r", LONG_MS);
	for (int i = 1; i <= 3; i++)
		join(i, "r");
	commit();
	lose(1);
	watch("r", 5);
	commit();
	lose(2);
	lose(3);
	r->said[r->said_len = 0] = '\0';
	RIG_UNTIL(r, strstr(r->said, "cy") != NULL);
	RIG_EXPECT(r, "leave:0=r,bob,2 leave:0=r,cy,1");
}
END_TEST

/* Who is made to go is not waited for. */
START_TEST(made_to_go)
{
	static const char *const names[] = {"ann", "bob", "cy", "dan"};
	struct selection of;
	open_as(4, names);
	watch("r", LONG_MS);
	for (int i = 1; i <= 4; i++)
		join(i, "r");
	commit();
	r->said[r->said_len = 0] = '\0';
	commit_leave_all(now(), r->clients[1].local);
	commit();
	RIG_EXPECT(r, "leave:0=r,ann,3");
	commit_close(now(), r->clients[2].local, 4000, (struct span){0});
	commit();
	RIG_EXPECT(r, "close:2=4000 leave:0=r,bob,2");
	selection_init(&of);
	selection_add_name(&of.rooms, SPAN("r"));
	commit_close_room(now(), &of, 4001, (struct span){0});
	commit();
	RIG_EXPECT(r, "close:4=4001 close:3=4001 leave:0=r,dan,1 leave:0=r,cy,0");
}
END_TEST

/* --- handlers that settle later --------------------------------------------------------------- */

/* One is told at a time; what changes meanwhile, and changes back, needs not be told. */
START_TEST(while_nobody_listens)
{
	open_as(4, (const char *const[]){"ann", "bob", "cy", "ann"});
	r->at_once = false;
	watch("r", 0);
	join(1, "r");
	join(2, "r");
	commit();
	ck_assert_uint_eq(r->loop->stats.watch_waiting, 1);
	for (int i = 0; i < 100; i++) {
		join(3, "r");
		commit();
		leave(3, "r");
		leave(1, "r");
		commit();
		join(4, "r");
		commit();
		leave(4, "r");
		join(1, "r");
		commit();
	}
	ck_assert_uint_eq(r->loop->stats.watch_waiting, 1);
	leave(1, "r");
	commit();
	ck_assert_uint_eq(r->loop->stats.watch_waiting, 2);
	RIG_EXPECT(r, "");
	rig_settle(r);
	RIG_EXPECT(r, "join:0=r,ann,1");
	ck_assert_ptr_null(TAILQ_FIRST(&r->given));
	rig_turn(r);
	rig_settle(r);
	RIG_EXPECT(r, "join:0=r,bob,2");
	rig_turn(r);
	rig_settle(r);
	RIG_EXPECT(r, "leave:0=r,ann,1");
	rig_turn(r);
	ck_assert_ptr_null(TAILQ_FIRST(&r->given));
	ck_assert_uint_eq(r->loop->stats.watch_waiting, 0);
}
END_TEST

static enum handler_result count(struct rig *rig, const struct hub_event *e, struct commit *c,
				 struct span *why_r)
{
	(void)c;
	(void)why_r;
	rig->step += e->kind == EVENT_JOIN;
	rig->said[rig->said_len = 0] = '\0';
	return HANDLER_DONE;
}

/* Nothing that a handler is told of is lost, and nothing told that it does not ask for. */
START_TEST(not_asked_for)
{
	open_as(2, (const char *const[]){"ann", "bob"});
	r->script = count;
	r->handler.wants &= ~EVENT_BIT(EVENT_JOIN);
	watch("r", 0);
	join(1, "r");
	commit();
	ck_assert_int_eq(r->step, 0);
	ck_assert_uint_eq(r->loop->stats.watch_waiting, 0);
	r->handler.wants |= EVENT_BIT(EVENT_JOIN);
	join(2, "r");
	commit();
	ck_assert_int_eq(r->step, 1);
}
END_TEST

/* --- bounds ----------------------------------------------------------------------------------- */

START_TEST(too_many)
{
	char name[16];
	for (int i = 0; i < WATCHES_MAX; i++) {
		snprintf(name, sizeof name, "%d", i);
		watch(name, 0);
	}
	commit();
	ck_assert_uint_eq(r->loop->stats.watches, WATCHES_MAX);
	watch("7", 5); /* which is watched */
	commit();
	watch("one more", 0);
	ck_assert(!delivery_commit(r->mount));
	begun = false;
	ck_assert_int_eq(r->mount->commit.error, COMMIT_E_WATCHES);
	ck_assert_int_eq(commit_watch(now(), SPAN("x"), RULES_GRACE_MAX_MS + 1), COMMIT_E_GRACE);
	ck_assert(!delivery_commit(r->mount));
	ck_assert_int_eq(commit_watch((begun = false, now()), SPAN(""), 0), COMMIT_E_ROOM);
	ck_assert(!delivery_commit(r->mount));
	begun = false;
}
END_TEST

/* Thousands are told of in turns, between which others have theirs. */
static enum handler_result slowly(struct rig *rig, const struct hub_event *e, struct commit *c,
				  struct span *why_r)
{
	double until = rig_seconds() + 0.001;
	count(rig, e, c, why_r);
	while (e->kind == EVENT_JOIN && rig_seconds() < until)
		;
	return HANDLER_DONE;
}

START_TEST(in_turns)
{
	static const char *const nobody[RIG_CLIENTS] = {[0 ... RIG_CLIENTS - 1] = ""};
	open_as(RIG_CLIENTS, nobody);
	r->script = slowly;
	for (int i = 1; i <= RIG_CLIENTS; i++)
		join(i, "r");
	watch("r", 0);
	commit();
	ck_assert_int_lt(r->step, RIG_CLIENTS);
	RIG_UNTIL(r, r->step == RIG_CLIENTS);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("watch");
	TCase *t = tcase_create("at once"), *async = tcase_create("later");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, each_user_once);
	tcase_add_test(t, who_is_there_already);
	tcase_add_test(t, comes_and_goes_in_one_commit);
	tcase_add_test(t, becomes_somebody);
	tcase_add_test(t, not_any_more);
	tcase_add_test(t, ends_with_the_last);
	tcase_add_test(t, failed);
	tcase_add_test(t, lost_and_back);
	tcase_add_test(t, lost_for_good);
	tcase_add_test(t, another_grace);
	tcase_add_test(t, made_to_go);
	tcase_add_test(t, not_asked_for);
	tcase_add_test(t, too_many);
	tcase_add_test(t, in_turns);
	suite_add_tcase(s, t);
	tcase_add_checked_fixture(async, setup_async, teardown);
	tcase_set_timeout(async, 120);
	tcase_add_test(async, while_nobody_listens);
	tcase_add_test(async, each_user_once);
	tcase_add_test(async, made_to_go);
	suite_add_tcase(s, async);
	return run_suite(s);
}
