/* Who is there, in the harness: a plugin of the tests, of which the host is told the same. */
#undef NDEBUG
#include <assert.h>

#include "../plugins/company.c"
#include "tova_test.h"

static void all_got(tova_test *t, const tova_ws *all, size_t n, const char *text)
{
	for (size_t i = 0; i < n; i++)
		assert(tova_test_got(t, all[i], text));
}

/* Who comes and goes: each user once, one who is lost after a time. */
static void watched(void)
{
	tova_test *t = tova_test_new(&tova_plugin_entry, NULL);
	tova_ws all[4];
	for (size_t i = 0; i < 4; i++)
		all[i] = tova_test_open(t, NULL);
	tova_test_message(t, all[0], "user ann");
	tova_test_message(t, all[0], "info tea");
	tova_test_message(t, all[1], "user ann");
	tova_test_message(t, all[2], "user bob");
	assert(tova_test_message(t, all[0], "join r") == 0);
	assert(tova_test_message(t, all[0], "watch r 3600001") != 0);
	tova_test_take(t, all[0]);
	assert(tova_test_message(t, all[0], "watch5 r") == 0);
	all_got(t, all, 4, "join r ann/tea 1");
	assert(tova_test_message(t, all[1], "join r") == 0 && tova_test_quiet(t));
	assert(tova_test_message(t, all[3], "join r") == 0);
	all_got(t, all, 4, "join r / 2");
	assert(tova_test_message(t, all[2], "join r") == 0);
	all_got(t, all, 4, "join r bob/ 3");
	assert(tova_test_close(t, all[3], 1006, NULL) == 0); /* nobody: he is not waited for */
	all_got(t, all, 3, "leave r / 2");
	tova_test_message(t, all[0], "leave");
	assert(tova_test_quiet(t));
	assert(tova_test_close(t, all[1], 1001, NULL) == 0 && tova_test_quiet(t));
	assert(tova_test_message(t, all[0], "users r") == 0);
	assert(tova_test_got(t, all[0], "users ann*0 bob*1"));
	tova_test_pass(t, 4999);
	assert(tova_test_message(t, all[0], "join r") == 0 && tova_test_quiet(t));
	assert(tova_test_message(t, all[2], "leave") == 0);
	all[1] = all[2];
	all_got(t, all, 2, "leave r bob/ 1");
	assert(tova_test_close(t, all[0], 1006, NULL) == 0);
	tova_test_pass(t, 5000);
	assert(tova_test_got(t, all[1], "leave r ann/tea 0") && tova_test_quiet(t));
	assert(tova_test_message(t, all[1], "unwatch r") == 0);
	assert(tova_test_message(t, all[1], "join r") == 0 && tova_test_quiet(t));
	tova_test_free(t);
}

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
	watched();
	return 0;
}
