/* Messages compressed for one connection and for many, as a client of each kind reads them, with
 * and without memory. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "net/deflate_context.h"
#include "ws/frame.h"
#include "run.h"

/* --- memory ----------------------------------------------------------------------------------- */

static long left = -1; /* allocations that still succeed; -1: all do */
static bool counting;  /* else it is not the host who allocates, but the test */
static unsigned long allocations;

static bool memory_fails(void)
{
	if (!counting)
		return false;
	allocations++;
	if (left > 0)
		left--;
	return left == 0;
}

void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_malloc(size_t n)
{
	return memory_fails() ? NULL : __real_malloc(n);
}

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
	return memory_fails() ? NULL : __real_calloc(n, size);
}

/* --- a loop and its clients ------------------------------------------------------------------- */

static struct deflate_contexts contexts;
static struct chunk_pool chunks;
static struct stats stats;

static struct deflate_limits limits_of(bool keep)
{
	return (struct deflate_limits){.policy = {.on = true,
						  .keep_in = keep,
						  .keep_out = keep,
						  .bits = 15},
				       .level = 6,
				       .min = 50,
				       .memory = 8 << 20};
}

static void start(bool keep)
{
	const struct deflate_limits limits = limits_of(keep);
	stats = (struct stats){0};
	deflate_contexts_init(&contexts, &chunks, &stats);
	deflate_contexts_set_limits(&contexts, &limits);
}

static void stop(void)
{
	deflate_contexts_free(&contexts);
	chunk_pool_free(&chunks);
	ck_assert_uint_eq(stats.deflate_memory, 0);
	ck_assert_uint_eq(stats.deflate_connections, 0);
}

struct client {
	unsigned bits; /* 0: plain */
	struct deflate_context *kept;
	z_stream z;
};

static unsigned accept_offer(const char *offer, bool may_keep, struct deflate_context **kept_r)
{
	static const struct request_limits any = {.head_max = 1 << 16, .headers_max = 100};
	static struct request r;
	static char head[1024];
	char answer[DEFLATE_ANSWER_MAX];
	size_t n = (size_t)
		       snprintf(head, sizeof head,
				"GET / HTTP/1.1\r\nHost: h\r\nSec-WebSocket-Extensions: %s\r\n\r\n",
				offer),
	       used;
	const char *why;
	int status;
	ck_assert_int_eq(request_parse(&r, &any, head, n, NULL, &used, &status, &why), REQUEST_OK);
	counting = true;
	unsigned bits = deflate_contexts_accept(&contexts, &r, may_keep, kept_r, answer);
	counting = false;
	ck_assert_int_eq(bits == 0, answer[0] == '\0');
	return bits;
}

static struct client client_new(const char *offer)
{
	struct client c = {.bits = 0};
	if (offer != NULL)
		c.bits = accept_offer(offer, true, &c.kept);
	ck_assert_int_eq(c.bits != 0, offer != NULL);
	return c;
}

static void client_free(struct client *c)
{
	if (c->bits != 0)
		deflate_contexts_leave(&contexts, c->kept);
	if (c->z.state != NULL)
		inflateEnd(&c->z);
}

/* A frame as commit writes it. */
static struct slice frame_of(const char *text, size_t n)
{
	uint8_t head[FRAME_SERVER_HEAD_MAX];
	size_t len = frame_head(head, FRAME_TEXT, n);
	struct slice s;
	ck_assert(chunk_alloc(&chunks, len + n, &s));
	memcpy(slice_bytes(&s), head, len);
	memcpy(slice_bytes(&s) + len, text, n);
	return s;
}

/* What this client gets, inflated by zlib itself with the window that was agreed on. Returns
 * whether it came compressed. */
static bool receives(struct client *c, struct out_message *o, const char *text, size_t n)
{
	struct slice packed;
	counting = true;
	bool is_packed =
		c->bits != 0 && deflate_contexts_frame(&contexts, c->kept, c->bits, o, &packed);
	counting = false;
	if (!is_packed)
		return false;
	const uint8_t *p = slice_bytes(&packed);
	ck_assert_uint_eq(p[0], 0x80 | 0x40 | FRAME_TEXT);
	ck_assert_uint_eq(frame_size(p, packed.len), packed.len);
	ck_assert_uint_lt(packed.len, n);
	size_t head = p[1] < 126 ? 2 : p[1] == 126 ? 4 : 10, len = packed.len - head;
	uint8_t *in = __real_malloc(len + 4), *out = __real_malloc(n + 1);
	memcpy(in, p + head, len);
	memcpy(in + len, "\x00\x00\xFF\xFF", 4);
	if (c->z.state == NULL)
		ck_assert_int_eq(inflateInit2(&c->z, -(int)c->bits), Z_OK);
	else if (c->kept == NULL || !c->kept->keep_out)
		inflateReset(&c->z);
	c->z.next_in = in;
	c->z.avail_in = (uInt)len + 4;
	c->z.next_out = out;
	c->z.avail_out = (uInt)n + 1;
	ck_assert_int_eq(inflate(&c->z, Z_SYNC_FLUSH), Z_OK);
	ck_assert_uint_eq(c->z.avail_out, 1);
	ck_assert_mem_eq(out, text, n);
	free(in);
	free(out);
	slice_unref(&packed);
	return true;
}

/* Sends to all; returns a bit for each that got it compressed. */
static unsigned tell(struct client *clients, unsigned n_clients, bool shared, const char *text,
		     size_t n)
{
	struct slice frame = frame_of(text, n);
	struct out_message o;
	unsigned packed = 0;
	out_message_init(&o, &frame, shared);
	for (unsigned i = 0; i < n_clients; i++)
		packed |= (unsigned)receives(&clients[i], &o, text, n) << i;
	out_message_free(&o);
	slice_unref(&frame);
	return packed;
}

static char *prose(size_t n, unsigned seed)
{
	static const char *const words[] = {"room ",  "message ", "the ",	 "of ",
					    "name: ", "lobby ",	  "0123456789 ", "join "};
	char *p = __real_malloc(n + 16);
	for (size_t at = 0; at < n;) {
		const char *word = words[(seed = seed * 1103515245u + 12345u) >> 16 & 7];
		strcpy(p + at, word);
		at += strlen(word);
	}
	return p;
}

#define PD "permessage-deflate"

/* --- tests ------------------------------------------------------------------------------------ */

START_TEST(once_for_each_window)
{
	struct client c[5] = {{.bits = 0}};
	char *text = prose(20000, 1);
	start(_i);
	c[1] = client_new(PD);
	c[2] = client_new(PD "; server_max_window_bits=9");
	c[3] = client_new(PD);
	c[4] = client_new(PD "; server_max_window_bits=9");
	ck_assert_uint_eq(tell(c, 5, true, text, 20000), 0x1E);
	ck_assert_uint_eq(stats.deflated, 2);
	ck_assert_uint_eq(stats.deflated_from, 40000);
	/* all of it lies in the smaller window */
	ck_assert_uint_eq(tell(c, 5, true, text, 200), 0x1E);
	ck_assert_uint_eq(stats.deflated, 3);
	ck_assert_uint_eq(tell(c, 5, true, text, 49), 0); /* too short */
	ck_assert_uint_eq(tell(c, 5, false, text, 49), 0);
	ck_assert_uint_eq(stats.deflated, 3);
	for (unsigned i = 0; i < 5; i++)
		client_free(&c[i]);
	stop();
	free(text);
}
END_TEST

START_TEST(own_and_shared_in_turn)
{
	struct client c[3];
	unsigned seed = 9;
	start(true);
	c[0] = client_new(PD);
	c[1] = client_new(PD "; server_no_context_takeover");
	c[2] = client_new(PD "; server_max_window_bits=10");
	for (int i = 0; i < 300; i++) {
		seed = seed * 1103515245u + 12345u;
		size_t n = 50 + (seed >> 16) % 3000;
		char *text = prose(n, seed >> 24 & 7);
		if (i % 7 == 0) /* some that do not shrink */
			for (size_t k = 0; k < n; k++)
				text[k] = (char)((seed = seed * 1664525u + 1013904223u) >> 24);
		unsigned packed = i % 3 == 0 ? tell(c, 3, true, text, n)
					     : tell(&c[i / 3 % 3], 1, false, text, n);
		ck_assert_int_eq(packed == 0, i % 7 == 0 || (n < 70 && packed == 0));
		free(text);
	}
	for (unsigned i = 0; i < 3; i++)
		client_free(&c[i]);
	stop();
}
END_TEST

START_TEST(what_is_lost_is_not_referred_to)
{
	char *text = prose(1000, 2);
	struct out_message o;
	struct slice packed;
	start(true);
	struct client c = client_new(PD);
	ck_assert_uint_eq(tell(&c, 1, false, text, 1000), 1);
	struct slice frame = frame_of(text + 500, 500);
	out_message_init(&o, &frame, false);
	ck_assert(deflate_contexts_frame(&contexts, c.kept, c.bits, &o,
					 &packed)); /* and it is not sent */
	deflate_context_lost(c.kept);
	slice_unref(&packed);
	slice_unref(&frame);
	for (int i = 0; i < 3; i++)
		ck_assert_uint_eq(tell(&c, 1, false, text + 500, 500), 1);
	client_free(&c);
	stop();
	free(text);
}
END_TEST

START_TEST(another_level)
{
	struct deflate_limits limits = limits_of(false);
	char *text = prose(5000, 3);
	start(false);
	struct client c = client_new(PD);
	ck_assert_uint_eq(tell(&c, 1, true, text, 5000), 1);
	size_t quick, small = stats.deflated_to;
	limits.level = 1;
	deflate_contexts_set_limits(&contexts, &limits);
	ck_assert_uint_eq(tell(&c, 1, true, text, 5000), 1);
	quick = stats.deflated_to - small;
	ck_assert_uint_gt(quick, small);
	client_free(&c);
	stop();
	free(text);
}
END_TEST

START_TEST(the_budget)
{
	struct deflate_limits limits = limits_of(true);
	struct deflate_context *c[10];
	unsigned kept = 0;
	start(true);
	limits.memory = 2 << 20;
	deflate_contexts_set_limits(&contexts, &limits);
	for (unsigned i = 0; i < 10; i++) {
		ck_assert_uint_eq(accept_offer(PD, true, &c[i]), 15);
		kept += c[i] != NULL;
	}
	ck_assert_uint_eq(kept, 5); /* of about 300 KiB each, in three quarters of it */
	ck_assert_uint_eq(stats.deflate_denied, 5);
	ck_assert_uint_le(stats.deflate_memory, (2 << 20) / 4 * 3);
	deflate_contexts_leave(&contexts, c[0]);
	ck_assert_uint_eq(accept_offer(PD, true, &c[0]), 15);
	ck_assert(c[0] != NULL && c[0]->keep_out && c[0]->keep_in);
	limits.memory = 0;
	deflate_contexts_set_limits(&contexts, &limits); /* a reload; who is there stays */
	for (unsigned i = 0; i < 10; i++)
		deflate_contexts_leave(&contexts, c[i]);
	ck_assert_uint_eq(accept_offer(PD, true, &c[0]), 15);
	ck_assert_ptr_null(c[0]);
	deflate_contexts_leave(&contexts, c[0]);
	limits.memory = 8 << 20;
	deflate_contexts_set_limits(&contexts, &limits);
	/* not all that is sent to it arrives */
	ck_assert_uint_eq(accept_offer(PD, false, &c[0]), 15);
	ck_assert(c[0] != NULL && !c[0]->keep_out && c[0]->keep_in);
	deflate_contexts_leave(&contexts, c[0]);
	stop();
}
END_TEST

/* Whatever can not be had: what comes is right, compressed or not. */
START_TEST(no_memory)
{
	char *text = prose(30000, 4);
	bool done = false;
	for (long at = 1; !done; at++) {
		struct client c[2];
		start(_i);
		c[0] = client_new(PD);
		c[1] = client_new(PD "; server_max_window_bits=12");
		left = at;
		for (int i = 0; i < 2; i++) {
			tell(c, 2, true, text, 3000);
			tell(&c[0], 1, false, text, 2000);
			tell(&c[1], 1, false, text + 2000, 28000);
		}
		done = left > 0;
		left = -1;
		ck_assert_uint_eq(tell(c, 2, true, text, 9000), 3); /* and all is well again */
		ck_assert_uint_eq(tell(&c[0], 1, false, text, 9000), 1);
		client_free(&c[0]);
		client_free(&c[1]);
		stop();
	}
	struct deflate_context *kept;
	start(true);
	left = 1;
	ck_assert_uint_eq(accept_offer(PD, true, &kept), 15);
	ck_assert_ptr_null(kept);
	left = -1;
	deflate_contexts_leave(&contexts, kept);
	stop();
	free(text);
}
END_TEST

/* Once it has what it needs. */
START_TEST(no_allocation_for_a_message)
{
	char *text = prose(3000, 5);
	struct client c[3];
	start(true);
	c[0] = client_new(PD);
	c[1] = client_new(PD "; server_no_context_takeover");
	c[2] = client_new(NULL);
	for (int i = 0; i < 2; i++) {
		allocations = 0;
		for (int k = 0; k < 100; k++) {
			tell(c, 3, true, text, 3000);
			tell(&c[0], 1, false, text, 3000);
			tell(&c[1], 1, false, text, 1000);
		}
	}
	ck_assert_uint_eq(allocations, 0);
	for (unsigned i = 0; i < 3; i++)
		client_free(&c[i]);
	stop();
	free(text);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("deflate_context");
	TCase *tc = tcase_create("deflate_context");
	tcase_add_loop_test(tc, once_for_each_window, 0, 2);
	tcase_add_test(tc, own_and_shared_in_turn);
	tcase_add_test(tc, what_is_lost_is_not_referred_to);
	tcase_add_test(tc, another_level);
	tcase_add_test(tc, the_budget);
	tcase_add_loop_test(tc, no_memory, 0, 2);
	tcase_add_test(tc, no_allocation_for_a_message);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
