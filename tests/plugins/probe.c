/* probe: does what a test's messages say, so that every function of the host and every result of a
 * callback can be reached.
 *
 * A message is a script: one command a line, all of them within that one callback. Words are
 * separated by a space; the last argument takes the rest of the line. In words and texts %XX stands
 * for any byte. ID is a connection as text, `me`, `none`, or `ghost` (one that never was).
 *
 *	send TEXT · sendb BYTES · send_to ID TEXT · sendb_to ID BYTES
 *	kind N TEXT (a payload of kind N) · huge N (N bytes)
 *	flood N SIZE (N messages, numbered in front) · pour ROOM N SIZE (to the room's others)
 *	join ROOM · leave ROOM · join_of ID ROOM · leave_of ID ROOM
 *	broadcast TEXT · broadcastb BYTES · broadcast_others TEXT · broadcast_except ID TEXT
 *	to ROOM TEXT · tob ROOM BYTES · to_others ROOM TEXT · to_except ID ROOM TEXT
 *	key KEY (of what the script sends from here on; none: no key)
 *	keys N (pour's messages take turns with N keys)
 *	close CODE REASON · close_of ID CODE REASON
 *	fail TEXT · failcode N (both end the script)
 *	data OFFSET BYTES · getdata · set ID BYTES · setif ID OLD NEW
 *	timer NAME ID DELAY PERIOD · wstimer WS NAME ID DELAY PERIOD
 *	cancel NAME · wscancel WS NAME
 *	query count|members|rooms|connections|stats ID ARGUMENT (JSON, to who asked)
 *	after NAME ID DELAY (once, of the mount) · whose (tova_subject)
 *	quote TEXT · quotes N (N texts of 1,000 bytes) · sendf N TEXT (with N blanks behind it)
 *	sendf_to ROOM TEXT · sendf_all TEXT · with_key KEY BYTES
 *	wake · thread (a thread tries commands, then wakes) · later SCRIPT (run by the next wake)
 *	stall MS · event · myid · results (codes that the previous script's commands returned)
 *	counters · about · setting KEY · log LEVEL TEXT
 *	refuse · subprotocol NAME · header (out of place everywhere but in upgrade scripts)
 *	on close|error|timer|reply SCRIPT (run when that happens to this connection)
 *
 * In SCRIPT, and in the query of the upgrade, ';' parts commands: up=SCRIPT in on_upgrade,
 * open=SCRIPT in on_open, request=1 sends the request as JSON, sub=NAME, header=NAME:VALUE,
 * refuse=STATUS and body=TEXT, upgradefail=TEXT. Connections at a path ending in /observe join
 * `observers` and hear of every open, close, error, timer and wake of the others as JSON text; with
 * the setting log_events=1 the log hears it too. Settings for start: start_timer=DELAY,
 * start_stall=MS, start_fail=TEXT.
 */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

#include "tova_plugin.h"

#ifndef PROBE_VERSION
#define PROBE_VERSION "1.0"
#endif
#ifndef PROBE_DATA_SIZE
#define PROBE_DATA_SIZE 64
#endif
#ifndef PROBE_FLAGS
#define PROBE_FLAGS 0
#endif

#define RESULTS_MAX 256

struct text {
	char *p;
	size_t n, cap;
};

/* What has to happen later for a connection: on ... SCRIPT. */
struct hook {
	struct hook *next;
	tova_ws ws;
	char event[16];
	char *script;
};

struct opened {
	struct opened *next;
	tova_ws ws;
};

struct probe {
	struct hook *hooks;
	struct opened *opened;
	char *later;		  /* script of the next wake */
	int results[RESULTS_MAX]; /* of the previous callback with a script */
	size_t n_results;
	/* strange: a second open, a second close or a close without an open */
	unsigned long opens, closes, strange;
	pthread_t thread;
	int thread_runs, thread_results[3];
	int log_events;
};

/* One run of a script. */
struct run {
	tova_mount *m;
	tova_ws me;
	int results[RESULTS_MAX];
	size_t n_results;
	int ended, status; /* fail or failcode came */
	const char *key;   /* NULL: none */
	size_t key_len;
	uint64_t keys;
};

static struct probe *probe_of(tova_mount *m)
{
	return m->user;
}

/* --- text ------------------------------------------------------------------------------------- */

static void text_bytes(struct text *t, const void *p, size_t n)
{
	if (t->n + n + 1 > t->cap) {
		t->cap = (t->n + n + 1) * 2;
		t->p = realloc(t->p, t->cap);
	}
	memcpy(t->p + t->n, p, n);
	t->n += n;
	t->p[t->n] = '\0';
}

__attribute__((format(printf, 2, 3))) static void text_add(struct text *t, const char *format, ...)
{
	char piece[1024];
	va_list args;
	va_start(args, format);
	int n = vsnprintf(piece, sizeof piece, format, args);
	va_end(args);
	text_bytes(t, piece, n < (int)sizeof piece ? (size_t)n : sizeof piece - 1);
}

static void text_json(struct text *t, const char *p, size_t n)
{
	text_add(t, "\"");
	for (size_t i = 0; i < n; i++) {
		if ((unsigned char)p[i] < 0x20 || p[i] == '"' || p[i] == '\\' || p[i] == 0x7f)
			text_add(t, "\\u%04x", (unsigned char)p[i]);
		else
			text_bytes(t, p + i, 1);
	}
	text_add(t, "\"");
}

static void text_string(struct text *t, const char *p)
{
	text_json(t, p, strlen(p));
}

static void text_member(struct text *t, const char *key, const char *value)
{
	text_add(t, ",\"%s\":", key);
	if (value == NULL)
		text_add(t, "null");
	else
		text_string(t, value);
}

static void text_ws(struct text *t, tova_mount *m, tova_ws ws)
{
	char id[TOVA_WS_TEXT];
	text_add(t, "\"%s\"", tova_ws_text(m, ws, id));
}

static int hex_digit(int c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

/* Decodes %XX in place; returns the length. The text still ends in NUL. */
static size_t unescape(char *s)
{
	char *to = s;
	for (const char *p = s; *p != '\0'; p++) {
		if (p[0] == '%' && hex_digit(p[1]) >= 0 && hex_digit(p[2]) >= 0) {
			*to++ = (char)(hex_digit(p[1]) << 4 | hex_digit(p[2]));
			p += 2;
		} else {
			*to++ = *p;
		}
	}
	*to = '\0';
	return (size_t)(to - s);
}

/* Cuts the next word off *rest, still escaped; "" when there is none. */
static char *word(char **rest)
{
	char *start = *rest, *end = strchr(start, ' ');
	if (end == NULL) {
		*rest = start + strlen(start);
	} else {
		*end = '\0';
		*rest = end + 1;
	}
	return start;
}

static uint64_t number(char **rest)
{
	return strtoull(word(rest), NULL, 10);
}

static tova_ws connection(struct run *r, char **rest)
{
	const char *id = word(rest);
	tova_ws ws = TOVA_NONE;
	if (strcmp(id, "me") == 0)
		return r->me;
	if (strcmp(id, "ghost") == 0)
		return (tova_ws){0x1234, 0x5678};
	if (strcmp(id, "none") != 0 && tova_ws_parse(r->m, id, &ws) != 0)
		tova_log(r->m, TOVA_LOG_WARN, "no connection: %s", id);
	return ws;
}

/* Value of a query parameter, escaped, or NULL; the n-th of that name. To be freed. */
static char *parameter(const char *query, const char *name, int n)
{
	size_t len = strlen(name);
	for (const char *p = query; p != NULL; p = strchr(p, '&')) {
		p += *p == '&';
		if (strncmp(p, name, len) == 0 && p[len] == '=' && n-- == 0)
			return strndup(p + len + 1, strcspn(p + len + 1, "&"));
	}
	return NULL;
}

/* Sleeps for so many milliseconds; NULL: not at all. */
static void nap(const char *text)
{
	uint64_t ms = text != NULL ? strtoull(text, NULL, 10) : 0;
	struct timespec t = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
	while (nanosleep(&t, &t) != 0 && errno == EINTR)
		;
}

/* --- reports ---------------------------------------------------------------------------------- */

static int send_text(tova_mount *m, tova_ws ws, struct text *t)
{
	tova_payload p = tova_text_n(t->p, t->n);
	int result = tova_send_payload(m, ws, &p);
	free(t->p);
	return result;
}

/* Tells the observers, and the log, whose lines stay even when the callback fails. Ends the object
 * and frees it. */
static void report(tova_mount *m, struct text *t)
{
	text_add(t, "}");
	tova_payload p = tova_text_n(t->p, t->n);
	tova_broadcast_payload_to(m, "observers", &p, TOVA_NONE);
	if (probe_of(m)->log_events)
		tova_log(m, TOVA_LOG_NOTICE, "%s", t->p);
	free(t->p);
}

static struct text event_text(tova_mount *m, const char *event, tova_ws ws)
{
	struct text t = {NULL, 0, 0};
	text_add(&t, "{\"event\":\"%s\",\"ws\":", event);
	text_ws(&t, m, ws);
	return t;
}

/* --- commands --------------------------------------------------------------------------------- */

static void record(struct run *r, int result)
{
	if (r->n_results < RESULTS_MAX)
		r->results[r->n_results++] = result;
}

static void set_key(const struct run *r, tova_payload *p)
{
	p->key = r->key;
	p->key_len = r->key_len;
}

static int payload_send(struct run *r, tova_ws ws, uint32_t kind, char *text)
{
	tova_payload p = tova_binary(text, unescape(text));
	p.kind = kind;
	set_key(r, &p);
	return tova_send_payload(r->m, ws, &p);
}

static int cmd_send(struct run *r, char *rest)
{
	return payload_send(r, r->me, TOVA_TEXT, rest);
}
static int cmd_sendb(struct run *r, char *rest)
{
	return payload_send(r, r->me, TOVA_BINARY, rest);
}

static int cmd_send_to(struct run *r, char *rest)
{
	tova_ws ws = connection(r, &rest);
	return payload_send(r, ws, TOVA_TEXT, rest);
}

static int cmd_sendb_to(struct run *r, char *rest)
{
	tova_ws ws = connection(r, &rest);
	return payload_send(r, ws, TOVA_BINARY, rest);
}

static int cmd_kind(struct run *r, char *rest)
{
	uint32_t kind = (uint32_t)number(&rest);
	return payload_send(r, r->me, kind, rest);
}

/* n messages of `size` bytes that begin with their number, to `ws` or to the others in `room`. */
static int pour(struct run *r, const char *room, uint64_t n, size_t size)
{
	int result = 0;
	size = size < 24 ? 24 : size;
	char *bytes = malloc(size + 1), key[24];
	memset(bytes, 'x', size);
	for (uint64_t i = 0; i < n && result == 0; i++) {
		int digits = snprintf(bytes, 24, "%llu ", (unsigned long long)i);
		bytes[digits] = 'x';
		tova_payload p = tova_text_n(bytes, size);
		set_key(r, &p);
		if (r->keys > 0)
			p.key_len = (size_t)snprintf(key, sizeof key, "k%llu",
						     (unsigned long long)(i % r->keys)),
			p.key = key;
		result = room != NULL ? tova_broadcast_payload_to(r->m, room, &p, r->me)
				      : tova_send_payload(r->m, r->me, &p);
	}
	free(bytes);
	return result;
}

static int cmd_key(struct run *r, char *rest)
{
	r->key_len = unescape(rest);
	r->key = r->key_len > 0 ? rest : NULL;
	return 0;
}

static int cmd_keys(struct run *r, char *rest)
{
	r->keys = number(&rest);
	return 0;
}

static int cmd_huge(struct run *r, char *rest)
{
	return pour(r, NULL, 1, (size_t)number(&rest));
}

static int cmd_flood(struct run *r, char *rest)
{
	uint64_t n = number(&rest);
	return pour(r, NULL, n, (size_t)number(&rest));
}

static int cmd_pour(struct run *r, char *rest)
{
	char *room = word(&rest);
	unescape(room);
	uint64_t n = number(&rest);
	return pour(r, room, n, (size_t)number(&rest));
}

typedef int room_function(tova_mount *m, tova_ws ws, const char *room, size_t room_len);

static int with_room(struct run *r, room_function *f, tova_ws ws, char *room)
{
	size_t n = unescape(room);
	return f(r->m, ws, room, n);
}

static int cmd_join(struct run *r, char *rest)
{
	return with_room(r, r->m->host->join, r->me, rest);
}
static int cmd_leave(struct run *r, char *rest)
{
	return with_room(r, r->m->host->leave, r->me, rest);
}

static int cmd_join_of(struct run *r, char *rest)
{
	tova_ws ws = connection(r, &rest);
	return with_room(r, r->m->host->join, ws, rest);
}

static int cmd_leave_of(struct run *r, char *rest)
{
	tova_ws ws = connection(r, &rest);
	return with_room(r, r->m->host->leave, ws, rest);
}

static int to_all(struct run *r, uint32_t kind, char *text, tova_ws exclude)
{
	tova_payload p = tova_binary(text, unescape(text));
	p.kind = kind;
	set_key(r, &p);
	return tova_broadcast_payload(r->m, &p, exclude);
}

static int cmd_broadcast(struct run *r, char *rest)
{
	return to_all(r, TOVA_TEXT, rest, TOVA_NONE);
}
static int cmd_broadcastb(struct run *r, char *rest)
{
	return to_all(r, TOVA_BINARY, rest, TOVA_NONE);
}
static int cmd_broadcast_others(struct run *r, char *rest)
{
	return to_all(r, TOVA_TEXT, rest, r->me);
}

static int cmd_broadcast_except(struct run *r, char *rest)
{
	tova_ws ws = connection(r, &rest);
	return to_all(r, TOVA_TEXT, rest, ws);
}

static int to_room(struct run *r, uint32_t kind, char *rest, tova_ws exclude)
{
	char *room = word(&rest);
	size_t room_len = unescape(room);
	tova_payload p = tova_binary(rest, unescape(rest));
	p.kind = kind;
	set_key(r, &p);
	return r->m->host->broadcast_to(r->m, room, room_len, &p, exclude);
}

static int cmd_to(struct run *r, char *rest)
{
	return to_room(r, TOVA_TEXT, rest, TOVA_NONE);
}
static int cmd_tob(struct run *r, char *rest)
{
	return to_room(r, TOVA_BINARY, rest, TOVA_NONE);
}
static int cmd_to_others(struct run *r, char *rest)
{
	return to_room(r, TOVA_TEXT, rest, r->me);
}

static int cmd_to_except(struct run *r, char *rest)
{
	tova_ws ws = connection(r, &rest);
	return to_room(r, TOVA_TEXT, rest, ws);
}

static int close_with(struct run *r, tova_ws ws, char *rest)
{
	uint16_t code = (uint16_t)number(&rest);
	size_t n = unescape(rest);
	return r->m->host->close(r->m, ws, code, rest, n);
}

static int cmd_close(struct run *r, char *rest)
{
	return close_with(r, r->me, rest);
}

static int cmd_close_of(struct run *r, char *rest)
{
	tova_ws ws = connection(r, &rest);
	return close_with(r, ws, rest);
}

static int cmd_fail(struct run *r, char *rest)
{
	size_t n = unescape(rest);
	r->ended = 1;
	r->status = r->m->host->fail(r->m, rest, n);
	return r->status;
}

static int cmd_failcode(struct run *r, char *rest)
{
	r->ended = 1;
	r->status = atoi(rest);
	return r->status;
}

static int cmd_data(struct run *r, char *rest)
{
	size_t offset = (size_t)number(&rest), n = unescape(rest);
	char *data = tova_data(r->m);
	if (data == NULL || offset + n > PROBE_DATA_SIZE)
		return TOVA_E_STATE;
	memcpy(data + offset, rest, n);
	return 0;
}

static int cmd_getdata(struct run *r, char *rest)
{
	(void)rest;
	struct text t = {NULL, 0, 0};
	const unsigned char *data = tova_data(r->m);
	text_add(&t, "%s", data == NULL ? "none" : "");
	for (size_t i = 0; data != NULL && i < PROBE_DATA_SIZE; i++)
		text_add(&t, "%02x", data[i]);
	return send_text(r->m, r->me, &t);
}

static int cmd_set(struct run *r, char *rest)
{
	tova_ws ws = connection(r, &rest);
	size_t n = unescape(rest);
	return tova_set(r->m, ws, rest, n);
}

/* setif WS OLD NEW */
static int cmd_setif(struct run *r, char *rest)
{
	tova_ws ws = connection(r, &rest);
	char *old = word(&rest);
	size_t n_old = unescape(old), n = unescape(rest);
	return tova_set_if(r->m, ws, rest, n, old, n_old);
}

static int set_timer(struct run *r, tova_ws ws, char *rest)
{
	tova_timer t = {.size = sizeof t, .ws = ws, .name = word(&rest)};
	unescape((char *)t.name);
	t.id = number(&rest);
	t.delay_ms = number(&rest);
	t.period_ms = number(&rest);
	return r->m->host->set_timer(r->m, &t);
}

static int cmd_timer(struct run *r, char *rest)
{
	return set_timer(r, TOVA_NONE, rest);
}

static int cmd_wstimer(struct run *r, char *rest)
{
	tova_ws ws = connection(r, &rest);
	return set_timer(r, ws, rest);
}

static int cmd_cancel(struct run *r, char *rest)
{
	unescape(rest);
	return tova_cancel_timer(r->m, TOVA_NONE, rest);
}

static int cmd_wscancel(struct run *r, char *rest)
{
	tova_ws ws = connection(r, &rest);
	unescape(rest);
	return tova_cancel_timer(r->m, ws, rest);
}

static int cmd_query(struct run *r, char *rest)
{
	static const char *const kinds[] = {"",	     "count",	    "members",
					    "rooms", "connections", "stats"};
	const char *kind = word(&rest);
	tova_query q = {.size = sizeof q, .id = number(&rest), .asker = r->me};
	for (uint32_t i = 1; i < sizeof kinds / sizeof kinds[0]; i++)
		if (strcmp(kind, kinds[i]) == 0)
			q.kind = i;
	if (q.kind == TOVA_QUERY_ROOMS) {
		q.ws = connection(r, &rest);
	} else {
		q.room_len = unescape(rest);
		q.room = rest;
	}
	return r->m->host->query(r->m, &q);
}

static int cmd_after(struct run *r, char *rest)
{
	char *name = word(&rest);
	unescape(name);
	uint64_t id = number(&rest);
	return tova_after(r->m, name, id, number(&rest));
}

static int cmd_whose(struct run *r, char *rest)
{
	const char *subject = tova_subject(r->m);
	(void)rest;
	return tova_sendf(r->m, r->me, "%s", subject != NULL ? tova_quote(r->m, subject) : "null");
}

static int cmd_quote(struct run *r, char *rest)
{
	size_t n = unescape(rest);
	return tova_sendf(r->m, r->me, "{\"said\":%s}", tova_quote_n(r->m, rest, n));
}

/* All of them are there until the callback returns. */
static int cmd_quotes(struct run *r, char *rest)
{
	char text[1001];
	const char *first = tova_quote(r->m, "first");
	memset(text, 'x', 1000);
	text[1000] = '\0';
	for (uint64_t n = number(&rest); n > 0; n--)
		tova_quote(r->m, text);
	return tova_send(r->m, r->me, first);
}

static int cmd_sendf(struct run *r, char *rest)
{
	uint64_t more = number(&rest);
	unescape(rest);
	return tova_sendf(r->m, r->me, "%s%*s", rest, (int)more, "");
}

static int cmd_sendf_to(struct run *r, char *rest)
{
	char *room = word(&rest);
	unescape(room);
	unescape(rest);
	return tova_broadcastf_to(r->m, room, r->me, "%s to %s", rest, room);
}

static int cmd_sendf_all(struct run *r, char *rest)
{
	unescape(rest);
	return tova_broadcastf(r->m, r->me, "%s to all", rest);
}

static int cmd_with_key(struct run *r, char *rest)
{
	char *key = word(&rest);
	unescape(key);
	size_t n = unescape(rest);
	tova_payload p = tova_with_key(tova_binary(rest, n), key);
	return tova_send_payload(r->m, r->me, &p);
}

static int cmd_wake(struct run *r, char *rest)
{
	(void)rest;
	tova_wake(r->m);
	return 0;
}

static int cmd_later(struct run *r, char *rest)
{
	struct probe *me = probe_of(r->m);
	free(me->later);
	me->later = strdup(rest);
	return 0;
}

/* Commands are for the mount's thread only; waking is for any. */
static void *other_thread(void *arg)
{
	tova_mount *m = arg;
	struct probe *me = probe_of(m);
	me->thread_results[0] = tova_broadcast(m, "never", TOVA_NONE);
	me->thread_results[1] = tova_every(m, "never", 1, 1, 1);
	me->thread_results[2] = tova_query_room(m, TOVA_QUERY_COUNT, "never", 1);
	tova_log(m, TOVA_LOG_NOTICE, "%s from a thread", tova_setting(m, "greeting"));
	tova_wake(m);
	return NULL;
}

static void end_thread(struct probe *me)
{
	if (me->thread_runs)
		pthread_join(me->thread, NULL);
	me->thread_runs = 0;
}

static int cmd_thread(struct run *r, char *rest)
{
	(void)rest;
	struct probe *me = probe_of(r->m);
	end_thread(me);
	me->thread_runs = pthread_create(&me->thread, NULL, other_thread, r->m) == 0;
	return 0;
}

static int cmd_stall(struct run *r, char *rest)
{
	(void)r;
	nap(rest);
	return 0;
}

static int cmd_event(struct run *r, char *rest)
{
	(void)rest;
	struct text t = {NULL, 0, 0};
	tova_event e = tova_current_event(r->m);
	text_add(&t, "{\"ws\":");
	text_ws(&t, r->m, e.ws);
	text_add(&t, ",\"sequence\":%llu,\"attempt\":%u}", (unsigned long long)e.sequence,
		 e.attempt);
	return send_text(r->m, r->me, &t);
}

static int cmd_myid(struct run *r, char *rest)
{
	(void)rest;
	char id[TOVA_WS_TEXT];
	return tova_send(r->m, r->me, tova_ws_text(r->m, r->me, id));
}

static int cmd_results(struct run *r, char *rest)
{
	(void)rest;
	struct text t = {NULL, 0, 0};
	const struct probe *me = probe_of(r->m);
	text_add(&t, "[");
	for (size_t i = 0; i < me->n_results; i++)
		text_add(&t, "%s%d", i > 0 ? "," : "", me->results[i]);
	text_add(&t, "]");
	return send_text(r->m, r->me, &t);
}

static int cmd_counters(struct run *r, char *rest)
{
	(void)rest;
	struct text t = {NULL, 0, 0};
	const struct probe *me = probe_of(r->m);
	text_add(&t, "{\"opens\":%lu,\"closes\":%lu,\"strange\":%lu}", me->opens, me->closes,
		 me->strange);
	return send_text(r->m, r->me, &t);
}

static int cmd_about(struct run *r, char *rest)
{
	(void)rest;
	struct text t = {NULL, 0, 0};
	const tova_host *h = r->m->host;
	text_add(&t, "{\"plugin\":\"%s\",\"abi\":[%u,%u],\"size\":%zu,\"known\":%zu", PROBE_VERSION,
		 h->abi_major, h->abi_minor, h->size, sizeof *h);
	text_member(&t, "host", h->version);
	text_add(&t, "}");
	return send_text(r->m, r->me, &t);
}

static int cmd_setting(struct run *r, char *rest)
{
	unescape(rest);
	const char *value = tova_setting(r->m, rest);
	return tova_send(r->m, r->me, value != NULL ? value : "(null)");
}

static int cmd_log(struct run *r, char *rest)
{
	uint32_t level = (uint32_t)number(&rest);
	size_t n = unescape(rest);
	r->m->host->log(r->m, level, rest, n);
	return 0;
}

static int cmd_refuse(struct run *r, char *rest)
{
	unsigned status = (unsigned)number(&rest);
	unescape(rest);
	return tova_refuse(r->m, status, rest);
}

static int cmd_subprotocol(struct run *r, char *rest)
{
	unescape(rest);
	return tova_subprotocol(r->m, rest);
}

static int cmd_header(struct run *r, char *rest)
{
	unescape(rest);
	char *colon = strchr(rest, ':');
	if (colon == NULL)
		return TOVA_E_ARG;
	*colon = '\0';
	return tova_response_header(r->m, rest, colon + 1);
}

static int cmd_on(struct run *r, char *rest)
{
	struct hook *h = calloc(1, sizeof *h);
	h->ws = r->me;
	snprintf(h->event, sizeof h->event, "%s", word(&rest));
	h->script = strdup(rest);
	h->next = probe_of(r->m)->hooks;
	probe_of(r->m)->hooks = h;
	return 0;
}

static const struct command {
	const char *name;
	int (*run)(struct run *r, char *rest);
} commands[] = {
	{"send", cmd_send},
	{"sendb", cmd_sendb},
	{"send_to", cmd_send_to},
	{"sendb_to", cmd_sendb_to},
	{"kind", cmd_kind},
	{"huge", cmd_huge},
	{"flood", cmd_flood},
	{"pour", cmd_pour},
	{"key", cmd_key},
	{"keys", cmd_keys},
	{"join", cmd_join},
	{"leave", cmd_leave},
	{"join_of", cmd_join_of},
	{"leave_of", cmd_leave_of},
	{"broadcast", cmd_broadcast},
	{"broadcastb", cmd_broadcastb},
	{"broadcast_others", cmd_broadcast_others},
	{"broadcast_except", cmd_broadcast_except},
	{"to", cmd_to},
	{"tob", cmd_tob},
	{"to_others", cmd_to_others},
	{"to_except", cmd_to_except},
	{"close", cmd_close},
	{"close_of", cmd_close_of},
	{"fail", cmd_fail},
	{"failcode", cmd_failcode},
	{"data", cmd_data},
	{"getdata", cmd_getdata},
	{"set", cmd_set},
	{"setif", cmd_setif},
	{"timer", cmd_timer},
	{"wstimer", cmd_wstimer},
	{"cancel", cmd_cancel},
	{"wscancel", cmd_wscancel},
	{"query", cmd_query},
	{"after", cmd_after},
	{"whose", cmd_whose},
	{"quote", cmd_quote},
	{"quotes", cmd_quotes},
	{"sendf", cmd_sendf},
	{"sendf_to", cmd_sendf_to},
	{"sendf_all", cmd_sendf_all},
	{"with_key", cmd_with_key},
	{"wake", cmd_wake},
	{"later", cmd_later},
	{"thread", cmd_thread},
	{"stall", cmd_stall},
	{"event", cmd_event},
	{"myid", cmd_myid},
	{"results", cmd_results},
	{"counters", cmd_counters},
	{"about", cmd_about},
	{"setting", cmd_setting},
	{"log", cmd_log},
	{"refuse", cmd_refuse},
	{"subprotocol", cmd_subprotocol},
	{"header", cmd_header},
	{"on", cmd_on},
};

static void run_line(struct run *r, char *line)
{
	const char *name = word(&line);
	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
		if (strcmp(commands[i].name, name) == 0) {
			record(r, commands[i].run(r, line));
			return;
		}
	}
	r->ended = 1;
	r->status = tova_fail(r->m, "probe knows no command %s", name);
}

/* Results are kept for `results`, which itself leaves them alone. */
static int script(tova_mount *m, tova_ws me, const char *text, size_t len, const char *separators)
{
	struct run r = {.m = m, .me = me};
	char *copy = strndup(text, len), *state = NULL;
	int asks = strncmp(copy, "results", 7) == 0;
	for (char *line = strtok_r(copy, separators, &state); line != NULL && !r.ended;
	     line = strtok_r(NULL, separators, &state))
		run_line(&r, line);
	free(copy);
	if (!asks) {
		memcpy(probe_of(m)->results, r.results, sizeof r.results);
		probe_of(m)->n_results = r.n_results;
	}
	return r.status;
}

static int parameter_script(tova_mount *m, tova_ws ws, const tova_request *request,
			    const char *name)
{
	char *text = parameter(request->query, name, 0);
	if (text == NULL)
		return 0;
	unescape(text);
	int result = script(m, ws, text, strlen(text), ";");
	free(text);
	return result;
}

static int run_hook(tova_mount *m, tova_ws ws, const char *event)
{
	for (struct hook **at = &probe_of(m)->hooks; *at != NULL; at = &(*at)->next) {
		struct hook *h = *at;
		if (tova_ws_eq(h->ws, ws) && strcmp(h->event, event) == 0) {
			*at = h->next;
			int result = script(m, ws, h->script, strlen(h->script), ";");
			free(h->script);
			free(h);
			return result;
		}
	}
	return 0;
}

/* --- callbacks -------------------------------------------------------------------------------- */

static int start(tova_mount *m)
{
	const char *log_events = tova_setting(m, "log_events"),
		   *delay = tova_setting(m, "start_timer");
	const char *fail = tova_setting(m, "start_fail");
#ifdef PROBE_START_FAILS
	fail = "no, not this one";
#endif
	if (fail != NULL)
		return tova_fail(m, "%s", fail);
	nap(tova_setting(m, "start_stall"));
	struct probe *me = calloc(1, sizeof *me);
	me->log_events = log_events != NULL && strcmp(log_events, "1") == 0;
	m->user = me;
	if (delay != NULL)
		return tova_every(m, "start", 7, strtoull(delay, NULL, 10), 0);
	return 0;
}

static void stop(tova_mount *m)
{
	struct probe *me = probe_of(m);
	end_thread(me);
	int refused = tova_broadcast(m, "never", TOVA_NONE);
	tova_log(m, TOVA_LOG_NOTICE,
		 "probe %s stops: broadcast returned %d, opens %lu, closes %lu, strange %lu",
		 PROBE_VERSION, refused, me->opens, me->closes, me->strange);
	while (me->hooks != NULL) {
		struct hook *h = me->hooks;
		me->hooks = h->next;
		free(h->script);
		free(h);
	}
	while (me->opened != NULL) {
		struct opened *o = me->opened;
		me->opened = o->next;
		free(o);
	}
	free(me->later);
	free(me);
}

static int upgrade_headers(tova_mount *m, const tova_request *request)
{
	int result = 0;
	char *line;
	for (int i = 0; result == 0 && (line = parameter(request->query, "header", i)) != NULL;
	     i++) {
		unescape(line);
		char *colon = strchr(line, ':');
		if (colon != NULL) {
			*colon = '\0';
			result = tova_response_header(m, line, colon + 1);
		}
		free(line);
	}
	return result;
}

static int upgrade_refuse(tova_mount *m, const tova_request *request)
{
	char *status = parameter(request->query, "refuse", 0),
	     *body = parameter(request->query, "body", 0);
	int result = 0;
	if (status != NULL) {
		if (body != NULL)
			unescape(body);
		result = tova_refuse(m, (unsigned)atoi(status), body != NULL ? body : "");
	}
	free(status);
	free(body);
	return result;
}

static int on_upgrade(tova_mount *m, const tova_request *request)
{
	char *sub = parameter(request->query, "sub", 0),
	     *fail = parameter(request->query, "upgradefail", 0);
	int result = upgrade_headers(m, request);
	if (result == 0 && sub != NULL)
		result = tova_subprotocol(m, sub);
	if (result == 0)
		result = upgrade_refuse(m, request);
	if (result == 0)
		result = parameter_script(m, TOVA_NONE, request, "up");
	if (fail != NULL)
		result = tova_fail(m, "%s", fail);
	free(sub);
	free(fail);
	return result;
}

static void text_request(struct text *t, const tova_request *r)
{
	text_add(t, "{\"size\":%zu,\"remote_port\":%u,\"local_port\":%u,\"secure\":%d", r->size,
		 r->remote_port, r->local_port, tova_is_secure(r));
	const char *const members[] = {"method",       r->method,      "mount",
				       r->mount,       "path",	       r->path,
				       "query",	       r->query,       "host",
				       r->host,	       "remote_addr",  r->remote_addr,
				       "local_addr",   r->local_addr,  "tls_version",
				       r->tls_version, "tls_cipher",   r->tls_cipher,
				       "tls_subject",  r->tls_subject, "claims",
				       tova_claims(r), "subject",      tova_subject(r)};
	for (size_t i = 0; i < sizeof members / sizeof members[0]; i += 2)
		text_member(t, members[i], members[i + 1]);
	const tova_pair *const lists[] = {r->headers, r->cookies};
	const size_t sizes[] = {r->n_headers, r->n_cookies};
	for (int list = 0; list < 2; list++) {
		text_add(t, ",\"%s\":[", list == 0 ? "headers" : "cookies");
		for (size_t i = 0; i < sizes[list]; i++) {
			text_add(t, "%s[", i > 0 ? "," : "");
			text_string(t, lists[list][i].name);
			text_add(t, ",");
			text_string(t, lists[list][i].value);
			text_add(t, "]");
		}
		text_add(t, "]");
	}
	text_add(t, ",\"subprotocols\":[");
	for (size_t i = 0; i < r->n_subprotocols; i++) {
		text_add(t, "%s", i > 0 ? "," : "");
		text_string(t, r->subprotocols[i]);
	}
	text_add(t, "]}");
}

static void count_open(struct probe *me, tova_ws ws)
{
	me->opens++;
	for (struct opened *o = me->opened; o != NULL; o = o->next)
		me->strange += (unsigned long)tova_ws_eq(o->ws, ws);
	struct opened *o = malloc(sizeof *o);
	*o = (struct opened){me->opened, ws};
	me->opened = o;
}

static void count_close(struct probe *me, tova_ws ws)
{
	me->closes++;
	for (struct opened **at = &me->opened; *at != NULL; at = &(*at)->next) {
		struct opened *o = *at;
		if (tova_ws_eq(o->ws, ws)) {
			*at = o->next;
			free(o);
			return;
		}
	}
	me->strange++;
}

static int on_open(tova_mount *m, tova_ws ws, const tova_request *request)
{
	size_t path_len = strlen(request->path);
	char *wanted = parameter(request->query, "request", 0);
	count_open(probe_of(m), ws);
	struct text t = event_text(m, "open", ws);
	report(m, &t);
	if (path_len >= 8 && strcmp(request->path + path_len - 8, "/observe") == 0) {
		tova_join(m, ws, "observers");
		tova_send(m, ws, "observing");
	}
	if (wanted != NULL) {
		struct text r = {NULL, 0, 0};
		text_request(&r, request);
		send_text(m, ws, &r);
	}
	free(wanted);
	return parameter_script(m, ws, request, "open");
}

static int on_message(tova_mount *m, tova_ws ws, const tova_payload *message)
{
	const char *text = message->data;
	if (message->kind == TOVA_BINARY)
		return tova_send_payload(m, ws, message);
	if (text[message->len] != '\0')
		return tova_fail(m, "no NUL behind the message");
	return script(m, ws, text, message->len, "\n");
}

static int on_close(tova_mount *m, tova_ws ws, const tova_close *why)
{
	count_close(probe_of(m), ws);
	struct text t = event_text(m, "close", ws);
	text_add(&t, ",\"code\":%u,\"reason\":", why->code);
	text_json(&t, why->reason, why->reason_len);
	text_add(&t, ",\"rooms\":[");
	for (size_t i = 0; i < why->n_rooms; i++) {
		text_add(&t, "%s", i > 0 ? "," : "");
		text_string(&t, why->rooms[i]);
	}
	text_add(&t, "]");
	tova_event e = tova_current_event(m);
	text_add(&t, ",\"sequence\":%llu", (unsigned long long)e.sequence);
	report(m, &t);
	return run_hook(m, ws, "close");
}

static int on_error(tova_mount *m, tova_ws ws, const tova_error *error)
{
	struct text t = event_text(m, "error", ws);
	text_add(&t, ",\"kind\":%u,\"text\":", error->kind);
	text_json(&t, error->text, error->text_len);
	report(m, &t);
	return run_hook(m, ws, "error");
}

static int on_timer(tova_mount *m, const tova_timer *timer)
{
	struct text t = event_text(m, "timer", timer->ws);
	text_member(&t, "name", timer->name);
	text_add(&t, ",\"id\":%llu", (unsigned long long)timer->id);
	report(m, &t);
	return run_hook(m, timer->ws, "timer");
}

static void text_reply(tova_mount *m, struct text *t, const tova_reply *r)
{
	text_add(t, "{\"event\":\"reply\",\"kind\":%u,\"id\":%llu,\"count\":%llu", r->kind,
		 (unsigned long long)r->id, (unsigned long long)r->count);
	text_add(t, ",\"connections\":[");
	for (uint64_t i = 0; r->connections != NULL && i < r->count; i++) {
		text_add(t, "%s", i > 0 ? "," : "");
		text_ws(t, m, r->connections[i]);
	}
	text_add(t, "],\"rooms\":[");
	for (uint64_t i = 0; r->rooms != NULL && i < r->count; i++) {
		text_add(t, "%s", i > 0 ? "," : "");
		text_string(t, r->rooms[i]);
	}
	text_add(t, "]");
	if (r->stats != NULL) {
		const tova_stats *s = r->stats;
		const uint64_t values[] = {s->uptime_ms,    s->connections,  s->rooms,
					   s->messages_in,  s->messages_out, s->bytes_in,
					   s->bytes_out,    s->slow,	     s->dropped,
					   s->rate_dropped, s->refused,	     s->limited};
		static const char *const names[] = {"uptime_ms",    "connections",  "rooms",
						    "messages_in",  "messages_out", "bytes_in",
						    "bytes_out",    "slow",	    "dropped",
						    "rate_dropped", "refused",	    "limited"};
		for (size_t i = 0; i < sizeof names / sizeof *names; i++)
			text_add(t, ",\"%s\":%llu", names[i], (unsigned long long)values[i]);
	}
	text_add(t, "}");
}

static int on_reply(tova_mount *m, const tova_reply *reply)
{
	struct text t = {NULL, 0, 0};
	tova_ws asker = tova_asker(reply);
	text_reply(m, &t, reply);
	send_text(m, asker, &t);
	return run_hook(m, asker, "reply");
}

static int on_wake(tova_mount *m)
{
	struct probe *me = probe_of(m);
	struct text t = event_text(m, "wake", TOVA_NONE);
	if (me->thread_runs) {
		end_thread(me);
		text_add(&t, ",\"thread\":[%d,%d,%d]", me->thread_results[0], me->thread_results[1],
			 me->thread_results[2]);
	}
	report(m, &t);
	char *later = me->later;
	me->later = NULL;
	int result = later != NULL ? script(m, TOVA_NONE, later, strlen(later), ";") : 0;
	free(later);
	return result;
}

#ifdef PROBE_MIGRATE
/* Fills the new room behind what the old library kept with 'm'. */
static int migrate(tova_mount *m, tova_ws ws, const void *old_data, size_t old_size,
		   const char *old_version)
{
	char *data = tova_data(m);
	(void)ws;
	if (PROBE_MIGRATE != 0)
		return tova_fail(m, "can not migrate from %s", old_version);
	if (strcmp(old_version, "1.0") != 0)
		return tova_fail(m, "unexpected: version %s", old_version);
	memset(data, 'm', PROBE_DATA_SIZE);
	if (old_size > 0)
		memcpy(data, old_data, old_size < PROBE_DATA_SIZE ? old_size : PROBE_DATA_SIZE);
	return 0;
}
#endif

TOVA_PLUGIN = {
	TOVA_PLUGIN_HEAD("probe", PROBE_VERSION),
	.flags = PROBE_FLAGS,
	.data_size = PROBE_DATA_SIZE,
#ifdef PROBE_SETTINGS
	.settings = PROBE_SETTINGS,
#endif
	.start = start,
	.stop = stop,
	.on_upgrade = on_upgrade,
	.on_open = on_open,
	.on_message = on_message,
	.on_close = on_close,
	.on_error = on_error,
	.on_timer = on_timer,
	.on_reply = on_reply,
	.on_wake = on_wake,
#ifdef PROBE_MIGRATE
	.migrate = migrate,
#endif
};
