/* rig: a real loop, conns and a hub with one mount, whose handler the test is, and clients at
 * socketpairs, all in one thread. */
#ifndef TOVA_TESTS_RIG_H
#define TOVA_TESTS_RIG_H

#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "net/conn.h"
#include "hub/admission.h"
#include "hub/commit.h"
#include "hub/delivery.h"
#include "hub/hub.h"
#include "hub/timer.h"

#define RIG_CLIENTS 64
#define RIG_PATIENCE_S 60

struct rig_client {
	int fd;
	/* noted when it opened; good as long as its close event has not come */
	struct session *session;
	uint64_t local;
};

struct rig {
	struct loop *loop;
	struct hub hub;
	struct conns conns;
	struct mount *mount;
	struct handler handler;
	/* What the handler was told: "open:1 message:1=text close:1=1000" with the numbers of
	 * clients, 0 for the mount. */
	char said[1 << 16];
	size_t said_len;
	struct rig_client clients[RIG_CLIENTS + 1]; /* from 1 */
	int opening;				    /* the client whose handshake is under way */
	/* The test's part of the handler; NULL: acknowledges everything. */
	enum handler_result (*script)(struct rig *r, const struct hub_event *e, struct commit *c,
				      struct span *why_r);
	int step; /* for scripts */
	/* Of a rig_async: what the handler works on, oldest first. */
	struct event_queue given;
	bool at_once;	/* it settles within give */
	uint16_t runs;	/* most messages of a connection that it takes at a time; 0: one */
	uint64_t seen;	/* the number of the last event of a connection */
	uint32_t taken; /* back, of runs that ended early */
};

static inline int rig_number(const struct rig *r, const struct session *s)
{
	for (int i = 1; i <= RIG_CLIENTS; i++)
		if (s != NULL && r->clients[i].session == s)
			return i;
	return 0;
}

static inline void rig_say(struct rig *r, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static inline void rig_say(struct rig *r, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	int n = vsnprintf(r->said + r->said_len, sizeof r->said - r->said_len, format, args);
	va_end(args);
	r->said_len += n > 0 ? (size_t)n : 0;
	if (n < 0 || r->said_len >= sizeof r->said)
		ck_abort_msg("too much was said");
}

static inline enum handler_result rig_deliver(struct handler *h, const struct hub_event *e,
					      struct commit *c, struct span *why_r)
{
	struct rig *r = (struct rig *)((char *)h - offsetof(struct rig, handler));
	if (e->kind == EVENT_OPEN) {
		r->clients[r->opening].session = e->session;
		r->clients[r->opening].local = e->session->local;
	}
	rig_say(r, "%s%s:%d", r->said_len > 0 ? " " : "", event_name(e->kind),
		rig_number(r, e->session));
	if (e->kind == EVENT_MESSAGE)
		rig_say(r, "=%.*s", (int)(e->message.len < 100 ? e->message.len : 100),
			(const char *)e->message.bytes);
	else if (e->kind == EVENT_CLOSE)
		rig_say(r, "=%u", e->close.code);
	else if (e->kind == EVENT_ERROR)
		rig_say(r, "=%.*s", (int)e->error.text.n, e->error.text.p);
	else if (e->kind == EVENT_TIMER)
		rig_say(r, "=%s", e->timer.name);
	else if (e->kind == EVENT_REPLY)
		rig_say(r, "=%" PRIu64, e->query.id);
	else if (e->kind == EVENT_JOIN || e->kind == EVENT_LEAVE)
		rig_say(r, "=%s,%s,%u", event_presence_room(e->presence).p,
			event_presence_user(e->presence).p, e->presence->users);
	enum handler_result result = r->script != NULL ? r->script(r, e, c, why_r) : HANDLER_DONE;
	if (e->kind == EVENT_CLOSE && rig_number(r, e->session) > 0)
		r->clients[rig_number(r, e->session)].session = NULL;
	return result;
}

/* Answers or settles the oldest event that was given, by the same script. */
static inline void rig_settle(struct rig *r)
{
	static struct event_answer accepted;
	struct span why = {0};
	struct event_held *e = TAILQ_FIRST(&r->given);
	if (e == NULL)
		ck_abort_msg("nothing to settle");
	TAILQ_REMOVE(&r->given, e, link);
	commit_begin(&r->mount->commit, e->event.session);
	enum handler_result result = rig_deliver(&r->handler, &e->event, &r->mount->commit, &why);
	if (e->event.kind == EVENT_UPGRADE)
		admission_answered(r->mount, e, &accepted,
				   result == HANDLER_DONE ? NULL : "failed");
	else
		delivery_settle(r->mount, e, result, why);
}

static inline void rig_give(struct handler *h, struct event_held *e)
{
	struct rig *r = (struct rig *)((char *)h - offsetof(struct rig, handler));
	TAILQ_INSERT_TAIL(&r->given, e, link);
	e->run = 1;
	if (r->at_once)
		rig_settle(r);
}

static inline bool rig_follow(struct handler *h, struct event_held *last, struct event_held *e)
{
	struct rig *r = (struct rig *)((char *)h - offsetof(struct rig, handler));
	if (last->run >= r->runs)
		return false;
	e->run = last->run + 1;
	TAILQ_INSERT_TAIL(&r->given, e, link);
	return true;
}

static inline void rig_withdraw(struct handler *h, struct event_held *e, bool handled)
{
	struct rig *r = (struct rig *)((char *)h - offsetof(struct rig, handler));
	(void)handled;
	TAILQ_REMOVE(&r->given, e, link);
	r->taken++;
}

static inline void rig_nothing(struct handler *h)
{
	(void)h;
}

static inline void rig_request(void *ctx, struct conn *c, struct request *req)
{
	(void)ctx;
	(void)c;
	(void)req;
	ck_abort_msg("nobody asked for a page");
}

static inline struct conn_limits rig_limits(void)
{
	return (struct conn_limits){
		.head = {.head_max = 8192, .headers_max = 50},
		.frame = {.message_max = 8 << 20, .masked = true},
		.queue_max = 1 << 20,
		.head_ms = 10000,
		.idle_ms = 0,
		.close_ms = 5000,
		.max = 1000,
		/* check-unit runs all that is above conns both ways */
		.uring_min = getenv("TOVA_URING") != NULL,
	};
}

static inline struct rig *rig_new(const struct conn_limits *limits, uint32_t data_size)
{
	static const struct handler_ops ops = {.deliver = rig_deliver,
					       .stop = rig_nothing,
					       .free = rig_nothing};
	static struct conn_ops conn_ops;
	struct rig *r = calloc(1, sizeof *r);
	r->loop = loop_new(NULL);
	ck_assert_ptr_nonnull(r->loop);
	ck_assert(hub_init(&r->hub, r->loop));
	conn_ops = hub_conn_ops;
	conn_ops.request = rig_request;
	ck_assert(conns_init(&r->conns, r->loop, &conn_ops, &r->hub, limits));
	conns_set_budgets(&r->conns, &r->hub.budgets, 0);
	r->mount = mount_new(&r->hub, "/");
	r->handler = (struct handler){.ops = &ops,
				      .mount = r->mount,
				      .wants = EVENT_BIT(EVENT_KINDS) - 1};
	r->mount->handler = &r->handler;
	r->mount->data_size = r->mount->commit.data_size = data_size;
	hub_add_mount(&r->hub, r->mount);
	for (int i = 0; i <= RIG_CLIENTS; i++)
		r->clients[i].fd = -1;
	return r;
}

/* Its handler settles events when the test calls rig_settle, or at once. */
static inline struct rig *rig_new_async(const struct conn_limits *limits, uint64_t hold_max)
{
	static const struct handler_ops ops = {.give = rig_give,
					       .follow = rig_follow,
					       .withdraw = rig_withdraw,
					       .stop = rig_nothing,
					       .free = rig_nothing};
	struct rig *r = rig_new(limits, 0);
	r->handler.ops = &ops;
	r->mount->commit.data_size = 4096;
	atomic_store(&r->mount->budget->max, hold_max);
	budgets_set(&r->hub.budgets, 0);
	TAILQ_INIT(&r->given);
	return r;
}

static inline void rig_free(struct rig *r)
{
	hub_drop_sessions(&r->hub);
	conns_free(&r->conns);
	ck_assert_uint_eq(r->conns.count, 0);
	ck_assert_uint_eq(r->hub.sessions.count, 0);
	ck_assert_uint_eq(r->loop->stats.sockets, 0);
	ck_assert_uint_eq(r->loop->stats.connections, 0);
	ck_assert_uint_eq(r->loop->stats.memberships, 0);
	ck_assert_uint_eq(r->loop->stats.rooms, 0);
	hub_free(&r->hub);
	loop_free(&r->loop);
	for (int i = 0; i <= RIG_CLIENTS; i++)
		if (r->clients[i].fd >= 0)
			close(r->clients[i].fd);
	free(r);
}

/* One turn, without waiting for anything. No assertion of Check's here: they allocate, which some
 * tests count or let fail. */
static inline void rig_turn(struct rig *r)
{
	if (!loop_turn(r->loop, false))
		ck_abort_msg("the loop fails");
}

static inline double rig_seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Turns until the condition holds. */
#define RIG_UNTIL(r, condition) \
	do { \
		double rig_end_ = rig_seconds() + RIG_PATIENCE_S; \
		while (!(condition)) { \
			if (rig_seconds() > rig_end_) \
				ck_abort_msg("never came true: %s; the handler was told: %s", \
					     #condition, (r)->said); \
			rig_turn(r); \
		} \
	} while (0)

/* What the handler was told since the last time, which is forgotten. */
#define RIG_EXPECT(r, text) \
	do { \
		ck_assert_str_eq((r)->said, (text)); \
		(r)->said[(r)->said_len = 0] = '\0'; \
	} while (0)

/* --- clients ---------------------------------------------------------------------------------- */

/* Bytes that have come for this client; -1: the end of the stream. Turns first. */
static inline ssize_t rig_receive(struct rig *r, int client, void *p, size_t n)
{
	rig_turn(r);
	ssize_t got = recv(r->clients[client].fd, p, n, MSG_DONTWAIT);
	if (got < 0)
		ck_assert_int_eq(errno, EAGAIN);
	return got > 0 ? got : got == 0 ? -1 : 0;
}

static inline void rig_read(struct rig *r, int client, void *p, size_t n)
{
	double end = rig_seconds() + RIG_PATIENCE_S;
	for (size_t have = 0; have < n;) {
		ssize_t got = rig_receive(r, client, (char *)p + have, n - have);
		ck_assert_msg(got >= 0, "the stream of %d ended; the handler was told: %s", client,
			      r->said);
		if (got > 0)
			end = rig_seconds() + RIG_PATIENCE_S;
		ck_assert_msg(rig_seconds() < end, "nothing comes for %d; the handler was told: %s",
			      client, r->said);
		have += (size_t)got;
	}
}

/* Sends without turning: what the peer does is seen when the test wants. */
static inline void rig_write(struct rig *r, int client, const void *p, size_t n)
{
	for (size_t done = 0; done < n;) {
		ssize_t sent = send(r->clients[client].fd, (const char *)p + done, n - done,
				    MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent < 0) {
			ck_assert_int_eq(errno, EAGAIN);
			rig_turn(r);
			continue;
		}
		done += (size_t)sent;
	}
}

/* A masked frame, whose mask changes nothing. */
static inline void rig_frame(struct rig *r, int client, enum frame_opcode opcode, const void *p,
			     size_t n)
{
	uint8_t head[FRAME_HEAD_MAX] = {0};
	size_t len = frame_head(head, opcode, n);
	head[1] |= 0x80;
	memset(head + len, 0, 4);
	rig_write(r, client, head, len + 4);
	if (n > 0)
		rig_write(r, client, p, n);
}

static inline void rig_text(struct rig *r, int client, const char *text)
{
	rig_frame(r, client, FRAME_TEXT, text, strlen(text));
}

static inline void rig_close_frame(struct rig *r, int client, unsigned code)
{
	const uint8_t payload[] = {(uint8_t)(code >> 8), (uint8_t)code};
	rig_frame(r, client, FRAME_CLOSE, payload, code != 0 ? 2 : 0);
}

/* A socket for the host and its other end for the client. */
static inline void rig_connect(struct rig *r, int client)
{
	const struct address remote = {.family = AF_UNIX};
	int fds[2];
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds),
			 0);
	ck_assert(conn_add(&r->conns, fds[0], &remote, &(const struct conn_kind){.proxy = false}));
	r->clients[client] = (struct rig_client){.fd = fds[1]};
}

#define RIG_UPGRADE \
	"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" \
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

/* The head of an answer. */
static inline void rig_head(struct rig *r, int client, char head[4096])
{
	size_t n = 0;
	while (n < 4 || memcmp(head + n - 4, "\r\n\r\n", 4) != 0) {
		ck_assert_uint_lt(n, 4095);
		rig_read(r, client, head + n++, 1);
	}
	head[n] = '\0';
}

static inline void rig_open(struct rig *r, int client)
{
	char head[4096];
	rig_connect(r, client);
	r->opening = client;
	rig_write(r, client, RIG_UPGRADE, sizeof RIG_UPGRADE - 1);
	rig_head(r, client, head);
	ck_assert_int_eq(strncmp(head, "HTTP/1.1 101 ", 13), 0);
}

static inline void rig_open_many(struct rig *r, int n)
{
	for (int i = 1; i <= n; i++)
		rig_open(r, i);
	r->said[r->said_len = 0] = '\0';
}

/* The next frame for this client; its payload with a NUL behind it, to be freed. */
static inline char *rig_next(struct rig *r, int client, uint8_t *first_r, size_t *n_r)
{
	uint8_t head[FRAME_SERVER_HEAD_MAX];
	rig_read(r, client, head, 2);
	ck_assert_uint_eq(head[1] & 0x80, 0);
	uint64_t n = head[1];
	if (n >= 126) {
		size_t more = n == 126 ? 2 : 8;
		rig_read(r, client, head + 2, more);
		n = 0;
		for (size_t i = 0; i < more; i++)
			n = n << 8 | head[2 + i];
	}
	char *p = malloc(n + 1);
	rig_read(r, client, p, n);
	p[n] = '\0';
	*first_r = head[0];
	*n_r = n;
	return p;
}

static inline void rig_expect_text(struct rig *r, int client, const char *text)
{
	uint8_t first;
	size_t n;
	char *p = rig_next(r, client, &first, &n);
	ck_assert_uint_eq(first, 0x80 | FRAME_TEXT);
	ck_assert_str_eq(p, text);
	free(p);
}

/* A close frame with this code, 0: with none. */
static inline void rig_expect_close(struct rig *r, int client, unsigned code)
{
	uint8_t first;
	size_t n;
	char *p = rig_next(r, client, &first, &n);
	ck_assert_uint_eq(first, 0x80 | FRAME_CLOSE);
	ck_assert_uint_eq(n >= 2 ? (unsigned)(uint8_t)p[0] << 8 | (uint8_t)p[1] : 0, code);
	free(p);
}

/* Nothing is under way to it. */
static inline void rig_expect_silence(struct rig *r, int client)
{
	char byte;
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(rig_receive(r, client, &byte, 1), 0);
}

static inline void rig_expect_end(struct rig *r, int client)
{
	char byte;
	ssize_t got;
	double end = rig_seconds() + RIG_PATIENCE_S;
	while ((got = rig_receive(r, client, &byte, 1)) == 0)
		ck_assert(rig_seconds() < end);
	ck_assert_int_eq(got, -1);
}

#endif
