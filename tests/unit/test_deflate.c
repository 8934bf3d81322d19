/* What permessage-deflate agrees on (RFC 7692 7.1), and messages compressed, which zlib by itself
 * inflates again. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "ws/deflate.h"
#include "run.h"

/* --- negotiation ------------------------------------------------------------------------------ */

static struct request request;
static char head[8192];

static void parse(const char *const offers[], size_t n)
{
	const struct request_limits limits = {.head_max = sizeof head, .headers_max = 100};
	size_t len = (size_t)snprintf(head, sizeof head, "GET / HTTP/1.1\r\nHost: h\r\n"), used;
	const char *why = "";
	int status;

	for (size_t i = 0; i < n; i++)
		len += (size_t)snprintf(head + len, sizeof head - len,
					"Sec-WebSocket-Extensions: %s\r\n", offers[i]);
	len += (size_t)snprintf(head + len, sizeof head - len, "\r\n");
	ck_assert_int_eq(request_parse(&request, &limits, head, len, NULL, &used, &status, &why),
			 REQUEST_OK);
}

/* What is answered to the offers, without the line's name and end; "" when all are declined. */
static const char *answer_all(const struct deflate_policy *policy, const char *const offers[],
			      size_t n)
{
	static const char name[] = "Sec-WebSocket-Extensions: ";
	static char text[DEFLATE_ANSWER_MAX];
	struct deflate_terms terms;
	size_t len;

	parse(offers, n);
	if (!deflate_negotiate(&request, policy, &terms))
		return "";
	len = deflate_answer(&terms, text);
	ck_assert_uint_eq(len, strlen(text));
	ck_assert_uint_lt(len, sizeof text);
	ck_assert(strncmp(text, name, strlen(name)) == 0 && strcmp(text + len - 2, "\r\n") == 0);
	text[len - 2] = '\0';
	return text + strlen(name);
}

static const char *answer(const struct deflate_policy *policy, const char *offer)
{
	return answer_all(policy, &offer, 1);
}

static const struct deflate_policy
	both = {.on = true, .keep_out = true, .keep_in = true, .bits = 15},
	none = {.on = true, .bits = 15},
	small = {.on = true, .keep_out = true, .keep_in = true, .bits = 11};

#define PD "permessage-deflate"
#define SNCT "; server_no_context_takeover"
#define CNCT "; client_no_context_takeover"

START_TEST(offers)
{
	static const struct {
		const char *offer, *both, *none, *small;
	} cases[] = {
		{PD, PD, PD SNCT CNCT, PD CNCT},
		{PD SNCT, PD SNCT, PD SNCT CNCT, PD SNCT CNCT},
		{PD CNCT, PD CNCT, PD SNCT CNCT, PD CNCT},
		{PD CNCT SNCT, PD SNCT CNCT, PD SNCT CNCT, PD SNCT CNCT},
		{PD "; client_max_window_bits", PD, PD SNCT CNCT, PD "; client_max_window_bits=11"},
		{PD "; client_max_window_bits=15", PD, PD SNCT CNCT,
		 PD "; client_max_window_bits=11"},
		{PD "; client_max_window_bits=10", PD "; client_max_window_bits=10",
		 PD SNCT CNCT "; client_max_window_bits=10", PD "; client_max_window_bits=10"},
		{PD "; client_max_window_bits=8", PD "; client_max_window_bits=8",
		 PD SNCT CNCT "; client_max_window_bits=8", PD "; client_max_window_bits=8"},
		{PD "; server_max_window_bits=15", PD "; server_max_window_bits=15",
		 PD SNCT CNCT "; server_max_window_bits=15", PD CNCT "; server_max_window_bits=11"},
		{PD "; server_max_window_bits=9", PD "; server_max_window_bits=9",
		 PD SNCT CNCT "; server_max_window_bits=9", PD CNCT "; server_max_window_bits=9"},
		{PD "; server_max_window_bits=\"10\"", PD "; server_max_window_bits=10",
		 PD SNCT CNCT "; server_max_window_bits=10", PD CNCT "; server_max_window_bits=10"},
		{PD "; server_max_window_bits=\"1\\0\"", PD "; server_max_window_bits=10",
		 PD SNCT CNCT "; server_max_window_bits=10", PD CNCT "; server_max_window_bits=10"},
		{"Permessage-Deflate ;\tSERVER_no_context_takeover ", PD SNCT, PD SNCT CNCT,
		 PD SNCT CNCT},
		/* zlib can not compress with that */
		{PD "; server_max_window_bits=8", "", "", ""},
		/* no number from 8 to 15 */
		{PD "; server_max_window_bits", "", "", ""},
		{PD "; server_max_window_bits=7", "", "", ""},
		{PD "; server_max_window_bits=16", "", "", ""},
		{PD "; server_max_window_bits=010", "", "", ""},
		{PD "; server_max_window_bits=09", "", "", ""},
		{PD "; server_max_window_bits=100", "", "", ""},
		{PD "; server_max_window_bits=1x", "", "", ""},
		{PD "; server_max_window_bits=-9", "", "", ""},
		{PD "; server_max_window_bits=0", "", "", ""},
		{PD "; server_max_window_bits=+9", "", "", ""},
		{PD "; client_max_window_bits=7", "", "", ""},
		{PD "; client_max_window_bits=16", "", "", ""},
		{PD "; client_max_window_bits=08", "", "", ""},
		{PD "; client_max_window_bits=\"9\\9\"", "", "", ""},
		/* a value where none may be */
		{PD "; server_no_context_takeover=1", "", "", ""},
		{PD "; client_no_context_takeover=9", "", "", ""},
		{PD "; client_no_context_takeover=true", "", "", ""},
		/* twice, or unknown */
		{PD SNCT SNCT, "", "", ""},
		{PD CNCT CNCT, "", "", ""},
		{PD "; server_max_window_bits=10; server_max_window_bits=10", "", "", ""},
		{PD "; client_max_window_bits; client_max_window_bits=10", "", "", ""},
		{PD "; foo", "", "", ""},
		{PD SNCT "; foo=bar", "", "", ""},
		{PD "; server_max_window_bits_=10", "", "", ""},
		/* another extension */
		{"x-webkit-deflate-frame", "", "", ""},
		{"permessage-bzip2; server_max_window_bits=10", "", "", ""},
		{"permessage-deflate-x", "", "", ""},
		/* several, of which the first that can be is taken */
		{PD "; server_max_window_bits=8, " PD, PD, PD SNCT CNCT, PD CNCT},
		{PD "; foo=1, " PD
		    "; server_max_window_bits=10; server_max_window_bits=10, x, " PD SNCT ", " PD,
		 PD SNCT, PD SNCT CNCT, PD SNCT CNCT},
		{PD "; server_max_window_bits=9, " PD SNCT, PD "; server_max_window_bits=9",
		 PD SNCT CNCT "; server_max_window_bits=9", PD CNCT "; server_max_window_bits=9"},
		{"x; y=1, " PD "; client_max_window_bits", PD, PD SNCT CNCT,
		 PD "; client_max_window_bits=11"},
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		ck_assert_str_eq(answer(&both, cases[i].offer), cases[i].both);
		ck_assert_str_eq(answer(&none, cases[i].offer), cases[i].none);
		ck_assert_str_eq(answer(&small, cases[i].offer), cases[i].small);
		ck_assert_str_eq(answer(&(struct deflate_policy){.bits = 15}, cases[i].offer), "");
	}
}
END_TEST

START_TEST(offers_in_several_headers)
{
	static const char *const three[] = {"x, y", PD "; server_max_window_bits=7",
					    PD CNCT ", " PD};

	ck_assert_str_eq(answer_all(&both, three, 3), PD CNCT);
	ck_assert_str_eq(answer_all(&both, three, 2), "");
	ck_assert_str_eq(answer_all(&both, three, 0), "");
}
END_TEST

/* The longest answer there is. */
START_TEST(everything_is_said)
{
	const struct deflate_policy policy = {.on = true, .bits = 14};

	ck_assert_str_eq(answer(&policy, PD SNCT CNCT
				"; server_max_window_bits=15; client_max_window_bits=14"),
			 PD SNCT CNCT "; server_max_window_bits=14; client_max_window_bits=14");
}
END_TEST

/* --- compressing ------------------------------------------------------------------------------ */

/* Text that repeats itself over many distances. */
static uint8_t *prose(size_t n, unsigned seed)
{
	static const char *const words[] = {"room ",	 "message ", "the ",	    "of ",
					    "\"name\":", "lobby ",   "0123456789 ", "join\n"};
	uint8_t *p = malloc(n + 16);

	for (size_t at = 0; at < n;) {
		const char *word = words[(seed = seed * 1103515245u + 12345u) >> 16 & 7];

		memcpy(p + at, word, strlen(word));
		at += strlen(word);
		if ((seed >> 20 & 7) == 0)
			p[at++] = (uint8_t)('a' + (seed >> 24) % 26);
	}
	return p;
}

static uint8_t *noise(size_t n)
{
	uint8_t *p = malloc(n + 1);
	uint32_t seed = 7;

	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)((seed = seed * 1664525u + 1013904223u) >> 24);
	return p;
}

/* As RFC 7692 7.2.2 has it: the tail is appended, and all of it inflated. */
static void inflates_to(z_stream *z, const uint8_t *p, size_t n, const uint8_t *expected,
			size_t expected_n)
{
	uint8_t *in = malloc(n + 4), *got = malloc(expected_n + 10);

	memcpy(in, p, n);
	memcpy(in + n, "\x00\x00\xFF\xFF", 4);
	z->next_in = in;
	z->avail_in = (uInt)n + 4;
	z->next_out = got;
	z->avail_out = (uInt)expected_n + 10;
	ck_assert_int_eq(inflate(z, Z_SYNC_FLUSH), Z_OK);
	ck_assert_uint_eq(z->avail_in, 0);
	ck_assert_uint_eq(z->avail_out, 10);
	ck_assert_mem_eq(got, expected, expected_n);
	free(in);
	free(got);
}

static size_t allocated;

static void *count_alloc(void *opaque, unsigned items, unsigned size)
{
	(void)opaque;
	allocated += (size_t)items * size;
	return malloc((size_t)items * size);
}

static void count_free(void *opaque, void *p)
{
	(void)opaque;
	free(p);
}

START_TEST(messages_of_every_window)
{
	static const size_t sizes[] = {1, 20, 60, 200, 260, 600, 1000, 4000, 20000, 70000, 300000};

	for (unsigned bits = DEFLATE_BITS_MIN; bits <= DEFLATE_BITS_MAX; bits++) {
		z_stream out, in = {0}, fresh = {0};

		ck_assert(deflate_start(&out, 6, bits));
		ck_assert_int_eq(inflateInit2(&in, -(int)bits), Z_OK);
		for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
			uint8_t *text = prose(sizes[i], (unsigned)i),
				*packed = malloc(sizes[i] + DEFLATE_TAIL);
			size_t n = deflate_message(&out, text, sizes[i], packed);

			ck_assert_uint_lt(n, sizes[i]);
			ck_assert(n > 0 || sizes[i] < 60);
			if (n > 0)
				inflates_to(&in, packed, n, text, sizes[i]);
			else
				deflateReset(&out);
			/* After a reset nothing refers back: whoever joins now can read it, with
			 * this window or a larger one. */
			deflateReset(&out);
			n = deflate_message(&out, text, sizes[i], packed);
			for (unsigned theirs = bits; n > 0 && theirs <= DEFLATE_BITS_MAX;
			     theirs++) {
				ck_assert_int_eq(inflateInit2(&fresh, -(int)theirs), Z_OK);
				inflates_to(&fresh, packed, n, text, sizes[i]);
				inflateEnd(&fresh);
			}
			if (n > 0)
				inflates_to(&in, packed, n, text, sizes[i]);
			deflateReset(&out);
			free(text);
			free(packed);
		}
		deflateEnd(&out);
		inflateEnd(&in);
	}
}
END_TEST

START_TEST(takeover_refers_back)
{
	uint8_t *text = prose(2000, 3), packed[2004];
	z_stream out;
	size_t first, second;

	ck_assert(deflate_start(&out, 6, 15));
	first = deflate_message(&out, text, 2000, packed);
	second = deflate_message(&out, text, 2000, packed);
	ck_assert_uint_lt(second, first / 4);
	deflateReset(&out);
	ck_assert_uint_eq(deflate_message(&out, text, 2000, packed), first);
	deflateEnd(&out);
	free(text);
}
END_TEST

START_TEST(what_does_not_shrink)
{
	static const size_t sizes[] = {1, 2, 5, 100, 1000, 70000};

	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		uint8_t *p = noise(sizes[i]), *packed = malloc(sizes[i] + DEFLATE_TAIL);
		z_stream out;

		ck_assert(deflate_start(&out, 6, 15));
		ck_assert_uint_eq(deflate_message(&out, p, sizes[i], packed), 0);
		deflateEnd(&out);
		free(p);
		free(packed);
	}
}
END_TEST

START_TEST(a_window_holds_a_message)
{
	ck_assert_uint_eq(deflate_bits_for(0), 9);
	ck_assert_uint_eq(deflate_bits_for(250), 9);
	ck_assert_uint_eq(deflate_bits_for(251), 10);
	ck_assert_uint_eq(deflate_bits_for(762), 10);
	ck_assert_uint_eq(deflate_bits_for(763), 11);
	ck_assert_uint_eq(deflate_bits_for(16122), 14);
	ck_assert_uint_eq(deflate_bits_for(16123), 15);
	ck_assert_uint_eq(deflate_bits_for(SIZE_MAX), 15);
	/* Nothing is lost by it. */
	for (size_t n = 300; n < 40000; n = n * 3 / 2) {
		uint8_t *text = prose(n, 5), *packed = malloc(n + DEFLATE_TAIL);
		z_stream fitting, large;

		ck_assert(deflate_start(&fitting, 6, deflate_bits_for(n)) &&
			  deflate_start(&large, 6, 15));
		ck_assert_uint_le(deflate_message(&fitting, text, n, packed),
				  deflate_message(&large, text, n, packed) * 11 / 10);
		deflateEnd(&fitting);
		deflateEnd(&large);
		free(text);
		free(packed);
	}
}
END_TEST

/* The budget counts with what a compressor costs at most. */
START_TEST(costs)
{
	uint8_t *text = prose(100000, 1), *packed = malloc(100000 + DEFLATE_TAIL);

	for (unsigned bits = DEFLATE_BITS_MIN; bits <= DEFLATE_BITS_MAX; bits++) {
		z_stream out, counted = {.zalloc = count_alloc, .zfree = count_free};
		size_t n;

		ck_assert(deflate_start(&out, 6, bits));
		allocated = 0;
		/* A copy allocates the same again, with the functions of its own. */
		out.zalloc = count_alloc;
		out.zfree = count_free;
		ck_assert_int_eq(deflateCopy(&counted, &out), Z_OK);
		n = deflate_message(&counted, text, 100000, packed);
		ck_assert_uint_gt(n, 0);
		ck_assert_uint_gt(allocated, deflate_cost(bits) / 2);
		ck_assert_uint_le(allocated, deflate_cost(bits));
		deflateEnd(&counted);
		deflateEnd(&out);
	}
	free(text);
	free(packed);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("deflate");
	TCase *tc = tcase_create("deflate");

	tcase_add_test(tc, offers);
	tcase_add_test(tc, offers_in_several_headers);
	tcase_add_test(tc, everything_is_said);
	tcase_add_test(tc, messages_of_every_window);
	tcase_add_test(tc, takeover_refers_back);
	tcase_add_test(tc, what_does_not_shrink);
	tcase_add_test(tc, a_window_holds_a_message);
	tcase_add_test(tc, costs);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
