#include "c/commands.h"

#include "common/abi.h"
#include "common/id.h"
#include "common/json.h"
#include "common/rules.h"
#include "common/utf8.h"

#define COMMANDS_SHORT 4096
#define COMMANDS_HEAD 256 /* more than what stands around the text or bytes of any command */

void commands_begin(struct commands *c, tova_ws own)
{
	buffer_clear(&c->text);
	buffer_clear(&c->binary);
	c->error = TOVA_OK;
	c->own = own;
}

void commands_free(struct commands *c)
{
	buffer_free(&c->text);
	buffer_free(&c->binary);
}

int commands_spoil(struct commands *c, int error)
{
	if (c->error == TOVA_OK)
		c->error = error;
	return error;
}

const char *commands_error_text(int error)
{
	switch (error) {
	case TOVA_E_ROOM:
		return RULES_E_ROOM;
	case TOVA_E_UTF8:
		return RULES_E_UTF8;
	case TOVA_E_LIMIT:
		return RULES_E_LIMIT;
	case TOVA_E_MEMORY:
		return RULES_E_MEMORY;
	default:
		return RULES_E_ARG;
	}
}

/* --- pieces of a command ---------------------------------------------------------------------- */

/* Is there room for one more whose text or bytes take `size`? */
static bool commands_has_room(const struct commands *c, size_t size)
{
	size_t used = c->text.n + c->binary.n;
	return size < COMMANDS_BYTES_MAX && used + size + COMMANDS_HEAD <= COMMANDS_BYTES_MAX;
}

static void commands_name(struct commands *c, const char *name)
{
	buffer_add_text(&c->text, c->text.n > 0 ? ",{\"c\":\"" : "{\"c\":\"");
	buffer_add_text(&c->text, name);
	buffer_add(&c->text, "\"", 1);
}

static void commands_key(struct commands *c, const char *key)
{
	buffer_add(&c->text, ",\"", 2);
	buffer_add_text(&c->text, key);
	buffer_add(&c->text, "\":", 2);
}

static void commands_member(struct commands *c, const char *key, const char *text, size_t len)
{
	commands_key(c, key);
	buffer_add_json(&c->text, text, len);
}

static void commands_id(struct commands *c, const char *key, tova_ws ws)
{
	char id[TOVA_WS_TEXT];
	id_text(ws.hi, ws.lo, id);
	commands_key(c, key);
	buffer_add_json(&c->text, id, TOVA_WS_TEXT - 1);
}

static void commands_number(struct commands *c, const char *key, uint64_t value)
{
	commands_key(c, key);
	buffer_add_number(&c->text, value);
}

/* The event's own connection need not be named. */
static void commands_target(struct commands *c, tova_ws ws)
{
	if (!tova_ws_eq(ws, c->own) || tova_ws_eq(ws, TOVA_NONE))
		commands_id(c, "conn", ws);
}

static int commands_end(struct commands *c)
{
	buffer_add(&c->text, "}", 1);
	return c->text.failed || c->binary.failed ? commands_spoil(c, TOVA_E_MEMORY) : TOVA_OK;
}

/* At least what the text takes; exact where it matters. */
static size_t commands_json_size(const void *text, size_t len)
{
	return len < COMMANDS_SHORT ? 6 * len + 2 : buffer_json_size(text, len);
}

static int commands_check_payload(struct commands *c, const tova_payload *p)
{
	if (!abi_payload_ok(p))
		return commands_spoil(c, TOVA_E_ARG);
	if (p->len >= COMMANDS_BYTES_MAX)
		return commands_spoil(c, TOVA_E_LIMIT);
	if (p->kind == TOVA_TEXT && !utf8_valid(p->data, p->len))
		return commands_spoil(c, TOVA_E_UTF8);
	struct span key = abi_payload_key(p);
	size_t size = p->kind == TOVA_TEXT ? commands_json_size(p->data, p->len) : p->len;
	if (key.n > RULES_KEY_MAX || !commands_has_room(c, 6 * key.n + size))
		return commands_spoil(c, TOVA_E_LIMIT);
	return utf8_valid(key.p, key.n) ? TOVA_OK : commands_spoil(c, TOVA_E_UTF8);
}

static void commands_payload(struct commands *c, const tova_payload *p)
{
	struct span key = abi_payload_key(p);
	if (key.n > 0)
		commands_member(c, "key", key.p, key.n);
	if (p->kind == TOVA_TEXT) {
		commands_member(c, "data", p->data, p->len);
	} else {
		commands_number(c, "bin", p->len);
		buffer_add(&c->binary, p->data, p->len);
	}
}

static int commands_check_room(struct commands *c, const char *room, size_t len)
{
	if (!rules_name_ok((struct span){room, len}))
		return commands_spoil(c, TOVA_E_ROOM);
	return commands_has_room(c, buffer_json_size(room, len)) ? TOVA_OK
								 : commands_spoil(c, TOVA_E_LIMIT);
}

/* --- the commands ----------------------------------------------------------------------------- */

int commands_send(struct commands *c, tova_ws ws, const tova_payload *p)
{
	int refused = commands_check_payload(c, p);
	if (refused != TOVA_OK)
		return refused;
	commands_name(c, "send");
	commands_target(c, ws);
	commands_payload(c, p);
	return commands_end(c);
}

static int commands_room(struct commands *c, const char *name, tova_ws ws, const char *room,
			 size_t len)
{
	int refused = commands_check_room(c, room, len);
	if (refused != TOVA_OK)
		return refused;
	commands_name(c, name);
	commands_target(c, ws);
	commands_member(c, "room", room, len);
	return commands_end(c);
}

int commands_join(struct commands *c, tova_ws ws, const char *room, size_t len)
{
	return commands_room(c, "join", ws, room, len);
}

int commands_join_history(struct commands *c, tova_ws ws, const char *room, size_t len,
			  const tova_history *want)
{
	if (!abi_history_ok(want) || want->since > JSON_INTEGER_MAX ||
	    want->epoch > JSON_INTEGER_MAX)
		return commands_spoil(c, TOVA_E_ARG);
	int refused = commands_check_room(c, room, len);
	if (refused != TOVA_OK)
		return refused;
	bool since = want->how != TOVA_HISTORY_LAST;
	commands_name(c, "join");
	commands_target(c, ws);
	commands_member(c, "room", room, len);
	if (!since || want->last > 0)
		commands_number(c, "last", want->last);
	if (since) {
		commands_number(c, "since", want->since);
		commands_number(c, "epoch", want->epoch);
	}
	if (want->how == TOVA_HISTORY_SINCE_OR_FAIL)
		commands_member(c, "else", "fail", 4);
	return commands_end(c);
}

int commands_join_if(struct commands *c, tova_ws ws, const char *room, size_t len,
		     const tova_conditions *asked)
{
	int refused = abi_join_if_ok(asked) ? commands_check_room(c, room, len)
					    : commands_spoil(c, TOVA_E_ARG);
	if (refused != TOVA_OK)
		return refused;
	commands_name(c, "join");
	commands_target(c, ws);
	commands_member(c, "room", room, len);
	if (asked->max > 0)
		commands_number(c, "max", asked->max);
	if (asked->users_max > 0)
		commands_number(c, "users_max", asked->users_max);
	if (asked->first)
		buffer_add_text(&c->text, ",\"first\":true");
	if (asked->replace)
		buffer_add_text(&c->text, ",\"replace\":true");
	return commands_end(c);
}

int commands_leave(struct commands *c, tova_ws ws, const char *room, size_t len)
{
	return commands_room(c, "leave", ws, room, len);
}

int commands_leave_all(struct commands *c, tova_ws ws)
{
	if (!commands_has_room(c, 0))
		return commands_spoil(c, TOVA_E_LIMIT);
	commands_name(c, "leave_all");
	commands_target(c, ws);
	return commands_end(c);
}

static int commands_of_room(struct commands *c, const char *name, const char *room, size_t len)
{
	int wrong = commands_check_room(c, room, len);
	if (wrong != TOVA_OK)
		return wrong;
	commands_name(c, name);
	commands_member(c, "room", room, len);
	return TOVA_OK;
}

int commands_watch(struct commands *c, const char *room, size_t len, uint32_t grace_ms)
{
	if (grace_ms != TOVA_GRACE && grace_ms > RULES_GRACE_MAX_MS)
		return commands_spoil(c, TOVA_E_ARG);
	int wrong = commands_of_room(c, "watch", room, len);
	if (wrong != TOVA_OK)
		return wrong;
	if (grace_ms != TOVA_GRACE)
		commands_number(c, "grace", grace_ms);
	return commands_end(c);
}

int commands_unwatch(struct commands *c, const char *room, size_t len, bool if_empty)
{
	int wrong = commands_of_room(c, "unwatch", room, len);
	if (wrong != TOVA_OK)
		return wrong;
	if (if_empty)
		buffer_add_text(&c->text, ",\"if_empty\":true");
	return commands_end(c);
}

int commands_prolong(struct commands *c, tova_ws ws, const char *token, size_t len)
{
	if (len == 0 || len > RULES_TOKEN_MAX || !utf8_valid(token, len))
		return commands_spoil(c, TOVA_E_ARG);
	if (!commands_has_room(c, 0))
		return commands_spoil(c, TOVA_E_LIMIT);
	commands_name(c, "prolong");
	commands_target(c, ws);
	commands_member(c, "token", token, len);
	return commands_end(c);
}

/* --- several rooms ---------------------------------------------------------------------------- */

static int commands_check_among(struct commands *c, const tova_among *among)
{
	size_t size = 0;
	if (!abi_among_ok(among))
		return commands_spoil(c, TOVA_E_LIMIT);
	for (size_t i = 0; i < among->n_rooms; i++) {
		if (!rules_name_ok(span_of(among->rooms[i])))
			return commands_spoil(c, TOVA_E_ROOM);
		size += 6 * strlen(among->rooms[i]) + 3;
	}
	for (size_t i = 0; i < among->n_exclude_rooms; i++) {
		if (!rules_name_ok(span_of(among->exclude_rooms[i])))
			return commands_spoil(c, TOVA_E_ROOM);
		size += 6 * strlen(among->exclude_rooms[i]) + 3;
	}
	for (size_t i = 0; i < among->n_exclude_users; i++) {
		size_t n = strlen(among->exclude_users[i]);
		if (!utf8_valid(among->exclude_users[i], n))
			return commands_spoil(c, TOVA_E_UTF8);
		size += 6 * n + 3;
	}
	size += among->n_exclude * (TOVA_WS_TEXT + 2);
	return commands_has_room(c, size) ? TOVA_OK : commands_spoil(c, TOVA_E_LIMIT);
}

static void commands_list(struct commands *c, const char *key, const char *const *list, size_t n)
{
	if (n == 0)
		return;
	commands_key(c, key);
	for (size_t i = 0; i < n; i++) {
		buffer_add(&c->text, i == 0 ? "[" : ",", 1);
		buffer_add_json(&c->text, list[i], strlen(list[i]));
	}
	buffer_add(&c->text, "]", 1);
}

static void commands_among(struct commands *c, const tova_among *among)
{
	char id[TOVA_WS_TEXT];
	commands_list(c, "rooms", among->rooms, among->n_rooms);
	commands_list(c, "exclude_users", among->exclude_users, among->n_exclude_users);
	commands_list(c, "exclude_rooms", among->exclude_rooms, among->n_exclude_rooms);
	commands_key(c, "exclude");
	buffer_add(&c->text, "[", 1);
	for (size_t i = 0; i < among->n_exclude; i++) {
		id_text(among->exclude[i].hi, among->exclude[i].lo, id);
		buffer_add(&c->text, ",", i > 0);
		buffer_add_json(&c->text, id, TOVA_WS_TEXT - 1);
	}
	buffer_add(&c->text, "]", 1);
}

int commands_broadcast_among(struct commands *c, const tova_among *among, const tova_payload *p)
{
	int refused = commands_check_among(c, among);
	if (refused == TOVA_OK)
		refused = commands_check_payload(c, p);
	if (refused != TOVA_OK)
		return refused;
	commands_name(c, among->n_rooms > 0 ? "broadcast_to" : "broadcast");
	commands_among(c, among);
	if (abi_payload_unkept(p) && among->n_rooms > 0) {
		commands_key(c, "keep");
		buffer_add_text(&c->text, "false");
	}
	commands_payload(c, p);
	return commands_end(c);
}

/* How a connection is to end. */
static int commands_check_close(struct commands *c, uint16_t code, const char *reason, size_t len)
{
	if (!rules_close_ok(code, (struct span){reason, len}))
		return commands_spoil(c, TOVA_E_ARG);
	return utf8_valid(reason, len) ? TOVA_OK : commands_spoil(c, TOVA_E_UTF8);
}

static int commands_end_close(struct commands *c, uint16_t code, const char *reason, size_t len)
{
	if (code != 0)
		commands_number(c, "code", code);
	if (len > 0)
		commands_member(c, "reason", reason, len);
	return commands_end(c);
}

int commands_close_room(struct commands *c, const tova_among *among, uint16_t code,
			const char *reason, size_t len)
{
	int refused = commands_check_among(c, among);
	if (refused != TOVA_OK)
		return refused;
	if (among->n_rooms == 0)
		return commands_spoil(c, TOVA_E_LIMIT);
	refused = commands_check_close(c, code, reason, len);
	if (refused != TOVA_OK)
		return refused;
	commands_name(c, "close_room");
	commands_among(c, among);
	return commands_end_close(c, code, reason, len);
}

int commands_info(struct commands *c, tova_ws ws, const char *info, size_t info_len,
		  const char *user, size_t user_len)
{
	if (info == NULL && user == NULL)
		return commands_spoil(c, TOVA_E_ARG);
	if (info != NULL && (info_len > RULES_INFO_MAX || !utf8_valid(info, info_len)))
		return commands_spoil(c, TOVA_E_LIMIT);
	if (user != NULL && user_len > 0 && !rules_name_ok((struct span){user, user_len}))
		return commands_spoil(c, TOVA_E_ARG);
	if (!commands_has_room(c, 6 * (RULES_INFO_MAX + RULES_NAME_MAX)))
		return commands_spoil(c, TOVA_E_LIMIT);
	commands_name(c, "info");
	commands_target(c, ws);
	if (info != NULL)
		commands_member(c, "info", info, info_len);
	if (user != NULL)
		commands_member(c, "user", user, user_len);
	return commands_end(c);
}

static int commands_end_broadcast(struct commands *c, const tova_payload *p, tova_ws exclude)
{
	if (!tova_ws_eq(exclude, TOVA_NONE))
		commands_id(c, "exclude", exclude);
	commands_payload(c, p);
	return commands_end(c);
}

int commands_broadcast(struct commands *c, const tova_payload *p, tova_ws exclude)
{
	int refused = commands_check_payload(c, p);
	if (refused != TOVA_OK)
		return refused;
	commands_name(c, "broadcast");
	return commands_end_broadcast(c, p, exclude);
}

int commands_broadcast_to(struct commands *c, const char *room, size_t len, const tova_payload *p,
			  tova_ws exclude)
{
	int refused = commands_check_room(c, room, len);
	if (refused == TOVA_OK)
		refused = commands_check_payload(c, p);
	if (refused != TOVA_OK)
		return refused;
	commands_name(c, "broadcast_to");
	commands_member(c, "room", room, len);
	if (abi_payload_unkept(p)) {
		commands_key(c, "keep");
		buffer_add_text(&c->text, "false");
	}
	return commands_end_broadcast(c, p, exclude);
}

int commands_close(struct commands *c, tova_ws ws, uint16_t code, const char *reason, size_t len)
{
	int refused = commands_check_close(c, code, reason, len);
	if (refused != TOVA_OK)
		return refused;
	if (!commands_has_room(c, 6 * RULES_REASON_MAX))
		return commands_spoil(c, TOVA_E_LIMIT);
	commands_name(c, "close");
	commands_target(c, ws);
	return commands_end_close(c, code, reason, len);
}

int commands_set_if(struct commands *c, tova_ws ws, const void *state, size_t len,
		    const void *if_state, size_t if_len)
{
	if (!commands_has_room(c, len + if_len))
		return commands_spoil(c, TOVA_E_LIMIT);
	commands_name(c, "set");
	commands_target(c, ws);
	commands_number(c, "state_bin", len);
	buffer_add(&c->binary, state, len);
	if (if_state != NULL) {
		commands_number(c, "if_state_bin", if_len);
		buffer_add(&c->binary, if_state, if_len);
	}
	return commands_end(c);
}

int commands_set(struct commands *c, tova_ws ws, const void *state, size_t len)
{
	return commands_set_if(c, ws, state, len, NULL, 0);
}

int commands_set_room(struct commands *c, const char *room, size_t room_len, const void *data,
		      size_t len, uint64_t version)
{
	int refused = commands_check_room(c, room, room_len);
	if (refused == TOVA_OK && ((data == NULL && len > 0) ||
				   (version > JSON_INTEGER_MAX && version != TOVA_ANY_VERSION)))
		refused = commands_spoil(c, TOVA_E_ARG);
	if (refused == TOVA_OK && (len > RULES_ROOM_STATE_MAX || !commands_has_room(c, len)))
		refused = commands_spoil(c, TOVA_E_LIMIT);
	if (refused != TOVA_OK)
		return refused;
	commands_name(c, "set_room");
	commands_member(c, "room", room, room_len);
	commands_number(c, "state_bin", len);
	buffer_add(&c->binary, data, len);
	if (version != TOVA_ANY_VERSION)
		commands_number(c, "version", version);
	return commands_end(c);
}

int commands_set_mount(struct commands *c, const void *data, size_t len, uint64_t version,
		       uint64_t next)
{
	if (!commands_has_room(c, len))
		return commands_spoil(c, TOVA_E_LIMIT);
	commands_name(c, "set_mount");
	commands_number(c, "state_bin", len);
	buffer_add(&c->binary, data, len);
	commands_number(c, "version", version);
	commands_number(c, "next", next);
	return commands_end(c);
}

/* With a connection it is that one's, which has to be said. */
static void commands_timer_name(struct commands *c, const char *command, tova_ws ws,
				const char *name)
{
	commands_name(c, command);
	if (!tova_ws_eq(ws, TOVA_NONE))
		commands_id(c, "conn", ws);
	commands_member(c, "name", name, strlen(name));
}

static int commands_check_name(struct commands *c, const char *name)
{
	if (!rules_name_ok(span_of(name)))
		return commands_spoil(c, TOVA_E_ARG);
	return commands_has_room(c, 6 * RULES_NAME_MAX) ? TOVA_OK : commands_spoil(c, TOVA_E_LIMIT);
}

int commands_timer(struct commands *c, const tova_timer *t)
{
	if (t == NULL || t->size < sizeof *t || t->delay_ms > RULES_TIMER_MAX_MS ||
	    t->period_ms > RULES_TIMER_MAX_MS || t->id > JSON_INTEGER_MAX)
		return commands_spoil(c, TOVA_E_ARG);
	int refused = commands_check_name(c, t->name);
	if (refused != TOVA_OK)
		return refused;
	commands_timer_name(c, "timer", t->ws, t->name);
	commands_number(c, "id", t->id);
	commands_number(c, "delay", t->delay_ms);
	commands_number(c, "period", t->period_ms);
	return commands_end(c);
}

int commands_cancel(struct commands *c, tova_ws ws, const char *name)
{
	int refused = commands_check_name(c, name);
	if (refused != TOVA_OK)
		return refused;
	commands_timer_name(c, "cancel", ws, name);
	return commands_end(c);
}
