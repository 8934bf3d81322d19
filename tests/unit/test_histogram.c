/* Histograms: each value in the bucket that has room for it, and for none that is smaller by half. */
#include <check.h>

#include "base/histogram.h"
#include "run.h"

static unsigned bucket_of(uint64_t value)
{
	struct histogram h = {.sum = 0};
	unsigned k = 0;
	histogram_add(&h, value);
	ck_assert_uint_eq(h.sum, value);
	while (h.buckets[k] == 0)
		k++;
	return k;
}

START_TEST(bounds)
{
	ck_assert_uint_eq(bucket_of(0), 0);
	ck_assert_uint_eq(bucket_of(1), 0);
	for (unsigned k = 1; k < HISTOGRAM_BUCKETS - 1; k++) {
		ck_assert_uint_eq(bucket_of(UINT64_C(1) << k), k);
		ck_assert_uint_eq(bucket_of((UINT64_C(1) << k) + 1), k + 1);
		ck_assert_uint_eq(bucket_of((UINT64_C(1) << (k - 1)) + 1), k);
	}
	ck_assert_uint_eq(bucket_of(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("histogram");
	TCase *tc = tcase_create("histogram");
	tcase_add_test(tc, bounds);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
