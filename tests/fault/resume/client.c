#define _GNU_SOURCE
#include "client.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

enum { TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };
enum { TEXT_MAX = 4096, CONFIRM_EVERY = 32, CONFIRM_MS = 1000, CUT_MS = 2000 };

const uint32_t room_size[ROOMS] = {10, 100, 1000};

static bool chance(double of)
{
	return random() < of * (double)RAND_MAX;
}

static uint64_t within(uint64_t ms)
{
	return (uint64_t)random() % ms;
}

void client_fault(const struct client *c, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fprintf(stderr, "client %u: ", c->number);
	vfprintf(stderr, format, args);
	fprintf(stderr, " (said %u, written %u, settled %u, echoes %u, received %llu, token %s)\n",
		c->n_said, c->written, c->settled, c->echoes, (unsigned long long)c->received,
		c->token);
	va_end(args);
	exit(1);
}

void client_init(struct run *run, struct client *c, uint32_t number)
{
	*c = (struct client){.number = number,
			     .now.fd = -1,
			     .old.fd = -1,
			     .deaf = number % 20 == 7,
			     .cut_at = run->now + within(CUT_MS)};
	for (int i = 0; i < ROOMS; i++) {
		struct member *m = &c->rooms[i];
		m->first = number / room_size[i] * room_size[i];
		m->size = run->n - m->first < room_size[i] ? run->n - m->first : room_size[i];
		m->heard = calloc(m->size, sizeof *m->heard);
		if (m->heard == NULL)
			abort();
	}
}

/* --- what it says ----------------------------------------------------------------------------- */

static void client_control(struct client *c, const char *text)
{
	char all[128];
	int n = snprintf(all, sizeof all, "\1%s", text);
	socket_frame(&c->now, TEXT, all, (size_t)n, false);
}

/* Fills with what may be compressed; some long, most short. */
static const char *client_padding(uint32_t n)
{
	static const char filler[] =
		"what is repeated is what is compressed, and what is repeated is what is compressed ";
	static char text[3 * sizeof filler];
	size_t len = n * 2654435761u % 8 == 0 ? (n * 40503u) % (2 * sizeof filler) : 0;
	for (size_t i = 0; i < len; i++)
		text[i] = filler[i % (sizeof filler - 1)];
	text[len] = '\0';
	return text;
}

/* In the language of tests/plugins/probe.c: each answers with its number, but for those that fail.
 */
static int client_text(const struct client *c, uint32_t number, char *text)
{
	const struct said *s = &c->said[number - 1];
	const char *more = client_padding(number + c->number);
	if (s->kind == SAY_FAILS)
		return sprintf(text, "\1\1no such command%u", number);
	if (s->kind == SAY_JOIN)
		return sprintf(text, "join a%u\njoin b%u\njoin c%u\nsend e%u %s", c->rooms[0].first,
			       c->rooms[1].first, c->rooms[2].first, number, more);
	if (s->kind >= SAY_ROOM)
		return sprintf(text, "to %c%u %c%u:%u %s\nsend e%u", 'a' + (s->kind - SAY_ROOM),
			       c->rooms[s->kind - SAY_ROOM].first, 'a' + (s->kind - SAY_ROOM),
			       c->number, s->n, more, number);
	return sprintf(text, "send%s %se%u %s", s->kind == SAY_BINARY ? "b" : "",
		       s->kind == SAY_MARKED ? "%01" : "", number, more);
}

/* What waits, as far as its socket takes it. */
static void client_write(struct client *c)
{
	char text[TEXT_MAX];
	while (c->state == THERE && c->written < c->n_said && c->now.out.n < 65536) {
		int n = client_text(c, ++c->written, text);
		socket_frame(&c->now, TEXT, text, (size_t)n, c->written % 2 == 0);
	}
}

void client_say(struct run *run, struct client *c, enum say kind)
{
	if (c->n_said == c->cap_said) {
		c->cap_said = c->cap_said == 0 ? 64 : 2 * c->cap_said;
		c->said = realloc(c->said, c->cap_said * sizeof *c->said);
		if (c->said == NULL)
			abort();
	}
	c->said[c->n_said++] = (struct said){.kind = (uint8_t)kind,
					     .n = kind >= SAY_ROOM && kind < SAY_JOIN
							  ? ++c->in_room[kind - SAY_ROOM]
							  : 0};
	c->must_fail += kind == SAY_FAILS;
	run->messages++;
	if (c->state == THERE)
		client_on_ready(run, c);
}

static void client_confirm(struct run *run, struct client *c)
{
	char text[64];
	snprintf(text, sizeof text, "{\"got\":%llu}", (unsigned long long)c->received);
	client_control(c, text);
	c->confirmed = c->received;
	c->confirmed_at = run->now;
}

/* --- sockets come and go ---------------------------------------------------------------------- */

static void client_watch(struct run *run, struct client *c)
{
	struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLET | EPOLLRDHUP, .data.ptr = c};
	if (epoll_ctl(run->epoll, EPOLL_CTL_ADD, c->now.fd, &e) != 0)
		abort();
}

static void client_lost(struct run *run, struct client *c)
{
	socket_cut(&c->now);
	if (c->state == OVER)
		return;
	c->state = AWAY;
	c->again_at = run->now + within(20);
}

static void client_cut(struct run *run, struct client *c, enum cut how)
{
	run->cuts[how]++;
	socket_flush(&c->now);
	if (how == CUT_IN_FRAME) {
		socket_frame(&c->now, TEXT, "half of it never leaves", 23, false);
		c->now.out.n -= 11;
		socket_flush(&c->now);
	} else if (how == CUT_BEHIND_GOT) {
		client_confirm(run, c);
		socket_flush(&c->now);
	} else if (how == CUT_LEAVE) {
		socket_frame(&c->now, CLOSE, "\x03\xe9", 2, false);
		socket_flush(&c->now);
	}
	if (how == CUT_SHUT || how == CUT_LEAVE || how == CUT_TAKEN) {
		if (how != CUT_TAKEN)
			socket_shut(&c->now);
		socket_cut(&c->old);
		epoll_ctl(run->epoll, EPOLL_CTL_DEL, c->now.fd, NULL);
		c->old = c->now;
		c->now = (struct socket){.fd = -1};
	}
	client_lost(run, c);
	if (how == CUT_TAKEN)
		c->again_at = run->now;
}

static void client_ask(struct run *run, struct client *c)
{
	char text[1024], back[128] = "";
	if (c->token[0] != '\0')
		snprintf(back, sizeof back, ", tova.resume.%s.%llu", c->token,
			 (unsigned long long)c->received);
	int n = snprintf(
		text, sizeof text,
		"GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
		"Sec-WebSocket-Protocol: tova.v1%s\r\n%s\r\n",
		run->path, back,
		run->deflate && c->number % 2 == 0 ? "Sec-WebSocket-Extensions: " SQUEEZE_OFFER
						     "\r\n"
						   : "");
	bytes_add(&c->now.out, text, (size_t)n);
}

static void client_connect(struct run *run, struct client *c)
{
	static const enum cut plans[] = {CUT_BEFORE_REQUEST, CUT_IN_REQUEST,	 CUT_BEHIND_REQUEST,
					 CUT_BEHIND_101,     CUT_BEHIND_WELCOME, CUT_IN_RESEND};
	c->plan = run->cutting && c->token[0] != '\0' && chance(0.3)
			  ? plans[(size_t)random() % (sizeof plans / sizeof *plans)]
			  : CUT_PLAIN;
	if (!socket_open(&c->now, run->port)) {
		run->retries++;
		c->again_at = run->now + 10 + within(50);
		return;
	}
	c->state = ASKING;
	client_ask(run, c);
	if (c->plan == CUT_IN_REQUEST)
		c->now.out.n -= 1 + within(c->now.out.n - 1);
	client_watch(run, c);
}

/* --- what it hears ---------------------------------------------------------------------------- */

static bool client_number(const char *text, const char *name, uint64_t *n_r)
{
	char wanted[32];
	snprintf(wanted, sizeof wanted, "\"%s\":", name);
	const char *at = strstr(text, wanted);
	if (at == NULL || at[strlen(wanted)] < '0' || at[strlen(wanted)] > '9')
		return false;
	*n_r = strtoull(at + strlen(wanted), NULL, 10);
	return true;
}

static void client_on_settled(struct client *c, uint64_t done, const char *failed)
{
	if (done < c->settled || done > c->n_said)
		client_fault(c, "%llu are said to be settled", (unsigned long long)done);
	c->settled = (uint32_t)done;
	for (; failed != NULL && *failed != ']'; failed += strcspn(failed, ",]")) {
		uint32_t number = (uint32_t)strtoul(failed + 1, NULL, 10);
		if (number == 0 || number > done || c->said[number - 1].kind != SAY_FAILS)
			client_fault(c, "message %u has failed", number);
		if (number <= c->last_failed)
			continue; /* it is said again at a return */
		c->last_failed = number;
		c->failed++;
	}
}

static void client_on_welcome(struct run *run, struct client *c, const char *text)
{
	uint64_t got, done;
	const char *token = strstr(text, "\"session\":\"");
	if (client_number(text, "refused", &got)) {
		run->refused++;
		client_lost(run, c);
		c->again_at = run->now + 100 + within(200);
		return;
	}
	if (token == NULL || !client_number(text, "got", &got) ||
	    !client_number(text, "done", &done))
		client_fault(c, "no welcome: %s", text);
	if ((strstr(text, "\"resumed\":true") != NULL) != (c->token[0] != '\0'))
		client_fault(c, "its session is gone: %s", text);
	if (got > c->n_said || got < c->settled || done > got)
		client_fault(c, "counts that can not be: %s", text);
	run->returns += c->token[0] != '\0';
	token += 11;
	snprintf(c->token, sizeof c->token, "%.*s", (int)strcspn(token, "\""), token);
	if (done > c->settled)
		c->settled = (uint32_t)done;
	c->written = (uint32_t)got;
	c->confirmed = c->received;
	c->state = THERE;
	c->cut_at = run->now + within(2 * CUT_MS);
	socket_cut(&c->old);
	if (c->plan == CUT_BEHIND_WELCOME) {
		client_cut(run, c, c->plan);
	} else if (c->plan == CUT_IN_RESEND) {
		client_write(c);
		c->now.out.n -= c->now.out.n / 3;
		client_cut(run, c, c->plan);
	}
}

static void client_on_control(struct run *run, struct client *c, const char *text)
{
	uint64_t n;
	const char *failed = strstr(text, "\"failed\":[");
	if (c->state == WELCOMING)
		client_on_welcome(run, c, text);
	else if (client_number(text, "done", &n))
		client_on_settled(c, n, failed != NULL ? failed + 9 : NULL);
	else
		client_fault(c, "it was told %s", text);
}

static void client_on_room(struct run *run, struct client *c, const char *text)
{
	struct member *m = &c->rooms[text[0] - 'a'];
	char *end;
	uint32_t who = (uint32_t)strtoul(text + 1, &end, 10) - m->first;
	uint32_t n = (uint32_t)strtoul(end + 1, NULL, 10);
	if (who >= m->size || *end != ':' || n != m->heard[who] + 1)
		client_fault(c, "in room %c it heard \"%.20s\" behind %u", text[0], text,
			     who < m->size ? m->heard[who] : 0);
	m->heard[who] = n;
	m->order = (m->order ^ (((uint64_t)who << 32) + n)) * 0x9e3779b97f4a7c15u;
	run->deliveries++;
}

/* The next of its own that has an answer. */
static uint32_t client_next_echo(const struct client *c)
{
	uint32_t n = c->echoes + 1;
	while (n <= c->n_said && c->said[n - 1].kind == SAY_FAILS)
		n++;
	return n;
}

static void client_on_data(struct run *run, struct client *c, const struct socket_frame *f)
{
	const char *text = (const char *)f->data;
	bool marked = f->opcode == TEXT && text[0] == '\1';
	c->received++;
	text += 2 * marked; /* one is tova.v1's, one is what was said */
	if (text[0] >= 'a' && text[0] < 'a' + ROOMS) {
		client_on_room(run, c, text);
		return;
	}
	uint32_t n = (uint32_t)strtoul(text + 1, NULL, 10), next = client_next_echo(c);
	if (text[0] != 'e' || n != next || n > c->n_said)
		client_fault(c, "it heard \"%.20s\", not e%u", text, next);
	int kind = c->said[n - 1].kind;
	if (marked != (kind == SAY_MARKED) || (f->opcode == BINARY) != (kind == SAY_BINARY))
		client_fault(c, "it heard \"%.20s\" as something else", text);
	c->echoes = n;
	run->deliveries++;
}

static void client_on_frame(struct run *run, struct client *c, const struct socket_frame *f)
{
	bool control = f->opcode == TEXT && f->data[0] == 1 && f->data[1] != 1;
	if (f->opcode == PING) {
		socket_frame(&c->now, PONG, f->data, f->len, false);
	} else if (f->opcode == CLOSE) {
		int code = f->len >= 2 ? f->data[0] << 8 | f->data[1] : 1005;
		if (c->state == WELCOMING || code == 1012 || code == 1013) {
			client_lost(run, c);
		} else if (c->state == THERE && code == 1001) {
			run->late++; /* an attempt that was given up has come behind this one */
			client_lost(run, c);
		} else if (c->state != OVER || code != 1001) {
			client_fault(c, "it was closed with %d", code);
		} else {
			socket_cut(&c->now);
		}
	} else if (control) {
		client_on_control(run, c, (const char *)f->data + 1);
	} else if (c->state == WELCOMING) {
		client_fault(c, "the welcome does not come first: %.40s", f->data);
	} else if (c->state == THERE) {
		client_on_data(run, c, f);
	}
}

/* False: not yet, or its socket is gone. */
static bool client_take_answer(struct run *run, struct client *c)
{
	const char *head = (const char *)c->now.in.p + c->now.in.at;
	const char *end = c->now.in.n > 0 ? memmem(head, c->now.in.n, "\r\n\r\n", 4) : NULL;
	if (end == NULL)
		return false;
	size_t n = (size_t)(end - head) + 4;
	if (memcmp(head, "HTTP/1.1 101 ", 13) != 0) { /* a proxy whose host is away */
		run->retries++;
		client_lost(run, c);
		c->again_at = run->now + 20 + within(100);
		return false;
	}
	if (squeeze_agree(&c->now.squeeze, head, n) != 0 ||
	    memmem(head, n, "tova.v1\r\n", 9) == NULL)
		client_fault(c, "a 101 as it was not asked for: %.*s", (int)n, head);
	bytes_cut(&c->now.in, n);
	c->state = WELCOMING;
	if (c->plan == CUT_BEHIND_101)
		client_cut(run, c, c->plan);
	return c->state == WELCOMING;
}

static void client_take(struct run *run, struct client *c)
{
	struct socket_frame f;
	int result;
	if (c->state == ASKING && !client_take_answer(run, c))
		return;
	while (c->now.fd >= 0 && (result = socket_next(&c->now, &f)) != 0) {
		if (result < 0)
			client_fault(c, "no frame");
		client_on_frame(run, c, &f);
	}
}

void client_on_ready(struct run *run, struct client *c)
{
	bool ended;
	if (c->now.fd < 0)
		return;
	if (c->state == ASKING && c->plan == CUT_BEFORE_REQUEST) {
		client_cut(run, c, c->plan);
		return;
	}
	client_write(c);
	ended = !socket_flush(&c->now);
	if (c->state == ASKING && c->now.out.n == 0 &&
	    (c->plan == CUT_BEHIND_REQUEST || c->plan == CUT_IN_REQUEST)) {
		client_cut(run, c, c->plan);
		return;
	}
	ended = !socket_read(&c->now) || ended;
	client_take(run, c);
	if (c->now.fd < 0)
		return;
	client_write(c);
	if (c->state == THERE && !c->deaf && c->received - c->confirmed >= CONFIRM_EVERY)
		client_confirm(run, c);
	if (!socket_flush(&c->now) || ended)
		client_lost(run, c);
}

void client_on_tick(struct run *run, struct client *c)
{
	if (c->state == AWAY && run->now >= c->again_at)
		client_connect(run, c);
	if (c->state != THERE)
		return;
	if (run->cutting && run->now >= c->cut_at) {
		client_cut(run, c, (enum cut)(random() % CUT_FIRST_RETURN));
	} else if (!c->deaf && c->received > c->confirmed &&
		   run->now - c->confirmed_at > CONFIRM_MS) {
		client_confirm(run, c);
		client_on_ready(run, c);
	}
}

bool client_is_done(const struct client *c)
{
	return c->state == THERE && c->settled == c->n_said && c->failed == c->must_fail &&
	       client_next_echo(c) == c->n_said + 1;
}

void client_leave(struct run *run, struct client *c)
{
	client_control(c, "{\"bye\":1}");
	c->state = OVER;
	client_on_ready(run, c);
}
