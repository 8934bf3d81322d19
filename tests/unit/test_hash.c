/* SipHash-1-3. The values were computed with another implementation, in another language, which was
 * checked with the vectors that the authors of SipHash published for 2-4; key and input are theirs:
 * bytes that count up from 0. */
#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "run.h"

static const struct hash_key counting = {0x0706050403020100, 0x0f0e0d0c0b0a0908};

/* Every length around a word, so that each kind of tail is there. */
START_TEST(short_inputs)
{
	static const uint64_t expected[] = {
		0xabac0158050fc4dc, 0xc9f49bf37d57ca93, 0x82cb9b024dc7d44d, 0x8bf80ab8e7ddf7fb,
		0xcf75576088d38328, 0xdef9d52f49533b67, 0xc50d2b50c59f22a7, 0xd3927d989bb11140,
		0x369095118d299a8e, 0x25a48eb36c063de4, 0x79de85ee92ff097f, 0x70c118c1f94dc352,
		0x78a384b157b4d9a2, 0x306f760c1229ffa7, 0x605aa111c0f95d34, 0xd320d86d2a519956,
		0xcc4fdd1a7d908b66,
	};

	for (size_t n = 0; n < sizeof expected / sizeof *expected; n++) {
		/* of the exact length, so that a read beyond it is found */
		uint8_t *p = malloc(n + 1);

		for (size_t i = 0; i < n; i++)
			p[i] = (uint8_t)i;
		p = realloc(p, n > 0 ? n : 1);
		ck_assert_uint_eq(hash_bytes(&counting, p, n), expected[n]);
		free(p);
	}
}
END_TEST

START_TEST(long_inputs)
{
	static const struct {
		size_t n;
		uint64_t hash;
	} expected[] = {
		{63, 0x9d199062b7bbb3a8},  {64, 0xf17997ec4b4a6065},   {255, 0xf76214e3153c4a15},
		{256, 0x75b3e64e167de370}, {1000, 0x2cf8d9d4f270cadf},
	};
	uint8_t bytes[1001];

	/* One byte behind the start: nothing may depend on where the input lies. */
	for (size_t i = 0; i < 1000; i++)
		bytes[i + 1] = (uint8_t)i;
	for (size_t k = 0; k < sizeof expected / sizeof *expected; k++)
		ck_assert_uint_eq(hash_bytes(&counting, bytes + 1, expected[k].n),
				  expected[k].hash);
}
END_TEST

START_TEST(other_keys)
{
	const struct hash_key zero = {0, 0}, ones = {UINT64_MAX, UINT64_MAX};

	ck_assert_uint_eq(hash_bytes(&zero, "", 0), 0xd1fba762150c532c);
	ck_assert_uint_eq(hash_bytes(&ones, "general", 7), 0xce8cd7e6972d946c);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("hash");
	TCase *tc = tcase_create("hash");

	tcase_add_test(tc, short_inputs);
	tcase_add_test(tc, long_inputs);
	tcase_add_test(tc, other_keys);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
