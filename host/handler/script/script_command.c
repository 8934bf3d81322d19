/* script_command: what a line on descriptor 3 means. */
#include "common/rules.h"
#include "handler/script/script_option.h"
#include "ws/frame.h"

struct script_verb {
	const char *name, *usage;
	/* Puts it into the commit. NULL, or what is wrong: a static sentence. */
	const char *(*add)(struct script *x, struct commit *c, struct span rest);
};

/* --- arguments -------------------------------------------------------------------------------- */

static const char *script_command_take(struct span *rest, struct span *word_r)
{
	const char *why = script_word(rest, word_r);
	return why != NULL ? why : word_r->p == NULL ? "a word is missing" : NULL;
}

/* The one word that is left. */
static const char *script_command_last_word(struct span rest, struct span *word_r)
{
	struct span more;
	const char *why = script_command_take(&rest, word_r);
	if (why == NULL)
		why = script_word(&rest, &more);
	if (why == NULL && more.p != NULL)
		why = "there is a word too many; a name with spaces stands in double quotes";
	return why;
}

/* What is left, as it stands; with --script-lines json what that means. */
static const char *script_command_data(const struct script *x, struct span rest,
				       struct script_message *data_r)
{
	if (rest.p == NULL)
		return "what is to be sent is missing";
	return script_message_read((char *)rest.p, rest.n,
				   x->framing == SCRIPT_JSON ? SCRIPT_JSON : SCRIPT_LINES, data_r);
}

static bool script_command_number(struct span word, uint16_t *n_r)
{
	unsigned n = 0;
	for (size_t i = 0; i < word.n; i++) {
		if (word.p[i] < '0' || word.p[i] > '9' || word.n > 5)
			return false;
		n = n * 10 + (unsigned)(word.p[i] - '0');
	}
	*n_r = (uint16_t)n;
	return n <= UINT16_MAX;
}

/* --- commands --------------------------------------------------------------------------------- */

/* Does the word begin so? What stands behind it is left. */
static bool script_command_begins(struct span *word, struct span name)
{
	if (word->n < name.n || memcmp(word->p, name.p, name.n) != 0)
		return false;
	*word = (struct span){word->p + name.n, word->n - name.n};
	return true;
}

static bool script_command_uint(struct span word, uint64_t *n_r)
{
	*n_r = 0;
	for (size_t i = 0; i < word.n; i++) {
		if (word.p[i] < '0' || word.p[i] > '9' || word.n > 16)
			return false;
		*n_r = *n_r * 10 + (uint64_t)(word.p[i] - '0');
	}
	return word.n > 0;
}

/* last=N, or since=OFFSET epoch=EPOCH, and else=last or else=fail. */
static const char *script_command_want(struct span word, struct history_want *want)
{
	uint64_t n;
	if (script_command_begins(&word, SPAN("last=")) && script_command_uint(word, &n)) {
		want->last = n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
		want->how = want->how == HISTORY_WANT_NOTHING ? HISTORY_WANT_LAST : want->how;
	} else if (script_command_begins(&word, SPAN("since=")) &&
		   script_command_uint(word, &want->since)) {
		want->how = HISTORY_WANT_SINCE_OR_LAST;
	} else if (want->how < HISTORY_WANT_SINCE_OR_LAST ||
		   (!(script_command_begins(&word, SPAN("epoch=")) &&
		      script_command_uint(word, &want->epoch)) &&
		    !span_eq(word, SPAN("else=last")) && !span_eq(word, SPAN("else=fail")))) {
		return "a name with spaces stands in double quotes; what is wanted of the room's "
		       "memory is last=N, or since=OFFSET epoch=EPOCH "
		       "and else=last or else=fail";
	}
	if (span_eq(word, SPAN("else=fail")))
		want->how = HISTORY_WANT_SINCE_OR_FAIL;
	return NULL;
}

static const char *script_command_add_join(struct script *x, struct commit *c, struct span rest)
{
	struct history_want want = {.last = UINT32_MAX};
	struct span room, word;
	const char *why = script_command_take(&rest, &room);
	while (why == NULL && (why = script_word(&rest, &word)) == NULL && word.p != NULL)
		why = script_command_want(word, &want);
	if (why == NULL)
		commit_join(c, x->session->local, room);
	if (why == NULL && want.how != HISTORY_WANT_NOTHING)
		commit_history(c, &want);
	return why;
}

static const char *script_command_add_leave(struct script *x, struct commit *c, struct span rest)
{
	struct span room;
	const char *why = script_command_last_word(rest, &room);
	if (why == NULL)
		commit_leave(c, x->session->local, room);
	return why;
}

static const char *script_command_add_leave_all(struct script *x, struct commit *c,
						struct span rest)
{
	if (rest.n > 0)
		return "there is a word too many";
	commit_leave_all(c, x->session->local);
	return NULL;
}

static const char *script_command_add_prolong(struct script *x, struct commit *c, struct span rest)
{
	struct span token;
	const char *why = script_command_last_word(rest, &token);
	if (why == NULL)
		commit_prolong(c, x->session->local, token);
	return why;
}

static const char *script_command_add_info(struct script *x, struct commit *c, struct span rest)
{
	struct script_message info;
	const char *why = script_command_data(x, rest, &info);
	if (why == NULL && info.binary)
		why = "an info is text";
	if (why == NULL)
		commit_info(c, x->session->local, info.bytes, (struct span){NULL, 0});
	return why;
}

static const char *script_command_add_user(struct script *x, struct commit *c, struct span rest)
{
	struct span user;
	const char *why = script_command_last_word(rest, &user);
	if (why == NULL)
		commit_info(c, x->session->local, (struct span){NULL, 0}, user);
	return why;
}

static const char *script_command_add_send(struct script *x, struct commit *c, struct span rest)
{
	struct script_message data;
	struct session_id id;
	struct span to;
	const char *why = script_command_take(&rest, &to);
	if (why == NULL && !session_id_parse(to, &id))
		why = "the first word is no id of a connection";
	if (why == NULL)
		why = script_command_data(x, rest, &data);
	if (why == NULL)
		gate_name(script_mount(x)->hub, c, id.host);
	if (why == NULL)
		commit_send(c, id.host == script_mount(x)->hub->host_id ? id.local : 0, data.binary,
			    data.bytes.p, data.bytes.n);
	return why;
}

static const char *script_command_add_broadcast_but(struct script *x, struct commit *c,
						    struct span rest, uint64_t exclude)
{
	struct script_message data;
	const char *why = script_command_data(x, rest, &data);
	if (why == NULL)
		commit_broadcast(c, data.binary, data.bytes.p, data.bytes.n, exclude);
	return why;
}

static const char *script_command_add_broadcast(struct script *x, struct commit *c,
						struct span rest)
{
	return script_command_add_broadcast_but(x, c, rest, 0);
}

static const char *script_command_add_broadcast_others(struct script *x, struct commit *c,
						       struct span rest)
{
	return script_command_add_broadcast_but(x, c, rest, x->session->local);
}

static const char *script_command_add_broadcast_to_but(struct script *x, struct commit *c,
						       struct span rest, uint64_t exclude)
{
	struct script_message data;
	struct span room;
	const char *why = script_command_take(&rest, &room);
	if (why == NULL)
		why = script_command_data(x, rest, &data);
	if (why == NULL)
		commit_broadcast_to(c, room, data.binary, data.bytes.p, data.bytes.n, exclude);
	return why;
}

static const char *script_command_add_broadcast_to(struct script *x, struct commit *c,
						   struct span rest)
{
	return script_command_add_broadcast_to_but(x, c, rest, 0);
}

static const char *script_command_add_broadcast_to_others(struct script *x, struct commit *c,
							  struct span rest)
{
	return script_command_add_broadcast_to_but(x, c, rest, x->session->local);
}

/* CODE REASON, which both may be missing. */
static const char *script_command_closing(const struct script *x, struct span rest,
					  uint16_t *code_r, struct script_message *reason_r)
{
	struct script_message reason = {.bytes = {"", 0}};
	struct span word;
	uint16_t code = CLOSE_NORMAL;
	const char *why = script_word(&rest, &word);
	/* 0, or nothing between quotes, is none: commit_close takes it for a close without a code
	 */
	if (why == NULL && word.p != NULL &&
	    (!script_command_number(word, &code) || !rules_close_code_ok(code)))
		why = "the first word is no close code";
	if (why == NULL && rest.n > 0)
		why = script_command_data(x, rest, &reason);
	if (why == NULL && reason.binary)
		why = "a reason is text";
	if (why == NULL && reason.bytes.n > RULES_REASON_MAX)
		why = "a reason has at most 123 bytes";
	*code_r = code;
	*reason_r = reason;
	return why;
}

static const char *script_command_add_close(struct script *x, struct commit *c, struct span rest)
{
	struct script_message reason;
	uint16_t code;
	const char *why = script_command_closing(x, rest, &code, &reason);
	if (why == NULL)
		commit_close(c, x->session->local, code, reason.bytes);
	return why;
}

static const char *script_command_add_close_room(struct script *x, struct commit *c,
						 struct span rest)
{
	struct script_message reason;
	struct selection of;
	struct span room;
	uint16_t code;
	const char *why = script_command_take(&rest, &room);
	if (why == NULL)
		why = script_command_closing(x, rest, &code, &reason);
	selection_init(&of);
	if (why == NULL && selection_add_name(&of.rooms, room))
		commit_close_room(c, &of, code, reason.bytes);
	return why;
}

/* From here on it is told of these, behind what it has not read yet. */
static const char *script_command_add_events(struct script *x, struct commit *c, struct span rest)
{
	struct span word;
	unsigned events = 0;
	const char *why = NULL;
	(void)c;
	while ((why = script_word(&rest, &word)) == NULL && word.p != NULL) {
		if (!span_eq(word, SPAN("away")) && !span_eq(word, SPAN("back")))
			return "there is no such event";
		events |= EVENT_BIT(span_eq(word, SPAN("away")) ? EVENT_AWAY : EVENT_BACK);
	}
	if (why == NULL && events != 0 && x->framing != SCRIPT_JSON)
		why = "events come to scripts with --script-lines json only";
	if (why != NULL)
		return why;
	x->events = (uint16_t)events;
	x->set->base.wants |= events;
	return NULL;
}

static const struct script_verb verbs[] = {
	{"join", "join ROOM, join ROOM last=N or join ROOM since=OFFSET epoch=EPOCH else=fail",
	 script_command_add_join},
	{"leave", "leave ROOM", script_command_add_leave},
	{"leave_all", "leave_all", script_command_add_leave_all},
	{"prolong", "prolong TOKEN", script_command_add_prolong},
	{"info", "info TEXT, of at most 1,024 bytes", script_command_add_info},
	{"user", "user NAME", script_command_add_user},
	{"close_room",
	 "close_room ROOM, close_room ROOM CODE or close_room ROOM CODE REASON, with codes as for close",
	 script_command_add_close_room},
	{"send", "send CONN TEXT", script_command_add_send},
	{"broadcast", "broadcast TEXT", script_command_add_broadcast},
	{"broadcast_others", "broadcast_others TEXT", script_command_add_broadcast_others},
	{"broadcast_to", "broadcast_to ROOM TEXT", script_command_add_broadcast_to},
	{"broadcast_to_others", "broadcast_to_others ROOM TEXT",
	 script_command_add_broadcast_to_others},
	{"close",
	 "close, close CODE or close CODE REASON, with 1000, 1001, 1003, 1007 to 1014 or 3000 to 4999",
	 script_command_add_close},
	{"events", "events with any of away and back", script_command_add_events},
};
#define N_VERBS (sizeof verbs / sizeof *verbs)
#define KNOWN_VERBS \
	"join, leave, leave_all, info, user, send, broadcast, broadcast_others, broadcast_to, broadcast_to_others, close, close_room, prolong or events"

static const struct script_verb *script_command_find(struct span name)
{
	for (size_t i = 0; i < N_VERBS; i++)
		if (span_eq(name, span_of(verbs[i].name)))
			return &verbs[i];
	return NULL;
}

/* keep=no in front of a command: the room does not remember what it broadcasts. */
static bool script_command_unkept(struct span *rest)
{
	return script_command_begins(rest, SPAN("keep=no "));
}

/* key=KEY in front of a command gives what it sends a conflation key. */
static const char *script_command_key(struct span *rest, struct span *key_r)
{
	*key_r = (struct span){NULL, 0};
	if (rest->n < 4 || memcmp(rest->p, "key=", 4) != 0)
		return NULL;
	*rest = (struct span){rest->p + 4, rest->n - 4};
	if (rest->n > 0 && rest->p[0] == ' ') /* an empty one is none */
		return NULL;
	return script_word(rest, key_r);
}

void script_command(struct script *x, char *line, size_t n)
{
	struct commit *c = &script_mount(x)->commit;
	struct span rest = {line, n}, name, key;
	struct script_options options;
	char shown[SCRIPT_SHOWN];
	struct span said = {shown, n < SCRIPT_SHOWN ? n : SCRIPT_SHOWN};
	if (n == 0)
		return;
	if (x->session == NULL) {
		x->late++;
		return;
	}
	memcpy(shown, line, said.n); /* its words are unescaped where they stand */
	script_option_init(&options);
	const char *why = script_option_read(x, &rest, &options);
	bool unkept = why == NULL && script_command_unkept(&rest);
	if (why == NULL)
		why = script_command_key(&rest, &key);
	unkept = unkept || (why == NULL && script_command_unkept(&rest));
	if (why == NULL)
		why = script_option_read(x, &rest, &options);
	if (why == NULL)
		why = script_word(&rest, &name);
	const struct script_verb *verb = why == NULL ? script_command_find(name) : NULL;
	if (verb == NULL) {
		script_log(x, LOG_WARN, why != NULL ? why : "a script's command is unknown", said,
			   KNOWN_VERBS);
		return;
	}
	commit_begin(c, x->session);
	why = verb->add(x, c, rest);
	if (why == NULL && c->error == COMMIT_OK)
		why = script_option_apply(c, &options);
	if (why != NULL) {
		commit_drop(c);
		script_log(x, LOG_WARN, why, said, verb->usage);
		return;
	}
	bool ended = x->session->ended;
	commit_key(c, key);
	if (unkept)
		commit_unkept(c);
	script_commit(x, said);
	x->parted = x->parted || (!ended && x->session != NULL && x->session->ended);
}
