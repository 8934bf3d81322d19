/* commands: a list of them, as the worker protocol has it. */
#include <stdlib.h>
#include <string.h>

#include "c/client/client.h"

#define COMMANDS_NAME_MAX 255
#define COMMANDS_REASON_MAX 123

tova_commands *tova_commands_new(void)
{
	tova_commands *list = calloc(1, sizeof *list);
	if (list == NULL || (list->items = json_array()) == NULL) {
		free(list);
		return NULL;
	}
	list->wrong = -1;
	return list;
}

void tova_commands_clear(tova_commands *list)
{
	json_array_clear(list->items);
	list->n = list->n_bytes = 0;
	list->wrong = -1;
	list->error = NULL;
}

void tova_commands_free(tova_commands *list)
{
	if (list == NULL)
		return;
	json_decref(list->items);
	free(list->bytes);
	free(list);
}

static void commands_fail(tova_commands *list, const char *why)
{
	if (list->wrong < 0) {
		list->wrong = (long)list->n - 1;
		list->error = why;
	}
}

static json_t *commands_begin(tova_commands *list, const char *word)
{
	json_t *item = json_pack("{s:s}", "c", word);
	list->n++;
	if (item == NULL || json_array_append_new(list->items, item) != 0) {
		commands_fail(list, "no memory");
		return NULL;
	}
	return item;
}

static void commands_text(tova_commands *list, json_t *item, const char *key, const char *text,
			  const char *why)
{
	if (item == NULL)
		return;
	json_t *value = text != NULL ? json_string(text) : NULL;
	if (value == NULL || json_object_set_new(item, key, value) != 0)
		commands_fail(list, why);
}

static void commands_conn(tova_commands *list, json_t *item, const char *conn)
{
	commands_text(list, item, "conn", conn, "a conn is no text");
}

static void commands_room(tova_commands *list, json_t *item, const char *room)
{
	size_t n = room != NULL ? strlen(room) : 0;
	if (n == 0 || n > COMMANDS_NAME_MAX)
		commands_fail(list, "the name of a room has 1 to 255 bytes");
	else
		commands_text(list, item, "room", room, "the name of a room is no UTF-8");
}

static void commands_exclude(tova_commands *list, json_t *item, const char *exclude)
{
	if (exclude != NULL)
		commands_text(list, item, "exclude", exclude, "an exclude is no text");
}

static void commands_data(tova_commands *list, json_t *item, const char *text)
{
	commands_text(list, item, "data", text,
		      "a text is no UTF-8: binary messages have functions of their own");
}

static void commands_bytes(tova_commands *list, json_t *item, const void *bytes, size_t n)
{
	if (item == NULL)
		return;
	if (list->n_bytes + n > list->cap_bytes) {
		size_t cap = (list->n_bytes + n) * 2;
		uint8_t *wider = realloc(list->bytes, cap);
		if (wider == NULL) {
			commands_fail(list, "no memory");
			return;
		}
		list->bytes = wider;
		list->cap_bytes = cap;
	}
	if (n > 0)
		memcpy(list->bytes + list->n_bytes, bytes, n);
	list->n_bytes += n;
	if (json_object_set_new(item, "bin", json_integer((json_int_t)n)) != 0)
		commands_fail(list, "no memory");
}

void tova_commands_send(tova_commands *list, const char *conn, const char *text)
{
	json_t *item = commands_begin(list, "send");
	commands_conn(list, item, conn);
	commands_data(list, item, text);
}

void tova_commands_send_bytes(tova_commands *list, const char *conn, const void *bytes, size_t n)
{
	json_t *item = commands_begin(list, "send");
	commands_conn(list, item, conn);
	commands_bytes(list, item, bytes, n);
}

void tova_commands_broadcast(tova_commands *list, const char *text, const char *exclude)
{
	json_t *item = commands_begin(list, "broadcast");
	commands_data(list, item, text);
	commands_exclude(list, item, exclude);
}

void tova_commands_broadcast_bytes(tova_commands *list, const void *bytes, size_t n,
				   const char *exclude)
{
	json_t *item = commands_begin(list, "broadcast");
	commands_bytes(list, item, bytes, n);
	commands_exclude(list, item, exclude);
}

void tova_commands_broadcast_to(tova_commands *list, const char *room, const char *text,
				const char *exclude)
{
	json_t *item = commands_begin(list, "broadcast_to");
	commands_room(list, item, room);
	commands_data(list, item, text);
	commands_exclude(list, item, exclude);
}

void tova_commands_broadcast_bytes_to(tova_commands *list, const char *room, const void *bytes,
				      size_t n, const char *exclude)
{
	json_t *item = commands_begin(list, "broadcast_to");
	commands_room(list, item, room);
	commands_bytes(list, item, bytes, n);
	commands_exclude(list, item, exclude);
}

void tova_commands_key(tova_commands *list, const char *key)
{
	size_t n = json_array_size(list->items);
	if (n > 0)
		commands_text(list, json_array_get(list->items, n - 1), "key", key,
			      "a key is no UTF-8");
}

void tova_commands_join(tova_commands *list, const char *conn, const char *room)
{
	json_t *item = commands_begin(list, "join");
	commands_conn(list, item, conn);
	commands_room(list, item, room);
}

void tova_commands_leave(tova_commands *list, const char *conn, const char *room)
{
	json_t *item = commands_begin(list, "leave");
	commands_conn(list, item, conn);
	commands_room(list, item, room);
}

static bool commands_code_ok(int code)
{
	return code == 0 || code == 1000 || code == 1001 || code == 1003 ||
	       (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

static void commands_closing(tova_commands *list, json_t *item, int code, const char *reason)
{
	if (!commands_code_ok(code))
		commands_fail(list,
			      "a close code is 1000, 1001, 1003, 1007 to 1014 or 3000 to 4999");
	if (item != NULL && code != 0)
		json_object_set_new(item, "code", json_integer(code));
	if (reason == NULL || *reason == '\0')
		return;
	if (code == 0 || strlen(reason) > COMMANDS_REASON_MAX)
		commands_fail(list, "a reason needs a close code, and has at most 123 bytes");
	commands_text(list, item, "reason", reason, "a reason is no UTF-8");
}

void tova_commands_close(tova_commands *list, const char *conn, int code, const char *reason)
{
	json_t *item = commands_begin(list, "close");
	commands_conn(list, item, conn);
	commands_closing(list, item, code, reason);
}

void tova_commands_close_room(tova_commands *list, const char *room, int code, const char *reason)
{
	json_t *item = commands_begin(list, "close_room");
	commands_room(list, item, room);
	commands_closing(list, item, code, reason);
}

void tova_commands_leave_all(tova_commands *list, const char *conn)
{
	commands_conn(list, commands_begin(list, "leave_all"), conn);
}

void tova_commands_info(tova_commands *list, const char *conn, const char *info, const char *user)
{
	json_t *item = commands_begin(list, "info");
	commands_conn(list, item, conn);
	if (info == NULL && user == NULL)
		commands_fail(list, "an info needs something to say: a text, or a user");
	if (info != NULL)
		commands_text(list, item, "info", info, "an info is no UTF-8");
	if (user != NULL)
		commands_text(list, item, "user", user, "a user is no UTF-8");
}

/* --- more about the last one ------------------------------------------------------------------ */

static void commands_more(tova_commands *list, const char *member, json_t *value)
{
	size_t n = json_array_size(list->items);
	json_t *item = n > 0 ? json_array_get(list->items, n - 1) : NULL;
	if (item == NULL || value == NULL || json_object_set(item, member, value) != 0)
		commands_fail(list, "no memory, or nothing was added yet");
	json_decref(value);
}

void tova_commands_number(tova_commands *list, const char *member, unsigned long long value)
{
	commands_more(list, member, json_integer((json_int_t)value));
}

void tova_commands_flag(tova_commands *list, const char *member, bool value)
{
	commands_more(list, member, json_boolean(value));
}

/* What was named alone is one of them. */
static void commands_rooms(tova_commands *list, json_t *names)
{
	size_t n = json_array_size(list->items);
	json_t *item = n > 0 ? json_array_get(list->items, n - 1) : NULL;
	json_t *room = json_object_get(item, "room");
	if (room == NULL)
		return;
	if (json_array_insert(names, 0, room) != 0)
		commands_fail(list, "no memory");
	json_object_del(item, "room");
}

void tova_commands_names(tova_commands *list, const char *member, const char *const *names,
			 size_t n)
{
	json_t *all = json_array();
	for (size_t i = 0; i < n; i++)
		if (json_array_append_new(all, json_string(names[i])) != 0)
			commands_fail(list, "a name is no UTF-8");
	if (all != NULL && strcmp(member, "rooms") == 0)
		commands_rooms(list, all);
	commands_more(list, member, all);
}

void tova_commands_set_room(tova_commands *list, const char *room, const char *state)
{
	json_t *item = commands_begin(list, "set_room");
	commands_room(list, item, room);
	commands_text(list, item, "state", state, "a state is no UTF-8");
}

void tova_commands_set(tova_commands *list, const char *conn, const char *state,
		       const char *if_state)
{
	json_t *item = commands_begin(list, "set");
	commands_conn(list, item, conn);
	commands_text(list, item, "state", state, "a state is no UTF-8");
	if (if_state != NULL)
		commands_text(list, item, "if_state", if_state, "a state is no UTF-8");
}
