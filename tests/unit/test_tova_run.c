/* .tova programs that run, against a host that writes down what they ask for. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tova/runtime/program.h"
#include "tova/runtime/state.h"
#include "run.h"
#include "net/conn.h"

/* --- a host ----------------------------------------------------------------------------------- */

struct fake {
	tova_host host;
	tova_mount mount;
	char said[1 << 16];
	size_t n;
	char failed[1024];
	_Alignas(max_align_t) char data[STATE_SIZE];
	int refuse; /* what commands answer */
};

static struct fake fake;

static void say(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fake.n += (size_t)vsnprintf(fake.said + fake.n, sizeof fake.said - fake.n, format, args);
	va_end(args);
	ck_assert_uint_lt(fake.n, sizeof fake.said);
}

static const char *name_of(tova_ws ws)
{
	static char names[4][24];
	static unsigned next;
	char *name = names[next++ % 4];
	snprintf(name, sizeof names[0], ws.lo == 0 ? "none" : "c%u", (unsigned)ws.lo);
	return name;
}

static int fake_send(tova_mount *m, tova_ws ws, const tova_payload *p)
{
	(void)m;
	say("send %s %s%.*s\n", name_of(ws), p->kind == TOVA_BINARY ? "binary " : "", (int)p->len,
	    (const char *)p->data);
	return fake.refuse;
}

static int fake_join(tova_mount *m, tova_ws ws, const char *room, size_t n)
{
	(void)m;
	say("join %s %.*s\n", name_of(ws), (int)n, room);
	return fake.refuse;
}

static int fake_leave(tova_mount *m, tova_ws ws, const char *room, size_t n)
{
	(void)m;
	say("leave %s %.*s\n", name_of(ws), (int)n, room);
	return fake.refuse;
}

static int fake_broadcast(tova_mount *m, const tova_payload *p, tova_ws exclude)
{
	(void)m;
	say("broadcast %.*s but %s\n", (int)p->len, (const char *)p->data, name_of(exclude));
	return fake.refuse;
}

static int fake_broadcast_to(tova_mount *m, const char *room, size_t n, const tova_payload *p,
			     tova_ws exclude)
{
	(void)m;
	say("broadcast_to %.*s %.*s but %s\n", (int)n, room, (int)p->len, (const char *)p->data,
	    name_of(exclude));
	return fake.refuse;
}

static int fake_close(tova_mount *m, tova_ws ws, uint16_t code, const char *reason, size_t n)
{
	(void)m;
	say("close %s %u %.*s\n", name_of(ws), code, (int)n, reason != NULL ? reason : "");
	return fake.refuse;
}

static int fake_set_timer(tova_mount *m, const tova_timer *t)
{
	(void)m;
	say("timer %s %llu %llu\n", t->id < 1000 ? t->name : "later",
	    (unsigned long long)t->delay_ms, (unsigned long long)t->period_ms);
	return fake.refuse;
}

static int fake_cancel_timer(tova_mount *m, tova_ws ws, const char *name)
{
	(void)m, (void)ws;
	say("cancel %s\n", name);
	return fake.refuse;
}

static uint64_t asked; /* the id of the last query */

static int fake_query(tova_mount *m, const tova_query *q)
{
	(void)m;
	asked = q->id;
	say("query %u %.*s\n", q->kind, (int)q->room_len, q->room_len > 0 ? q->room : "");
	return fake.refuse;
}

static void *fake_data(tova_mount *m)
{
	(void)m;
	return fake.data;
}

static int fake_fail(tova_mount *m, const char *text, size_t n)
{
	(void)m;
	snprintf(fake.failed, sizeof fake.failed, "%.*s", (int)n, text);
	return -1;
}

static void fake_log(tova_mount *m, uint32_t level, const char *text, size_t n)
{
	(void)m, (void)level;
	say("%.*s\n", (int)n, text);
}

static void fake_ws_text(tova_ws ws, char text_r[TOVA_WS_TEXT])
{
	snprintf(text_r, TOVA_WS_TEXT, "%s", name_of(ws));
}

static void fake_begin(void)
{
	memset(&fake, 0, sizeof fake);
	fake.host = (tova_host){
		.size = sizeof fake.host,
		.send = fake_send,
		.join = fake_join,
		.leave = fake_leave,
		.broadcast = fake_broadcast,
		.broadcast_to = fake_broadcast_to,
		.close = fake_close,
		.set_timer = fake_set_timer,
		.cancel_timer = fake_cancel_timer,
		.query = fake_query,
		.data = fake_data,
		.fail = fake_fail,
		.log = fake_log,
		.ws_text = fake_ws_text,
	};
	fake.mount.host = &fake.host;
}

/* What was said since the last time. */
static const char *heard(void)
{
	static char text[sizeof fake.said];
	memcpy(text, fake.said, fake.n + 1);
	fake.n = 0;
	fake.said[0] = '\0';
	return text;
}

#define HEARD(expected) ck_assert_str_eq(heard(), expected)

/* --- a program -------------------------------------------------------------------------------- */

static const struct program_limits LIMITS = {64u << 20, 5000000, 60000};

static struct program *made(const char *text)
{
	char why[4096];
	struct program *p =
		program_new("t.tova", text, strlen(text), &fake.mount, &LIMITS, why, sizeof why);
	ck_assert_msg(p != NULL, "%s", why);
	return p;
}

static struct program *started(const char *text)
{
	char why[PROGRAM_WHY_MAX];
	fake_begin();
	struct program *p = made(text);
	ck_assert_msg(program_start(p, NULL, 0, why, sizeof why), "%s", why);
	return p;
}

static tova_ws ws(unsigned i)
{
	return (tova_ws){1, i};
}

static int message(struct program *p, unsigned i, const char *text)
{
	tova_payload payload = tova_text_n(text, strlen(text));
	return program_on_message(p, ws(i), &payload);
}

static void opened(struct program *p, unsigned i)
{
	const tova_pair headers[] = {{"Host", "h"}, {"X-Two", "first"}, {"x-two", "second"}};
	const tova_request request = {.size = sizeof request,
				      .headers = headers,
				      .n_headers = 3,
				      .method = "GET",
				      .mount = "/",
				      .path = "/x",
				      .query = "a=1",
				      .host = "h",
				      .remote_addr = "127.0.0.1",
				      .local_addr = ""};
	ck_assert_int_eq(program_on_open(p, ws(i), &request), 0);
}

/* --- tests ------------------------------------------------------------------------------------ */

START_TEST(commands)
{
	struct program *p = started(
		"server { ws {\n"
		"on_open fn(ws) { join(ws, \"a\"); ws.send([1, ws.request.path, ws.request.headers]) }\n"
		"on_message fn(ws, m) { broadcast_to(\"a\", {x: m}, ws); broadcast(m); "
		"leave(ws, \"a\"); ws.close(4000, \"bye\") }\n"
		"on_close fn(ws, code, reason) { print(code, reason, ws.id) }\n"
		"on_error fn(ws, error) { ws.send(\"{error} {error.kind}\") } } }");
	opened(p, 1);
	HEARD("join c1 a\nsend c1 [1,\"/x\",{\"host\":\"h\",\"x-two\":\"first\"}]\n");
	ck_assert_int_eq(message(p, 2, "hi"), 0);
	HEARD("broadcast_to a {\"x\":\"hi\"} but c2\nbroadcast hi but none\nleave c2 a\n"
	      "close c2 4000 bye\n");
	const tova_close gone = {.size = sizeof gone,
				 .code = 1001,
				 .reason = "away",
				 .reason_len = 4};
	ck_assert_int_eq(program_on_close(p, ws(3), &gone), 0);
	HEARD("[c3] 1001 away c3\n");
	const tova_error error = {.size = sizeof error,
				  .kind = TOVA_ERROR_LIMIT,
				  .text = "too much",
				  .text_len = 8};
	ck_assert_int_eq(program_on_error(p, ws(3), &error), 0);
	HEARD("send c3 too much limit\n");
	program_free(p);
}
END_TEST

START_TEST(binary_stays_binary)
{
	struct program *p = started(
		"server { ws { on_message fn(ws, m) { print(len(m), typeOf(m)); ws.send(m) } } }");
	const tova_payload bytes = tova_binary("\0\xFF", 2);
	ck_assert_int_eq(program_on_message(p, ws(1), &bytes), 0);
	ck_assert(memcmp(fake.said, "[c1] 2 Bytes\nsend c1 binary \0", 28) == 0);
	program_free(p);
}
END_TEST

START_TEST(what_fails_is_undone)
{
	struct program *p = started(
		"var n = 0\nvar list = [1]\nvar o = {a: 1}\n"
		"server { ws { on_message fn(ws, m) {\n"
		"n += 1; list.push(2, 3); list[0] = 9; o.b = 2; o.a = nil; ws.data = {n: n}\n"
		"if m == \"show\" { print(n, list, o); list.pop(); list.sort(); list.reverse() }\n"
		"list.shift(); o.c.d = 1\n"
		"} } }");
	ck_assert_int_ne(message(p, 1, "x"), 0);
	ck_assert_str_eq(fake.failed, "t.tova:7:19: Nil has no member d that can be set");
	ck_assert_int_ne(message(p, 1, "show"), 0);
	HEARD("[c1] 1 [9,2,3] {\"a\":null,\"b\":2}\n");
	ck_assert_int_ne(message(p, 1, "show"), 0);
	HEARD("[c1] 1 [9,2,3] {\"a\":null,\"b\":2}\n");
	ck_assert_str_eq(fake.data, "");
	program_free(p);
}
END_TEST

START_TEST(data_of_a_connection)
{
	struct program *p = started("server { ws { on_message fn(ws, m) {\n"
				    "if m == \"big\" { ws.data = \"x\" * 2000 }\n"
				    "if ws.data == nil { ws.data = {n: 0} }\nws.data.n += 1\n"
				    "print(ws.data.n)\nif m == \"bad\" { nil.x } } } }");
	ck_assert_int_eq(message(p, 1, ""), 0);
	ck_assert_str_eq(fake.data, "{\"n\":1}");
	ck_assert_int_eq(message(p, 1, ""), 0);
	ck_assert_int_ne(message(p, 1, "bad"), 0);
	ck_assert_str_eq(fake.data, "{\"n\":2}");
	ck_assert_int_eq(message(p, 1, ""), 0);
	HEARD("[c1] 1\n[c1] 2\n[c1] 3\n[c1] 3\n");
	ck_assert_int_ne(message(p, 1, "big"), 0);
	ck_assert_str_eq(fake.data, "{\"n\":3}");
	program_free(p);
}
END_TEST

static const struct {
	const char *text, *failed;
} FAULTS[] = {
	{"while true { }", "t.tova:3:1: it took more than 5000000 instructions (max-instructions)"},
	{"while true { try { while true { } } catch { } }",
	 "t.tova:3:20: it took more than 5000000 instructions (max-instructions)"},
	{"var s = \"x\"\nwhile true { s = s + s }",
	 "t.tova:4:20: it took more than 5000000 instructions (max-instructions)"},
	{"x = \"ab\" * 1e12", "t.tova:3:10: a text of more than 67108864 bytes (max-memory)"},
	{"var a = []\nwhile true { a.push([]) }",
	 "t.tova:4:16: it took more than 67108864 bytes of memory (max-memory)"},
	{"fn f(n) { 1 + f(n + 1) }\nf(0)", "t.tova:3:15: too many calls within calls"},
	{"fn f(x) { [x].map(f) }\nf(0)", "t.tova:3:15: too many calls within calls"},
	{"JSON.parse(\"[\" * 1000000)", "t.tova:3:6: JSON.parse: nested too deeply"},
	{"var a = []\na.push(a)\nprint(a)",
	 "t.tova:5:1: a value that is nested too deeply, or holds itself, has no JSON"},
	{"JSON.parse = 5", "t.tova:3:6: what the library has can not be changed"},
	{"var s = \"x\" * 1e6\nwhile true { s = s + \"\" }",
	 "t.tova:4:20: it took more than 5000000 instructions (max-instructions)"},
	{"s = \"x\" * 1e6\nwhile true { JSON.stringify(s) }",
	 "t.tova:4:19: it took more than 5000000 instructions (max-instructions)"},
	{"join(ws, 5)", "t.tova:3:1: join's room needs a String, not Int"},
	{"join(5, \"a\")", "t.tova:3:1: a connection (ws) was expected, not Int"},
	{"ws.send(5)", "t.tova:3:4: ws.send sends a String, a List or an Object, not Int"},
	{"ws.foo()", "t.tova:3:4: Connection has no method \"foo\""},
	{"ws.name = 1",
	 "t.tova:3:4: ws.name can not be set: what is to be kept is kept in ws.data"},
	{"ws.request",
	 "t.tova:3:4: ws.request is known in on_open and on_back only: keep what is needed in ws.data"},
	{"every(0, fn() 1)", "t.tova:3:1: every: the milliseconds are 1 to 34560000000, not 0"},
	{"ws.data = [1]\nws.data.push(\"x\" * 1020)\nprint(1)",
	 "t.tova:3:4: ws.data is at most 1023 bytes of JSON, not 1026"},
};

/* Each costs its event, and the program goes on. */
START_TEST(faults_while_it_runs)
{
	char text[512];
	snprintf(text, sizeof text,
		 "var n = 0\nserver { ws { on_message fn(ws, m) { if m == \"n\" { n += 1; return "
		 "print(n) }\n%s\n} } }",
		 FAULTS[_i].text);
	struct program *p = started(text);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_ne(message(p, 1, ""), 0);
		ck_assert_str_eq(fake.failed, FAULTS[_i].failed);
	}
	heard();
	ck_assert_int_eq(message(p, 1, "n"), 0);
	HEARD("[c1] 1\n");
	program_free(p);
}
END_TEST

/* Each comparison is one instruction, and takes long. */
START_TEST(what_takes_long)
{
	static const char text[] =
		"server { ws { on_message fn(ws, m) { a = \"x\" * 1e6 + \"a\"; b = \"x\" * 1e6 + \"a\"\n"
		"while true { a == b }\n} } }";
	const struct program_limits limits = {64u << 20, INT64_MAX / 4, 50};
	char why[4096];
	fake_begin();
	struct program *p =
		program_new("t.tova", text, strlen(text), &fake.mount, &limits, why, sizeof why);
	ck_assert_msg(p != NULL && program_start(p, NULL, 0, why, sizeof why), "%s", why);
	ck_assert_int_ne(message(p, 1, ""), 0);
	ck_assert_str_eq(fake.failed,
			 "t.tova:2:16: it took more than 50 ms of the processor (max-time)");
	program_free(p);
}
END_TEST

START_TEST(what_the_host_refuses_can_not_be_caught)
{
	struct program *p = started("server { ws { on_message fn(ws, m) {\n"
				    "try { join(ws, \"\") } catch e { print(e) } } } }");
	fake.refuse = TOVA_E_ROOM;
	ck_assert_int_ne(message(p, 1, ""), 0);
	ck_assert_str_eq(fake.failed,
			 "t.tova:2:7: join: a room's name is 1 to 255 bytes long, without NUL");
	program_free(p);
}
END_TEST

START_TEST(timers)
{
	struct program *p =
		started("var n = 0\nevery(500, fn() { n += 1; print(n) })\n"
			"server { ws { on_message fn(ws, m) { t = after(20, fn() print(m))\n"
			"if m == \"c\" { cancel(t) }\nif m == \"f\" { nil.x } } } }");
	HEARD("timer tova-1 500 500\n");
	tova_timer t = {.size = sizeof t,
			.name = "tova-1",
			.id = 1,
			.delay_ms = 500,
			.period_ms = 500};
	ck_assert_int_eq(program_on_timer(p, &t), 0);
	ck_assert_int_eq(program_on_timer(p, &t), 0);
	HEARD("1\n2\n");
	ck_assert_int_eq(message(p, 1, "hello"), 0);
	HEARD("timer later 20 0\n");
	t.id = 99;
	t.name = "tova-99";
	ck_assert_int_eq(program_on_timer(p, &t), 0); /* of an earlier generation */
	HEARD("a timer of an earlier program, or of another process, is passed over: its function "
	      "is not here\ncancel tova-99\n");
	program_free(p);
}
END_TEST

START_TEST(questions)
{
	struct program *p = started(
		"server { ws { on_message fn(ws, m) { members(\"r\", fn(list) { for w in list "
		"{ w.send(m) }\nprint(ws in list) }) } } }");
	const tova_ws list[] = {{1, 4}, {1, 5}};
	ck_assert_int_eq(message(p, 5, "x"), 0);
	HEARD("query 2 r\n");
	const tova_reply reply = {.size = sizeof reply,
				  .kind = TOVA_QUERY_MEMBERS,
				  .id = asked,
				  .count = 2,
				  .connections = list};
	ck_assert_int_eq(program_on_reply(p, &reply), 0);
	HEARD("send c4 x\nsend c5 x\ntrue\n");
	ck_assert_int_eq(program_on_reply(p, &reply), 0); /* it was asked once */
	HEARD("");
	program_free(p);
}
END_TEST

START_TEST(vars_are_kept)
{
	char why[PROGRAM_WHY_MAX];
	size_t n;
	struct program *p = started("var a = 1\nvar f = fn() 1\nvar o = {b: [1, nil], c: 1}\n"
				    "server { ws { on_message fn(ws, m) { a += 1; o.c = nil } } }");
	ck_assert_int_eq(message(p, 1, ""), 0);
	char *kept = program_save(p, &n);
	ck_assert_str_eq(kept, "{\"a\":2,\"o\":{\"b\":[1,null],\"c\":null}}");
	program_free(p);
	p = made("var a = 7\nvar x = 3\nvar o = 1\nprint(a, x, o)");
	ck_assert_msg(program_start(p, kept, n, why, sizeof why), "%s", why);
	HEARD("2 3 {\"b\":[1,null],\"c\":null}\n");
	free(kept);
	program_free(p);
}
END_TEST

START_TEST(a_start_that_fails)
{
	char why[PROGRAM_WHY_MAX];
	fake_begin();
	struct program *p = made("x = 1\nx.y.z");
	ck_assert(!program_start(p, NULL, 0, why, sizeof why));
	ck_assert_str_eq(why, "t.tova:2:5: Nil has no member \"z\"");
	program_free(p);
}
END_TEST

START_TEST(too_little_memory_to_begin)
{
	char why[PROGRAM_WHY_MAX];
	fake_begin();
	for (size_t memory = 0; memory < 200000; memory += 997) {
		const struct program_limits limits = {memory, 1000000, 60000};
		struct program *p = program_new("t.tova", "var a = [1]", 11, &fake.mount, &limits,
						why, sizeof why);
		if (p != NULL)
			(void)program_start(p, NULL, 0, why, sizeof why);
		program_free(p);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("tova_run");
	TCase *tc = tcase_create("run");
	tcase_add_test(tc, commands);
	tcase_add_test(tc, binary_stays_binary);
	tcase_add_test(tc, what_fails_is_undone);
	tcase_add_test(tc, data_of_a_connection);
	tcase_add_loop_test(tc, faults_while_it_runs, 0, sizeof FAULTS / sizeof *FAULTS);
	tcase_add_test(tc, what_takes_long);
	tcase_add_test(tc, what_the_host_refuses_can_not_be_caught);
	tcase_add_test(tc, timers);
	tcase_add_test(tc, questions);
	tcase_add_test(tc, vars_are_kept);
	tcase_add_test(tc, a_start_that_fails);
	tcase_add_test(tc, too_little_memory_to_begin);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
