#include "hub/commit.h"

#include <stdlib.h>

#include "base/check.h"
#include "common/rules.h"
#include "common/utf8.h"
#include "hub/room.h"
#include "net/outq_notes.h"
#include "ws/frame.h"

static const char *const commit_texts[] = {
	[COMMIT_OK] = "",
	[COMMIT_E_ROOM] = RULES_E_ROOM,
	[COMMIT_E_UTF8] = RULES_E_UTF8,
	[COMMIT_E_LIMIT] = RULES_E_LIMIT,
	[COMMIT_E_ARG] = RULES_E_ARG,
	[COMMIT_E_MEMORY] = RULES_E_MEMORY,
	[COMMIT_E_ROOM_NAME] = "a join named a room with a longer name than --max-room-name allows",
	[COMMIT_E_ROOMS] = "a connection would be in more rooms than --max-rooms allows",
	[COMMIT_E_MOUNT_ROOMS] = "the mount would have more rooms than --max-mount-rooms allows",
	[COMMIT_E_STATE] = "a set found another state than its if_state: somebody else has set it "
			   "meanwhile",
	[COMMIT_E_HISTORY] =
		"a join with else \"fail\" found that its room does not remember all since "
		"then",
	[COMMIT_E_WANT] =
		"a join asks for its room's memory as nobody can; expected \"last\": how "
		"many, or \"since\": an offset with its \"epoch\", and \"else\": \"last\" or "
		"\"fail\"",
	[COMMIT_E_DELAY] =
		"a timer has no delay; expected \"delay\" in milliseconds, 0 for at once",
	[COMMIT_E_EXCLUDE] =
		"an exclude is no connection; expected one's id, or true for the event's own",
	[COMMIT_E_CONN] = "a conn is no connection's id; is it the name of a room?",
	[COMMIT_E_INFO] = "an info is not at most 1,024 bytes of UTF-8",
	[COMMIT_E_USER] = "a user has not 1 to 255 bytes of UTF-8 without NUL",
	[COMMIT_E_LIST] =
		"a list of rooms, users or connections is empty, has more than 256, or has "
		"something else in it",
	[COMMIT_E_FULL] = "a join found its room full: it has as many members as its max",
	[COMMIT_E_FIRST] = "a join that was to be the first found somebody in its room",
	[COMMIT_E_USERS] = "a join found its room full: it has as many users as its users_max",
	[COMMIT_E_ROOM_STATE] =
		"a set_room was made from another version than the room's state has: "
		"somebody else has set it meanwhile",
	[COMMIT_E_ROOM_STATE_TRIES] =
		"a set_room was made from another version than the room's state had, eleven "
		"times: somebody else sets it all the time",
	[COMMIT_E_ROOM_STATE_BYTES] =
		"a set_room found no room: the states of all rooms would have more than "
		"--room-state-bytes",
	[COMMIT_E_ROOM_STATE_SIZE] = "a room's state has more than 65,536 bytes",
	[COMMIT_E_TOKEN] =
		"the token of a prolong is not good, or of somebody else: the log says why",
	[COMMIT_E_NO_TOKENS] = "a prolong at a mount that asks for no tokens (--jwt-key)",
	[COMMIT_E_WATCHES] =
		"a watch is of one room more than the 65,536 that a mount's handler may watch",
	[COMMIT_E_GRACE] =
		"a watch has a grace that is none; expected milliseconds, 0 to 3,600,000",
	[COMMIT_E_EXPIRED] = "its \"expires\" had passed before it came: nothing was done",
	[COMMIT_E_SCOPE] = "its scope is not enough; expected publish for messages, else admin",
	[COMMIT_E_ELSEWHERE] =
		"a command names a connection of another host of the cluster; those are "
		"reached through rooms only, as yet",
	[COMMIT_E_CONDITION] =
		"a join has conditions (max, users_max, first, replace), which are not "
		"judged over the hosts of a cluster yet",
	[COMMIT_E_BIG] = "a broadcast is longer than the 512 KiB that go from host to host of a "
			 "cluster, or those of an event are more than 10,000, or 4 MiB",
	[COMMIT_E_PUSH] =
		"a push that compares (if_state) can not wait for the hosts of a cluster yet",
	[COMMIT_E_ALONE] = "a set_room: what is kept with a room is not shared by the hosts of a "
			   "cluster yet",
	[COMMIT_E_AWAY] = "the cluster's engine is away, and as much waits for it as --hold-bytes "
			  "allows",
};
_Static_assert(sizeof commit_texts / sizeof *commit_texts == COMMIT_E_AWAY + 1,
	       "the last error has its sentence");

const char *commit_error_text(enum commit_error error)
{
	CHECK((size_t)error < sizeof commit_texts / sizeof *commit_texts);
	return commit_texts[error];
}

void commit_init(struct commit *c, struct chunk_pool *chunks, uint32_t data_size)
{
	*c = (struct commit){.chunks = chunks, .data_size = data_size};
}

void commit_drop(struct commit *c)
{
	for (uint32_t i = 0; i < c->n; i++)
		command_drop(&c->commands[i]);
	commit_emptied(c);
}

void commit_free(struct commit *c)
{
	free(c->commands);
	free(c->arena);
	c->commands = NULL;
	c->arena = NULL;
	c->n = c->cap = c->arena_len = c->arena_cap = 0;
}

enum commit_error commit_spoil_at(struct commit *c, enum commit_error error, uint32_t wrong)
{
	if (c->error == COMMIT_OK)
		c->wrong = wrong;
	if (c->error == COMMIT_OK)
		c->error = error;
	return error;
}

enum commit_error commit_spoil(struct commit *c, enum commit_error error)
{
	return commit_spoil_at(c, error, c->n);
}

static bool commit_widen(struct commit *c)
{
	uint32_t cap = c->cap == 0 ? 16 : c->cap * 2;
	struct command *wider =
		cap <= COMMIT_COMMANDS_MAX ? realloc(c->commands, cap * sizeof *wider) : NULL;
	if (wider == NULL) {
		commit_spoil(c, cap > COMMIT_COMMANDS_MAX ? COMMIT_E_LIMIT : COMMIT_E_MEMORY);
		return false;
	}
	c->commands = wider;
	c->cap = cap;
	return true;
}

static inline struct command *commit_add(struct commit *c, enum command_kind kind, uint64_t target)
{
	if (c->n == c->cap && !commit_widen(c))
		return NULL;
	struct command *command = &c->commands[c->n];
	command->kind = (uint8_t)kind;
	command->target = target;
	command->text = command->text_len = 0;
	return command;
}

static bool commit_reserve_text(struct commit *c, size_t n)
{
	if (c->arena_cap - c->arena_len >= n)
		return true;
	uint64_t cap = c->arena_cap == 0 ? 1024 : c->arena_cap;
	while (cap - c->arena_len < n)
		cap *= 2;
	uint8_t *wider = cap <= COMMIT_BYTES_MAX ? realloc(c->arena, cap) : NULL;
	if (wider == NULL) {
		commit_spoil(c, cap > COMMIT_BYTES_MAX ? COMMIT_E_LIMIT : COMMIT_E_MEMORY);
		return false;
	}
	c->arena = wider;
	c->arena_cap = (uint32_t)cap;
	return true;
}

static bool commit_add_text(struct commit *c, struct command *command, struct span text)
{
	if (!commit_reserve_text(c, text.n))
		return false;
	command->text = c->arena_len;
	command->text_len = (uint32_t)text.n;
	if (text.n > 0)
		memcpy(c->arena + c->arena_len, text.p, text.n);
	c->arena_len += (uint32_t)text.n;
	return true;
}

/* Writes the finished frame. */
static bool commit_add_frame(struct commit *c, struct command *command, bool binary,
			     const void *data, size_t len)
{
	bool checked = data == c->checked.p && len == c->checked.n;
	if (!binary && !checked && !utf8_valid(data, len))
		return commit_spoil(c, COMMIT_E_UTF8), false;
	if (len > COMMIT_BYTES_MAX || (c->bytes += len) > COMMIT_BYTES_MAX)
		return commit_spoil(c, COMMIT_E_LIMIT), false;
	size_t head = frame_head_size(len);
	if (!chunk_alloc(c->chunks, head + len, &command->frame))
		return commit_spoil(c, COMMIT_E_MEMORY), false;
	command->key = 0;
	uint8_t *frame = slice_bytes(&command->frame);
	frame_head(frame, binary ? FRAME_BINARY : FRAME_TEXT, len);
	if (len > 0)
		memcpy(frame + head, data, len);
	return true;
}

enum commit_error commit_send(struct commit *c, uint64_t target, bool binary, const void *data,
			      size_t len)
{
	struct command *command = commit_add(c, COMMAND_SEND, target);
	if (command == NULL || !commit_add_frame(c, command, binary, data, len))
		return c->error;
	c->n++;
	return COMMIT_OK;
}

static enum commit_error commit_room(struct commit *c, enum command_kind kind, uint64_t target,
				     struct span room)
{
	if (!rules_name_ok(room))
		return commit_spoil(c, COMMIT_E_ROOM);
	struct command *command = commit_add(c, kind, target);
	if (command == NULL || !commit_add_text(c, command, room))
		return c->error;
	command->want.how = HISTORY_WANT_NOTHING;
	command->code = 0;
	c->n++;
	return COMMIT_OK;
}

enum commit_error commit_join(struct commit *c, uint64_t target, struct span room)
{
	return commit_room(c, COMMAND_JOIN, target, room);
}

static bool commit_is_conditional(const struct commit_conditions *conditions)
{
	return conditions->max > 0 || conditions->users_max > 0 || conditions->first ||
	       conditions->replace;
}

/* The conditions lie in front of the room's name. */
static enum commit_error commit_join_judged(struct commit *c, uint64_t target, struct span room,
					    const struct commit_conditions *conditions)
{
	struct command in_front;
	if (!commit_add_text(c, &in_front,
			     (struct span){(const char *)conditions, sizeof *conditions}) ||
	    commit_room(c, COMMAND_JOIN, target, room) != COMMIT_OK)
		return c->error;
	c->commands[c->n - 1].code = 1;
	c->judged = true;
	return COMMIT_OK;
}

enum commit_error commit_history(struct commit *c, const struct history_want *want)
{
	struct command *last = c->n > 0 ? &c->commands[c->n - 1] : NULL;
	if (c->error != COMMIT_OK)
		return c->error;
	if (last == NULL || last->kind != COMMAND_JOIN || want->how > HISTORY_WANT_SINCE_OR_FAIL ||
	    (want->how >= HISTORY_WANT_SINCE_OR_LAST && want->since > 0 && want->epoch == 0))
		return commit_spoil(c, COMMIT_E_WANT);
	last->want = *want;
	c->judged = c->judged || want->how == HISTORY_WANT_SINCE_OR_FAIL;
	return COMMIT_OK;
}

enum commit_error commit_join_if(struct commit *c, uint64_t target, struct span room,
				 const struct commit_conditions *conditions,
				 const struct history_want *want)
{
	enum commit_error error = commit_is_conditional(conditions)
					  ? commit_join_judged(c, target, room, conditions)
					  : commit_room(c, COMMAND_JOIN, target, room);
	return error == COMMIT_OK ? commit_history(c, want) : error;
}

struct commit_conditions commit_conditions_of(const struct commit *c, const struct command *command)
{
	struct commit_conditions conditions = {0};
	if (command_is_judged(command))
		memcpy(&conditions, c->arena + command->text - sizeof conditions,
		       sizeof conditions);
	return conditions;
}

enum commit_error commit_leave(struct commit *c, uint64_t target, struct span room)
{
	return commit_room(c, COMMAND_LEAVE, target, room);
}

enum commit_error commit_leave_all(struct commit *c, uint64_t target)
{
	if (commit_add(c, COMMAND_LEAVE_ALL, target) == NULL)
		return c->error;
	c->n++;
	return COMMIT_OK;
}

enum commit_error commit_broadcast(struct commit *c, bool binary, const void *data, size_t len,
				   uint64_t exclude)
{
	struct command *command = commit_add(c, COMMAND_BROADCAST, 0);
	if (command == NULL || !commit_add_frame(c, command, binary, data, len))
		return c->error;
	command->exclude = exclude;
	c->n++;
	return COMMIT_OK;
}

enum commit_error commit_broadcast_to(struct commit *c, struct span room, bool binary,
				      const void *data, size_t len, uint64_t exclude)
{
	if (!rules_name_ok(room))
		return commit_spoil(c, COMMIT_E_ROOM);
	struct command *command = commit_add(c, COMMAND_BROADCAST_TO, 0);
	if (command == NULL || !commit_add_text(c, command, room) ||
	    !commit_add_frame(c, command, binary, data, len))
		return c->error;
	command->exclude = exclude;
	command->code = 0;
	c->n++;
	return COMMIT_OK;
}

enum commit_error commit_unkept(struct commit *c)
{
	struct command *last = c->n > 0 ? &c->commands[c->n - 1] : NULL;
	if (c->error != COMMIT_OK)
		return c->error;
	if (last == NULL ||
	    (last->kind != COMMAND_BROADCAST_TO && last->kind != COMMAND_BROADCAST_AMONG))
		return commit_spoil(c, COMMIT_E_ARG);
	last->code = 1;
	return COMMIT_OK;
}

/* --- whom a command is for -------------------------------------------------------------------- */

static bool commit_rooms_ok(const struct selection_names *rooms)
{
	for (uint32_t i = 0; i < rooms->n; i++)
		if (!rules_name_ok(rooms->v[i]))
			return false;
	return true;
}

/* Into the arena. */
static enum commit_error commit_add_selection(struct commit *c, struct command *command,
					      const struct selection *s)
{
	size_t size = selection_size(s);
	enum commit_error wrong =
		!s->all && s->rooms.n == 0					    ? COMMIT_E_LIST
		: !commit_rooms_ok(&s->rooms) || !commit_rooms_ok(&s->except_rooms) ? COMMIT_E_ROOM
										    : COMMIT_OK;
	if (wrong != COMMIT_OK)
		return commit_spoil(c, wrong);
	if (!commit_reserve_text(c, size))
		return c->error;
	selection_write(s, c->arena + c->arena_len);
	command->text = c->arena_len;
	command->text_len = (uint32_t)size;
	c->arena_len += (uint32_t)size;
	return COMMIT_OK;
}

enum commit_error commit_broadcast_among(struct commit *c, const struct selection *among,
					 bool binary, const void *data, size_t len)
{
	struct command *command = commit_add(c, COMMAND_BROADCAST_AMONG, 0);
	enum commit_error wrong =
		command != NULL ? commit_add_selection(c, command, among) : c->error;
	if (wrong != COMMIT_OK || !commit_add_frame(c, command, binary, data, len))
		return wrong != COMMIT_OK ? wrong : c->error;
	command->exclude = 0;
	command->code = 0;
	c->n++;
	return COMMIT_OK;
}

enum commit_error commit_close_room(struct commit *c, const struct selection *of, uint16_t code,
				    struct span reason)
{
	if (!rules_close_ok(code, reason))
		return commit_spoil(c, COMMIT_E_ARG);
	if (!utf8_valid(reason.p, reason.n))
		return commit_spoil(c, COMMIT_E_UTF8);
	struct command *command = commit_add(c, COMMAND_CLOSE_ROOM, 0);
	enum commit_error wrong = command != NULL ? commit_add_selection(c, command, of) : c->error;
	if (wrong != COMMIT_OK)
		return wrong;
	command->more.text = command->text;
	command->more.len = command->text_len;
	if (!commit_add_text(c, command, reason))
		return c->error;
	command->code = code;
	c->n++;
	return COMMIT_OK;
}

enum commit_error commit_prolong(struct commit *c, uint64_t target, struct span token)
{
	if (token.n == 0 || token.n > RULES_TOKEN_MAX)
		return commit_spoil(c, COMMIT_E_TOKEN);
	struct command *command = commit_add(c, COMMAND_PROLONG, target);
	if (command == NULL || !commit_add_text(c, command, token))
		return c->error;
	c->judged = true;
	c->n++;
	return COMMIT_OK;
}

enum commit_error commit_info(struct commit *c, uint64_t target, struct span info, struct span user)
{
	if (info.n > RULES_INFO_MAX || !utf8_valid(info.p, info.n))
		return commit_spoil(c, COMMIT_E_INFO);
	if (user.n > 0 && !rules_name_ok(user))
		return commit_spoil(c, COMMIT_E_USER);
	if (info.p == NULL && user.p == NULL)
		return commit_spoil(c, COMMIT_E_ARG);
	struct command *command = commit_add(c, COMMAND_INFO, target);
	if (command == NULL || !commit_add_text(c, command, user))
		return c->error;
	command->more.text = command->text;
	command->more.len = command->text_len;
	command->more.is_set = user.p != NULL;
	command->more.info_is_set = info.p != NULL;
	if (!commit_add_text(c, command, info))
		return c->error;
	c->n++;
	return COMMIT_OK;
}

enum commit_error commit_condition(struct commit *c, const struct commit_conditions *conditions)
{
	struct command *last = c->n > 0 ? &c->commands[c->n - 1] : NULL, in_front;
	char room[RULES_NAME_MAX];
	if (last == NULL || last->kind != COMMAND_JOIN)
		return COMMIT_E_ARG;
	size_t n = last->text_len;
	memcpy(room, c->arena + last->text, n);
	if (!commit_add_text(c, &in_front,
			     (struct span){(const char *)conditions, sizeof *conditions}) ||
	    !commit_add_text(c, last, (struct span){room, n}))
		return c->error;
	last->code = 1;
	c->judged = true;
	return COMMIT_OK;
}

/* Of a message for one room or all, whose frame stays; or of what closes rooms. */
enum commit_error commit_among(struct commit *c, const struct selection *others)
{
	struct command *last = c->n > 0 ? &c->commands[c->n - 1] : NULL, added;
	struct selection among = *others;
	char room[RULES_NAME_MAX];
	if (last == NULL ||
	    (last->kind != COMMAND_BROADCAST && last->kind != COMMAND_BROADCAST_TO &&
	     last->kind != COMMAND_CLOSE_ROOM))
		return COMMIT_E_ARG;
	bool closes = last->kind == COMMAND_CLOSE_ROOM;
	struct selection own;
	selection_init(&own);
	if (closes)
		selection_read(&own, c->arena + last->more.text);
	struct span name = closes ? own.rooms.v[0] : commit_text(c, last);
	among.all = last->kind == COMMAND_BROADCAST && others->rooms.n == 0;
	memcpy(room, name.p, name.n); /* the arena may move */
	bool fits = last->kind == COMMAND_BROADCAST ||
		    selection_add_name(&among.rooms, (struct span){room, name.n});
	if (!closes && last->exclude != 0)
		fits = fits && selection_add_except(&among, last->exclude);
	if (!fits)
		return commit_spoil(c, COMMIT_E_LIST);
	enum commit_error wrong = commit_add_selection(c, &added, &among);
	if (wrong != COMMIT_OK)
		return wrong;
	if (closes) {
		last->more.text = added.text;
		last->more.len = added.text_len;
		return COMMIT_OK;
	}
	last->code = last->kind == COMMAND_BROADCAST_TO ? last->code : 0;
	last->kind = COMMAND_BROADCAST_AMONG;
	last->exclude = 0;
	last->text = added.text;
	last->text_len = added.text_len;
	return COMMIT_OK;
}

/* A hash is as good as the key: that two of a queue's thousands have the same is less likely than
 * that memory fails. */
enum commit_error commit_key(struct commit *c, struct span key)
{
	struct command *last = c->n > 0 ? &c->commands[c->n - 1] : NULL;
	if (c->error != COMMIT_OK || key.n == 0)
		return c->error;
	if (last == NULL || !command_has_frame(last))
		return commit_spoil(c, COMMIT_E_ARG);
	if (key.n > RULES_KEY_MAX)
		return commit_spoil(c, COMMIT_E_LIMIT);
	if (!utf8_valid(key.p, key.n))
		return commit_spoil(c, COMMIT_E_UTF8);
	uint64_t hash = c->hash != NULL ? hash_bytes(c->hash, key.p, key.n) : 0;
	last->key = hash == OUTQ_NOTES_KEEP ? 1 : hash;
	return COMMIT_OK;
}

enum commit_error commit_close(struct commit *c, uint64_t target, uint16_t code, struct span reason)
{
	if (!rules_close_ok(code, reason))
		return commit_spoil(c, COMMIT_E_ARG);
	if (!utf8_valid(reason.p, reason.n))
		return commit_spoil(c, COMMIT_E_UTF8);
	struct command *command = commit_add(c, COMMAND_CLOSE, target);
	if (command == NULL || !commit_add_text(c, command, reason))
		return c->error;
	command->code = code;
	c->n++;
	return COMMIT_OK;
}

enum commit_error commit_set(struct commit *c, uint64_t target, const void *data, size_t len)
{
	if (len > c->data_size)
		return commit_spoil(c, COMMIT_E_LIMIT);
	struct command *command = commit_add(c, COMMAND_SET, target);
	if (command == NULL || !commit_add_text(c, command, (struct span){data, len}))
		return c->error;
	command->code = 0;
	c->n++;
	return COMMIT_OK;
}

enum commit_error commit_set_if(struct commit *c, uint64_t target, const void *data, size_t len,
				const void *expected, size_t expected_len)
{
	if (len > c->data_size || expected_len > c->data_size)
		return commit_spoil(c, COMMIT_E_LIMIT);
	struct command *command = commit_add(c, COMMAND_SET, target);
	if (command == NULL || !commit_add_text(c, command, (struct span){expected, expected_len}))
		return c->error;
	command->expected.text = command->text;
	command->expected.len = command->text_len;
	if (!commit_add_text(c, command, (struct span){data, len}))
		return c->error;
	command->code = 1;
	c->judged = true;
	c->n++;
	return COMMIT_OK;
}

static enum commit_error commit_keep(struct commit *c, struct span room, const void *data,
				     size_t len, const uint64_t *version)
{
	struct command state;
	if (len > RULES_ROOM_STATE_MAX)
		return commit_spoil(c, COMMIT_E_ROOM_STATE_SIZE);
	struct command *command = commit_add(c, COMMAND_SET_ROOM, 0);
	if (command == NULL || !commit_add_text(c, command, room) ||
	    !commit_add_text(c, &state, (struct span){data, len}))
		return c->error;
	command->room_state.text = state.text;
	command->room_state.len = state.text_len;
	command->room_state.version = version != NULL ? *version : 0;
	command->room_state.next = 0;
	command->code = version != NULL;
	c->judged = true;
	c->n++;
	return COMMIT_OK;
}

enum commit_error commit_set_room(struct commit *c, struct span room, const void *data, size_t len,
				  const uint64_t *version)
{
	return rules_name_ok(room) ? commit_keep(c, room, data, len, version)
				   : commit_spoil(c, COMMIT_E_ROOM);
}

enum commit_error commit_set_mount(struct commit *c, const void *data, size_t len, uint64_t version,
				   uint64_t next)
{
	if (next == 0 || len == 0)
		return commit_spoil(c, COMMIT_E_ARG);
	enum commit_error error = commit_keep(c, (struct span){"", 0}, data, len, &version);
	if (error == COMMIT_OK)
		c->mount_next = c->commands[c->n - 1].room_state.next = next;
	return error;
}

enum commit_error commit_timer(struct commit *c, bool of_session, uint64_t target,
			       const struct event_timer *timer)
{
	struct span name = span_of(timer->name);
	if (!rules_name_ok(name) || timer->delay_ms > RULES_TIMER_MAX_MS ||
	    timer->period_ms > RULES_TIMER_MAX_MS)
		return commit_spoil(c, COMMIT_E_ARG);
	struct command *command = commit_add(c, COMMAND_TIMER, target);
	if (command == NULL || !commit_add_text(c, command, name))
		return c->error;
	command->code = of_session;
	command->timer.id = timer->id;
	command->timer.delay_ms = timer->delay_ms;
	command->timer.period_ms = timer->period_ms;
	c->n++;
	return COMMIT_OK;
}

enum commit_error commit_cancel(struct commit *c, bool of_session, uint64_t target,
				struct span name)
{
	if (!rules_name_ok(name))
		return commit_spoil(c, COMMIT_E_ARG);
	struct command *command = commit_add(c, COMMAND_CANCEL, target);
	if (command == NULL || !commit_add_text(c, command, name))
		return c->error;
	command->code = of_session;
	c->n++;
	return COMMIT_OK;
}

enum commit_error commit_query(struct commit *c, const struct event_query *query)
{
	bool has_room = query->kind == EVENT_QUERY_COUNT || query->kind == EVENT_QUERY_MEMBERS ||
			query->kind == EVENT_QUERY_HISTORY || query->kind == EVENT_QUERY_USERS ||
			query->kind == EVENT_QUERY_ROOM_STATE;
	if (query->kind < EVENT_QUERY_COUNT || query->kind > EVENT_QUERY_ROOM_STATE)
		return commit_spoil(c, COMMIT_E_ARG);
	if (has_room && !rules_name_ok(query->room))
		return commit_spoil(c, COMMIT_E_ROOM);
	struct command *command = commit_add(c, COMMAND_QUERY, query->session);
	if (command == NULL ||
	    !commit_add_text(c, command, has_room ? query->room : (struct span){0}))
		return c->error;
	command->query.id = query->id;
	command->query.kind = query->kind;
	command->query.limit = query->limit;
	memcpy(command->query.asker, query->asker, sizeof command->query.asker);
	c->n++;
	return COMMIT_OK;
}

enum commit_error commit_watch(struct commit *c, struct span room, uint64_t grace_ms)
{
	if (grace_ms > RULES_GRACE_MAX_MS)
		return commit_spoil(c, COMMIT_E_GRACE);
	if (commit_room(c, COMMAND_WATCH, 0, room) != COMMIT_OK)
		return c->error;
	c->commands[c->n - 1].grace_ms = (uint32_t)grace_ms;
	c->judged = true;
	return COMMIT_OK;
}

enum commit_error commit_unwatch(struct commit *c, struct span room, bool if_empty)
{
	if (commit_room(c, COMMAND_UNWATCH, 0, room) != COMMIT_OK)
		return c->error;
	c->commands[c->n - 1].code = if_empty;
	return COMMIT_OK;
}
