/* Commits: every command's every check, and what a commit is after one of them failed. */
#include <check.h>
#include <stdlib.h>

#include "hub/commit.h"
#include "ws/frame.h"
#include "run.h"

static struct chunk_pool pool;
static struct commit c;

#define DATA_SIZE 64

static void setup(void)
{
	pool = (struct chunk_pool){.current = NULL};
	commit_init(&c, &pool, DATA_SIZE);
	commit_begin(&c, NULL);
}

static void teardown(void)
{
	commit_drop(&c);
	commit_free(&c);
	ck_assert(pool.current == NULL || pool.current->refs == 1);
	chunk_pool_free(&pool);
}

/* A command was refused: nothing was added, and the whole is spoiled by the first error. */
static void refused(enum commit_error got, enum commit_error expected)
{
	ck_assert_int_eq(got, expected);
	ck_assert_int_eq(c.error, expected);
	ck_assert_uint_eq(c.n, 0);
	ck_assert_uint_gt(strlen(commit_error_text(expected)), 0);
	commit_drop(&c);
	commit_begin(&c, NULL);
	ck_assert_int_eq(c.error, COMMIT_OK);
}

static void accepted(enum commit_error got)
{
	ck_assert_int_eq(got, COMMIT_OK);
	ck_assert_int_eq(c.error, COMMIT_OK);
	ck_assert_uint_eq(c.n, 1);
	commit_drop(&c);
	ck_assert_uint_eq(c.n, 0);
	commit_begin(&c, NULL);
}

static const struct span good = {"room", 4}, nothing = {"", 0}, nul = {"a\0b", 3},
			 broken = {"\xc3(", 2};

static struct span longer_than_a_room(size_t n)
{
	static char text[300];
	memset(text, 'r', sizeof text);
	return (struct span){text, n};
}

/* The very bytes that were checked when they came, and nothing that only begins, ends or looks like
 * them. */
START_TEST(text_that_is_checked_already)
{
	static const char bad[] = "caf\xc3\xa9 \xff", copy[] = "caf\xc3\xa9 \xff";
	const size_t len = sizeof bad - 1;
	c.checked = (struct span){bad, len};
	accepted(commit_send(&c, 1, false, bad, len));
	refused(commit_send(&c, 1, false, bad, len), COMMIT_E_UTF8); /* it was another event's */
	c.checked = (struct span){bad, len};
	refused(commit_send(&c, 1, false, copy, len), COMMIT_E_UTF8);
	c.checked = (struct span){bad, len};
	refused(commit_broadcast(&c, false, bad, 4, 0), COMMIT_E_UTF8);
	c.checked = (struct span){bad, len};
	refused(commit_broadcast_to(&c, good, false, bad + 1, len - 1, 0), COMMIT_E_UTF8);
	c.checked = (struct span){bad, len};
	accepted(commit_broadcast_to(&c, good, false, bad, len, 0));
}
END_TEST

START_TEST(room_names)
{
	const struct span bad[] = {nothing, nul, broken, longer_than_a_room(256)};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		const struct event_query count = {.kind = EVENT_QUERY_COUNT, .room = bad[i]};
		const struct event_query members = {.kind = EVENT_QUERY_MEMBERS, .room = bad[i]};
		refused(commit_join(&c, 1, bad[i]), COMMIT_E_ROOM);
		refused(commit_leave(&c, 1, bad[i]), COMMIT_E_ROOM);
		refused(commit_broadcast_to(&c, bad[i], false, "x", 1, 0), COMMIT_E_ROOM);
		refused(commit_query(&c, &count), COMMIT_E_ROOM);
		refused(commit_query(&c, &members), COMMIT_E_ROOM);
		refused(commit_cancel(&c, false, 0, bad[i]), COMMIT_E_ARG);
	}
	accepted(commit_join(&c, 1, longer_than_a_room(255)));
	accepted(commit_leave(&c, 0, good));
	accepted(commit_broadcast_to(&c, good, true, "x", 1, 0));
	accepted(commit_cancel(&c, true, 1, good));
}
END_TEST

START_TEST(text_must_be_utf8)
{
	refused(commit_send(&c, 1, false, "\xff", 1), COMMIT_E_UTF8);
	refused(commit_send(&c, 1, false, "cut \xe2\x82", 6), COMMIT_E_UTF8);
	refused(commit_broadcast(&c, false, "\xff", 1, 0), COMMIT_E_UTF8);
	refused(commit_broadcast_to(&c, good, false, "\xff", 1, 0), COMMIT_E_UTF8);
	refused(commit_close(&c, 1, 1000, broken), COMMIT_E_UTF8);
	accepted(commit_send(&c, 1, true, "\xff", 1));
	accepted(commit_broadcast(&c, true, "\xff", 1, 0));
	accepted(commit_broadcast_to(&c, good, true, "\xff", 1, 0));
	accepted(commit_send(&c, 1, false, "a\0\xe2\x82\xac", 5));
	accepted(commit_send(&c, 1, false, "", 0));
	accepted(commit_send(&c, 1, true, NULL, 0));
}
END_TEST

START_TEST(close_codes)
{
	for (unsigned code = 0; code < 65536; code++) {
		bool ok = code == 0 || (frame_close_code_ok(code) && code != 1002);
		enum commit_error got = commit_close(&c, 1, (uint16_t)code, nothing);
		if ((got == COMMIT_OK) != ok)
			ck_abort_msg("code %u gave %d", code, got);
		commit_drop(&c);
		commit_begin(&c, NULL);
	}
	refused(commit_close(&c, 1, 1005, nothing), COMMIT_E_ARG);
	refused(commit_close(&c, 1, 1006, nothing), COMMIT_E_ARG);
	refused(commit_close(&c, 1, 1002, nothing), COMMIT_E_ARG);
	refused(commit_close(&c, 1, 999, nothing), COMMIT_E_ARG);
	refused(commit_close(&c, 1, 5000, nothing), COMMIT_E_ARG);
	refused(commit_close(&c, 1, 0, good), COMMIT_E_ARG); /* a reason needs a code */
	refused(commit_close(&c, 1, 1000, longer_than_a_room(124)), COMMIT_E_ARG);
	accepted(commit_close(&c, 1, 1000, longer_than_a_room(123)));
	accepted(commit_close(&c, 1, 4999, good));
}
END_TEST

START_TEST(keys)
{
	static const struct hash_key hash = {1, 2};
	struct span long_key = longer_than_a_room(256), longest = longer_than_a_room(255);
	ck_assert_int_eq(commit_key(&c, nothing), COMMIT_OK); /* none is none, wherever */
	refused(commit_key(&c, good), COMMIT_E_ARG);
	commit_join(&c, 1, good);
	ck_assert_int_eq(commit_key(&c, good), COMMIT_E_ARG);
	commit_drop(&c);
	commit_begin(&c, NULL);
	for (int known = 0; known < 2; known++) {
		c.hash = known ? &hash : NULL;
		commit_send(&c, 1, false, "a", 1);
		ck_assert_uint_eq(c.commands[0].key, 0);
		accepted(commit_key(&c, longest));
		commit_broadcast(&c, true, "a", 1, 0);
		ck_assert_int_eq(commit_key(&c, long_key), COMMIT_E_LIMIT);
		ck_assert_int_eq(c.error, COMMIT_E_LIMIT);
		commit_drop(&c);
		commit_begin(&c, NULL);
		commit_broadcast_to(&c, good, false, "a", 1, 0);
		ck_assert_int_eq(commit_key(&c, broken), COMMIT_E_UTF8);
		ck_assert_int_eq(commit_key(&c, good), COMMIT_E_UTF8); /* spoiled is spoiled */
		commit_drop(&c);
		commit_begin(&c, NULL);
	}
	commit_send(&c, 1, false, "a", 1);
	commit_key(&c, good);
	commit_broadcast(&c, false, "b", 1, 0);
	commit_broadcast(&c, false, "b", 1, 0);
	commit_key(&c, good);
	ck_assert_uint_ne(c.commands[0].key, 0);
	ck_assert_uint_eq(c.commands[1].key, 0);
	ck_assert_uint_eq(c.commands[2].key, c.commands[0].key);
}
END_TEST

START_TEST(data)
{
	char bytes[DATA_SIZE + 1] = {0};
	refused(commit_set(&c, 1, bytes, DATA_SIZE + 1), COMMIT_E_LIMIT);
	accepted(commit_set(&c, 1, bytes, DATA_SIZE));
	accepted(commit_set(&c, 1, NULL, 0));
	ck_assert(!c.judged);
	refused(commit_set_if(&c, 1, "a", 1, bytes, DATA_SIZE + 1), COMMIT_E_LIMIT);
	refused(commit_set_if(&c, 1, bytes, DATA_SIZE + 1, "a", 1), COMMIT_E_LIMIT);
	commit_begin(&c, NULL);
	ck_assert_int_eq(commit_set_if(&c, 1, "new", 3, bytes, DATA_SIZE), COMMIT_OK);
	ck_assert(c.judged && c.commands[c.n - 1].code == 1 &&
		  c.commands[c.n - 1].expected.len == DATA_SIZE);
	ck_assert(span_eq(commit_text(&c, &c.commands[c.n - 1]), SPAN("new")));
}
END_TEST

START_TEST(timers)
{
	const uint64_t most = 400ull * 24 * 3600 * 1000;
	const struct event_timer no_name = {.name = ""}, bad_name = {.name = "\xff"},
				 late = {.name = "t", .delay_ms = most + 1},
				 rare = {.name = "t", .period_ms = most + 1},
				 fine = {.name = "t",
					 .delay_ms = most,
					 .period_ms = most,
					 .id = UINT64_MAX};
	refused(commit_timer(&c, true, 1, &no_name), COMMIT_E_ARG);
	refused(commit_timer(&c, true, 1, &bad_name), COMMIT_E_ARG);
	refused(commit_timer(&c, false, 0, &late), COMMIT_E_ARG);
	refused(commit_timer(&c, false, 0, &rare), COMMIT_E_ARG);
	accepted(commit_timer(&c, false, 0, &fine));
}
END_TEST

START_TEST(queries)
{
	for (uint32_t kind = 0; kind < 10; kind++) {
		const struct event_query q = {.kind = kind, .id = 5, .room = good};
		if (kind >= EVENT_QUERY_COUNT && kind <= EVENT_QUERY_ROOM_STATE)
			accepted(commit_query(&c, &q));
		else
			refused(commit_query(&c, &q), COMMIT_E_ARG);
	}
	/* Only those that ask about a room look at it. */
	const struct event_query rooms = {.kind = EVENT_QUERY_ROOMS, .room = broken},
				 all = {.kind = EVENT_QUERY_CONNECTIONS, .room = nothing};
	accepted(commit_query(&c, &rooms));
	accepted(commit_query(&c, &all));
}
END_TEST

/* What was written is a whole frame with the shortest length. */
START_TEST(frames)
{
	static const size_t sizes[] = {0, 1, 125, 126, 65535, 65536, 200000};
	uint8_t *bytes = malloc(200000);
	for (size_t i = 0; i < 200000; i++)
		bytes[i] = (uint8_t)(i * 31 % 128);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		for (int binary = 0; binary < 2; binary++)
			ck_assert_int_eq(commit_send(&c, 1, binary, bytes, sizes[i]), COMMIT_OK);
	}
	for (size_t i = 0; i < c.n; i++) {
		const struct slice *s = &c.commands[i].frame;
		size_t len = sizes[i / 2], head = len < 126 ? 2 : len < 65536 ? 4 : 10;
		ck_assert_uint_eq(s->len, head + len);
		ck_assert_uint_eq(slice_bytes(s)[0],
				  0x80 | (i % 2 == 1 ? FRAME_BINARY : FRAME_TEXT));
		ck_assert_uint_eq(frame_size(slice_bytes(s), s->len), s->len);
		ck_assert_int_eq(memcmp(slice_bytes(s) + head, bytes, len), 0);
	}
	free(bytes);
}
END_TEST

/* Later commands are still checked and do not hide the first error. */
START_TEST(the_first_error_stays)
{
	ck_assert_int_eq(commit_send(&c, 1, false, "ok", 2), COMMIT_OK);
	ck_assert_int_eq(commit_join(&c, 1, nothing), COMMIT_E_ROOM);
	commit_send(&c, 1, false, "\xff", 1);
	commit_send(&c, 1, false, "ok", 2);
	ck_assert_int_eq(c.error, COMMIT_E_ROOM);
	ck_assert_int_eq(commit_spoil(&c, COMMIT_E_ARG), COMMIT_E_ARG);
	ck_assert_int_eq(c.error, COMMIT_E_ROOM);
	commit_drop(&c);
	commit_begin(&c, NULL);
	ck_assert_int_eq(c.error, COMMIT_OK);
	ck_assert_int_eq(c.bytes, 0);
}
END_TEST

START_TEST(bytes_are_bounded)
{
	static uint8_t block[1 << 20];
	size_t most = COMMIT_BYTES_MAX / sizeof block;
	/* refused before it is looked at */
	refused(commit_send(&c, 1, true, block, (size_t)COMMIT_BYTES_MAX + 1), COMMIT_E_LIMIT);
	for (size_t i = 0; i < most; i++)
		ck_assert_int_eq(commit_broadcast(&c, true, block, sizeof block, 0), COMMIT_OK);
	ck_assert_int_eq(commit_send(&c, 1, true, block, 1), COMMIT_E_LIMIT);
	ck_assert_uint_eq(c.n, most);
}
END_TEST

START_TEST(commands_are_bounded)
{
	uint32_t n = 0;
	while (commit_leave(&c, 1, good) == COMMIT_OK)
		n++;
	ck_assert_int_eq(c.error, COMMIT_E_LIMIT);
	ck_assert_uint_eq(n, COMMIT_COMMANDS_MAX);
	commit_drop(&c);
	ck_assert_ptr_null(c.commands); /* a rare large one gives its memory back */
	ck_assert_ptr_null(c.arena);
	ck_assert_uint_eq(c.cap, 0);
}
END_TEST

START_TEST(memory_is_kept)
{
	for (int i = 0; i < 50; i++)
		commit_join(&c, 1, good);
	const struct command *commands = c.commands;
	const uint8_t *arena = c.arena;
	commit_drop(&c);
	commit_begin(&c, NULL);
	for (int i = 0; i < 50; i++)
		commit_join(&c, 1, good);
	ck_assert_ptr_eq(c.commands, commands);
	ck_assert_ptr_eq(c.arena, arena);
}
END_TEST

START_TEST(every_field_is_kept)
{
	const struct event_timer t = {.name = "tick", .id = 7, .delay_ms = 8, .period_ms = 9};
	const struct event_query q = {.kind = EVENT_QUERY_MEMBERS, .id = 10, .room = good};
	commit_close(&c, 11, 4000, good);
	commit_broadcast_to(&c, good, false, "x", 1, 12);
	commit_broadcast(&c, false, "x", 1, 13);
	commit_timer(&c, true, 14, &t);
	commit_query(&c, &q);
	commit_set(&c, 15, "data", 4);
	ck_assert_uint_eq(c.n, 6);
	ck_assert_uint_eq(c.commands[0].target, 11);
	ck_assert_uint_eq(c.commands[0].code, 4000);
	ck_assert_uint_eq(c.commands[1].exclude, 12);
	ck_assert_uint_eq(c.commands[2].exclude, 13);
	ck_assert_uint_eq(c.commands[3].timer.id, 7);
	ck_assert_uint_eq(c.commands[3].timer.delay_ms, 8);
	ck_assert_uint_eq(c.commands[3].timer.period_ms, 9);
	ck_assert_uint_eq(c.commands[3].code, true);
	ck_assert_uint_eq(c.commands[4].query.id, 10);
	ck_assert_uint_eq(c.commands[4].query.kind, EVENT_QUERY_MEMBERS);
	static const char *const texts[] = {"room", "room", "", "tick", "room", "data"};
	for (int i = 0; i < 6; i++)
		ck_assert(span_eq(commit_text(&c, &c.commands[i]), span_of(texts[i])));
}
END_TEST

START_TEST(every_error_has_its_sentence)
{
	ck_assert_str_eq(commit_error_text(COMMIT_OK), "");
	for (int e = COMMIT_OK + 1; e <= COMMIT_E_AWAY; e++)
		for (int other = COMMIT_OK; other < e; other++)
			ck_assert_str_ne(commit_error_text(e), commit_error_text(other));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("commit");
	TCase *tc = tcase_create("commit");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, text_that_is_checked_already);
	tcase_add_test(tc, room_names);
	tcase_add_test(tc, text_must_be_utf8);
	tcase_add_test(tc, close_codes);
	tcase_add_test(tc, data);
	tcase_add_test(tc, keys);
	tcase_add_test(tc, timers);
	tcase_add_test(tc, queries);
	tcase_add_test(tc, frames);
	tcase_add_test(tc, the_first_error_stays);
	tcase_add_test(tc, every_error_has_its_sentence);
	tcase_add_test(tc, bytes_are_bounded);
	tcase_add_test(tc, commands_are_bounded);
	tcase_add_test(tc, memory_is_kept);
	tcase_add_test(tc, every_field_is_kept);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
