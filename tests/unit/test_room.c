/* Rooms: the table beside a naive model, and both sides of every membership. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <valgrind/valgrind.h>

#include "hub/room.h"
#include "hub/session.h"
#include "run.h"
#include "hub/session_conn.h"

#define ROOMS 300
#define SESSIONS 60

static struct stats stats;
static struct room_table table;
static struct session *sessions[SESSIONS];
static struct conns loop_conns; /* of this loop */
static struct conn conns[SESSIONS];
static bool model[SESSIONS][ROOMS];

static void setup(void)
{
	stats = (struct stats){0};
	table = (struct room_table){.key = {1, 2}, .stats = &stats};
	memset(model, 0, sizeof model);
	for (int i = 0; i < SESSIONS; i++) {
		sessions[i] = calloc(1, sizeof *sessions[i]);
		sessions[i]->magic = CHECK_SESSION;
		conns[i] = (struct conn){.conns = &loop_conns};
		session_attach(sessions[i], &conns[i]);
	}
}

static void teardown(void)
{
	for (int i = 0; i < SESSIONS; i++) {
		room_leave_all(&table, sessions[i]);
		room_forget_all(sessions[i]);
		free(sessions[i]);
	}
	ck_assert_uint_eq(table.table.n, 0);
	ck_assert_uint_eq(stats.rooms, 0);
	ck_assert_uint_eq(stats.memberships, 0);
	room_table_free(&table);
}

static struct span name_of(int room)
{
	static char text[32];
	snprintf(text, sizeof text, "room-%d", room);
	return span_of(text);
}

static enum room_joined join(int session, int room)
{
	return room_join(&table, name_of(room), sessions[session]);
}

static bool leave(int session, int room)
{
	return room_leave(&table, name_of(room), sessions[session]);
}

/* Every room can be found or is not there, and the arrays of both sides point at each other. */
static void check_all(void)
{
	uint32_t rooms = 0, memberships = 0, wrong = 0;
	for (int k = 0; k < ROOMS; k++) {
		const struct room *r = room_find(&table, name_of(k));
		uint32_t n = 0;
		for (int i = 0; i < SESSIONS; i++)
			n += model[i][k];
		rooms += n > 0;
		memberships += n;
		ck_assert_msg((r != NULL) == (n > 0), "room %d with %u members is %s", k, n,
			      r != NULL ? "there" : "not there");
		if (r == NULL)
			continue;
		ck_assert_str_eq(r->name, name_of(k).p);
		ck_assert_uint_eq(r->n, n);
		ck_assert_uint_le(r->n, r->here.cap);
		ck_assert_uint_eq(r->refs, 1);
		for (uint32_t m = 0; m < r->n; m++) {
			const struct room_list *own =
				session_of(r->here.members[m].conn)->rooms.list;
			wrong += r->here.members[m].slot >= own->n ||
				 own->v[r->here.members[m].slot].room != r ||
				 own->v[r->here.members[m].slot].slot != m;
		}
	}
	for (int i = 0; i < SESSIONS; i++) {
		const struct room_list *own = sessions[i]->rooms.list;
		uint32_t n = 0;
		for (int k = 0; k < ROOMS; k++)
			n += model[i][k];
		ck_assert_uint_eq(room_count(&sessions[i]->rooms), n);
		for (uint32_t m = 0; m < n; m++)
			wrong += own->v[m].room->here.members[own->v[m].slot].conn != &conns[i] ||
				 !model[i][atoi(own->v[m].room->name + 5)];
	}
	ck_assert_uint_eq(wrong, 0);
	ck_assert_uint_eq(table.table.n, rooms);
	ck_assert_uint_eq(stats.rooms, rooms);
	ck_assert_uint_eq(stats.memberships, memberships);
}

/* --- tests ------------------------------------------------------------------------------------ */

START_TEST(twice_is_once)
{
	ck_assert_int_eq(join(0, 7), ROOM_JOINED);
	ck_assert_int_eq(join(0, 7), ROOM_ALREADY);
	ck_assert_uint_eq(room_count(&sessions[0]->rooms), 1);
	ck_assert_uint_eq(stats.memberships, 1);
	ck_assert(leave(0, 7));
	ck_assert(!leave(0, 7));
	ck_assert(!leave(1, 7));
	ck_assert_ptr_null(room_find(&table, name_of(7)));
	ck_assert_uint_eq(stats.rooms, 0);
}
END_TEST

START_TEST(a_leave_that_was_not_in)
{
	ck_assert(!leave(0, 1));
	join(0, 1);
	ck_assert(!leave(1, 1));
	join(1, 2);
	ck_assert(!leave(1, 1)); /* looked for on either side */
	for (int i = 2; i < 10; i++)
		join(i, 1);
	ck_assert(!leave(1, 1));
	ck_assert_uint_eq(room_find(&table, name_of(1))->n, 9);
}
END_TEST

/* Names that differ only in length, or behind a common start. */
START_TEST(names_are_compared_whole)
{
	struct session *s = sessions[0];
	ck_assert_int_eq(room_join(&table, SPAN("a"), s), ROOM_JOINED);
	ck_assert_int_eq(room_join(&table, SPAN("ab"), s), ROOM_JOINED);
	ck_assert_int_eq(room_join(&table, SPAN("A"), s), ROOM_JOINED);
	ck_assert_ptr_ne(room_find(&table, SPAN("a")), room_find(&table, SPAN("ab")));
	ck_assert_ptr_null(room_find(&table, SPAN("abc")));
	ck_assert_uint_eq(stats.rooms, 3);
}
END_TEST

/* The names of what was left can be read until they are forgotten, also of rooms that are gone or
 * made anew meanwhile. */
START_TEST(left_rooms_keep_their_names)
{
	for (int k = 0; k < 20; k++)
		join(0, k);
	for (int k = 0; k < 10; k++)
		join(1, k);
	room_leave_all(&table, sessions[0]);
	ck_assert_uint_eq(stats.rooms, 10);
	ck_assert_uint_eq(stats.memberships, 10);
	for (int k = 10; k < 20; k++)
		ck_assert_ptr_null(room_find(&table, name_of(k)));
	join(2, 15);
	room_leave_all(&table, sessions[1]);
	ck_assert_uint_eq(room_count(&sessions[0]->rooms), 20);
	for (int k = 0; k < 20; k++) {
		ck_assert_str_eq(sessions[0]->rooms.list->v[k].room->name, name_of(k).p);
		ck_assert_ptr_ne(sessions[0]->rooms.list->v[k].room,
				 room_find(&table, name_of(15)));
	}
	room_forget_all(sessions[0]);
	room_forget_all(sessions[1]);
	ck_assert_uint_eq(room_count(&sessions[0]->rooms), 0);
	ck_assert_uint_eq(room_find(&table, name_of(15))->n, 1);
}
END_TEST

/* The members of a room that empties give their memory back, and the rest stay who they were. */
START_TEST(a_room_shrinks)
{
	enum { N = 5000 };
	struct session **many = calloc(N, sizeof *many);
	struct conn *their_conns = calloc(N, sizeof *their_conns);
	for (int i = 0; i < N; i++) {
		many[i] = calloc(1, sizeof **many);
		many[i]->magic = CHECK_SESSION;
		their_conns[i] = (struct conn){.conns = &loop_conns};
		session_attach(many[i], &their_conns[i]);
		ck_assert_int_eq(room_join(&table, SPAN("big"), many[i]), ROOM_JOINED);
	}
	const struct room *r = room_find(&table, SPAN("big"));
	uint32_t most = r->here.cap;
	ck_assert_uint_ge(most, N);
	for (int i = 0; i < N - 3; i++) {
		room_leave(&table, SPAN("big"), many[i]);
		ck_assert_uint_le(r->n, r->here.cap);
	}
	ck_assert_uint_lt(r->here.cap, most / 64);
	for (int i = N - 3; i < N; i++)
		ck_assert(room_leave(&table, SPAN("big"), many[i]));
	for (int i = 0; i < N; i++) {
		room_forget_all(many[i]);
		free(many[i]);
	}
	free(many);
	free(their_conns);
}
END_TEST

/* What a leave of everything touches: the session's own rooms. That is counted in what it changes,
 * not in time. */
START_TEST(leaving_all_touches_nobody_else)
{
	for (int k = 0; k < ROOMS; k++)
		join(k % 2, k);
	for (int k = 0; k < 5; k++)
		join(2, 2 * k);
	struct room_membership *before = malloc(room_count(&sessions[1]->rooms) * sizeof *before);
	memcpy(before, sessions[1]->rooms.list->v,
	       room_count(&sessions[1]->rooms) * sizeof *before);
	room_leave_all(&table, sessions[2]);
	room_forget_all(sessions[2]);
	for (uint32_t k = 0; k < room_count(&sessions[1]->rooms);
	     k++) /* not as memory, which has gaps */
		ck_assert(before[k].room == sessions[1]->rooms.list->v[k].room &&
			  before[k].slot == sessions[1]->rooms.list->v[k].slot);
	ck_assert_uint_eq(stats.rooms, ROOMS);
	ck_assert_uint_eq(stats.memberships, ROOMS);
	free(before);
}
END_TEST

START_TEST(random_against_a_model)
{
	unsigned seed = (unsigned)_i * 7907 + 11;
	/* Few rooms in a small table collide most; many make it grow. */
	int n_rooms = _i % 2 == 0 ? 11 : ROOMS;
	printf("room: seed %u, %d rooms\n", seed, n_rooms);
	for (int step = 0; step < (RUNNING_ON_VALGRIND ? 3000 : 30000); step++) {
		int i = rand_r(&seed) % SESSIONS, k = rand_r(&seed) % n_rooms;
		unsigned dice = (unsigned)rand_r(&seed) % 1000;
		/* Phases of growth and of decline. */
		if (dice < (step / 1000 % 2 == 0 ? 700u : 300u)) {
			enum room_joined expected = model[i][k] ? ROOM_ALREADY : ROOM_JOINED;
			if (join(i, k) != expected)
				ck_abort_msg("step %d: join of %d to %d", step, i, k);
			model[i][k] = true;
		} else if (dice < 990) {
			if (leave(i, k) != model[i][k])
				ck_abort_msg("step %d: leave of %d from %d", step, i, k);
			model[i][k] = false;
		} else {
			room_leave_all(&table, sessions[i]);
			room_forget_all(sessions[i]);
			memset(model[i], 0, sizeof model[i]);
		}
		if (step % 1000 == 0)
			check_all();
	}
	check_all();
}
END_TEST

static unsigned visits[ROOMS];

static void visit(void *ctx, const struct room *r)
{
	unsigned *n = ctx;
	visits[atoi(r->name + strlen("room-"))]++;
	(*n)++;
}

/* While rooms come, so that the table grows several times, and go: those that stay are seen once,
 * others once at most. */
START_TEST(a_walk_while_others_change_it)
{
	unsigned seed = (unsigned)_i + 1, n = 0;
	uint32_t place = 0;
	int others = 20, steps = 0;
	memset(visits, 0, sizeof visits);
	for (int k = 0; k < 20; k++)
		join(0, k);
	uint32_t cap = table.table.cap;
	do {
		place = room_table_scan(&table, place, visit, &n);
		steps++;
		for (int k = 0; k < 3 * (_i + 1) && others < ROOMS && steps % (_i + 1) == 0; k++)
			join(1, others++);
		if (others > 20)
			leave(1, 20 + rand_r(&seed) % (others - 20));
	} while (place != 0);
	for (int k = 0; k < ROOMS; k++)
		ck_assert_uint_le(visits[k], 1);
	for (int k = 0; k < 20; k++)
		ck_assert_uint_eq(visits[k], 1);
	ck_assert_uint_gt(table.table.cap, cap);
	ck_assert_uint_ge(n, 20);
}
END_TEST

START_TEST(a_walk_of_nothing)
{
	unsigned n = 0;
	ck_assert_uint_eq(room_table_scan(&table, 0, visit, &n), 0);
	ck_assert_uint_eq(room_table_scan(&table, 7, visit, &n), 0);
	join(0, 0);
	uint32_t place = 1u << 31; /* of a larger table */
	do
		place = room_table_scan(&table, place, visit, &n);
	while (place != 0);
	ck_assert_uint_le(n, 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("room");
	TCase *tc = tcase_create("room");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, twice_is_once);
	tcase_add_test(tc, a_leave_that_was_not_in);
	tcase_add_test(tc, names_are_compared_whole);
	tcase_add_test(tc, left_rooms_keep_their_names);
	tcase_add_test(tc, a_room_shrinks);
	tcase_add_test(tc, leaving_all_touches_nobody_else);
	tcase_add_loop_test(tc, random_against_a_model, 0, 6);
	tcase_add_loop_test(tc, a_walk_while_others_change_it, 0, 4);
	tcase_add_test(tc, a_walk_of_nothing);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
