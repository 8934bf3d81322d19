/* What workers say: every rule of sdk/PROTOCOL.md, kept and broken, and damage of every kind. */
#include <check.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <valgrind/valgrind.h>

#include "common/utf8.h"
#include "handler/worker/codec.h"
#include "run.h"

#define HOST UINT64_C(0x1122334455667788)

static struct codec_batch b;
static struct chunk_pool pool;
static struct commit commit;
static struct hub hub;
static struct session own;
static uint8_t *message; /* of the very size, with the one byte behind it that may be written */
static char ids[4][SESSION_ID_TEXT];

static void setup(void)
{
	memset(&b, 0, sizeof b);
	memset(&own, 0, sizeof own);
	pool = (struct chunk_pool){.current = NULL};
	commit_init(&commit, &pool, 4096);
	commit_begin(&commit, NULL);
	hub.host_id = HOST;
	own.local = 77;
	message = NULL;
	for (uint64_t i = 0; i < 4; i++)
		session_id_text((struct session_id){.host = i < 3 ? HOST : HOST + 1,
						    .local = i + 1},
				ids[i]);
}

static void teardown(void)
{
	commit_drop(&commit);
	commit_free(&commit);
	chunk_pool_free(&pool);
	codec_batch_free(&b);
	free(message);
}

/* Reads it, after a look at its first object alone, which says the same of that and touches
 * nothing. */
static bool read_alike(const void *bytes, size_t n)
{
	struct codec_item first;
	bool is_first_good = codec_read_first(&b, message, n, &first);
	ck_assert(is_first_good == (b.why == NULL) && memcmp(message, bytes, n) == 0);
	bool good = codec_read(&b, message, n);
	ck_assert(is_first_good || !good);
	if (good)
		ck_assert(first.type == b.items[0].type && first.token.p == b.items[0].token.p &&
			  first.token.n == b.items[0].token.n);
	return good;
}

static bool read_bytes(const void *bytes, size_t n)
{
	free(message);
	message = malloc(n + 1);
	memcpy(message, bytes, n);
	return read_alike(bytes, n);
}

/* Single quotes stand for double ones, $0 to $3 for the ids. */
static size_t expand(const char *text, size_t n, char *dst)
{
	char *at = dst;
	for (size_t i = 0; i < n; i++) {
		if (text[i] == '$' && i + 1 < n && text[i + 1] >= '0' && text[i + 1] <= '3') {
			memcpy(at, ids[text[++i] - '0'], SESSION_ID_TEXT - 1);
			at += SESSION_ID_TEXT - 1;
		} else {
			*at++ = text[i] == '\'' ? '"' : text[i];
		}
	}
	return (size_t)(at - dst);
}

static bool read_text(const char *text, size_t n)
{
	static char expanded[1 << 16];
	return read_bytes(expanded, expand(text, n, expanded));
}
#define READ(literal) read_text((literal), sizeof(literal) - 1)

static struct codec_item *item(size_t i)
{
	ck_assert_msg(b.why == NULL, "%s", b.why);
	ck_assert_uint_lt(i, b.n);
	return &b.items[i];
}

static void text_is(struct json_string *s, const char *expected)
{
	if (expected == NULL) {
		ck_assert_ptr_null(s->p);
		return;
	}
	ck_assert_ptr_nonnull(s->p);
	struct span text = codec_text(s), again = codec_text(s);
	ck_assert(span_eq(text, again));
	ck_assert_msg(span_eq(text, span_of(expected)), "%.*s is not %s", (int)text.n, text.p,
		      expected);
}

/* --- commands as text ------------------------------------------------------------------------- */

static char said[1 << 16];
static size_t n_said;

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	n_said += (size_t)vsnprintf(said + n_said, sizeof said - n_said, format, args);
	va_end(args);
	ck_assert_uint_lt(n_said, sizeof said);
}

static void say_frame(const struct command *c)
{
	const uint8_t *bytes = slice_bytes(&c->frame);
	size_t head = bytes[1] < 126 ? 2 : bytes[1] == 126 ? 4 : 10;
	say("%s%.*s", bytes[0] == 0x81 ? "" : "bin:", (int)(c->frame.len - head),
	    (const char *)bytes + head);
	if (c->key != 0)
		say("!%llu", (unsigned long long)c->key % 1000);
	if (c->kind != COMMAND_SEND && c->exclude != 0)
		say("-%llu", (unsigned long long)c->exclude);
}

static void say_command(const struct command *c)
{
	static const char *const names[] = {
		[COMMAND_SEND] = "send",
		[COMMAND_JOIN] = "join",
		[COMMAND_LEAVE] = "leave",
		[COMMAND_BROADCAST] = "broadcast",
		[COMMAND_BROADCAST_TO] = "broadcast_to",
		[COMMAND_CLOSE] = "close",
		[COMMAND_SET] = "set",
		[COMMAND_TIMER] = "timer",
		[COMMAND_CANCEL] = "cancel",
	};
	struct span text = c->text_len > 0 ? commit_text(&commit, c) : (struct span){0};
	say("%s%s(", n_said > 0 ? " " : "", names[c->kind]);
	if (c->kind != COMMAND_BROADCAST && c->kind != COMMAND_BROADCAST_TO &&
	    (c->kind < COMMAND_TIMER || c->code))
		say("%llu,", (unsigned long long)c->target);
	say("%.*s", (int)text.n, text.p);
	if (c->kind == COMMAND_SEND || c->kind == COMMAND_BROADCAST ||
	    c->kind == COMMAND_BROADCAST_TO)
		say_frame(c);
	else if (c->kind == COMMAND_CLOSE)
		say(":%u", c->code);
	else if (c->kind == COMMAND_TIMER)
		say(":%llu,%llu,%llu", (unsigned long long)c->timer.id,
		    (unsigned long long)c->timer.delay_ms, (unsigned long long)c->timer.period_ms);
	say(")");
}

/* What the commands of an item come to, or the error. */
static const char *committed(struct codec_item *it, const struct session *origin)
{
	commit_drop(&commit);
	commit_begin(&commit, NULL);
	codec_commands(&b, it, &hub, origin, &commit);
	n_said = 0;
	said[0] = '\0';
	if (commit.error != COMMIT_OK)
		return commit_error_text(commit.error);
	for (uint32_t i = 0; i < commit.n; i++)
		say_command(&commit.commands[i]);
	return said;
}

static const char *commands(const char *list, size_t n, const struct session *origin)
{
	static char whole[1 << 16];
	const char *lf = memchr(list, '\n', n);
	size_t text = lf != NULL ? (size_t)(lf - list) : n;
	size_t len = (size_t)sprintf(whole, "[{'t':'ack','s':1,'commands':%.*s}]", (int)text, list);
	memcpy(whole + len, list + text, n - text);
	ck_assert_msg(read_text(whole, len + n - text), "%s in %s", b.why, whole);
	return committed(item(0), origin);
}
#define COMMANDS(literal) commands((literal), sizeof(literal) - 1, &own)

/* --- objects ---------------------------------------------------------------------------------- */

START_TEST(hello)
{
	ck_assert(READ(
		"[{'t':'hello','v':1,'token':'to\\u006ben','events':['open','message','upgrade','timer','away','back','x'],'name':'chat\\\\u0031','mount':'/a'}]"));
	struct codec_item *it = item(0);
	ck_assert_uint_eq(b.n, 1);
	ck_assert_int_eq(it->type, CODEC_HELLO);
	ck_assert(it->has_events);
	ck_assert_uint_eq(it->events, EVENT_BIT(EVENT_OPEN) | EVENT_BIT(EVENT_MESSAGE) |
					      EVENT_BIT(EVENT_UPGRADE) | EVENT_BIT(EVENT_TIMER) |
					      EVENT_BIT(EVENT_AWAY) | EVENT_BIT(EVENT_BACK));
	ck_assert(codec_text_is(&it->token, "token") && codec_text_is(&it->token, "token") &&
		  it->token.escaped);
	ck_assert(!codec_text_is(&it->token, "to") && !codec_text_is(&it->token, "tokens") &&
		  !codec_text_is(&it->token, "Token"));
	ck_assert(codec_text_is(&it->mount, "/a") && !codec_text_is(&it->mount, "/b") &&
		  !codec_text_is(&it->error, ""));
	text_is(&it->token, "token");
	ck_assert(codec_text_is(&it->token, "token"));
	text_is(&it->name, "chat\\u0031"); /* unescaped once, however often it is asked for */
	text_is(&it->mount, "/a");
	text_is(&it->link, NULL);
	ck_assert(READ("[{'events':[],'v':1,'t':'hello'}]"));
	ck_assert(item(0)->has_events && item(0)->events == 0);
	ck_assert(READ("[{'v':1,'t':'hello'}]"));
	ck_assert(!item(0)->has_events);
	text_is(&item(0)->token, NULL);
	ck_assert(READ("[{'t':'hello','v':1,'events':['close','error']}]"));
	ck_assert_uint_eq(item(0)->events, EVENT_BIT(EVENT_CLOSE) | EVENT_BIT(EVENT_ERROR));
}
END_TEST

START_TEST(all_types)
{
	ck_assert(READ(
		" [ {'t':'ack','link':'L','s':9007199254740991} ,\t{'t':'nack','s':2,'error':'e','retry_ms':500},\n"
		"{'t':'push','commands':[],'source':'src','n':3,'ref':5,'mount':'/m'},{'t':'query','q':12,'what':'members','room':'r'},"
		"{'t':'query','q':0,'what':'rooms','conn':'c'},{'t':'control','q':1,'do':'replay','id':'i'},{'t':'pong'},{'t':'bye'},"
		"{'t':'push','commands':[]}]"));
	ck_assert_uint_eq(b.n, 9);
	ck_assert(item(0)->type == CODEC_ACK && item(0)->has_s && item(0)->s == 9007199254740991 &&
		  item(0)->commands.p == NULL);
	text_is(&item(0)->link, "L");
	ck_assert(item(1)->type == CODEC_NACK && item(1)->s == 2 && item(1)->has_retry &&
		  item(1)->retry_ms == 500);
	text_is(&item(1)->error, "e");
	ck_assert(item(2)->type == CODEC_PUSH && item(2)->n == 3 && item(2)->has_ref &&
		  item(2)->ref == 5);
	ck_assert(item(2)->commands.p != NULL);
	text_is(&item(2)->source, "src");
	text_is(&item(2)->mount, "/m");
	ck_assert(item(3)->type == CODEC_QUERY && item(3)->q == 12 &&
		  json_is(&item(3)->what, "members"));
	text_is(&item(3)->room, "r");
	ck_assert(item(4)->type == CODEC_QUERY && item(4)->has_q && item(4)->q == 0);
	text_is(&item(4)->conn, "c");
	ck_assert(item(5)->type == CODEC_CONTROL && json_is(&item(5)->what_to_do, "replay"));
	text_is(&item(5)->id, "i");
	ck_assert(item(6)->type == CODEC_PONG && item(7)->type == CODEC_BYE);
	ck_assert(!item(8)->has_ref && item(8)->source.p == NULL && !item(8)->has_n);
	ck_assert(!item(6)->has_s && !item(6)->has_q && !item(6)->has_retry &&
		  item(6)->link.p == NULL);
}
END_TEST

START_TEST(unknown_members_are_skipped)
{
	ck_assert(READ(
		"[{'x':[1,{'y':null}],'t':'ack','z':-1.5e3,'s':1,'':'','commands':[{'c':'send','data':'a','q':{'c':'b'}}],'S':2,'bin':3}]"));
	ck_assert_uint_eq(item(0)->s, 1);
	ck_assert_str_eq(committed(item(0), &own), "send(77,a)");
	/* a key with escapes is none that is known */
	ck_assert(READ("[{'\\u0073':5,'s':1,'t':'ack'}]"));
	ck_assert_uint_eq(item(0)->s, 1);
}
END_TEST

static const struct {
	const char *text, *why;
} WRONG[] = {
	{"", "an array was expected"},
	{"{}", "an array was expected"},
	{"\n", "an array was expected"},
	{"null", "an array was expected"},
	{"[]", "an empty batch"},
	{"[1]", "an object was expected"},
	{"[[]]", "an object was expected"},
	{"['a']", "an object was expected"},
	{"[{'t':'pong'},null]", "an object was expected"},
	{"[{}]", "an object without \"t\""},
	{"[{'s':1}]", "an object without \"t\""},
	{"[{'t':5}]", "a string was expected"},
	{"[{'t':'x'}]", "an object of an unknown type"},
	{"[{'t':''}]", "an object of an unknown type"},
	{"[{'t':'pon\\u0067'}]", "an object of an unknown type"},
	{"[{'t':'welcome'}]", "an object of an unknown type"},
	{"[{'t':'message','s':1}]", "an object of an unknown type"},
	{"[{'t':'pong'}", "a comma or ] was expected"},
	{"[{'t':'pong'},", "the text ends too early"},
	{"[{'t':'pong'},]", "an object was expected"},
	{"[{'t':'pong'}] ", "something other than a line feed behind the array"},
	{"[{'t':'pong'}]x", "something other than a line feed behind the array"},
	{"[{'t':'pong'}]\r\n", "something other than a line feed behind the array"},
	{"[{'t':'pong'}][]", "something other than a line feed behind the array"},
	{"[{'t':'pong'}]\nx", "the binary bytes are more or fewer than the objects say"},
	{"[{'t':'pong'}]\n\n", "the binary bytes are more or fewer than the objects say"},
	{"[{'t':'ack'}]", "an acknowledgement without \"s\""},
	{"[{'t':'nack','error':'x'}]", "an acknowledgement without \"s\""},
	{"[{'t':'ack','s':-1}]", "a whole number was expected"},
	{"[{'t':'ack','s':1.0}]", "a whole number was expected"},
	{"[{'t':'ack','s':'1'}]", "a whole number was expected"},
	{"[{'t':'ack','s':null}]", "a whole number was expected"},
	{"[{'t':'ack','s':9007199254740992}]", "a number above 2^53 - 1"},
	{"[{'t':'ack','s':1,'link':5}]", "a string was expected"},
	{"[{'t':'ack','s':1,'commands':{}}]", "an array was expected"},
	{"[{'t':'ack','s':1,'commands':null}]", "an array was expected"},
	{"[{'t':'ack','s':1,'commands':['send']}]", "an object was expected"},
	{"[{'t':'ack','s':1,'commands':[{}]}]", "a command without \"c\""},
	{"[{'t':'ack','s':1,'commands':[{'data':'x'}]}]", "a command without \"c\""},
	{"[{'t':'ack','s':1,'commands':[{'c':'send','data':5}]}]", "a string was expected"},
	{"[{'t':'ack','s':1,'commands':[{'c':'send','data':null}]}]", "a string was expected"},
	{"[{'t':'ack','s':1,'commands':[{'c':'broadcast','data':'','exclude':5}]}]",
	 "true or false was expected"},
	{"[{'t':'ack','s':1,'commands':[{'c':'broadcast','data':'','exclude':nul}]}]",
	 "a value was expected"},
	{"[{'t':'ack','s':1,'commands':[{'c':'send','bin':1}]}]",
	 "the binary bytes are more or fewer than the objects say"},
	{"[{'t':'ack','s':1,'commands':[{'c':'send','bin':3}]}]\nab",
	 "the binary bytes are more or fewer than the objects say"},
	{"[{'t':'ack','s':1,'commands':[{'c':'send','bin':2}]}]\nabc",
	 "the binary bytes are more or fewer than the objects say"},
	{"[{'t':'ack','s':1,'commands':[{'c':'send','bin':0}]}]\na",
	 "the binary bytes are more or fewer than the objects say"},
	{"[{'t':'ack','s':1,'commands':[{'c':'send','bin':-1}]}]", "a whole number was expected"},
	{"[{'t':'ack','s':1,'commands':[{'c':'send','bin':9007199254740991}]}]\na",
	 "more binary bytes than the message has"},
	{"[{'t':'ack','s':1,'commands':[{'c':'send','bin':18446744073709551615}]}]\na",
	 "a number above 2^53 - 1"},
	{"[{'t':'ack','s':1,'accept':{'bin':1}}]",
	 "the binary bytes are more or fewer than the objects say"},
	{"[{'t':'ack','s':1,'accept':5}]", "an object was expected"},
	{"[{'t':'ack','s':1,'accept':{},'refuse':{'status':403}}]",
	 "an answer that accepts and refuses"},
	{"[{'t':'ack','s':1,'refuse':{'headers':[}}]", "a value was expected"},
	{"[{'t':'hello'}]", "a hello of another version than 1"},
	{"[{'t':'hello','v':2}]", "a hello of another version than 1"},
	{"[{'t':'hello','v':1,'events':'open'}]", "an array was expected"},
	{"[{'t':'hello','v':1,'events':[5]}]", "a string was expected"},
	{"[{'t':'hello','v':1,'events':['open'}]", "a comma or ] was expected"},
	{"[{'t':'query','what':'stats'}]", "a question without \"q\""},
	{"[{'t':'control','do':'drain'}]", "a question without \"q\""},
	{"[{'t':'push'}]", "a push without commands"},
	{"[{'t':'push','commands':[],'source':'a'}]", "a push with a source needs \"n\" from 1"},
	{"[{'t':'push','commands':[],'source':'a','n':0}]",
	 "a push with a source needs \"n\" from 1"},
	{"[{'t':'pong','error':'\x01'}]", "a control character in a string"},
	{"[{'t':'pong','a':01}]", "a number with a leading zero"},
	{"[{'t':'pong','a':[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}]",
	 "nested too deeply"},
};

START_TEST(malformed_batches)
{
	ck_assert(READ("[{'t':'pong'}]"));
	ck_assert(!read_text(WRONG[_i].text, strlen(WRONG[_i].text)));
	ck_assert_str_eq(b.why, WRONG[_i].why);
	/* and the next is read as ever; a line feed with nothing behind it is one of a shell */
	ck_assert(READ("[{'t':'pong'}]\n"));
	ck_assert_ptr_null(b.why);
}
END_TEST

START_TEST(zero_bytes_are_no_end)
{
	ck_assert(!READ("[{'t':'pong'}]\0"));
	ck_assert(!READ("[{'t':'po\0ng'}]"));
	ck_assert(!READ("\0"));
	ck_assert(READ("[{'t':'push','commands':[{'c':'broadcast','bin':3}]}]\n\0\n\0"));
	ck_assert_uint_eq(b.binary_len, 3);
}
END_TEST

/* An object of a few bytes is an item of hundreds. */
START_TEST(number_of_objects)
{
	for (size_t n = CODEC_ITEMS_MAX; n <= CODEC_ITEMS_MAX + 1; n++) {
		char *text = malloc(n * 13 + 2), *at = text;
		*at++ = '[';
		for (size_t i = 0; i < n; i++)
			at += sprintf(at, "%s{\"t\":\"bye\"}", i > 0 ? "," : "");
		*at++ = ']';
		ck_assert(read_bytes(text, (size_t)(at - text)) == (n == CODEC_ITEMS_MAX));
		if (n > CODEC_ITEMS_MAX)
			ck_assert_str_eq(b.why, "more than 32,768 objects in a batch");
		free(text);
	}
}
END_TEST

/* --- commands --------------------------------------------------------------------------------- */

START_TEST(each_command)
{
	ck_assert_str_eq(
		COMMANDS("[{'c':'send','conn':'$0','data':'hi \\u20ac'},{'c':'send','bin':2}]\nxy"),
		"send(1,hi \xe2\x82\xac) send(77,bin:xy)");
	ck_assert_str_eq(
		COMMANDS(
			"[{'c':'join','conn':'$1','room':'a'},{'c':'join','room':'b'},{'c':'leave','conn':'$2','room':'\\u0063'}]"),
		"join(2,a) join(77,b) leave(3,c)");
	ck_assert_str_eq(
		COMMANDS(
			"[{'c':'broadcast','data':'x'},{'c':'broadcast','bin':1,'exclude':'$1'},{'c':'broadcast','data':'','exclude':true}]\ny"),
		"broadcast(x) broadcast(bin:y-2) broadcast(-77)");
	ck_assert_str_eq(
		COMMANDS(
			"[{'c':'broadcast','data':'x','exclude':false},{'c':'broadcast','data':'x','exclude':null}]"),
		"broadcast(x) broadcast(x)");
	ck_assert_str_eq(COMMANDS("[{'c':'broadcast_to','room':'r:','data':'x','exclude':'$3'}]"),
			 "broadcast_to(r:x)");
	static const struct hash_key hash = {1, 2};
	char expected[200];
	unsigned key = (unsigned)(hash_bytes(&hash, "k\xc3\xa9", 3) % 1000);
	commit.hash = &hash;
	snprintf(expected, sizeof expected,
		 "send(77,x!%u) broadcast(bin:yz!%u-77) broadcast_to(rx!%u) broadcast(x)", key, key,
		 key);
	ck_assert_str_eq(
		COMMANDS(
			"[{'c':'send','data':'x','key':'k\\u00e9'},{'key':'k\\u00e9','c':'broadcast','bin':2,'exclude':true},"
			"{'c':'broadcast_to','key':'k\\u00e9','room':'r','data':'x'},{'c':'broadcast','data':'x','key':''}]\nyz"),
		expected);
	commit.hash = NULL;
	ck_assert_str_eq(
		COMMANDS(
			"[{'c':'close'},{'c':'close','conn':'$0','code':4000,'reason':'b\\u0079e'}]"),
		"close(77,:0) close(1,bye:4000)");
	ck_assert_str_eq(
		COMMANDS(
			"[{'c':'set','state':'s'},{'c':'set','conn':'$0','state_bin':3},{'c':'set','state':''}]\nabc"),
		"set(77,s) set(1,abc) set(77,)");
	ck_assert_str_eq(
		COMMANDS(
			"[{'c':'timer','name':'t','id':4,'delay':5,'period':6},{'c':'timer','name':'u','delay':0,'conn':'$0'}]"),
		"timer(t:4,5,6) timer(1,u:0,0,0)");
	ck_assert_str_eq(
		COMMANDS("[{'c':'cancel','name':'t'},{'c':'cancel','name':'u','conn':'$0'}]"),
		"cancel(t) cancel(1,u)");
	ck_assert_str_eq(COMMANDS("[]"), "");
}
END_TEST

/* Whom it is not: gone, of another host. They become commands to nobody, which are counted. */
START_TEST(connections_of_nobody)
{
	static const char own_less[] =
		"[{'c':'send','data':'a'},{'c':'broadcast','data':'b','exclude':true}]";
	ck_assert_str_eq(
		COMMANDS(
			"[{'c':'send','conn':'$3','data':'a'},{'c':'join','conn':'$3','room':'r'}]"),
		"send(0,a) join(0,r)");
	ck_assert_str_eq(commands(own_less, sizeof own_less - 1, NULL), "send(0,a) broadcast(b)");
}
END_TEST

START_TEST(no_commands)
{
	ck_assert(READ("[{'t':'ack','s':1}]"));
	ck_assert_str_eq(committed(item(0), &own), "");
}
END_TEST

/* Well-formed, but can not be done: the event fails, and nothing of it is kept. */
START_TEST(commands_that_can_not_be_done)
{
	static const struct {
		const char *list;
		enum commit_error error;
	} cases[] = {
		{"[{'c':'dance'}]", COMMIT_E_ARG},
		{"[{'c':'\\u0073end','data':'x'}]", COMMIT_E_ARG},
		{"[{'c':'send'}]", COMMIT_E_ARG},
		{"[{'c':'broadcast'}]", COMMIT_E_ARG},
		{"[{'c':'broadcast_to','room':'r'}]", COMMIT_E_ARG},
		{"[{'c':'send','data':'x','key':'\\ud800'}]", COMMIT_E_UTF8},
		{"[{'c':'broadcast_to','data':'x'}]", COMMIT_E_ROOM},
		{"[{'c':'set'}]", COMMIT_E_ARG},
		{"[{'c':'join'}]", COMMIT_E_ROOM},
		{"[{'c':'send','conn':'','data':'x'}]", COMMIT_E_CONN},
		{"[{'c':'join','conn':'general','room':'r'}]", COMMIT_E_CONN},
		{"[{'c':'join','room':'r','max':0}]", COMMIT_E_ARG},
		{"[{'c':'join','room':'r','users_max':4294967296}]", COMMIT_E_ARG},
		{"[{'c':'join','room':'r','max':'2'}]", COMMIT_E_ARG},
		{"[{'c':'info'}]", COMMIT_E_ARG},
		{"[{'c':'info','info':'\xff'}]", COMMIT_E_INFO},
		{"[{'c':'info','user':'a\\u0000'}]", COMMIT_E_USER},
		{"[{'c':'close_room'}]", COMMIT_E_LIST},
		{"[{'c':'close_room','room':'r','code':1005}]", COMMIT_E_ARG},
		{"[{'c':'close_room','rooms':['r',1]}]", COMMIT_E_LIST},
		{"[{'c':'broadcast_to','rooms':['r',''],'data':'x'}]", COMMIT_E_ROOM},
		{"[{'c':'broadcast_to','rooms':[],'data':'x'}]", COMMIT_E_LIST},
		{"[{'c':'broadcast_to','rooms':{},'data':'x'}]", COMMIT_E_ARG},
		{"[{'c':'broadcast_to','room':'r','exclude':['general'],'data':'x'}]",
		 COMMIT_E_EXCLUDE},
		{"[{'c':'broadcast','exclude_users':[true],'data':'x'}]", COMMIT_E_LIST},
		{"[{'c':'join','room':''}]", COMMIT_E_ROOM},
		{"[{'c':'leave','room':'a\\u0000'}]", COMMIT_E_ROOM},
		{"[{'c':'join','room':'\\ud800'}]", COMMIT_E_ROOM},
		{"[{'c':'join','room':'\xff'}]", COMMIT_E_ROOM},
		{"[{'c':'send','data':'\xff'}]", COMMIT_E_UTF8},
		{"[{'c':'send','data':'\\udc00'}]", COMMIT_E_UTF8},
		{"[{'c':'send','data':'\\ud83dx'}]", COMMIT_E_UTF8},
		{"[{'c':'close','code':999}]", COMMIT_E_ARG},
		{"[{'c':'close','code':1005}]", COMMIT_E_ARG},
		/* a number that is none spoils its commit, not the batch */
		{"[{'c':'close','code':'1000'}]", COMMIT_E_ARG},
		{"[{'c':'close','code':-1000}]", COMMIT_E_ARG},
		{"[{'c':'timer','name':'t','delay':1e300}]", COMMIT_E_ARG},
		{"[{'c':'timer','name':'t','delay':1,'period':NaN}]", COMMIT_E_ARG},
		{"[{'c':'timer','name':'t','delay':1,'id':0.5}]", COMMIT_E_ARG},
		{"[{'c':'close','code':66536}]", COMMIT_E_ARG}, /* 1000 in 16 bits */
		{"[{'c':'close','reason':'x'}]", COMMIT_E_ARG},
		{"[{'c':'close','code':1000,'reason':'\xff'}]", COMMIT_E_UTF8},
		{"[{'c':'timer'}]", COMMIT_E_ARG},
		{"[{'c':'timer','name':''}]", COMMIT_E_ARG},
		{"[{'c':'timer','name':'a\\u0000b'}]", COMMIT_E_ARG},
		{"[{'c':'timer','name':'t','delay':9007199254740991}]", COMMIT_E_ARG},
		{"[{'c':'cancel'}]", COMMIT_E_ARG},
	};
	char list[300];
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		/* The one behind it is wrong in another way, and not what is told. */
		size_t n = (size_t)
			sprintf(list,
				"[{'c':'join','room':'before'},%.*s,{'c':'send','data':'%s'}]",
				(int)strlen(cases[i].list) - 2, cases[i].list + 1,
				cases[i].error == COMMIT_E_UTF8 ? "','c':'dance" : "\xff");
		ck_assert_msg(strcmp(commands(list, n, &own), commit_error_text(cases[i].error)) ==
				      0,
			      "%s: %s", list, commit_error_text(commit.error));
		ck_assert_int_eq(commit.error, cases[i].error);
	}
	char big[4200] = "[{'c':'set','state':'";
	memset(big + 21, 'x', 4097);
	strcpy(big + 21 + 4097, "'}]");
	commands(big, strlen(big), &own);
	ck_assert_int_eq(commit.error, COMMIT_E_LIMIT);
	strcpy(big + 21 + 4096, "'}]");
	commands(big, strlen(big), &own);
	ck_assert_int_eq(commit.error, COMMIT_OK);
	memset(big, 0, sizeof big);
	strcpy(big, "[{'c':'join','room':'");
	memset(big + 21, 'r', 256);
	strcpy(big + 21 + 256, "'}]");
	commands(big, strlen(big), &own);
	ck_assert_int_eq(commit.error, COMMIT_E_ROOM);
}
END_TEST

/* Members in any order: all orders of a command's members give the same command, and its bytes lie
 * where they lie. */
static void permute(const char **members, size_t n, size_t from, const char *before,
		    const char *behind, const char *expected)
{
	char text[400];
	if (from == n) {
		size_t len = (size_t)sprintf(text, "%s", before);
		for (size_t i = 0; i < n; i++)
			len += (size_t)sprintf(text + len, "%s%s", i > 0 ? " , " : "", members[i]);
		len += (size_t)sprintf(text + len, "%s", behind);
		ck_assert_msg(read_text(text, len), "%s in %s", b.why, text);
		ck_assert_str_eq(committed(item(0), &own), expected);
		return;
	}
	for (size_t i = from; i < n; i++) {
		const char *swap = members[from];
		members[from] = members[i];
		members[i] = swap;
		permute(members, n, from + 1, before, behind, expected);
		members[i] = members[from];
		members[from] = swap;
	}
}

START_TEST(members_in_any_order)
{
	const char *command[] = {"'c':'broadcast_to'", "'room':'r\\u0061'", "'bin':3",
				 "'exclude':'$1'", "'x':[{'bin':9}]"};
	permute(command, 5, 0, "[{'t':'ack','s':1,'commands':[{'c':'send','bin':1},{",
		"},{'c':'send','bin':1}]}]\n12345",
		"send(77,bin:1) broadcast_to(rabin:234-2) send(77,bin:5)");
	const char *both[] = {"'c':'set'", "'state_bin':2", "'bin':3",
			      "'conn':'$0'"}; /* bin is of no use there, but has its bytes */
	permute(both, 4, 0, "[{'t':'ack','s':1,'commands':[{", "},{'c':'send','bin':1}]}]\n123456",
		"set(1,12) send(77,bin:6)");
	const char *object[] = {"'t':'ack'", "'s':5", "'link':'L'",
				"'commands':[{'c':'send','bin':2}]", "'error':''"};
	permute(object, 5, 0, "[{", "},{'commands':[{'bin':1,'c':'send'}],'t':'push'}]\nabc",
		"send(77,bin:ab)");
	ck_assert_uint_eq(item(0)->s, 5);
	ck_assert_str_eq(committed(item(1), NULL), "send(0,bin:c)");
}
END_TEST

/* A member that is there twice: the last one counts, and only its bytes. */
START_TEST(repeated_members)
{
	ck_assert(READ(
		"[{'t':'pong','t':'ack','s':1,'s':2,'commands':[{'c':'send','bin':1}],'commands':[{'c':'send','bin':2,'bin':3}]}]\n1234"));
	ck_assert_uint_eq(item(0)->s, 2);
	ck_assert_str_eq(committed(item(0), &own), "send(77,bin:234)");
}
END_TEST

START_TEST(many_items_share_the_bytes)
{
	static char text[1 << 16];
	size_t n = (size_t)sprintf(text, "["), total = 0;
	for (unsigned i = 0; i < 200; i++) {
		n += (size_t)sprintf(text + n,
				     "%s{'t':'ack','s':%u,'commands':[{'c':'send','bin':%u}]}",
				     i > 0 ? "," : "", i, i % 7);
		total += i % 7;
	}
	n += (size_t)sprintf(text + n, "]\n");
	for (size_t i = 0; i < total; i++)
		text[n + i] = (char)('a' + i % 26);
	ck_assert(read_text(text, n + total));
	for (unsigned i = 0, at = 0; i < 200; at += i % 7, i++) {
		char expected[32];
		size_t len = (size_t)sprintf(expected, "send(77,bin:");
		for (unsigned k = 0; k < i % 7; k++)
			expected[len++] = (char)('a' + (at + k) % 26);
		strcpy(expected + len, ")");
		ck_assert_str_eq(committed(item(i), &own), expected);
	}
}
END_TEST

/* More than are kept as they were read: in the middle of one object, and in those behind it. */
START_TEST(more_commands_than_are_kept)
{
	enum { ITEMS = 4, EACH = 200 };
	char *text = malloc(ITEMS * EACH * 64), *at = text;
	at += sprintf(at, "[");
	for (int i = 0; i < ITEMS; i++) {
		at += sprintf(at, "%s{'t':'ack','s':%d,'commands':[", i > 0 ? "," : "", i + 1);
		for (int k = 0; k < EACH; k++)
			at += sprintf(at,
				      "%s{'c':'join','room':'\\u0041%d'},{'c':'set','state_bin':1}",
				      k > 0 ? "," : "", k);
		at += sprintf(at, "]}");
	}
	at += sprintf(at, "]\n");
	for (int i = 0; i < ITEMS * EACH; i++)
		*at++ = (char)('a' + i % 26);
	/* what one batch has left is nothing to the next */
	for (int round = 0; round < 2; round++) {
		ck_assert(read_text(text, (size_t)(at - text)));
		for (int i = ITEMS - 1; i >= 0; i--) { /* in any order */
			commit_begin(&commit, &own);
			codec_commands(&b, item((size_t)i), &hub, &own, &commit);
			ck_assert_uint_eq(commit.error, COMMIT_OK);
			ck_assert_uint_eq(commit.n, 2 * EACH);
			for (int k = 0; k < EACH; k++) {
				char room[16];
				snprintf(room, sizeof room, "A%d", k);
				ck_assert(span_eq(commit_text(&commit, &commit.commands[2 * k]),
						  span_of(room)));
				ck_assert_int_eq(*commit_text(&commit, &commit.commands[2 * k + 1])
							  .p,
						 'a' + (i * EACH + k) % 26);
			}
			commit_drop(&commit);
		}
	}
	free(text);
}
END_TEST

/* --- answers to an upgrade -------------------------------------------------------------------- */

static struct event_answer answer;
static void *data;

static const char *answered(const char *members, size_t n)
{
	static char whole[1 << 16];
	const char *lf = memchr(members, '\n', n);
	size_t text = lf != NULL ? (size_t)(lf - members) : n;
	size_t len = (size_t)sprintf(whole, "[{'t':'ack','s':1%.*s}]", (int)text, members);
	free(answer.body);
	free(data);
	answer = (struct event_answer){.status = 0};
	data = NULL;
	memcpy(whole + len, members + text, n - text);
	ck_assert_msg(read_text(whole, len + n - text), "%s in %s", b.why, whole);
	return codec_answer(&b, item(0), &answer, &data);
}
#define ANSWERED(literal) answered((literal), sizeof(literal) - 1)

static void forget_answer(void)
{
	free(answer.body);
	free(data);
	answer.body = NULL;
	data = NULL;
}

START_TEST(accepting)
{
	ck_assert_ptr_null(ANSWERED(""));
	ck_assert(answer.status == 0 && answer.data == NULL && answer.head_len == 0 &&
		  answer.subprotocol[0] == '\0');
	ck_assert_ptr_null(ANSWERED(",'accept':{}"));
	ck_assert_int_eq(answer.status, 0);
	ck_assert_ptr_null(ANSWERED(
		",'accept':{'subprotocol':'chat.v1','headers':[['X-A','b'],['X-\\u0042','c d']],'state':'st\\u00e4te'}"));
	ck_assert_str_eq(answer.subprotocol, "chat.v1");
	ck_assert_str_eq(answer.head, "X-A: b\r\nX-B: c d\r\n");
	ck_assert_uint_eq(answer.data_len, 6);
	ck_assert_int_eq(memcmp(answer.data, "st\xc3\xa4te", 6), 0);
	ck_assert_ptr_eq(answer.data, data);
	ck_assert_ptr_null(ANSWERED(",'accept':{'state_bin':3}\n\0\1\2"));
	ck_assert_uint_eq(answer.data_len, 3);
	ck_assert_int_eq(memcmp(answer.data, "\0\1\2", 3), 0);
	/* a status is for refusals */
	ck_assert_ptr_null(ANSWERED(",'accept':{'status':200,'headers':[],'state':''}"));
	ck_assert(answer.status == 0 && answer.data_len == 0);
	forget_answer();
}
END_TEST

START_TEST(refusing)
{
	ck_assert_ptr_null(ANSWERED(
		",'refuse':{'status':403,'type':'text/html','body':'n\\u00f6','headers':[['Retry-After','5']]}"));
	ck_assert_int_eq(answer.status, 403);
	ck_assert_str_eq(answer.type, "text/html");
	ck_assert_str_eq(answer.head, "Retry-After: 5\r\n");
	ck_assert_uint_eq(answer.body_len, 3);
	ck_assert_int_eq(memcmp(answer.body, "n\xc3\xb6", 3), 0);
	ck_assert_ptr_null(ANSWERED(",'refuse':{'bin':4,'status':599}\n\0bin"));
	ck_assert_uint_eq(answer.body_len, 4);
	ck_assert_int_eq(memcmp(answer.body, "\0bin", 4), 0);
	ck_assert_ptr_null(ANSWERED(",'refuse':{'status':300}"));
	ck_assert_uint_eq(answer.body_len, 0);
	forget_answer();
}
END_TEST

START_TEST(answers_that_can_not_be_given)
{
	static const char status[] = "a refusal needs a status of 300 to 599",
			  header[] = "a header of the answer can not be sent";
	static const char text[] = "the answer's subprotocol or type is too long",
			  type[] = "the answer's type has a control character";
	ck_assert_str_eq(ANSWERED(",'refuse':{}"), status);
	ck_assert_str_eq(ANSWERED(",'refuse':{'status':200}"), status);
	ck_assert_str_eq(ANSWERED(",'refuse':{'status':'403'}"), status);
	ck_assert_str_eq(ANSWERED(",'refuse':{'status':-403}"), status);
	ck_assert_str_eq(ANSWERED(",'refuse':{'status':299}"), status);
	ck_assert_str_eq(ANSWERED(",'refuse':{'status':600}"), status);
	ck_assert_str_eq(ANSWERED(",'refuse':{'status':4294967699}"), status); /* 403 in 32 bits */
	ck_assert_str_eq(ANSWERED(",'accept':{'headers':5}"), header);
	ck_assert_str_eq(ANSWERED(",'accept':{'headers':['X']}"), header);
	ck_assert_str_eq(ANSWERED(",'accept':{'headers':[['X']]}"), header);
	ck_assert_str_eq(ANSWERED(",'accept':{'headers':[['X','y','z']]}"), header);
	ck_assert_str_eq(ANSWERED(",'accept':{'headers':[['X',5]]}"), header);
	ck_assert_str_eq(ANSWERED(",'accept':{'headers':[['X','a\\r\\nY: b']]}"), header);
	ck_assert_str_eq(ANSWERED(",'accept':{'headers':[['X','a\\u0000b']]}"), header);
	ck_assert_str_eq(ANSWERED(",'accept':{'headers':[['X:','a']]}"), header);
	ck_assert_str_eq(ANSWERED(",'accept':{'headers':[['','a']]}"), header);
	ck_assert_str_eq(ANSWERED(",'accept':{'headers':[['Upgrade','x']]}"), header);
	ck_assert_str_eq(ANSWERED(",'refuse':{'status':403,'headers':[['content-length','5']]}"),
			 header);
	ck_assert_str_eq(
		ANSWERED(",'refuse':{'status':403,'type':'text/html\\r\\nSet-Cookie: a=b'}"), type);
	ck_assert_str_eq(ANSWERED(",'refuse':{'status':403,'type':'a\\u0000'}"), text);
	char long_text[5000] = ",'accept':{'subprotocol':'";
	size_t n = strlen(long_text);
	memset(long_text + n, 'p', 128);
	strcpy(long_text + n + 128, "'}");
	ck_assert_str_eq(answered(long_text, strlen(long_text)), text);
	strcpy(long_text + n + 127, "'}");
	ck_assert_ptr_null(answered(long_text, strlen(long_text)));
	strcpy(long_text, ",'accept':{'state':'");
	n = strlen(long_text);
	memset(long_text + n, 's', 4097);
	strcpy(long_text + n + 4097, "'}");
	ck_assert_str_eq(answered(long_text, strlen(long_text)),
			 "the state has more than 4,096 bytes");
	strcpy(long_text + n + 4096, "'}");
	ck_assert_ptr_null(answered(long_text, strlen(long_text)));
	ck_assert_uint_eq(answer.data_len, 4096);
	strcpy(long_text, ",'accept':{'headers':[['X','");
	n = strlen(long_text);
	memset(long_text + n, 'v', RULES_HEAD_MAX);
	strcpy(long_text + n + RULES_HEAD_MAX, "']]}");
	ck_assert_str_eq(answered(long_text, strlen(long_text)), header);
	forget_answer();
}
END_TEST

/* Each takes its own bytes, whichever comes first. */
START_TEST(answers_beside_commands)
{
	ck_assert_ptr_null(ANSWERED(
		",'commands':[{'c':'broadcast','bin':2}],'accept':{'state_bin':3}\nccaaa"));
	ck_assert_int_eq(memcmp(answer.data, "aaa", 3), 0);
	ck_assert_str_eq(committed(item(0), NULL), "broadcast(bin:cc)");
	ck_assert_ptr_null(ANSWERED(
		",'accept':{'state_bin':3},'commands':[{'c':'broadcast','bin':2}]\naaacc"));
	ck_assert_int_eq(memcmp(answer.data, "aaa", 3), 0);
	ck_assert_str_eq(committed(item(0), NULL), "broadcast(bin:cc)");
	ck_assert_ptr_null(ANSWERED(
		",'refuse':{'bin':1,'status':400,'state_bin':1},'commands':[{'c':'broadcast','bin':2}]\nsbcc"));
	ck_assert_int_eq(memcmp(answer.body, "b", 1), 0);
	ck_assert_str_eq(committed(item(0), NULL), "broadcast(bin:cc)");
	forget_answer();
}
END_TEST

/* --- damage ----------------------------------------------------------------------------------- */

static uint64_t state;

static unsigned below(unsigned n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (unsigned)((state >> 11) % n);
}

static const char RICH[] =
	"[{'t':'ack','link':'J0cXW1mTQ5uPZ0n4WkY2Og','s':7,'commands':[{'c':'send','data':'h\\u00e9llo\\n'},{'c':'broadcast_to','room':'a',"
	"'bin':3,'exclude':true},{'c':'set','state_bin':2},{'c':'timer','name':'t','id':1,'delay':5},{'c':'close','code':1000,'reason':'x'}]},"
	"{'t':'nack','s':8,'error':'\\ud83d\\ude00','retry_ms':5},{'t':'push','source':'s','n':1,'commands':[{'c':'join','conn':'$0','room':'r'}]},"
	"{'t':'ack','s':9,'accept':{'subprotocol':'p','headers':[['X-A','b']],'state_bin':1}},{'t':'query','q':1,'what':'rooms','conn':'$1'}]\n"
	"abcdef";

/* Whatever came: what is accepted can be used, and is JSON to others, too. */
static void use_all(const char *bytes, size_t n)
{
	json_error_t error;
	if (!read_bytes(bytes, n)) {
		ck_assert_ptr_nonnull(b.why);
		return;
	}
	ck_assert(b.n > 0 && b.binary_len <= n);
	json_t *v = json_loadb(bytes, n, JSON_ALLOW_NUL | JSON_DISABLE_EOF_CHECK, &error);
	ck_assert_msg(v != NULL || strncmp(error.text, "invalid Unicode", 15) == 0 ||
			      strncmp(error.text, "unable to decode", 16) == 0 ||
			      strncmp(error.text, "too big", 7) == 0 ||
			      strncmp(error.text, "real number", 11) == 0 ||
			      strncmp(error.text, "NUL byte", 8) == 0,
		      "%s", error.text);
	ck_assert(v == NULL || json_array_size(v) == b.n);
	json_decref(v);
	for (size_t i = 0; i < b.n; i++) {
		struct codec_item *it = &b.items[i];
		commit_drop(&commit);
		commit_begin(&commit, NULL);
		codec_commands(&b, it, &hub, &own, &commit);
		answer = (struct event_answer){.status = 0};
		data = NULL;
		codec_answer(&b, it, &answer, &data);
		forget_answer();
		struct json_string *const strings[] = {&it->link,  &it->token, &it->name,
						       &it->mount, &it->error, &it->source,
						       &it->what,  &it->room,  &it->conn};
		for (size_t k = 0; k < sizeof strings / sizeof *strings; k++)
			if (strings[k]->p != NULL)
				ck_assert_uint_le(codec_text(strings[k]).n, n);
	}
}

START_TEST(cut_anywhere)
{
	char text[2000];
	size_t n = expand(RICH, sizeof RICH - 1, text);
	for (size_t i = 0; i < n; i++)
		ck_assert(!read_bytes(text, i));
	ck_assert(read_bytes(text, n));
	ck_assert_uint_eq(b.n, 5);
	use_all(text, n);
}
END_TEST

START_TEST(damaged_anywhere)
{
	static const char bytes[] = "\"\\[]{},:0123456789-.esbnt\n\x01\x80";
	char text[2100];
	unsigned accepted = 0;
	state = 987654321;
	for (unsigned i = 0; i < (RUNNING_ON_VALGRIND ? 2000 : 100000); i++) {
		size_t n = expand(RICH, sizeof RICH - 1, text);
		for (unsigned k = 1 + below(3); k > 0; k--) {
			size_t at = below((unsigned)n);
			unsigned kind = below(3);
			if (kind == 0) {
				text[at] = bytes[below(sizeof bytes - 1)];
			} else if (kind == 1) {
				memmove(text + at, text + at + 1, --n - at);
			} else {
				memmove(text + at + 1, text + at, n++ - at);
				text[at] = bytes[below(sizeof bytes - 1)];
			}
		}
		use_all(text, n);
		accepted += b.why == NULL;
	}
	ck_assert_uint_gt(accepted, 100);
}
END_TEST

/* A batch of as many objects as there may be costs tens of megabytes while it is read, and none of
 * them afterwards. */
START_TEST(large_batches_give_their_memory_back)
{
	static char text[CODEC_ITEMS_MAX * 14 + 4];
	char *at = text;
	*at++ = '[';
	for (size_t i = 0; i < CODEC_ITEMS_MAX; i++)
		at = stpcpy(at, i == 0 ? "{\"t\":\"pong\"}" : ",{\"t\":\"pong\"}");
	*at++ = ']';
	ck_assert(codec_read(&b, (uint8_t *)text, (size_t)(at - text)));
	ck_assert_uint_eq(b.n, CODEC_ITEMS_MAX);
	ck_assert_uint_gt(b.cap * sizeof *b.items, 8 << 20);
	codec_batch_done(&b);
	ck_assert_uint_eq(b.cap, 0);
	char small[] = "[{\"t\":\"pong\"}]";
	ck_assert(codec_read(&b, (uint8_t *)small, sizeof small - 1));
	codec_batch_done(&b);
	ck_assert_uint_gt(b.cap, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("codec_read");
	TCase *tc = tcase_create("codec_read");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, hello);
	tcase_add_test(tc, all_types);
	tcase_add_test(tc, unknown_members_are_skipped);
	tcase_add_loop_test(tc, malformed_batches, 0, (int)(sizeof WRONG / sizeof *WRONG));
	tcase_add_test(tc, zero_bytes_are_no_end);
	tcase_add_test(tc, number_of_objects);
	tcase_add_test(tc, each_command);
	tcase_add_test(tc, connections_of_nobody);
	tcase_add_test(tc, no_commands);
	tcase_add_test(tc, commands_that_can_not_be_done);
	tcase_add_test(tc, members_in_any_order);
	tcase_add_test(tc, repeated_members);
	tcase_add_test(tc, many_items_share_the_bytes);
	tcase_add_test(tc, more_commands_than_are_kept);
	tcase_add_test(tc, accepting);
	tcase_add_test(tc, refusing);
	tcase_add_test(tc, answers_that_can_not_be_given);
	tcase_add_test(tc, answers_beside_commands);
	tcase_add_test(tc, cut_anywhere);
	tcase_add_test(tc, damaged_anywhere);
	tcase_add_test(tc, large_batches_give_their_memory_back);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
