/* Who is there, in the harness: a plugin of the tests, of which the host is told the same. */
#undef NDEBUG
#include <assert.h>

#include "../plugins/company.c"
#include "tova_test.h"

int main(void)
{
	tova_request known = {.subject = "zoe", .claims = "{\"sub\":\"zoe\"}"};
	tova_test *t = tova_test_new(&tova_plugin_entry, NULL);
	tova_ws ann = tova_test_open(t, NULL), bob = tova_test_open(t, NULL),
		zoe = tova_test_open(t, &known);
	assert(tova_test_message(t, ann, "user ann") == 0 && tova_test_message(t, ann, "info tea") == 0);
	assert(tova_test_message(t, ann, "about") == 0 && tova_test_got(t, ann, "ann tea -"));
	assert(tova_test_message(t, zoe, "about") == 0 && tova_test_got(t, zoe, "zoe - claims"));
	assert(tova_test_message(t, bob, "user bob") == 0 && tova_test_message(t, bob, "bad") != 0);
	assert(tova_test_take(t, bob) != NULL);
	assert(tova_test_message(t, ann, "join a 2") == 0 && tova_test_message(t, bob, "join a 2") == 0);
	assert(tova_test_message(t, zoe, "join a 2") != 0 && !tova_test_is_member(t, zoe, "a"));
	assert(tova_test_take(t, zoe) != NULL);
	assert(tova_test_message(t, zoe, "join b") == 0);
	assert(tova_test_message(t, zoe, "tell hi") == 0);
	assert(tova_test_got(t, ann, "hi") && tova_test_got(t, zoe, "hi") && tova_test_quiet(t));
	assert(tova_test_message(t, ann, "join c") == 0 && tova_test_message(t, zoe, "tell hi") == 0);
	assert(tova_test_got(t, zoe, "hi") && tova_test_quiet(t));
	assert(tova_test_message(t, ann, "members a") == 0);
	assert(tova_test_got(t, ann, "members ann=tea bob=-"));
	assert(tova_test_message(t, bob, "user ann") == 0 && tova_test_message(t, ann, "users a") == 0);
	assert(tova_test_got(t, ann, "users ann*2"));
	assert(tova_test_message(t, ann, "clear a") == 0 && tova_test_closed(t, bob) == 4001);
	assert(tova_test_message(t, zoe, "alone a") == 0 && tova_test_closed(t, ann) == 4409);
	assert(tova_test_message(t, zoe, "leave") == 0 && tova_test_members(t, "b") == 0);
	tova_test_free(t);
	return 0;
}
