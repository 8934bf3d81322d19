/* Addresses, networks and lists of them. */
#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/un.h>

#include "base/address.h"
#include "run.h"

static struct address parsed(const char *text)
{
	struct address a;
	ck_assert_msg(address_parse(&a, span_of(text)), "%s", text);
	return a;
}

static const struct {
	const char *text, *same; /* same NULL: it is none */
} addresses[] = {
	{"192.0.2.1", "192.0.2.1"},
	{"0.0.0.0", "0.0.0.0"},
	{"::", "::"},
	{"2001:DB8:0:0::1", "2001:db8::1"},
	{"::ffff:192.0.2.1", "192.0.2.1"},
	{"::FFFF:c000:201", "192.0.2.1"},
	{"::192.0.2.1", "::192.0.2.1"},
	{"fe80::1", "fe80::1"},
	{"", NULL},
	{" 192.0.2.1", NULL},
	{"192.0.2.1 ", NULL},
	{"192.0.2", NULL},
	{"192.0.2.256", NULL},
	{"192.0.2.01", NULL},
	{"0x7f.0.0.1", NULL},
	{"3221225985", NULL},
	{"[::1]", NULL},
	{"::1%lo", NULL},
	{"1:2:3:4:5:6:7:8:9", NULL},
	{"localhost", NULL},
	{"unix", NULL},
	{"0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000", NULL},
};

START_TEST(parse)
{
	struct address a;
	char text[ADDRESS_TEXT];
	bool ok = address_parse(&a, span_of(addresses[_i].text));
	ck_assert_msg(ok == (addresses[_i].same != NULL), "%s", addresses[_i].text);
	if (ok)
		ck_assert_str_eq(address_text(&a, text), addresses[_i].same);
}
END_TEST

START_TEST(a_nul_inside)
{
	struct address a;
	ck_assert(!address_parse(&a, (struct span){"1.2.3.4\0", 8}));
	ck_assert(!address_parse(&a, (struct span){NULL, 0}));
}
END_TEST

START_TEST(from_sockets)
{
	struct sockaddr_in in = {.sin_family = AF_INET,
				 .sin_port = htons(80),
				 .sin_addr.s_addr = htonl(0xC0000201)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6,
				   .sin6_port = htons(443),
				   .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct sockaddr other = {.sa_family = AF_NETLINK};
	struct address a;
	char text[ADDRESS_TEXT];
	ck_assert(address_from(&a, (const struct sockaddr *)&in));
	ck_assert_str_eq(address_text(&a, text), "192.0.2.1");
	ck_assert_uint_eq(a.port, 80);
	ck_assert(address_from(&a, (const struct sockaddr *)&in6));
	ck_assert_str_eq(address_text(&a, text), "::1");
	ck_assert_uint_eq(a.port, 443);
	ck_assert(address_from(&a, (const struct sockaddr *)&un));
	ck_assert_str_eq(address_text(&a, text), "unix");
	ck_assert(!address_from(&a, &other));
}
END_TEST

static const struct {
	const char *network;
	const char *in, *out; /* addresses that are and are not of it; network wrong: both NULL */
} networks[] = {
	{"10.0.0.0/8", "10.255.255.255", "11.0.0.0"},
	{"10.0.0.0/8", "10.0.0.0", "::a00:0"},
	{"192.0.2.128/25", "192.0.2.128", "192.0.2.127"},
	{"192.0.2.1", "192.0.2.1", "192.0.2.0"},
	{"192.0.2.0/31", "192.0.2.1", "192.0.2.2"},
	{"0.0.0.0/0", "255.255.255.255", "::"},
	{"::/0", "ffff::1", "1.2.3.4"},
	{"2001:db8::/32", "2001:db8:ffff::", "2001:db9::"},
	{"2001:db8::/33", "2001:db8:7fff::", "2001:db8:8000::"},
	{"::1", "::1", "::2"},
	{"::ffff:10.0.0.0/104", "10.1.2.3", "11.0.0.0"},
	{"::ffff:10.0.0.1", "10.0.0.1", "10.0.0.2"},
	{"10.0.0.1/8", NULL, NULL},
	{"2001:db8::1/64", NULL, NULL},
	{"10.0.0.0/33", NULL, NULL},
	{"::/129", NULL, NULL},
	{"10.0.0.0/", NULL, NULL},
	{"10.0.0.0/08", NULL, NULL},
	{"10.0.0.0/8/8", NULL, NULL},
	{"10.0.0.0/+8", NULL, NULL},
	{"::ffff:0:0/95", NULL, NULL},
	{"/8", NULL, NULL},
	{"", NULL, NULL},
	{"Unix", NULL, NULL},
	{"localhost", NULL, NULL},
	{"10.0.0.0-10.0.0.9", NULL, NULL},
};

START_TEST(network)
{
	struct address_network n;
	const char *why = address_network_parse(&n, span_of(networks[_i].network));
	ck_assert_msg((why == NULL) == (networks[_i].in != NULL), "%s", networks[_i].network);
	if (why != NULL)
		return;
	struct address in = parsed(networks[_i].in), out = parsed(networks[_i].out);
	ck_assert_msg(address_network_has(&n, &in), "%s", networks[_i].network);
	ck_assert_msg(!address_network_has(&n, &out), "%s", networks[_i].network);
}
END_TEST

START_TEST(sets)
{
	char *items[] = {"10.0.0.0/8", "unix", "2001:db8::/32"};
	const struct address local = {.family = AF_UNIX}, none = {.family = AF_UNSPEC};
	struct address a = parsed("10.1.1.1"), b = parsed("2001:db8::9"), c = parsed("192.0.2.1");
	struct address_set set, empty;
	ck_assert(address_set_make(&set, items, 3) && address_set_make(&empty, NULL, 0));
	a.port = 4711;
	ck_assert(address_set_has(&set, &a) && address_set_has(&set, &b) &&
		  address_set_has(&set, &local));
	ck_assert(!address_set_has(&set, &c) && !address_set_has(&set, &none));
	ck_assert(!address_set_has(&empty, &a) && !address_set_has(&empty, &local));
	address_set_free(&set);
	address_set_free(&empty);
}
END_TEST

START_TEST(cut)
{
	struct address a = parsed("2001:db8:1:2:3:4:5:6");
	char text[ADDRESS_TEXT];
	address_cut(&a, 128);
	ck_assert_str_eq(address_text(&a, text), "2001:db8:1:2:3:4:5:6");
	address_cut(&a, 64);
	ck_assert_str_eq(address_text(&a, text), "2001:db8:1:2::");
	address_cut(&a, 34);
	ck_assert_str_eq(address_text(&a, text), "2001:db8::");
	address_cut(&a, 0);
	ck_assert_str_eq(address_text(&a, text), "::");
}
END_TEST

START_TEST(ports)
{
	static const struct {
		const char *text;
		int port; /* -1: none */
	} cases[] = {{"0", 0},	    {"80", 80},	    {"00080", 80}, {"65535", 65535}, {"65536", -1},
		     {"99999", -1}, {"100000", -1}, {"", -1},	   {"-1", -1},	     {"8a", -1},
		     {" 80", -1},   {"80 ", -1},    {"/0", -1},	   {":", -1}};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		uint16_t port = 7;
		ck_assert_msg(address_port(span_of(cases[i].text), &port) == (cases[i].port >= 0),
			      "\"%s\"", cases[i].text);
		ck_assert_int_eq(port, cases[i].port >= 0 ? cases[i].port : 7);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("address");
	TCase *t = tcase_create("address");
	tcase_add_loop_test(t, parse, 0, sizeof addresses / sizeof *addresses);
	tcase_add_test(t, a_nul_inside);
	tcase_add_test(t, from_sockets);
	tcase_add_loop_test(t, network, 0, sizeof networks / sizeof *networks);
	tcase_add_test(t, sets);
	tcase_add_test(t, cut);
	tcase_add_test(t, ports);
	suite_add_tcase(s, t);
	return run_suite(s);
}
