/* Which requests are known, for how long, and whose. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "ops/idempotency.h"
#include "run.h"

static struct idempotency all;
static const struct hash_key hash = {1, 2};

static void setup(void)
{
	idempotency_init(&all, &hash);
}

static void teardown(void)
{
	idempotency_free(&all);
}

static struct idempotency_request request_of(unsigned sender, unsigned key, const char *body)
{
	struct idempotency_request r;
	uint8_t id[IDEMPOTENCY_DIGEST] = {(uint8_t)sender, (uint8_t)(sender >> 8)};
	char text[24];
	snprintf(text, sizeof text, "%u", key);
	ck_assert(idempotency_request_make(&r, id, span_of(text), SPAN("POST"), SPAN("/a"),
					   span_of(body)));
	return r;
}

static void add(unsigned sender, unsigned key, uint64_t now, const char *answer)
{
	const struct idempotency_request r = request_of(sender, key, "body");
	bool same;
	ck_assert_ptr_null(idempotency_find(&all, &r, now, &same));
	struct idempotency_done *d = idempotency_begin(&all, &r, now);
	ck_assert_ptr_nonnull(d);
	idempotency_end(d, 200, span_of(answer));
}

/* NULL: it is not known; else what was answered. */
static const char *find(unsigned sender, unsigned key, uint64_t now)
{
	static char text[8192];
	const struct idempotency_request r = request_of(sender, key, "body");
	bool same;
	const struct idempotency_done *d = idempotency_find(&all, &r, now, &same);
	if (d == NULL)
		return NULL;
	struct span answer = idempotency_answer(d);
	ck_assert(same && d->status == 200);
	memcpy(text, answer.p, answer.n);
	text[answer.n] = '\0';
	return text;
}

START_TEST(answers)
{
	static char large[6000];
	memset(large, 'x', sizeof large - 1);
	ck_assert_ptr_null(find(1, 1, 5));
	add(1, 1, 5, "one");
	add(1, 2, 5, "");
	add(1, 3, 5, large);
	ck_assert_str_eq(find(1, 1, 5), "one");
	ck_assert_str_eq(find(1, 2, 5), "");
	ck_assert_str_eq(find(1, 3, 5), large);
	ck_assert_ptr_null(find(1, 4, 5));
	/* of others nothing is known */
	ck_assert_ptr_null(find(2, 1, 5));
	add(2, 1, 5, "other");
	ck_assert_str_eq(find(1, 1, 5), "one");
	ck_assert_str_eq(find(2, 1, 5), "other");
	const struct idempotency_request r = request_of(1, 1, "another body");
	bool same;
	ck_assert(idempotency_find(&all, &r, 5, &same) != NULL && !same);
	/* one that had no effect may be tried again */
	const struct idempotency_request again = request_of(1, 9, "body");
	struct idempotency_done *d = idempotency_begin(&all, &again, 5);
	idempotency_cancel(d);
	ck_assert_ptr_null(find(1, 9, 5));
}
END_TEST

/* Parts of a request can not be taken for each other. */
START_TEST(what_is_the_same)
{
	const uint8_t id[IDEMPOTENCY_DIGEST] = {0};
	struct idempotency_request a, b;
	ck_assert(
		idempotency_request_make(&a, id, SPAN("k"), SPAN("POST"), SPAN("/ab"), SPAN("c")));
	ck_assert(
		idempotency_request_make(&b, id, SPAN("k"), SPAN("POST"), SPAN("/a"), SPAN("bc")));
	ck_assert_mem_ne(a.request, b.request, sizeof a.request);
	ck_assert_mem_eq(a.key, b.key, sizeof a.key);
	ck_assert(
		idempotency_request_make(&b, id, SPAN("l"), SPAN("POST"), SPAN("/ab"), SPAN("c")));
	ck_assert_mem_eq(a.request, b.request, sizeof a.request);
	ck_assert_mem_ne(a.key, b.key, sizeof a.key);
}
END_TEST

START_TEST(time_passes)
{
	add(1, 1, 1000, "old");
	add(1, 2, 2000, "newer");
	add(2, 1, 2000, "another's");
	ck_assert_str_eq(find(1, 1, 1000 + IDEMPOTENCY_MS - 1), "old");
	ck_assert_ptr_null(find(1, 1, 1000 + IDEMPOTENCY_MS));
	ck_assert_str_eq(find(1, 2, 1000 + IDEMPOTENCY_MS), "newer");
	ck_assert_uint_eq(all.n_senders, 2);
	ck_assert_ptr_null(find(1, 2, 2000 + IDEMPOTENCY_MS));
	ck_assert_uint_eq(all.n_senders, 0);
	add(1, 1, 2000 + IDEMPOTENCY_MS, "again");
	ck_assert_str_eq(find(1, 1, 2000 + IDEMPOTENCY_MS), "again");
}
END_TEST

/* So many of each: who asks much loses his own oldest, and nobody else's. */
START_TEST(so_many)
{
	add(2, 1, 0, "another's");
	for (unsigned i = 0; i < IDEMPOTENCY_KEYS_MAX + 500; i++)
		add(1, i, 0, "");
	ck_assert_ptr_null(find(1, 499, 0));
	ck_assert_ptr_nonnull(find(1, 500, 0));
	ck_assert_ptr_nonnull(find(1, IDEMPOTENCY_KEYS_MAX + 499, 0));
	ck_assert_str_eq(find(2, 1, 0), "another's");
	for (unsigned i = 0; i < 2 * IDEMPOTENCY_SENDERS_MAX; i++)
		add(100 + i, 1, 1 + i, "");
	ck_assert_uint_eq(all.n_senders, IDEMPOTENCY_SENDERS_MAX);
	ck_assert_ptr_null(find(2, 1, 1000));
	ck_assert_ptr_nonnull(find(100 + 2 * IDEMPOTENCY_SENDERS_MAX - 1, 1, 1000));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("idempotency");
	TCase *tc = tcase_create("idempotency");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, answers);
	tcase_add_test(tc, what_is_the_same);
	tcase_add_test(tc, time_passes);
	tcase_add_test(tc, so_many);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
