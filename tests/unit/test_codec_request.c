/* What is asked for over HTTP: one command, or a list of them; what is right is done as a worker's
 * push would be, what is wrong is told by name and place. */
#include <check.h>
#include <stdlib.h>

#include "handler/worker/codec.h"
#include "run.h"

#define ID "AAAAAAAAAAAAAAAAAAAAAA"

static struct codec_batch b;
static struct codec_request q;
static struct chunk_pool pool;
static struct commit commit;
static struct hub hub;
static uint8_t *message; /* of the very size */

static void setup(void)
{
	memset(&b, 0, sizeof b);
	pool = (struct chunk_pool){.current = NULL};
	commit_init(&commit, &pool, 4096);
	commit_begin(&commit, NULL);
	message = NULL;
}

static void teardown(void)
{
	commit_drop(&commit);
	commit_free(&commit);
	chunk_pool_free(&pool);
	codec_batch_free(&b);
	free(message);
}

/* Single quotes stand for double ones. */
static bool read_n(const char *word, const char *text, size_t n)
{
	free(message);
	message = malloc(n > 0 ? n : 1);
	for (size_t i = 0; i < n; i++)
		message[i] = (uint8_t)(text[i] == '\'' ? '"' : text[i]);
	return codec_read_request(&b, word, message, n, &q);
}

static bool read_text(const char *word, const char *text)
{
	return read_n(word, text, strlen(text));
}

static enum commit_error apply(void)
{
	commit_drop(&commit);
	commit_begin(&commit, NULL);
	codec_commands(&b, &q.item, &hub, NULL, &commit);
	return commit.error;
}

START_TEST(one_command)
{
	ck_assert(read_text("broadcast_to",
			    " {'mount':'/a','room':'x','data':'hi','key':'k','exclude':null}\n"));
	ck_assert(q.only_messages && q.n == 1 && !q.listed);
	ck_assert(span_eq(codec_text(&q.item.mount), SPAN("/a")));
	ck_assert_int_eq(apply(), COMMIT_OK);
	ck_assert_uint_eq(commit.n, 1);
	ck_assert_int_eq(commit.commands[0].kind, COMMAND_BROADCAST_TO);
	ck_assert(span_eq(commit_text(&commit, &commit.commands[0]), SPAN("x")));
	/* its name may stand there, too */
	ck_assert(read_text("join", "{'c':'join','conn':'" ID "','room':'x'}\r\n \t"));
	ck_assert(!q.only_messages && q.item.mount.p == NULL);
	ck_assert_int_eq(apply(), COMMIT_OK);
	ck_assert_int_eq(commit.commands[0].kind, COMMAND_JOIN);
	/* bytes behind the text */
	static const char bytes[] = "{'conn':'" ID "','bin':3}\n\0\n}";
	ck_assert(read_n("send", bytes, sizeof bytes - 1));
	ck_assert_int_eq(apply(), COMMIT_OK);
	ck_assert_uint_eq(commit.commands[0].frame.len, 2 + 3);
	ck_assert_mem_eq(slice_bytes(&commit.commands[0].frame) + 2, "\0\n}", 3);
	ck_assert(read_n("broadcast", "{'bin':0}\n", 10) && apply() == COMMIT_OK);
}
END_TEST

START_TEST(a_list)
{
	ck_assert(read_text(NULL, "{'commands':[{'c':'send','conn':'" ID
				  "','data':''},{'c':'broadcast','data':'x'}]}"));
	ck_assert(q.only_messages && q.n == 2);
	ck_assert_int_eq(apply(), COMMIT_OK);
	ck_assert_uint_eq(commit.n, 2);
	ck_assert(read_text(NULL,
			    "{'commands':[{'c':'broadcast','data':'x'},{'c':'timer','name':'t',"
			    "'delay':1}],'mount':'/'}"));
	ck_assert(!q.only_messages && q.n == 2);
	ck_assert(read_text(NULL, "{'commands':[]}") && q.only_messages && q.n == 0);
	ck_assert_int_eq(apply(), COMMIT_OK);
	/* what the commit finds has its place, too */
	ck_assert(read_text(NULL,
			    "{'commands':[{'c':'broadcast','data':'x'},{'c':'broadcast_to','room':"
			    "'','data':'x'},{'c':'broadcast','data':'x'}]}"));
	ck_assert_int_eq(apply(), COMMIT_E_ROOM);
	ck_assert_uint_eq(commit.wrong, 1);
}
END_TEST

static const struct wrong {
	const char *word, *text;
	int index; /* -1: none */
	const char *unknown, *why;
} WRONG[] = {
	{"broadcast", "", -1, NULL, "an object was expected"},
	{"broadcast", "[]", -1, NULL, "an object was expected"},
	{"broadcast", "{'data':'x'", -1, NULL, "a comma or } was expected"},
	{"broadcast", "{'data':1}", -1, NULL, "a string was expected"},
	{"broadcast", "{'dtaa':'x'}", -1, "dtaa", "is no member of this command"},
	{"broadcast", "{'':'x'}", -1, "", "is no member of this command"},
	{"broadcast", "{'c':'send','data':'x'}", -1, NULL, "names another command"},
	{"broadcast", "{}", -1, NULL, "lacks its \"data\""},
	{"broadcast_to", "{'data':'x'}", -1, NULL, "lacks \"room\""},
	{"send", "{'data':'x'}", -1, NULL, "lacks \"conn\""},
	{"send", "{'conn':'x','data':'x'}", -1, "x", "is no connection's id"},
	{"send", "{'conn':'" ID "A','data':'x'}", -1, ID "A", "is no connection's id"},
	{"set", "{'conn':'" ID "'}", -1, NULL, "lacks its \"state\""},
	{"close", "{'conn':'" ID "','code':-1}", -1, NULL, "no whole number"},
	{"join", "{'conn':'" ID "'}", -1, NULL, "lacks \"room\""},
	{"broadcast", "{'bin':1}", -1, NULL, "expected nothing, or a line feed"},
	{"broadcast", "{'bin':1}x", -1, NULL, "expected nothing, or a line feed"},
	{"broadcast", "{'bin':1}\n", -1, NULL, "more or fewer"},
	{"broadcast", "{'bin':1}\nxy", -1, NULL, "more or fewer"},
	{"broadcast", "{'data':'x'}x", -1, NULL, "something else behind"},
	{"broadcast", "{'data':'x'}\nx", -1, NULL, "something else behind"},
	{NULL, "{}", -1, NULL, "\"commands\" is missing"},
	{NULL, "{'commands':{}}", 0, NULL, "an array was expected"},
	{NULL, "{'commands':[],'commands':[]}", -1, NULL, "comes twice"},
	{NULL, "{'mout':'/','commands':[]}", -1, "mout", "expected mount, expires and commands"},
	{NULL, "{'expires':'x','commands':[]}", -1, NULL, "number was expected"},
	{NULL, "{'commands':[{'c':'broadcast','data':'x'},7]}", 1, NULL, "an object was expected"},
	{NULL, "{'commands':[{'data':'x'}]}", 0, NULL, "without \"c\""},
	{NULL, "{'commands':[{'c':'zzz'}]}", 0, "zzz", "is no command; expected send"},
	{NULL, "{'commands':[{'c':'broadcast','data':'x'},{'c':'send\\u0031'}]}", 1, "send\\u0031",
	 "is no command"},
	{NULL, "{'commands':[{'c':'broadcast','data':'x'},{'c':'broadcast','x':1}]}", 1, "x",
	 "is no member of a command"},
	{NULL, "{'commands':[{'c':'broadcast','data':'x'},{'c':'broadcast'}]}", 1, NULL,
	 "lacks its \"data\""},
	{NULL, "{'commands':[{'c':'broadcast','data':'x'}", 1, NULL, "a comma or ] was expected"},
	{NULL, "{'commands':[{'c':'broadcast','data':'x'}]", -1, NULL, "a comma or } was expected"},
};

START_TEST(what_is_wrong_is_named)
{
	const struct wrong *w = &WRONG[_i];
	ck_assert(!read_text(w->word, w->text));
	ck_assert_msg(strstr(b.why, w->why) != NULL, "%s: %s", w->text, b.why);
	ck_assert_msg(q.listed == (w->index >= 0), "%s", w->text);
	if (w->index >= 0)
		ck_assert_uint_eq(q.n, (unsigned)w->index);
	if (w->unknown == NULL)
		ck_assert_ptr_null(q.unknown.p);
	else
		ck_assert(q.unknown.p != NULL && span_eq(q.unknown, span_of(w->unknown)));
}
END_TEST

/* Of a list longer than what is kept of it, too. */
START_TEST(long_lists)
{
	static char text[200000];
	for (unsigned wrong = 0; wrong <= 3000; wrong += 1000) {
		char *at = stpcpy(text, "{'commands':[");
		for (unsigned i = 0; i < 3000; i++)
			at += sprintf(at, "%s{'c':'broadcast_to','room':'%s','data':'x'}",
				      i > 0 ? "," : "", i == wrong ? "" : "r");
		strcpy(at, "]}");
		ck_assert(read_text(NULL, text) && q.n == 3000 && q.only_messages);
		ck_assert_int_eq(apply(), wrong < 3000 ? COMMIT_E_ROOM : COMMIT_OK);
		ck_assert(wrong == 3000 || commit.wrong == wrong);
	}
}
END_TEST

/* Cut anywhere, and with any byte damaged: refused or understood, never read beyond. */
START_TEST(damage)
{
	static const char text[] =
		"{'mount':'/a','commands':[{'c':'send','conn':'" ID
		"','data':'\\u20ac'},{'c':'broadcast_to','room':'x','bin':2,"
		"'exclude':'" ID "'},{'c':'close','conn':'" ID "','code':4000,'reason':'r'}]}\nab";
	for (size_t n = 0; n < sizeof text - 1; n++)
		ck_assert(!read_n(NULL, text, n) && b.why != NULL);
	ck_assert(read_n(NULL, text, sizeof text - 1));
	for (size_t i = 0; i < sizeof text - 1; i++)
		for (unsigned byte = 0; byte < 256; byte += 7) {
			char damaged[sizeof text];
			memcpy(damaged, text, sizeof text);
			damaged[i] = (char)byte;
			if (read_n(NULL, damaged, sizeof text - 1))
				apply();
		}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("codec_request");
	TCase *tc = tcase_create("codec_request");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, one_command);
	tcase_add_test(tc, a_list);
	tcase_add_loop_test(tc, what_is_wrong_is_named, 0, (int)(sizeof WRONG / sizeof *WRONG));
	tcase_add_test(tc, long_lists);
	tcase_add_test(tc, damage);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
