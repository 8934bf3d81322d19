/* suspect: events at which workers have died. Each is delivered alone, so that it is known what the
 * next one dies of.
 *
 * What suspects may cost others is bounded. Where there are several workers, one is theirs and the
 * others go on; where there is one, both sides take turns, and after a death the others are first,
 * unless it was they that died twice. Where workers die again and again of what nothing was known
 * of, events of connections that have no record of settled ones are not among the others: each
 * would cost all of them a worker. They are delivered alone, too, before those against whom more is
 * known.
 *
 * What has killed its workers --max-attempts times is quarantined, unless it is not the event: a
 * bad deploy is told from poison by what else is settled (but for the news of a quarantine). Where
 * three connections were condemned and nothing was settled in between, further ones wait until
 * something is, and are tried rarely.
 */
#include "base/check.h"
#include "handler/worker/route.h"
#include "handler/worker/suspect.h"
#include "hub/delivery.h"

#define SUSPECT_TURN_MS 100	/* at least, of each side, at an only worker */
#define SUSPECT_OTHERS_MS 30000 /* at most, to make up for what suspects have cost */
#define SUSPECT_SPARE_MS 5000	/* that suspects wait for a second worker */
/* of a connection that kills and kills, twice as long each time */
#define SUSPECT_WAIT_MS 100
#define SUSPECT_WAIT_MAX_MS 10000
/* between two tries of what waits for workers that live, twice as long each time */
#define SUSPECT_TRY_MS 1000
#define SUSPECT_TRY_MAX_MS 30000
#define SUSPECT_CONDEMNED_MAX 3 /* in a row, from different connections */
#define SUSPECT_DYING_MS 5000	/* within which somebody dies again */
#define SUSPECT_RECORD_MAX 1024
#define SUSPECT_RAISE_MS 500   /* that those who die of the same need */
#define SUSPECT_NETWORK_MS 250 /* within which the links end of a network that is gone */

/* --- a worker for them ------------------------------------------------------------------------ */

/* The one that will have nothing under way soonest, and how many there are. */
static struct worker *suspect_choose(const struct pool *p, unsigned *n_r)
{
	struct worker *w, *best = NULL;
	*n_r = 0;
	TAILQ_FOREACH (w, &p->workers, link)
		if (route_serves(w)) {
			++*n_r;
			if (best == NULL || w->n_flying < best->n_flying)
				best = w;
		}
	return best;
}

static bool suspect_others_wait(const struct pool *p, const struct worker *w)
{
	return !TAILQ_EMPTY(&p->unassigned) || !TAILQ_EMPTY(&w->queue) ||
	       (w->n_flying > 0 && !w->alone);
}

/* A death has put both sides back: the others are first, for as long as that took. */
static void suspect_begin_others(struct pool *p, uint64_t now)
{
	uint64_t cost = p->turn_began != 0 ? now - p->turn_began : 0;
	cost = cost < SUSPECT_TURN_MS	  ? SUSPECT_TURN_MS
	       : cost > SUSPECT_OTHERS_MS ? SUSPECT_OTHERS_MS
					  : cost;
	p->others_until = now + cost;
	p->others_settled = 0;
	p->others_first = false;
}

/* May they have the only worker now? */
static bool suspect_may_take(struct pool *p, const struct worker *w, uint64_t now)
{
	if (p->others_first)
		suspect_begin_others(p, now);
	if (p->spare_since == 0)
		p->spare_since = now;
	if ((p->spare_due || pool_program_is_coming(p)) && now - p->spare_since < SUSPECT_SPARE_MS)
		return false;
	if (p->suspects_first)
		return true;
	/* They have their turn to its end, also while each of them waits for an answer before it
	 * goes on. */
	return now >= p->others_until || (p->others_settled == 0 && !suspect_others_wait(p, w));
}

static void suspect_isolate(struct pool *p, struct worker *w)
{
	w->isolating = true;
	p->isolating = w;
	p->spare_since = p->turn_began = 0;
	p->spare_due = p->others_died = p->suspects_first = false;
	/* What it was not given yet goes to others, if there are any. */
	pool_give_all(p, &w->queue);
}

static void suspect_release(struct pool *p)
{
	struct worker *w = p->isolating;
	if (w == NULL || w->alone)
		return;
	p->isolating = NULL;
	w->isolating = false;
	suspect_begin_others(p, pool_now(p));
	pool_pump(w);
}

/* One that has nothing under way, or NULL. */
static struct worker *suspect_worker(struct pool *p, uint64_t now)
{
	unsigned n;
	struct worker *w = suspect_choose(p, &n);
	if (p->isolating == NULL) {
		if (w == NULL || (n == 1 && !suspect_may_take(p, w, now)))
			return NULL;
		suspect_isolate(p, w);
	}
	w = p->isolating;
	if (w->n_flying > 0)
		return NULL;
	if (p->turn_began == 0 || n > 1) /* where others go on it has cost them nothing */
		p->turn_began = now;
	if (n > 1 || now - p->turn_began < SUSPECT_TURN_MS || !suspect_others_wait(p, w))
		return w;
	suspect_release(p);
	return NULL;
}

void suspect_run(struct pool *p)
{
	struct event_held *e;
	struct worker *w;
	while (p->n_alone > 0 && (w = suspect_worker(p, pool_now(p))) != NULL) {
		e = suspect_take(p);
		if (pool_skip(p, e))
			continue;
		w->alone = true;
		pool_fly(w, e);
	}
	if (p->n_alone == 0)
		suspect_release(p);
}

/* --- while workers die ------------------------------------------------------------------------ */

/* What waits for its window at a worker, or alone, without having been tried. */
static void suspect_sort(struct pool *p)
{
	struct event_queue untried = TAILQ_HEAD_INITIALIZER(untried);
	struct event_queue *const queues[] = {&p->newcomers, &p->parted};
	struct event_held *e, *next;
	struct worker *w;
	TAILQ_FOREACH (w, &p->workers, link)
		TAILQ_CONCAT(&untried, &w->queue, link);
	for (unsigned i = 0; i < sizeof queues / sizeof *queues; i++)
		for (e = TAILQ_FIRST(queues[i]); e != NULL; e = next) {
			next = TAILQ_NEXT(e, link);
			if (e->event.attempt > 0)
				continue;
			e->suspect = false;
			CHECK(p->n_alone > 0);
			p->n_alone--;
			TAILQ_REMOVE(queues[i], e, link);
			TAILQ_INSERT_TAIL(&untried, e, link);
		}
	pool_give_all(p, &untried);
}

/* A worker has died beside the suspects. Those who have a record and kill nevertheless make it
 * worth less. */
static void suspect_dying(struct pool *p, uint64_t now)
{
	bool again = p->dying_at != 0 && now - p->dying_at < SUSPECT_DYING_MS;
	p->dying_at = now;
	if (!again || now - p->record_raised < SUSPECT_RAISE_MS)
		return;
	p->record_raised = now;
	if (p->record == 0) {
		LOG(p->base.mount->hub->log, LOG_WARN, LOG_WORKER,
		    "workers die again and again: events of connections that are new are "
		    "delivered one by one for now",
		    LOG_STR("mount", p->base.mount->path));
		p->record = SUSPECT_RECORD;
		suspect_sort(p);
	} else if (p->record < SUSPECT_RECORD_MAX) {
		p->record *= 2;
	}
}

static void suspect_calm(struct pool *p)
{
	p->dying_at = p->record_raised = 0;
	if (p->record == 0)
		return;
	LOG(p->base.mount->hub->log, LOG_NOTICE, LOG_WORKER,
	    "events of connections that are new are delivered like others again",
	    LOG_STR("mount", p->base.mount->path));
	p->record = 0;
	suspect_sort(p);
}

/* --- whose fault it is ------------------------------------------------------------------------ */

static uint64_t suspect_who(const struct event_held *e)
{
	return e->event.session != NULL ? e->event.session->local : 0;
}

/* Without an event of anybody else that was settled in between it may as well be the workers. */
static bool suspect_is_bad_deploy(struct pool *p, const struct event_held *e)
{
	if (p->condemned < SUSPECT_CONDEMNED_MAX - 1 || suspect_who(e) == p->condemned_session)
		return false;
	if (!p->bad_said)
		LOG(p->base.mount->hub->log, LOG_ERROR, LOG_QUARANTINE,
		    "workers die whatever they are given: nothing more is quarantined, events "
		    "wait for workers that live",
		    LOG_STR("mount", p->base.mount->path));
	p->bad_said = true;
	return true;
}

static void suspect_condemn(struct pool *p, struct event_held *e)
{
	uint64_t who = suspect_who(e);
	p->condemned += who == 0 || who != p->condemned_session;
	p->condemned_session = who;
	pool_condemn(p, e);
}

/* It is tried again rarely, until an event of somebody else is settled. */
static void suspect_shelve(struct pool *p, struct event_held *e)
{
	if (TAILQ_EMPTY(&p->shelved)) {
		p->try_ms = SUSPECT_TRY_MS;
		p->try_at = pool_now(p) + SUSPECT_TRY_MS;
	}
	TAILQ_INSERT_TAIL(&p->shelved, e, link);
}

static void suspect_try_shelved(struct pool *p)
{
	struct event_held *e;
	while ((e = TAILQ_FIRST(&p->shelved)) != NULL) {
		TAILQ_REMOVE(&p->shelved, e, link);
		suspect_add(p, e);
	}
}

/* A connection whose events kill again and again waits ever longer for its next try; others do
 * not. */
static void suspect_wait(struct pool *p, struct event_held *e)
{
	const struct session *s = e->event.session;
	unsigned beyond =
		s != NULL && s->lane.blame > p->max_attempts ? s->lane.blame - p->max_attempts : 0;
	uint64_t ms = (uint64_t)SUSPECT_WAIT_MS << (beyond < 8 ? beyond : 8);
	if (beyond == 0)
		suspect_add(p, e);
	else
		pool_retry(p, e, ms < SUSPECT_WAIT_MAX_MS ? ms : SUSPECT_WAIT_MAX_MS);
}

void suspect_blame(struct pool *p, struct event_held *e)
{
	struct session *s = e->event.session;
	e->suspect = true;
	if (p->record > 0 && e->blame == 0) /* another one, so it goes on */
		p->dying_at = pool_now(p);
	if (e->blame < p->max_attempts)
		e->blame++;
	if (s != NULL && s->lane.blame < UINT8_MAX)
		s->lane.blame++;
	if (p->bad_said || (e->blame >= p->max_attempts && suspect_is_bad_deploy(p, e)))
		suspect_shelve(p, e);
	else if (e->blame >= p->max_attempts)
		suspect_condemn(p, e);
	else
		suspect_wait(p, e);
}

/* Only what was under way already when another link ended is held to have ended of the same: what
 * is given to one worker after the other, and kills each, is not a network. */
bool suspect_lost(struct pool *p, const struct worker *w)
{
	const struct event_held *only = w->n_flying == 1 ? TAILQ_FIRST(&w->flying) : NULL;
	uint64_t now = pool_now(p), before = p->lost_at;
	p->lost_at = now;
	return before != 0 && now - before < SUSPECT_NETWORK_MS && w->connected < before &&
	       (only == NULL || only->since < before);
}

/* As often as it may be blamed: two that kill at the same time again and again look like a network,
 * too. */
static void suspect_pardon(struct pool *p, struct event_held *e)
{
	if (e->pardons >= p->max_attempts) {
		suspect_blame(p, e);
		return;
	}
	e->pardons++;
	suspect_add(p, e);
}

void suspect_doubt(struct pool *p, struct event_held *e, bool together)
{
	struct event_held *other;
	e->suspect = true;
	e->since = pool_now(p) + SUSPECT_NETWORK_MS;
	TAILQ_INSERT_TAIL(&p->doubted, e, link);
	while (together && (other = TAILQ_FIRST(&p->doubted)) != NULL) {
		TAILQ_REMOVE(&p->doubted, other, link);
		suspect_pardon(p, other);
	}
}

/* No other link has ended meanwhile. */
static void suspect_judge(struct pool *p, uint64_t now)
{
	struct event_held *e;
	while ((e = TAILQ_FIRST(&p->doubted)) != NULL && e->since <= now) {
		TAILQ_REMOVE(&p->doubted, e, link);
		suspect_blame(p, e);
	}
}

/* Others may be killed, too, by what nobody suspected; where that happens twice the suspects, among
 * whom are those who only were there, have a turn in between. */
static void suspect_choose_side(struct pool *p, uint32_t n, bool alone)
{
	bool others = n > 0 && !alone;
	if (others || alone) { /* else it has died of nothing that it was given */
		p->suspects_first = others && p->others_died;
		p->others_died = others;
	}
	p->others_first = !p->suspects_first;
}

void suspect_died(struct pool *p, struct worker *w, uint32_t n, bool alone)
{
	uint64_t now = pool_now(p);
	unsigned n_serve;
	if (p->isolating == w) {
		p->isolating = NULL;
		w->isolating = false;
	} else if (p->isolating == NULL) {
		p->turn_began = 0;
	}
	if (p->turn_began == 0)
		p->turn_began = now;
	if (alone) {
		p->kind_until = 0;
		p->spare_due = w->attached && suspect_choose(p, &n_serve) != NULL;
	} else if (n > 0) {
		suspect_dying(p, now);
	}
	suspect_choose_side(p, n, alone);
}

void suspect_settled(struct pool *p, struct event_held *e)
{
	struct session *s = e->event.session;
	/* That a connection was told of a quarantine says nothing of what killed its worker. */
	bool innocent =
		e->event.kind != EVENT_ERROR || s == NULL || s->lane.blame == 0 || e->blame > 0;
	if (s != NULL && s->lane.blame > 0)
		s->lane.blame =
			s->lane.blame > e->blame + 1 ? (uint8_t)(s->lane.blame - e->blame - 1) : 0;
	p->others_settled += !e->suspect;
	if (!innocent)
		return;
	p->condemned = 0;
	p->bad_said = false;
	suspect_try_shelved(p);
}

void suspect_renew(struct pool *p)
{
	struct event_held *e;
	p->condemned = 0;
	p->bad_said = false;
	TAILQ_FOREACH (e, &p->shelved, link)
		e->blame = 0;
	suspect_try_shelved(p);
	suspect_calm(p);
}

void suspect_tick(struct pool *p, uint64_t now)
{
	suspect_judge(p, now);
	if (p->dying_at != 0 && now - p->dying_at >= SUSPECT_DYING_MS)
		suspect_calm(p);
	struct event_held *e = TAILQ_FIRST(&p->shelved);
	if (e == NULL || now < p->try_at)
		return;
	TAILQ_REMOVE(&p->shelved, e, link);
	suspect_add(p, e);
	p->try_ms = 2 * p->try_ms < SUSPECT_TRY_MAX_MS ? 2 * p->try_ms : SUSPECT_TRY_MAX_MS;
	p->try_at = now + p->try_ms;
}
