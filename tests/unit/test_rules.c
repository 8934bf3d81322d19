/* What commands may say: names, close codes, reasons. */
#include <check.h>

#include "common/rules.h"
#include "run.h"

START_TEST(names)
{
	static char long_name[RULES_NAME_MAX + 1];
	memset(long_name, 'x', sizeof long_name);
	ck_assert(rules_name_ok(SPAN("a")));
	ck_assert(rules_name_ok(SPAN(" ")));
	ck_assert(rules_name_ok(SPAN("r\xc3\xa4um/\xf0\x9f\x98\x80\n")));
	ck_assert(rules_name_ok((struct span){long_name, RULES_NAME_MAX}));
	ck_assert(!rules_name_ok((struct span){long_name, RULES_NAME_MAX + 1}));
	ck_assert(!rules_name_ok((struct span){long_name, 0}));
	ck_assert(!rules_name_ok((struct span){NULL, 0}));
	ck_assert(!rules_name_ok(SPAN("a\0b")));
	ck_assert(!rules_name_ok(SPAN("\0")));
	ck_assert(!rules_name_ok(SPAN("\xff")));
	ck_assert(!rules_name_ok(SPAN("\xc3")));
	ck_assert(!rules_name_ok(SPAN("\xed\xa0\x80"))); /* a surrogate */
}
END_TEST

START_TEST(close_codes)
{
	static const unsigned right[] = {1000, 1001, 1003, 1007, 1008, 1009,
					 1010, 1011, 1012, 1013, 1014};

	for (unsigned code = 0; code <= 65536; code++) {
		bool ok = code >= 3000 && code < 5000;

		for (size_t i = 0; i < sizeof right / sizeof *right; i++)
			ok |= code == right[i];
		if (rules_close_code_ok(code) != ok)
			ck_abort_msg("%u: expected %d", code, ok);
	}
}
END_TEST

START_TEST(reasons)
{
	static char text[RULES_REASON_MAX + 1];
	memset(text, 'x', sizeof text);
	ck_assert(rules_close_ok(0, (struct span){NULL, 0}));
	ck_assert(rules_close_ok(1000, (struct span){NULL, 0}));
	ck_assert(rules_close_ok(1000, (struct span){text, RULES_REASON_MAX}));
	ck_assert(!rules_close_ok(1000, (struct span){text, RULES_REASON_MAX + 1}));
	ck_assert(!rules_close_ok(1000, (struct span){NULL, 1}));
	ck_assert(!rules_close_ok(0, SPAN("a reason needs a code")));
	ck_assert(!rules_close_ok(1002, SPAN("")));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("rules");
	TCase *tc = tcase_create("rules");

	tcase_add_test(tc, names);
	tcase_add_test(tc, close_codes);
	tcase_add_test(tc, reasons);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
