/* codec_read: text to what a worker says. */
#include <stdlib.h>

#include "common/rules.h"
#include "handler/worker/codec_parts.h"

/* --- one object ------------------------------------------------------------------------------- */

#define CODEC_NO_DELAY UINT64_MAX
/* bytes of what was read that are kept for the next batch */
#define CODEC_BATCH_KEEP (512u << 10)
/* of a batch, as they were read; further ones are read again when they are done */
#define CODEC_COMMANDS_KEPT 1024

/* A command as it was read. What it names is looked up when it is done. */
enum command_word {
	WORD_UNKNOWN,
	WORD_SEND,
	WORD_JOIN,
	WORD_LEAVE,
	WORD_BROADCAST,
	WORD_BROADCAST_TO,
	WORD_CLOSE,
	WORD_SET,
	WORD_TIMER,
	WORD_CANCEL,
	WORD_INFO,
	WORD_LEAVE_ALL,
	WORD_CLOSE_ROOM,
	WORD_SET_ROOM,
	WORD_PROLONG,
	WORD_WATCH,
	WORD_UNWATCH,
	WORD_SET_MOUNT,
};

struct codec_command {
	enum command_word word;
	bool exclude_own, has_bin, has_state_bin, has_if_state_bin, bad_number;
	bool has_last, has_since, has_keep, keep;
	bool has_more; /* what stands in `more`: see command_more */
	struct json_string c, conn, room, data, exclude, reason, state, if_state, name, key,
		otherwise;
	uint64_t bin, state_bin, if_state_bin, code, id, delay, period, last, since, epoch;
	size_t bin_at, state_bin_at, if_state_bin_at;
	/* what few commands have */
	struct {
		struct json_string info, user, token;
		uint64_t max, users_max, version, grace, next;
		bool has_max, has_users_max, has_version, has_grace, first, replace, if_empty;
		/* JSON arrays; p NULL: none */
		struct span rooms, exclude, exclude_users, exclude_rooms;
	} more;
};

static enum command_word codec_read_word_of(const struct json_string *c)
{
	static const struct span words[] = {
		[WORD_SEND] = SPAN("send"),
		[WORD_JOIN] = SPAN("join"),
		[WORD_LEAVE] = SPAN("leave"),
		[WORD_BROADCAST] = SPAN("broadcast"),
		[WORD_BROADCAST_TO] = SPAN("broadcast_to"),
		[WORD_CLOSE] = SPAN("close"),
		[WORD_SET] = SPAN("set"),
		[WORD_TIMER] = SPAN("timer"),
		[WORD_CANCEL] = SPAN("cancel"),
		[WORD_INFO] = SPAN("info"),
		[WORD_LEAVE_ALL] = SPAN("leave_all"),
		[WORD_CLOSE_ROOM] = SPAN("close_room"),
		[WORD_SET_ROOM] = SPAN("set_room"),
		[WORD_PROLONG] = SPAN("prolong"),
		[WORD_WATCH] = SPAN("watch"),
		[WORD_UNWATCH] = SPAN("unwatch"),
		[WORD_SET_MOUNT] = SPAN("set_mount"),
	};
	for (size_t i = WORD_SEND; !c->escaped && i < sizeof words / sizeof *words; i++)
		if (span_eq((struct span){c->p, c->n}, words[i]))
			return (enum command_word)i;
	return WORD_UNKNOWN;
}

/* Nothing is there: one by one, since to clear all of it costs more than to read a short
 * command. */
static void codec_read_command_begin(struct codec_command *t)
{
	const struct json_string none = {.p = NULL};
	t->c = t->conn = t->room = t->data = t->exclude = t->reason = t->state = t->if_state =
		t->name = t->key = t->otherwise = none;
	t->bin = t->state_bin = t->if_state_bin = t->code = t->id = t->period = 0;
	t->last = t->since = t->epoch = 0;
	t->has_last = t->has_since = t->has_keep = t->keep = false;
	t->delay = CODEC_NO_DELAY;
	t->exclude_own = t->has_bin = t->has_state_bin = t->has_if_state_bin = t->bad_number =
		t->has_more = false;
	t->word = WORD_UNKNOWN;
}

static void codec_read_command_more(struct codec_command *t)
{
	if (!t->has_more)
		memset(&t->more, 0, sizeof t->more);
	t->has_more = true;
}

static void codec_read_exclude(struct json *j, struct codec_command *t)
{
	if (json_next_is(j, '"')) {
		json_read_string(j, &t->exclude);
	} else if (json_next_is(j, '[')) {
		codec_read_command_more(t);
		json_skip(j, &t->more.exclude);
	} else if (json_next_is(j, 'n'))
		json_skip(j, NULL);
	else
		json_read_bool(j, &t->exclude_own);
}

/* A list, of which is looked at what is in it when the command is done; or null. */
static void codec_read_list(struct json *j, struct codec_command *t, struct span *list)
{
	if (json_next_is(j, 'n'))
		json_skip(j, NULL);
	else if (json_next_is(j, '['))
		json_skip(j, list);
	else if (json_skip(j, NULL))
		t->bad_number = true;
}

/* False: it is none of those that few commands have. */
static bool codec_read_more_member(struct reader *r, struct span name, struct codec_command *t)
{
	static const struct field fields[] = {
		TEXT_FIELD(struct codec_command, "info", more.info),
		TEXT_FIELD(struct codec_command, "user", more.user),
		TEXT_FIELD(struct codec_command, "token", more.token),
		LOOSE_COUNTED_FIELD(struct codec_command, "max", more.max, more.has_max,
				    bad_number),
		LOOSE_COUNTED_FIELD(struct codec_command, "users_max", more.users_max,
				    more.has_users_max, bad_number),
		LOOSE_COUNTED_FIELD(struct codec_command, "version", more.version,
				    more.has_version, bad_number),
		LOOSE_COUNTED_FIELD(struct codec_command, "grace", more.grace, more.has_grace,
				    bad_number),
		LOOSE_FIELD(struct codec_command, "next", more.next, bad_number),
		{.key = {0}},
	};
	codec_read_command_more(t);
	if (span_eq(name, SPAN("rooms")))
		codec_read_list(&r->j, t, &t->more.rooms);
	else if (span_eq(name, SPAN("exclude_users")))
		codec_read_list(&r->j, t, &t->more.exclude_users);
	else if (span_eq(name, SPAN("exclude_rooms")))
		codec_read_list(&r->j, t, &t->more.exclude_rooms);
	else if (span_eq(name, SPAN("first")))
		json_read_bool(&r->j, &t->more.first);
	else if (span_eq(name, SPAN("replace")))
		json_read_bool(&r->j, &t->more.replace);
	else if (span_eq(name, SPAN("if_empty")))
		json_read_bool(&r->j, &t->more.if_empty);
	else
		return codec_read_field(&r->j, name, t, fields);
	return true;
}

/* A member that is none of the grammar. */
static void codec_read_unknown(struct reader *r, struct span name, const char *why)
{
	if (r->request == NULL) {
		json_skip(&r->j, NULL);
		return;
	}
	if (r->j.why == NULL)
		r->request->unknown = name;
	json_fail(&r->j, why);
}

/* False: it is none of a command. */
static bool codec_read_command_member(struct reader *r, struct span name, struct codec_command *t)
{
	static const struct field fields[] = {
		TEXT_FIELD(struct codec_command, "c", c),
		TEXT_FIELD(struct codec_command, "data", data),
		TEXT_FIELD(struct codec_command, "room", room),
		TEXT_FIELD(struct codec_command, "conn", conn),
		TEXT_FIELD(struct codec_command, "key", key),
		COUNTED_FIELD(struct codec_command, "bin", bin, has_bin),
		TEXT_FIELD(struct codec_command, "state", state),
		COUNTED_FIELD(struct codec_command, "state_bin", state_bin, has_state_bin),
		TEXT_FIELD(struct codec_command, "if_state", if_state),
		COUNTED_FIELD(struct codec_command, "if_state_bin", if_state_bin, has_if_state_bin),
		LOOSE_FIELD(struct codec_command, "code", code, bad_number),
		TEXT_FIELD(struct codec_command, "reason", reason),
		TEXT_FIELD(struct codec_command, "name", name),
		LOOSE_FIELD(struct codec_command, "id", id, bad_number),
		LOOSE_FIELD(struct codec_command, "delay", delay, bad_number),
		LOOSE_FIELD(struct codec_command, "period", period, bad_number),
		LOOSE_COUNTED_FIELD(struct codec_command, "last", last, has_last, bad_number),
		LOOSE_COUNTED_FIELD(struct codec_command, "since", since, has_since, bad_number),
		LOOSE_FIELD(struct codec_command, "epoch", epoch, bad_number),
		TEXT_FIELD(struct codec_command, "else", otherwise),
		{.key = {0}},
	};
	if (codec_read_field(&r->j, name, t, fields))
		return true;
	if (span_eq(name, SPAN("exclude"))) {
		codec_read_exclude(&r->j, t);
	} else if (span_eq(name, SPAN("keep"))) {
		t->has_keep = true;
		json_read_bool(&r->j, &t->keep);
	} else {
		return codec_read_more_member(r, name, t);
	}
	return true;
}

/* All members are read: what follows them is theirs. */
static void codec_read_command_end(struct reader *r, struct codec_command *t)
{
	t->state_bin_at = codec_read_claim(r, t->state_bin);
	t->bin_at = codec_read_claim(r, t->bin);
	if (t->has_if_state_bin)
		t->if_state_bin_at = codec_read_claim(r, t->if_state_bin);
}

static void codec_read_command(struct reader *r, struct codec_command *t)
{
	struct span name;
	codec_read_command_begin(t);
	for (bool first = json_enter(&r->j, '{'); json_next_key(&r->j, &first, &name);)
		if (!codec_read_command_member(r, name, t))
			codec_read_unknown(r, name, "is no member of a command");
	codec_read_command_end(r, t);
	if (t->c.p == NULL)
		json_fail(&r->j, "a command without \"c\"");
	else
		t->word = codec_read_word_of(&t->c);
}

/* --- commands --------------------------------------------------------------------------------- */

struct use {
	const struct codec_batch *batch;
	const struct hub *hub;
	const struct session *own;
	struct commit *commit;
};

/* What is no id names nobody whom it could be meant for: wrong, the commit is spoiled with that. */
static uint64_t codec_read_local_id(const struct use *u, struct json_string *text,
				    enum commit_error wrong)
{
	struct session_id id;
	if (!session_id_parse(codec_text(text), &id)) {
		commit_spoil(u->commit, wrong);
		return 0;
	}
	if (id.host == u->hub->host_id)
		return id.local;
	gate_name(u->hub, u->commit, id.host);
	return 0;
}

/* The connection that is named, or the event's own. */
static uint64_t codec_read_target_of(const struct use *u, struct codec_command *t)
{
	return t->conn.p != NULL ? codec_read_local_id(u, &t->conn, COMMIT_E_CONN)
	       : u->own != NULL	 ? u->own->local
				 : 0;
}

static uint64_t codec_read_exclude_of(const struct use *u, struct codec_command *t)
{
	if (t->exclude_own)
		return u->own != NULL ? u->own->local : 0;
	/* else somebody would hear what was not for him */
	return t->exclude.p != NULL ? codec_read_local_id(u, &t->exclude, COMMIT_E_EXCLUDE) : 0;
}

/* Adds the names of a list. False: there is something else in it, or too many. */
static bool codec_read_names_of(struct span list, struct selection_names *names)
{
	struct json j = {.p = list.p, .end = list.p + list.n};
	struct json_string name;
	bool ok = true;
	if (list.p == NULL)
		return true;
	for (bool first = json_enter(&j, '['); ok && json_next(&j, ']', &first);)
		ok = json_next_is(&j, '"') && json_read_string(&j, &name) &&
		     selection_add_name(names, codec_text(&name));
	return ok && j.why == NULL;
}

/* Those of an exclude that is a list: ids, and true for the event's own. */
static bool codec_read_excluded_of(const struct use *u, struct span list, struct selection *s)
{
	struct json j = {.p = list.p, .end = list.p + list.n};
	struct json_string id;
	bool ok = true, own;
	if (list.p == NULL)
		return true;
	for (bool first = json_enter(&j, '['); ok && json_next(&j, ']', &first);) {
		if (json_next_is(&j, '"'))
			ok = json_read_string(&j, &id) &&
			     selection_add_except(s, codec_read_local_id(u, &id, COMMIT_E_EXCLUDE));
		else
			ok = json_read_bool(&j, &own) &&
			     (!own || selection_add_except(s, u->own != NULL ? u->own->local : 0));
	}
	return ok && j.why == NULL;
}

/* Whom the command is for. False: it is spoiled. */
static bool codec_read_selection_of(const struct use *u, struct codec_command *t,
				    struct selection *s)
{
	selection_init(s);
	s->all = t->word == WORD_BROADCAST;
	if (t->room.p != NULL)
		selection_add_name(&s->rooms, codec_text(&t->room));
	if (t->exclude_own || t->exclude.p != NULL)
		selection_add_except(s, codec_read_exclude_of(u, t));
	if (t->has_more && !(codec_read_names_of(t->more.rooms, &s->rooms) &&
			     codec_read_excluded_of(u, t->more.exclude, s) &&
			     codec_read_names_of(t->more.exclude_users, &s->except_users) &&
			     codec_read_names_of(t->more.exclude_rooms, &s->except_rooms)))
		commit_spoil(u->commit, COMMIT_E_LIST);
	return u->commit->error == COMMIT_OK;
}

static struct span codec_read_data_of(const struct use *u, struct codec_command *t)
{
	return t->has_bin ? (struct span){(const char *)u->batch->binary + t->bin_at, t->bin}
			  : codec_text(&t->data);
}

static void codec_read_do_timer(const struct use *u, struct codec_command *t, bool cancel)
{
	char name[RULES_NAME_MAX + 1];
	struct span text = codec_text(&t->name);
	struct event_timer timer = {.name = name,
				    .id = t->id,
				    .delay_ms = t->delay,
				    .period_ms = t->period};
	bool of_session = t->conn.p != NULL;
	if (!rules_name_ok(text) || (!cancel && t->delay == CODEC_NO_DELAY)) {
		commit_spoil(u->commit, rules_name_ok(text) ? COMMIT_E_DELAY : COMMIT_E_ARG);
		return;
	}
	memcpy(name, text.p, text.n);
	name[text.n] = '\0';
	if (cancel)
		commit_cancel(u->commit, of_session, of_session ? codec_read_target_of(u, t) : 0,
			      text);
	else
		commit_timer(u->commit, of_session, of_session ? codec_read_target_of(u, t) : 0,
			     &timer);
}

static struct span codec_read_state_of(const struct use *u, struct codec_command *t)
{
	return t->has_state_bin ? (struct span){(const char *)u->batch->binary + t->state_bin_at,
						t->state_bin}
				: codec_text(&t->state);
}

static void codec_read_do_set_room(const struct use *u, struct codec_command *t, struct span room)
{
	bool compares = t->has_more && t->more.has_version;
	struct span state = codec_read_state_of(u, t);
	commit_set_room(u->commit, room, state.p, state.n, compares ? &t->more.version : NULL);
}

static void codec_read_do_set_mount(const struct use *u, struct codec_command *t)
{
	struct span state = codec_read_state_of(u, t);
	commit_set_mount(u->commit, state.p, state.n, t->more.version, t->more.next);
}

static void codec_read_do_set(const struct use *u, struct codec_command *t)
{
	struct span state = codec_read_state_of(u, t);
	if (!t->has_if_state_bin && t->if_state.p == NULL) {
		commit_set(u->commit, codec_read_target_of(u, t), state.p, state.n);
		return;
	}
	struct span expected =
		t->has_if_state_bin
			? (struct span){(const char *)u->batch->binary + t->if_state_bin_at,
					t->if_state_bin}
			: codec_text(&t->if_state);
	commit_set_if(u->commit, codec_read_target_of(u, t), state.p, state.n, expected.p,
		      expected.n);
}

static __attribute__((noinline)) void do_close_room(const struct use *u, struct codec_command *t)
{
	struct selection of;
	if (codec_read_selection_of(u, t, &of))
		commit_close_room(u->commit, &of, (uint16_t)t->code,
				  t->reason.p != NULL ? codec_text(&t->reason) : (struct span){0});
}

/* Is it for more than a room, or not for several of its members? */
static bool codec_read_is_among(const struct codec_command *t)
{
	return t->word != WORD_SEND &&
	       (t->more.rooms.p != NULL || t->more.exclude.p != NULL ||
		t->more.exclude_users.p != NULL || t->more.exclude_rooms.p != NULL);
}

static __attribute__((noinline)) void do_message_among(const struct use *u, struct codec_command *t)
{
	struct selection among;
	struct span data = codec_read_data_of(u, t);
	if (codec_read_selection_of(u, t, &among))
		commit_broadcast_among(u->commit, &among, t->has_bin, data.p, data.n);
}

static void codec_read_do_info(const struct use *u, struct codec_command *t)
{
	struct span info = {NULL, 0}, user = info;
	if (t->more.info.p != NULL)
		info = codec_text(&t->more.info);
	if (t->more.user.p != NULL)
		user = codec_text(&t->more.user);
	commit_info(u->commit, codec_read_target_of(u, t), info, user);
}

static void codec_read_do_close(const struct use *u, struct codec_command *t)
{
	commit_close(u->commit, codec_read_target_of(u, t), (uint16_t)t->code,
		     t->reason.p != NULL ? codec_text(&t->reason) : (struct span){0});
}

static bool codec_read_most_ok(bool given, uint64_t most)
{
	return !given || (most > 0 && most <= UINT32_MAX);
}

/* Is what the command needs there? */
static bool codec_read_is_whole(const struct codec_command *t)
{
	if (t->bad_number)
		return false;
	switch (t->word) {
	case WORD_UNKNOWN:
		return false;
	case WORD_SEND:
	case WORD_BROADCAST:
	case WORD_BROADCAST_TO:
		return t->has_bin || t->data.p != NULL;
	case WORD_CLOSE:
	case WORD_CLOSE_ROOM:
		return t->code <= UINT16_MAX;
	case WORD_SET:
	case WORD_SET_ROOM:
		return t->has_state_bin || t->state.p != NULL;
	case WORD_SET_MOUNT:
		return t->has_state_bin && t->has_more && t->more.has_version;
	case WORD_JOIN:
		return !t->has_more ||
		       (codec_read_most_ok(t->more.has_max, t->more.max) &&
			codec_read_most_ok(t->more.has_users_max, t->more.users_max));
	case WORD_INFO:
		return t->has_more && (t->more.info.p != NULL || t->more.user.p != NULL);
	case WORD_PROLONG:
		return t->has_more && t->more.token.p != NULL;
	default:
		return true;
	}
}

static void codec_read_do_message(const struct use *u, struct codec_command *t, struct span room)
{
	struct commit *c = u->commit;
	struct span data = codec_read_data_of(u, t);
	if (t->has_more && codec_read_is_among(t))
		do_message_among(u, t);
	else if (t->word == WORD_SEND)
		commit_send(c, codec_read_target_of(u, t), t->has_bin, data.p, data.n);
	else if (t->word == WORD_BROADCAST)
		commit_broadcast(c, t->has_bin, data.p, data.n, codec_read_exclude_of(u, t));
	else
		commit_broadcast_to(c, room, t->has_bin, data.p, data.n,
				    codec_read_exclude_of(u, t));
	if (t->key.p != NULL)
		commit_key(c, codec_text(&t->key));
	if (t->has_keep && !t->keep)
		commit_unkept(c);
}

/* Does it ask for what the room remembers, and how? False: as nobody can. */
static bool codec_read_want_of(const struct codec_command *t, struct history_want *want_r)
{
	bool fail = json_is(&t->otherwise, "fail");
	*want_r = (struct history_want){
		.how = t->has_since
			       ? (fail ? HISTORY_WANT_SINCE_OR_FAIL : HISTORY_WANT_SINCE_OR_LAST)
		       : t->has_last ? HISTORY_WANT_LAST
				     : HISTORY_WANT_NOTHING,
		.last = t->has_last && t->last < UINT32_MAX ? (uint32_t)t->last : UINT32_MAX,
		.since = t->since,
		.epoch = t->epoch,
	};
	return t->otherwise.p == NULL || (t->has_since && (fail || json_is(&t->otherwise, "last")));
}

static void codec_read_do_join(const struct use *u, struct codec_command *t, struct span room)
{
	struct history_want want;
	struct commit_conditions asked = {0};
	if (t->has_more)
		asked = (struct commit_conditions){.max = (uint32_t)t->more.max,
						   .users_max = (uint32_t)t->more.users_max,
						   .first = t->more.first,
						   .replace = t->more.replace};
	if (!codec_read_want_of(t, &want))
		commit_spoil(u->commit, COMMIT_E_WANT);
	else
		commit_join_if(u->commit, codec_read_target_of(u, t), room, &asked, &want);
}

static void codec_read_do_command(const struct use *u, struct codec_command *t)
{
	struct commit *c = u->commit;
	struct span room = t->room.p != NULL ? codec_text(&t->room) : (struct span){0};
	switch (codec_read_is_whole(t) ? t->word : WORD_UNKNOWN) {
	case WORD_SEND:
	case WORD_BROADCAST:
	case WORD_BROADCAST_TO:
		codec_read_do_message(u, t, room);
		break;
	case WORD_JOIN:
		codec_read_do_join(u, t, room);
		break;
	case WORD_LEAVE:
		commit_leave(c, codec_read_target_of(u, t), room);
		break;
	case WORD_CLOSE:
		codec_read_do_close(u, t);
		break;
	case WORD_SET:
		codec_read_do_set(u, t);
		break;
	case WORD_TIMER:
	case WORD_CANCEL:
		codec_read_do_timer(u, t, t->word == WORD_CANCEL);
		break;
	case WORD_INFO:
		codec_read_do_info(u, t);
		break;
	case WORD_LEAVE_ALL:
		commit_leave_all(c, codec_read_target_of(u, t));
		break;
	case WORD_PROLONG:
		commit_prolong(c, codec_read_target_of(u, t), codec_text(&t->more.token));
		break;
	case WORD_CLOSE_ROOM:
		do_close_room(u, t);
		break;
	case WORD_SET_ROOM:
		codec_read_do_set_room(u, t, room);
		break;
	case WORD_WATCH:
		commit_watch(c, room,
			     t->has_more && t->more.has_grace ? t->more.grace : RULES_GRACE_MS);
		break;
	case WORD_UNWATCH:
		commit_unwatch(c, room, t->has_more && t->more.if_empty);
		break;
	case WORD_SET_MOUNT:
		codec_read_do_set_mount(u, t);
		break;
	case WORD_UNKNOWN:
		commit_spoil(c, COMMIT_E_ARG);
		break;
	}
}

/* Where the next command is read to: kept, or else only looked at. */
static struct codec_command *codec_read_room_for_command(struct codec_batch *b,
							 struct codec_command *else_here)
{
	if (b->n_commands == CODEC_COMMANDS_KEPT)
		return else_here;
	if (b->n_commands == b->cap_commands) {
		size_t cap = b->cap_commands == 0 ? 64 : 2 * b->cap_commands;
		struct codec_command *wider = realloc(b->commands, cap * sizeof *wider);
		if (wider == NULL)
			return else_here;
		b->commands = wider;
		b->cap_commands = cap;
	}
	return &b->commands[b->n_commands++];
}

static void codec_read_commands_begin(const struct reader *r, struct codec_item *item)
{
	item->commands_at = (size_t)r->binary;
	item->first_command = r->batch->n_commands;
	item->kept = true;
}

/* Checks them. */
static void codec_read_commands(struct reader *r, struct codec_item *item)
{
	struct codec_batch *b = r->batch;
	struct codec_command here;
	codec_read_commands_begin(r, item);
	for (bool first = json_enter(&r->j, '['); json_next(&r->j, ']', &first);) {
		struct codec_command *t = codec_read_room_for_command(b, &here);
		codec_read_command(r, t);
		item->kept = item->kept && t != &here;
	}
	item->end_command = b->n_commands;
}

/* Those of an item that are not kept. */
static void codec_read_again(const struct codec_item *item, const struct use *u)
{
	struct reader r = {.j = {.p = item->commands.p, .end = item->commands.p + item->commands.n},
			   .binary = item->commands_at,
			   .limit = UINT64_MAX};
	struct codec_command t;
	for (bool first = json_enter(&r.j, '[');
	     u->commit->error == COMMIT_OK && json_next(&r.j, ']', &first);) {
		codec_read_command(&r, &t);
		codec_read_do_command(u, &t);
	}
}

void codec_commands(const struct codec_batch *b, struct codec_item *item, const struct hub *hub,
		    const struct session *own, struct commit *c)
{
	const struct use u = {.batch = b, .hub = hub, .own = own, .commit = c};
	if (item->commands.p == NULL)
		return;
	if (!item->kept)
		codec_read_again(item, &u);
	for (size_t i = item->first_command;
	     item->kept && c->error == COMMIT_OK && i < item->end_command; i++)
		codec_read_do_command(&u, &b->commands[i]);
}

/* --- items ------------------------------------------------------------------------------------ */

static void codec_read_events(struct json *j, struct codec_item *item)
{
	struct json_string word;
	item->has_events = true;
	for (bool first = json_enter(j, '[');
	     json_next(j, ']', &first) && json_read_string(j, &word);)
		for (int kind = 0; kind < EVENT_KINDS; kind++)
			if (json_is(&word, event_name((enum event_kind)kind)))
				item->events |= EVENT_BIT(kind);
}

static enum codec_type codec_read_type_of(struct json *j, const struct json_string *t)
{
	static const struct span words[] = {SPAN("hello"),   SPAN("ready"), SPAN("ack"),
					    SPAN("nack"),    SPAN("push"),  SPAN("query"),
					    SPAN("control"), SPAN("pong"),  SPAN("bye")};
	for (size_t i = 0; t->p != NULL && !t->escaped && i < sizeof words / sizeof *words; i++)
		if (span_eq((struct span){t->p, t->n}, words[i]))
			return (enum codec_type)i;
	json_fail(j, t->p == NULL ? "an object without \"t\"" : "an object of an unknown type");
	return CODEC_BYE;
}

static void codec_read_answer(struct reader *r, struct codec_item *item, struct span *json_r)
{
	struct codec_answer_text t;
	json_r->p = r->j.p;
	item->answer_at = (size_t)r->binary;
	codec_answer_read(r, &t);
	json_r->n = (size_t)(r->j.p - json_r->p);
}

static void codec_read_member(struct reader *r, struct span name, struct codec_item *item)
{
	static const struct field fields[] = {
		TEXT_FIELD(struct codec_item, "t", t),
		COUNTED_FIELD(struct codec_item, "s", s, has_s),
		TEXT_FIELD(struct codec_item, "link", link),
		TEXT_FIELD(struct codec_item, "error", error),
		TEXT_FIELD(struct codec_item, "source", source),
		COUNTED_FIELD(struct codec_item, "n", n, has_n),
		COUNTED_FIELD(struct codec_item, "q", q, has_q),
		COUNTED_FIELD(struct codec_item, "ref", ref, has_ref),
		COUNTED_FIELD(struct codec_item, "expires", expires, has_expires),
		TEXT_FIELD(struct codec_item, "what", what),
		TEXT_FIELD(struct codec_item, "room", room),
		TEXT_FIELD(struct codec_item, "conn", conn),
		TEXT_FIELD(struct codec_item, "mount", mount),
		TEXT_FIELD(struct codec_item, "token", token),
		TEXT_FIELD(struct codec_item, "name", name),
		TEXT_FIELD(struct codec_item, "do", what_to_do),
		TEXT_FIELD(struct codec_item, "user", user),
		TEXT_FIELD(struct codec_item, "id", id),
		COUNTED_FIELD(struct codec_item, "since", since, has_since),
		NUMBER_FIELD(struct codec_item, "epoch", epoch),
		NUMBER_FIELD(struct codec_item, "limit", limit),
		NUMBER_FIELD(struct codec_item, "v", v),
		NUMBER_FIELD(struct codec_item, "runs", runs),
		NUMBER_FIELD(struct codec_item, "mount_size", mount_size),
		TEXT_FIELD(struct codec_item, "after", after),
		{.key = {0}},
	};
	if (codec_read_field(&r->j, name, item, fields))
		return;
	if (span_eq(name, SPAN("commands"))) {
		item->commands.p = r->j.p;
		codec_read_commands(r, item);
		item->commands.n = (size_t)(r->j.p - item->commands.p);
	} else if (span_eq(name, SPAN("retry_ms"))) {
		item->has_retry = true;
		json_read_uint_or_skip(&r->j, &item->retry_ms, &item->bad_retry);
	} else if (span_eq(name, SPAN("accept"))) {
		codec_read_answer(r, item, &item->accept);
	} else if (span_eq(name, SPAN("refuse"))) {
		codec_read_answer(r, item, &item->refuse);
	} else if (span_eq(name, SPAN("starting"))) {
		json_read_bool(&r->j, &item->starting);
	} else if (span_eq(name, SPAN("wait"))) {
		json_read_bool(&r->j, &item->waits);
	} else if (span_eq(name, SPAN("claims"))) {
		json_read_bool(&r->j, &item->claims);
	} else if (span_eq(name, SPAN("room_state"))) {
		json_read_bool(&r->j, &item->room_states);
	} else if (span_eq(name, SPAN("events"))) {
		codec_read_events(&r->j, item);
	} else {
		json_skip(&r->j, NULL);
	}
}

static void codec_read_check_item(struct json *j, const struct codec_item *item)
{
	if ((item->type == CODEC_ACK || item->type == CODEC_NACK) && !item->has_s)
		json_fail(j, "an acknowledgement without \"s\"");
	else if (item->type == CODEC_HELLO && item->v != 1)
		json_fail(j, "a hello of another version than 1");
	else if ((item->type == CODEC_QUERY || item->type == CODEC_CONTROL) && !item->has_q)
		json_fail(j, "a question without \"q\"");
	else if (item->type == CODEC_PUSH && item->source.p != NULL &&
		 (!item->has_n || item->n == 0))
		json_fail(j, "a push with a source needs \"n\" from 1");
	else if (item->type == CODEC_PUSH && item->commands.p == NULL)
		json_fail(j, "a push without commands");
	else if (item->accept.p != NULL && item->refuse.p != NULL)
		json_fail(j, "an answer that accepts and refuses");
}

static void codec_read_item(struct reader *r, struct codec_item *item)
{
	struct span name;
	*item = (struct codec_item){.n = 0};
	for (bool first = json_enter(&r->j, '{'); json_next_key(&r->j, &first, &name);)
		codec_read_member(r, name, item);
	if (r->j.why != NULL)
		return;
	item->type = codec_read_type_of(&r->j, &item->t);
	codec_read_check_item(&r->j, item);
}

static bool codec_read_add_item(struct codec_batch *b, struct json *j)
{
	if (b->n == CODEC_ITEMS_MAX)
		return json_fail(j, "more than 32,768 objects in a batch");
	if (b->n < b->cap)
		return true;
	size_t cap = b->cap == 0 ? 64 : b->cap * 2;
	struct codec_item *wider = realloc(b->items, cap * sizeof *wider);
	if (wider == NULL)
		return json_fail(j, "no memory for the batch");
	b->items = wider;
	b->cap = cap;
	return true;
}

/* Its objects, or only the first. One function for both, since a second call of read_item costs
 * every batch its being inlined. */
static void codec_read_objects(struct reader *r, struct codec_batch *b, bool only_first)
{
	b->n = b->n_commands = 0;
	for (bool first = json_enter(&r->j, '[');
	     json_next(&r->j, ']', &first) && codec_read_add_item(b, &r->j);) {
		codec_read_item(r, &b->items[b->n++]);
		if (only_first)
			break;
	}
	if (r->j.why == NULL && b->n == 0)
		json_fail(&r->j, "an empty batch");
}

bool codec_read(struct codec_batch *b, uint8_t *bytes, size_t len)
{
	struct reader r = {.j = {.p = (const char *)bytes, .end = (const char *)bytes + len},
			   .limit = len,
			   .batch = b};
	codec_read_objects(&r, b, false);
	b->binary = (uint8_t *)r.j.p + 1;
	b->binary_len = r.j.p < r.j.end ? (size_t)(r.j.end - r.j.p) - 1 : 0;
	if (r.j.why == NULL && r.j.p < r.j.end && *r.j.p != '\n')
		json_fail(&r.j, "something other than a line feed behind the array");
	if (r.j.why == NULL && r.binary != b->binary_len)
		json_fail(&r.j, "the binary bytes are more or fewer than the objects say");
	b->why = r.j.why;
	return b->why == NULL;
}

bool codec_read_first(struct codec_batch *b, uint8_t *bytes, size_t len, struct codec_item *first)
{
	struct reader r = {.j = {.p = (const char *)bytes, .end = (const char *)bytes + len},
			   .limit = len,
			   .batch = b};
	codec_read_objects(&r, b, true);
	b->why = r.j.why;
	if (b->why == NULL)
		*first = b->items[0];
	return b->why == NULL;
}

/* --- requests --------------------------------------------------------------------------------- */

/* What a command needs and does not have, where nothing is known from an event; NULL: nothing. */
static const char *codec_read_command_lacks(const struct codec_command *t)
{
	bool of_conn = t->word == WORD_SEND || t->word == WORD_JOIN || t->word == WORD_LEAVE ||
		       t->word == WORD_CLOSE || t->word == WORD_SET || t->word == WORD_INFO ||
		       t->word == WORD_LEAVE_ALL || t->word == WORD_PROLONG;
	bool of_rooms = t->word == WORD_BROADCAST_TO || t->word == WORD_CLOSE_ROOM;
	bool of_room = t->word == WORD_JOIN || t->word == WORD_LEAVE || t->word == WORD_SET_ROOM ||
		       t->word == WORD_WATCH || t->word == WORD_UNWATCH ||
		       (of_rooms && !(t->has_more && t->more.rooms.p != NULL));
	bool says =
		t->word == WORD_SEND || t->word == WORD_BROADCAST || t->word == WORD_BROADCAST_TO;
	if (of_conn && t->conn.p == NULL)
		return "a command lacks \"conn\", the connection that it is for";
	if (of_room && t->room.p == NULL)
		return "a command lacks \"room\"";
	if (says && !t->has_bin && t->data.p == NULL)
		return "a message lacks its \"data\", or \"bin\" with its bytes behind a line feed";
	if ((t->word == WORD_SET || t->word == WORD_SET_ROOM) && !t->has_state_bin &&
	    t->state.p == NULL)
		return "a set or set_room lacks its \"state\", or \"state_bin\"";
	if (t->word == WORD_INFO && !codec_read_is_whole(t))
		return "an info lacks its \"info\", a text, or its \"user\"";
	if (t->word == WORD_PROLONG && !codec_read_is_whole(t))
		return "a prolong lacks its \"token\"";
	if (t->bad_number)
		return "a code, id, delay, period, max, users_max, version, grace, last, since or epoch that is no whole number from 0, or no list where one is expected";
	if (t->word == WORD_JOIN && !codec_read_is_whole(t))
		return "a max or users_max is a whole number from 1";
	if ((t->has_last || t->has_since || t->otherwise.p != NULL) && t->word != WORD_JOIN)
		return "last, since and else are of a join";
	if (t->has_more && t->more.has_version && t->word != WORD_SET_ROOM)
		return "a version is of a set_room";
	if (t->has_more && t->more.has_grace && t->word != WORD_WATCH)
		return "grace is of a watch";
	if (t->has_keep && t->word != WORD_BROADCAST_TO)
		return "keep is of a broadcast_to";
	return NULL;
}

static bool codec_read_command_conn_ok(const struct codec_command *t)
{
	struct session_id id;
	return t->conn.p == NULL || session_id_parse((struct span){t->conn.p, t->conn.n}, &id);
}

static void codec_read_check_request(struct reader *r, const struct codec_command *t)
{
	struct codec_request *q = r->request;
	q->only_messages = q->only_messages && (t->word == WORD_SEND || t->word == WORD_BROADCAST ||
						t->word == WORD_BROADCAST_TO);
	const char *lacks = codec_read_command_lacks(t);
	if (r->j.why != NULL)
		return;
	/* what a plugin keeps is its own */
	bool unknown = t->word == WORD_UNKNOWN || t->word == WORD_SET_MOUNT;
	if (unknown)
		q->unknown = (struct span){t->c.p, t->c.n};
	else if (!codec_read_command_conn_ok(t))
		q->unknown = (struct span){t->conn.p, t->conn.n};
	if (unknown)
		json_fail(
			&r->j,
			"is no command; expected send, broadcast, broadcast_to, join, leave, leave_all, close, close_room, info, prolong, set, set_room, timer, cancel, watch or unwatch");
	else if (q->unknown.p != NULL)
		json_fail(&r->j, "is no connection's id");
	else if (lacks != NULL)
		json_fail(&r->j, lacks);
}

static void codec_read_request_commands(struct reader *r, struct codec_item *item)
{
	struct codec_request *q = r->request;
	struct codec_command here;
	item->commands.p = r->j.p;
	codec_read_commands_begin(r, item);
	q->listed = true;
	for (bool first = json_enter(&r->j, '['); json_next(&r->j, ']', &first);) {
		struct codec_command *t = codec_read_room_for_command(r->batch, &here);
		codec_read_command(r, t);
		codec_read_check_request(r, t);
		item->kept = item->kept && t != &here;
		q->n += r->j.why == NULL;
	}
	q->listed = r->j.why != NULL;
	item->commands.n = (size_t)(r->j.p - item->commands.p);
	item->end_command = r->batch->n_commands;
}

/* What is not a command's: for which mount, and until when. */
static bool codec_read_request_member(struct reader *r, struct span name, struct codec_item *item)
{
	static const struct field fields[] = {
		TEXT_FIELD(struct codec_item, "mount", mount),
		COUNTED_FIELD(struct codec_item, "expires", expires, has_expires),
		{.key = {0}},
	};
	return codec_read_field(&r->j, name, item, fields);
}

/* {"mount":…,"expires":…,"commands":[…]} */
static void codec_read_request_list(struct reader *r, struct codec_item *item)
{
	struct span name;
	for (bool first = json_enter(&r->j, '{'); json_next_key(&r->j, &first, &name);) {
		if (codec_read_request_member(r, name, item))
			continue;
		if (!span_eq(name, SPAN("commands")))
			codec_read_unknown(r, name,
				     "is no member of this; expected mount, expires and commands");
		else if (item->commands.p != NULL)
			json_fail(&r->j, "\"commands\" comes twice");
		else
			codec_read_request_commands(r, item);
	}
	if (r->j.why == NULL && item->commands.p == NULL)
		json_fail(&r->j, "\"commands\" is missing: a list of them");
}

/* The members of one command, "mount" and "expires". */
static void codec_read_request_command(struct reader *r, struct codec_item *item, const char *word)
{
	struct codec_command here, *t;
	struct span name;
	item->commands.p = r->j.p;
	codec_read_commands_begin(r, item);
	if ((t = codec_read_room_for_command(r->batch, &here)) == &here)
		json_fail(&r->j, "no memory for the command");
	codec_read_command_begin(t);
	for (bool first = json_enter(&r->j, '{'); json_next_key(&r->j, &first, &name);)
		if (!codec_read_request_member(r, name, item) && !codec_read_command_member(r, name, t))
			codec_read_unknown(r, name, "is no member of this command");
	codec_read_command_end(r, t);
	if (t->c.p == NULL)
		t->c = (struct json_string){.p = word, .n = strlen(word)};
	else if (r->j.why == NULL && !json_is(&t->c, word))
		json_fail(&r->j, "\"c\" names another command than the path");
	t->word = codec_read_word_of(&t->c);
	codec_read_check_request(r, t);
	r->request->n = 1;
	item->end_command = r->batch->n_commands;
}

/* Behind the object stand the binary bytes that it tells of; or nothing, or line ends. */
static void codec_read_request_tail(struct reader *r, struct codec_batch *b)
{
	bool line = r->j.p < r->j.end && *r->j.p == '\n';
	b->binary = (uint8_t *)r->j.p + line;
	b->binary_len = (size_t)(r->j.end - r->j.p) - line;
	while (r->binary == 0 && r->j.p < r->j.end && strchr(" \t\r\n", *r->j.p) != NULL &&
	       *r->j.p != '\0')
		r->j.p++;
	if (r->binary == 0 ? r->j.p < r->j.end : !line)
		json_fail(&r->j,
			  "something else behind the object; expected nothing, or a line feed and "
			  "binary bytes");
	else if (r->binary != 0 && r->binary != b->binary_len)
		json_fail(&r->j, "the binary bytes are more or fewer than the object says");
}

bool codec_read_request(struct codec_batch *b, const char *word, uint8_t *bytes, size_t len,
			struct codec_request *q)
{
	struct reader r = {.j = {.p = (const char *)bytes, .end = (const char *)bytes + len},
			   .limit = len,
			   .batch = b,
			   .request = q};
	b->n = b->n_commands = 0;
	*q = (struct codec_request){.item = {.type = CODEC_PUSH}, .only_messages = true};
	if (word != NULL)
		codec_read_request_command(&r, &q->item, word);
	else
		codec_read_request_list(&r, &q->item);
	if (r.j.why == NULL)
		codec_read_request_tail(&r, b);
	b->why = r.j.why;
	return b->why == NULL;
}

void codec_batch_done(struct codec_batch *b)
{
	if (b->cap * sizeof *b->items + b->cap_commands * sizeof *b->commands > CODEC_BATCH_KEEP)
		codec_batch_free(b);
}

void codec_batch_free(struct codec_batch *b)
{
	free(b->items);
	free(b->commands);
	*b = (struct codec_batch){.items = NULL};
}
