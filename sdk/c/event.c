#include "c/event.h"

#include <stdlib.h>

#include "c/request.h"
#include "common/id.h"

static const char *event_text(const json_t *event, const char *key, size_t *len_r)
{
	const json_t *text = json_object_get(event, key);
	*len_r = json_string_length(text);
	return json_string_value(text) != NULL ? json_string_value(text) : "";
}

static uint64_t event_number(const json_t *event, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(event, key));
}

/* --- one function for each type: what the callback is handed ---------------------------------- */

static int event_no_memory(struct task *t)
{
	return tova_fail(&t->api, "no memory for the event");
}

static int event_upgrade(struct task *t, const tova_plugin *plugin)
{
	struct request r;
	if (!request_build(&r, json_object_get(t->json, "request")))
		return event_no_memory(t);
	who_set(&t->who, WHO_CLAIMS, r.request.claims);
	int result = plugin->on_upgrade(&t->api, &r.request);
	request_free(&r);
	return result;
}

static int event_open(struct task *t, const tova_plugin *plugin)
{
	struct request r;
	if (!request_build(&r, json_object_get(t->json, "request")))
		return event_no_memory(t);
	who_set(&t->who, WHO_CLAIMS, r.request.claims);
	int result = plugin->on_open(&t->api, t->event.ws, &r.request);
	request_free(&r);
	return result;
}

static int event_back(struct task *t, const tova_plugin *plugin)
{
	struct request r;
	if (!request_build(&r, json_object_get(t->json, "request")))
		return event_no_memory(t);
	who_set(&t->who, WHO_CLAIMS, r.request.claims);
	int result = plugin->on_back(&t->api, t->event.ws, &r.request);
	request_free(&r);
	return result;
}

static int event_away(struct task *t, const tova_plugin *plugin)
{
	return plugin->on_away(&t->api, t->event.ws, (uint16_t)event_number(t->json, "code"));
}

static int event_close(struct task *t, const tova_plugin *plugin)
{
	const json_t *list = json_object_get(t->json, "rooms");
	size_t n = json_array_size(list);
	const char **rooms = malloc((n + 1) * sizeof *rooms);
	tova_close why = {.size = sizeof why,
			  .code = (uint16_t)event_number(t->json, "code"),
			  .rooms = rooms};
	if (rooms == NULL)
		return event_no_memory(t);
	why.reason = event_text(t->json, "reason", &why.reason_len);
	for (size_t i = 0; i < n; i++) {
		const char *room = json_string_value(json_array_get(list, i));
		if (room != NULL)
			rooms[why.n_rooms++] = room;
	}
	int result = plugin->on_close(&t->api, t->event.ws, &why);
	free(rooms);
	return result;
}

static int event_error(struct task *t, const tova_plugin *plugin)
{
	size_t n;
	const char *kind = event_text(t->json, "kind", &n);
	tova_error error = {.size = sizeof error, .kind = TOVA_ERROR_HANDLER};
	if (strcmp(kind, "protocol") == 0)
		error.kind = TOVA_ERROR_PROTOCOL;
	else if (strcmp(kind, "transport") == 0)
		error.kind = TOVA_ERROR_TRANSPORT;
	else if (strcmp(kind, "limit") == 0)
		error.kind = TOVA_ERROR_LIMIT;
	error.text = event_text(t->json, "error", &error.text_len);
	return plugin->on_error(&t->api, t->event.ws, &error);
}

static int event_timer(struct task *t, const tova_plugin *plugin)
{
	size_t n;
	tova_timer timer = {
		.size = sizeof timer,
		.ws = t->event.ws,
		.name = event_text(t->json, "name", &n),
		.id = event_number(t->json, "id"),
		.delay_ms = event_number(t->json, "delay"),
		.period_ms = event_number(t->json, "period"),
	};
	return plugin->on_timer(&t->api, &timer);
}

static tova_presence event_presence(const struct task *t)
{
	tova_presence who = {.size = sizeof who,
			     .users = (uint32_t)event_number(t->json, "users")};
	size_t n;
	const char *member = event_text(t->json, "member", &n);
	who.room = event_text(t->json, "room", &who.room_len);
	who.user = event_text(t->json, "user", &who.user_len);
	who.info = event_text(t->json, "info", &who.info_len);
	id_parse((struct span){member, n}, &who.ws.hi, &who.ws.lo);
	return who;
}

static int event_join(struct task *t, const tova_plugin *plugin)
{
	const tova_presence who = event_presence(t);
	return plugin->on_join(&t->api, &who);
}

static int event_leave(struct task *t, const tova_plugin *plugin)
{
	const tova_presence who = event_presence(t);
	return plugin->on_leave(&t->api, &who);
}

/* --- all types -------------------------------------------------------------------------------- */

static const struct event_type {
	const char *name, *full;				/* full: of the callback */
	int (*call)(struct task *t, const tova_plugin *plugin); /* NULL: see event_call_message */
	size_t callback;					/* where the plugin has it */
} event_types[] = {
	{"upgrade", "on_upgrade", event_upgrade, offsetof(tova_plugin, on_upgrade)},
	{"open", "on_open", event_open, offsetof(tova_plugin, on_open)},
	{"message", "on_message", NULL, offsetof(tova_plugin, on_message)},
	{"close", "on_close", event_close, offsetof(tova_plugin, on_close)},
	{"error", "on_error", event_error, offsetof(tova_plugin, on_error)},
	{"timer", "on_timer", event_timer, offsetof(tova_plugin, on_timer)},
	{"away", "on_away", event_away, offsetof(tova_plugin, on_away)},
	{"back", "on_back", event_back, offsetof(tova_plugin, on_back)},
	{"join", "on_join", event_join, offsetof(tova_plugin, on_join)},
	{"leave", "on_leave", event_leave, offsetof(tova_plugin, on_leave)},
};
#define EVENT_TYPES (sizeof event_types / sizeof *event_types)

static bool event_is_wanted(const struct event_type *type, const tova_plugin *plugin)
{
	void (*callback)(void);
	memcpy(&callback, (const char *)plugin + type->callback, sizeof callback);
	return callback != NULL;
}

static const struct event_type *event_find(const char *name)
{
	for (size_t i = 0; name != NULL && i < EVENT_TYPES; i++)
		if (strcmp(event_types[i].name, name) == 0)
			return &event_types[i];
	return NULL;
}

void event_write_wants(const tova_plugin *plugin, struct buffer *b)
{
	const char *comma = "";
	for (size_t i = 0; i < EVENT_TYPES; i++) {
		if (!event_is_wanted(&event_types[i], plugin))
			continue;
		buffer_addf(b, "%s\"%s\"", comma, event_types[i].name);
		comma = ",";
	}
}

bool event_is(const char *type)
{
	return event_find(type) != NULL;
}

int event_call(struct task *t, const tova_plugin *plugin)
{
	const struct event_type *type =
		event_find(json_string_value(json_object_get(t->json, "t")));
	if (!event_is_wanted(type, plugin))
		return 0;
	t->callback = type->full;
	int result = type->call(t, plugin);
	t->callback = NULL;
	return result;
}

int event_call_message(struct task *t, const tova_plugin *plugin, bool binary, void *bytes,
		       size_t len)
{
	const tova_payload message = {.size = sizeof message,
				      .data = bytes,
				      .len = len,
				      .kind = binary ? TOVA_BINARY : TOVA_TEXT};
	char *end = (char *)bytes + len, behind = *end;
	if (plugin->on_message == NULL)
		return 0;
	*end = '\0';
	t->callback = "on_message";
	int result = plugin->on_message(&t->api, t->event.ws, &message);
	t->callback = NULL;
	*end = behind;
	return result;
}
