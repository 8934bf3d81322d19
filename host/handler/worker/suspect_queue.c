/* suspect_queue: which of those that are delivered alone is next. */
#include "base/check.h"
#include "handler/worker/suspect.h"

#define SUSPECT_KIND_MS 50 /* of newcomers, and of the others who are delivered alone */

/* How much its connection has settled before; that it was handled well once says little of a close,
 * which nobody waits for. */
static uint64_t suspect_queue_record(const struct event_held *e)
{
	return e->event.session != NULL && e->event.kind != EVENT_CLOSE ? e->event.sequence : 0;
}

bool suspect_is_newcomer(const struct pool *p, const struct event_held *e)
{
	return suspect_queue_record(e) < p->record;
}

static struct event_queue *suspect_queue(struct pool *p, const struct event_held *e)
{
	const struct session *s = e->event.session;
	if (e->blame > 0 || (s != NULL && s->lane.blame > 0))
		return &p->suspects;
	if (s != NULL && s->ended)
		return &p->parted;
	return suspect_queue_record(e) >= SUSPECT_RECORD && !suspect_is_newcomer(p, e)
		       ? &p->bystanders
		       : &p->newcomers;
}

void suspect_add(struct pool *p, struct event_held *e)
{
	struct event_queue *q = suspect_queue(p, e);
	CHECK(e->with == NULL);
	e->suspect = true;
	/* One that is tried the last times is soon out of the way; if all were to wait for each
	 * other none would be where ever new ones come. */
	if (e->blame > 1)
		TAILQ_INSERT_HEAD(q, e, link);
	else
		TAILQ_INSERT_TAIL(q, e, link);
	p->n_alone++;
}

/* Who has gone meanwhile waits for nothing. */
static void suspect_queue_part(struct pool *p)
{
	struct event_held *e;
	while ((e = TAILQ_FIRST(&p->newcomers)) != NULL && e->event.session != NULL &&
	       e->event.session->ended) {
		TAILQ_REMOVE(&p->newcomers, e, link);
		TAILQ_INSERT_TAIL(&p->parted, e, link);
	}
}

/* Bystanders first, who are few. Of the rest each kind goes on until a worker dies of it, or for
 * its time, and every second turn is the newcomers', among whom are those who are well. */
static struct event_queue *suspect_queue_next_queue(struct pool *p)
{
	struct event_queue *const kinds[] = {&p->newcomers, &p->parted, &p->newcomers,
					     &p->suspects};
	const unsigned n = sizeof kinds / sizeof *kinds;
	uint64_t now = pool_now(p);
	bool other = now >= p->kind_until;
	if (!TAILQ_EMPTY(&p->bystanders))
		return &p->bystanders;
	suspect_queue_part(p);
	for (unsigned i = other ? 1 : 0;; i++, other = true) {
		CHECK(i <= n);
		if (TAILQ_EMPTY(kinds[(p->kind + i) % n]))
			continue;
		p->kind = (p->kind + i) % n;
		p->kind_until = other ? now + SUSPECT_KIND_MS : p->kind_until;
		return kinds[p->kind];
	}
}

struct event_held *suspect_take(struct pool *p)
{
	struct event_queue *q = suspect_queue_next_queue(p);
	struct event_held *e = TAILQ_FIRST(q);
	CHECK(e->magic == CHECK_EVENT && p->n_alone > 0);
	TAILQ_REMOVE(q, e, link);
	p->n_alone--;
	return e;
}
