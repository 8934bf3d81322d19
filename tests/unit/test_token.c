/* Tokens as pure code: base64url, cutting them out of requests byte by byte, and what is left when
 * memory ends. Which tokens are good is for tests/protocol/test_tokens.py, with keys of the real
 * world. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/base64url.h"
#include "hub/event.h"
#include "auth/token.h"
#include "run.h"

static int fail_in; /* the malloc or calloc that fails, counted down; 0: none */

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
	return fail_in > 0 && --fail_in == 0 ? NULL : __real_malloc(size);
}

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
	return fail_in > 0 && --fail_in == 0 ? NULL : __real_calloc(n, size);
}

START_TEST(base64url)
{
	static const struct {
		const char *text, *bytes; /* NULL: refused */
	} cases[] = {
		{"", ""},	    {"Zg", "f"},	 {"Zm8", "fo"},	  {"Zm9v", "foo"},
		{"Zm9vYg", "foob"}, {"_-8", "\xFF\xEF"}, {"A", NULL},	  {"Zg==", NULL},
		{"Zm8=", NULL},	    {"Zh", NULL},	 {"Zm9", NULL},	  {"+/8", NULL},
		{"Zm 9v", NULL},    {"Zm9v\n", NULL},	 {"Zm9vA", NULL}, {"\x80\x80", NULL},
	};
	uint8_t bytes[64];
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		long n = base64url_decode(span_of(cases[i].text), bytes);
		long wanted = cases[i].bytes != NULL ? (long)strlen(cases[i].bytes) : -1;
		ck_assert_msg(n == wanted &&
				      (n <= 0 || memcmp(bytes, cases[i].bytes, (size_t)n) == 0),
			      "%s", cases[i].text);
	}
}
END_TEST

/* --- cutting ---------------------------------------------------------------------------------- */

#define LINE "GET /a?b=c HTTP/1.1\r\n"
#define HOST "Host: h\r\n"

static const struct token_policy everywhere = {.sources = {{TOKEN_IN_HEADER, NULL},
							   {TOKEN_IN_SUBPROTOCOL, NULL},
							   {TOKEN_IN_COOKIE, "s"},
							   {TOKEN_IN_QUERY, "t"}},
					       .n_sources = 4};

/* Takes the token of a head, behind which frames lie. Returns what is wrong. */
static const char *take(const char *head, struct token_found *found, char left[4096])
{
	static const struct request_limits limits = {.head_max = 65536,
						     .headers_max = REQUEST_HEADERS_MAX};
	static struct request r;
	char bytes[4096];
	size_t used, len = strlen(head);
	int status;
	const char *why;
	memcpy(bytes, head, len + 1);
	memcpy(bytes + len, "frames", 7);
	ck_assert_msg(request_parse(&r, &limits, bytes, len, NULL, &used, &status, &why) ==
				      REQUEST_OK &&
			      used == len,
		      "%s", head);
	r.head = (struct span){bytes, len};
	why = token_take(&everywhere, &r, found);
	ck_assert_str_eq(bytes + len, "frames");
	ck_assert_ptr_eq(r.head.p, bytes);
	memcpy(left, r.head.p, r.head.n);
	left[r.head.n] = '\0';
	return why;
}

START_TEST(cuts)
{
	static const struct {
		const char *head, *left, *token; /* "": there is none */
	} cases[] = {
		{LINE HOST "\r\n", LINE HOST "\r\n", ""},
		{LINE HOST "Authorization: Bearer tok\r\n\r\n", LINE HOST "\r\n", "tok"},
		{LINE "authorization:bearer \t tok \t\r\n" HOST "\r\n", LINE HOST "\r\n", "\t tok"},
		{LINE HOST "Authorization: Bearer\r\nA: b\r\n\r\n", LINE HOST "A: b\r\n\r\n", ""},
		{LINE HOST "Authorization: Bearertok\r\n\r\n",
		 LINE HOST "Authorization: Bearertok\r\n\r\n", ""},
		{LINE HOST "Authorization: Basic tok\r\n\r\n",
		 LINE HOST "Authorization: Basic tok\r\n\r\n", ""},
		{LINE HOST "Cookie: s=tok\r\nA: b\r\n\r\n", LINE HOST "A: b\r\n\r\n", "tok"},
		{LINE HOST "Cookie: s=tok; a=b\r\n\r\n", LINE HOST "Cookie:  a=b\r\n\r\n", "tok"},
		{LINE HOST "Cookie: a=b; s=tok\r\n\r\n", LINE HOST "Cookie: a=b\r\n\r\n", "tok"},
		{LINE HOST "Cookie: a=b; s=tok;c=d\r\n\r\n", LINE HOST "Cookie: a=b;c=d\r\n\r\n",
		 "tok"},
		{LINE HOST "Cookie: as=tok; s; s=; S=tok; a=s=tok\r\n\r\n",
		 LINE HOST "Cookie: as=tok; s; s=; S=tok; a=s=tok\r\n\r\n", ""},
		{LINE HOST "Cookie: s=tok;\r\n\r\n", LINE HOST "Cookie: \r\n\r\n", "tok"},
		{LINE HOST "Cookie: s=a=b\r\n\r\n", LINE HOST "\r\n", "a=b"},
		{LINE HOST "Sec-WebSocket-Protocol: a, tova.jwt.tok\r\n\r\n",
		 LINE HOST "Sec-WebSocket-Protocol: a\r\n\r\n", "tok"},
		{LINE HOST "Sec-WebSocket-Protocol: tova.jwt.tok , a\r\n\r\n",
		 LINE HOST "Sec-WebSocket-Protocol:  a\r\n\r\n", "tok"},
		{LINE HOST "Sec-WebSocket-Protocol: tova.jwt\r\n\r\n",
		 LINE HOST "Sec-WebSocket-Protocol: tova.jwt\r\n\r\n", ""},
		{LINE HOST "sec-websocket-protocol:tova.jwt.tok\r\n\r\n", LINE HOST "\r\n", "tok"},
		{"GET /a?t=tok HTTP/1.1\r\n" HOST "\r\n", "GET /a HTTP/1.1\r\n" HOST "\r\n", "tok"},
		{"GET /a?t=tok&b=c HTTP/1.1\r\n" HOST "\r\n", LINE HOST "\r\n", "tok"},
		{"GET /a?b=c&t=tok HTTP/1.1\r\n" HOST "\r\n", LINE HOST "\r\n", "tok"},
		{"GET /a?&t=tok& HTTP/1.1\r\n" HOST "\r\n", "GET /a?& HTTP/1.1\r\n" HOST "\r\n",
		 "tok"},
		{"GET /a?bt=tok&t&t=&T=tok&%74=tok HTTP/1.1\r\n" HOST "\r\n",
		 "GET /a?bt=tok&t&t=&T=tok&%74=tok HTTP/1.1\r\n" HOST "\r\n", ""},
		{"GET http://x/a?t=tok HTTP/1.1\r\n" HOST "\r\n",
		 "GET http://x/a HTTP/1.1\r\n" HOST "\r\n", "tok"},
		{"GET http://x?t=tok HTTP/1.1\r\n" HOST "\r\n",
		 "GET http://x HTTP/1.1\r\n" HOST "\r\n", "tok"},
		{"GET /?t=tok?&b=c HTTP/1.1\r\n" HOST "\r\n", "GET /?b=c HTTP/1.1\r\n" HOST "\r\n",
		 "tok?"},
	};
	static struct token_found found;
	char left[4096];
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const char *why = take(cases[i].head, &found, left);
		ck_assert_msg(why == NULL, "%s: %s", cases[i].head, why);
		ck_assert_str_eq(left, cases[i].left);
		ck_assert_uint_eq(found.len, strlen(cases[i].token));
		ck_assert(memcmp(found.text, cases[i].token, found.len) == 0);
	}
}
END_TEST

START_TEST(two)
{
	static const char *const heads[] = {
		LINE HOST "Authorization: Bearer a\r\nAuthorization: Bearer a\r\n\r\n",
		LINE HOST "Authorization: Bearer a\r\nCookie: s=b\r\n\r\n",
		LINE HOST "Cookie: s=a; s=b\r\n\r\n",
		LINE HOST "Cookie: s=a\r\nCookie: s=b\r\n\r\n",
		"GET /?t=a&t=b HTTP/1.1\r\n" HOST "\r\n",
		"GET /?t=a HTTP/1.1\r\n" HOST "Sec-WebSocket-Protocol: tova.jwt.b\r\n\r\n",
	};
	static struct token_found found;
	char left[4096];
	for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
		const char *why = take(heads[i], &found, left);
		ck_assert_msg(why != NULL && strcmp(why, "more than one token") == 0, "%s",
			      heads[i]);
	}
}
END_TEST

START_TEST(what_a_proxy_said_stays)
{
	static const struct request_limits any = {.head_max = 65536,
						  .headers_max = REQUEST_HEADERS_MAX};
	static struct token_found found;
	static struct request r;
	char bytes[] = "GET /?t=tok HTTP/1.1\r\n" HOST "X-Forwarded-Host: outside\r\n\r\n";
	size_t used;
	int status;
	const char *why;
	ck_assert_int_eq(request_parse(&r, &any, bytes, sizeof bytes - 1, NULL, &used, &status,
				       &why),
			 REQUEST_OK);
	r.secure = true;
	r.forwarded_host = request_header(&r, "X-Forwarded-Host");
	ck_assert_ptr_null(token_take(&everywhere, &r, &found));
	ck_assert(r.secure && found.len == 3 && span_eq(r.forwarded_host, SPAN("outside")));
}
END_TEST

/* --- memory ----------------------------------------------------------------------------------- */

/* HS256 of {"exp":4102444800,"sub":"ada"}, made with openssl dgst -sha256 -hmac. */
#define SECRET "0123456789abcdef0123456789abcdef"
#define GOOD \
	"eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjQxMDI0NDQ4MDAsInN1YiI6ImFkYSJ9._ykr2jr_9LJTILd2IPPslW732fXxYVvWk8xwG9NPAd0"

START_TEST(without_memory)
{
	char path[] = "/tmp/test_token.XXXXXX", why[TOKEN_KEY_WHY_MAX];
	int fd = mkstemp(path), refused = 0;
	ck_assert(fd >= 0 && write(fd, SECRET, 32) == 32 && close(fd) == 0);
	const struct token_options options = {.key = path,
					      .audience = "a,b",
					      .issuer = "c",
					      .leeway_ms = 1500};
	for (int n = 1;; n++) {
		const char *option = NULL;
		fail_in = n;
		struct token_policy *policy = token_policy_new(&options, &option, why);
		bool done = fail_in > 0;
		fail_in = 0;
		refused += policy == NULL;
		ck_assert((policy == NULL) == !done);
		token_policy_free(&policy);
		if (done)
			break;
	}
	ck_assert_int_ge(refused, 4);
	unlink(path);
}
END_TEST

START_TEST(verifying)
{
	struct token_policy policy = {.leeway_s = 0};
	char why[TOKEN_KEY_WHY_MAX];
	const char *said;
	struct token_claims claims;
	ck_assert(token_key_read(&policy.keys, (const unsigned char *)SECRET, 32, why));
	ck_assert_int_eq(token_verify(&policy, span_of(GOOD), 4102444799u, &claims, &said), 0);
	ck_assert_str_eq(claims.text, "{\"exp\":4102444800,\"sub\":\"ada\"}");
	ck_assert_str_eq(claims.subject, "ada");
	ck_assert_uint_eq(claims.ends, 4102444800u);
	token_claims_free(&claims);
	ck_assert_int_eq(token_verify(&policy, span_of(GOOD), 4102444800u, &claims, &said), 401);
	token_key_free(&policy.keys);
}
END_TEST

/* --- events that wait ------------------------------------------------------------------------- */

START_TEST(a_held_event_has_a_copy)
{
	char text[] = "{\"a\":1}", subject[] = "ada", head[] = LINE HOST "\r\n";
	struct token_claims claims = {.text = text,
				      .subject = subject,
				      .ends = 7,
				      .subprotocol = true};
	for (int with = 0; with < 3; with++) {
		claims.subject = with == 2 ? subject : NULL;
		struct event_request request = {.head = span_of(head),
						.mount_path = "/",
						.token = with > 0 ? &claims : NULL};
		struct hub_event e = {.kind = EVENT_OPEN};
		e.request = &request;
		struct event_held *h = event_hold(&e), *again = event_hold(&h->event);
		free(h);
		const struct event_request *kept = again->event.request;
		ck_assert(span_eq(kept->head, span_of(LINE HOST "\r\n")) &&
			  (kept->token != NULL) == (with > 0));
		if (with > 0) {
			ck_assert_str_eq(kept->token->text, "{\"a\":1}");
			ck_assert(kept->token->ends == 7 && kept->token->subprotocol &&
				  kept->token->text != text);
			ck_assert(with == 1 ? kept->token->subject == NULL
					    : strcmp(kept->token->subject, "ada") == 0);
		}
		free(again);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("token");
	TCase *tc = tcase_create("token");
	tcase_add_test(tc, base64url);
	tcase_add_test(tc, cuts);
	tcase_add_test(tc, two);
	tcase_add_test(tc, what_a_proxy_said_stays);
	tcase_add_test(tc, without_memory);
	tcase_add_test(tc, verifying);
	tcase_add_test(tc, a_held_event_has_a_copy);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
