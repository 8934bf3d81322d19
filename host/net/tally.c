#include "net/tally.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/random.h"

#define TALLY_SLOTS_LEAST 64u
#define TALLY_RETRY_S 10    /* when one of too many ends, which nobody knows */
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
	uint32_t n, cap; /* cap: a power of two */
	/* without connections, those that are so for the longest time in front */
	struct tally_entry *idle_first, *idle_last;
	uint32_t n_idle;
	atomic_bool active; /* anything is limited: without the lock */
	atomic_uint sockets;
};

/* --- the table -------------------------------------------------------------------------------- */

static struct tally_entry **tally_slot(struct tally *t, uint64_t hash, const struct address *a)
{
	struct tally_entry **at = &t->slots[hash & (t->cap - 1)];
	while (*at != NULL && ((*at)->hash != hash || (*at)->address.family != a->family ||
			       memcmp((*at)->address.ip, a->ip, sizeof a->ip) != 0))
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
	       (t->n_idle > TALLY_REMEMBERED || t->limits.handshakes.n == 0 ||
		now >= e->idle_at + t->limits.handshakes.ms))
		tally_remove_first(t, e);
}

/* What counts as one address, and its hash. */
static uint64_t tally_cut(const struct tally *t, const struct address *a, struct address *cut_r)
{
	*cut_r = *a;
	address_cut(cut_r, a->family == AF_INET ? t->limits.bits4 : t->limits.bits6);
	return hash_bytes(&t->key, cut_r->ip, sizeof cut_r->ip);
}

static struct tally_entry *tally_find(struct tally *t, const struct address *a)
{
	struct address cut;
	uint64_t hash = tally_cut(t, a, &cut);
	return *tally_slot(t, hash, &cut);
}

/* The entry of an address; one that is new is idle. NULL without memory. */
static struct tally_entry *tally_entry(struct tally *t, const struct address *a, uint64_t now)
{
	struct address cut;
	uint64_t hash = tally_cut(t, a, &cut);
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

/* --- coming and going ------------------------------------------------------------------------- */

static bool tally_is_ip(const struct address *a)
{
	return a->family == AF_INET || a->family == AF_INET6;
}

static enum tally_verdict tally_judge(struct tally *t, struct tally_entry *e, uint64_t now)
{
	if (t->limits.connections > 0 && e->connections >= t->limits.connections)
		return TALLY_CONNECTIONS;
	if (t->limits.handshakes.n > 0 && !bucket_take(&e->bucket, &t->limits.handshakes, now))
		return TALLY_HANDSHAKES;
	return TALLY_OK;
}

static struct tally_answer tally_count_in(struct tally *t, struct tally_entry *e, uint64_t now,
					  bool tell)
{
	struct tally_answer answer = {.verdict = tally_judge(t, e, now)};
	answer.told = answer.verdict != TALLY_OK && tell && e->told < TALLY_TOLD_MAX;
	answer.counted = answer.verdict == TALLY_OK || answer.told;
	if (answer.verdict != TALLY_OK && (e->said_at == 0 || now >= e->said_at + TALLY_SAID_MS)) {
		answer.first = true;
		e->said_at = now;
	}
	if (answer.counted && e->connections + e->told == 0)
		tally_idle_take(t, e);
	e->told += answer.told;
	e->connections += answer.verdict == TALLY_OK;
	return answer;
}

struct tally_answer tally_enter(struct tally *t, const struct address *a, uint64_t now_ms,
				bool tell)
{
	struct tally_answer answer = {.verdict = TALLY_OK};
	if (!atomic_load_explicit(&t->active, memory_order_relaxed) || !tally_is_ip(a))
		return answer;
	pthread_mutex_lock(&t->lock);
	tally_forget(t, now_ms);
	struct tally_entry *e = tally_entry(t, a, now_ms);
	if (e != NULL)
		answer = tally_count_in(t, e, now_ms, tell);
	else
		answer.verdict = TALLY_NO_MEMORY;
	pthread_mutex_unlock(&t->lock);
	return answer;
}

void tally_leave(struct tally *t, const struct address *a, bool told, uint64_t now_ms)
{
	pthread_mutex_lock(&t->lock);
	struct tally_entry *e = tally_find(t, a);
	if (e != NULL) {
		if (told)
			e->told--;
		else
			e->connections--;
		if (e->connections + e->told == 0)
			tally_idle_add(t, e, now_ms);
	}
	tally_forget(t, now_ms);
	pthread_mutex_unlock(&t->lock);
}

uint32_t tally_retry(struct tally *t, const struct address *a, uint64_t now_ms)
{
	uint32_t seconds = TALLY_RETRY_S;
	pthread_mutex_lock(&t->lock);
	const struct tally_entry *e = tally_find(t, a);
	if (e != NULL && (t->limits.connections == 0 || e->connections < t->limits.connections))
		seconds =
			(uint32_t)((bucket_wait(&e->bucket, &t->limits.handshakes, now_ms) + 999) /
				   1000);
	pthread_mutex_unlock(&t->lock);
	return seconds > 0 ? seconds : 1;
}

void tally_sweep(struct tally *t, uint64_t now_ms)
{
	pthread_mutex_lock(&t->lock);
	tally_forget(t, now_ms);
	pthread_mutex_unlock(&t->lock);
}

bool tally_take_socket(struct tally *t, uint32_t most)
{
	if (atomic_fetch_add_explicit(&t->sockets, 1, memory_order_relaxed) < most)
		return true;
	tally_give_socket(t);
	return false;
}

void tally_give_socket(struct tally *t)
{
	atomic_fetch_sub_explicit(&t->sockets, 1, memory_order_relaxed);
}

uint32_t tally_sockets(struct tally *t)
{
	return atomic_load_explicit(&t->sockets, memory_order_relaxed);
}

uint32_t tally_count(struct tally *t)
{
	pthread_mutex_lock(&t->lock);
	uint32_t n = t->n;
	pthread_mutex_unlock(&t->lock);
	return n;
}

/* --- all of it -------------------------------------------------------------------------------- */

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
	tally_set_limits(t, limits);
	return t;
}

void tally_set_limits(struct tally *t, const struct tally_limits *limits)
{
	pthread_mutex_lock(&t->lock);
	t->limits.connections = limits->connections;
	t->limits.handshakes = limits->handshakes;
	atomic_store(&t->active, limits->connections > 0 || limits->handshakes.n > 0);
	pthread_mutex_unlock(&t->lock);
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
	pthread_mutex_destroy(&t->lock);
	free(t);
}
