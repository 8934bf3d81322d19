/* What the harness promises of a host: commits and their undoing, data, timers, queries, upgrades,
 * wakes. A handler that relies on something else must fail here as it would there. */
#undef NDEBUG
#include <assert.h>
#include <pthread.h>

#include "tova_test.h"

struct guest {
	unsigned said;
	char name[24];
};

static tova_ws other; /* whom "other" means */

static void *wake_from_thread(void *m)
{
	assert(tova_send(m, TOVA_NONE, "x") == TOVA_E_THREAD);
	tova_wake(m);
	return NULL;
}

static int start(tova_mount *m)
{
	if (tova_setting(m, "broken") != NULL)
		return tova_fail(m, "as the setting wants");
	return tova_every(m, "tick", 1, 100, 50);
}

static void stop(tova_mount *m)
{
	assert(tova_broadcast(m, "never", TOVA_NONE) == TOVA_E_STATE);
}

static int on_upgrade(tova_mount *m, const tova_request *request)
{
	struct guest *guest = tova_data(m);
	if (strcmp(request->path, "/closed") == 0)
		return tova_refuse(m, 403, "not here");
	if (strcmp(request->path, "/broken") == 0)
		return tova_fail(m, "as asked");
	if (request->n_subprotocols > 0)
		tova_subprotocol(m, request->subprotocols[0]);
	snprintf(guest->name, sizeof guest->name, "%s",
		 tova_subject(m) != NULL ? tova_subject(m) : "nobody");
	return tova_response_header(m, "X-Seen", request->path);
}

static int on_open(tova_mount *m, tova_ws ws, const tova_request *request)
{
	const struct guest *guest = tova_data(m);
	(void)request;
	tova_join(m, ws, "all");
	return tova_sendf(m, ws, "%s %s", guest->name,
			  tova_subject(m) != NULL ? "known" : "unknown");
}

static int command(tova_mount *m, tova_ws ws, const char *text)
{
	struct guest *guest = tova_data(m), empty = {0, ""};
	pthread_t thread;
	if (strcmp(text, "fail") == 0)
		return tova_fail(m, "no");
	if (strcmp(text, "bad room") == 0)
		tova_join(m, ws, "");
	else if (strcmp(text, "bad text") == 0)
		tova_send(m, ws, "\xff");
	else if (strcmp(text, "bad quote") == 0)
		tova_sendf(m, ws, "%s", tova_quote(m, "\xff"));
	else if (strcmp(text, "bad close") == 0)
		tova_close_ws(m, ws, 1005, NULL);
	else if (strcmp(text, "close") == 0)
		tova_close_ws(m, ws, 4000, "bye"), tova_send(m, ws, "too late");
	else if (strcmp(text, "count") == 0)
		return tova_query_room_for(m, TOVA_QUERY_COUNT, "all", ws, 7);
	else if (strcmp(text, "where") == 0)
		return tova_query_ws_for(m, TOVA_QUERY_ROOMS, ws, ws, 8);
	else if (strcmp(text, "after") == 0)
		return tova_after_ws(m, ws, "mine", 2, 30);
	else if (strcmp(text, "reset other") == 0)
		return tova_set_if(m, other, &empty, sizeof empty, guest, sizeof *guest);
	else if (strcmp(text, "set other") == 0)
		return tova_set(m, other, &empty, sizeof empty);
	else if (strcmp(text, "thread") == 0)
		return pthread_create(&thread, NULL, wake_from_thread, m) ||
		       pthread_join(thread, NULL);
	return 0;
}

static int on_message(tova_mount *m, tova_ws ws, const tova_payload *message)
{
	struct guest *guest = tova_data(m);
	if (message->kind == TOVA_BINARY) {
		tova_payload keyed = tova_with_key(*message, "k");
		return tova_send_payload(m, ws, &keyed);
	}
	guest->said++;
	tova_broadcastf_to(m, "all", ws, "%u %s", guest->said, (const char *)message->data);
	tova_join(m, ws, message->data);
	return command(m, ws, message->data);
}

static int on_close(tova_mount *m, tova_ws ws, const tova_close *why)
{
	tova_send(m, ws, "nobody hears this");
	return tova_broadcastf(m, TOVA_NONE, "left %u %s from %zu", why->code, why->reason,
			       why->n_rooms);
}

static int on_away(tova_mount *m, tova_ws ws, uint16_t code)
{
	struct guest *g = tova_data(m);
	g->said += 100;
	return code == 1001 ? tova_fail(m, "gone") : tova_sendf(m, ws, "away %u", code);
}

static int on_back(tova_mount *m, tova_ws ws, const tova_request *request)
{
	return tova_sendf(m, ws, "back %s", request->path);
}

static int on_error(tova_mount *m, tova_ws ws, const tova_error *error)
{
	tova_log(m, TOVA_LOG_WARN, "error %u", error->kind);
	return tova_sendf(m, ws, "error %s", error->text);
}

static int on_timer(tova_mount *m, const tova_timer *timer)
{
	return timer->id == 2 ? tova_send(m, timer->ws, "mine")
			      : tova_broadcast(m, "tick", TOVA_NONE);
}

static int on_reply(tova_mount *m, const tova_reply *reply)
{
	return tova_sendf(m, tova_asker(reply), "%llu: %llu %s", (unsigned long long)reply->id,
			  (unsigned long long)reply->count,
			  reply->rooms != NULL ? reply->rooms[0] : "");
}

static int on_wake(tova_mount *m)
{
	return tova_broadcast(m, "woken", TOVA_NONE);
}

static const tova_setting_spec settings[] = {{"broken", NULL, "start fails"}, {NULL, NULL, NULL}};

static const tova_plugin plugin = {
	TOVA_PLUGIN_HEAD("promises", "1.0"),
	.data_size = sizeof(struct guest),
	.settings = settings,
	.start = start,
	.stop = stop,
	.on_upgrade = on_upgrade,
	.on_open = on_open,
	.on_message = on_message,
	.on_close = on_close,
	.on_error = on_error,
	.on_timer = on_timer,
	.on_reply = on_reply,
	.on_wake = on_wake,
	.on_away = on_away,
	.on_back = on_back,
};

static unsigned said(const tova_test *t, tova_ws ws)
{
	return ((const struct guest *)tova_test_data(t, ws))->said;
}

static void upgrades(void)
{
	const char *offered[] = {"b", "a"};
	tova_test *t = tova_test_new(&plugin, NULL);
	const tova_request known = {.path = "/x",
				    .subject = "ann",
				    .subprotocols = offered,
				    .n_subprotocols = 2};
	tova_ws ws = tova_test_open(t, &known);
	assert(tova_test_status(t) == 101 && strcmp(tova_test_subprotocol(t), "b") == 0);
	assert(strcmp(tova_test_header(t, "X-Seen"), "/x") == 0);
	assert(tova_test_got(t, ws, "ann known"));
	assert(tova_ws_eq(tova_test_open(t, &(tova_request){.path = "/closed"}), TOVA_NONE));
	assert(tova_test_status(t) == 403 && strcmp(tova_test_body(t), "not here") == 0);
	assert(tova_ws_eq(tova_test_open(t, &(tova_request){.path = "/broken"}), TOVA_NONE));
	assert(tova_test_status(t) == 500 && strcmp(tova_test_why(t), "as asked") == 0);
	assert(tova_test_quiet(t));
	tova_test_free(t);
	const tova_pair broken[] = {{"broken", "yes"}, {NULL, NULL}},
			unknown[] = {{"brokn", "yes"}, {NULL, NULL}};
	assert(tova_test_new(&plugin, broken) == NULL && tova_test_new(&plugin, unknown) == NULL);
}

/* All of what a callback commands, or none; the connection's data goes back, too. */
static void commits(void)
{
	static const char *const wrong[] = {"fail", "bad room", "bad text", "bad quote",
					    "bad close"};
	tova_test *t = tova_test_new(&plugin, NULL);
	tova_ws a = tova_test_open(t, NULL), b = tova_test_open(t, NULL);
	assert(tova_test_got(t, a, "nobody unknown") && tova_test_got(t, b, "nobody unknown"));
	assert(tova_test_message(t, a, "hi") == 0 && said(t, a) == 1);
	assert(tova_test_got(t, b, "1 hi") && tova_test_is_member(t, a, "hi"));
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		assert(tova_test_message(t, a, wrong[i]) != 0 && tova_test_why(t) != NULL);
		assert(said(t, a) == 1 && !tova_test_is_member(t, a, wrong[i]));
		const tova_payload *told = tova_test_take(t, a);
		assert(told != NULL && strncmp(told->data, "error ", 6) == 0);
		assert(tova_test_quiet(t));
	}
	assert(strcmp(tova_test_log(t), "error 1") == 0);
	assert(tova_test_binary(t, a, "\0\1", 2) == 0);
	const tova_payload *bytes = tova_test_take(t, a);
	assert(bytes->kind == TOVA_BINARY && bytes->len == 2 && bytes->key_len == 1);
	assert(tova_test_message(t, a, "close") == 0 && tova_test_closed(t, a) == 4000);
	assert(tova_test_message(t, a, "gone") == -1 && tova_test_data(t, a) == NULL);
	assert(tova_test_got(t, b, "2 close") && tova_test_got(t, b, "left 4000  from 3"));
	assert(tova_test_stale(t) == 1 && tova_test_quiet(t));
	tova_test_free(t);
}

static void data(void)
{
	tova_test *t = tova_test_new(&plugin, NULL);
	tova_ws a = tova_test_open(t, NULL);
	other = tova_test_open(t, NULL);
	tova_test_take(t, a);
	tova_test_take(t, other);
	tova_test_message(t, a, "x");
	tova_test_message(t, other, "x");
	/* other has the data that a has before its event; a's own is another by then */
	assert(tova_test_message(t, a, "reset other") != 0 && said(t, other) == 1);
	assert(strstr(tova_test_why(t), "somebody else") != NULL && said(t, a) == 1);
	assert(tova_test_message(t, a, "set other") == 0 && said(t, other) == 0);
	tova_test_free(t);
}

static void time_passes(void)
{
	tova_test *t = tova_test_new(&plugin, NULL);
	tova_ws a = tova_test_open(t, NULL);
	tova_test_take(t, a);
	assert(tova_test_has_timer(t, TOVA_NONE, "tick"));
	assert(tova_test_message(t, a, "after") == 0 && tova_test_has_timer(t, a, "mine"));
	assert(tova_test_pass(t, 29) == 0 && tova_test_quiet(t));
	assert(tova_test_pass(t, 1) == 1 && tova_test_got(t, a, "mine"));
	assert(tova_test_pass(t, 70) == 1 && tova_test_got(t, a, "tick"));
	assert(tova_test_pass(t, 100) == 2 && tova_test_got(t, a, "tick"));
	assert(tova_test_got(t, a, "tick") && tova_test_quiet(t));
	assert(tova_test_message(t, a, "after") == 0);
	assert(tova_test_close(t, a, 1006, NULL) == 0 && !tova_test_has_timer(t, a, "mine"));
	assert(tova_test_pass(t, 1000) == 20);
	tova_test_free(t);
}

static void questions(void)
{
	tova_test *t = tova_test_new(&plugin, NULL);
	tova_ws a = tova_test_open(t, NULL), b = tova_test_open(t, NULL);
	tova_test_take(t, a);
	tova_test_take(t, b);
	assert(tova_test_message(t, a, "count") == 0);
	assert(tova_test_got(t, b, "1 count") && tova_test_got(t, a, "7: 2 "));
	assert(tova_test_message(t, a, "where") == 0);
	assert(tova_test_got(t, b, "2 where") && tova_test_got(t, a, "8: 3 all"));
	assert(tova_test_wait_wake(t) == 0 && tova_test_message(t, a, "thread") == 0);
	assert(tova_test_got(t, b, "3 thread"));
	assert(tova_test_wait_wake(t) == 1 && tova_test_got(t, a, "woken"));
	assert(tova_test_got(t, b, "woken") && tova_test_quiet(t));
	assert(tova_test_error(t, a, TOVA_ERROR_LIMIT, "dropped 3 messages") == 0);
	assert(tova_test_got(t, a, "error dropped 3 messages"));
	assert(strcmp(tova_test_log(t), "error 4") == 0);
	tova_test_free(t);
}

static void away_and_back(void)
{
	const tova_request again = {.path = "/again"};
	tova_test *t = tova_test_new(&plugin, NULL);
	tova_ws a = tova_test_open(t, NULL);
	tova_test_take(t, a);
	unsigned before = said(t, a);
	assert(tova_test_away(t, a, 1006) == 0 && said(t, a) == before + 100);
	assert(tova_test_back(t, a, &again) == 0);
	assert(tova_test_got(t, a, "away 1006") && tova_test_got(t, a, "back /again"));
	assert(tova_test_away(t, a, 1001) != 0 && strcmp(tova_test_why(t), "gone") == 0);
	assert(said(t, a) == before + 100 && tova_test_got(t, a, "error gone"));
	assert(tova_test_close(t, a, 1006, NULL) == 0);
	assert(tova_test_away(t, a, 1006) == -1 && tova_test_back(t, a, NULL) == -1);
	tova_test_free(t);
}

int main(void)
{
	upgrades();
	commits();
	data();
	time_passes();
	questions();
	away_and_back();
	return 0;
}
