/* Who the client is, by the word of proxies. 10.0.0.0/8 and fd00::/8 are trusted; the peer is one
 * of them. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "ws/forwarded.h"
#include "run.h"

struct row {
	const char *headers; /* with CRLF */
	const char *client;  /* address and, if there is one, port; "-": nothing is known */
	const char *scheme, *host;
};

#define FOR "X-Forwarded-For: "

static const struct row x_rows[] = {
	{"", "-", "", ""},
	{FOR "192.0.2.1\r\n", "192.0.2.1", "", ""},
	{"x-forwarded-for:192.0.2.1\r\n", "192.0.2.1", "", ""},
	{FOR "192.0.2.1:4660\r\n", "192.0.2.1 4660", "", ""},
	{FOR "2001:db8::1\r\n", "2001:db8::1", "", ""},
	{FOR "[2001:db8::1]\r\n", "2001:db8::1", "", ""},
	{FOR "[2001:db8::1]:4660\r\n", "2001:db8::1 4660", "", ""},
	{FOR "::ffff:192.0.2.1\r\n", "192.0.2.1", "", ""},
	/* The last that is not trusted: what stands before it may be invented. */
	{FOR "198.51.100.7, 192.0.2.1\r\n", "192.0.2.1", "", ""},
	{FOR "198.51.100.7, 192.0.2.1, 10.0.0.1\r\n", "192.0.2.1", "", ""},
	{FOR "198.51.100.7, 192.0.2.1, fd00::1,10.0.0.1 , 10.0.0.2\r\n", "192.0.2.1", "", ""},
	{FOR "10.0.0.9, 192.0.2.1\r\n", "192.0.2.1", "", ""},
	{FOR "198.51.100.7\r\n" FOR "192.0.2.1\r\n" FOR "10.0.0.1\r\n", "192.0.2.1", "", ""},
	/* All are trusted: the first. */
	{FOR "10.0.0.1\r\n", "10.0.0.1", "", ""},
	{FOR "10.0.0.3, 10.0.0.2, 10.0.0.1\r\n", "10.0.0.3", "", ""},
	/* Nonsense ends the search: whoever said it is the client. */
	{FOR "unknown\r\n", "-", "", ""},
	{FOR "192.0.2.1, unknown\r\n", "-", "", ""},
	{FOR "192.0.2.1, unknown, 10.0.0.1\r\n", "10.0.0.1", "", ""},
	{FOR "192.0.2.1, unix:, 10.0.0.2, 10.0.0.1\r\n", "10.0.0.2", "", ""},
	{FOR "192.0.2.1:x\r\n", "-", "", ""},
	{FOR "192.0.2.1:65536\r\n", "-", "", ""},
	{FOR "[192.0.2.1]\r\n", "-", "", ""},
	{FOR "[2001:db8::1\r\n", "-", "", ""},
	{FOR "[2001:db8::1]4660\r\n", "-", "", ""},
	{FOR "[]\r\n", "-", "", ""},
	{FOR "192.0.2\r\n", "-", "", ""},
	{FOR "192.0.2.1 192.0.2.2\r\n", "-", "", ""},
	/* What a client began can not swallow what the proxy has added. */
	{FOR "\"198.51.100.7, 192.0.2.1\r\n", "192.0.2.1", "", ""},
	{FOR "\"198.51.100.7\r\n" FOR "192.0.2.1\r\n", "192.0.2.1", "", ""},
	/* Empty elements are none. */
	{FOR "\r\n", "-", "", ""},
	{FOR ",, 192.0.2.1 ,,\t\r\n" FOR ",\r\n", "192.0.2.1", "", ""},
	/* The other kind is not looked at. */
	{"Forwarded: for=192.0.2.1;proto=https\r\n", "-", "", ""},
	{FOR "192.0.2.1\r\nForwarded: for=198.51.100.7\r\n", "192.0.2.1", "", ""},
	{FOR "192.0.2.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: chat.example\r\n",
	 "192.0.2.1", "https", "chat.example"},
	{"X-Forwarded-Proto: http, WSS\r\nX-Forwarded-Host: a, b:81\r\n", "-", "WSS", "b:81"},
	{"X-Forwarded-Proto: https\r\nX-Forwarded-Proto: ws\r\n", "-", "ws", ""},
	{"X-Forwarded-Proto: gopher\r\nX-Forwarded-Host: a b\r\n", "-", "", ""},
	{"X-Forwarded-Host: chat.example/path\r\n", "-", "", ""},
};

static const struct row rfc_rows[] = {
	{"", "-", "", ""},
	{"Forwarded: for=192.0.2.1\r\n", "192.0.2.1", "", ""},
	{"forwarded: FOR=192.0.2.1;Proto=HTTPS;hOst=chat.example\r\n", "192.0.2.1", "HTTPS",
	 "chat.example"},
	{"Forwarded: for=\"192.0.2.1\"\r\n", "192.0.2.1", "", ""},
	{"Forwarded: for=\"192.0.2.1:4660\"\r\n", "192.0.2.1 4660", "", ""},
	{"Forwarded: for=\"[2001:db8::1]:4660\"\r\n", "2001:db8::1 4660", "", ""},
	{"Forwarded: for=\"[2001:db8::1]\";proto=http\r\n", "2001:db8::1", "http", ""},
	{"Forwarded: for=\"192.0.2.1:_port\"\r\n", "192.0.2.1", "", ""},
	{"Forwarded: by=10.0.0.1;for=192.0.2.1;ext=\"a;b=c\"\r\n", "192.0.2.1", "", ""},
	{"Forwarded: host=\"chat.example:81\";for=192.0.2.1\r\n", "192.0.2.1", "",
	 "chat.example:81"},
	{"Forwarded: for=192.0.2.1;\r\n", "192.0.2.1", "", ""},
	{"Forwarded: for=198.51.100.7, for=192.0.2.1\r\n", "192.0.2.1", "", ""},
	{"Forwarded: for=198.51.100.7;proto=http, for=192.0.2.1;proto=https, for=10.0.0.1;proto=http\r\n",
	 "192.0.2.1", "https", ""},
	{"Forwarded: for=198.51.100.7\r\nForwarded: for=192.0.2.1\r\nForwarded: for=10.0.0.1\r\n",
	 "192.0.2.1", "", ""},
	{"Forwarded: for=10.0.0.2;host=a, for=10.0.0.1;host=b\r\n", "10.0.0.2", "", "a"},
	{"Forwarded: for=unknown\r\n", "-", "", ""},
	{"Forwarded: for=_hidden\r\n", "-", "", ""},
	{"Forwarded: for=192.0.2.1, for=_hidden, for=10.0.0.1;host=b\r\n", "10.0.0.1", "", "b"},
	{"Forwarded: proto=https\r\n", "-", "", ""},
	{"Forwarded: 192.0.2.1\r\n", "-", "", ""},
	{"Forwarded: for=192.0.2.1;for=192.0.2.2\r\n", "-", "", ""},
	{"Forwarded: for=192.0.2.1;proto=https;proto=http\r\n", "-", "", ""},
	{"Forwarded: for=\r\n", "-", "", ""},
	{"Forwarded: for=\"192.0.2.1\"x\r\n", "-", "", ""},
	{"Forwarded: for=\"192.0.2.1\r\n", "-", "", ""},
	{"Forwarded: for=\"192.0.2.\\1\"\r\n", "-", "", ""},
	{"Forwarded: for=192.0.2.1\"\r\n", "-", "", ""},
	{"Forwarded: for=192.0.2.1;proto=gopher;host=a b\r\n", "192.0.2.1", "", ""},
	{"Forwarded: for=\"198.51.100.7, for=192.0.2.1\r\n", "192.0.2.1", "", ""},
	{"Forwarded: for=x\"\r\nForwarded: for=192.0.2.1\r\n", "192.0.2.1", "", ""},
	{FOR "192.0.2.1\r\n", "-", "", ""},
	{FOR "192.0.2.1\r\nForwarded: for=198.51.100.7\r\n", "198.51.100.7", "", ""},
};

static void check(const struct row *row, enum forwarded_kind kind)
{
	static const struct request_limits limits = {.head_max = 1 << 20,
						     .headers_max = REQUEST_HEADERS_MAX};
	static struct request r;
	char *proxies[] = {"10.0.0.0/8", "fd00::/8"}, head[1000], text[ADDRESS_TEXT],
	     client[80] = "-";
	struct address_set trusted;
	struct forwarded f;
	const char *why = "";
	size_t used;
	int status;
	int n = snprintf(head, sizeof head, "GET / HTTP/1.1\r\nHost: inside\r\n%s\r\n",
			 row->headers);
	ck_assert_msg(request_parse(&r, &limits, head, (size_t)n, NULL, &used, &status, &why) ==
			      REQUEST_OK,
		      "%s: %s", row->headers, why);
	ck_assert(address_set_make(&trusted, proxies, 2));
	forwarded_read(&f, &r, kind, &trusted);
	address_set_free(&trusted);
	if (f.client.family != AF_UNSPEC && f.client.port != 0)
		snprintf(client, sizeof client, "%s %u", address_text(&f.client, text),
			 f.client.port);
	else if (f.client.family != AF_UNSPEC)
		snprintf(client, sizeof client, "%s", address_text(&f.client, text));
	ck_assert_msg(strcmp(client, row->client) == 0, "%s: %s", row->headers, client);
	ck_assert_msg(span_eq(f.scheme, span_of(row->scheme)), "%s: %.*s", row->headers,
		      (int)f.scheme.n, f.scheme.p);
	ck_assert_msg(span_eq(f.host, span_of(row->host)), "%s: %.*s", row->headers, (int)f.host.n,
		      f.host.p);
}

START_TEST(x_forwarded)
{
	check(&x_rows[_i], FORWARDED_X);
}
END_TEST

START_TEST(rfc7239)
{
	check(&rfc_rows[_i], FORWARDED_RFC7239);
}
END_TEST

START_TEST(off)
{
	const struct row row =
		{FOR "192.0.2.1\r\nX-Forwarded-Proto: https\r\nForwarded: for=192.0.2.1\r\n", "-",
		 "", ""};
	check(&row, FORWARDED_OFF);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("forwarded");
	TCase *t = tcase_create("forwarded");
	tcase_add_loop_test(t, x_forwarded, 0, sizeof x_rows / sizeof *x_rows);
	tcase_add_loop_test(t, rfc7239, 0, sizeof rfc_rows / sizeof *rfc_rows);
	tcase_add_test(t, off);
	suite_add_tcase(s, t);
	return run_suite(s);
}
