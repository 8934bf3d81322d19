/* What a client that may come back is sent. */
#include <stdlib.h>

#include "base/check.h"
#include "hub/resume_parts.h"
#include "hub/session_conn.h"
#include "hub/slow_consumer.h"

static bool resume_out_is_marked(const struct slice *frame)
{
	struct span payload = frame_payload(slice_bytes(frame), frame->len);
	return !frame_is_binary(slice_bytes(frame)) && payload.n > 0 &&
	       payload.p[0] == TOVA_V1_MARK;
}

void resume_cast_init(struct resume_cast *cast, const struct slice *frame, struct out_message *out,
		      uint64_t key)
{
	cast->frame = frame;
	cast->out = out;
	cast->key = key;
	cast->escaped = resume_out_is_marked(frame);
	cast->kept.chunk = NULL;
}

void resume_cast_free(struct resume_cast *cast)
{
	if (cast->kept.chunk != NULL && cast->escaped)
		out_message_free(&cast->own);
	slice_unref(&cast->kept);
}

/* The frame with one mark more in front of its text. */
static struct chunk *resume_out_escape(const struct slice *frame)
{
	struct span payload = frame_payload(slice_bytes(frame), frame->len);
	struct chunk *c = chunk_new(FRAME_SERVER_HEAD_MAX + 1 + payload.n);
	if (c == NULL)
		return NULL;
	size_t at = frame_head(c->bytes, FRAME_TEXT, payload.n + 1);
	c->bytes[at] = TOVA_V1_MARK;
	memcpy(c->bytes + at + 1, payload.p, payload.n);
	c->used = (uint32_t)(at + 1 + payload.n);
	return c;
}

/* A chunk with nothing else in it, so that it goes with its last message: what is large has one,
 * what is small is copied, once for all that are sent it. False without memory. */
static bool resume_out_keep(struct hub *hub, struct resume_cast *cast)
{
	const struct slice *frame = cast->frame;
	bool own = !cast->escaped && frame->len > CHUNK_SHARED_MAX;
	if (cast->kept.chunk != NULL)
		return true;
	struct chunk *c = cast->escaped ? resume_out_escape(frame)
			  : own		? frame->chunk
					: chunk_new(frame->len);
	if (c == NULL)
		return false;
	if (own) {
		chunk_ref(c);
	} else if (!cast->escaped) {
		c->used = frame->len;
		memcpy(c->bytes, slice_bytes(frame), frame->len);
	}
	cast->kept = own ? *frame : (struct slice){c, 0, c->used};
	chunk_account(c, &hub->resumes.held);
	if (cast->escaped)
		out_message_init(&cast->own, &cast->kept, cast->out->shared);
	return true;
}

/* Without bounds that its own loop would act on: what is given up is given up here, where it has a
 * number. */
static bool resume_out_has_room(const struct session *s)
{
	return s->conn != NULL && s->conn->out.bytes <= s->conn->conns->limits.queue_max / 2;
}

/* Where messages are missing the client is told, before the next one. False: not now. */
static bool resume_out_say_gap(struct session *s, struct resume *r, uint64_t next)
{
	char text[TOVA_V1_MAX];
	if (next == r->fed + 1)
		return true;
	if (!resume_say(s, text, tova_v1_lost(text, next - r->fed - 1, next)))
		return false;
	s->mount->hub->loop->stats.lost_told += next - r->fed - 1;
	r->fed = next - 1;
	return true;
}

/* The socket takes the message with this number, or a control message in front of it. */
static bool resume_out_write(struct session *s, struct resume *r, struct out_message *o,
			     uint64_t number, bool data, bool own)
{
	o->slow = SLOW_POLICY_CLOSE;
	if (!resume_out_say_gap(s, r, number) || conn_send(s->conn, o, own) != CONN_SENT)
		return false;
	CHECK(number == r->fed + 1);
	r->fed = number - !data;
	return true;
}

/* Something waits for its socket. If that has room there was no memory. */
static void resume_out_wait_for_room(struct hub *hub, struct session *s)
{
	conn_want_drained(s->conn);
	if (resume_out_has_room(s))
		resume_starve(hub, session_resume(s));
}

/* Moves what waits to the socket, as long as that has room; all: whether it has or not. */
void resume_feed(struct hub *hub, struct session *s, struct resume *r, bool all)
{
	struct kept_message *m;
	uint32_t before = r->written.n + r->waiting.n;
	while ((m = kept_first(&r->waiting)) != NULL && s->conn != NULL &&
	       (all || resume_out_has_room(s))) {
		struct out_message o;
		out_message_init(&o, &m->frame, false);
		bool data = resume_is_data(m);
		bool sent = resume_out_write(s, r, &o, m->number, data, true);
		out_message_free(&o);
		if (!sent)
			break;
		/* without memory it is not kept, and would be told as lost */
		if (r->keeps)
			kept_push(&r->written, &m->frame, data ? 0 : RESUME_CONTROL, m->number);
		resume_grace_pop(r);
	}
	resume_list_kept(hub, r, before);
	resume_bound(hub, r);
	if (r->waiting.n == 0 && s->conn != NULL && !resume_out_say_gap(s, r, r->out + 1))
		resume_starve(hub, r);
	if (r->waiting.n > 0) {
		if (s->conn != NULL)
			resume_out_wait_for_room(hub, s);
		return;
	}
	slow_consumer_caught_up(hub, s);
	bool held = r->held;
	r->held = false;
	if (held && s->conn != NULL) /* which tells what it has sent meanwhile */
		conn_pause(s->conn, CONN_PAUSE_OUTPUT, false);
}

/* The newest that waits, of that many bytes. If it is more than --max-queue allows: the mount's
 * policy, as for the queue of any other. */
static void resume_out_give_way(struct hub *hub, struct session *s, struct resume *r, uint32_t len,
				bool own)
{
	uint32_t max = s->conn->conns->limits.queue_max;
	uint64_t number = kept_at(&r->waiting, r->waiting.n - 1)->number;
	bool admitted =
		resume_grace_admits(hub, s, number, len + sizeof(struct kept_message), own);
	if (own && kept_weight(&r->waiting) + s->conn->out.bytes > max) {
		r->held = true;
		conn_pause(s->conn, CONN_PAUSE_OUTPUT, true);
	}
	if (admitted)
		return;
	if (s->mount->slow == SLOW_POLICY_DROP_OLDEST) {
		slow_consumer_began(s->conn);
		resume_grace_end(r);
		while (r->waiting.n > 1 && resume_grace_judged(s) > max) {
			bool data = resume_is_data(kept_first(&r->waiting));
			resume_grace_pop(r);
			mount_drop(s, data);
			hub->loop->stats.dropped += data;
		}
		return;
	}
	hub_mark_victim(hub, s);
}

/* It has its number, and is not sent now. */
static void resume_out_wait(struct hub *hub, struct session *s, struct resume *r,
			    struct resume_cast *cast, bool own)
{
	uint32_t before = r->written.n + r->waiting.n;
	bool conflates =
		cast->key != 0 && s->conn != NULL && s->mount->slow == SLOW_POLICY_CONFLATE;
	if (!r->keeps && s->conn == NULL)
		return;
	if (conflates && resume_grace_supersede(r, cast->key)) {
		slow_consumer_began(s->conn);
		mount_drop(s, 1);
		hub->loop->stats.dropped++;
		hub->loop->stats.conflated++;
	}
	if (!resume_out_keep(hub, cast) ||
	    !kept_push(&r->waiting, &cast->kept, cast->key, r->out)) {
		resume_list_kept(hub, r, before);
		if (s->conn == NULL) /* whoever comes back is told that it is missing */
			return;
		s->no_memory = true;
		hub_mark_victim(hub, s);
		return;
	}
	resume_list_kept(hub, r, before);
	if (s->conn == NULL) {
		resume_bound(hub, r);
		return;
	}
	resume_out_wait_for_room(hub, s);
	resume_out_give_way(hub, s, r, cast->kept.len, own);
}

void resume_send(struct hub *hub, struct session *s, struct resume_cast *cast, bool own)
{
	struct resume *r = session_resume(s);
	uint32_t before = r->written.n + r->waiting.n;
	bool needs = r->keeps || cast->escaped;
	r->out++;
	bool now =
		r->waiting.n == 0 && resume_out_has_room(s) &&
		(!needs || resume_out_keep(hub, cast)) &&
		resume_out_write(s, r, cast->escaped ? &cast->own : cast->out, r->out, true, own);
	if (!now) {
		resume_out_wait(hub, s, r, cast, own);
		return;
	}
	if (!r->keeps)
		return;
	kept_push(&r->written, &cast->kept, 0, r->out);
	resume_list_kept(hub, r, before);
	resume_bound(hub, r);
}

/* It is kept like data, so that it comes in front of the same messages at a return. What there is
 * no memory for is not told. */
static void resume_out_place(struct hub *hub, struct session *s, const char *text, size_t n,
			     bool own)
{
	struct resume *r = session_resume(s);
	uint32_t before = r->written.n + r->waiting.n;
	uint8_t head[FRAME_SERVER_HEAD_MAX];
	size_t head_len = frame_head(head, FRAME_TEXT, n);
	struct chunk *c = r->keeps || s->conn != NULL ? chunk_new(head_len + n) : NULL;
	if (c == NULL)
		return;
	memcpy(c->bytes, head, head_len);
	memcpy(c->bytes + head_len, text, n);
	c->used = (uint32_t)(head_len + n);
	chunk_account(c, &hub->resumes.held);
	const uint32_t frame_len = c->used;
	struct slice frame = {c, 0, c->used};
	struct out_message o;
	out_message_init(&o, &frame, false);
	bool now = r->waiting.n == 0 && resume_out_has_room(s) &&
		   resume_out_write(s, r, &o, r->out + 1, false, own);
	out_message_free(&o);
	if (!now)
		kept_push(&r->waiting, &frame, RESUME_CONTROL, r->out + 1);
	else if (r->keeps)
		kept_push(&r->written, &frame, RESUME_CONTROL, r->out + 1);
	resume_list_kept(hub, r, before);
	resume_bound(hub, r);
	slice_unref(&frame);
	if (now || s->conn == NULL)
		return;
	resume_out_wait_for_room(hub, s);
	if (r->waiting.n > 0)
		resume_out_give_way(hub, s, r, frame_len, own);
}

void resume_tell_history(struct hub *hub, struct session *s, struct span room,
			 const struct history_found *found, bool own)
{
	char text[TOVA_V1_HISTORY_MAX];
	const struct tova_v1_history told = {.room = room,
					     .epoch = found->epoch,
					     .from = found->from,
					     .to = found->to,
					     .complete = found->complete};
	resume_out_place(hub, s, text, tova_v1_history(text, &told), own);
}

void resume_on_drained(struct conn *c)
{
	struct session *s = session_of(c);
	if (session_resume(s) == NULL)
		return;
	resume_mark_due(s->mount->hub, session_resume(s));
	s->mount->hub->loop->again = true;
}
