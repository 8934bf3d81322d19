/* What rooms remember, in a test as with a host that runs with --history. */
#undef NDEBUG
#include <assert.h>

#include "tova_test.h"

static int on_message(tova_mount *m, tova_ws ws, const tova_payload *message)
{
	const char *text = message->data;
	tova_payload hint = tova_unkept(*message);
	if (strncmp(text, "last ", 5) == 0)
		return tova_join_last(m, ws, "r", (uint32_t)atoi(text + 5));
	if (strncmp(text, "since ", 6) == 0)
		return tova_join_since(m, ws, "r", (uint64_t)atoi(text + 6), 1,
				       TOVA_HISTORY_SINCE_OR_LAST);
	if (strncmp(text, "fail ", 5) == 0)
		return tova_join_since(m, ws, "r", (uint64_t)atoi(text + 5), 1,
				       TOVA_HISTORY_SINCE_OR_FAIL);
	if (strcmp(text, "no epoch") == 0)
		return tova_join_since(m, ws, "r", 3, 0, TOVA_HISTORY_SINCE_OR_LAST);
	if (strcmp(text, "tell") == 0)
		return tova_query_history(m, "r", TOVA_NEWEST, 2, ws, 1);
	if (strcmp(text, "hint") == 0)
		return tova_broadcast_payload_to(m, "r", &hint, ws);
	return tova_broadcast_payload_to(m, "r", message, ws);
}

static int on_reply(tova_mount *m, const tova_reply *reply)
{
	const tova_remembered *messages = tova_messages(reply);
	for (uint64_t i = 0; i < reply->count; i++)
		tova_sendf(m, tova_asker(reply), "%llu of %llu: %s",
			   (unsigned long long)messages[i].offset, (unsigned long long)reply->last,
			   (const char *)messages[i].payload.data);
	return 0;
}

static const tova_plugin plugin = {
	TOVA_PLUGIN_HEAD("remembered", "1.0"), .on_message = on_message, .on_reply = on_reply};

int main(void)
{
	tova_test *t = tova_test_new(&plugin, NULL);
	tova_ws a = tova_test_open(t, NULL), b = tova_test_open(t, NULL);
	for (const char *const *text = (const char *const[]){"one", "two", "hint", "three", NULL};
	     *text != NULL; text++)
		assert(tova_test_message(t, a, *text) == 0);
	assert(tova_test_message(t, a, "last 2") == 0);
	assert(tova_test_got(t, a, "two") && tova_test_got(t, a, "three"));
	assert(tova_test_message(t, b, "since 1") == 0);
	assert(tova_test_got(t, b, "two") && tova_test_got(t, b, "three"));
	assert(tova_test_message(t, b, "since 9") == 0); /* of which nobody knows: all there is */
	assert(tova_test_got(t, b, "one") && tova_test_got(t, b, "two") &&
	       tova_test_got(t, b, "three"));
	assert(tova_test_message(t, b, "fail 9") != 0 && tova_test_message(t, b, "no epoch") != 0);
	assert(tova_test_message(t, b, "hint") == 0 && tova_test_got(t, a, "hint"));
	assert(tova_test_message(t, b, "four") == 0 && tova_test_got(t, a, "four"));
	assert(tova_test_message(t, a, "tell") == 0);
	assert(tova_test_got(t, a, "3 of 4: three") && tova_test_got(t, a, "4 of 4: four"));
	assert(tova_test_quiet(t));
	tova_test_free(t);
	return 0;
}
