/* A plugin that counts in its room and for its mount, together with whoever else does: in the host, in processes of its own, and in the
 * harness. */
#include "tova_plugin.h"

struct totals {
	uint64_t said, failed;
	char last[48];
};

static int on_upgrade(tova_mount *m, const tova_request *r)
{
	const struct totals *totals = (struct totals *)tova_mount_data(m);
	char info[64];
	if (r->query[0] == '\0')
		return 0;
	snprintf(info, sizeof info, "after %llu", (unsigned long long)totals->said);
	return tova_info(m, TOVA_NONE, info, r->query);
}

static int on_open(tova_mount *m, tova_ws ws, const tova_request *r)
{
	tova_room_state state;
	if (tova_get_room(m, &state) != TOVA_E_STATE)
		return tova_fail(m, "it is in no room yet");
	if (r->query[0] != '\0')
		tova_sendf(m, ws, "%s %s", tova_user(m), tova_event_info(m));
	return tova_join(m, ws, "counter");
}

static int total(tova_mount *m, tova_ws ws)
{
	struct totals *totals = (struct totals *)tova_mount_data(m);
	totals->said++;
	snprintf(totals->last, sizeof totals->last, "%llu", (unsigned long long)totals->said);
	return tova_send(m, ws, totals->last);
}

static int on_message(tova_mount *m, tova_ws ws, const tova_payload *msg)
{
	const char *said = (const char *)msg->data;
	struct totals *totals = (struct totals *)tova_mount_data(m);
	tova_room_state state;
	char text[32];
	if (tova_get_room(m, &state) != 0)
		return tova_fail(m, "it is in no room");
	if (strcmp(said, "total") == 0)
		return total(m, ws);
	if (strcmp(said, "ask") == 0)
		return tova_query_room_for(m, TOVA_QUERY_ROOM_STATE, "counter", ws, 1);
	if (strcmp(said, "fail") == 0) {
		totals->failed++;
		tova_set_room(m, "counter", "never", 5, state.version);
		return -1;
	}
	if (strcmp(said, "full") == 0) {
		totals->failed++;
		*(uint32_t *)tova_data(m) = 7;
		return tova_join_max(m, ws, "full", 1);
	}
	if (strcmp(said, "data") == 0)
		return tova_sendf(m, ws, "%u %llu", *(uint32_t *)tova_data(m),
				  (unsigned long long)totals->failed);
	if (strcmp(said, "old") == 0)
		return tova_set_room(m, "counter", "never", 5, state.version + 1);
	if (strcmp(said, "any") == 0)
		return tova_set_room(m, "counter", "0", 1, TOVA_ANY_VERSION);
	if (strcmp(said, "none") == 0)
		return tova_set_room(m, "counter", NULL, 0, state.version);
	snprintf(text, sizeof text, "%d", atoi((const char *)state.data) + 1);
	tova_set_room(m, state.room, text, strlen(text), state.version);
	return tova_send(m, ws, text);
}

static int on_reply(tova_mount *m, const tova_reply *r)
{
	const tova_room_state *state = tova_replied_room_state(r);
	return tova_sendf(m, tova_asker(r), "%s=%s %d", state->room, (const char *)state->data,
			  state->version > 0);
}

static int on_error(tova_mount *m, tova_ws ws, const tova_error *error)
{
	return tova_sendf(m, ws, "error: %s", error->text);
}

TOVA_PLUGIN = {TOVA_PLUGIN_HEAD("counter", "1.0"),
	       .flags = TOVA_ROOM_STATE,
	       .data_size = sizeof(uint32_t),
	       .mount_size = sizeof(struct totals),
	       .on_upgrade = on_upgrade,
	       .on_open = on_open,
	       .on_message = on_message,
	       .on_error = on_error,
	       .on_reply = on_reply};
