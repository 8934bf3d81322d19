/* Ids as text: there and back, and no second spelling of any. */
#include <check.h>
#include <stdlib.h>

#include "hub/session.h"
#include "run.h"

static uint64_t mixed(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

static bool parses(const char *text, struct session_id *id_r)
{
	return session_id_parse(span_of(text), id_r);
}

START_TEST(there_and_back)
{
	for (uint64_t i = 0; i < 5000; i++) {
		/* Each single bit, then any. */
		struct session_id id = {i < 64	  ? (uint64_t)1 << i
					: i < 128 ? 0
						  : mixed(i),
					i < 64	  ? 0
					: i < 128 ? (uint64_t)1 << (i - 64)
						  : mixed(~i)},
				  back = {1, 1};
		char text[SESSION_ID_TEXT];
		session_id_text(id, text);
		ck_assert_uint_eq(strlen(text), 22);
		ck_assert(parses(text, &back));
		ck_assert_uint_eq(back.host, id.host);
		ck_assert_uint_eq(back.local, id.local);
	}
}
END_TEST

/* base64url (RFC 4648 5) of the 16 bytes, most significant first, as any other program makes it. */
START_TEST(known_texts)
{
	char text[SESSION_ID_TEXT];
	session_id_text((struct session_id){0, 0}, text);
	ck_assert_str_eq(text, "AAAAAAAAAAAAAAAAAAAAAA");
	session_id_text((struct session_id){UINT64_MAX, UINT64_MAX}, text);
	ck_assert_str_eq(text, "_____________________w");
	session_id_text((struct session_id){0x0123456789abcdef, 0xfedcba9876543210}, text);
	ck_assert_str_eq(text, "ASNFZ4mrze_-3LqYdlQyEA");
	session_id_text((struct session_id){0, 1}, text);
	ck_assert_str_eq(text, "AAAAAAAAAAAAAAAAAAAAAQ");
}
END_TEST

START_TEST(wrong_spellings)
{
	struct session_id id = {7, 7};
	static const char *const wrong[] = {
		"",
		"A",
		"AAAAAAAAAAAAAAAAAAAAA",
		"AAAAAAAAAAAAAAAAAAAAAAA",
		"AAAAAAAAAAAAAAAAAAAAAA==",
		"AAAAAAAAAAAAAAAAAAAAAB",
		"AAAAAAAAAAAAAAAAAAAAA_",
		"AAAAAAAAAAAAAAAAAAAAAx",
		"+AAAAAAAAAAAAAAAAAAAAA",
		"/AAAAAAAAAAAAAAAAAAAAA",
		"AAAAAAAAAA AAAAAAAAAAA",
		("AAAAAAAAAA\xc3\x84"
		 "AAAAAAAAAA"),
		"AAAAAAAAAAAAAAAAAAAAA=",
	};
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		ck_assert_msg(!parses(wrong[i], &id), "%s was taken", wrong[i]);
	ck_assert(!session_id_parse((struct span){"AAAAAAAAAAAAAAAAAAAAA\0", 22}, &id));
	ck_assert(!session_id_parse((struct span){"AAAAAAAAAA\0AAAAAAAAAAA", 22}, &id));
	ck_assert(!session_id_parse((struct span){NULL, 0}, &id));
	ck_assert_uint_eq(id.host, 7); /* a refusal writes nothing */
	ck_assert_uint_eq(id.local, 7);
}
END_TEST

/* Of all texts with another last character only four are ids. */
START_TEST(one_spelling_each)
{
	int taken = 0;
	for (int c = 0; c < 256; c++) {
		char text[] = "ASNFZ4mrze_-3LqYdlQyEA", back[SESSION_ID_TEXT];
		struct session_id id;
		text[21] = (char)c;
		if (!session_id_parse((struct span){text, 22}, &id))
			continue;
		taken++;
		session_id_text(id, back);
		ck_assert_str_eq(back, text);
	}
	ck_assert_int_eq(taken, 4);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("session");
	TCase *tc = tcase_create("session");

	tcase_add_test(tc, there_and_back);
	tcase_add_test(tc, known_texts);
	tcase_add_test(tc, wrong_spellings);
	tcase_add_test(tc, one_spelling_each);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
