/* A buffer that grows at its end and is used up from its front, against an array. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/buffer.h"
#include "run.h"

#define MOST 100000

static struct buffer buffer;
static bool memory_denied;

void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n)
{
	return memory_denied ? NULL : __real_realloc(p, n);
}

static void setup(void)
{
	memory_denied = false;
	buffer = (struct buffer){.p = NULL};
}

static void teardown(void)
{
	buffer_free(&buffer);
}

static void check(const char *expected, size_t n)
{
	ck_assert_uint_eq(buffer.n, n);
	ck_assert_uint_ge(buffer.cap, n);
	ck_assert(n == 0 || memcmp(buffer.p, expected, n) == 0);
	if (buffer.p != NULL)
		buffer.p[buffer.cap] = '\0'; /* one more may be written */
}

START_TEST(model)
{
	static char expected[MOST], bytes[700];
	size_t n = 0;
	uint64_t state = 7;
	for (int i = 0; i < 100000; i++) {
		state = state * 6364136223846793005u + 1442695040888963407u;
		size_t some = (state >> 33) % sizeof bytes;
		memset(bytes, 'a' + i % 26, sizeof bytes);
		if ((state >> 50) % 2 == 0 && n + some <= MOST) {
			if (i % 3 == 0)
				buffer_add(&buffer, bytes, some);
			else
				ck_assert(buffer_append(&buffer, bytes, some));
			memcpy(expected + n, bytes, some);
			n += some;
		} else {
			some = (state >> 44) % 64 == 0 || some > n ? n : some;
			buffer_drop(&buffer, some);
			memmove(expected, expected + some, n - some);
			n -= some;
		}
		if (i % 1000 == 0)
			buffer_shrink(&buffer, 100);
		check(expected, n);
	}
}
END_TEST

/* What goes in and out all the time takes no more memory than it ever had at once. */
START_TEST(used_up_memory_is_used_again)
{
	char bytes[100] = {0};
	ck_assert(buffer_reserve(&buffer, 1000));
	size_t memory = buffer_memory(&buffer);
	for (int i = 0; i < 8; i++)
		ck_assert(buffer_append(&buffer, bytes, sizeof bytes));
	for (int i = 0; i < 1000; i++) {
		buffer_drop(&buffer, sizeof bytes);
		ck_assert(buffer_append(&buffer, bytes, sizeof bytes));
		ck_assert_uint_eq(buffer_memory(&buffer), memory);
	}
	buffer_drop(&buffer, buffer.n);
	ck_assert_uint_eq(buffer.cap, memory);
}
END_TEST

/* No more than was asked for, or twice as much as before. */
START_TEST(memory)
{
	ck_assert(buffer_reserve(&buffer, 10));
	ck_assert_uint_eq(buffer_memory(&buffer), 10);
	ck_assert(buffer_reserve(&buffer, 11));
	ck_assert_uint_eq(buffer_memory(&buffer), 20);
	ck_assert(buffer_reserve(&buffer, 1 << 20));
	ck_assert_uint_eq(buffer_memory(&buffer), 1 << 20);
	buffer_add_text(&buffer, "what remains");
	buffer_drop(&buffer, 5);
	buffer_shrink(&buffer, 1 << 20);
	ck_assert_uint_eq(buffer_memory(&buffer), 1 << 20);
	buffer_shrink(&buffer, 100);
	ck_assert_uint_eq(buffer_memory(&buffer), 107);
	check("remains", 7);
	buffer_empty(&buffer, 107);
	ck_assert_uint_eq(buffer_memory(&buffer), 107);
	check("", 0);
	buffer_empty(&buffer, 106);
	ck_assert_uint_eq(buffer_memory(&buffer), 0);
	ck_assert_ptr_null(buffer.p);
}
END_TEST

/* What is asked at once is told; what is added piece by piece remembers it. */
START_TEST(no_memory)
{
	buffer_add_text(&buffer, "some");
	memory_denied = true;
	size_t cap = buffer.cap;
	ck_assert(!buffer_reserve(&buffer, cap));
	ck_assert(!buffer_append(&buffer, buffer.p, cap));
	ck_assert(!buffer.failed);
	check("some", 4);
	ck_assert_ptr_null(buffer_room(&buffer, cap));
	ck_assert(buffer.failed);
	buffer_add_text(&buffer, "more"); /* there is room, but something is missing before it */
	check("some", 4);
	memory_denied = false;
	buffer_clear(&buffer);
	ck_assert(!buffer.failed);
	buffer_add_text(&buffer, "again");
	check("again", 5);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("buffer");
	TCase *tc = tcase_create("buffer");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, model);
	tcase_add_test(tc, used_up_memory_is_used_again);
	tcase_add_test(tc, memory);
	tcase_add_test(tc, no_memory);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
