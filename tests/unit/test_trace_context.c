/* Which distributed trace a request belongs to: what is one, what is none, and the head that says
 * so. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run.h"
#include "ws/trace_context.h"

#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define GOOD "00-" TRACE "-b7ad6b7169203331-01"

static bool parses(const char *text)
{
	struct trace_context c;
	/* of its own, so that a byte too far is seen */
	size_t n = strlen(text);
	char *copy = malloc(n + 1);
	memcpy(copy, text, n);
	bool ok = trace_context_parse((struct span){copy, n}, &c);
	free(copy);
	return ok;
}

START_TEST(what_is_one)
{
	static const char *const good[] = {GOOD, "00-" TRACE "-b7ad6b7169203331-00",
					   "00-" TRACE "-b7ad6b7169203331-ff",
					   "01-" TRACE "-b7ad6b7169203331-01",
					   "cc-" TRACE "-b7ad6b7169203331-01-what-comes"};
	static const char *const bad[] = {"",
					  "00",
					  "00-",
					  "ff-" TRACE "-b7ad6b7169203331-01",
					  "0x-" TRACE "-b7ad6b7169203331-01",
					  "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
					  "00-00000000000000000000000000000000-b7ad6b7169203331-01",
					  "00-" TRACE "-0000000000000000-01",
					  "00-" TRACE "-b7ad6b716920333-01",
					  "00-" TRACE "-b7ad6b7169203331-0",
					  "00-" TRACE "-b7ad6b7169203331-0g",
					  "00_" TRACE "-b7ad6b7169203331-01",
					  "00-" TRACE "_b7ad6b7169203331-01",
					  "00-" TRACE "-b7ad6b7169203331_01",
					  GOOD " ",
					  GOOD "-",
					  GOOD "-more",
					  "cc-" TRACE "-b7ad6b7169203331-01.what",
					  "00-" TRACE "-b7ad6b716920333\xff-01"};
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		ck_assert_msg(parses(good[i]), "%s", good[i]);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		ck_assert_msg(!parses(bad[i]), "%s", bad[i]);
}
END_TEST

START_TEST(texts)
{
	struct trace_context c;
	char text[TRACE_CONTEXT_TEXT], id[TRACE_CONTEXT_ID_TEXT];
	ck_assert(trace_context_parse(SPAN(GOOD), &c));
	ck_assert(c.sampled);
	ck_assert_str_eq(trace_context_text(&c, text), GOOD);
	ck_assert_str_eq(trace_context_id_text(&c, id), TRACE);
	c.sampled = false;
	ck_assert_str_eq(trace_context_text(&c, text), "00-" TRACE "-b7ad6b7169203331-00");
}
END_TEST

#define UPGRADE "GET /a?b HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
#define OTHER "00-11111111111111111111111111111111-2222222222222222-00"

/* What the head becomes, of a request with these headers. */
static void becomes(const char *headers, const char *expected)
{
	char text[4096], whole[4096];
	struct request r, again;
	struct trace_context c;
	snprintf(text, sizeof text, UPGRADE "%s\r\n", headers);
	snprintf(whole, sizeof whole, UPGRADE "%s\r\n", expected);
	ck_assert(request_parse_kept(&r, span_of(text)));
	ck_assert(trace_context_parse(SPAN(OTHER), &c));
	struct span head = trace_context_head(&r, &c);
	ck_assert(span_eq(head, span_of(whole)));
	ck_assert(request_parse_kept(&again, head));
	free((char *)head.p);
}

START_TEST(heads)
{
	becomes("", "traceparent: " OTHER "\r\n");
	becomes("Traceparent: " GOOD "\r\nA: b\r\n", "A: b\r\ntraceparent: " OTHER "\r\n");
	becomes("traceparent: " GOOD "\r\nTraceState:  a=b,c=d \r\n",
		"traceparent: " OTHER "\r\ntracestate: a=b,c=d\r\n");
	/* a state is nothing without a parent, and a parent that comes twice is none */
	becomes("tracestate: a=b\r\n", "traceparent: " OTHER "\r\n");
	becomes("traceparent: none\r\ntracestate: a=b\r\n", "traceparent: " OTHER "\r\n");
	becomes("traceparent: " GOOD "\r\ntraceparent: " GOOD "\r\ntracestate: a=b\r\n",
		"traceparent: " OTHER "\r\n");
	becomes("traceparent: " GOOD "\r\ntracestate: a=\xc3\xa4\r\n",
		"traceparent: " OTHER "\r\n");
	becomes("traceparent: " GOOD "\r\ntracestate: a=b\r\ntracestate: c=d\r\n",
		"traceparent: " OTHER "\r\n");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("trace_context");
	TCase *tc = tcase_create("trace_context");

	tcase_add_test(tc, what_is_one);
	tcase_add_test(tc, texts);
	tcase_add_test(tc, heads);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
