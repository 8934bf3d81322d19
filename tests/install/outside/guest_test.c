#undef NDEBUG
#include <assert.h>

#include <tova_test.h>

#include "guest.c"

int main(void)
{
	tova_test *t = tova_test_new(&tova_plugin_entry, NULL);
	tova_ws ann = tova_test_open(t, NULL), bob = tova_test_open(t, NULL);
	const tova_request elsewhere = {.size = sizeof elsewhere, .path = "/", .remote_addr = "192.0.2.7"};

	/* a callback that fails has done nothing */
	assert(tova_test_message(t, ann, "much too long") != 0 && tova_test_quiet(t));
	assert(tova_test_message(t, ann, "hi") == 0 && tova_test_got(t, bob, "1: hi"));

	/* who has said nothing gets a hint, once */
	assert(tova_test_pass(t, 29999) == 0 && tova_test_pass(t, 1) == 1 && tova_test_pass(t, 60000) == 0);
	assert(tova_test_got(t, bob, "Say something!"));

	assert(tova_test_away(t, ann, 1006) == 0 && tova_test_got(t, bob, "away (1006)"));
	assert(tova_test_message(t, bob, "ann?") == 0 && tova_test_got(t, ann, "1: ann?"));
	assert(tova_test_back(t, ann, &elsewhere) == 0 && tova_test_got(t, bob, "back from 192.0.2.7"));
	assert(tova_test_quiet(t));
	tova_test_free(t);
	return 0;
}
