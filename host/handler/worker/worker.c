#include "handler/worker/worker.h"

#include <stdlib.h>

#include "base/check.h"
#include "common/rules.h"
#include "handler/worker/link.h"
#include "handler/worker/route.h"
#include "handler/worker/supervisor.h"
#include "handler/worker/suspect.h"
#include "hub/admission.h"
#include "hub/delivery.h"

static const struct handler_ops worker_ops;

bool worker_is(const struct mount *m)
{
	return m->handler->ops == &worker_ops;
}

/* --- time ------------------------------------------------------------------------------------- */

#define WORKER_LATE "it has not acknowledged an event within --handler-timeout"

static void worker_end(struct worker *w, const char *why, bool death)
{
	if (w->child != NULL)
		supervisor_kill(w->child, why);
	link_cut(w, why, death);
}

/* It goes on with others, so it is this event, which goes to another worker. This one takes no
 * more, and ends when it has finished the rest: what hangs in there would never leave it. */
static void worker_take_overdue(struct worker *w, struct event_held *e)
{
	struct pool *p = w->pool;
	LOG(p->base.mount->hub->log, LOG_WARN, LOG_WORKER,
	    "an event was not acknowledged within --handler-timeout; its worker, which settles "
	    "others, finishes those and is ended",
	    LOG_STR("mount", p->base.mount->path), LOG_STR("worker", w->name),
	    LOG_STR("event", event_name(e->event.kind)), LOG_U64("seq", e->event.sequence));
	delivery_end_run(p->base.mount, e, true);
	pool_take_back(w, e);
	p->base.mount->hub->loop->stats.redelivered++;
	p->base.mount->faults.redelivered++;
	suspect_blame(p, e);
	w->hung = true;
	if (w->state == WORKER_READY)
		link_retire(w);
}

/* The first whose time is over. */
static struct event_held *worker_overdue(const struct worker *w, uint64_t now)
{
	struct event_held *e;
	TAILQ_FOREACH (e, &w->flying, link)
		if (e->since != 0 && now - e->since >= w->pool->handler_ms)
			return e;
	return NULL;
}

/* Each event has its own clock. Returns whether the worker was cut off. */
static bool worker_check_events(struct worker *w, uint64_t now)
{
	struct event_held *e;
	while ((e = worker_overdue(w, now)) != NULL) {
		if (e->number > w->newest) {
			worker_end(w, WORKER_LATE, true);
			return true;
		}
		worker_take_overdue(w, e);
	}
	if (!w->hung || w->n_flying > 0)
		return false;
	worker_end(w, WORKER_LATE, false);
	return true;
}

static bool worker_check_silence(struct worker *w, uint64_t now)
{
	/* it can not be: what it says is not read */
	if (sp_is_paused(w->pipe))
		w->heard = now;
	if (w->state != WORKER_READY || w->n_flying > 0 || now - w->heard < POOL_PING_MS)
		return false;
	uint64_t patience = w->pool->handler_ms > POOL_PING_MS ? w->pool->handler_ms : POOL_PING_MS;
	if (w->pinged && now - w->heard >= POOL_PING_MS + patience) {
		link_cut(w, "it does not answer within --handler-timeout", true);
		return true;
	}
	if (!w->pinged) {
		w->pinged = true;
		codec_word(&w->out, "ping");
		link_flush(w);
	}
	return false;
}

/* Returns whether it was cut off. */
static bool worker_check(struct worker *w, uint64_t now)
{
	if (w->state == WORKER_NEW && now - w->connected >= w->pool->ready_ms) {
		link_cut(w, "it did not say hello within --ready-timeout", false);
		return true;
	}
	if (w->state == WORKER_STARTING && w->child == NULL &&
	    now - w->connected >= w->pool->ready_ms) {
		link_cut(w, "its on_start did not end within --ready-timeout", false);
		return true;
	}
	return worker_check_events(w, now) || worker_check_silence(w, now);
}

/* From the start again when somebody is cut off, as that may end others, too. */
static void worker_check_all(struct pool *p, uint64_t now)
{
	struct worker *w, *next;
	p->ticks++;
	for (w = TAILQ_FIRST(&p->workers); w != NULL; w = next) {
		next = TAILQ_NEXT(w, link);
		if (w->checked == p->ticks)
			continue;
		w->checked = p->ticks;
		if (worker_check(w, now))
			next = TAILQ_FIRST(&p->workers);
	}
}

/* Held events are no secret: once when it begins, once when it is over. */
static void worker_say_starved(struct pool *p)
{
	bool starved = !TAILQ_EMPTY(&p->unassigned);
	struct mount *m = p->base.mount;
	if (starved == p->starved_said)
		return;
	p->starved_said = starved;
	if (starved)
		LOG(m->hub->log, LOG_WARN, LOG_WORKER, "no worker is ready: events are held",
		    LOG_STR("mount", m->path));
	else
		LOG(m->hub->log, LOG_NOTICE, LOG_WORKER, "held events are being delivered",
		    LOG_STR("mount", m->path), LOG_U64("held_bytes", budget_whole(m->budget)));
}

static void worker_on_tick(void *arg)
{
	struct pool *p = arg;
	CHECK_IS(p, CHECK_POOL);
	uint64_t now = loop_now(p->base.mount->hub->loop);
	worker_check_all(p, now);
	supervisor_tick(p, now);
	relief_tick(p, now);
	pool_check_later(p, now);
	suspect_tick(p, now);
	route_deal(p);
	pool_run(p);
	worker_say_starved(p);
	loop_timer_set(&p->tick, POOL_TICK_MS);
}

/* It is in no list any more. */
static void worker_destroy(struct worker **w_p)
{
	struct worker *w = *w_p;
	CHECK_IS(w, CHECK_WORKER);
	codec_free(&w->out);
	free(w->copy);
	w->magic = CHECK_GONE;
	free(w);
	*w_p = NULL;
}

static void worker_bury(struct pool *p)
{
	struct worker *w;
	while ((w = TAILQ_FIRST(&p->graves)) != NULL) {
		CHECK(w->state == WORKER_GONE && w->n_sessions == 0 && w->n_flying == 0);
		TAILQ_REMOVE(&p->graves, w, link);
		worker_destroy(&w);
	}
}

static struct worker *worker_broken(const struct pool *p)
{
	struct worker *w;
	TAILQ_FOREACH (w, &p->workers, link)
		if (w->broken)
			return w;
	return NULL;
}

static void worker_on_turn(void *arg)
{
	struct pool *p = arg;
	CHECK_IS(p, CHECK_POOL);
	struct worker *w;
	bool broken = false;
	TAILQ_FOREACH (w, &p->workers, link) {
		link_flush(w);
		broken = broken || w->broken;
	}
	while (broken && (w = worker_broken(p)) != NULL)
		link_cut(w, "no memory for what it is to be told", false);
	worker_bury(p);
}

/* --- the handler ------------------------------------------------------------------------------ */

/* Upgrades, which are nobody else's; other events hang at their lanes. */
static void worker_drop_upgrades(struct event_queue *q)
{
	struct event_held *e, *next;
	for (e = TAILQ_FIRST(q); e != NULL; e = next) {
		next = TAILQ_NEXT(e, link);
		if (e->lane == NULL) {
			TAILQ_REMOVE(q, e, link);
			admission_dropped(e);
		}
	}
}

static bool worker_leave(struct handler *h)
{
	return supervisor_retire_all(pool_of(h));
}

static void worker_stop(struct handler *h)
{
	struct pool *p = pool_of(h);
	struct worker *w;
	p->stopped = true;
	TAILQ_FOREACH (w, &p->workers, link) {
		codec_bye(&w->out, NULL);
		link_flush(w);
		worker_drop_upgrades(&w->flying);
		worker_drop_upgrades(&w->queue);
	}
	worker_drop_upgrades(&p->unassigned);
	worker_drop_upgrades(&p->bystanders);
	worker_drop_upgrades(&p->newcomers);
	worker_drop_upgrades(&p->parted);
	worker_drop_upgrades(&p->suspects);
	worker_drop_upgrades(&p->shelved);
	worker_drop_upgrades(&p->doubted);
	worker_drop_upgrades(&p->later);
	worker_drop_upgrades(&p->dead);
	loop_timer_cancel(&p->tick);
	supervisor_stop_all(p);
}

static void worker_free(struct handler *h)
{
	struct pool *p = pool_of(h);
	struct worker *w;
	loop_remove_hook(p->base.mount->hub->loop, &p->hook);
	sp_listener_free(&p->own);
	sp_listener_free(&p->attach);
	while ((w = TAILQ_FIRST(&p->workers)) != NULL) {
		TAILQ_REMOVE(&p->workers, w, link);
		worker_destroy(&w);
	}
	worker_bury(p);
	codec_batch_free(&p->batch);
	route_keys_free(&p->route_keys);
	pool_program_free(&p->program);
	pool_program_free(&p->next);
	pool_program_free(&p->later_program);
	free(p);
}

static const struct pool_ops worker_pool_ops = {.buried = pool_on_buried,
						.find = supervisor_find,
						.lost = supervisor_lost,
						.ready = supervisor_ready};

static const struct handler_ops worker_ops = {.give = pool_give,
					      .follow = pool_follow,
					      .withdraw = pool_withdraw,
					      .forget = pool_forget,
					      .leave = worker_leave,
					      .stop = worker_stop,
					      .free = worker_free};

static void worker_limit(struct pool *p, const struct worker_settings *set)
{
	p->max_attempts = set->max_attempts;
	p->start_attempts = set->start_attempts;
	p->handler_ms = set->handler_ms;
	p->ready_ms = set->ready_ms;
	p->max_events = set->max_events;
	p->max_rss = set->max_rss;
	p->route = set->route;
}

void worker_set_limits(struct mount *m, const struct worker_settings *set)
{
	worker_limit(pool_of(m->handler), set);
}

static bool worker_listen(struct pool *p, const struct worker_settings *set, bool *attach_r,
			  char *why, size_t cap)
{
	const struct sp_limits limits = {.first_max = POOL_FIRST_MAX,
					 .message_max = POOL_MESSAGE_MAX,
					 .user = DESCRIPTORS_WORKER};
	struct loop *loop = p->base.mount->hub->loop;
	char url[256];
	struct session_id id;
	p->own_side = (struct sp_side){.magic = CHECK_SP_SIDE, .pool = p};
	p->attach_side = (struct sp_side){.magic = CHECK_SP_SIDE, .pool = p, .attached = true};
	if (p->program.count > 0) {
		char name[SESSION_ID_TEXT];
		id = (struct session_id){.host = p->base.mount->hub->host_id,
					 .local = (uint64_t)(uintptr_t)p};
		session_id_text(id, name);
		snprintf(url, sizeof url, "ipc://%s/%s.sock", set->directory, name);
		p->own = sp_listen(loop, url, &link_ops, &p->own_side, &limits, why, cap);
		if (p->own == NULL)
			return false;
	}
	if (set->attach_url == NULL)
		return true;
	const struct sp_limits attach = {
		.first_max = POOL_FIRST_MAX,
		.message_max = POOL_MESSAGE_MAX,
		.strangers = POOL_STRANGERS_MAX,
		.strangers_each = POOL_STRANGERS_EACH,
		.strangers_bytes = POOL_STRANGERS_BYTES,
		.crowd =
			"many peers at an attach URL have not said hello: the oldest gives way to "
			"each new one",
		.user = DESCRIPTORS_WORKER,
		.tls_cert = set->attach_cert,
		.tls_key = set->attach_key,
		.tls_client_ca = set->attach_client_ca,
	};
	p->attach = sp_listen(loop, set->attach_url, &link_ops, &p->attach_side, &attach, why, cap);
	if (p->attach != NULL)
		LOG(loop->log, LOG_NOTICE, LOG_LISTEN,
		    p->only_pushers ? "those who push may attach" : "workers may attach",
		    LOG_STR("mount", p->base.mount->path), LOG_STR("url", sp_url(p->attach)));
	*attach_r = p->attach == NULL;
	return p->attach != NULL;
}

bool worker_reload_certificates(struct mount *m, const struct worker_settings *set, char *why,
				size_t why_cap)
{
	struct pool *p = pool_of(m->pushers != NULL ? m->pushers : m->handler);
	if (p->attach == NULL || strncmp(sp_url(p->attach), "tls+", 4) != 0)
		return true;
	if (set->attach_cert == NULL || set->attach_key == NULL) {
		snprintf(why, why_cap, "--attach-cert and --attach-key are needed");
		return false;
	}
	return sp_set_tls(p->attach, set->attach_cert, set->attach_key, set->attach_client_ca, why,
			  why_cap);
}

static struct pool *worker_make(struct mount *m, const struct worker_settings *set,
				const struct worker_shared *shared)
{
	struct pool *p = calloc(1, sizeof *p);
	if (p == NULL)
		return NULL;
	/* Until the first hello it is not known what is wanted: everything waits to be asked
	 * about. */
	p->magic = CHECK_POOL;
	p->ops = &worker_pool_ops;
	p->base = (struct handler){.ops = &worker_ops, .mount = m, .wants = ~0u};
	p->shared = *shared;
	p->fair = UINT32_MAX;
	TAILQ_INIT(&p->workers);
	TAILQ_INIT(&p->graves);
	TAILQ_INIT(&p->unassigned);
	TAILQ_INIT(&p->bystanders);
	TAILQ_INIT(&p->newcomers);
	TAILQ_INIT(&p->parted);
	TAILQ_INIT(&p->suspects);
	TAILQ_INIT(&p->shelved);
	TAILQ_INIT(&p->doubted);
	TAILQ_INIT(&p->later);
	TAILQ_INIT(&p->dead);
	p->hook = (struct loop_hook){.run = worker_on_turn, .arg = p};
	loop_add_hook(m->hub->loop, &p->hook);
	loop_timer_init(m->hub->loop, &p->tick, worker_on_tick, p);
	worker_limit(p, set);
	return p;
}

static void worker_unmake(struct pool *p)
{
	worker_stop(&p->base);
	worker_free(&p->base);
}

bool worker_attach(struct mount *m, const struct worker_settings *set,
		   const struct worker_shared *shared, bool *attach_r, char *why, size_t why_cap)
{
	struct pool *p = worker_make(m, set, shared);
	bool ok = p != NULL && pool_program_copy(&p->program, set);
	if (!ok)
		snprintf(why, why_cap, "no memory");
	if (p == NULL)
		return false;
	/* who attaches has not got the plugin that these run */
	p->only_pushers = set->argv != NULL;
	m->handler = &p->base;
	m->commit.data_size = RULES_DATA_MAX;
	ok = ok && worker_listen(p, set, attach_r, why, why_cap) && supervisor_start(p);
	if (!ok) {
		worker_unmake(p);
		m->handler = NULL;
		return false;
	}
	loop_timer_set(&p->tick, POOL_TICK_MS);
	return true;
}

bool worker_attach_pushers(struct mount *m, const struct worker_settings *set,
			   const struct worker_shared *shared, char *why, size_t why_cap)
{
	bool attach;
	struct pool *p = worker_make(m, set, shared);
	if (p == NULL) {
		snprintf(why, why_cap, "no memory");
		return false;
	}
	p->only_pushers = true;
	if (!worker_listen(p, set, &attach, why, why_cap)) {
		worker_unmake(p);
		return false;
	}
	m->pushers = &p->base;
	loop_timer_set(&p->tick, POOL_TICK_MS);
	return true;
}

const char *worker_kind(const struct mount *m)
{
	const struct pool *p = (const struct pool *)m->handler;
	return p->program.count == 0	    ? "attach"
	       : p->program.command == NULL ? "isolated plugin"
	       : p->attach != NULL	    ? "worker and attach"
					    : "worker";
}

const char *worker_what(const struct mount *m)
{
	const struct pool *p = (const struct pool *)m->handler;
	return p->program.count == 0	    ? sp_url(p->attach)
	       : p->program.command != NULL ? p->program.command
					    : p->program.argv[1];
}

unsigned worker_count(const struct mount *m)
{
	const struct worker *w;
	unsigned n = 0;
	TAILQ_FOREACH (w, &((const struct pool *)m->handler)->workers, link)
		n += w->state == WORKER_READY;
	return n;
}

struct worker_states worker_states(const struct mount *m)
{
	const struct pool *p = (const struct pool *)m->handler;
	const struct worker *w;
	struct worker_states n = {.ready = worker_count(m)};
	TAILQ_FOREACH (w, &p->workers, link) {
		n.starting += w->state == WORKER_STARTING;
		n.draining += w->state == WORKER_DRAINING;
	}
	supervisor_count_unlinked(p, &n);
	return n;
}

bool worker_serves(const struct mount *m)
{
	const struct pool *p = (const struct pool *)m->handler;
	return p->program.count == 0 || worker_count(m) > 0;
}

void worker_describe(const struct mount *m, struct codec_out *o, bool *any)
{
	static const char *const states[] = {"new",   "pusher",	  "starting",
					     "ready", "draining", "gone"};
	const struct pool *p = (const struct pool *)m->handler;
	const struct worker *w;
	char text[512];
	TAILQ_FOREACH (w, &p->workers, link) {
		codec_raw(o, ",", *any);
		codec_raw(o, "{\"mount\":", 9);
		codec_string(o, span_of(m->path));
		codec_member_text(o, "name", span_of(w->name));
		int n = snprintf(
			text, sizeof text,
			",\"state\":\"%s\",\"attached\":%s,\"pid\":%d,\"generation\":%u,\"connections\":%u,\"under_way\":%u,\"unread\":%zu,\"settled\":%llu",
			states[w->state], w->attached ? "true" : "false",
			w->child != NULL && w->child->process != NULL
				? (int)process_pid(w->child->process)
				: (int)sp_peer(w->pipe),
			w->generation, w->n_sessions, w->n_flying,
			w->pipe != NULL ? sp_waiting(w->pipe) : 0, (unsigned long long)w->settled);
		codec_raw(o, text, (size_t)n);
		supervisor_describe(w->child, o);
		codec_object_end(o);
		*any = true;
	}
	supervisor_describe_unlinked(p, o, any);
}
