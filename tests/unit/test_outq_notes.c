/* The backlog against a list that does the same slowly: what is given up and what stays, in which
 * order, and how much memory. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <valgrind/valgrind.h>

#include "net/outq_notes.h"
#include "ws/frame.h"
#include "run.h"

/* --- no memory -------------------------------------------------------------------------------- */

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

void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n)
{
	if (memory_left == 0)
		return NULL;
	memory_left -= memory_left > 0;
	return __real_realloc(p, n);
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

/* --- frames and a model ----------------------------------------------------------------------- */

#define MODEL_MAX 200000

struct message {
	uint32_t number, len;
	uint64_t note;
};

static struct chunk_pool pool;
static struct outq_notes_account account;
static struct outq_notes *b;
static struct message *model;
static uint32_t n_model, number;
static bool conflating;
static uint32_t begun; /* bytes of the first that are still to be sent, once some were */

static void setup(void)
{
	pool = (struct chunk_pool){.current = NULL};
	account = (struct outq_notes_account){.held = 0};
	b = outq_notes_new(&account);
	ck_assert_ptr_nonnull(b);
	model = malloc(MODEL_MAX * sizeof *model);
	n_model = number = 0;
	conflating = false;
	begun = 0;
	memory_left = -1;
}

static void teardown(void)
{
	outq_notes_free(&b);
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
	return note != 0 && note != OUTQ_NOTES_KEEP;
}

/* The first is on its way, and stays. */
static uint32_t model_first(void)
{
	return begun > 0;
}

static void model_conflate(void)
{
	for (uint32_t i = model_first(); i < n_model; i++)
		for (uint32_t j = i + 1; j < n_model && has_key(model[i].note); j++)
			if (model[j].note == model[i].note) {
				model_remove(i--);
				break;
			}
}

/* The oldest that may go; n_model: none. */
static uint32_t model_oldest(void)
{
	uint32_t i = model_first();
	while (i < n_model && model[i].note == OUTQ_NOTES_KEEP)
		i++;
	return i;
}

/* As many as it takes, and no more. */
static void drop_oldest(uint64_t most)
{
	uint32_t before = b->given_up, last = 0;
	outq_notes_drop_oldest(b, most, begun);
	for (uint32_t n = b->given_up - before; n > 0; n--) {
		uint32_t i = model_oldest();
		ck_assert_uint_lt(i, n_model);
		last = model[i].len;
		model_remove(i);
	}
	ck_assert(outq_notes_weight(b) <= most || model_oldest() == n_model);
	ck_assert(last == 0 ||
		  outq_notes_weight(b) + last + OUTQ_NOTES_RUN + OUTQ_NOTES_KEY > most);
}

/* All of it, at once. */
static void conflate(void)
{
	for (int i = 0; i < 10000 && b->stale > (begun > 0 && outq_notes_run(b, b->first)->stale);
	     i++)
		outq_notes_conflate(b, begun);
	outq_notes_conflate(b, begun);
	model_conflate();
	conflating = true;
}

static void add(size_t len, uint64_t note)
{
	struct slice s = frame(number, len, note);
	ck_assert(outq_notes_append(b, &s, begun > 0));
	ck_assert_uint_lt(n_model, MODEL_MAX);
	model[n_model++] = (struct message){number++, s.len, note};
	slice_unref(&s);
	for (uint32_t i = model_first(); conflating && has_key(note) && i + 1 < n_model; i++)
		if (model[i].note == note)
			model_remove(i--);
}

static void compare_message(const struct outq_notes_run *run, uint32_t off, const struct message *m)
{
	if (run->note != m->note && (begun == 0 || m != model))
		ck_abort_msg("message %u: another note", m->number);
	const uint8_t *p = slice_bytes(&run->s) + off;
	uint8_t fill = (uint8_t)(m->number * 7 + 1);
	for (uint32_t k = m->len > 10 ? 10 : m->len; k < m->len; k++)
		if (p[k] != fill)
			ck_abort_msg("message %u is spoiled", m->number);
}

/* Is what is there what should be, byte for byte? */
static void compare(void)
{
	uint32_t at = 0, bytes = 0, kept = 0, live = 0, keys = 0;
	for (const struct outq_notes_run *run = outq_notes_run(b, b->first); run != NULL;
	     run = outq_notes_run(b, run->next)) {
		uint32_t n = 0;
		ck_assert_ptr_nonnull(run->s.chunk);
		for (uint32_t off = 0; off < run->s.len; off += model[at++].len, n++) {
			ck_assert_uint_lt(at, n_model);
			ck_assert_uint_le(off + model[at].len, run->s.len);
			compare_message(run, off, &model[at]);
		}
		ck_assert_uint_eq(n, run->n);
		bytes += run->s.len;
		kept += run->note == OUTQ_NOTES_KEEP ? run->s.len : 0;
		keys += has_key(run->note);
		live++;
	}
	ck_assert_uint_eq(at, n_model);
	ck_assert_uint_eq(b->live, live);
	ck_assert_uint_eq(b->keys, keys);
	ck_assert_uint_eq(b->bytes, bytes);
	ck_assert_uint_eq(b->kept, kept);
	ck_assert_uint_le(b->own + sizeof *b, account.held);
	/* Each key once; the one on its way may have lost its place. */
	ck_assert_uint_le(b->index_n, keys - b->stale);
	ck_assert_uint_ge(b->index_n + (begun > 0), keys - b->stale);
}

/* The first one is sent, or the rest of it. */
static void pop(void)
{
	outq_notes_sent(b, model[0].len, 1);
	model_remove(0);
	begun = 0;
}

static void send_one_byte(void)
{
	outq_notes_sent(b, 1, 0);
	begun = --model[0].len;
}

/* --- tests ------------------------------------------------------------------------------------ */

START_TEST(the_oldest_go_first)
{
	for (int i = 0; i < 100; i++)
		add(100, 0);
	drop_oldest(5100 + 4 * OUTQ_NOTES_RUN);
	ck_assert_uint_ge(b->given_up, 48);
	ck_assert_uint_le(b->given_up, 52);
	ck_assert_uint_eq(account.given_up, b->given_up);
	ck_assert_uint_eq(account.conflated, 0);
	compare();
	ck_assert_uint_eq(model[0].number, b->given_up);
	drop_oldest(0);
	ck_assert_uint_eq(b->live, 0);
	ck_assert_uint_eq(b->bytes, 0);
}
END_TEST

START_TEST(answers_and_what_is_begun_stay)
{
	for (int i = 0; i < 30; i++)
		add(100, i % 3 == 0 ? OUTQ_NOTES_KEEP : i % 3 == 1 ? 7 : 0);
	pop();
	send_one_byte(); /* a message with a key is on its way */
	drop_oldest(0);
	compare();
	ck_assert_uint_eq(n_model, 1 + 9);
	ck_assert_uint_eq(model[0].number, 1);
	pop();
	drop_oldest(0);
	compare(); /* nothing is left that could go */
	add(100, 0);
	drop_oldest(0);
	compare();
	ck_assert_uint_eq(n_model, 9);
}
END_TEST

/* Messages that are treated alike take no more than their bytes, however small they are; and what
 * is begun is parted from them. */
START_TEST(small_ones_take_their_bytes)
{
	const uint32_t N = RUNNING_ON_VALGRIND ? 3000 : 20000;
	for (uint32_t i = 0; i < N; i++)
		add(0, 0);
	compare();
	ck_assert_uint_eq(b->bytes, 2 * N);
	ck_assert_uint_le(account.held, 2 * N + 2 * N / 10 + (80 << 10));
	send_one_byte();
	for (uint32_t i = 0; i < N; i += N / 10) {
		drop_oldest(2 * (N - i));
		compare();
		ck_assert_uint_eq(begun, 1);
	}
	drop_oldest(0);
	ck_assert_uint_eq(n_model, 1);
	compare();
}
END_TEST

START_TEST(the_newest_of_a_key_stays)
{
	add(100, 1);
	add(50, 2);
	add(60, 0);
	add(100, 1);
	add(70, OUTQ_NOTES_KEEP);
	add(100, 3);
	add(10, 1);
	ck_assert_uint_eq(b->given_up, 0); /* only once it is asked for */
	conflate();
	compare();
	ck_assert_uint_eq(n_model, 5);
	ck_assert_uint_eq(account.conflated, 2);
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

/* However many there are, each message that comes pays for a few of them; and those that are still
 * to go do not count. */
/* All members of a room are given the same keys: if their indexes grew at the same one, that would
 * be one long turn. */
START_TEST(indexes_do_not_grow_together)
{
	enum { BACKLOGS = 200, KEYS = 1000 };
	struct outq_notes *v[BACKLOGS];
	uint32_t most = 0;
	for (int i = 0; i < BACKLOGS; i++)
		v[i] = outq_notes_new(&account);
	for (uint32_t key = 1; key <= KEYS; key++) {
		struct slice f = frame(key, 20, key * UINT64_C(0x9e3779b97f4a7c15));
		uint32_t grown = 0;
		for (int i = 0; i < BACKLOGS; i++) {
			uint32_t cap = v[i]->index_cap;
			ck_assert(outq_notes_append(v[i], &f, false));
			grown += cap >= 512 && v[i]->index_cap > cap;
			ck_assert(v[i]->index_n <= v[i]->index_cap / 4 * 3);
		}
		slice_unref(&f);
		most = grown > most ? grown : most;
	}
	ck_assert_uint_gt(most, 0);
	ck_assert_uint_lt(most, BACKLOGS / 10);
	for (int i = 0; i < BACKLOGS; i++)
		outq_notes_free(&v[i]);
}
END_TEST

START_TEST(stale_ones_go_a_few_at_a_time)
{
	for (uint32_t i = 0; i < 5000; i++)
		add(10, i % 10 + 1);
	ck_assert_uint_eq(b->stale, 4990);
	outq_notes_conflate(b, 0);
	ck_assert_uint_gt(b->stale, 4000);
	ck_assert_uint_eq(outq_notes_weight(b), 10 * (12 + OUTQ_NOTES_RUN + OUTQ_NOTES_KEY));
	for (uint32_t i = 0; b->stale > 0; i++) {
		struct slice s = frame(number++, 10, i % 10 + 1);
		ck_assert(outq_notes_append(b, &s, false));
		slice_unref(&s);
		ck_assert_uint_lt(i, 400);
	}
	ck_assert_uint_eq(b->live, 10);
}
END_TEST

START_TEST(one_that_is_begun_is_not_conflated)
{
	add(100, 1);
	add(100, 1);
	add(100, 1);
	send_one_byte();
	conflate();
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

/* The older half goes in whole chunks, and their memory with it. */
START_TEST(lighter_by_half)
{
	for (int i = 0; i < 4000; i++)
		add(100, 0);
	uint64_t held = account.held;
	outq_notes_lighten(b, 0);
	ck_assert_uint_le(b->bytes, 204000);
	ck_assert_uint_ge(b->bytes, 204000 - 65536);
	ck_assert_uint_le(account.held, held / 2 + 65536);
	for (int i = 0; i < 4; i++)
		outq_notes_lighten(b, 0);
	ck_assert_uint_eq(b->bytes, 0);
	ck_assert_uint_eq(b->own, 0);
	n_model = 0;
}
END_TEST

START_TEST(taken_from_a_queue)
{
	struct slice whole = frame(0, 100, 0);
	uint32_t each = whole.len;
	for (uint32_t i = 1; i < 10; i++) {
		struct slice s = frame(i, 100, i == 3 ? OUTQ_NOTES_KEEP : i >= 8 ? 99 : 0);
		ck_assert_ptr_eq(s.chunk, whole.chunk);
		whole.len += s.len;
		slice_unref(&s);
	}
	struct slice pong = {.chunk = whole.chunk, .off = whole.off + whole.len, .len = 2}, extra;
	ck_assert(chunk_alloc(&pool, 2, &extra));
	memcpy(slice_bytes(&pong), "\x8a\0", 2);
	whole.off += 10;
	whole.len += 2 - 10;
	ck_assert(outq_notes_take(b, &whole, each - 10));
	number = 10;
	for (uint32_t i = 0; i < 10; i++)
		model[n_model++] = (struct message){i, i == 0 ? each - 10 : each,
						    i == 0 || i == 3 ? OUTQ_NOTES_KEEP
						    : i >= 8	     ? 99
								     : 0};
	/* the rest, 1 and 2, the answer, 4 to 7, two of a key, the pong */
	static const uint32_t runs[] = {1, 2, 1, 4, 1, 1, 1};
	ck_assert_uint_eq(b->live, 7);
	uint32_t at = b->first;
	for (uint32_t i = 0; i < 7; i++, at = outq_notes_at(b, at)->next)
		ck_assert_uint_eq(outq_notes_at(b, at)->n, runs[i]);
	ck_assert_uint_eq(outq_notes_at(b, b->last)->note, OUTQ_NOTES_KEEP);
	ck_assert_uint_eq(b->stale, 1);
	outq_notes_drop_oldest(b, 0, each - 10);
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
	conflate();
	for (int i = 0; i < 100; i++) {
		struct chunk *c = chunk_new(2);
		memcpy(c->bytes, "\x8a\0", 2);
		ck_assert(outq_notes_push_front(b, (struct slice){.chunk = c, .len = c->used = 2}));
		ck_assert_uint_eq(outq_notes_run(b, b->first)->s.len, 2);
		ck_assert_uint_eq(b->live, n_model + 1);
		if (i % 2 == 0) {
			add(100, (uint64_t)i % 50 + 1);
			drop_oldest(5000);
			ck_assert_uint_eq(outq_notes_run(b, b->first)->s.len, 2);
		}
		outq_notes_sent(b, 2, 1);
		compare();
	}
}
END_TEST

START_TEST(a_cut_keeps_the_first_bytes)
{
	for (int i = 0; i < 100; i++)
		add(100, i % 2 == 0 ? 0 : OUTQ_NOTES_KEEP);
	outq_notes_sent(b, 30, 0);
	ck_assert_uint_eq(b->bytes, 100 * 102 - 30);
	outq_notes_cut(b, 72);
	ck_assert_uint_eq(b->bytes, 72);
	ck_assert_uint_eq(b->live, 1);
	ck_assert_uint_eq(b->kept, 0);
	ck_assert_uint_eq(b->own, 72); /* and nothing of the chunk that it lay in */
	add(10, 0);
	ck_assert_uint_eq(b->live, 2);
	outq_notes_cut(b, 0);
	ck_assert_uint_eq(b->bytes, 0);
	ck_assert_uint_eq(b->live, 0);
	ck_assert_uint_eq(b->own, 0);
}
END_TEST

/* Values of many keys, a few of which change all the time: what never changes must not keep the
 * chunks of all that has gone. */
START_TEST(memory_is_in_proportion)
{
	enum { COLD = 400 };
	for (uint64_t i = 1; i <= COLD; i++)
		add(200, i);
	conflate();
	for (uint64_t i = 0; i < (RUNNING_ON_VALGRIND ? 4000 : 60000); i++) {
		/* A cold one now and then, so that each lies among hot ones. */
		uint64_t key = i % 300 == 0 ? i / 300 % COLD + 1 : COLD + 1 + i % 5;
		struct slice s = frame((uint32_t)i, 300, key);
		ck_assert(outq_notes_append(b, &s, false));
		slice_unref(&s);
		ck_assert_uint_le(b->live, COLD + 5);
		ck_assert_uint_eq(b->stale, 0);
		if (account.held > 4 * (uint64_t)b->bytes + (512 << 10))
			ck_abort_msg("%llu bytes are held for %u", (unsigned long long)account.held,
				     b->bytes);
	}
}
END_TEST

static uint64_t frame_bytes(void)
{
	return sizeof *b +
	       b->n_blocks * (sizeof *b->blocks + OUTQ_NOTES_BLOCK * sizeof **b->blocks);
}

START_TEST(large_ones_are_shared_and_counted_once)
{
	struct outq_notes *other = outq_notes_new(&account);
	struct slice large = frame(0, 100000, 0);
	uint64_t before = account.held;
	ck_assert(outq_notes_append(b, &large, false));
	ck_assert(outq_notes_append(other, &large, false));
	ck_assert_uint_eq(large.chunk->refs, 3);
	uint32_t large_size = large.chunk->size;
	before += 2 * (sizeof *b->blocks + OUTQ_NOTES_BLOCK * sizeof **b->blocks);
	ck_assert_uint_eq(account.held, before + large_size);
	ck_assert_uint_eq(outq_notes_memory(b), frame_bytes() + large.chunk->size / 3);
	outq_notes_drop_oldest(b, 0, 0);
	slice_unref(&large);
	ck_assert_uint_gt(account.held, before);
	outq_notes_sent(other, 100000, 0);
	ck_assert_uint_ge(outq_notes_most(other), large_size); /* of which little is left */
	ck_assert_uint_ge(outq_notes_memory(other), large_size);
	outq_notes_sent(other, other->bytes, 1);
	ck_assert_uint_eq(account.held, before);
	outq_notes_free(&other);
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
			bool ok = outq_notes_append(b, &s, false);
			memory_left = -1;
			if (ok)
				model[n_model++] =
					(struct message){number++, s.len, (uint64_t)i % 200 + 1};
			slice_unref(&s);
		}
		compare();
		ck_assert(fails < 3 || n_model == 550);
		uint64_t most = b->bytes / 2, held = account.held;
		memory_left = 0; /* giving up takes none */
		outq_notes_drop_oldest(b, most, 0);
		for (int i = 0; i < 100; i++)
			outq_notes_conflate(b, 0);
		memory_left = -1;
		ck_assert_uint_le(outq_notes_weight(b), most);
		ck_assert_uint_eq(b->stale, 0);
		ck_assert_uint_lt(account.held, held);
		conflating = false;
		outq_notes_free(&b);
		ck_assert_uint_eq(account.held, 0);
		b = outq_notes_new(&account);
		n_model = 0;
	}
	memory_left = 0;
	const struct outq_notes *none = outq_notes_new(&account);
	memory_left = -1;
	ck_assert_ptr_null(none);
}
END_TEST

START_TEST(random_traffic)
{
	unsigned seed = (unsigned)_i * 7919 + 11;
	printf("backlog: seed %u\n", seed);
	for (int step = 0; step < (RUNNING_ON_VALGRIND ? 600 : 4000); step++) {
		unsigned dice = (unsigned)rand_r(&seed) % 100, r = (unsigned)rand_r(&seed);
		if (dice < 60) {
			add(r % (dice == 0 ? 40000 : 400), dice < 20   ? 0
							   : dice < 25 ? OUTQ_NOTES_KEEP
								       : r / 400 % 40 + 1);
		} else if (dice < 75 && n_model > 0) {
			pop();
		} else if (dice < 78 && n_model > 0 && begun == 0 && model[0].len > 12) {
			send_one_byte();
		} else if (dice < 82 && _i % 2 == 0) {
			drop_oldest(r % 30000);
		} else if (dice == 82 && _i % 3 == 0) {
			conflate();
		} else if (dice == 83) {
			outq_notes_cut(b, begun);
			n_model = begun > 0 ? 1 : 0;
			conflating = b->conflating;
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
	tcase_add_test(tc, small_ones_take_their_bytes);
	tcase_add_test(tc, indexes_do_not_grow_together);
	tcase_add_test(tc, stale_ones_go_a_few_at_a_time);
	tcase_add_test(tc, lighter_by_half);
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
