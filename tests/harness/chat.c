/* The chat of the examples, tested as its author would. */
#undef NDEBUG
#include <assert.h>

#include "tova_test.h"

#include "../../plugins/chat.c"

int main(void)
{
	tova_test *t = tova_test_new(&tova_plugin_entry, NULL);
	tova_ws ann = tova_test_open(t, NULL);
	assert(tova_test_got(t, ann, "{\"type\":\"system\",\"text\":\"Welcome to the chat!\"}"));
	tova_ws bob = tova_test_open(t, NULL);
	assert(tova_test_got(t, bob, "{\"type\":\"system\",\"text\":\"Welcome to the chat!\"}"));
	assert(tova_test_got(t, ann, "{\"type\":\"system\",\"text\":\"A new user joined\"}"));

	assert(tova_test_message(t, ann, "{\"type\":\"chat\",\"user\":\"Ann\",\"text\":\"hi\"}") ==
	       0);
	assert(tova_test_got(t, bob, "{\"type\":\"chat\",\"user\":\"Ann\",\"text\":\"hi\"}"));
	assert(tova_test_quiet(t));

	/* Who says who he is is seen by the others, once however many tabs he has, and missed when
	 * he has been away for a while. */
	assert(tova_test_message(t, ann, "{\"type\":\"people\",\"user\":\"Ann\",\"id\":3}") == 0);
	assert(tova_test_got(t, ann, "{\"type\":\"people\",\"id\":3,\"users\":[\"Ann\"]}"));
	assert(tova_test_got(t, ann, "{\"type\":\"here\",\"room\":\"general\",\"user\":\"Ann\"}"));
	assert(tova_test_got(t, bob, "{\"type\":\"here\",\"room\":\"general\",\"user\":\"Ann\"}"));
	tova_ws tab = tova_test_open(t, NULL);
	assert(tova_test_got(t, tab, "{\"type\":\"chat\",\"user\":\"Ann\",\"text\":\"hi\"}"));
	assert(tova_test_take(t, tab) != NULL && tova_test_take(t, ann) != NULL &&
	       tova_test_take(t, bob) != NULL);
	assert(tova_test_message(t, tab, "{\"type\":\"people\",\"user\":\"Ann\"}") == 0);
	assert(tova_test_got(t, tab, "{\"type\":\"people\",\"id\":0,\"users\":[\"Ann\"]}"));
	assert(tova_test_close(t, tab, 1001, NULL) == 0);
	assert(tova_test_take(t, ann) != NULL && tova_test_take(t, bob) != NULL);
	assert(tova_test_message(t, bob, "{\"type\":\"people\"}") == 0);
	assert(tova_test_take(t, bob) != NULL && tova_test_quiet(t));

	assert(tova_test_message(t, bob, "{\"type\":\"join_room\",\"room\":\"tea\"}") == 0);
	assert(tova_test_got(t, bob, "{\"type\":\"system\",\"text\":\"Joined room: tea\"}"));
	assert(tova_test_is_member(t, bob, "tea") && !tova_test_is_member(t, bob, "general"));

	/* A name that the host refuses: nothing of it has happened, and bob is told. */
	assert(tova_test_message(t, bob, "{\"type\":\"join_room\",\"room\":\"\"}") != 0);
	assert(strstr(tova_test_why(t), "1 to 255 bytes") != NULL);
	const tova_payload *told = tova_test_take(t, bob);
	assert(told != NULL && strstr(told->data, "\"type\":\"error\"") != NULL);
	assert(tova_test_is_member(t, bob, "tea") && tova_test_quiet(t));

	assert(tova_test_close(t, bob, 1001, NULL) == 0);
	assert(tova_test_got(t, ann, "{\"type\":\"system\",\"text\":\"A user left the chat\"}"));
	assert(tova_test_members(t, "tea") == 0 && tova_test_quiet(t));
	tova_test_free(t);
	return 0;
}
