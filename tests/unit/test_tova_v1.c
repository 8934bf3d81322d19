/* The messages of tova.v1, as they are on the wire; what clients send is fuzzed. */
#include <check.h>
#include <stdlib.h>

#include "run.h"
#include "ws/tova_v1.h"

static char text[TOVA_V1_MAX];

#define SAYS(len, expected) \
	do { \
		size_t len_ = (len); \
		ck_assert_uint_eq(len_, strlen(text)); \
		ck_assert_str_eq(text, "\1" expected); \
	} while (0)

START_TEST(what_the_host_says)
{
	struct tova_v1_welcome w = {.token = "TOKEN",
				    .resumed = true,
				    .got = 12,
				    .done = 11,
				    .keep_ms = 60000,
				    .protocol = SPAN("chat.v1")};
	SAYS(tova_v1_welcome(text, &w),
	     "{\"session\":\"TOKEN\",\"resumed\":true,\"got\":12,\"done\":11,\"keep_ms\":60000,\"protocol\":\"chat.v1\"}");
	w = (struct tova_v1_welcome){.token = NULL};
	SAYS(tova_v1_welcome(text, &w),
	     "{\"session\":null,\"resumed\":false,\"got\":0,\"done\":0,\"keep_ms\":0,\"protocol\":\"\"}");
	SAYS(tova_v1_done(text, 13, NULL, 0), "{\"done\":13}");
	SAYS(tova_v1_done(text, 13, (const uint64_t[]){12, 13}, 2),
	     "{\"done\":13,\"failed\":[12,13]}");
	SAYS(tova_v1_pong(text), "{\"pong\":1}");
	SAYS(tova_v1_lost(text, 12, 30), "{\"lost\":12,\"next\":30}");
	SAYS(tova_v1_refused(text, 401, 0), "{\"refused\":401,\"retry_ms\":0}");
	SAYS(tova_v1_renewed(text, 5), "{\"token\":\"ok\",\"expires_ms\":5}");
}
END_TEST

/* The longest of each fits. */
START_TEST(there_is_room)
{
	uint64_t failed[TOVA_V1_FAILED_MAX];
	char protocol[128];
	memset(protocol, 'p', sizeof protocol);
	for (size_t i = 0; i < TOVA_V1_FAILED_MAX; i++)
		failed[i] = UINT64_MAX;
	ck_assert_uint_gt(tova_v1_done(text, UINT64_MAX, failed, TOVA_V1_FAILED_MAX),
			  20 * TOVA_V1_FAILED_MAX);
	ck_assert_str_eq(text + strlen(text) - 2, "]}");
	const struct tova_v1_welcome w = {.token = "AAAAAAAAAAAAAAAAAAAAAw",
					  .got = UINT64_MAX,
					  .done = UINT64_MAX,
					  .keep_ms = UINT64_MAX,
					  .protocol = {protocol, sizeof protocol}};
	ck_assert_uint_gt(tova_v1_welcome(text, &w), sizeof protocol);
	ck_assert_str_eq(text + strlen(text) - 2, "\"}");
}
END_TEST

static const struct {
	const char *text;
	unsigned said;
	uint64_t got;
} controls[] = {
	{"{\"got\":49}", TOVA_V1_GOT, 49},
	{" { \"got\" : 0 } ", TOVA_V1_GOT, 0},
	{"{\"ping\":1}", TOVA_V1_PING, 0},
	{"{\"bye\":1}", TOVA_V1_BYE, 0},
	{"{\"token\":\"x\"}", TOVA_V1_JWT, 0},
	{"{}", 0, 0},
	{"{\"later\":{\"version\":[2]}}", 0, 0},
	{"{\"got\":7,\"ping\":1,\"later\":[]}", TOVA_V1_GOT | TOVA_V1_PING, 7},
	{"{\"bye\":1,\"token\":\"x\",\"got\":8}", TOVA_V1_BYE | TOVA_V1_JWT | TOVA_V1_GOT, 8},
	{"{\"got\":7,\"ping\":}", TOVA_V1_BAD, 0},
	{"", TOVA_V1_BAD, 0},
	{"[]", TOVA_V1_BAD, 0},
	{"{\"got\":\"1\"}", TOVA_V1_BAD, 0},
	{"{\"got\":-1}", TOVA_V1_BAD, 0},
	{"{\"token\":1}", TOVA_V1_BAD, 0},
	{"{\"ping\":1", TOVA_V1_BAD, 0},
	{"{\"ping\":1}}", TOVA_V1_BAD, 0},
};

START_TEST(what_a_client_says)
{
	struct tova_v1_control c;
	char *copy = strdup(controls[_i].text);
	tova_v1_read(copy, strlen(copy), &c);
	ck_assert_msg(c.said == controls[_i].said, "%s is %u", controls[_i].text, c.said);
	ck_assert_uint_eq(c.got, controls[_i].got);
	free(copy);
}
END_TEST

START_TEST(codes_of_refusals)
{
	ck_assert_uint_eq(tova_v1_close_code(401), 4401);
	ck_assert_uint_eq(tova_v1_close_code(403), 4403);
	ck_assert_uint_eq(tova_v1_close_code(429), 4429);
	ck_assert_uint_eq(tova_v1_close_code(503), 1013);
	ck_assert_uint_eq(tova_v1_close_code(404), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("tova_v1");
	TCase *tc = tcase_create("tova_v1");
	tcase_add_test(tc, what_the_host_says);
	tcase_add_test(tc, there_is_room);
	tcase_add_loop_test(tc, what_a_client_says, 0, sizeof controls / sizeof *controls);
	tcase_add_test(tc, codes_of_refusals);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
