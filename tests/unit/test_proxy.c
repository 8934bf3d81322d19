/* The PROXY protocol. Each header is given in every way it can be cut in two, and grows byte by
 * byte. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "ws/proxy.h"
#include "run.h"

#define V2 "\r\n\r\n\0\r\nQUIT\n"
#define IP4 "\xC0\0\2\1\xC0\0\2\2\x12\x34\0\x50"
#define IP6 \
	"\x20\1\xD\xB8\0\0\0\0\0\0\0\0\0\0\0\1\x20\1\xD\xB8\0\0\0\0\0\0\0\0\0\0\0\2\x12\x34\0\x50"
#define MAPPED6 \
	"\0\0\0\0\0\0\0\0\0\0\xFF\xFF\xC0\0\2\1\0\0\0\0\0\0\0\0\0\0\xFF\xFF\xC0\0\2\2\x12\x34\0\x50"
#define BYTES(literal) literal, sizeof(literal) - 1

static const struct {
	const char *bytes;
	size_t len;
	/* "source port destination port", "local", "secure ..."; NULL: it is refused */
	const char *says;
} headers[] = {
	{BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 4660 80\r\n"), "192.0.2.1 4660 192.0.2.2 80"},
	{BYTES("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"),
	 "255.255.255.255 65535 255.255.255.255 65535"},
	{BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 0 0\r\n"), "192.0.2.1 0 192.0.2.2 0"},
	{BYTES("PROXY TCP6 2001:db8::1 2001:db8::2 4660 80\r\n"),
	 "2001:db8::1 4660 2001:db8::2 80"},
	{BYTES("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
	 "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535"},
	{BYTES("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n"), "192.0.2.1 1 ::1 2"},
	{BYTES("PROXY UNKNOWN\r\n"), "local"},
	{BYTES("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
	 "local"},
	{BYTES("PROXY UNKNOWN whatever stands here\r\n"), "local"},
	{BYTES("PROXY UNKNOWNS\r\n"), NULL},
	{BYTES("PROXY \r\n"), NULL},
	{BYTES("PROXY TCP4\r\n"), NULL},
	{BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 4660\r\n"), NULL},
	{BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 4660 80 \r\n"), NULL},
	{BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 4660 80 1\r\n"), NULL},
	{BYTES("PROXY TCP4  192.0.2.1 192.0.2.2 4660 80\r\n"), NULL},
	{BYTES("PROXY TCP4\t192.0.2.1 192.0.2.2 4660 80\r\n"), NULL},
	{BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 4660 080\r\n"), NULL},
	{BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 4660 65536\r\n"), NULL},
	{BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 4660 999999\r\n"), NULL},
	{BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 -1 80\r\n"), NULL},
	{BYTES("PROXY TCP4 192.0.2.1 192.0.2.2  80\r\n"), NULL},
	{BYTES("PROXY TCP4 192.0.2.01 192.0.2.2 4660 80\r\n"), NULL},
	{BYTES("PROXY TCP4 192.0.2.1\0 192.0.2.2 4660 80\r\n"), NULL},
	{BYTES("PROXY TCP4 2001:db8::1 2001:db8::2 4660 80\r\n"), NULL},
	{BYTES("PROXY TCP6 192.0.2.1 192.0.2.2 4660 80\r\n"), NULL},
	{BYTES("PROXY TCP6 2001:db8::1 192.0.2.2 4660 80\r\n"), NULL},
	{BYTES("PROXY UDP4 192.0.2.1 192.0.2.2 4660 80\r\n"), NULL},
	{BYTES("PROXY tcp4 192.0.2.1 192.0.2.2 4660 80\r\n"), NULL},
	{BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 4660 80\n"), NULL},
	{BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 4660 80\r\r\n"), NULL},
	{BYTES("proxy TCP4 192.0.2.1 192.0.2.2 4660 80\r\n"), NULL},
	{BYTES("PROXY UNKNOWN 1ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
	 NULL},
	{BYTES("PROXYTCP4 192.0.2.1 192.0.2.2 4660 80\r\n"), NULL},
	{BYTES("GET / HTTP/1.1\r\n"), NULL},
	{BYTES("\x16\3\1\2\0\1"), NULL},
	{BYTES("\r\n\r\nGET / HTTP/1.1\r\n"), NULL},
	{BYTES(V2 "\x21\x11\0\xC" IP4), "192.0.2.1 4660 192.0.2.2 80"},
	{BYTES(V2 "\x21\x21\0\x24" IP6), "2001:db8::1 4660 2001:db8::2 80"},
	{BYTES(V2 "\x21\x21\0\x24" MAPPED6), "192.0.2.1 4660 192.0.2.2 80"},
	{BYTES(V2 "\x20\0\0\0"), "local"},
	{BYTES(V2 "\x20\x11\0\xC" IP4), "local"},
	{BYTES(V2 "\x20\x11\0\3abc"), "local"},
	{BYTES(V2 "\x20\xFF\0\0"), "local"},
	{BYTES(V2 "\x21\0\0\0"), "local"},
	{BYTES(V2 "\x21\0\0\5abcde"), "local"},
	{BYTES(V2 "\x21\x11\0\x10" IP4 "\4\0\1x"), "192.0.2.1 4660 192.0.2.2 80"}, /* NOOP */
	{BYTES(V2 "\x21\x11\0\xF" IP4 "\xE0\0\0"), "192.0.2.1 4660 192.0.2.2 80"},
	{BYTES(V2 "\x21\x11\0\x14" IP4 "\x20\0\5\1\0\0\0\0"), "secure 192.0.2.1 4660 192.0.2.2 80"},
	{BYTES(V2 "\x21\x11\0\x14" IP4 "\x20\0\5\2\0\0\0\0"), "192.0.2.1 4660 192.0.2.2 80"},
	{BYTES(V2 "\x21\x11\0\x13" IP4 "\3\0\4\x4E\x67\xED\x18"), "192.0.2.1 4660 192.0.2.2 80"},
	{BYTES(V2 "\x21\x11\0\x13" IP4 "\3\0\4\x4E\x67\xED\x19"), NULL},
	{BYTES(V2 "\x21\x11\0\x12" IP4 "\3\0\3\0\0\0"), NULL},
	{BYTES(V2 "\x21\x11\0\x13" IP4 "\x20\0\4\1\0\0\0"), NULL},
	{BYTES(V2 "\x21\x11\0\xD" IP4 "\4"), NULL},
	{BYTES(V2 "\x21\x11\0\xF" IP4 "\4\0\1"), NULL},
	{BYTES(V2 "\x21\x11\0\xB" IP4), NULL},
	{BYTES(V2 "\x21\x21\0\xC" IP4), NULL},
	{BYTES(V2 "\x21\x12\0\xC" IP4), NULL}, /* datagrams */
	{BYTES(V2 "\x21\x10\0\xC" IP4), NULL},
	{BYTES(V2 "\x21\x01\0\xC" IP4), NULL},
	{BYTES(V2 "\x21\x41\0\xC" IP4), NULL},
	{BYTES(V2 "\x22\x11\0\xC" IP4), NULL},
	{BYTES(V2 "\x31\x11\0\xC" IP4), NULL},
	{BYTES(V2 "\x01\x11\0\xC" IP4), NULL},
	{BYTES(V2 "\x20\0\x40\1"), NULL}, /* 16385 bytes */
	{BYTES("\r\n\r\n\0\r\nQUIT\r"), NULL},
};

static void told(const struct proxy_header *h, char text[200])
{
	char from[ADDRESS_TEXT], to[ADDRESS_TEXT];
	if (h->local)
		snprintf(text, 200, "local");
	else
		snprintf(text, 200, "%s%s %u %s %u", h->secure ? "secure " : "",
			 address_text(&h->source, from), h->source.port,
			 address_text(&h->destination, to), h->destination.port);
}

/* Reads it in a block of exactly its length, so that a read beyond is found. */
static enum proxy_status read_exactly(struct proxy_header *h, const char *bytes, size_t len,
				      size_t *used_r, const char **why_r)
{
	uint8_t *copy = malloc(len > 0 ? len : 1);
	memcpy(copy, bytes, len);
	enum proxy_status status = proxy_read(h, copy, len, used_r, why_r);
	free(copy);
	return status;
}

START_TEST(table)
{
	const char *says = headers[_i].says, *why = NULL;
	size_t len = headers[_i].len, used = 0;
	struct proxy_header h;
	char text[200], more[300];
	enum proxy_status status = PROXY_MORE, now;
	for (size_t n = 0; n <= len; n++) {
		now = read_exactly(&h, headers[_i].bytes, n, &used, &why);
		if (status == PROXY_BAD)
			ck_assert_int_eq(now, PROXY_BAD); /* it does not become right again */
		ck_assert_msg(n == len || now != PROXY_OK, "%d: %zu of %zu are enough", _i, n, len);
		ck_assert(n == len || says == NULL || now == PROXY_MORE);
		status = now;
	}
	ck_assert_msg((status == PROXY_OK) == (says != NULL), "%d: %s", _i, why);
	if (says == NULL) {
		ck_assert_msg(status == PROXY_BAD && why != NULL, "%d", _i);
		return;
	}
	told(&h, text);
	ck_assert_str_eq(text, says);
	memcpy(more, headers[_i].bytes, len);
	memcpy(more + len, "GET / HTTP/1.1\r\n", 16);
	/* what follows is not its business */
	ck_assert_int_eq(read_exactly(&h, more, len + 16, &used, &why), PROXY_OK);
	ck_assert_uint_eq(used, len);
}
END_TEST

START_TEST(unix_sockets)
{
	char bytes[16 + 216 + 3] = V2 "\x21\x31\0\xDB/run/client";
	struct proxy_header h;
	const char *why;
	size_t used;
	bytes[16 + 216] = 4;
	ck_assert_int_eq(read_exactly(&h, bytes, sizeof bytes - 1, &used, &why), PROXY_MORE);
	ck_assert_int_eq(read_exactly(&h, bytes, sizeof bytes, &used, &why), PROXY_OK);
	ck_assert_uint_eq(used, sizeof bytes);
	ck_assert_int_eq(h.source.family, AF_UNIX);
	ck_assert_int_eq(h.destination.family, AF_UNIX);
	bytes[15] = (char)0xD7; /* one byte less than the addresses need */
	ck_assert_int_eq(read_exactly(&h, bytes, sizeof bytes, &used, &why), PROXY_BAD);
}
END_TEST

START_TEST(the_longest)
{
	char *bytes = calloc(1, PROXY_MAX);
	struct proxy_header h;
	const char *why;
	size_t used;
	memcpy(bytes, V2 "\x20\0\x40\0", 16);
	ck_assert_int_eq(read_exactly(&h, bytes, PROXY_MAX - 1, &used, &why), PROXY_MORE);
	ck_assert_int_eq(read_exactly(&h, bytes, PROXY_MAX, &used, &why), PROXY_OK);
	ck_assert_uint_eq(used, PROXY_MAX);
	free(bytes);
}
END_TEST

/* A line that does not end is refused when it can not become right any more, not later. */
START_TEST(a_line_without_an_end)
{
	char bytes[107] = "PROXY UNKNOWN ";
	struct proxy_header h;
	const char *why;
	size_t used;
	memset(bytes + 14, 'x', sizeof bytes - 14);
	ck_assert_int_eq(read_exactly(&h, bytes, 106, &used, &why), PROXY_MORE);
	ck_assert_int_eq(read_exactly(&h, bytes, 107, &used, &why), PROXY_BAD);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("proxy");
	TCase *t = tcase_create("proxy");
	tcase_add_loop_test(t, table, 0, sizeof headers / sizeof *headers);
	tcase_add_test(t, unix_sockets);
	tcase_add_test(t, the_longest);
	tcase_add_test(t, a_line_without_an_end);
	suite_add_tcase(s, t);
	return run_suite(s);
}
