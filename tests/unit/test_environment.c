/* Which variables of the host's own environment its children get. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "base/environment.h"
#include "run.h"

static bool passes(const char *variable, const char *item)
{
	char *items[] = {(char *)item};
	return environment_passes(variable, items, item != NULL);
}

START_TEST(a_short_list_passes_without_being_asked_for)
{
	static const char *const given[] = {"PATH=/bin",     "HOME=/",	    "USER=x",	"LOGNAME=x",
					    "SHELL=/bin/sh", "LANG=C",	    "LC_ALL=C", "TZ=UTC",
					    "TMPDIR=/tmp",   "LANGUAGE=de", "LC_=",	"PATH="};
	for (size_t i = 0; i < sizeof given / sizeof *given; i++)
		ck_assert_msg(passes(given[i], NULL), "%s", given[i]);
}
END_TEST

START_TEST(nothing_else_does)
{
	static const char *const kept[] =
		{"SECRET=1",	 "PATHS=1", "PAT=1", "", "=", "PATH", "AWS_SECRET_ACCESS_KEY=1",
		 "LD_PRELOAD=x", "HOME2=1", "lang=C"};
	for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
		ck_assert_msg(!passes(kept[i], NULL), "%s", kept[i]);
}
END_TEST

START_TEST(what_is_asked_for_passes)
{
	ck_assert(passes("MINE=1", "MINE"));
	ck_assert(passes("MINE_TOO=1", "MINE*"));
	ck_assert(passes("MINE=1", "MINE*"));
	ck_assert(passes("ANY=1", "*"));
	ck_assert(passes("SSL_CERT_FILE=/x", "SSL_CERT_FILE"));
	ck_assert(!passes("MINE_TOO=1", "MINE"));
	ck_assert(!passes("MIN=1", "MINE*"));
	ck_assert(!passes("ANY", "*"));
}
END_TEST

/* Whatever is asked for. */
START_TEST(what_is_said_of_a_request_never_does)
{
	static const char *const facts[] = {"REMOTE_USER=root",	 "HTTPS=on",
					    "SSL_CLIENT_S_DN=x", "SSL_CLIENT_VERIFY=SUCCESS",
					    "HTTP_PROXY=x",	 "HTTP_COOKIE=x",
					    "AUTH_TYPE=x",	 "REMOTE_ADDR=::1",
					    "REMOTE_GROUPS=x",	 "QUERY_STRING=",
					    "TOVA_CLAIMS={}",	 "TOVA_TOKEN=x",
					    "NOTIFY_SOCKET=x",	 "LISTEN_FDS=1",
					    "WATCHDOG_PID=1"};
	for (size_t i = 0; i < sizeof facts / sizeof *facts; i++) {
		ck_assert_msg(!passes(facts[i], "*"), "%s", facts[i]);
		char name[64];
		snprintf(name, sizeof name, "%.*s", (int)strcspn(facts[i], "="), facts[i]);
		ck_assert_msg(!passes(facts[i], name), "%s", facts[i]);
		ck_assert_msg(environment_item_error(name) != NULL, "%s", name);
	}
}
END_TEST

START_TEST(items_are_names)
{
	static const char *const good[] = {"A",		  "_",	   "a1",
					   "MINE_*",	  "*",	   "SSL_CERT_DIR",
					   "https_proxy", "HTTPSX"};
	static const char *const bad[] = {"",	"1A",  "A B",	   "A=1", "A**",
					  "*A", "A-B", "\xc3\xa4", "9*",  "$A"};
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		ck_assert_msg(environment_item_error(good[i]) == NULL, "%s", good[i]);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		ck_assert_msg(environment_item_error(bad[i]) != NULL, "%s", bad[i]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("environment");
	TCase *t = tcase_create("environment");
	tcase_add_test(t, a_short_list_passes_without_being_asked_for);
	tcase_add_test(t, nothing_else_does);
	tcase_add_test(t, what_is_asked_for_passes);
	tcase_add_test(t, what_is_said_of_a_request_never_does);
	tcase_add_test(t, items_are_names);
	suite_add_tcase(s, t);
	return run_suite(s);
}
