/* Limits of rooms. A commit is judged by how it would be in the end, and applied whole or not at
 * all. */
#include "rig.h"
#include "run.h"

#define ROOMS "a connection would be in more rooms than --max-rooms allows"
#define MOUNT "the mount would have more rooms than --max-mount-rooms allows"
#define NAME "a join named a room with a longer name than --max-room-name allows"

/* Commits of client 1, each a list of words: +2a joins client 2 to room a, -2a takes it out. Client
 * 9 is gone. */
static const struct {
	struct room_limits room_limits;
	const char *commits[6];
	const char *failures[6]; /* of each; NULL: it succeeds */
	unsigned memberships;
} rows[] = {
	{{.rooms = 2}, {"+1a +1b"}, {NULL}, 2},
	{{.rooms = 2}, {"+1a +1b +1c"}, {ROOMS}, 0},
	{{.rooms = 2}, {"+1a +1b", "+1c"}, {NULL, ROOMS}, 2},
	{{.rooms = 2}, {"+1a +1a +1a +1a"}, {NULL}, 1}, /* the same room is one */
	{{.rooms = 2}, {"+1a +1b", "+1b +1a +1b"}, {NULL, NULL}, 2},
	{{.rooms = 1},
	 {"+1a", "-1a +1b", "+1c -1b", "-1c +1c", "+1d -1d"},
	 {NULL, NULL, NULL, NULL, NULL},
	 1}, /* moving is allowed */
	{{.rooms = 1}, {"+1a", "+1b -1b +1b -1a", "-1x +1c"}, {NULL, NULL, ROOMS}, 1},
	/* each of them, and all or nothing */
	{{.rooms = 1}, {"+1a +2a +3a", "+1b +2b", "-1a +1b +2b"}, {NULL, ROOMS, ROOMS}, 3},
	{{.rooms = 1}, {"+1a +2b +3c +1a +2b +3c"}, {NULL}, 3},
	{{.rooms = 3},
	 {"+2a +1a +2b +1b +2c +1c", "-2a +2d +1c", "+2e +1c"},
	 {NULL, NULL, ROOMS},
	 6},
	{{.rooms = 1}, {"+9a +9b +9c", "+1a"}, {NULL, NULL}, 1}, /* who is gone is in no room */
	{{.mount_rooms = 2}, {"+1a +2a +3a +1b", "+2b +3b", "+1c"}, {NULL, NULL, MOUNT}, 6},
	{{.mount_rooms = 2}, {"+1a +1b +1c"}, {MOUNT}, 0},
	{{.mount_rooms = 2}, {"+1a +2a +1b +2b +3b +3a"}, {NULL}, 6},
	{{.mount_rooms = 1}, {"+1a", "-1a", "+1b"}, {NULL, NULL, NULL}, 1},
	{{.name = 3}, {"+1abc", "+1abcd", "-1abcd"}, {NULL, NAME, NULL}, 1},
	{{.rooms = 2, .mount_rooms = 3},
	 {"+1a +1b +2c", "+2d", "+2a +1c"},
	 {NULL, MOUNT, ROOMS},
	 3},
	{{.rooms = 0}, {"+1a +1b +1c +1d +1e"}, {NULL}, 5},
};

static struct rig *r;

static enum handler_result obey(struct rig *rig, const struct hub_event *e, struct commit *c,
				struct span *why_r)
{
	char text[200], *rest = text;
	(void)why_r;
	if (e->kind != EVENT_MESSAGE)
		return HANDLER_DONE;
	snprintf(text, sizeof text, "%.*s", (int)e->message.len, (const char *)e->message.bytes);
	for (char *word; (word = strsep(&rest, " ")) != NULL;) {
		uint64_t target = rig->clients[word[1] - '0'].local;
		if (word[0] == '+')
			commit_join(c, target, span_of(word + 2));
		else
			commit_leave(c, target, span_of(word + 2));
	}
	return HANDLER_DONE;
}

static void say(const char *words, const char *failure)
{
	char said[400];
	uint64_t before = r->loop->stats.messages_in;
	rig_text(r, 1, words);
	RIG_UNTIL(r, r->loop->stats.messages_in > before);
	rig_turn(r);
	snprintf(said, sizeof said, failure != NULL ? "message:1=%s error:1=%s" : "message:1=%s",
		 words, failure);
	RIG_EXPECT(r, said);
}

START_TEST(table)
{
	struct conn_limits limits = rig_limits();
	r = rig_new(&limits, 0);
	r->script = obey;
	r->hub.room_limits = rows[_i].room_limits;
	rig_open_many(r, 3);
	r->said[r->said_len = 0] = '\0';
	for (int i = 0; i < 6 && rows[_i].commits[i] != NULL; i++)
		say(rows[_i].commits[i], rows[_i].failures[i]);
	ck_assert_uint_eq(r->loop->stats.memberships, rows[_i].memberships);
	rig_free(r);
}
END_TEST

/* A reload may set the limit below what is there: who is above it stays where it is and can leave,
 * but not join. */
START_TEST(who_is_above_it_already)
{
	struct conn_limits limits = rig_limits();
	r = rig_new(&limits, 0);
	r->script = obey;
	rig_open_many(r, 1);
	r->said[r->said_len = 0] = '\0';
	say("+1a +1b +1c", NULL);
	r->hub.room_limits = (struct room_limits){.rooms = 1, .mount_rooms = 1};
	say("+1a", NULL);
	say("+1d", ROOMS);
	say("-1a +1a -1b", NULL);
	say("-1c +1d", MOUNT);
	ck_assert_uint_eq(r->loop->stats.memberships, 2);
	rig_free(r);
}
END_TEST

/* A push is judged like an event. */
START_TEST(pushes)
{
	struct conn_limits limits = rig_limits();
	r = rig_new(&limits, 0);
	r->hub.room_limits = (struct room_limits){.rooms = 1};
	rig_open_many(r, 1);
	commit_begin(&r->mount->commit, NULL);
	commit_join(&r->mount->commit, r->clients[1].local, SPAN("a"));
	ck_assert(delivery_commit(r->mount));
	commit_begin(&r->mount->commit, NULL);
	commit_join(&r->mount->commit, r->clients[1].local, SPAN("b"));
	commit_leave(&r->mount->commit, r->clients[1].local, SPAN("c"));
	ck_assert(!delivery_commit(r->mount));
	ck_assert_str_eq(commit_error_text(r->mount->commit.error), ROOMS);
	ck_assert_uint_eq(r->loop->stats.memberships, 1);
	rig_free(r);
}
END_TEST

/* Many joins of many connections cost no square of their number. */
START_TEST(a_large_commit)
{
	struct conn_limits limits = rig_limits();
	char room[16];
	r = rig_new(&limits, 0);
	r->hub.room_limits = (struct room_limits){.rooms = 5000, .mount_rooms = 6000};
	rig_open_many(r, 4);
	commit_begin(&r->mount->commit, NULL);
	for (int i = 0; i < 20000; i++) {
		snprintf(room, sizeof room, "%d", i / 4);
		ck_assert_int_eq(commit_join(&r->mount->commit, r->clients[1 + i % 4].local,
					     span_of(room)),
				 COMMIT_OK);
	}
	ck_assert(delivery_commit(r->mount));
	ck_assert_uint_eq(r->loop->stats.memberships, 20000);
	rig_free(r);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("quota");
	TCase *t = tcase_create("quota");
	tcase_add_loop_test(t, table, 0, sizeof rows / sizeof *rows);
	tcase_add_test(t, who_is_above_it_already);
	tcase_add_test(t, pushes);
	tcase_add_test(t, a_large_commit);
	suite_add_tcase(s, t);
	return run_suite(s);
}
