#include "net/addr_limits.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/check.h"
#include "common/random.h"

#define ADDR_LIMITS_SLOTS_LEAST 64u
#define ADDR_LIMITS_RETRY_S 10 /* when one of too many ends, which nobody knows */
#define ADDR_LIMITS_SAID_MS \
	60000 /* an address that is refused all the time is worth a line so often */

struct addr_limits_entry {
	struct addr_limits_entry *next;		   /* in its slot */
	struct addr_limits_entry *before, *behind; /* among the idle */
	uint64_t hash;
	struct address address; /* cut */
	struct bucket bucket;
	uint64_t idle_at, said_at; /* 0: it never was */
	uint32_t connections, over_limit;
};

struct addr_limits {
	pthread_mutex_t lock;
	struct hash_key key;
	struct addr_limits_limits limits;
	struct addr_limits_entry **slots;
	uint32_t n, cap; /* cap: a power of two */
	/* without connections, those that are so for the longest time in front */
	struct addr_limits_entry *idle_first, *idle_last;
	uint32_t n_idle;
	atomic_bool active; /* anything is limited: without the lock */
	atomic_uint sockets;
};

/* --- the table -------------------------------------------------------------------------------- */

static struct addr_limits_entry **addr_limits_slot(struct addr_limits *t, uint64_t hash,
						   const struct address *a)
{
	struct addr_limits_entry **at = &t->slots[hash & (t->cap - 1)];
	while (*at != NULL && ((*at)->hash != hash || (*at)->address.family != a->family ||
			       memcmp((*at)->address.ip, a->ip, sizeof a->ip) != 0))
		at = &(*at)->next;
	return at;
}

/* Larger or smaller; without memory the chains stay as they are. */
static void addr_limits_resize(struct addr_limits *t, uint32_t cap)
{
	struct addr_limits_entry **slots = calloc(cap, sizeof(struct addr_limits_entry *)), *e;
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

static void addr_limits_idle_add(struct addr_limits *t, struct addr_limits_entry *e, uint64_t now)
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

static void addr_limits_idle_take(struct addr_limits *t, struct addr_limits_entry *e)
{
	if (e->before != NULL)
		e->before->behind = e->behind;
	else
		t->idle_first = e->behind;
	if (e->behind != NULL)
		e->behind->before = e->before;
	else
		t->idle_last = e->before;
	CHECK(t->n_idle > 0);
	t->n_idle--;
}

static void addr_limits_remove_first(struct addr_limits *t, struct addr_limits_entry *e)
{
	CHECK(e->connections + e->over_limit == 0 && t->n_idle > 0 && t->n > 0);
	*addr_limits_slot(t, e->hash, &e->address) = e->next;
	t->idle_first = e->behind;
	if (e->behind != NULL)
		e->behind->before = NULL;
	else
		t->idle_last = NULL;
	t->n_idle--;
	t->n--;
	free(e);
	if (t->cap > ADDR_LIMITS_SLOTS_LEAST && t->n < t->cap / 4)
		addr_limits_resize(t, t->cap / 2);
}

/* Those whose bucket is full again differ in nothing from those that never came. */
static void addr_limits_forget(struct addr_limits *t, uint64_t now)
{
	struct addr_limits_entry *e;
	while ((e = t->idle_first) != NULL &&
	       (t->n_idle > ADDR_LIMITS_REMEMBERED || t->limits.handshakes.n == 0 ||
		now >= e->idle_at + t->limits.handshakes.ms))
		addr_limits_remove_first(t, e);
}

/* What counts as one address, and its hash. */
static uint64_t addr_limits_cut(const struct addr_limits *t, const struct address *a,
				struct address *cut_r)
{
	*cut_r = *a;
	address_cut(cut_r, a->family == AF_INET ? t->limits.bits4 : t->limits.bits6);
	return hash_bytes(&t->key, cut_r->ip, sizeof cut_r->ip);
}

static struct addr_limits_entry *addr_limits_find(struct addr_limits *t, const struct address *a)
{
	struct address cut;
	uint64_t hash = addr_limits_cut(t, a, &cut);
	return *addr_limits_slot(t, hash, &cut);
}

/* The entry of an address; one that is new is idle. NULL without memory. */
static struct addr_limits_entry *addr_limits_entry(struct addr_limits *t, const struct address *a,
						   uint64_t now)
{
	struct address cut;
	uint64_t hash = addr_limits_cut(t, a, &cut);
	struct addr_limits_entry **at = addr_limits_slot(t, hash, &cut), *e = *at;
	if (e != NULL)
		return e;
	e = malloc(sizeof *e);
	if (e == NULL)
		return NULL;
	*e = (struct addr_limits_entry){.hash = hash, .address = cut};
	bucket_fill(&e->bucket, &t->limits.handshakes, now);
	*at = e;
	addr_limits_idle_add(t, e, now);
	if (++t->n > t->cap)
		addr_limits_resize(t, t->cap * 2);
	return e;
}

/* --- coming and going ------------------------------------------------------------------------- */

static bool addr_limits_is_ip(const struct address *a)
{
	return a->family == AF_INET || a->family == AF_INET6;
}

static enum addr_limits_verdict addr_limits_judge(struct addr_limits *t,
						  struct addr_limits_entry *e, uint64_t now)
{
	if (t->limits.connections > 0 && e->connections >= t->limits.connections)
		return ADDR_LIMITS_CONNECTIONS;
	if (t->limits.handshakes.n > 0 && !bucket_take(&e->bucket, &t->limits.handshakes, now))
		return ADDR_LIMITS_HANDSHAKES;
	return ADDR_LIMITS_OK;
}

static struct addr_limits_answer addr_limits_count_in(struct addr_limits *t,
						      struct addr_limits_entry *e, uint64_t now,
						      bool tell)
{
	struct addr_limits_answer answer = {.verdict = addr_limits_judge(t, e, now)};
	answer.over_limit =
		answer.verdict != ADDR_LIMITS_OK && tell && e->over_limit < ADDR_LIMITS_TOLD_MAX;
	answer.counted = answer.verdict == ADDR_LIMITS_OK || answer.over_limit;
	if (answer.verdict != ADDR_LIMITS_OK &&
	    (e->said_at == 0 || now >= e->said_at + ADDR_LIMITS_SAID_MS)) {
		answer.first = true;
		e->said_at = now;
	}
	if (answer.counted && e->connections + e->over_limit == 0)
		addr_limits_idle_take(t, e);
	e->over_limit += answer.over_limit;
	e->connections += answer.verdict == ADDR_LIMITS_OK;
	return answer;
}

struct addr_limits_answer addr_limits_enter(struct addr_limits *t, const struct address *a,
					    uint64_t now_ms, bool tell)
{
	struct addr_limits_answer answer = {.verdict = ADDR_LIMITS_OK};
	if (!atomic_load_explicit(&t->active, memory_order_relaxed) || !addr_limits_is_ip(a))
		return answer;
	pthread_mutex_lock(&t->lock);
	addr_limits_forget(t, now_ms);
	struct addr_limits_entry *e = addr_limits_entry(t, a, now_ms);
	if (e != NULL)
		answer = addr_limits_count_in(t, e, now_ms, tell);
	else
		answer.verdict = ADDR_LIMITS_NO_MEMORY;
	pthread_mutex_unlock(&t->lock);
	return answer;
}

void addr_limits_leave(struct addr_limits *t, const struct address *a, bool over_limit,
		       uint64_t now_ms)
{
	pthread_mutex_lock(&t->lock);
	struct addr_limits_entry *e = addr_limits_find(t, a);
	if (e != NULL) {
		CHECK((over_limit ? e->over_limit : e->connections) > 0);
		if (over_limit)
			e->over_limit--;
		else
			e->connections--;
		if (e->connections + e->over_limit == 0)
			addr_limits_idle_add(t, e, now_ms);
	}
	addr_limits_forget(t, now_ms);
	pthread_mutex_unlock(&t->lock);
}

uint32_t addr_limits_retry(struct addr_limits *t, const struct address *a, uint64_t now_ms)
{
	uint32_t seconds = ADDR_LIMITS_RETRY_S;
	pthread_mutex_lock(&t->lock);
	const struct addr_limits_entry *e = addr_limits_find(t, a);
	if (e != NULL && (t->limits.connections == 0 || e->connections < t->limits.connections))
		seconds =
			(uint32_t)((bucket_wait(&e->bucket, &t->limits.handshakes, now_ms) + 999) /
				   1000);
	pthread_mutex_unlock(&t->lock);
	return seconds > 0 ? seconds : 1;
}

void addr_limits_sweep(struct addr_limits *t, uint64_t now_ms)
{
	pthread_mutex_lock(&t->lock);
	addr_limits_forget(t, now_ms);
	pthread_mutex_unlock(&t->lock);
}

bool addr_limits_take_socket(struct addr_limits *t, uint32_t most)
{
	if (atomic_fetch_add_explicit(&t->sockets, 1, memory_order_relaxed) < most)
		return true;
	addr_limits_give_socket(t);
	return false;
}

void addr_limits_give_socket(struct addr_limits *t)
{
	CHECK(atomic_fetch_sub_explicit(&t->sockets, 1, memory_order_relaxed) > 0);
}

uint32_t addr_limits_sockets(struct addr_limits *t)
{
	return atomic_load_explicit(&t->sockets, memory_order_relaxed);
}

/* --- all of it -------------------------------------------------------------------------------- */

struct addr_limits *addr_limits_new(const struct addr_limits_limits *limits)
{
	struct addr_limits *t = calloc(1, sizeof *t);
	struct addr_limits_entry **slots =
		calloc(ADDR_LIMITS_SLOTS_LEAST, sizeof(struct addr_limits_entry *));
	if (t == NULL || slots == NULL || !random_bytes(&t->key, sizeof t->key)) {
		free(t);
		free(slots);
		return NULL;
	}
	pthread_mutex_init(&t->lock, NULL);
	t->limits = *limits;
	t->slots = slots;
	t->cap = ADDR_LIMITS_SLOTS_LEAST;
	addr_limits_set_limits(t, limits);
	return t;
}

void addr_limits_set_limits(struct addr_limits *t, const struct addr_limits_limits *limits)
{
	pthread_mutex_lock(&t->lock);
	t->limits.connections = limits->connections;
	t->limits.handshakes = limits->handshakes;
	atomic_store(&t->active, limits->connections > 0 || limits->handshakes.n > 0);
	pthread_mutex_unlock(&t->lock);
}

void addr_limits_free(struct addr_limits **t_p)
{
	struct addr_limits *t = *t_p;
	*t_p = NULL;
	if (t == NULL)
		return;
	for (uint32_t i = 0; i < t->cap; i++)
		while (t->slots[i] != NULL) {
			struct addr_limits_entry *e = t->slots[i];
			t->slots[i] = e->next;
			free(e);
		}
	free(t->slots);
	pthread_mutex_destroy(&t->lock);
	free(t);
}
