#include "hub/history.h"

#include <stdlib.h>
#include <time.h>

#include "base/check.h"
#include "common/random.h"
#include "hub/hub.h"

#define HISTORY_TICK_MS 500
/* messages that go at one time; what is beyond a bound even then goes with the next message, or
 * tick */
#define HISTORY_FORGET_MAX 16384
#define HISTORY_MALLOC 16		   /* what the allocator adds to a piece of memory */
#define HISTORY_SLOTS (2 * sizeof(void *)) /* of the table, for each room */

struct history_room {
	struct hash_link place; /* in the table */
	uint64_t epoch;
	struct kept messages; /* numbers: when they came */
	uint64_t first;	      /* offset of the oldest */
	uint64_t bytes;	      /* of memory, without its messages' ring */
	uint64_t spoke_at;    /* ms */
	TAILQ_ENTRY(history_room) link;
	uint8_t len;
	char name[RULES_NAME_MAX + 1]; /* only len + 1 bytes of it are allocated */
};

static struct history_room *history_room(const struct mount *m, struct span name)
{
	const struct history *h = m->history;
	if (h == NULL || h->table.n == 0)
		return NULL;
	struct hash_link *at =
		hash_table_first(&h->table, hash_bytes(&m->rooms.key, name.p, name.n));
	for (; at != NULL; at = hash_link_next(at)) {
		struct history_room *r = HASH_ENTRY(at, struct history_room, place);
		if (r->len == name.n && memcmp(r->name, name.p, name.n) == 0)
			return r;
	}
	return NULL;
}

/* --- rooms ------------------------------------------------------------------------------------ */

static uint64_t history_ring(const struct history_room *r)
{
	return r->messages.cap * sizeof *r->messages.v;
}

static uint64_t history_weight(const struct slice *frame)
{
	return sizeof(struct chunk) + frame->chunk->size + HISTORY_MALLOC;
}

/* Offsets of another epoch mean nothing, so that none may come twice. Numbers up to this are whole
 * in JavaScript. */
static bool history_epoch(uint64_t *epoch_r)
{
	bool ok = random_bytes(epoch_r, sizeof *epoch_r);
	*epoch_r = (*epoch_r >> 11) | 1;
	return ok;
}

static struct history_room *history_add(struct mount *m, struct span name)
{
	struct history *h = m->history;
	size_t size = offsetof(struct history_room, name) + name.n + 1;
	struct history_room *r = hash_table_reserve(&h->table) ? malloc(size) : NULL;
	if (r == NULL)
		return NULL;
	memset(r, 0, size);
	r->first = 1;
	r->bytes = size + HISTORY_MALLOC + HISTORY_SLOTS;
	r->len = (uint8_t)name.n;
	memcpy(r->name, name.p, name.n);
	r->name[name.n] = '\0';
	if (!history_epoch(&r->epoch)) {
		free(r);
		return NULL;
	}
	hash_table_add(&h->table, &r->place, hash_bytes(&m->rooms.key, name.p, name.n));
	TAILQ_INSERT_TAIL(&h->rooms, r, link);
	m->hub->histories.held += r->bytes;
	return r;
}

/* Its oldest message goes, and with the last one the room. Returns whether there is one left. */
static bool history_forget(struct mount *m, struct history_room *r)
{
	struct histories *all = &m->hub->histories;
	uint64_t ring = history_ring(r);
	if (r->messages.n > 0) {
		uint64_t weight = history_weight(&kept_first(&r->messages)->frame);
		CHECK(r->bytes >= weight && all->held >= weight);
		r->bytes -= weight;
		all->held -= weight;
		kept_pop(&r->messages);
		r->first++;
	}
	all->held -= ring - history_ring(r);
	if (r->messages.n > 0)
		return true;
	CHECK(all->held >= r->bytes);
	all->held -= r->bytes;
	hash_table_remove(&m->history->table, &r->place);
	TAILQ_REMOVE(&m->history->rooms, r, link);
	free(r);
	return false;
}

/* What is too old, or too much, of one room; left: messages that may go now. Returns whether there
 * is one left. */
static bool history_trim(struct mount *m, struct history_room *r, uint32_t *left)
{
	const struct history_limits *limits = &m->history->limits;
	uint64_t now = loop_now(m->hub->loop);
	for (; *left > 0; (*left)--) {
		bool old = limits->ms > 0 && now - kept_first(&r->messages)->number >= limits->ms;
		if (!old && r->messages.n <= limits->messages)
			return true;
		if (!history_forget(m, r))
			return false;
	}
	return true;
}

/* --- the bound of all ------------------------------------------------------------------------- */

/* The mount whose longest silent room has been silent for longest. */
static struct mount *histories_longest(const struct hub *hub)
{
	struct mount *longest = NULL;
	uint64_t since = UINT64_MAX;
	for (struct mount *m = hub->mounts; m != NULL; m = m->next) {
		const struct history_room *r =
			m->history != NULL ? TAILQ_FIRST(&m->history->rooms) : NULL;
		if (r == NULL || r->spoke_at >= since)
			continue;
		since = r->spoke_at;
		longest = m;
	}
	return longest;
}

static void histories_give_way(struct hub *hub)
{
	struct mount *m;
	struct histories *all = &hub->histories;
	for (uint32_t left = HISTORY_FORGET_MAX; all->held > all->max && left > 0; left--) {
		if ((m = histories_longest(hub)) == NULL)
			return;
		history_forget(m, TAILQ_FIRST(&m->history->rooms));
	}
}

/* Of those that speak the old ones go with each message. */
static void histories_on_tick(void *arg)
{
	struct hub *hub = arg;
	CHECK_IS(hub, CHECK_HUB);
	uint32_t left = HISTORY_FORGET_MAX;
	bool ages = false;
	for (struct mount *m = hub->mounts; m != NULL; m = m->next) {
		struct history_room *r;
		uint64_t ms = m->history != NULL ? m->history->limits.ms : 0;
		ages = ages || (ms > 0 && m->history->table.n > 0);
		while (ms > 0 && left > 0 && (r = TAILQ_FIRST(&m->history->rooms)) != NULL &&
		       loop_now(hub->loop) - r->spoke_at >= ms)
			history_trim(m, r, &left);
	}
	histories_give_way(hub);
	hub->loop->stats.history = hub->histories.held;
	if (ages || hub->histories.held > hub->histories.max)
		loop_timer_set(&hub->histories.tick, HISTORY_TICK_MS);
}

static void histories_watch(struct hub *hub)
{
	if (!loop_timer_is_set(&hub->histories.tick))
		loop_timer_set(&hub->histories.tick, HISTORY_TICK_MS);
}

void histories_init(struct histories *all, struct hub *hub)
{
	loop_timer_init(hub->loop, &all->tick, histories_on_tick, hub);
}

void histories_free(struct histories *all)
{
	loop_timer_cancel(&all->tick);
}

void histories_bound(struct hub *hub, uint64_t max)
{
	hub->histories.max = max;
	histories_give_way(hub);
	hub->loop->stats.history = hub->histories.held;
	if (hub->histories.held > max)
		histories_watch(hub);
}

/* --- a mount's -------------------------------------------------------------------------------- */

void history_free(struct mount *m)
{
	struct history *h = m->history;
	struct history_room *r;
	if (h == NULL)
		return;
	while ((r = TAILQ_FIRST(&h->rooms)) != NULL)
		history_forget(m, r);
	hash_table_free(&h->table);
	free(h);
	m->history = NULL;
	m->hub->loop->stats.history = m->hub->histories.held;
}

/* Fewer of each room. */
static void history_cut(struct mount *m)
{
	struct history_room *r, *next;
	uint32_t all = UINT32_MAX;
	for (r = TAILQ_FIRST(&m->history->rooms); r != NULL; r = next) {
		next = TAILQ_NEXT(r, link);
		history_trim(m, r, &all);
	}
}

bool history_limit(struct mount *m, struct history_limits limits)
{
	if (limits.messages == 0) {
		history_free(m);
		return true;
	}
	if (m->history == NULL) {
		m->history = calloc(1, sizeof *m->history);
		if (m->history == NULL)
			return false;
		TAILQ_INIT(&m->history->rooms);
	}
	m->history->limits = limits;
	history_cut(m);
	if (limits.ms > 0)
		histories_watch(m->hub);
	m->hub->loop->stats.history = m->hub->histories.held;
	return true;
}

/* --- a message -------------------------------------------------------------------------------- */

/* In a chunk that goes with it: what is large has one. */
static bool history_copy(const struct slice *frame, struct slice *copy_r)
{
	bool own = frame->len > CHUNK_SHARED_MAX;
	struct chunk *c = own ? frame->chunk : chunk_new(frame->len);
	if (c == NULL)
		return false;
	if (own) {
		chunk_ref(c);
	} else {
		c->used = frame->len;
		memcpy(c->bytes, slice_bytes(frame), frame->len);
	}
	*copy_r = own ? *frame : (struct slice){c, 0, frame->len};
	return true;
}

static bool history_push(struct mount *m, struct history_room *r, const struct slice *copy,
			 uint64_t key)
{
	uint64_t ring = history_ring(r), weight = history_weight(copy);
	uint64_t now = loop_now(m->hub->loop);
	if (!kept_push(&r->messages, copy, key, now))
		return false;
	r->spoke_at = now;
	r->bytes += weight;
	m->hub->histories.held += weight + history_ring(r) - ring;
	TAILQ_REMOVE(&m->history->rooms, r, link);
	TAILQ_INSERT_TAIL(&m->history->rooms, r, link);
	return true;
}

struct history_place history_keep(struct mount *m, struct span room, const struct slice *frame,
				  uint64_t key)
{
	struct history_room *r = history_room(m, room);
	struct slice copy = {.chunk = NULL};
	uint32_t left = HISTORY_FORGET_MAX;
	if (r == NULL && (r = history_add(m, room)) == NULL)
		return (struct history_place){0};
	bool kept = history_copy(frame, &copy) && history_push(m, r, &copy, key);
	slice_unref(&copy);
	if (!kept) {
		while (history_forget(m, r))
			;
		return (struct history_place){0};
	}
	struct history_place place = {r->epoch, r->first + r->messages.n - 1};
	history_trim(m, r, &left);
	histories_give_way(m->hub);
	m->hub->loop->stats.history = m->hub->histories.held;
	if (m->history->limits.ms > 0)
		histories_watch(m->hub);
	return place;
}

/* --- what is remembered ----------------------------------------------------------------------- */

static struct history_found history_nothing(uint64_t epoch, uint64_t last, bool complete)
{
	return (struct history_found){.epoch = epoch,
				      .from = last + 1,
				      .to = last,
				      .last = last,
				      .complete = complete};
}

static void history_find_last(struct history_found *found, const struct history_room *r, uint64_t n)
{
	uint64_t have = r->messages.n;
	found->from = found->last + 1 - (n < have ? n : have);
	found->complete = n <= have || r->first == 1;
}

struct history_found history_find(struct mount *m, struct span room,
				  const struct history_want *want)
{
	struct history_room *r = history_room(m, room);
	uint32_t left = UINT32_MAX;
	bool since = want->how != HISTORY_WANT_LAST;
	/* where nobody has spoken nothing was missed */
	if (r == NULL || !history_trim(m, r, &left))
		return history_nothing(0, 0, m->history != NULL && want->since == 0);
	struct history_found found = {.room = r,
				      .epoch = r->epoch,
				      .last = r->first + r->messages.n - 1};
	found.to = found.last;
	bool same = want->epoch == r->epoch || want->epoch == 0;
	bool known = want->since == 0 || (same && want->since <= found.last);
	if (!since) {
		history_find_last(&found, r, want->last);
	} else if (known && want->since + 1 >= r->first) {
		found.from = want->since + 1;
		found.complete = true;
	} else {
		history_find_last(&found, r, want->last);
		found.complete = false;
	}
	return found;
}

uint64_t history_first(const struct history_found *found)
{
	return found->room != NULL ? found->room->first : 0;
}

const struct kept_message *history_at(const struct history_found *found, uint64_t offset)
{
	CHECK(offset >= found->from && offset <= found->to);
	return kept_at(&found->room->messages, (uint32_t)(offset - found->room->first));
}

uint64_t history_time(const struct mount *m, const struct kept_message *message)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000 -
	       (loop_now(m->hub->loop) - message->number);
}

/* How many fit, from the front or from the back. */
static uint64_t history_fit(const struct history_found *found, bool from_back)
{
	uint64_t n = 0, bytes = 0, all = found->to + 1 - found->from;
	while (n < all) {
		uint64_t offset = from_back ? found->to - n : found->from + n;
		bytes += history_at(found, offset)->frame.len;
		if (bytes > HISTORY_QUERY_BYTES && n > 0)
			break;
		n++;
	}
	return n;
}

struct history_found history_query(struct mount *m, struct span room, uint64_t since,
				   uint64_t epoch, uint64_t limit, bool *more_r)
{
	bool newest = since == UINT64_MAX;
	limit = limit == 0		    ? HISTORY_QUERY_LIMIT
		: limit < HISTORY_QUERY_MAX ? limit
					    : HISTORY_QUERY_MAX;
	const struct history_want want = {
		.how = newest ? HISTORY_WANT_LAST : HISTORY_WANT_SINCE_OR_LAST,
		.last = newest ? (uint32_t)limit : UINT32_MAX,
		.since = newest ? 0 : since,
		.epoch = epoch,
	};
	struct history_found found = history_find(m, room, &want);
	uint64_t n = found.to + 1 - found.from;
	if (found.from + limit <= found.to)
		found.to = found.from + limit - 1;
	uint64_t fit = history_fit(&found, newest);
	if (newest)
		found.from = found.to + 1 - fit;
	else
		found.to = found.from + fit - 1;
	*more_r = !newest && fit < n;
	return found;
}

void history_check(struct mount *m, struct commit *c)
{
	for (uint32_t i = 0; i < c->n && c->error == COMMIT_OK; i++) {
		const struct command *command = &c->commands[i];
		if (command->kind == COMMAND_JOIN &&
		    command->want.how == HISTORY_WANT_SINCE_OR_FAIL &&
		    hub_find_session(m->hub, m, command->target) != NULL &&
		    !history_find(m, commit_text(c, command), &command->want).complete)
			commit_spoil_at(c, COMMIT_E_HISTORY, i);
	}
}
