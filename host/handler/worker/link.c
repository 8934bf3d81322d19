/* link: one connected worker: hello, batches both ways, its end. */
#include <stdlib.h>

#include "base/check.h"
#include "common/random.h"
#include "common/utf8.h"
#include "handler/worker/link.h"
#include "handler/worker/query.h"
#include "handler/worker/route.h"
#include "handler/worker/suspect.h"
#include "hub/admission.h"
#include "hub/delivery.h"

static struct hub *link_hub(const struct worker *w)
{
	return w->pool->base.mount->hub;
}

static uint64_t link_now(const struct worker *w)
{
	return loop_now(link_hub(w)->loop);
}

/* --- the end ---------------------------------------------------------------------------------- */

/* The worker is off the list; its events go elsewhere. */
static void link_gone(struct worker *w, enum pool_end end, bool leaving)
{
	struct pool *p = w->pool;
	struct child *child = w->child;
	CHECK(w->state != WORKER_GONE && (child == NULL || child->magic == CHECK_CHILD));
	const struct event_held *first = TAILQ_FIRST(&w->flying);
	if (child != NULL)
		child->excused = end != POOL_LEFT && w->n_flying == 1 && first->suspect;
	w->state = WORKER_GONE;
	w->pipe = NULL;
	link_weigh(w);
	w->child = NULL;
	TAILQ_REMOVE(&p->workers, w, link);
	route_keys_lost(p, w);
	w->n_sessions++; /* ours, so that giving the last one away below does not bury it yet */
	pool_redeliver(w, end);
	if (child != NULL) {
		child->worker = NULL;
		p->ops->lost(child, leaving);
	}
	route_unref(&w);
	pool_run(p);
}

/* Lines about strangers do not hold back those about workers. */
static enum log_kind link_kind(const struct worker *w)
{
	return w->state == WORKER_NEW ? LOG_ACCEPT : LOG_WORKER;
}

void link_cut(struct worker *w, const char *why, bool death)
{
	struct sp_pipe *pipe = w->pipe;
	char remote[SP_REMOTE_MAX];
	if (pipe == NULL)
		return;
	LOG(link_hub(w)->log, LOG_WARN, link_kind(w), "a worker is cut off",
	    LOG_STR("mount", w->pool->base.mount->path), LOG_STR("worker", w->name),
	    LOG_STR("remote", w->attached ? sp_remote(pipe, remote) : NULL), LOG_STR("error", why));
	codec_reset(&w->out);
	codec_bye(&w->out, why);
	struct iovec parts[CODEC_PARTS];
	sp_send(pipe, parts, codec_parts(&w->out, parts));
	codec_reset(&w->out);
	sp_close(pipe);
	link_gone(w, death ? POOL_DIED : POOL_LEFT, false);
}

void link_retire(struct worker *w)
{
	struct pool *p = w->pool;
	w->state = WORKER_DRAINING;
	if (p->isolating == w)
		p->isolating = NULL;
	w->isolating = false;
	/* Events that were not delivered yet go to others now; those under way are the worker's to
	 * finish. */
	pool_give_all(p, &w->queue);
}

void link_drain(struct worker *w)
{
	if (w->state != WORKER_READY && w->state != WORKER_STARTING)
		return;
	link_retire(w);
	codec_word(&w->out, "drain");
	link_flush(w);
}

void link_finish(struct worker *w)
{
	/* one that was asked to leave has not died of an event */
	w->died = w->state == WORKER_READY;
	if (w->died)
		link_retire(w);
	codec_reset(&w->out);
	sp_finish(w->pipe, POOL_BYE_MS);
}

/* --- hello ------------------------------------------------------------------------------------ */

/* What may one do who attaches with this token? Fills the worker. False: nobody has it. */
static bool link_grant(struct worker *w, const struct json_string *token)
{
	char plain[JSON_ESCAPED_MAX(API_TOKEN_MAX)]; /* the bytes are read again as they are */
	size_t n = token->p != NULL && token->n <= sizeof plain ? json_unescape(token, plain) : 0;
	static const struct api_tokens none;
	const struct api_tokens *tokens =
		w->pool->shared.tokens != NULL ? w->pool->shared.tokens : &none;
	const char *mount = w->pool->base.mount->path;
	struct api_grant grant;
	bool known = api_token_find(tokens, (struct span){plain, n}, &grant);
	explicit_bzero(plain, sizeof plain);
	if (!known)
		return false;
	w->admin = api_token_may(tokens, &grant, API_SCOPE_ADMIN, mount);
	w->publishes = api_token_may(tokens, &grant, API_SCOPE_PUBLISH, mount);
	w->reads = api_token_may(tokens, &grant, API_SCOPE_READ, mount);
	return w->publishes || w->reads;
}

static bool link_is_pusher(const struct codec_item *hello)
{
	return hello->has_events && hello->events == 0;
}

/* Whose token is it? A child's own, or one for those who attach. */
static const char *link_check_hello(struct worker *w, const struct codec_item *item)
{
	struct pool *p = w->pool;
	if (item->mount.p != NULL && !codec_text_is(&item->mount, p->base.mount->path))
		return "this link serves another mount";
	if (!w->attached) {
		w->child = p->ops->find(p, &item->token);
		w->admin = w->publishes = w->reads = true;
		return w->child != NULL ? NULL : "the token is wrong";
	}
	if (!link_grant(w, &item->token))
		return "the token is wrong";
	if (!link_is_pusher(item) && p->only_pushers)
		return "this mount has its handler: who attaches here may push and ask; expected \"events\":[]";
	if (!link_is_pusher(item) && !w->admin)
		return "this token is not enough for a worker; expected one with the scope admin, or \"events\":[]";
	return NULL;
}

static void link_name(struct worker *w, struct codec_item *item)
{
	struct span name = item->name.p != NULL ? codec_text(&item->name) : (struct span){0};
	if (w->child != NULL)
		snprintf(w->name, sizeof w->name, "%s", w->child->name);
	else if (name.n > 0)
		snprintf(w->name, sizeof w->name, "%.*s", (int)(name.n < 60 ? name.n : 60), name.p);
}

/* From here on it takes events. */
static void link_ready(struct worker *w)
{
	struct pool *p = w->pool;
	w->state = WORKER_READY;
	w->heard = link_now(w);
	w->pinged = false;
	if (p->coming == 0 || w->generation != p->coming) {
		p->base.wants = w->wants;
		if (!p->known)
			pool_reloaded(p, 0, NULL);
		p->known = true;
	}
	LOG(link_hub(w)->log, LOG_NOTICE, LOG_WORKER, "a worker is ready",
	    LOG_STR("mount", p->base.mount->path), LOG_STR("worker", w->name),
	    LOG_BOOL("attached", w->attached));
	if (w->child != NULL)
		p->ops->ready(w->child);
	pool_run(p);
}

/* There is what its plugin keeps for the mount. False: it was cut off. */
static bool link_keeps(struct worker *w, uint64_t size)
{
	bool anew = false, fits = size <= RULES_ROOM_STATE_MAX;
	struct mount *m = w->pool->base.mount;
	if (!fits || !room_state_mount_begin(m, (uint32_t)size, &anew)) {
		link_cut(w, fits ? "no memory for what it keeps for its mount"
				 : "a mount_size of more than 65,536 bytes", false);
		return false;
	}
	if (anew)
		LOG(link_hub(w)->log, LOG_NOTICE, LOG_WORKER,
		    "what the plugin keeps for its mount has another size than before: it begins with zeroes",
		    LOG_STR("mount", m->path), LOG_STR("worker", w->name));
	return true;
}

static void link_welcome(struct worker *w, struct codec_item *item)
{
	struct pool *p = w->pool;
	struct session_id id = {0};
	if (!random_bytes(&id, sizeof id)) {
		link_cut(w, "no random number for its link", false);
		return;
	}
	session_id_text(id, w->link_id);
	link_name(w, item);
	w->generation = w->child != NULL ? w->child->generation : p->generation;
	w->wants = item->has_events ? item->events : CODEC_EVENTS;
	/* A line of nngcat that wants no events, and asks for none, must not end them for the
	 * workers. */
	bool pusher = w->attached && link_is_pusher(item);
	w->state = pusher ? WORKER_PUSHER : WORKER_STARTING;
	sp_trust(w->pipe);
	w->connected = link_now(w);
	w->out.claims = item->claims;
	w->out.room_states = item->room_states;
	w->out.mount = item->mount_size > 0 && !pusher ? p->base.mount : NULL;
	w->out.mount_told = 0;
	if (w->out.mount != NULL && !link_keeps(w, item->mount_size))
		return;
	p->base.room_states = p->base.room_states || item->room_states;
	w->runs = item->runs < POOL_RUN ? (unsigned)item->runs : POOL_RUN;
	codec_welcome(&w->out, w->link_id, p->base.mount->path, POOL_WINDOW, POOL_BATCH_BYTES,
		      w->runs, item->starting && !pusher);
	if (w->child != NULL)
		w->child->worker = w;
	if (!pusher && !item->starting)
		link_ready(w);
}

/* Its first batch begins with this: is it one that may say more? Nothing behind a hello is looked
 * at before. */
static bool link_introduces(struct worker *w, const struct codec_item *first)
{
	bool hello = first->type == CODEC_HELLO;
	if (!hello && first->link.p != NULL) {
		/* a library that reconnects sends what it had queued for the last link */
		link_hub(w)->loop->stats.stale_batches++;
		return false;
	}
	const char *why =
		hello ? link_check_hello(w, first) : "the first batch does not begin with a hello";
	if (why != NULL)
		link_cut(w, why, false);
	return why == NULL;
}

static void link_hello(struct worker *w, struct codec_item *item)
{
	if (w->state != WORKER_NEW)
		link_cut(w, "a second hello", false);
	else
		link_welcome(w, item);
}

/* --- acknowledgements ------------------------------------------------------------------------- */

static struct event_held *link_find(struct worker *w, uint64_t number)
{
	struct event_held *e;
	TAILQ_FOREACH (e, &w->flying, link)
		if (e->number == number)
			return e;
	return NULL;
}

/* The event that is settled, not with the worker any more; NULL: there is none. */
static struct event_held *link_take(struct worker *w, uint64_t number)
{
	struct pool *p = w->pool;
	struct event_held *e = link_find(w, number);
	if (e == NULL) {
		link_hub(w)->loop->stats.late_acks++;
		/* a run that was ended on our side may be going on on the other */
		pool_heard_late(w, number);
		return NULL;
	}
	if (!pool_is_first(e)) {
		link_cut(w, "it settled an event of a run before those that it follows", true);
		return NULL;
	}
	pool_take_back(w, e);
	w->settled++;
	suspect_settled(p, e);
	return e;
}

static void link_settle_upgrade(struct worker *w, struct event_held *e, struct codec_item *item)
{
	struct mount *m = w->pool->base.mount;
	static const struct event_answer none;
	struct event_answer answer = none;
	void *data = NULL;
	const char *why = codec_answer(&w->pool->batch, item, &answer, &data);
	if (why == NULL && !admission_may_answer(e, &answer))
		why = "the answer names a subprotocol that was not offered";
	if (why == NULL && !delivery_commit(m))
		why = commit_error_text(m->commit.error);
	else if (why != NULL)
		commit_drop(&m->commit);
	admission_answered(m, e, &answer, why);
	free(answer.body);
	free(data);
}

static void link_ack(struct worker *w, struct codec_item *item)
{
	struct pool *p = w->pool;
	struct mount *m = p->base.mount;
	struct event_held *e = link_take(w, item->s);
	if (e == NULL)
		return;
	if (w->child != NULL) {
		w->child->useful = true;
		w->child->failures = 0;
	}
	commit_begin(&m->commit, e->event.session);
	codec_commands(&p->batch, item, m->hub, e->event.session, &m->commit);
	/* what it goes on with; if the commit comes to nothing it is told what there is */
	if (m->commit.mount_next != 0)
		w->out.mount_told = m->commit.mount_next;
	if (e->lane == NULL)
		link_settle_upgrade(w, e, item);
	else
		delivery_settle(m, e, HANDLER_DONE, (struct span){0});
}

static void link_nack(struct worker *w, struct codec_item *item)
{
	struct pool *p = w->pool;
	struct event_held *e = link_take(w, item->s);
	if (e == NULL)
		return;
	struct span why = item->error.p != NULL ? codec_text(&item->error)
						: SPAN("the worker gave no reason");
	bool bad_text = !utf8_valid(why.p, why.n);
	if (bad_text)
		why = SPAN("the worker gave a reason that is not UTF-8");
	if (item->bad_retry)
		why = SPAN(
			"the worker asked for another try with a retry_ms that is no whole number from 0 of milliseconds");
	if (item->has_retry && !item->bad_retry && !bad_text) {
		delivery_end_run(p->base.mount, e, false);
		pool_retry(p, e, item->retry_ms);
		return;
	}
	commit_begin(&p->base.mount->commit, e->event.session);
	pool_settle(p, e, HANDLER_FAILED, why);
}

/* --- pushes and queries ----------------------------------------------------------------------- */

/* Room for one more answer? Within a batch a worker may be owed much; between batches see
 * link_bound. */
static bool link_may_answer(struct worker *w)
{
	if (codec_size(&w->out) > POOL_BATCH_BYTES)
		link_flush(w);
	if (w->pipe != NULL && sp_held(w->pipe) > POOL_UNREAD_MAX)
		link_cut(w, "it asks and does not read the answers", false);
	return w->pipe != NULL;
}

/* A question that waits for commits that were before it: see hub/gate.h. */
struct link_question {
	struct pool *pool;
	char link_id[SESSION_ID_TEXT];
	struct codec_item item;
	char text[]; /* of its strings */
};

static void link_keep_text(struct json_string *s, char **at)
{
	struct span text = s->p != NULL ? codec_text(s) : (struct span){0};
	if (text.p == NULL)
		return;
	s->p = text.n > 0 ? memcpy(*at, text.p, text.n) : *at;
	*at += text.n;
}

static struct link_question *link_question_new(struct worker *w, struct codec_item *item)
{
	struct json_string *texts[] = {&item->what, &item->room, &item->conn, &item->after,
				       &item->user};
	size_t n = 0;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		n += texts[i]->n;
	struct link_question *q = malloc(sizeof *q + n + 1);
	if (q == NULL)
		return NULL;
	char *at = q->text;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		link_keep_text(texts[i], &at);
	q->pool = w->pool;
	memcpy(q->link_id, w->link_id, sizeof q->link_id);
	q->item = *item;
	return q;
}

/* Its worker may have gone. */
static void link_on_question(void *ctx, bool drop)
{
	struct link_question *q = ctx;
	struct worker *w = NULL;
	if (!drop)
		TAILQ_FOREACH (w, &q->pool->workers, link)
			if (w->pipe != NULL && strcmp(w->link_id, q->link_id) == 0)
				break;
	if (w != NULL && link_may_answer(w)) {
		size_t before = codec_size(&w->out);
		query_answer(&w->out, q->pool->base.mount, &q->item);
		w->answers += codec_size(&w->out) - before;
		link_flush(w);
	}
	free(q);
}

/* True: it is answered later. */
static bool link_answer_later(struct worker *w, struct codec_item *item)
{
	struct mount *m = w->pool->base.mount;
	struct link_question *q = m->parked.first != NULL ? link_question_new(w, item) : NULL;
	if (q == NULL)
		return false;
	bool later = gate_later(m, link_on_question, q);
	if (!later)
		free(q);
	return later;
}

static void link_answer(struct worker *w, struct codec_item *item)
{
	struct pool *p = w->pool;
	if (!link_may_answer(w))
		return;
	size_t before = codec_size(&w->out);
	item->mute = item->type == CODEC_PUSH ? !w->publishes : !w->reads;
	item->only_publishes = !w->admin;
	if (item->type == CODEC_PUSH)
		query_push(&w->out, p->base.mount, p->shared.sources, &p->batch, item);
	else if (!link_answer_later(w, item))
		query_answer(&w->out, p->base.mount, item);
	w->answers += codec_size(&w->out) - before;
}

/* Who does not read what it is answered is not read either: it may push and ask again when it has
 * read. Events that it has not read do not count, as a worker may be at work on others, with
 * acknowledgements that have to be heard. */
static void link_bound(struct worker *w)
{
	if (w->answers > POOL_ANSWERS_MAX)
		link_flush(w);
	if (w->pipe == NULL)
		return;
	if (w->out.n == 0 && sp_given(w->pipe) - sp_waiting(w->pipe) >= w->answers_end)
		w->answers = 0;
	if (w->answers > POOL_ANSWERS_MAX)
		sp_wait_for_reader(w->pipe, POOL_ANSWERS_MAX);
}

/* --- input ------------------------------------------------------------------------------------ */

/* It leaves on its own. What it has not settled goes to others, and is not blamed. */
static void link_bye(struct worker *w)
{
	struct sp_pipe *pipe = w->pipe;
	LOG(link_hub(w)->log, LOG_NOTICE, LOG_WORKER, "a worker says goodbye",
	    LOG_STR("mount", w->pool->base.mount->path), LOG_STR("worker", w->name),
	    LOG_U64("unsettled", w->n_flying));
	codec_reset(&w->out);
	sp_close(pipe);
	if (w->child != NULL)
		w->child->useful = true;
	link_gone(w, POOL_LEFT, true);
}

static void link_item(struct worker *w, struct codec_item *item)
{
	switch (item->type) {
	case CODEC_HELLO:
		link_hello(w, item);
		break;
	case CODEC_READY:
		if (w->state == WORKER_STARTING)
			link_ready(w);
		break;
	case CODEC_ACK:
		link_ack(w, item);
		break;
	case CODEC_NACK:
		link_nack(w, item);
		break;
	case CODEC_PUSH:
	case CODEC_QUERY:
		link_answer(w, item);
		break;
	case CODEC_CONTROL:
		link_cut(w, "control is for the control socket", false);
		break;
	case CODEC_PONG:
		break;
	case CODEC_BYE:
		link_bye(w);
		break;
	}
}

/* Is the batch for this connection? A library that reconnects may send what it had queued for the
 * last one. */
static bool link_is_current(struct worker *w, struct codec_item *first)
{
	if (first->type == CODEC_HELLO)
		return true;
	if (first->link.p == NULL) {
		link_cut(w, "a batch without a link", true);
		return false;
	}
	if (span_eq(codec_text(&first->link), span_of(w->link_id)))
		return true;
	link_hub(w)->loop->stats.stale_batches++;
	return false;
}

static void link_batch(struct worker *w, struct sp_pipe *pipe, uint8_t *bytes, size_t len)
{
	struct pool *p = w->pool;
	struct codec_batch *b = &p->batch;
	struct codec_item first;
	bool stranger = w->state == WORKER_NEW;
	w->heard = link_now(w);
	w->pinged = false;
	if (stranger ? !codec_read_first(b, bytes, len, &first) : !codec_read(b, bytes, len)) {
		link_cut(w, b->why, !stranger);
		return;
	}
	if (stranger && !link_introduces(w, &first))
		return;
	if (stranger && !codec_read(b, bytes, len)) {
		link_cut(w, b->why, false);
		return;
	}
	if (!link_is_current(w, &b->items[0]))
		return;
	/* Once it is cut off the rest of the batch is void; `w` itself may be freed then, `pipe` is
	 * not before the turn's end. */
	for (size_t i = 0; i < b->n; i++) {
		link_item(w, &b->items[i]);
		if (sp_is_closed(pipe))
			return;
	}
	link_bound(w);
	pool_run(p);
}

static void link_on_message(void *ctx, struct sp_pipe *pipe, void *user, uint8_t *bytes, size_t len)
{
	struct worker *w = user;
	CHECK(w->magic == CHECK_WORKER && w->pipe == pipe);
	struct pool *p = w->pool;
	(void)ctx;
	link_batch(w, pipe, bytes, len);
	codec_batch_done(&p->batch);
}

static void link_on_opened(void *ctx, struct sp_pipe *pipe, void **user_r)
{
	struct sp_side *side = ctx;
	CHECK_IS(side, CHECK_SP_SIDE);
	struct worker *w = calloc(1, sizeof *w);
	char remote[SP_REMOTE_MAX];
	*user_r = w;
	if (w == NULL) {
		sp_close(pipe);
		return;
	}
	*w = (struct worker){.magic = CHECK_WORKER,
			     .pool = side->pool,
			     .pipe = pipe,
			     .attached = side->attached,
			     .state = WORKER_NEW};
	TAILQ_INIT(&w->flying);
	TAILQ_INIT(&w->queue);
	if (sp_peer(pipe) != 0)
		snprintf(w->name, sizeof w->name, "attached %d", (int)sp_peer(pipe));
	else
		snprintf(w->name, sizeof w->name, "attached %.50s", sp_remote(pipe, remote));
	w->connected = w->heard = link_now(w);
	TAILQ_INSERT_TAIL(&side->pool->workers, w, link);
}

static void link_on_closed(void *ctx, struct sp_pipe *pipe, void *user, const char *why)
{
	struct worker *w = user;
	CHECK(w->magic == CHECK_WORKER && w->pipe == pipe);
	(void)ctx;
	bool draining = w->state == WORKER_DRAINING && !w->died,
	     leaving = draining && w->n_flying == 0;
	bool loss =
		!leaving && w->state != WORKER_NEW && (w->state != WORKER_PUSHER || why != NULL);
	LOG(link_hub(w)->log, loss ? LOG_WARN : LOG_INFO, link_kind(w), "a worker's link ended",
	    LOG_STR("mount", w->pool->base.mount->path), LOG_STR("worker", w->name),
	    LOG_STR("error", why), LOG_U64("unsettled", w->n_flying));
	/* a worker that was asked to leave is nobody's fault, nor is a network that does not
	 * answer; a process that dies elsewhere looks like a network that ends its links */
	enum pool_end end = w->state < WORKER_READY || draining || sp_timed_out(pipe) ? POOL_LEFT
			    : sp_is_remote(pipe)				      ? POOL_LOST
										      : POOL_DIED;
	link_gone(w, end, leaving);
}

static void link_on_sent(void *ctx, struct sp_pipe *pipe, void *user)
{
	struct worker *w = user;
	CHECK_IS(w, CHECK_WORKER);
	(void)ctx;
	(void)pipe;
	free(w->copy);
	w->copy = NULL;
	link_weigh(w);
	pool_run(w->pool);
}

const struct sp_ops link_ops = {.opened = link_on_opened,
				.message = link_on_message,
				.closed = link_on_closed,
				.sent = link_on_sent};
