/* What hosts of a cluster count and read. */
#include <check.h>
#include <stdlib.h>

#include "cluster/envelope.h"
#include "cluster/numbers.h"
#include "cluster/redis_url.h"
#include "cluster/resp.h"
#include "run.h"

/* --- numbers ----------------------------------------------------------------------------------- */

static uint64_t hear(struct numbers_heard *h, uint64_t host, uint64_t series, uint64_t number,
		     bool settled)
{
	const struct numbers_publisher at = {host, series, number, 1};
	uint64_t lost;
	return numbers_hear(h, &at, settled, &lost) ? lost : UINT64_MAX;
}

START_TEST(what_comes_twice_is_dropped_and_what_is_missing_is_known)
{
	struct numbers_heard h = {.n = 0};
	ck_assert_uint_eq(hear(&h, 7, 1, 5, false), 0); /* whoever comes later knows no more */
	ck_assert_uint_eq(hear(&h, 7, 1, 6, false), 0);
	ck_assert_uint_eq(hear(&h, 7, 1, 6, false), UINT64_MAX);
	ck_assert_uint_eq(hear(&h, 7, 1, 2, false), UINT64_MAX);
	ck_assert_uint_eq(hear(&h, 7, 1, 10, false), 3);
	ck_assert_uint_eq(hear(&h, 7, 2, 1, false), 0); /* a later series */
	ck_assert_uint_eq(hear(&h, 7, 1, 11, false), UINT64_MAX);
	ck_assert_uint_eq(hear(&h, 7, 3, 3, false), 2);
	ck_assert_uint_eq(hear(&h, 8, 1, 4, true), 3); /* it would have been heard of */
	numbers_heard_free(&h);
}
END_TEST

START_TEST(a_lost_tail_is_known_by_the_announcement)
{
	struct numbers_heard h = {.n = 0};
	const struct numbers_publisher five = {7, 1, 5, 1}, seven = {7, 1, 7, 1}, other = {8, 1, 2, 1};
	ck_assert_uint_eq(numbers_announced(&h, &five, false), 0);
	ck_assert_uint_eq(numbers_announced(&h, &seven, false), 2);
	ck_assert_uint_eq(numbers_announced(&h, &seven, false), 0);
	ck_assert_uint_eq(hear(&h, 7, 1, 7, false), UINT64_MAX);
	ck_assert_uint_eq(hear(&h, 7, 1, 8, false), 0);
	ck_assert_uint_eq(numbers_announced(&h, &other, true), 2);
	numbers_heard_free(&h);
}
END_TEST

START_TEST(publishers_of_a_channel_are_bounded)
{
	struct numbers_heard h = {.n = 0};
	for (uint64_t host = 1; host <= 3 * NUMBERS_HEARD_MAX; host++)
		hear(&h, host, 1, 1, false);
	ck_assert_uint_eq(h.n, NUMBERS_HEARD_MAX);
	numbers_forget(&h, NUMBERS_FORGET_MS + 2);
	ck_assert_uint_eq(h.n, 0);
}
END_TEST

START_TEST(counts_begin_anew_when_they_were_told_often)
{
	struct numbers n = {.series = 0};
	uint64_t series, number, first;
	const struct span channel = SPAN("c"), other = SPAN("d");
	ck_assert(numbers_next(&n, channel, &first, &number) && number == 1);
	ck_assert(numbers_next(&n, channel, &series, &number) && number == 2);
	ck_assert_uint_eq(series, first);
	for (unsigned i = 0; i < NUMBERS_TOLD_MAX; i++)
		numbers_sweep(&n);
	ck_assert(numbers_next(&n, other, &series, &number) && number == 1);
	ck_assert_ptr_nonnull(numbers_each(&n, numbers_each(&n, NULL)));
	numbers_sweep(&n);
	ck_assert_ptr_null(numbers_each(&n, numbers_each(&n, NULL)));
	ck_assert(numbers_next(&n, channel, &series, &number) && number == 1 && series > first);
	numbers_free(&n);
}
END_TEST

/* --- envelopes --------------------------------------------------------------------------------- */

START_TEST(an_envelope_comes_as_it_went)
{
	struct buffer bytes = {0};
	struct selection to, read;
	selection_init(&to);
	selection_add_name(&to.rooms, SPAN("a"));
	selection_add_name(&to.rooms, SPAN("b"));
	selection_add_name(&to.except_users, SPAN("u"));
	selection_add_except(&to, 17); /* of the publisher's, and nobody else's business */
	const struct envelope e = {.kind = ENVELOPE_CLOSE,
				   .host = 1,
				   .series = 2,
				   .number = 3,
				   .code = 4001,
				   .data = SPAN("over")};
	struct envelope got;
	envelope_add(&bytes, &e, &to);
	ck_assert(envelope_read(&got, (struct span){bytes.p, bytes.n}));
	envelope_selection(&got, &read);
	ck_assert(got.code == 4001 && span_eq(got.data, SPAN("over")) && got.number == 3);
	ck_assert(read.rooms.n == 2 && read.except_users.n == 1 && read.n_except == 0);
	for (size_t n = 0; n < bytes.n - 4; n++) /* the reason may be shorter */
		ck_assert(!envelope_read(&got, (struct span){bytes.p, n}));
	buffer_free(&bytes);
}
END_TEST

/* --- the server -------------------------------------------------------------------------------- */

static const struct {
	const char *text;
	const char *host, *path, *user;
	uint16_t port;
	uint32_t database;
} good_urls[] = {
	{"redis://localhost", "localhost", "", "", 6379, 0},
	{"redis://me@localhost:7000/3", "localhost", "", "me", 7000, 3},
	{"redis://[::1]:1/", "::1", "", "", 1, 0},
	{"redis://[::1]", "::1", "", "", 6379, 0},
	{"unix:///run/redis.sock", "", "/run/redis.sock", "", 0, 0},
	{"unix://me@/run/redis.sock?db=2", "", "/run/redis.sock", "me", 0, 2},
};

START_TEST(urls_are_read)
{
	struct redis_url url;
	char why[256];
	ck_assert_msg(redis_url_read(&url, good_urls[_i].text, why, sizeof why), "%s", why);
	ck_assert_str_eq(url.host, good_urls[_i].host);
	ck_assert_str_eq(url.path, good_urls[_i].path);
	ck_assert_str_eq(url.user, good_urls[_i].user);
	ck_assert_uint_eq(url.port, good_urls[_i].port);
	ck_assert_uint_eq(url.database, good_urls[_i].database);
}
END_TEST

static const char *const bad_urls[] = {
	"",	"localhost",	    "redis://",	       "redis://:6379",	     "redis://h:0",
	"redis://h:65536", "redis://h:x", "redis://h/x", "redis://h/99999",  "redis://a:b@h",
	"redis://@h", "redis://[::1",	    "redis://[::1]x",  "rediss://h",	     "unix://run",
	"unix://", "unix:///p?x=1", "unix:///p?db=",
};

START_TEST(urls_that_are_wrong_are_refused)
{
	struct redis_url url;
	char why[256] = "";
	ck_assert(!redis_url_read(&url, bad_urls[_i], why, sizeof why));
	ck_assert(why[0] != '\0');
}
END_TEST

START_TEST(a_server_that_says_rubbish_is_told_from_one_that_is_slow)
{
	static const char *const rubbish[] = {"hello\r\n", "*99999999999\r\n", "$-5\r\n",
					      "*70000\r\n", ":x\r\n"};
	struct resp *r = resp_new();
	struct resp_value *v;
	ck_assert(resp_feed(r, "*2\r\n$3\r\nab", 10) && resp_next(r, &v) && v == NULL);
	ck_assert(resp_feed(r, "c\r\n:7\r\n", 7) && resp_next(r, &v) && v != NULL);
	ck_assert(v->kind == RESP_LIST && v->n == 2 && v->items[1]->number == 7);
	ck_assert(span_eq(resp_text_at(v, 0), SPAN("abc")) && resp_text_at(v, 1).p == NULL);
	resp_value_free(v);
	resp_free(&r);
	for (size_t i = 0; i < sizeof rubbish / sizeof *rubbish; i++) {
		r = resp_new();
		ck_assert(resp_feed(r, rubbish[i], strlen(rubbish[i])));
		ck_assert_msg(!resp_next(r, &v), "%s", rubbish[i]);
		ck_assert(resp_why(r)[0] != '\0');
		resp_free(&r);
	}
}
END_TEST

START_TEST(a_reply_without_an_end_is_bounded)
{
	struct resp *r = resp_new();
	struct resp_value *v;
	static char much[65536];
	bool good = resp_feed(r, "$2000000000\r\n", 13);
	size_t n = 0;
	for (; good && n < 2 * (size_t)RESP_REPLY_MAX; n += sizeof much)
		good = resp_feed(r, much, sizeof much) && resp_next(r, &v);
	ck_assert(!good && n <= RESP_REPLY_MAX + sizeof much);
	resp_free(&r);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cluster");
	TCase *t = tcase_create("cluster");
	tcase_add_test(t, what_comes_twice_is_dropped_and_what_is_missing_is_known);
	tcase_add_test(t, a_lost_tail_is_known_by_the_announcement);
	tcase_add_test(t, publishers_of_a_channel_are_bounded);
	tcase_add_test(t, counts_begin_anew_when_they_were_told_often);
	tcase_add_test(t, an_envelope_comes_as_it_went);
	tcase_add_loop_test(t, urls_are_read, 0, sizeof good_urls / sizeof *good_urls);
	tcase_add_loop_test(t, urls_that_are_wrong_are_refused, 0, sizeof bad_urls / sizeof *bad_urls);
	tcase_add_test(t, a_server_that_says_rubbish_is_told_from_one_that_is_slow);
	tcase_add_test(t, a_reply_without_an_end_is_bounded);
	suite_add_tcase(s, t);
	return run_suite(s);
}
