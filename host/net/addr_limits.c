#include "net/addr_limits.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "base/check.h"
#include "base/hash_table.h"
#include "common/random.h"

#define ADDR_LIMITS_SLOTS_LEAST 64u
#define ADDR_LIMITS_RETRY_S 10 /* when one of too many ends, which nobody knows */
#define ADDR_LIMITS_SAID_MS \
	60000 /* an address that is refused all the time is worth a line so often */

struct addr_limits_entry {
	struct hash_link link;
	TAILQ_ENTRY(addr_limits_entry) others; /* among the idle */
	struct address address;		       /* cut */
	struct bucket bucket;
	uint64_t idle_at, said_at; /* 0: it never was */
	uint32_t connections, over_limit, away;
};

/* Nobody is there, and nobody is expected. */
static bool addr_limits_is_idle(const struct addr_limits_entry *e)
{
	return e->connections + e->over_limit + e->away == 0;
}

struct addr_limits {
	pthread_mutex_t lock;
	struct hash_key key;
	struct addr_limits_limits limits;
	struct hash_table table;
	/* without connections, those that are so for the longest time in front */
	TAILQ_HEAD(addr_limits_list, addr_limits_entry) idle;
	uint32_t n_idle;
	atomic_bool active; /* anything is limited: without the lock */
	atomic_uint sockets;
};

/* --- the table -------------------------------------------------------------------------------- */

static void addr_limits_idle_add(struct addr_limits *t, struct addr_limits_entry *e, uint64_t now)
{
	e->idle_at = now;
	TAILQ_INSERT_TAIL(&t->idle, e, others);
	t->n_idle++;
}

static void addr_limits_idle_take(struct addr_limits *t, struct addr_limits_entry *e)
{
	CHECK(t->n_idle > 0);
	TAILQ_REMOVE(&t->idle, e, others);
	t->n_idle--;
}

static void addr_limits_remove(struct addr_limits *t, struct addr_limits_entry *e)
{
	CHECK(addr_limits_is_idle(e));
	addr_limits_idle_take(t, e);
	hash_table_remove(&t->table, &e->link);
	free(e);
	hash_table_shrink(&t->table, ADDR_LIMITS_SLOTS_LEAST);
}

/* Those whose bucket is full again differ in nothing from those that never came. */
static void addr_limits_forget(struct addr_limits *t, uint64_t now)
{
	struct addr_limits_entry *e;
	while ((e = TAILQ_FIRST(&t->idle)) != NULL &&
	       (t->n_idle > ADDR_LIMITS_REMEMBERED || t->limits.handshakes.n == 0 ||
		now >= e->idle_at + t->limits.handshakes.ms))
		addr_limits_remove(t, e);
}

/* What counts as one address, and its hash. */
static uint64_t addr_limits_cut(const struct addr_limits *t, const struct address *a,
				struct address *cut_r)
{
	*cut_r = *a;
	address_cut(cut_r, a->family == AF_INET ? t->limits.bits4 : t->limits.bits6);
	return hash_bytes(&t->key, cut_r->ip, sizeof cut_r->ip);
}

static struct addr_limits_entry *addr_limits_with_hash(const struct addr_limits *t, uint64_t hash,
						       const struct address *cut)
{
	struct hash_link *at = hash_table_first(&t->table, hash);
	for (; at != NULL; at = hash_link_next(at)) {
		struct addr_limits_entry *e = HASH_ENTRY(at, struct addr_limits_entry, link);
		if (e->address.family == cut->family &&
		    memcmp(e->address.ip, cut->ip, sizeof cut->ip) == 0)
			return e;
	}
	return NULL;
}

static struct addr_limits_entry *addr_limits_find(struct addr_limits *t, const struct address *a)
{
	struct address cut;
	uint64_t hash = addr_limits_cut(t, a, &cut);
	return addr_limits_with_hash(t, hash, &cut);
}

/* The entry of an address; one that is new is idle. NULL without memory. */
static struct addr_limits_entry *addr_limits_entry(struct addr_limits *t, const struct address *a,
						   uint64_t now)
{
	struct address cut;
	uint64_t hash = addr_limits_cut(t, a, &cut);
	struct addr_limits_entry *e = addr_limits_with_hash(t, hash, &cut);
	if (e != NULL)
		return e;
	e = hash_table_reserve(&t->table) ? malloc(sizeof *e) : NULL;
	if (e == NULL)
		return NULL;
	*e = (struct addr_limits_entry){.address = cut};
	bucket_fill(&e->bucket, &t->limits.handshakes, now);
	hash_table_add(&t->table, &e->link, hash);
	addr_limits_idle_add(t, e, now);
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
	if (answer.counted && addr_limits_is_idle(e))
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
		if (addr_limits_is_idle(e))
			addr_limits_idle_add(t, e, now_ms);
	}
	addr_limits_forget(t, now_ms);
	pthread_mutex_unlock(&t->lock);
}

bool addr_limits_away(struct addr_limits *t, const struct address *a, uint64_t now_ms)
{
	if (!atomic_load_explicit(&t->active, memory_order_relaxed) || !addr_limits_is_ip(a))
		return false;
	pthread_mutex_lock(&t->lock);
	struct addr_limits_entry *e = addr_limits_entry(t, a, now_ms);
	if (e != NULL && addr_limits_is_idle(e))
		addr_limits_idle_take(t, e);
	if (e != NULL)
		e->away++;
	pthread_mutex_unlock(&t->lock);
	return e != NULL;
}

void addr_limits_not_away(struct addr_limits *t, const struct address *a, uint64_t now_ms)
{
	pthread_mutex_lock(&t->lock);
	struct addr_limits_entry *e = addr_limits_find(t, a);
	CHECK(e != NULL && e->away > 0);
	e->away--;
	if (addr_limits_is_idle(e))
		addr_limits_idle_add(t, e, now_ms);
	addr_limits_forget(t, now_ms);
	pthread_mutex_unlock(&t->lock);
}

bool addr_limits_is_over(struct addr_limits *t, const struct address *a)
{
	if (!atomic_load_explicit(&t->active, memory_order_relaxed) || !addr_limits_is_ip(a))
		return false;
	pthread_mutex_lock(&t->lock);
	const struct addr_limits_entry *e = addr_limits_find(t, a);
	bool over = e != NULL && t->limits.connections > 0 && e->away > 0 &&
		    e->connections + e->away > t->limits.connections;
	pthread_mutex_unlock(&t->lock);
	return over;
}

bool addr_limits_are_one(const struct addr_limits *t, const struct address *a,
			 const struct address *b)
{
	struct address cut_a, cut_b;
	addr_limits_cut(t, a, &cut_a);
	addr_limits_cut(t, b, &cut_b);
	return memcmp(&cut_a, &cut_b, sizeof cut_a) == 0;
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
	if (t == NULL || !hash_table_reserve(&t->table) || !random_bytes(&t->key, sizeof t->key)) {
		if (t != NULL)
			hash_table_free(&t->table);
		free(t);
		return NULL;
	}
	TAILQ_INIT(&t->idle);
	pthread_mutex_init(&t->lock, NULL);
	t->limits = *limits;
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
	for (struct hash_link *at = hash_table_next(&t->table, NULL), *next; at != NULL;
	     at = next) {
		next = hash_table_next(&t->table, at);
		free(HASH_ENTRY(at, struct addr_limits_entry, link));
	}
	hash_table_free(&t->table);
	pthread_mutex_destroy(&t->lock);
	free(t);
}
