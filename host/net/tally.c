#include "net/tally.h"

#include <errno.h>
#include <stdlib.h>

#include "base/random.h"

#define TALLY_SLOTS_LEAST 64u
#define TALLY_SAID_MS 60000 /* an address that is refused all the time is worth a line so often */

struct tally_entry {
	struct tally_entry *next;	     /* in its slot */
	struct tally_entry *before, *behind; /* among the idle */
	uint64_t hash;
	struct address address; /* cut */
	struct bucket bucket;
	uint64_t idle_at, said_at; /* 0: it never was */
	uint32_t connections, told;
};

struct tally {
	pthread_mutex_t lock;
	struct hash_key key;
	struct tally_limits limits;
	struct tally_entry **slots;
	uint32_t n, cap;			    /* cap: a power of two */
	struct tally_entry *idle_first, *idle_last; /* without connections, those that are so for the longest time in front */
	uint32_t n_idle;
};

/* --- the table -------------------------------------------------------------------------------------------------------------------- */

static struct tally_entry **tally_slot(struct tally *t, uint64_t hash, const struct address *a)
{
	struct tally_entry **at = &t->slots[hash & (t->cap - 1)];
	while (*at != NULL &&
	       ((*at)->hash != hash || (*at)->address.family != a->family || memcmp((*at)->address.ip, a->ip, sizeof a->ip) != 0))
		at = &(*at)->next;
	return at;
}

/* Larger or smaller; without memory the chains stay as they are. */
static void tally_resize(struct tally *t, uint32_t cap)
{
	struct tally_entry **slots = calloc(cap, sizeof(struct tally_entry *)), *e;
	if (slots == NULL)
		return;
	for (uint32_t i = 0; i < t->cap; i++)
		while ((e = t->slots[i]) != NULL) {
			t->slots[i] = e->next;
			e->next = slots[e->hash & (cap - 1)];
			slots[e->hash & (cap - 1)] = e;
		}
	free(t->slots);
	t->slots = slots;
	t->cap = cap;
}

static void tally_idle_add(struct tally *t, struct tally_entry *e, uint64_t now)
{
	e->idle_at = now;
	e->behind = NULL;
	e->before = t->idle_last;
	if (t->idle_last != NULL)
		t->idle_last->behind = e;
	else
		t->idle_first = e;
	t->idle_last = e;
	t->n_idle++;
}

static void tally_idle_take(struct tally *t, struct tally_entry *e)
{
	if (e->before != NULL)
		e->before->behind = e->behind;
	else
		t->idle_first = e->behind;
	if (e->behind != NULL)
		e->behind->before = e->before;
	else
		t->idle_last = e->before;
	t->n_idle--;
}

static void tally_remove_first(struct tally *t, struct tally_entry *e)
{
	*tally_slot(t, e->hash, &e->address) = e->next;
	t->idle_first = e->behind;
	if (e->behind != NULL)
		e->behind->before = NULL;
	else
		t->idle_last = NULL;
	t->n_idle--;
	t->n--;
	free(e);
	if (t->cap > TALLY_SLOTS_LEAST && t->n < t->cap / 4)
		tally_resize(t, t->cap / 2);
}

/* Those whose bucket is full again differ in nothing from those that never came. */
static void tally_forget(struct tally *t, uint64_t now)
{
	struct tally_entry *e;
	while ((e = t->idle_first) != NULL &&
	       (t->n_idle > TALLY_REMEMBERED || t->limits.handshakes.n == 0 || now >= e->idle_at + t->limits.handshakes.ms))
		tally_remove_first(t, e);
}

/* The entry of an address; one that is new is idle. NULL without memory. */
static struct tally_entry *tally_entry(struct tally *t, const struct address *a, uint64_t now)
{
	struct address cut = *a;
	address_cut(&cut, a->family == AF_INET ? t->limits.bits4 : t->limits.bits6);
	uint64_t hash = hash_bytes(&t->key, cut.ip, sizeof cut.ip);
	struct tally_entry **at = tally_slot(t, hash, &cut), *e = *at;
	if (e != NULL)
		return e;
	e = malloc(sizeof *e);
	if (e == NULL)
		return NULL;
	*e = (struct tally_entry){.hash = hash, .address = cut};
	bucket_fill(&e->bucket, &t->limits.handshakes, now);
	*at = e;
	tally_idle_add(t, e, now);
	if (++t->n > t->cap)
		tally_resize(t, t->cap * 2);
	return e;
}

/* --- coming and going ----------------------------------------------------------------------------------------------------------------- */

static bool tally_counts(const struct tally *t, const struct address *a)
{
	return (t->limits.connections > 0 || t->limits.handshakes.n > 0) && (a->family == AF_INET || a->family == AF_INET6) &&
	       !address_set_has(&t->limits.trusted, a);
}

static struct tally_answer tally_judge(struct tally *t, struct tally_entry *e, uint64_t now)
{
	const struct bucket_rate *rate = &t->limits.handshakes;
	struct tally_answer answer = {.verdict = TALLY_OK};
	if (t->limits.connections > 0 && e->connections >= t->limits.connections) {
		answer.verdict = TALLY_CONNECTIONS;
		answer.retry_s = 10; /* when one of them ends, which nobody knows */
	} else if (rate->n > 0 && !bucket_take(&e->bucket, rate, now)) {
		answer.verdict = TALLY_HANDSHAKES;
		answer.retry_s = (uint32_t)((bucket_wait(&e->bucket, rate, now) + 999) / 1000);
	}
	if (answer.verdict != TALLY_OK && (e->said_at == 0 || now >= e->said_at + TALLY_SAID_MS)) {
		answer.first = true;
		e->said_at = now;
	}
	return answer;
}

static void tally_hold(struct tally *t, struct tally_entry *e, bool told)
{
	if (e->connections + e->told == 0)
		tally_idle_take(t, e);
	if (told)
		e->told++;
	else
		e->connections++;
}

struct tally_answer tally_enter(struct tally *t, const struct address *a, uint64_t now_ms, bool tell, struct tally_place *place_r)
{
	struct tally_answer answer = {.verdict = TALLY_OK};
	*place_r = (struct tally_place){.entry = NULL};
	pthread_mutex_lock(&t->lock);
	if (tally_counts(t, a)) {
		tally_forget(t, now_ms);
		struct tally_entry *e = tally_entry(t, a, now_ms);
		if (e == NULL) {
			answer.verdict = TALLY_NO_MEMORY;
		} else {
			answer = tally_judge(t, e, now_ms);
			bool told = answer.verdict != TALLY_OK;
			if (!told || (tell && e->told < TALLY_TOLD_MAX)) {
				tally_hold(t, e, told);
				*place_r = (struct tally_place){.entry = e, .told = told};
			}
		}
	}
	pthread_mutex_unlock(&t->lock);
	return answer;
}

void tally_leave(struct tally *t, struct tally_place *place, uint64_t now_ms)
{
	struct tally_entry *e = place->entry;
	if (e == NULL)
		return;
	pthread_mutex_lock(&t->lock);
	if (place->told)
		e->told--;
	else
		e->connections--;
	if (e->connections + e->told == 0)
		tally_idle_add(t, e, now_ms);
	tally_forget(t, now_ms);
	pthread_mutex_unlock(&t->lock);
	place->entry = NULL;
}

void tally_sweep(struct tally *t, uint64_t now_ms)
{
	pthread_mutex_lock(&t->lock);
	tally_forget(t, now_ms);
	pthread_mutex_unlock(&t->lock);
}

bool tally_is_trusted(struct tally *t, const struct address *a)
{
	pthread_mutex_lock(&t->lock);
	bool trusted = address_set_has(&t->limits.trusted, a);
	pthread_mutex_unlock(&t->lock);
	return trusted;
}

uint32_t tally_count(struct tally *t)
{
	pthread_mutex_lock(&t->lock);
	uint32_t n = t->n;
	pthread_mutex_unlock(&t->lock);
	return n;
}

/* --- all of it ------------------------------------------------------------------------------------------------------------------------ */

struct tally *tally_new(const struct tally_limits *limits)
{
	struct tally *t = calloc(1, sizeof *t);
	struct tally_entry **slots = calloc(TALLY_SLOTS_LEAST, sizeof(struct tally_entry *));
	if (t == NULL || slots == NULL || !random_bytes(&t->key, sizeof t->key)) {
		free(t);
		free(slots);
		return NULL;
	}
	pthread_mutex_init(&t->lock, NULL);
	t->limits = *limits;
	t->slots = slots;
	t->cap = TALLY_SLOTS_LEAST;
	return t;
}

/* Addresses that are cut elsewhere now are found no more by those that come, and go with the last connection that has them. */
void tally_set_limits(struct tally *t, struct tally_limits *limits)
{
	pthread_mutex_lock(&t->lock);
	struct address_set old = t->limits.trusted;
	t->limits = *limits;
	limits->trusted = (struct address_set){.v = NULL};
	pthread_mutex_unlock(&t->lock);
	address_set_free(&old);
}

void tally_free(struct tally *t)
{
	if (t == NULL)
		return;
	for (uint32_t i = 0; i < t->cap; i++)
		while (t->slots[i] != NULL) {
			struct tally_entry *e = t->slots[i];
			t->slots[i] = e->next;
			free(e);
		}
	free(t->slots);
	address_set_free(&t->limits.trusted);
	pthread_mutex_destroy(&t->lock);
	free(t);
}
