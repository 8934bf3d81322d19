/* codec_write: events to text. */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "handler/worker/codec.h"
#include "common/utf8.h"
#include "auth/token.h"
#include "hub/session_trace.h"

#define CODEC_KEEP (256u << 10)
#define CODEC_FOLLOWER 128 /* more than all that stands around the text of one */

void codec_raw(struct codec_out *o, const char *text, size_t n)
{
	buffer_add(&o->text, text, n);
}

#define RAW(o, literal) codec_raw((o), (literal), sizeof(literal) - 1)

void codec_string(struct codec_out *o, struct span text)
{
	buffer_add_json(&o->text, text.p, text.n);
}

void codec_reset(struct codec_out *o)
{
	buffer_empty(&o->text, CODEC_KEEP);
	buffer_empty(&o->binary, CODEC_KEEP);
	o->n = 0;
}

void codec_free(struct codec_out *o)
{
	buffer_free(&o->text);
	buffer_free(&o->binary);
	o->n = 0;
}

int codec_parts(struct codec_out *o, struct iovec parts[CODEC_PARTS])
{
	parts[0] = (struct iovec){o->text.p, o->text.n};
	parts[1] = (struct iovec){(void *)"]\n", o->binary.n > 0 ? 2 : 1};
	parts[2] = (struct iovec){o->binary.p, o->binary.n};
	return o->binary.n > 0 ? 3 : 2;
}

/* --- objects ---------------------------------------------------------------------------------- */

static void codec_write_key(struct codec_out *o, const char *name)
{
	RAW(o, ",\"");
	codec_raw(o, name, strlen(name));
	RAW(o, "\":");
}

/* Header values may hold any byte above 127 (RFC 9110 5.5), and so may what workers say: what is
 * not UTF-8 is taken for Latin-1, so that nothing is lost and no batch is spoiled. */
static void codec_write_put_loose_text(struct codec_out *o, struct span text)
{
	if (text.n == 0 || utf8_valid(text.p, text.n)) {
		codec_string(o, text);
		return;
	}
	char *wide = malloc(2 * text.n);
	size_t n = 0;
	if (wide == NULL) {
		o->text.failed = true;
		return;
	}
	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];
		if (c < 0x80) {
			wide[n++] = (char)c;
		} else {
			wide[n++] = (char)(0xC0 | c >> 6);
			wide[n++] = (char)(0x80 | (c & 63));
		}
	}
	codec_string(o, (struct span){wide, n});
	free(wide);
}

void codec_object(struct codec_out *o, const char *type)
{
	codec_raw(o, o->n++ == 0 ? "[" : ",", 1);
	RAW(o, "{\"t\":\"");
	codec_raw(o, type, strlen(type));
	RAW(o, "\"");
}

void codec_object_end(struct codec_out *o)
{
	RAW(o, "}");
}

void codec_member_text(struct codec_out *o, const char *name, struct span text)
{
	codec_write_key(o, name);
	codec_write_put_loose_text(o, text);
}

void codec_member_uint(struct codec_out *o, const char *name, uint64_t value)
{
	codec_write_key(o, name);
	buffer_add_number(&o->text, value);
}

void codec_member_raw(struct codec_out *o, const char *name, const char *json)
{
	codec_write_key(o, name);
	codec_raw(o, json, strlen(json));
}

void codec_word(struct codec_out *o, const char *type)
{
	codec_object(o, type);
	codec_object_end(o);
}

void codec_bye(struct codec_out *o, const char *why)
{
	codec_object(o, "bye");
	if (why != NULL)
		codec_member_text(o, "error", span_of(why));
	codec_object_end(o);
}

void codec_welcome(struct codec_out *o, const char *link, const char *mount, unsigned window,
		   unsigned batch, unsigned runs, bool starting)
{
	codec_object(o, "welcome");
	codec_member_uint(o, "v", 1);
	codec_member_text(o, "link", span_of(link));
	codec_member_text(o, "mount", span_of(mount));
	codec_member_text(o, "host", span_of(TOVA_VERSION));
	codec_member_uint(o, "window", window);
	codec_member_uint(o, "batch", batch);
	if (runs > 1)
		codec_member_uint(o, "runs", runs);
	if (starting)
		codec_member_raw(o, "starting", "true");
	codec_object_end(o);
}

/* --- requests --------------------------------------------------------------------------------- */

static void codec_write_put_address(struct codec_out *o, const char *name, const struct address *a)
{
	char text[ADDRESS_TEXT];
	codec_write_key(o, name);
	RAW(o, "[");
	codec_string(o, span_of(address_text(a, text)));
	RAW(o, ",");
	buffer_add_number(&o->text, a->port);
	RAW(o, "]");
}

static void codec_write_put_headers(struct codec_out *o, const struct request *r)
{
	codec_write_key(o, "headers");
	RAW(o, "[");
	for (unsigned i = 0; i < r->n_headers; i++) {
		codec_raw(o, i > 0 ? ",[" : "[", i > 0 ? 2 : 1);
		codec_string(o, r->headers[i].name);
		RAW(o, ",");
		codec_write_put_loose_text(o, r->headers[i].value);
		RAW(o, "]");
	}
	RAW(o, "]");
}

static void codec_write_put_subprotocols(struct codec_out *o, const struct request *r)
{
	bool any = false;
	codec_write_key(o, "subprotocols");
	RAW(o, "[");
	for (unsigned i = 0; i < r->n_headers; i++) {
		struct span rest = r->headers[i].value, item;
		if (!span_eq_nocase(r->headers[i].name, SPAN("Sec-WebSocket-Protocol")))
			continue;
		while (request_list_next(&rest, &item)) {
			codec_raw(o, ",", any);
			codec_write_put_loose_text(o, item);
			any = true;
		}
	}
	RAW(o, "]");
}

static void codec_write_put_tls(struct codec_out *o, const struct tls_facts *tls)
{
	if (tls->version == NULL) {
		codec_member_raw(o, "tls", "null");
		return;
	}
	codec_write_key(o, "tls");
	RAW(o, "{\"version\":");
	codec_string(o, span_of(tls->version));
	codec_member_text(o, "cipher", span_of(tls->cipher));
	if (tls->subject != NULL)
		codec_member_text(o, "subject", span_of(tls->subject));
	else
		codec_member_raw(o, "subject", "null");
	RAW(o, "}");
}

static void codec_write_put_request(struct codec_out *o, const struct event_request *facts)
{
	struct request r;
	if (!request_parse_kept(&r, facts->head))
		return;
	codec_write_key(o, "request");
	RAW(o, "{\"method\":");
	codec_string(o, r.method);
	codec_member_text(o, "path", r.path);
	codec_write_key(o, "query");
	codec_write_put_loose_text(o, r.query);
	codec_member_text(o, "mount", span_of(facts->mount_path));
	codec_write_key(o, "host");
	codec_write_put_loose_text(o, r.host);
	codec_write_put_headers(o, &r);
	codec_write_put_address(o, "remote", &facts->remote);
	codec_write_put_address(o, "local", &facts->local);
	codec_write_put_tls(o, &facts->tls);
	codec_write_put_subprotocols(o, &r);
	codec_member_raw(o, "secure", facts->secure ? "true" : "false");
	if (facts->token != NULL)
		codec_member_raw(o, "claims", facts->token->text);
	RAW(o, "}");
}

/* --- events ----------------------------------------------------------------------------------- */

static void codec_write_put_bytes(struct codec_out *o, const char *text_key, const char *binary_key,
				  const void *bytes, size_t n, bool binary)
{
	if (binary) {
		codec_member_uint(o, binary_key, n);
		buffer_add(&o->binary, bytes, n);
	} else {
		codec_write_key(o, text_key);
		codec_string(o, (struct span){bytes, n});
	}
}

static void codec_write_put_close(struct codec_out *o, const struct hub_event *e)
{
	codec_member_uint(o, "code", e->close.code);
	codec_member_text(o, "reason", e->close.reason);
	codec_write_key(o, "rooms");
	RAW(o, "[");
	for (uint32_t i = 0; i < room_count(e->close.rooms); i++) {
		codec_raw(o, ",", i > 0);
		codec_string(o, span_of(room_name(e->close.rooms, i)));
	}
	RAW(o, "]");
}

static void codec_write_put_error(struct codec_out *o, const struct hub_event *e)
{
	static const char *const kinds[] = {"", "handler", "protocol", "transport", "limit"};
	codec_member_text(o, "kind", span_of(kinds[e->error.kind]));
	codec_member_text(o, "error", e->error.text);
}

static void codec_write_put_timer(struct codec_out *o, const struct hub_event *e)
{
	codec_member_text(o, "name", span_of(e->timer.name));
	codec_member_uint(o, "id", e->timer.id);
	codec_member_uint(o, "delay", e->timer.delay_ms);
	codec_member_uint(o, "period", e->timer.period_ms);
}

/* The connection is not one that the event is of: so it is called something else. */
static void codec_write_put_presence(struct codec_out *o, const struct event_presence *who)
{
	char id[SESSION_ID_TEXT];
	session_id_text((struct session_id){.host = who->host, .local = who->conn}, id);
	codec_member_text(o, "room", event_presence_room(who));
	if (who->user_len > 0)
		codec_member_text(o, "user", event_presence_user(who));
	if (who->info_len > 0)
		codec_member_text(o, "info", event_presence_info(who));
	codec_member_text(o, "member", span_of(id));
	codec_member_uint(o, "users", who->users);
}

/* Text that is known to fit. */
static char *codec_write_lay(char *at, const char *text, size_t n)
{
	memcpy(at, text, n);
	return at + n;
}

#define LAY(at, literal) codec_write_lay((at), (literal), sizeof(literal) - 1)

static char *codec_write_lay_uint(char *at, uint64_t value)
{
	char digits[20], *from = digits + sizeof digits;
	do
		*--from = (char)('0' + value % 10);
	while ((value /= 10) > 0);
	return codec_write_lay(at, from, (size_t)(digits + sizeof digits - from));
}

/* Most events are these: a message that follows another in a run, what else there is to say of it
 * that one has said. */
static void codec_write_put_follower(struct codec_out *o, const struct event_held *h)
{
	const struct hub_event *e = &h->event;
	bool binary = e->message.binary;
	char *at = buffer_room(&o->text,
			       CODEC_FOLLOWER + (binary ? 0 : JSON_ESCAPED_MAX(e->message.len)));
	if (at == NULL)
		return;
	at = o->n++ == 0 ? LAY(at, "[") : LAY(at, ",");
	at = LAY(at, "{\"t\":\"message\",\"s\":");
	at = codec_write_lay_uint(at, h->number);
	at = LAY(at, ",\"run\":");
	at = codec_write_lay_uint(at, h->run);
	if (binary) {
		at = LAY(at, ",\"bin\":");
		at = codec_write_lay_uint(at, e->message.len);
		buffer_add(&o->binary, e->message.bytes, e->message.len);
	} else {
		at = LAY(at, ",\"data\":");
		at += json_escape(at, (const char *)e->message.bytes, e->message.len);
	}
	*at++ = '}';
	o->text.n = (size_t)(at - o->text.p);
}

/* Who is at the other end, as far as anything is known. */
static void put_identity(struct codec_out *o, const struct hub_event *e)
{
	const char *subject = session_event_subject(e), *user = session_event_user(e);
	const char *claims = o->claims ? session_event_claims(e) : NULL;
	struct span info = e->session != NULL ? identity_info(e->session) : (struct span){0};
	if (subject != NULL)
		codec_member_text(o, "subject", span_of(subject));
	if (user != NULL && user != subject)
		codec_member_text(o, "user", span_of(user));
	if (info.n > 0)
		codec_member_text(o, "info", info);
	if (claims != NULL && e->kind != EVENT_UPGRADE && e->kind != EVENT_OPEN)
		codec_member_raw(o, "claims", claims);
}

/* The mount's own state, where it has another version than was told. */
static const struct room_state *codec_news_of_mount(const struct codec_out *o)
{
	const struct room_state *own = o->mount != NULL ? room_state_of_mount(o->mount) : NULL;
	return own != NULL && own->version != o->mount_told ? own : NULL;
}

size_t codec_kept_size(const struct codec_out *o, const struct event_held *h)
{
	const struct room *r = o->room_states ? session_first_room(h->event.session) : NULL;
	size_t of_room =
		r != NULL ? r->len + room_state_bytes(room_state_of_session(h->event.session)).n : 0;
	return of_room + room_state_bytes(codec_news_of_mount(o)).n;
}

static __attribute__((noinline)) void put_mount_state(struct codec_out *o)
{
	const struct room_state *own = codec_news_of_mount(o);
	if (own == NULL)
		return;
	codec_member_uint(o, "mount_version", own->version);
	codec_member_uint(o, "mount_state_bin", own->len);
	buffer_add(&o->binary, own->bytes, own->len);
	o->mount_told = own->version;
}

/* What is kept with its first room. */
static __attribute__((noinline)) void put_room_state(struct codec_out *o, const struct session *s)
{
	const struct room *r = session_first_room(s);
	const struct room_state *kept = room_state_of_session(s);
	struct span state = room_state_bytes(kept);
	if (r == NULL)
		return;
	codec_member_text(o, "room", (struct span){r->name, r->len});
	codec_member_uint(o, "room_version", room_state_version(kept));
	if (state.n > 0)
		codec_write_put_bytes(o, "room_state", "room_state_bin", state.p, state.n,
				      !utf8_valid(state.p, state.n));
}

/* Which distributed trace it belongs to. */
static void put_trace(struct codec_out *o, const struct hub_event *e)
{
	char text[TRACE_CONTEXT_TEXT];
	const char *parent = session_trace_parent(e, text);
	if (parent == NULL)
		return;
	codec_member_text(o, "traceparent", span_of(parent));
	if (session_trace_state(e).n > 0)
		codec_member_text(o, "tracestate", session_trace_state(e));
}

/* What stands in front of what is particular to its kind. */
static void codec_write_put_event(struct codec_out *o, const struct event_held *h)
{
	const struct hub_event *e = &h->event;
	const struct session *s = e->session;
	char id[SESSION_ID_TEXT];
	codec_object(o, event_name(e->kind));
	codec_member_uint(o, "s", h->number);
	if (s != NULL) {
		codec_member_text(o, "conn", span_of(hub_session_text(s, id)));
	}
	codec_member_uint(o, "seq", e->sequence);
	codec_member_uint(o, "attempt", e->attempt);
	put_identity(o, e);
	put_trace(o, e);
	struct span state = s != NULL ? session_state(s) : (struct span){0};
	if (state.n > 0)
		codec_write_put_bytes(o, "state", "state_bin", state.p, state.n,
				      !utf8_valid(state.p, state.n));
	if (o->room_states)
		put_room_state(o, s);
	if (o->mount != NULL)
		put_mount_state(o);
}

/* What an event says but for a message's bytes. */
static inline void codec_write_put_facts(struct codec_out *o, const struct hub_event *e)
{
	if (e->kind == EVENT_OPEN || e->kind == EVENT_UPGRADE || e->kind == EVENT_BACK)
		codec_write_put_request(o, e->request);
	else if (e->kind == EVENT_CLOSE)
		codec_write_put_close(o, e);
	else if (e->kind == EVENT_ERROR)
		codec_write_put_error(o, e);
	else if (e->kind == EVENT_TIMER)
		codec_write_put_timer(o, e);
	else if (e->kind == EVENT_AWAY)
		codec_member_uint(o, "code", e->away.code);
	else if (e->kind == EVENT_JOIN || e->kind == EVENT_LEAVE)
		codec_write_put_presence(o, e->presence);
}

void codec_event(struct codec_out *o, const struct event_held *h)
{
	const struct hub_event *e = &h->event;
	if (h->run > 1) {
		codec_write_put_follower(o, h);
		return;
	}
	codec_write_put_event(o, h);
	if (e->kind == EVENT_MESSAGE)
		codec_write_put_bytes(o, "data", "bin", e->message.bytes, e->message.len,
				      e->message.binary);
	else
		codec_write_put_facts(o, e);
	codec_object_end(o);
}

int codec_stream(struct codec_out *o, const struct event_held *h, struct codec_stream *stream_r,
		 struct iovec tail_r[CODEC_PARTS])
{
	const struct hub_event *e = &h->event;
	*stream_r = (struct codec_stream){.magic = CHECK_CODEC_STREAM,
					  .at = e->message.bytes,
					  .left = e->message.len,
					  .binary = e->message.binary};
	codec_write_put_event(o, h);
	if (e->message.binary) {
		codec_member_uint(o, "bin", e->message.len);
		RAW(o, "}]\n");
		buffer_add(&o->text, o->binary.p, o->binary.n); /* its state */
		return 0;
	}
	codec_write_key(o, "data");
	RAW(o, "\"");
	tail_r[0] = (struct iovec){(void *)"\"}]\n", o->binary.n > 0 ? 4 : 3};
	tail_r[1] = (struct iovec){o->binary.p, o->binary.n};
	return o->binary.n > 0 ? 2 : 1;
}

uint64_t codec_stream_size(const struct codec_stream *stream)
{
	/* Without the quotes, which stand around it. */
	return stream->binary ? stream->left
			      : json_escaped_size((const char *)stream->at, stream->left) - 2;
}

size_t codec_stream_next(void *stream, uint8_t *dst, size_t room)
{
	struct codec_stream *s = stream;
	CHECK_IS(s, CHECK_CODEC_STREAM);
	size_t made = 0;
	while (s->left > 0 && room - made >= 6) {
		size_t n = s->binary ? room - made : (room - made) / 6;
		n = n < s->left ? n : s->left;
		if (s->binary)
			memcpy(dst + made, s->at, n);
		made += s->binary ? n
				  : json_escape_piece((char *)dst + made, (const char *)s->at, n);
		s->at += n;
		s->left -= n;
	}
	return made;
}

void codec_member_base64(struct codec_out *o, const char *name, struct span bytes)
{
	codec_write_key(o, name);
	RAW(o, "\"");
	size_t n = bytes.n;
	char *at = n <= INT32_MAX ? buffer_room(&o->text, (n + 2) / 3 * 4 + 1) : NULL;
	if (at != NULL)
		o->text.n += (size_t)EVP_EncodeBlock((unsigned char *)at,
						     (const unsigned char *)bytes.p, (int)n);
	RAW(o, "\"");
}

void codec_dead_event(struct codec_out *o, const struct event_held *h)
{
	const struct hub_event *e = &h->event;
	char id[SESSION_ID_TEXT];
	if (e->session != NULL) {
		codec_member_text(o, "conn", span_of(hub_session_text(e->session, id)));
		struct span state = session_state(e->session);
		if (state.n > 0)
			codec_member_base64(o, "state_base64", state);
	}
	codec_member_uint(o, "seq", e->sequence);
	codec_member_uint(o, "attempt", e->attempt);
	if (e->kind == EVENT_MESSAGE && e->message.binary)
		codec_member_base64(o, "data_base64",
				    (struct span){(const char *)e->message.bytes, e->message.len});
	else if (e->kind == EVENT_MESSAGE)
		codec_member_text(o, "data",
				  (struct span){(const char *)e->message.bytes, e->message.len});
	else
		codec_write_put_facts(o, e);
}
