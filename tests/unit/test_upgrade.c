/* The opening handshake (RFC 6455 section 4) and the comparison of origins. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "ws/authority.h"
#include "ws/upgrade.h"
#include "run.h"

#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define VERSION "Sec-WebSocket-Version: 13\r\n"
#define TOKENS "Connection: Upgrade\r\nUpgrade: websocket\r\n"
#define OTHERS "Host: server.example.com\r\n" TOKENS

static struct request request;

/* Parses a request with these headers; its bytes stay in `head`. */
static char head[4096];

static void parse_line(const char *line, const char *headers)
{
	const struct request_limits limits = {.head_max = sizeof head, .headers_max = 100};
	const size_t n = (size_t)snprintf(head, sizeof head, "%s\r\n%s\r\n", line, headers);
	const char *why = "";
	size_t used;
	int status;

	if (request_parse(&request, &limits, head, n, NULL, &used, &status, &why) != REQUEST_OK)
		ck_abort_msg("%s in\n%s", why, head);
}

static void parse(const char *headers)
{
	parse_line("GET /chat HTTP/1.1", headers);
}

static int check(const char *headers)
{
	const char *why = NULL;
	int status;

	parse(headers);
	status = upgrade_check(&request, &why);
	ck_assert_int_eq(status == 0, why == NULL);
	return status;
}

START_TEST(the_example_of_the_rfc)
{
	static const char expected[] =
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n"
		"X-A: 1\r\nX-B: 2\r\n\r\n";
	char accept[UPGRADE_ACCEPT_LEN + 1], answer[sizeof expected + 10];
	const size_t n = sizeof expected - 1;

	ck_assert_int_eq(
		check("Host: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" KEY
		      "Origin: http://example.com\r\nSec-WebSocket-Protocol: chat, superchat\r\n" VERSION),
		0);
	upgrade_accept(&request, accept);
	ck_assert_str_eq(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
	ck_assert_uint_eq(upgrade_response(answer, sizeof answer, &request, SPAN("chat"),
					   SPAN("X-A: 1\r\n"), SPAN("X-B: 2\r\n")),
			  n);
	ck_assert_str_eq(answer, expected);
	for (size_t cap = 0; cap <= n + 1; cap++)
		ck_assert_uint_eq(upgrade_response(answer, cap, &request, SPAN("chat"),
						   SPAN("X-A: 1\r\n"), SPAN("X-B: 2\r\n")),
				  cap > n ? n : 0);
	ck_assert_uint_eq(upgrade_response(answer, sizeof answer, &request, (struct span){NULL, 0},
					   (struct span){NULL, 0}, (struct span){NULL, 0}),
			  n - strlen("Sec-WebSocket-Protocol: chat\r\nX-A: 1\r\nX-B: 2\r\n"));
	ck_assert_ptr_null(strstr(answer, "Protocol:"));
}
END_TEST

START_TEST(handshakes)
{
	static const struct {
		const char *headers;
		int status;
	} cases[] = {
		{OTHERS KEY VERSION, 0},
		{"Host: h\r\nCONNECTION: keep-alive, upGRADE\r\nUPGRADE: WebSocket\r\n" KEY VERSION,
		 0},
		{OTHERS
		 "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-version: 13\r\n",
		 0},
		{OTHERS KEY VERSION "Content-Length: 0\r\n", 0},
		/* tokens */
		{"Host: h\r\nUpgrade: websocket\r\n" KEY VERSION, 426},
		{"Host: h\r\nConnection: Upgrade\r\n" KEY VERSION, 426},
		{"Host: h\r\nConnection: close\r\nUpgrade: websocket\r\n" KEY VERSION, 426},
		{"Host: h\r\n", 426},
		/* version */
		{OTHERS KEY, 400},
		{OTHERS KEY VERSION VERSION, 400},
		{OTHERS KEY "Sec-WebSocket-Version: 8\r\n", 426},
		{OTHERS KEY "Sec-WebSocket-Version: 0\r\n", 426},
		{OTHERS KEY "Sec-WebSocket-Version: 130\r\n", 426},
		{OTHERS KEY "Sec-WebSocket-Version: 13, 8\r\n", 400},
		{OTHERS KEY "Sec-WebSocket-Version: x\r\n", 400},
		{OTHERS KEY "Sec-WebSocket-Version:\r\n", 400},
		{OTHERS KEY "Sec-WebSocket-Version: -13\r\n", 400},
		/* key */
		{OTHERS VERSION, 400},
		{OTHERS KEY KEY VERSION, 400},
		{OTHERS VERSION "Sec-WebSocket-Key:\r\n", 400},
		{OTHERS VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=\r\n", 400},
		{OTHERS VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ===\r\n", 400},
		{OTHERS VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQaa\r\n", 400},
		{OTHERS VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=a\r\n", 400},
		{OTHERS VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQa=\r\n", 400},
		{OTHERS VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ===\r\n", 400},
		{OTHERS VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub2_jZQ==\r\n", 400},
		{OTHERS VERSION "Sec-WebSocket-Key: dGhlIHNhbXB sZSBub25jZQ=\r\n", 400},
		/* body, origin */
		{OTHERS KEY VERSION "Content-Length: 5\r\n", 400},
		{OTHERS KEY VERSION "Transfer-Encoding: chunked\r\n", 400},
		{OTHERS KEY VERSION "Origin: http://a\r\nOrigin: http://a\r\n", 400},
		/* subprotocols */
		{OTHERS KEY VERSION "Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Protocol: c\r\n",
		 0},
		{OTHERS KEY VERSION "Sec-WebSocket-Protocol: a, A,, v1.b+c\r\n", 0},
		{OTHERS KEY VERSION "Sec-WebSocket-Protocol: a, b, a\r\n", 400},
		{OTHERS KEY VERSION "Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b,a\r\n",
		 400},
		{OTHERS KEY VERSION "Sec-WebSocket-Protocol: a b\r\n", 400},
		{OTHERS KEY VERSION "Sec-WebSocket-Protocol: a/b\r\n", 400},
		{OTHERS KEY VERSION "Sec-WebSocket-Protocol: \xC3\xA4\r\n", 400},
		{OTHERS KEY VERSION "Sec-WebSocket-Protocol:\r\n", 400},
		{OTHERS KEY VERSION "Sec-WebSocket-Protocol: , ,\r\n", 400},
		{OTHERS KEY VERSION "Sec-WebSocket-Protocol: \"a\"\r\n", 400},
		/* extensions */
		{OTHERS KEY VERSION
		 "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n",
		 0},
		{OTHERS KEY VERSION
		 "Sec-WebSocket-Extensions: a;b=c , d ; e = \"f\\g\";h\r\nSec-WebSocket-Extensions: i\r\n",
		 0},
		{OTHERS KEY VERSION "Sec-WebSocket-Extensions: a;\r\n", 400},
		{OTHERS KEY VERSION "Sec-WebSocket-Extensions: ;a\r\n", 400},
		{OTHERS KEY VERSION "Sec-WebSocket-Extensions: a b\r\n", 400},
		{OTHERS KEY VERSION "Sec-WebSocket-Extensions: a;b=\r\n", 400},
		{OTHERS KEY VERSION "Sec-WebSocket-Extensions: a;b=\"c d\"\r\n", 400},
		{OTHERS KEY VERSION "Sec-WebSocket-Extensions: a;b=\"\"\r\n", 400},
		{OTHERS KEY VERSION "Sec-WebSocket-Extensions: a;b=\"c\r\n", 400},
		{OTHERS KEY VERSION "Sec-WebSocket-Extensions: a;b=\"c\\\r\n", 400},
		{OTHERS KEY VERSION "Sec-WebSocket-Extensions: a;b=\"c\"d\r\n", 400},
		{OTHERS KEY VERSION "Sec-WebSocket-Extensions: a;b=\"c,d\"\r\n", 400},
		{OTHERS KEY VERSION "Sec-WebSocket-Extensions: a;=c\r\n", 400},
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		const int got = check(cases[i].headers);

		if (got != cases[i].status)
			ck_abort_msg("expected %d, got %d for\n%s", cases[i].status, got,
				     cases[i].headers);
	}
}
END_TEST

START_TEST(method_and_version)
{
	const char *why;

	parse_line("POST / HTTP/1.1", OTHERS KEY VERSION);
	ck_assert_int_eq(upgrade_check(&request, &why), 400);
	parse_line("get / HTTP/1.1", OTHERS KEY VERSION);
	ck_assert_int_eq(upgrade_check(&request, &why), 400);
	/* As nginx passes it on if nobody tells it otherwise. */
	parse_line("GET / HTTP/1.0", "Host: h\r\nConnection: close\r\n" KEY VERSION);
	ck_assert(upgrade_is_meant(&request));
	ck_assert_int_eq(upgrade_check(&request, &why), 426);
	ck_assert_ptr_nonnull(strstr(why, "proxy"));
	parse_line("GET / HTTP/1.1", "Host: h\r\n" KEY VERSION);
	ck_assert(upgrade_is_meant(&request));
	ck_assert_int_eq(upgrade_check(&request, &why), 426);
	ck_assert_ptr_nonnull(strstr(why, "proxy"));
	parse_line("GET / HTTP/1.1", "Host: h\r\nUpgrade: h2c\r\nConnection: upgrade\r\n");
	ck_assert(!upgrade_is_meant(&request));
}
END_TEST

START_TEST(subprotocols)
{
	char headers[2000];
	size_t n = (size_t)sprintf(headers, "%s", OTHERS KEY VERSION "Sec-WebSocket-Protocol: p0");

	ck_assert_int_eq(
		check(OTHERS KEY VERSION
		      "Sec-WebSocket-Protocol: chat ,\tv2\r\nSEC-WebSocket-Protocol: last\r\n"),
		0);
	ck_assert(upgrade_offers(&request, SPAN("chat")));
	ck_assert(upgrade_offers(&request, SPAN("v2")));
	ck_assert(upgrade_offers(&request, SPAN("last")));
	ck_assert(!upgrade_offers(&request, SPAN("Chat")));
	ck_assert(!upgrade_offers(&request, SPAN("cha")));
	ck_assert(!upgrade_offers(&request, SPAN("")));
	static const struct {
		const char *list, *chosen;
	} choices[] = {{"v2,chat", "v2"}, {"none,last,chat", "last"},
		       {"none", ""},	  {"Chat", ""},
		       {"*", "chat"},	  {"v2,*", "v2"},
		       {"none,*", "chat"}};
	for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
		struct span chosen = upgrade_choose(&request, span_of(choices[i].list));
		ck_assert_msg(span_eq(chosen, span_of(choices[i].chosen)), "%s: %.*s",
			      choices[i].list, (int)chosen.n, chosen.p);
	}
	ck_assert_int_eq(check(OTHERS KEY VERSION "Sec-WebSocket-Protocol: tova.jwt, tova.v1\r\n"),
			 0);
	ck_assert(upgrade_choose(&request, SPAN("*")).p == NULL);
	for (int i = 1; i < 64; i++)
		n += (size_t)sprintf(headers + n, ",p%d", i);
	sprintf(headers + n, "\r\n");
	ck_assert_int_eq(check(headers), 0);
	sprintf(headers + n, ",p64\r\n");
	ck_assert_int_eq(check(headers), 400);
}
END_TEST

/* --- hosts ------------------------------------------------------------------------------------ */

START_TEST(hosts_that_are_served)
{
	static const char list[] = "example.com\0*.example.org\0[::1]\0"
				   "127.0.0.1\0";
	static const struct {
		const char *host;
		bool ok;
	} cases[] = {{"example.com", true},
		     {"EXAMPLE.com:8080", true},
		     {"x.example.org", true},
		     {"x.y.example.org:1", true},
		     {"[::1]:8080", true},
		     {"127.0.0.1", true},
		     {"example.org", false},
		     {"x.example.com", false},
		     {"evil.example", false},
		     {"127.0.0.1.evil", false},
		     {"[::2]", false},
		     {"", false},
		     {"example.com:65536", false},
		     {"example.com:80:80", false}};
	static const char *const right[] = {"a",      "a.org",		 "*.a.org",
					    "[::1]",  "192.0.2.1",	 "A-b_c.org",
					    "a.org.", "[::ffff:1.2.3.4]"};
	static const char *const wrong[] = {"",	       "*",   "a:80", "[::1]:80", "http://a",
					    "a/b",     "*.",  "a.*",  "a,b",	  "*.*.a",
					    "::1",     "u@a", "=",    "a=b",	  ".a",
					    "a..b",    ".",   "*..a", "[:::]",	  "[1.2.3.4]",
					    "*.[::1]", "%41", "a;b",  "(a)"};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		if (authority_listed(list, span_of(cases[i].host)) != cases[i].ok)
			ck_abort_msg("%s: expected %d", cases[i].host, cases[i].ok);
	ck_assert(!authority_listed("", SPAN("a")));
	for (size_t i = 0; i < sizeof right / sizeof right[0]; i++)
		ck_assert_msg(authority_pattern_error(right[i]) == NULL, "%s", right[i]);
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
		ck_assert_msg(authority_pattern_error(wrong[i]) != NULL, "%s", wrong[i]);
}
END_TEST

/* --- origins ---------------------------------------------------------------------------------- */

static bool passes(const char *host, const char *origin, const char *allow)
{
	char headers[300];

	if (origin != NULL)
		snprintf(headers, sizeof headers, "Host: %s\r\nOrigin: %s\r\n", host, origin);
	else
		snprintf(headers, sizeof headers, "Host: %s\r\n", host);
	parse(headers);
	return upgrade_origin_ok(&request, &allow, allow != NULL ? 1 : 0);
}

START_TEST(same_host)
{
	static const struct {
		const char *host, *origin;
		bool ok;
	} cases[] = {
		{"example.com", NULL, true},
		{"example.com", "http://example.com", true},
		{"example.com", "https://EXAMPLE.com", true},
		{"example.com:80", "http://example.com", true},
		{"example.com:443", "https://example.com", true},
		{"example.com", "http://example.com:80", true},
		{"localhost:8080", "http://localhost:8080", true},
		{"[::1]:8080", "http://[::1]:8080", true},
		{"[::1]", "https://[::1]", true},
		{"example.com:65535", "http://example.com:65535", true},
		{"example.com:65530", "http://example.com:65530", true},
		{"example.com", "http:/xexample.com", false},
		{"example.com", "http://example.com:443", false},
		{"example.com:8080", "http://example.com", false},
		{"example.com:80", "https://example.com", false},
		{"example.com", "http://example.com.evil.org", false},
		{"example.com", "http://evil.org", false},
		{"example.com", "http://sub.example.com", false},
		{"example.com", "http://notexample.com", false},
		{"example.com", "null", false},
		{"example.com", "", false},
		{"example.com", "example.com", false},
		{"example.com", "//example.com", false},
		{"example.com", "http://", false},
		{"example.com", "http://example.com/", false},
		{"example.com", "http://u@example.com", false},
		{"example.com", "app://example.com", false},
		{"example.com", "http://example.com:0", false},
		{"example.com", "http://example.com:65616", false},
		{"example.com:80", "http://example.com:4294967376", false},
		{"[::1]:80", "http://[::1", false},
		{"example.com", "http://example.com http://example.com", false},
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		if (passes(cases[i].host, cases[i].origin, NULL) != cases[i].ok)
			ck_abort_msg("Host %s, Origin %s: expected %d", cases[i].host,
				     cases[i].origin, cases[i].ok);
	/* Where the client speaks TLS, a page that came without it may be anybody's. */
	for (int secure = 0; secure < 2; secure++) {
		parse("Host: a\r\nOrigin: http://a\r\n");
		request.secure = secure == 1;
		ck_assert(upgrade_origin_ok(&request, NULL, 0) == (secure == 0));
		parse("Host: a\r\nOrigin: https://a\r\n");
		request.secure = secure == 1;
		ck_assert(upgrade_origin_ok(&request, NULL, 0));
	}
	parse("Host: a\r\nOrigin: http://a\r\nOrigin: http://a\r\n");
	ck_assert(!upgrade_origin_ok(&request, NULL, 0));
}
END_TEST

START_TEST(listed_origins)
{
	static const struct {
		const char *allow, *origin;
		bool ok;
	} cases[] = {
		{"*", "http://any.thing:1", true},
		{"*", "null", true},
		{"*", "nonsense", true},
		{"null", "null", true},
		{"null", "http://null", false},
		{"http://a.org", NULL, true},
		{"http://a.org", "null", false},
		{"http://a.org", "http://a.org", true},
		{"http://a.org", "http://A.ORG:80", true},
		{"http://a.org:80", "http://a.org", true},
		{"HTTPS://A.org", "https://a.org:443", true},
		{"http://a.org", "https://a.org", false},
		{"http://a.org", "http://a.org:81", false},
		{"http://a.org:81", "http://a.org:81", true},
		{"http://a.org", "http://b.org", false},
		{"http://a.org", "http://host", false},
		{"https://*.a.org", "https://x.a.org", true},
		{"https://*.a.org", "https://x.y.A.ORG", true},
		{"https://*.a.org", "https://a.org", false},
		{"https://*.a.org", "https://.a.org", false},
		{"https://*.a.org", "https://xa.org", false},
		{"https://*.a.org", "http://x.a.org", false},
		{"https://*.a.org", "https://x.a.org:444", false},
		{"https://*.a.org:444", "https://x.a.org:444", true},
		{"https://*.a.org", "https://x.a.org.evil", false},
		{"https://*.a.org", "https://*.a.org", false},
		{"https://*.a.org", "https://evil.org/.a.org", false},
		{"https://*.a.org", "https://evil.org#.a.org", false},
		{"https://*.a.org", "https://evil.org\\.a.org", false},
		{"https://*.a.org", "https://u@x.a.org", false},
		{"app://thing", "app://thing", true},
		{"app://thing", "app://thing:1", false},
		{"https://a.org/", "https://a.org", true},
		{"https://a.org/", "https://a.org/", true},
		{"https://a.org/", "https://b.org", false},
		{"https://a.org/app", "https://a.org/app", true},
		{"https://a.org/app", "https://a.org", false},
		{"https://a.org/app", "https://a.org/app2", false},
		{"https://a.org", "https://a.org/", false},
		{"file://", "file://", true},
		{"file://", "file:///etc", false},
		{"file:///app/index.html", "file:///app/index.html", true},
		{"null", "file://", false},
		{"moz-extension://*", "moz-extension://2c127fa4-62c7-7e4f-90e5-472b45eecfdc", true},
		{"moz-extension://*", "chrome-extension://2c127fa4", false},
		{"moz-extension://*", "moz-extension://*", false},
		{"moz-extension://*", "https://a.org", false},
		{"moz-extension://*", "null", false},
		{"https://*", "https://a.org", false},
		{"chrome-extension://abcdefghijklmnopabcdefghijklmnop",
		 "chrome-extension://abcdefghijklmnopabcdefghijklmnop", true},
		{"capacitor://localhost", "capacitor://localhost", true},
		{"ionic://localhost", "ionic://localhost", true},
		{"tauri://localhost", "tauri://localhost", true},
		{"app://.", "app://.", true},
		{"app://-", "app://-", true},
		{"app://x/y", "app://x/y", true},
		{"a.org", "a.org", false},
	};
	static const char *const two[] = {"http://a", "http://b"};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		if (passes("host", cases[i].origin, cases[i].allow) != cases[i].ok)
			ck_abort_msg("%s for %s: expected %d", cases[i].origin, cases[i].allow,
				     cases[i].ok);
	parse("Host: h\r\nOrigin: http://b\r\n");
	ck_assert(upgrade_origin_ok(&request, two, 2));
	ck_assert(!upgrade_origin_ok(&request, two, 1));
}
END_TEST

START_TEST(patterns)
{
	static const char *const right[] = {"*",
					    "null",
					    "http://a",
					    "https://a.org:8443",
					    "https://*.a.org",
					    "http://[::1]:80",
					    "http://*.localhost:3000",
					    "http://a/",
					    "http://a/x",
					    "file://",
					    "file:///x/y",
					    "moz-extension://*",
					    "chrome-extension://abcdefghijklmnop",
					    "capacitor://localhost",
					    "app://obsidian.md",
					    "app://x"};
	static const char *const wrong[] = {"",
					    "a.org",
					    "http://:80",
					    "http://",
					    "http:///x",
					    "localhost:8080",
					    "about:blank",
					    "://",
					    "file://a b",
					    "moz-extension://*x",
					    "moz-extension://*/x",
					    "https://*/",
					    "https://*/x",
					    "http://u@a/x",
					    "app://x,app://y",
					    "http://a:x",
					    "http://a:0",
					    "http://a:65536",
					    "https://*",
					    "https://*.",
					    "https://a.*",
					    "https://*a.org",
					    "https://*.*.org",
					    "http*://a",
					    "*://a",
					    "http://u@a",
					    "http:/a",
					    "http://a b",
					    "https://a.org,https://b.org/",
					    "http://[::1",
					    "http://[a/b]",
					    "http://[::1]x"};

	for (size_t i = 0; i < sizeof right / sizeof right[0]; i++)
		if (upgrade_origin_pattern_error(right[i]) != NULL)
			ck_abort_msg("%s: %s", right[i], upgrade_origin_pattern_error(right[i]));
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
		if (upgrade_origin_pattern_error(wrong[i]) == NULL)
			ck_abort_msg("\"%s\" is not refused", wrong[i]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("upgrade");
	TCase *tc = tcase_create("upgrade");

	tcase_add_test(tc, the_example_of_the_rfc);
	tcase_add_test(tc, handshakes);
	tcase_add_test(tc, method_and_version);
	tcase_add_test(tc, subprotocols);
	tcase_add_test(tc, hosts_that_are_served);
	tcase_add_test(tc, same_host);
	tcase_add_test(tc, listed_origins);
	tcase_add_test(tc, patterns);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
