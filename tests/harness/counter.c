/* What is kept with a room and for the mount, in the harness: a plugin of the tests, of which the host is told the same. */
#undef NDEBUG
#include <assert.h>

#include "../plugins/counter.c"
#include "tova_test.h"

static int told(tova_test *t, tova_ws ws, const char *said, const char *answer)
{
	return tova_test_message(t, ws, said) == 0 && tova_test_got(t, ws, answer);
}

int main(void)
{
	tova_request named = {.query = "eve"};
	size_t len;
	tova_test *t = tova_test_new(&tova_plugin_entry, NULL);
	tova_ws ann = tova_test_open(t, NULL), bob = tova_test_open(t, NULL);
	assert(told(t, ann, "total", "1") && told(t, bob, "total", "2"));
	tova_ws eve = tova_test_open(t, &named);
	assert(tova_test_got(t, eve, "eve after 2"));
	assert(told(t, ann, "+", "1") && told(t, bob, "+", "2") && told(t, ann, "ask", "counter=2 1"));
	assert(strcmp(tova_test_room_state(t, "counter", &len), "2") == 0 && len == 1);
	assert(tova_test_message(t, ann, "fail") != 0 && tova_test_take(t, ann) != NULL);
	assert(tova_test_message(t, ann, "old") != 0 && tova_test_take(t, ann) != NULL);
	assert(tova_test_message(t, bob, "full") == 0 && tova_test_message(t, ann, "full") != 0);
	assert(tova_test_take(t, ann) != NULL && told(t, ann, "data", "0 1"));
	assert(((const struct totals *)tova_test_mount_data(t))->said == 2);
	tova_test_set_room(t, "counter", "41", 2);
	assert(told(t, ann, "+", "42") && tova_test_message(t, ann, "none") == 0);
	assert(told(t, ann, "ask", "counter= 0") && tova_test_message(t, ann, "any") == 0);
	assert(told(t, bob, "+", "1") && tova_test_quiet(t));
	tova_test_free(t);
	return 0;
}
