/* The backlog against a list that does the same slowly: what is given up and what stays, in which order, and how much memory. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <valgrind/valgrind.h>

#include "net/backlog.h"
#include "ws/frame.h"
#include "run.h"

/* --- no memory ------------------------------------------------------------------------------------------------------------- */

static int memory_left = -1; /* allocations; below 0: any number */

void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_malloc(size_t n)
{
	if (memory_left == 0)
		return NULL;
	memory_left -= memory_left > 0;
	return __real_malloc(n);
}

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
	if (memory_left == 0)
		return NULL;
	memory_left -= memory_left > 0;
	return __real_calloc(n, size);
}

/* --- frames and a model ---------------------------------------------------------------------------------------------------- */

#define MODEL_MAX 200000

struct message {
	uint32_t number, len;
	uint64_t note;
};

static struct chunk_pool pool;
static struct backlog_account account;
static struct backlog *b;
static struct message *model;
static uint32_t n_model, number;
static bool begun, conflating;

static void setup(void)
{
	pool = (struct chunk_pool){.current = NULL};
	account = (struct backlog_account){.held = 0};
	b = backlog_new(&account);
	ck_assert_ptr_nonnull(b);
	model = malloc(MODEL_MAX * sizeof *model);
	n_model = number = 0;
	begun = conflating = false;
	memory_left = -1;
}

static void teardown(void)
{
	backlog_free(b);
	b = NULL;
	chunk_pool_free(&pool);
	ck_assert_uint_eq(account.held, 0);
	free(model);
}

/* A binary frame of that payload whose bytes depend on its number. */
static struct slice frame(uint32_t which, size_t len, uint64_t note)
{
	uint8_t head[FRAME_SERVER_HEAD_MAX];
	size_t n = frame_head(head, FRAME_BINARY, len);
	struct slice s;
	ck_assert(chunk_alloc(&pool, n + len, &s));
	memcpy(slice_bytes(&s), head, n);
	memset(slice_bytes(&s) + n, (int)(which * 7 + 1), len);
	if (note != 0)
		ck_assert(chunk_note(&s, note));
	return s;
}

static void model_remove(uint32_t i)
{
	memmove(&model[i], &model[i + 1], (--n_model - i) * sizeof *model);
}

static bool has_key(uint64_t note)
{
	return note != 0 && note != BACKLOG_KEEP;
}

static void model_conflate(void)
{
	for (uint32_t i = begun; i < n_model; i++)
		for (uint32_t j = i + 1; j < n_model && has_key(model[i].note); j++)
			if (model[j].note == model[i].note) {
				model_remove(i--);
				break;
			}
}

static uint64_t model_weight(void)
{
	uint64_t bytes = 0;
	for (uint32_t i = 0; i < n_model; i++)
		bytes += model[i].len;
	return bytes > (uint64_t)n_model * 32 ? bytes : (uint64_t)n_model * 32;
}

static void model_drop_oldest(uint64_t most)
{
	for (uint32_t i = begun; i < n_model && model_weight() > most;)
		if (model[i].note == BACKLOG_KEEP)
			i++;
		else
			model_remove(i);
}

static void add(size_t len, uint64_t note)
{
	struct slice s = frame(number, len, note);
	ck_assert(backlog_append(b, &s, begun));
	ck_assert_uint_lt(n_model, MODEL_MAX);
	model[n_model++] = (struct message){number++, s.len, note};
	slice_unref(&s);
	for (uint32_t i = begun; conflating && has_key(note) && i + 1 < n_model; i++)
		if (model[i].note == note)
			model_remove(i--);
}

/* Is what is there what should be, byte for byte? */
static void compare(void)
{
	uint32_t at = 0, bytes = 0, kept = 0;
	ck_assert(b->n == 0 || backlog_at(b, 0)->s.chunk != NULL);
	for (uint32_t i = 0; i < b->n; i++) {
		const struct backlog_item *item = backlog_at(b, i);
		if (item->s.chunk == NULL)
			continue;
		ck_assert_uint_lt(at, n_model);
		if (item->s.len != model[at].len || item->note != model[at].note)
			ck_abort_msg("message %u: %u bytes instead of %u", at, item->s.len, model[at].len);
		const uint8_t *p = slice_bytes(&item->s);
		uint8_t fill = (uint8_t)(model[at].number * 7 + 1);
		for (uint32_t k = item->s.len > 10 ? 10 : item->s.len; k < item->s.len; k++)
			if (p[k] != fill)
				ck_abort_msg("message %u is spoiled", at);
		bytes += item->s.len;
		kept += item->note == BACKLOG_KEEP ? item->s.len : 0;
		at++;
	}
	ck_assert_uint_eq(at, n_model);
	ck_assert_uint_eq(b->live, n_model);
	ck_assert_uint_eq(b->bytes, bytes);
	ck_assert_uint_eq(b->kept, kept);
	ck_assert_uint_eq(backlog_weight(b), model_weight());
}

static void pop(void)
{
	backlog_pop(b);
	model_remove(0);
	begun = false;
}

/* --- tests ----------------------------------------------------------------------------------------------------------------- */

START_TEST(the_oldest_go_first)
{
	for (int i = 0; i < 100; i++)
		add(100, 0);
	backlog_drop_oldest(b, 5100, false);
	ck_assert_uint_eq(n_model, 100);
	ck_assert_uint_eq(b->live, 50);
	ck_assert_uint_eq(b->given_up, 50);
	ck_assert_uint_eq(account.given_up, 50);
	ck_assert_uint_eq(account.conflated, 0);
	model_drop_oldest(5100);
	compare();
	ck_assert_uint_eq(model[0].number, 50);
	backlog_drop_oldest(b, 0, false);
	ck_assert_uint_eq(b->n, 0);
	ck_assert_uint_eq(b->bytes, 0);
}
END_TEST

START_TEST(answers_and_what_is_begun_stay)
{
	for (int i = 0; i < 30; i++)
		add(100, i % 3 == 0 ? BACKLOG_KEEP : i % 3 == 1 ? 7 : 0);
	pop();
	begun = true; /* a message with a key is on its way */
	backlog_drop_oldest(b, 0, begun);
	model_drop_oldest(0);
	compare();
	ck_assert_uint_eq(b->live, 1 + 9);
	ck_assert_uint_eq(model[0].number, 1);
	pop();
	backlog_drop_oldest(b, 0, begun);
	compare(); /* nothing is left that could go */
	add(100, 0);
	backlog_drop_oldest(b, 0, begun);
	model_drop_oldest(0);
	compare();
}
END_TEST

START_TEST(small_ones_weigh_something)
{
	for (int i = 0; i < 1000; i++)
		add(0, 0);
	ck_assert_uint_eq(b->bytes, 2000);
	ck_assert_uint_eq(backlog_weight(b), 32000);
	backlog_drop_oldest(b, 320, false);
	ck_assert_uint_eq(b->live, 10);
}
END_TEST

START_TEST(the_newest_of_a_key_stays)
{
	add(100, 1);
	add(50, 2);
	add(60, 0);
	add(100, 1);
	add(70, BACKLOG_KEEP);
	add(100, 3);
	add(10, 1);
	ck_assert_uint_eq(b->given_up, 0); /* only once it is asked for */
	ck_assert(backlog_conflate(b, false));
	model_conflate();
	compare();
	ck_assert_uint_eq(b->live, 5);
	ck_assert_uint_eq(account.conflated, 2);
	conflating = true;
	add(20, 2); /* and from then on each takes the place of the older one, at the end */
	add(30, 0);
	add(40, 2);
	compare();
	static const uint32_t numbers[] = {2, 4, 5, 6, 8, 9};
	ck_assert_uint_eq(n_model, 6);
	for (uint32_t i = 0; i < 6; i++)
		ck_assert_uint_eq(model[i].number, numbers[i]);
	ck_assert_uint_eq(b->given_up, 4);
	ck_assert_uint_eq(account.given_up, 4);
}
END_TEST

START_TEST(one_that_is_begun_is_not_conflated)
{
	add(100, 1);
	add(100, 1);
	add(100, 1);
	begun = true;
	ck_assert(backlog_conflate(b, begun));
	model_conflate();
	conflating = true;
	compare();
	ck_assert_uint_eq(b->live, 2);
	add(100, 1);
	compare();
	ck_assert_uint_eq(b->live, 2);
	pop();
	add(100, 1); /* the first is not begun yet: it goes */
	compare();
	ck_assert_uint_eq(b->live, 1);
}
END_TEST

/* What a queue held before: frames that lie together, some of them noted, and the rest of one that was begun. */
START_TEST(taken_from_a_queue)
{
	struct slice whole = frame(0, 100, 0);
	uint32_t each = whole.len;
	for (uint32_t i = 1; i < 10; i++) {
		struct slice s = frame(i, 100, i == 3 ? BACKLOG_KEEP : i >= 8 ? 99 : 0);
		ck_assert_ptr_eq(s.chunk, whole.chunk);
		whole.len += s.len;
		slice_unref(&s);
	}
	struct slice pong = {.chunk = whole.chunk, .off = whole.off + whole.len, .len = 2}, extra;
	ck_assert(chunk_alloc(&pool, 2, &extra));
	memcpy(slice_bytes(&pong), "\x8a\0", 2);
	whole.off += 10;
	whole.len += 2 - 10;
	ck_assert(backlog_take(b, &whole, each - 10));
	number = 10;
	for (uint32_t i = 0; i < 10; i++)
		model[n_model++] = (struct message){i, i == 0 ? each - 10 : each,
						    i == 0 || i == 3 ? BACKLOG_KEEP
						    : i >= 8	     ? 99
								     : 0};
	ck_assert_uint_eq(b->live, 11);
	ck_assert_uint_eq(backlog_at(b, 10)->note, BACKLOG_KEEP);
	backlog_drop_oldest(b, 0, true);
	ck_assert_uint_eq(b->live, 3); /* what is begun, the answer and the pong */
	ck_assert_uint_eq(b->bytes, 2 * each - 10 + 2);
	slice_unref(&extra);
	slice_unref(&whole);
}
END_TEST

START_TEST(a_control_frame_in_front)
{
	for (int i = 0; i < 1000; i++)
		add(100, (uint64_t)i % 50 + 1);
	ck_assert(backlog_conflate(b, false));
	model_conflate();
	conflating = true;
	for (int i = 0; i < 100; i++) {
		struct chunk *c = chunk_new(2);
		memcpy(c->bytes, "\x8a\0", 2);
		ck_assert(backlog_push_front(b, (struct slice){.chunk = c, .len = c->used = 2}));
		ck_assert_uint_eq(backlog_at(b, 0)->s.len, 2);
		ck_assert_uint_eq(b->live, n_model + 1);
		if (i % 2 == 0) {
			add(100, (uint64_t)i % 50 + 1);
			backlog_drop_oldest(b, 3500, false);
			ck_assert_uint_eq(backlog_at(b, 0)->s.len, 2);
		}
		backlog_pop(b);
		model_drop_oldest(3500 - 2);
		compare();
	}
}
END_TEST

START_TEST(a_cut_keeps_the_first_bytes)
{
	for (int i = 0; i < 100; i++)
		add(100, i % 2 == 0 ? 0 : BACKLOG_KEEP);
	backlog_sent(b, 30);
	ck_assert_uint_eq(b->bytes, 100 * 102 - 30);
	backlog_cut(b, 72);
	ck_assert_uint_eq(b->bytes, 72);
	ck_assert_uint_eq(b->live, 1);
	ck_assert_uint_eq(b->kept, 0);
	add(10, 0);
	ck_assert_uint_eq(b->live, 2);
	backlog_cut(b, 0);
	ck_assert_uint_eq(b->bytes, 0);
	ck_assert_uint_eq(b->n, 0);
}
END_TEST

/* Values of many keys, a few of which change all the time: what never changes must not keep the chunks of all that has gone. */
START_TEST(memory_is_in_proportion)
{
	enum { COLD = 400 };
	for (uint64_t i = 1; i <= COLD; i++)
		add(200, i);
	ck_assert(backlog_conflate(b, false));
	conflating = true;
	for (uint64_t i = 0; i < (RUNNING_ON_VALGRIND ? 4000 : 60000); i++) {
		/* A cold one now and then, so that each lies among hot ones. */
		uint64_t key = i % 300 == 0 ? i / 300 % COLD + 1 : COLD + 1 + i % 5;
		struct slice s = frame((uint32_t)i, 300, key);
		ck_assert(backlog_append(b, &s, false));
		slice_unref(&s);
		ck_assert_uint_le(b->live, COLD + 5);
		if (account.held > 4 * (uint64_t)b->bytes + (512 << 10))
			ck_abort_msg("%llu bytes are held for %u", (unsigned long long)account.held, b->bytes);
	}
}
END_TEST

START_TEST(large_ones_are_shared_and_counted_once)
{
	struct backlog *other = backlog_new(&account);
	struct slice large = frame(0, 100000, 0);
	uint64_t before = account.held;
	ck_assert(backlog_append(b, &large, false));
	ck_assert(backlog_append(other, &large, false));
	ck_assert_uint_eq(large.chunk->refs, 3);
	ck_assert_uint_eq(account.held, before + large.chunk->size);
	backlog_drop_oldest(b, 0, false);
	slice_unref(&large);
	ck_assert_uint_gt(account.held, before);
	backlog_pop(other);
	ck_assert_uint_eq(account.held, before);
	backlog_free(other);
}
END_TEST

/* Each allocation fails once: nothing changes but that the frame is not there. */
START_TEST(without_memory)
{
	for (int fails = 0; fails < 4; fails++) {
		for (int i = 0; i < 150; i++)
			add(3000, (uint64_t)i + 1);
		for (int i = 0; i < 400; i++) {
			struct slice s = frame(number, 3000, (uint64_t)i % 200 + 1);
			memory_left = fails;
			bool ok = backlog_append(b, &s, false);
			memory_left = -1;
			if (ok)
				model[n_model++] = (struct message){number++, s.len, (uint64_t)i % 200 + 1};
			slice_unref(&s);
			if (i == 100) {
				memory_left = 0;
				ok = backlog_conflate(b, false);
				memory_left = -1;
				ck_assert(!ok);
			}
		}
		compare();
		ck_assert(fails < 3 || n_model == 550);
		ck_assert(backlog_conflate(b, false));
		model_conflate();
		compare();
		backlog_free(b);
		ck_assert_uint_eq(account.held, 0);
		b = backlog_new(&account);
		n_model = 0;
	}
	memory_left = 0;
	const struct backlog *none = backlog_new(&account);
	memory_left = 1;
	const struct backlog *nor_this = backlog_new(&account);
	memory_left = -1;
	ck_assert(none == NULL && nor_this == NULL);
}
END_TEST

START_TEST(random_traffic)
{
	unsigned seed = (unsigned)_i * 7919 + 11;
	printf("backlog: seed %u\n", seed);
	for (int step = 0; step < (RUNNING_ON_VALGRIND ? 600 : 4000); step++) {
		unsigned dice = (unsigned)rand_r(&seed) % 100, r = (unsigned)rand_r(&seed);
		if (dice < 60) {
			add(r % (dice == 0 ? 40000 : 400), dice < 20 ? 0 : dice < 25 ? BACKLOG_KEEP : r / 400 % 40 + 1);
		} else if (dice < 75 && n_model > 0) {
			pop();
		} else if (dice < 78 && n_model > 0 && !begun && model[0].len > 12) {
			backlog_sent(b, 1);
			model[0].len--;
			begun = true;
		} else if (dice < 82 && _i % 2 == 0) {
			backlog_drop_oldest(b, r % 30000, begun);
			model_drop_oldest(r % 30000);
		} else if (dice == 82 && _i % 3 == 0) {
			ck_assert(backlog_conflate(b, begun));
			if (!conflating)
				model_conflate();
			conflating = true;
		} else if (dice == 83) {
			uint32_t keep = begun ? model[0].len : 0;
			backlog_cut(b, keep);
			n_model = begun ? 1 : 0;
			conflating = false;
		}
		if (step % 4 == 0)
			compare();
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("backlog");
	TCase *tc = tcase_create("backlog");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, the_oldest_go_first);
	tcase_add_test(tc, answers_and_what_is_begun_stay);
	tcase_add_test(tc, small_ones_weigh_something);
	tcase_add_test(tc, the_newest_of_a_key_stays);
	tcase_add_test(tc, one_that_is_begun_is_not_conflated);
	tcase_add_test(tc, taken_from_a_queue);
	tcase_add_test(tc, a_control_frame_in_front);
	tcase_add_test(tc, a_cut_keeps_the_first_bytes);
	tcase_add_test(tc, memory_is_in_proportion);
	tcase_add_test(tc, large_ones_are_shared_and_counted_once);
	tcase_add_test(tc, without_memory);
	tcase_add_loop_test(tc, random_traffic, 0, 12);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
