/* A lack of memory at any moment: a whole conversation is repeated, and each time another
 * allocation of the host or of libevent fails, that one alone or all from there on. Connections may
 * be closed; nothing may be torn, invented, leaked or crash. */
#include <event2/event.h>
#include <valgrind/valgrind.h>

#include "rig.h"

/* --- the memory ------------------------------------------------------------------------------- */

static long left = -1; /* allocations that still succeed; -1: all do */
static bool for_good;  /* what fails goes on failing */
static unsigned long failed;

static bool memory_fails(void)
{
	if (left < 0)
		return false;
	if (left > 0) {
		left--;
		return false;
	}
	if (!for_good)
		left = -1;
	failed++;
	return true;
}

void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_malloc(size_t n)
{
	return memory_fails() ? NULL : __real_malloc(n);
}

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
	return memory_fails() ? NULL : __real_calloc(n, size);
}

void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n)
{
	return memory_fails() ? NULL : __real_realloc(p, n);
}

/* --- the handler ------------------------------------------------------------------------------ */

#define LARGE 100000

static char large[LARGE];
static int opens, closes;

/* Every command, from every event. */
static enum handler_result do_all(struct rig *r, const struct hub_event *e, struct commit *c,
				  struct span *why_r)
{
	uint64_t me = e->session != NULL ? e->session->local : 0;
	const struct event_timer tick = {.name = "tick", .id = (uint64_t)r->step, .delay_ms = 1};
	const struct event_query query = {.kind = EVENT_QUERY_MEMBERS,
					  .id = 1,
					  .room = SPAN("room")};
	(void)r;
	switch (e->kind) {
	case EVENT_OPEN:
		opens++;
		commit_watch(c, SPAN("room"), opens % 2);
		commit_join(c, me, SPAN("room"));
		commit_info(c, me, SPAN("half"), opens % 3 == 0 ? SPAN("ada") : SPAN("bob"));
		commit_set(c, me, "data", 4);
		commit_send(c, me, false, "hello", 5);
		break;
	case EVENT_MESSAGE:
		for (char name[] = "many 0"; name[5] <= '9'; name[5]++)
			commit_join(c, me, span_of(name));
		commit_broadcast_to(c, SPAN("room"), e->message.binary, e->message.bytes,
				    e->message.len, 0);
		commit_broadcast(c, true, large, sizeof large, me);
		commit_key(c, SPAN("large"));
		commit_timer(c, true, me, &tick);
		commit_timer(c, false, 0, &tick);
		commit_query(c, &query);
		commit_leave(c, me, SPAN("many 3"));
		if (e->message.len > 3 && memcmp(e->message.bytes, "fail", 4) == 0) {
			*why_r = SPAN("asked to");
			return HANDLER_FAILED;
		}
		if (e->message.len > 2 && memcmp(e->message.bytes, "bye", 3) == 0)
			commit_close(c, me, 4000, SPAN("as you wish"));
		break;
	case EVENT_CLOSE:
		closes++;
		commit_broadcast_to(c, SPAN("room"), false, "left", 4, 0);
		break;
	case EVENT_ERROR:
		commit_send(c, me, false, "error", 5);
		break;
	case EVENT_UPGRADE:
		break;
	default:
		commit_broadcast_to(c, SPAN("room"), false, event_name(e->kind),
				    strlen(event_name(e->kind)), 0);
		break;
	}
	return HANDLER_DONE;
}

/* --- clients that take what comes ------------------------------------------------------------- */

#define CLIENTS 4
#define INBOX (4 << 20)

static uint8_t *inbox[CLIENTS + 1];
static size_t inbox_len[CLIENTS + 1];

static void take(struct rig *r)
{
	for (int i = 1; i <= CLIENTS; i++) {
		ssize_t n;
		if (r->clients[i].fd < 0)
			continue;
		while ((n = recv(r->clients[i].fd, inbox[i] + inbox_len[i], INBOX - inbox_len[i],
				 MSG_DONTWAIT)) > 0)
			inbox_len[i] += (size_t)n;
	}
}

static void turns(struct rig *r, int n)
{
	for (int i = 0; i < n; i++) {
		rig_turn(r);
		while (handler_is_async(&r->handler) && !TAILQ_EMPTY(&r->given))
			rig_settle(r);
		take(r);
	}
}

static void say(struct rig *r, int client, unsigned first, const char *p, size_t n)
{
	static uint8_t frame[FRAME_HEAD_MAX + LARGE];
	size_t head = frame_head(frame, FRAME_TEXT, n);
	frame[0] = (uint8_t)first;
	frame[1] |= 0x80;
	memset(frame + head, 0, 4);
	memcpy(frame + head + 4, p, n);
	size_t all = head + 4 + n;
	for (size_t done = 0; done < all;) {
		ssize_t sent = send(r->clients[client].fd, frame + done, all - done,
				    MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent < 0 && errno != EAGAIN)
			return;
		done += sent > 0 ? (size_t)sent : 0;
		if (sent < 0)
			turns(r, 1);
	}
}

/* The answer, whole or cut off by the end, then whole frames of known content. The last may be cut
 * where the socket was. */
static void check_inbox(int client)
{
	static const char *const known[] = {"hello", "text",  "bye",   "fail",		"left",
					    "error", "timer", "reply", "half and half", "wake",
					    "join",  "leave"};
	const uint8_t *p = inbox[client], *end = p + inbox_len[client];
	const uint8_t *head = memmem(p, inbox_len[client], "\r\n\r\n", 4);
	if (inbox_len[client] >= 13)
		ck_assert(memcmp(p, "HTTP/1.1 101 ", 13) == 0 ||
			  memcmp(p, "HTTP/1.1 503 ", 13) == 0 ||
			  memcmp(p, "HTTP/1.1 500 ", 13) == 0);
	if (head == NULL || memcmp(p, "HTTP/1.1 101 ", 13) != 0)
		return;
	for (p = head + 4; p < end;) {
		size_t size = (size_t)frame_size(p, (size_t)(end - p));
		if (size == 0 || size > (size_t)(end - p))
			return;
		size_t n = size < 128 ? size - 2 : size < 65536 ? size - 4 : size - 10;
		const uint8_t *payload = p + (size - n);
		unsigned opcode = p[0] & 15;
		bool ok = (p[0] & 0xf0) == 0x80;
		if (opcode == FRAME_BINARY) {
			ok = ok && n == LARGE && memcmp(payload, large, n) == 0;
		} else if (opcode == FRAME_TEXT) {
			bool any = n == LARGE / 2 && memcmp(payload, large, n) == 0;
			for (size_t i = 0; i < sizeof known / sizeof *known; i++)
				any = any ||
				      (n == strlen(known[i]) && memcmp(payload, known[i], n) == 0);
			ok = ok && any;
		} else {
			ok = ok && (opcode == FRAME_CLOSE || opcode == FRAME_PONG);
		}
		if (!ok)
			ck_abort_msg("client %d got a frame %02x of %zu bytes: %.*s", client, p[0],
				     n, (int)(n < 40 ? n : 40), payload);
		p += size;
	}
}

/* --- tokens ----------------------------------------------------------------------------------- */

/* HS256 of {"exp":4102444800,"sub":"ada"}. */
#define SECRET "0123456789abcdef0123456789abcdef"
#define TOKEN \
	"eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjQxMDI0NDQ4MDAsInN1YiI6ImFkYSJ9._ykr2jr_9LJTILd2IPPslW732fXxYVvWk8xwG9NPAd0"

static char upgrade[1000];

/* Every connection of the conversation has a token, and so a timer at its end. */
static struct token_policy *ask_for_tokens(void)
{
	char why[TOKEN_KEY_WHY_MAX];
	struct token_policy *policy = calloc(1, sizeof *policy);
	policy->n_sources = 1;
	ck_assert(token_key_read(&policy->keys, (const unsigned char *)SECRET, 32, why));
	snprintf(upgrade, sizeof upgrade, "%.*sAuthorization: Bearer " TOKEN "\r\n\r\n",
		 (int)sizeof RIG_UPGRADE - 3, RIG_UPGRADE);
	return policy;
}

/* --- the conversation ------------------------------------------------------------------------- */

static void connect_all(struct rig *r)
{
	const struct address remote = {.family = AF_UNIX};
	for (int i = 1; i <= CLIENTS; i++) {
		int fds[2];
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0)
			ck_abort_msg("no sockets");
		r->clients[i] = (struct rig_client){.fd = fds[1]};
		inbox_len[i] = 0;
		conn_add(&r->conns, fds[0], &remote, &(const struct conn_kind){.proxy = false});
		r->opening = i;
		send(fds[1], upgrade, 30, MSG_NOSIGNAL); /* in two pieces */
		turns(r, 1);
		send(fds[1], upgrade + 30, strlen(upgrade) - 30, MSG_NOSIGNAL);
		turns(r, 2);
	}
}

static void talk(struct rig *r)
{
	connect_all(r);
	say(r, 1, 0x81, "text", 4);
	say(r, 2, 0x89, "ping", 4);
	turns(r, 2);
	say(r, 2, 0x01, "half and ", 9);
	turns(r, 1);
	say(r, 2, 0x80, "half", 4);
	say(r, 3, 0x81, "fail", 4);
	turns(r, 2);
	say(r, 1, 0x81, large, LARGE / 2);
	/* The last one does not read for a while. */
	int slow = r->clients[4].fd;
	r->clients[4].fd = -1;
	for (int i = 0; i < 4; i++) {
		say(r, 1 + i % 2, 0x81, "text", 4);
		turns(r, 1);
	}
	r->clients[4].fd = slow;
	say(r, 4, 0x89, "", 0);
	turns(r, 3);
	say(r, 3, 0x81, "bye", 3);
	say(r, 2, 0x88, "\x03\xe8so long", 9);
	turns(r, 3);
	say(r, 1, 0x83, "", 0); /* breaks the protocol */
	shutdown(r->clients[4].fd, SHUT_WR);
	turns(r, 5);
}

/* One conversation in which the allocations from `at` on fail, with a handler that settles at once
 * or later. Returns whether any did. */
static bool attempt(long at, bool all, bool later, enum slow_policy slow)
{
	struct conn_limits limits = rig_limits();
	limits.queue_max = 200 << 10;
	limits.buffered_max = slow == SLOW_POLICY_DROP_OLDEST ? 250 << 10 : 0;
	struct rig *r = later ? rig_new_async(&limits, 1 << 20) : rig_new(&limits, 16);
	r->script = do_all;
	r->mount->tokens = ask_for_tokens();
	r->mount->slow = slow;
	opens = closes = 0;
	failed = 0;
	for_good = all;
	left = at;
	talk(r);
	left = -1;
	bool any = failed > 0;
	for (int i = 1; i <= CLIENTS; i++) {
		if (r->clients[i].fd >= 0)
			close(r->clients[i].fd);
		r->clients[i].fd = -1;
		check_inbox(i);
	}
	for (int i = 0; i < 20; i++)
		turns(r, 1);
	ck_assert_uint_eq(r->conns.count, 0);
	ck_assert_int_eq(opens, closes);
	ck_assert_uint_eq(r->hub.sessions.count, 0);
	ck_assert_uint_eq(budget_held(r->mount->budget), 0);
	token_policy_free(&r->mount->tokens);
	r->mount->tokens = NULL;
	/* And it serves as before. */
	r->said[r->said_len = 0] = '\0';
	r->at_once = true;
	rig_open(r, 1);
	rig_expect_text(r, 1, "hello");
	rig_text(r, 1, "text");
	for (bool back = false; !back;) { /* a timer may come in between, or who comes */
		uint8_t first;
		size_t n;
		char *p = rig_next(r, 1, &first, &n);
		back = strcmp(p, "text") == 0;
		ck_assert(back || strcmp(p, "timer") == 0 || strcmp(p, "join") == 0 ||
			  strcmp(p, "leave") == 0);
		free(p);
	}
	rig_free(r);
	return any;
}

START_TEST(any_allocation)
{
	long at = 0;
	while (attempt(at, _i % 2 == 1, _i / 2 == 1, SLOW_POLICY_CLOSE))
		at += RUNNING_ON_VALGRIND ? 61 : 1;
	printf("memory: %ld allocations\n", at);
	ck_assert_int_gt(at, 50);
}
END_TEST

/* The same where messages are given up. */
START_TEST(any_allocation_of_a_slow_one)
{
	long at = 0;
	while (attempt(at, _i == 1, false, _i == 0 ? SLOW_POLICY_DROP_OLDEST : SLOW_POLICY_CONFLATE))
		at += RUNNING_ON_VALGRIND ? 61 : 1;
	ck_assert_int_gt(at, 50);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("memory");
	TCase *tc = tcase_create("memory");
	SRunner *runner;
	int failures;

	memset(large, 'x', sizeof large);
	for (int i = 1; i <= CLIENTS; i++)
		inbox[i] = malloc(INBOX);
	event_set_mem_functions(__wrap_malloc, __wrap_realloc, free);
	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, any_allocation, 0, 4);
	tcase_add_loop_test(tc, any_allocation_of_a_slow_one, 0, 2);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	for (int i = 1; i <= CLIENTS; i++)
		free(inbox[i]);
	return failures != 0;
}
