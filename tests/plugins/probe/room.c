/* room: who is in one, and messages to those. */
#include "probe.h"
#include "word.h"

typedef int room_function(tova_mount *m, tova_ws ws, const char *room, size_t room_len);

static int room_with(struct probe_run *r, room_function *f, tova_ws ws, char *room)
{
	size_t n = word_unescape(room);
	return f(r->m, ws, room, n);
}

static int room_join(struct probe_run *r, char *rest)
{
	return room_with(r, r->m->host->join, r->me, rest);
}

/* join_last N ROOM; join_since OFFSET EPOCH HOW ROOM */
static int room_join_last(struct probe_run *r, char *rest)
{
	uint32_t n = (uint32_t)word_number(&rest);
	word_unescape(rest);
	return tova_join_last(r->m, r->me, rest, n);
}

static int room_join_since(struct probe_run *r, char *rest)
{
	uint64_t since = word_number(&rest), epoch = word_number(&rest);
	uint32_t how = (uint32_t)word_number(&rest);
	word_unescape(rest);
	return tova_join_since(r->m, r->me, rest, since, epoch, how);
}

static int room_leave(struct probe_run *r, char *rest)
{
	return room_with(r, r->m->host->leave, r->me, rest);
}

static int room_join_of(struct probe_run *r, char *rest)
{
	tova_ws ws = word_ws(r, &rest);
	return room_with(r, r->m->host->join, ws, rest);
}

static int room_leave_of(struct probe_run *r, char *rest)
{
	tova_ws ws = word_ws(r, &rest);
	return room_with(r, r->m->host->leave, ws, rest);
}

static int room_all(struct probe_run *r, uint32_t kind, char *text, tova_ws exclude)
{
	tova_payload p = tova_binary(text, word_unescape(text));
	p.kind = kind;
	say_set_key(r, &p);
	return tova_broadcast_payload(r->m, &p, exclude);
}

static int room_broadcast(struct probe_run *r, char *rest)
{
	return room_all(r, TOVA_TEXT, rest, TOVA_NONE);
}

static int room_broadcast_binary(struct probe_run *r, char *rest)
{
	return room_all(r, TOVA_BINARY, rest, TOVA_NONE);
}

static int room_broadcast_others(struct probe_run *r, char *rest)
{
	return room_all(r, TOVA_TEXT, rest, r->me);
}

static int room_broadcast_except(struct probe_run *r, char *rest)
{
	tova_ws ws = word_ws(r, &rest);
	return room_all(r, TOVA_TEXT, rest, ws);
}

static int room_one(struct probe_run *r, uint32_t kind, char *rest, tova_ws exclude)
{
	char *room = word_next(&rest);
	size_t room_len = word_unescape(room);
	tova_payload p = tova_binary(rest, word_unescape(rest));
	p.kind = kind;
	say_set_key(r, &p);
	return r->m->host->broadcast_to(r->m, room, room_len, &p, exclude);
}

static int room_to(struct probe_run *r, char *rest)
{
	return room_one(r, TOVA_TEXT, rest, TOVA_NONE);
}

static int room_to_unkept(struct probe_run *r, char *rest)
{
	char *room = word_next(&rest);
	word_unescape(room);
	tova_payload p = tova_unkept(tova_text_n(rest, word_unescape(rest)));
	return tova_broadcast_payload_to(r->m, room, &p, TOVA_NONE);
}

static int room_to_binary(struct probe_run *r, char *rest)
{
	return room_one(r, TOVA_BINARY, rest, TOVA_NONE);
}

static int room_to_others(struct probe_run *r, char *rest)
{
	return room_one(r, TOVA_TEXT, rest, r->me);
}

static int room_to_except(struct probe_run *r, char *rest)
{
	tova_ws ws = word_ws(r, &rest);
	return room_one(r, TOVA_TEXT, rest, ws);
}

const struct probe_command room_commands[] = {
	{"join", room_join},
	{"join_last", room_join_last},
	{"join_since", room_join_since},
	{"to_unkept", room_to_unkept},
	{"leave", room_leave},
	{"join_of", room_join_of},
	{"leave_of", room_leave_of},
	{"broadcast", room_broadcast},
	{"broadcastb", room_broadcast_binary},
	{"broadcast_others", room_broadcast_others},
	{"broadcast_except", room_broadcast_except},
	{"to", room_to},
	{"tob", room_to_binary},
	{"to_others", room_to_others},
	{"to_except", room_to_except},
	{NULL, NULL},
};
