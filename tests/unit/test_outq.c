/* The output queue against a real socket: what arrives, in which order, and what is kept for a peer
 * that stands still. */
#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <valgrind/valgrind.h>

#include "net/outq.h"
#include "ws/frame.h"
#include "run.h"

/* --- no memory -------------------------------------------------------------------------------- */

static bool no_memory;

void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_malloc(size_t n)
{
	return no_memory ? NULL : __real_malloc(n);
}

void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n)
{
	return no_memory ? NULL : __real_realloc(p, n);
}

/* --- a queue, a socket and its other end ------------------------------------------------------ */

static struct chunk_pool pool;
static struct outq_spare spare, *keeper;
static struct outq q;
static uint32_t delivery_number;
static int fds[2]; /* we write to the first */
static uint8_t *got;
static size_t n_got, cap_got;

static void setup(void)
{
	const int small = 4096;
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds),
			 0);
	ck_assert_int_eq(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
	q = (struct outq){.bytes = 0};
	keeper = &spare;
	spare.max = 1 << 20;
	spare.delivery = &delivery_number;
	pool = (struct chunk_pool){.current = NULL};
	n_got = 0;
}

static void teardown(void)
{
	outq_clear(&q, keeper);
	chunk_pool_free(&pool);
	outq_spare_free(&spare);
	ck_assert_ptr_null(spare.first);
	ck_assert_uint_eq(spare.account.held, 0);
	close(fds[0]);
	if (fds[1] >= 0)
		close(fds[1]);
	free(got);
	got = NULL;
	cap_got = 0;
}

/* Reads up to that many bytes; returns how many came. */
static size_t receive(size_t most)
{
	size_t before = n_got;
	while (n_got - before < most) {
		if (cap_got - n_got < 65536)
			got = realloc(got, cap_got += 1 << 20);
		size_t want = most - (n_got - before);
		ssize_t n = recv(fds[1], got + n_got, want < 65536 ? want : 65536, 0);
		if (n <= 0)
			break;
		n_got += (size_t)n;
	}
	return n_got - before;
}

static enum outq_status flush(void)
{
	uint64_t sent = 0;
	uint32_t before = q.bytes;
	spare.turn++;
	enum outq_status status = outq_flush(&q, fds[0], NULL, keeper, &sent);
	ck_assert_uint_eq(before - q.bytes, sent);
	ck_assert(status == OUTQ_BROKEN || (status == OUTQ_EMPTY) == (q.bytes == 0));
	ck_assert(status == OUTQ_BROKEN || q.stalled == (status == OUTQ_STALLED));
	return status;
}

/* Until everything has arrived. */
static void drain(void)
{
	while (flush() == OUTQ_STALLED)
		ck_assert_uint_gt(receive(SIZE_MAX), 0);
	receive(SIZE_MAX);
}

/* A binary frame whose payload is its number and then bytes that depend on it; at least 4 bytes of
 * payload. */
static struct slice numbered(uint32_t number, size_t len)
{
	uint8_t head[FRAME_SERVER_HEAD_MAX];
	size_t n = frame_head(head, FRAME_BINARY, len);
	struct slice s;
	ck_assert(chunk_alloc(&pool, n + len, &s));
	memcpy(slice_bytes(&s), head, n);
	memset(slice_bytes(&s) + n, (int)(number * 7 + 1), len);
	memcpy(slice_bytes(&s) + n, &number, 4);
	return s;
}

static void append(uint32_t number, size_t len)
{
	struct slice s = numbered(number, len);
	ck_assert(outq_append(&q, &s, keeper));
	slice_unref(&s);
}

static void urgent(uint8_t number)
{
	uint8_t frame[3] = {0x80 | FRAME_PONG, 1, number};
	ck_assert(outq_urgent(&q, frame, sizeof frame, keeper));
}

/* The number of the frame at *at, which must be whole and unspoiled; -1 - n for a pong. Moves *at
 * behind it. */
static int64_t next_frame(size_t *at)
{
	ck_assert_uint_gt(n_got - *at, 1);
	const uint8_t *p = got + *at;
	size_t size = (size_t)frame_size(p, n_got - *at),
	       head = frame_head_size(size > 65535 + 4	    ? size
				      : (p[1] & 127) == 126 ? 126
							    : 1);
	uint32_t number;
	ck_assert_uint_gt(size, 0);
	ck_assert_uint_le(size, n_got - *at);
	*at += size;
	if (p[0] == (0x80 | FRAME_PONG)) {
		ck_assert_uint_eq(size, 3);
		return -1 - (int64_t)p[2];
	}
	ck_assert_uint_eq(p[0], 0x80 | FRAME_BINARY);
	memcpy(&number, p + head, 4);
	for (size_t i = head + 4; i < size; i++)
		if (p[i] != (uint8_t)(number * 7 + 1))
			ck_abort_msg("frame %u is spoiled at %zu of %zu", number, i, size);
	return number;
}

static void expect_numbers(uint32_t from, uint32_t to)
{
	size_t at = 0;
	for (uint32_t i = from; i < to; i++)
		ck_assert_int_eq(next_frame(&at), i);
	ck_assert_uint_eq(at, n_got);
}

/* --- tests ------------------------------------------------------------------------------------ */

START_TEST(neighbours_become_one)
{
	for (uint32_t i = 0; i < 100; i++)
		append(i, 4 + i);
	ck_assert_uint_eq(outq_n(&q), 1);
	ck_assert_ptr_null(q.list);
	ck_assert_int_eq(flush(), OUTQ_EMPTY);
	receive(SIZE_MAX);
	expect_numbers(0, 100);
	ck_assert_uint_eq(pool.current->refs, 1);
}
END_TEST

/* Frames that others' lie between, so that the queue needs an array. */
static void append_apart(uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct slice others = numbered(9999, 20);
		append(i, 4);
		slice_unref(&others);
	}
}

/* Frames that others' lie between: more slices than one system call takes. */
START_TEST(many_slices)
{
	append_apart(500);
	ck_assert_uint_gt(outq_n(&q), 64);
	drain();
	expect_numbers(0, 500);
	ck_assert_ptr_null(q.list);
	ck_assert_uint_eq(pool.current->refs, 1);
}
END_TEST

/* An array that was given back serves the next queue that needs one; all of them together are
 * bounded. */
START_TEST(arrays_are_kept_for_others)
{
	/* more than are kept, but for valgrind */
	const uint32_t N = RUNNING_ON_VALGRIND ? 60 : 600;
	struct outq *many = calloc(N, sizeof *many), first = q;
	append_apart(3);
	const void *array = q.list;
	ck_assert_ptr_nonnull(array);
	ck_assert_ptr_null(spare.first);
	drain();
	ck_assert_ptr_eq(spare.first, array);
	ck_assert_uint_eq(spare.bytes, sizeof(struct outq_list) + 16 * sizeof(struct slice));
	append_apart(100);
	ck_assert_ptr_null(spare.first);
	ck_assert_uint_eq(spare.bytes, 0);
	outq_cut(&q, keeper);
	ck_assert_uint_ge(spare.bytes, 100 * sizeof(struct slice)); /* as large as it had become */
	append_apart(100);
	first = q;
	for (uint32_t i = 0; i < N; i++) {
		q = (struct outq){.bytes = 0};
		append_apart(100);
		many[i] = q;
	}
	for (uint32_t i = 0; i < N; i++)
		outq_clear(&many[i], keeper);
	ck_assert_uint_gt(spare.bytes, 0);
	ck_assert_uint_le(spare.bytes, 1 << 20);
	free(many);
	q = first;
	n_got = 0;
	drain();
	expect_numbers(0, 100);
}
END_TEST

START_TEST(nothing_to_flush)
{
	ck_assert_int_eq(flush(), OUTQ_EMPTY);
	ck_assert_uint_eq(receive(SIZE_MAX), 0);
}
END_TEST

/* A peer that stands still pins its own bytes and not the chunks they came from. */
START_TEST(a_stalled_queue_copies_small_slices)
{
	uint32_t n = 0;
	for (; n < 1000; n++)
		append(n, 100);
	ck_assert_int_eq(flush(), OUTQ_STALLED);
	ck_assert_uint_eq(pool.current->refs, 1);
	for (; n < 2000; n++) { /* and what comes later is copied at once */
		append(n, 100);
		ck_assert_uint_eq(pool.current->refs, 1);
	}
	size_t held = 0;
	const struct outq_notes *b = outq_backlog(&q);
	for (const struct outq_notes_run *run = outq_notes_run(b, b->first); run != NULL;
	     run = outq_notes_run(b, run->next)) {
		ck_assert(run->s.chunk->owned);
		held += run->s.chunk->size;
	}
	ck_assert_uint_le(held, 2 * (size_t)q.bytes + 65536);
	drain();
	expect_numbers(0, 2000);
}
END_TEST

START_TEST(large_ones_stay_shared)
{
	struct slice large = numbered(0, 100000);
	ck_assert(outq_append(&q, &large, keeper));
	append(1, 100);
	ck_assert_int_eq(flush(), OUTQ_STALLED);
	ck_assert_uint_eq(large.chunk->refs, 2);
	struct slice another = numbered(2, 50000);
	ck_assert(outq_append(&q, &another, keeper));
	append(3, 100);
	ck_assert_uint_eq(another.chunk->refs, 2);
	drain();
	expect_numbers(0, 4);
	ck_assert_uint_eq(large.chunk->refs, 1);
	ck_assert_uint_eq(another.chunk->refs, 1);
	slice_unref(&large);
	slice_unref(&another);
}
END_TEST

/* Once everything is out the queue shares again. */
START_TEST(a_stall_ends)
{
	append(0, 100000);
	ck_assert_int_eq(flush(), OUTQ_STALLED);
	drain();
	ck_assert(!q.stalled);
	append(1, 100);
	ck_assert_uint_eq(pool.current->refs, 2);
	drain();
	expect_numbers(0, 2);
}
END_TEST

/* While a frame is under way an urgent one waits for its end, and no longer. */
START_TEST(urgent_ones_wait_for_a_boundary)
{
	size_t at = 0;
	append(0, 100000);
	append(1, 4);
	append(2, 4);
	ck_assert_int_eq(flush(), OUTQ_STALLED);
	ck_assert_uint_gt(q.begun, 0);
	urgent(7);
	drain();
	ck_assert_int_eq(next_frame(&at), 0);
	ck_assert_int_eq(next_frame(&at), -1 - 7);
	ck_assert_int_eq(next_frame(&at), 1);
	ck_assert_int_eq(next_frame(&at), 2);
	ck_assert_uint_eq(at, n_got);
	ck_assert(!outq_has_urgent(&q));
}
END_TEST

START_TEST(the_newest_urgent_one_counts)
{
	size_t at = 0;
	append(0, 100000);
	ck_assert_int_eq(flush(), OUTQ_STALLED);
	uint32_t before = q.bytes;
	for (uint8_t i = 0; i < 100; i++)
		urgent(i);
	ck_assert_uint_eq(q.bytes, before + 3);
	drain();
	ck_assert_int_eq(next_frame(&at), 0);
	ck_assert_int_eq(next_frame(&at), -1 - 99);
	ck_assert_uint_eq(at, n_got);
}
END_TEST

START_TEST(an_urgent_one_alone)
{
	size_t at = 0;
	urgent(5);
	drain();
	ck_assert_int_eq(next_frame(&at), -1 - 5);
	ck_assert_uint_eq(at, n_got);
}
END_TEST

/* What is no frames is not parted either. */
START_TEST(raw_bytes_are_not_parted)
{
	static char raw[30000];
	struct slice s;
	size_t at = sizeof raw + 10;
	memset(raw, 'r', sizeof raw);
	ck_assert(chunk_alloc(&pool, sizeof raw, &s));
	memcpy(slice_bytes(&s), raw, sizeof raw);
	ck_assert(outq_append_raw(&q, &s, keeper));
	slice_unref(&s);
	struct slice others = numbered(9, 50);
	ck_assert(chunk_alloc(&pool, 10, &s));
	memcpy(slice_bytes(&s), raw, 10);
	ck_assert(outq_append_raw(&q, &s, keeper));
	slice_unref(&s);
	slice_unref(&others);
	append(0, 4);
	ck_assert_int_eq(flush(), OUTQ_STALLED);
	urgent(1);
	drain();
	ck_assert_mem_eq(got, raw, sizeof raw);
	ck_assert_int_eq(next_frame(&at), -1 - 1);
	ck_assert_int_eq(next_frame(&at), 0);
	ck_assert_uint_eq(at, n_got);
}
END_TEST

START_TEST(a_cut_keeps_what_was_begun)
{
	append(0, 100000);
	for (uint32_t i = 1; i < 100; i++)
		append(i, 1000);
	append(100, 90000);
	ck_assert_int_eq(flush(), OUTQ_STALLED);
	urgent(3);
	uint32_t begun = q.begun;
	ck_assert_uint_gt(begun, 0);
	outq_cut(&q, keeper);
	ck_assert_uint_eq(q.bytes, begun);
	ck_assert(!outq_has_urgent(&q));
	append(777, 50);
	drain();
	size_t at = 0;
	ck_assert_int_eq(next_frame(&at), 0);
	ck_assert_int_eq(next_frame(&at), 777);
	ck_assert_uint_eq(at, n_got);
}
END_TEST

START_TEST(a_cut_at_a_boundary_keeps_nothing)
{
	for (uint32_t i = 0; i < 50; i++) {
		struct slice others = numbered(9999, 20);
		append(i, 1000);
		slice_unref(&others);
	}
	outq_cut(&q, keeper);
	ck_assert_uint_eq(q.bytes, 0);
	ck_assert_uint_eq(outq_n(&q), 0);
	ck_assert_ptr_null(q.list);
	ck_assert_uint_eq(pool.current->refs, 1);
	append(50, 10);
	drain();
	expect_numbers(50, 51);
}
END_TEST

START_TEST(a_cut_of_raw_bytes_and_frames)
{
	struct slice s;
	ck_assert(chunk_alloc(&pool, 100, &s));
	memset(slice_bytes(&s), 'r', 100);
	ck_assert(outq_append_raw(&q, &s, keeper));
	append(1, 10); /* in the same slice */
	append(2, 20000);
	slice_unref(&s);
	outq_cut(&q, keeper);
	ck_assert_uint_eq(q.bytes, 100);
	drain();
	ck_assert_uint_eq(n_got, 100);
}
END_TEST

START_TEST(a_broken_socket)
{
	append(0, 200000);
	ck_assert_int_eq(flush(), OUTQ_STALLED);
	close(fds[1]);
	fds[1] = -1;
	ck_assert_int_eq(flush(), OUTQ_BROKEN);
	ck_assert(errno == EPIPE || errno == ECONNRESET);
	append(1, 100);
	ck_assert_int_eq(flush(), OUTQ_BROKEN);
}
END_TEST

START_TEST(no_memory_changes_nothing)
{
	struct slice a = numbered(0, 100), b = numbered(1, 100), c = numbered(2, 100),
		     large = numbered(3, 60000);
	ck_assert(outq_append(&q, &a, keeper));
	no_memory = true; /* for Check's assertions too: they wait */
	bool apart = outq_append(&q, &c, keeper), beside = outq_append(&q, &b, keeper),
	     pong = outq_urgent(&q, (const uint8_t *)"\x8a\0", 2, keeper);
	no_memory = false;
	ck_assert(!apart && !pong);
	ck_assert(beside); /* a neighbour needs none */
	ck_assert_uint_eq(outq_n(&q), 1);
	ck_assert_uint_eq(q.bytes, a.len + b.len);
	/* the pool's, the three slices' above and the queue's */
	ck_assert_uint_eq(c.chunk->refs, 5);
	ck_assert(outq_append(&q, &c, keeper));
	ck_assert(outq_append(&q, &large, keeper));
	uint64_t sent = 0;
	no_memory = true;
	enum outq_status status = outq_flush(&q, fds[0], NULL, keeper, &sent);
	bool copied = outq_append(&q, &a, keeper); /* where it must be copied it can not be */
	no_memory = false;
	ck_assert_int_eq(status, OUTQ_STALLED);
	ck_assert(!copied);
	ck_assert_uint_eq(q.bytes + sent, a.len + b.len + c.len + large.len);
	slice_unref(&a);
	slice_unref(&b);
	slice_unref(&c);
	slice_unref(&large);
	drain();
	expect_numbers(0, 4);
}
END_TEST

/* Frames of any size, urgent ones, cuts and a reader of moods: what arrives are whole frames in
 * order, none missing but those that a cut can have taken. */
START_TEST(random_traffic)
{
	unsigned seed = (unsigned)_i * 104729 + 3;
	uint32_t number = 0, cut_at[1000], n_cuts = 0, pongs = 0;
	printf("outq: seed %u\n", seed);
	for (int step = 0; step < (RUNNING_ON_VALGRIND ? 400 : 4000); step++) {
		unsigned dice = (unsigned)rand_r(&seed) % 100;
		if (dice < 50) {
			append(number++, 4 + (unsigned)rand_r(&seed) % (dice == 0  ? 100000
									: dice < 5 ? 20000
										   : 300));
		} else if (dice < 52 && n_cuts < 1000) {
			/* What is waiting is lost but for a frame begun; its number is that of no
			 * later one. */
			outq_cut(&q, keeper);
			cut_at[n_cuts++] = number;
		} else if (dice < 60 && q.stalled) {
			urgent((uint8_t)number);
			pongs++;
		} else if (dice < 75) {
			struct slice others = numbered(1, 30);
			slice_unref(&others);
		} else if (dice < 90) {
			flush();
		} else {
			receive((unsigned)rand_r(&seed) % 5000);
		}
		if (q.bytes > 3 << 20)
			drain();
	}
	drain();
	size_t at = 0;
	int64_t last = -1;
	uint32_t seen_pongs = 0;
	while (at < n_got) {
		int64_t f = next_frame(&at);
		if (f < 0) {
			seen_pongs++;
			continue;
		}
		ck_assert_int_gt(f, last);
		if (f != last + 1) { /* a gap ends where a cut was */
			bool at_cut = false;
			for (uint32_t i = 0; i < n_cuts; i++)
				at_cut = at_cut || f == cut_at[i];
			ck_assert_msg(at_cut, "frames %" PRId64 " to %" PRId64 " are missing",
				      last + 1, f - 1);
		}
		last = f;
	}
	ck_assert_uint_le(seen_pongs, pongs);
	ck_assert_uint_eq(pool.current == NULL ? 1 : pool.current->refs, 1);
}
END_TEST

/* --- giving up -------------------------------------------------------------------------------- */

#define BOUND 32768

static uint64_t note_of(uint32_t number)
{
	return number % 10 == 0 ? OUTQ_NOTES_KEEP : number % 6 + 1;
}

static void add(const struct slice *s)
{
	uint64_t before = outq_weight(&q);
	ck_assert(outq_append(&q, s, keeper));
	outq_admitted(&q, before);
}

/* As a connection does it: what others send is queued if it has room, or gets some. */
static bool squeeze(uint32_t number, size_t len, bool conflate)
{
	struct slice s = numbered(number, len);
	bool keep = note_of(number) == OUTQ_NOTES_KEEP, room = true;
	ck_assert(chunk_note(&s, note_of(number)));
	if (!q.stalled && outq_weight(&q) + s.len > BOUND)
		flush();
	spare.turn++;
	delivery_number = number;
	if (q.bytes > 0 && q.stalled && !outq_admits(&q, s.len, keep, keeper))
		room = outq_make_way(&q, &s, conflate, keeper) == OUTQ_ROOM;
	if (room)
		add(&s);
	slice_unref(&s);
	return room;
}

/* What arrives are whole frames in order, with every one that was to be kept and, where only those
 * with newer ones are given up, the newest of each key. */
static void random_giving_up(unsigned seed, bool conflate)
{
	spare.max = BOUND;
	static int64_t newest[8];
	uint32_t number = 0, kept = 0, most = 0;
	bool lost = false;
	printf("outq: giving up, seed %u\n", seed);
	memset(newest, -1, sizeof newest);
	for (int step = 0; step < (RUNNING_ON_VALGRIND ? 1000 : 8000); step++) {
		unsigned dice = (unsigned)rand_r(&seed) % 100, r = (unsigned)rand_r(&seed);
		if (dice < 80) {
			bool room =
				squeeze(number, 4 + (dice == 0 ? r % 20000 : r % 400), conflate);
			if (room && note_of(number) != OUTQ_NOTES_KEEP)
				newest[note_of(number)] = number;
			lost = lost || !room;
			kept += note_of(number) == OUTQ_NOTES_KEEP;
			number++;
			most = q.bytes > most ? q.bytes : most;
		} else if (dice < 83 && q.stalled) {
			urgent((uint8_t)number);
		} else if (dice < 95) {
			flush();
		} else {
			receive(r % 4000);
		}
	}
	drain();
	size_t at = 0;
	int64_t last = -1, last_of[8];
	uint32_t seen_kept = 0;
	memset(last_of, -1, sizeof last_of);
	while (at < n_got) {
		int64_t f = next_frame(&at);
		if (f < 0)
			continue;
		ck_assert_int_gt(f, last);
		last = f;
		seen_kept += note_of((uint32_t)f) == OUTQ_NOTES_KEEP;
		if (note_of((uint32_t)f) != OUTQ_NOTES_KEEP)
			last_of[note_of((uint32_t)f)] = f;
	}
	ck_assert_uint_eq(seen_kept, kept);
	ck_assert(!conflate || lost || memcmp(newest, last_of, sizeof newest) == 0);
	ck_assert_uint_gt(spare.account.given_up, 0);
	ck_assert_uint_eq(spare.account.held, 0);
	ck_assert(conflate == (spare.account.conflated > 0));
	ck_assert_uint_lt(most, 40 * BOUND);
	spare.account.given_up = spare.account.conflated = 0;
}

START_TEST(giving_up_the_oldest)
{
	random_giving_up((unsigned)_i * 31337 + 5, false);
}
END_TEST

START_TEST(giving_up_what_is_newer)
{
	random_giving_up((unsigned)_i * 31337 + 6, true);
}
END_TEST

/* A backlog is cut and cleared as any queue. */
START_TEST(a_backlog_is_cut)
{
	uint32_t number = 1;
	spare.max = BOUND;
	for (int i = 0; i < 400; i++, number += number % 10 == 9 ? 2 : 1)
		squeeze(number, 400, false);
	ck_assert_ptr_nonnull(outq_backlog(&q));
	uint32_t begun = q.begun;
	ck_assert_uint_gt(begun, 0);
	urgent(1);
	outq_cut(&q, keeper);
	ck_assert_uint_eq(q.bytes, begun);
	append(5000, 10);
	drain();
	size_t at = 0;
	int64_t f = 0;
	while (at < n_got)
		f = next_frame(&at);
	ck_assert_int_eq(f, 5000);
	ck_assert_ptr_null(outq_backlog(&q));
	for (int i = 0; i < 400; i++)
		squeeze(number, 400, true);
	outq_clear(&q, keeper);
	ck_assert_uint_eq(spare.account.held, 0);
	spare.account.given_up = spare.account.conflated = 0;
}
END_TEST

START_TEST(giving_up_takes_no_memory)
{
	uint32_t number = 1;
	spare.max = BOUND;
	while (!q.stalled || outq_weight(&q) + 2000 < BOUND)
		squeeze(number++, 500, false);
	struct slice s = numbered(number, 3000);
	no_memory = true;
	enum outq_room room = outq_make_way(&q, &s, false, keeper);
	no_memory = false;
	ck_assert_int_eq(room, OUTQ_ROOM);
	ck_assert_uint_le(outq_weight(&q) + s.len, BOUND);
	slice_unref(&s);
	ck_assert_uint_gt(spare.account.given_up, 0);
	spare.account.given_up = 0;
}
END_TEST

/* --- the bound -------------------------------------------------------------------------------- */

static uint32_t sent_numbers;

/* One message of a delivery; false: it is not let in. */
static bool deliver(uint32_t delivery, size_t len, bool own)
{
	struct slice s = numbered(sent_numbers, len);
	delivery_number = delivery;
	bool in = outq_admits(&q, s.len, own, keeper);
	if (in) {
		add(&s);
		sent_numbers++;
	}
	slice_unref(&s);
	return in;
}

/* A queue that has been stalled for some turns, with little in it. */
static void stall(void)
{
	spare.max = BOUND;
	sent_numbers = 0;
	while (!q.stalled) {
		append(sent_numbers++, 100);
		flush();
	}
	spare.turn++;
	ck_assert_uint_lt(q.bytes, 200);
}

START_TEST(a_delivery_is_like_one_message)
{
	stall();
	for (int i = 0; i < 20; i++)
		ck_assert(deliver(1, 20000, false));
	uint32_t large = q.bytes;
	ck_assert_uint_gt(large, 12 * BOUND);
	uint32_t n = 2;
	/* what comes while that is on its way is judged as if it was not there */
	while (deliver(n, 100, false))
		n++;
	ck_assert_uint_le(q.bytes, large + BOUND + 200);
	ck_assert_uint_ge(q.bytes, large + BOUND - 300);
	ck_assert(!deliver(n, 100, false)); /* and stays refused as long as nothing is read */
	ck_assert(!deliver(++n, 50000, false));
	while (q.bytes > large)
		receive(4096), flush();
	/* of the large one some is still there, and what waits behind it is nearly as much as
	 * before */
	while (deliver(++n, 100, false))
		ck_assert_uint_lt(q.bytes, large + 1000);
	while (q.bytes > BOUND / 2)
		receive(4096), flush();
	ck_assert(deliver(++n, 100, false));
	drain();
	expect_numbers(0, sent_numbers);
}
END_TEST

START_TEST(there_is_one_at_a_time)
{
	stall();
	for (uint32_t delivery = 1; delivery <= 2; delivery++)
		for (int i = 0; i < 10; i++)
			ck_assert(deliver(delivery, 20000, false));
	ck_assert(!deliver(3, 100, false)); /* the second counts */
	/* an answer goes in always, and does not count for what comes later */
	for (int i = 0; i < 10; i++)
		ck_assert(deliver(4, 20000, true));
	ck_assert(!deliver(5, 100, false));
	while (q.bytes > 220000) /* half of the second has left */
		receive(4096), flush();
	ck_assert(!deliver(6, 100, false));
	drain();
	stall();
	/* one message that is more than the bound is like a delivery that is */
	ck_assert(deliver(7, 200000, false));
	ck_assert(deliver(8, 100, false));
}
END_TEST

START_TEST(answers_do_not_count)
{
	stall();
	for (uint32_t delivery = 1; delivery <= 3; delivery++)
		for (int i = 0; i < 10; i++)
			ck_assert(deliver(delivery, 20000, true));
	uint32_t answers = q.bytes, n = 4;
	while (deliver(n, 100, false))
		n++;
	ck_assert_uint_ge(q.bytes, answers + BOUND - 20000);
	ck_assert_uint_le(q.bytes, answers + BOUND + 200);
}
END_TEST

/* Before the socket was found full in this turn nothing had its chance. */
START_TEST(what_came_at_once_is_one_delivery)
{
	spare.max = BOUND;
	sent_numbers = 0;
	while (!q.stalled) {
		append(sent_numbers++, 10000);
		outq_flush(&q, fds[0], NULL, keeper, &(uint64_t){0});
	}
	for (uint32_t delivery = 1; delivery < 20; delivery++)
		ck_assert(deliver(delivery, 10000, false));
	spare.turn++;
	uint32_t n = 20, before = q.bytes;
	while (deliver(n, 1000, false))
		n++;
	ck_assert_uint_ge(q.bytes, before + BOUND - 2000);
	ck_assert_uint_le(q.bytes, before + BOUND + 1100);
	drain();
	expect_numbers(0, sent_numbers);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("outq");
	TCase *tc = tcase_create("outq");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, neighbours_become_one);
	tcase_add_test(tc, many_slices);
	tcase_add_test(tc, arrays_are_kept_for_others);
	tcase_add_test(tc, nothing_to_flush);
	tcase_add_test(tc, a_stalled_queue_copies_small_slices);
	tcase_add_test(tc, large_ones_stay_shared);
	tcase_add_test(tc, a_stall_ends);
	tcase_add_test(tc, urgent_ones_wait_for_a_boundary);
	tcase_add_test(tc, the_newest_urgent_one_counts);
	tcase_add_test(tc, an_urgent_one_alone);
	tcase_add_test(tc, raw_bytes_are_not_parted);
	tcase_add_test(tc, a_cut_keeps_what_was_begun);
	tcase_add_test(tc, a_cut_at_a_boundary_keeps_nothing);
	tcase_add_test(tc, a_cut_of_raw_bytes_and_frames);
	tcase_add_test(tc, a_broken_socket);
	tcase_add_test(tc, no_memory_changes_nothing);
	tcase_add_loop_test(tc, random_traffic, 0, 8);
	tcase_add_loop_test(tc, giving_up_the_oldest, 0, 6);
	tcase_add_loop_test(tc, giving_up_what_is_newer, 0, 6);
	tcase_add_test(tc, a_backlog_is_cut);
	tcase_add_test(tc, giving_up_takes_no_memory);
	tcase_add_test(tc, a_delivery_is_like_one_message);
	tcase_add_test(tc, there_is_one_at_a_time);
	tcase_add_test(tc, answers_do_not_count);
	tcase_add_test(tc, what_came_at_once_is_one_delivery);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
