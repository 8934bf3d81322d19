/* What a plugin hands over and says of itself, by every version of its interface. */
#include "common/abi.h" /* before check.h, whose fail() is a macro */

#include <check.h>

#include "run.h"

START_TEST(payloads)
{
	tova_payload p = {.size = sizeof p, .data = "a", .len = 1, .kind = TOVA_TEXT};
	ck_assert(abi_payload_ok(&p));
	ck_assert(!abi_payload_ok(NULL));
	p.kind = TOVA_BINARY;
	ck_assert(abi_payload_ok(&p));
	p.kind = 0;
	ck_assert(!abi_payload_ok(&p));
	p = (tova_payload){.size = sizeof p, .data = NULL, .len = 1, .kind = TOVA_TEXT};
	ck_assert(!abi_payload_ok(&p));
	p.len = 0;
	ck_assert(abi_payload_ok(&p));
	p.size = 1;
	ck_assert(!abi_payload_ok(&p));
}
END_TEST

/* What lies behind the end of an older version's struct is not looked at. */
START_TEST(keys)
{
	tova_payload p = {.size = sizeof p, .key = "k", .key_len = 1};
	ck_assert(span_eq(abi_payload_key(&p), SPAN("k")));
	p.size = offsetof(tova_payload, key);
	ck_assert_uint_eq(abi_payload_key(&p).n, 0);
	p = (tova_payload){.size = sizeof p, .key = NULL, .key_len = 1};
	ck_assert_uint_eq(abi_payload_key(&p).n, 0);
}
END_TEST

START_TEST(refusals)
{
	char type[129];
	memset(type, 'x', sizeof type);
	type[128] = '\0';
	ck_assert(abi_refusal_ok(300, NULL, NULL, 0));
	ck_assert(abi_refusal_ok(599, "text/plain", "no", 2));
	ck_assert(!abi_refusal_ok(299, NULL, NULL, 0));
	ck_assert(!abi_refusal_ok(600, NULL, NULL, 0));
	ck_assert(!abi_refusal_ok(403, NULL, NULL, 1));
	ck_assert(!abi_refusal_ok(403, "text/plain\r\nX: y", "no", 2));
	ck_assert(!abi_refusal_ok(403, type, "no", 2));
	type[127] = '\0';
	ck_assert(abi_refusal_ok(403, type, "no", 2));
}
END_TEST

START_TEST(texts_of_failures)
{
	char text[ABI_FAIL_MAX], far[2 * ABI_FAIL_MAX];
	ck_assert_uint_eq(abi_fail_text(text, NULL, 0), 0);
	ck_assert_str_eq(text, "");
	ck_assert_uint_eq(abi_fail_text(text, "why", 3), 3);
	ck_assert_str_eq(text, "why");
	ck_assert_uint_eq(abi_fail_text(text, "why\0not", 7), 3);
	ck_assert_str_eq(text, "why");
	ck_assert_uint_eq(abi_fail_text(text, "wh\xff", 3), 2);
	ck_assert_str_eq(text, "wh");
	/* cut within a character, which is two bytes */
	memset(far, 'x', sizeof far);
	memcpy(far + ABI_FAIL_MAX - 2, "\xc3\xa4", 2);
	ck_assert_uint_eq(abi_fail_text(text, far, sizeof far), ABI_FAIL_MAX - 2);
	ck_assert_uint_eq(strlen(text), ABI_FAIL_MAX - 2);
}
END_TEST

START_TEST(settings)
{
	static const tova_setting_spec none[] = {{NULL, NULL, NULL}}, two[] = {{"a", "1", ""},
									       {"b", NULL, ""},
									       {NULL, NULL, NULL}};
	tova_plugin plugin = {.name = "p"};
	char why[128], small[8];
	ck_assert(abi_setting_ok(&plugin, "any", why, sizeof why));
	ck_assert_ptr_null(abi_setting(&plugin, "any"));
	plugin.settings = none;
	ck_assert(!abi_setting_ok(&plugin, "any", why, sizeof why));
	ck_assert_str_eq(why, "the plugin p has no setting \"any\"; expected none");
	plugin.settings = two;
	ck_assert(!abi_setting_ok(&plugin, "c", why, sizeof why));
	ck_assert_str_eq(why, "the plugin p has no setting \"c\"; expected a or b");
	ck_assert(!abi_setting_ok(&plugin, "c", small, sizeof small));
	ck_assert_str_eq(small, "the plu");
	ck_assert(abi_setting_ok(&plugin, "b", why, sizeof why));
	ck_assert_str_eq(abi_setting(&plugin, "a")->fallback, "1");
	ck_assert_ptr_null(abi_setting(&plugin, "b")->fallback);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("abi");
	TCase *tc = tcase_create("abi");

	tcase_add_test(tc, payloads);
	tcase_add_test(tc, keys);
	tcase_add_test(tc, refusals);
	tcase_add_test(tc, texts_of_failures);
	tcase_add_test(tc, settings);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
