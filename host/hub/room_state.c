#include "hub/room_state.h"

#include <stdlib.h>
#include <time.h>

#include "base/check.h"
#include "hub/hub.h"

#define ROOM_STATE_MALLOC 16		      /* what the allocator adds to a piece of memory */
#define ROOM_STATE_SLOTS (2 * sizeof(void *)) /* of the table, for each */
#define ROOM_STATE_GONE_MAX 16384	      /* that go in one turn */
#define ROOM_STATE_TICK_MS 10		      /* between two such turns, at least */

static struct room_state *room_state_of(const struct mount *m, struct span room)
{
	if (m->rooms.states.n == 0)
		return NULL;
	return room_state_place_find(&m->rooms.states, hash_bytes(&m->rooms.key, room.p, room.n),
				    room);
}

const struct room_state *room_state_find(const struct mount *m, struct span room)
{
	return room_state_of(m, room);
}

/* A room that has gone knows nothing of its state any more. */
const struct room_state *room_state_of_session(const struct session *s)
{
	const struct room *r = session_first_room(s);
	return r == NULL  ? NULL
	       : s->ended ? room_state_find(s->mount, (struct span){r->name, r->len})
			  : r->state;
}

/* --- memory ----------------------------------------------------------------------------------- */

/* Bytes that a state of that length holds, of a room with a name so long. */
static uint64_t room_state_weight(size_t name_len, size_t len)
{
	return sizeof(struct room_state) + name_len + ROOM_STATE_SLOTS + ROOM_STATE_MALLOC +
	       (len > 0 ? len + 1 + ROOM_STATE_MALLOC : 0);
}

static void room_state_count(struct hub *hub, uint64_t less, uint64_t more)
{
	CHECK(hub->room_states.held >= less);
	hub->room_states.held += more - less;
	hub->loop->stats.room_state_bytes = hub->room_states.held;
}

/* Rooms are counted, the mount's own is not. */
static void room_state_count_one(const struct room_state *state, bool more)
{
	struct stats *stats = &state->mount->hub->loop->stats;
	if (state->name_len > 0 && more)
		stats->room_states++;
	else if (state->name_len > 0 && state->version > 0)
		stats->room_states--;
}

static struct room_state *room_state_add(struct mount *m, struct span name)
{
	struct hash_table *states = &m->rooms.states;
	struct room_state *state =
		hash_table_reserve(states) ? malloc(sizeof *state + name.n) : NULL;
	if (state == NULL)
		return NULL;
	*state = (struct room_state){.mount = m, .name_len = (uint8_t)name.n};
	TAILQ_INIT(&state->waiting);
	memcpy(state->name, name.p, name.n);
	hash_table_add(states, &state->place, hash_bytes(&m->rooms.key, name.p, name.n));
	struct room *r = room_find(&m->rooms, name);
	state->occupied = r != NULL || name.n == 0;
	if (r != NULL)
		r->state = state;
	else if (!state->occupied)
		room_state_place_rest(state);
	room_state_count(m->hub, 0, room_state_weight(name.n, 0));
	return state;
}

static bool room_state_is_needed(const struct room_state *state)
{
	return state->version > 0 || state->turn != NULL;
}

static void room_state_remove(struct room_state *state)
{
	struct mount *m = state->mount;
	struct room *r = room_find(&m->rooms, (struct span){state->name, state->name_len});
	if (r != NULL)
		r->state = NULL;
	if (!state->occupied)
		TAILQ_REMOVE(&m->hub->room_states.empty, state, link);
	hash_table_remove(&m->rooms.states, &state->place);
	hash_table_shrink(&m->rooms.states, 64);
	room_state_count_one(state, false);
	room_state_count(m->hub, room_state_weight(state->name_len, state->len), 0);
	free(state->bytes);
	free(state->next);
	free(state);
}

/* There is none any more; what waits for its turn still does. */
static void room_state_empty(struct room_state *state)
{
	room_state_count(state->mount->hub, room_state_weight(state->name_len, state->len),
			 room_state_weight(state->name_len, 0));
	room_state_count_one(state, false);
	free(state->bytes);
	state->bytes = NULL;
	state->len = 0;
	state->version = 0;
	if (!room_state_is_needed(state))
		room_state_remove(state);
}

/* --- how long --------------------------------------------------------------------------------- */

/* When the one that goes next does. */
static void room_states_watch(struct hub *hub)
{
	struct room_states *all = &hub->room_states;
	const struct room_state *next = TAILQ_FIRST(&all->empty);
	uint64_t now = loop_now(hub->loop);
	loop_timer_cancel(&all->tick);
	if (next == NULL)
		return;
	uint64_t due = next->left_at + all->ms, soon = now + ROOM_STATE_TICK_MS;
	loop_timer_set(&all->tick, (due > soon ? due : soon) - now);
}

static void room_states_on_tick(void *arg)
{
	struct hub *hub = arg;
	struct room_states *all = &hub->room_states;
	struct room_state *state;
	uint64_t now = loop_now(hub->loop);
	CHECK_IS(hub, CHECK_HUB);
	for (uint32_t left = ROOM_STATE_GONE_MAX;
	     left > 0 && (state = TAILQ_FIRST(&all->empty)) != NULL &&
	     now - state->left_at >= all->ms;
	     left--) {
		if (state->turn == NULL) {
			room_state_remove(state);
			continue;
		}
		/* its event is about to set it */
		TAILQ_REMOVE(&all->empty, state, link);
		state->left_at = now;
		TAILQ_INSERT_TAIL(&all->empty, state, link);
		if (all->ms == 0)
			break;
	}
	room_states_watch(hub);
}

/* Versions of a host that was started later are other ones. */
static uint64_t room_states_begin(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void room_states_init(struct room_states *all, struct hub *hub)
{
	TAILQ_INIT(&all->empty);
	all->version = room_states_begin();
	loop_timer_init(hub->loop, &all->tick, room_states_on_tick, hub);
}

void room_states_free(struct room_states *all)
{
	loop_timer_cancel(&all->tick);
	hash_table_free(&all->turns);
}

void room_states_bound(struct hub *hub, uint64_t max, uint64_t ms)
{
	hub->room_states.max = max;
	hub->room_states.ms = ms;
	room_states_watch(hub);
}

void room_state_free_all(struct mount *m)
{
	struct hash_link *at;
	while ((at = hash_table_next(&m->rooms.states, NULL)) != NULL) {
		struct room_state *state = HASH_ENTRY(at, struct room_state, place);
		if (state->turn != NULL)
			hash_table_remove(&m->hub->room_states.turns, &state->by_turn);
		room_state_remove(state);
	}
	hash_table_free(&m->rooms.states);
}

/* --- commits ---------------------------------------------------------------------------------- */

static const struct command *room_state_command(const struct commit *c, uint32_t i)
{
	return c->commands[i].kind == COMMAND_SET_ROOM ? &c->commands[i] : NULL;
}

/* Of several of one room the last counts. */
static bool room_state_is_last(const struct commit *c, uint32_t index)
{
	struct span room = commit_text(c, &c->commands[index]);
	for (uint32_t i = index + 1; i < c->n; i++)
		if (room_state_command(c, i) != NULL &&
		    span_eq(commit_text(c, &c->commands[i]), room))
			return false;
	return true;
}

/* Bytes more, or less, once it is applied. */
static int64_t room_state_growth(const struct mount *m, const struct commit *c, uint32_t index)
{
	const struct command *command = &c->commands[index];
	const struct room_state *state = room_state_find(m, commit_text(c, command));
	uint64_t before = state != NULL ? room_state_weight(state->name_len, state->len) : 0;
	uint64_t after = command->room_state.len > 0
				 ? room_state_weight(command->text_len, command->room_state.len)
				 : 0;
	return (int64_t)after - (int64_t)before;
}

static bool room_state_fits(const struct mount *m, const struct commit *c)
{
	const struct room_states *all = &m->hub->room_states;
	int64_t growth = 0;
	for (uint32_t i = 0; i < c->n; i++)
		if (room_state_command(c, i) != NULL && c->commands[i].text_len > 0 &&
		    room_state_is_last(c, i))
			growth += room_state_growth(m, c, i);
	return growth <= 0 || all->held + (uint64_t)growth <= all->max;
}

/* Is it made from what there is, and not in the turn of another? */
static bool room_state_is_current(const struct mount *m, const struct commit *c,
				  const struct command *command, const struct event_held *h)
{
	const struct room_state *state = room_state_find(m, commit_text(c, command));
	bool others = state != NULL && state->turn != NULL && h != NULL && h != state->turn;
	return (command->code == 0 || command->room_state.version == room_state_version(state)) &&
	       !others;
}

/* What a command sets has its memory before any is applied. False without: all is as before. */
static bool room_state_prepare_one(struct mount *m, const struct commit *c, uint32_t index)
{
	const struct command *command = &c->commands[index];
	struct room_state *state = room_state_of(m, commit_text(c, command));
	if (state == NULL)
		state = room_state_add(m, commit_text(c, command));
	if (state == NULL)
		return false;
	CHECK(state->next == NULL);
	state->next = malloc(command->room_state.len + 1);
	return state->next != NULL;
}

static void room_state_unprepare(struct mount *m, const struct commit *c)
{
	for (uint32_t i = 0; i < c->n; i++) {
		const struct command *command = room_state_command(c, i);
		struct room_state *state =
			command != NULL ? room_state_of(m, commit_text(c, command)) : NULL;
		if (state == NULL)
			continue;
		free(state->next);
		state->next = NULL;
		if (!room_state_is_needed(state))
			room_state_remove(state);
	}
}

static void room_state_prepare(struct mount *m, struct commit *c)
{
	bool ok = true;
	for (uint32_t i = 0; i < c->n && ok; i++)
		if (room_state_command(c, i) != NULL && room_state_is_last(c, i) &&
		    c->commands[i].room_state.len > 0)
			ok = room_state_prepare_one(m, c, i);
	if (ok)
		return;
	room_state_unprepare(m, c);
	commit_spoil_at(c, COMMIT_E_MEMORY, COMMIT_WHOLE);
}

void room_state_check(struct mount *m, struct commit *c, const struct event_held *h)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < c->n && c->error == COMMIT_OK; i++) {
		const struct command *command = room_state_command(c, i);
		if (command == NULL)
			continue;
		if (command->text_len == 0 && room_state_of_mount(m) != NULL &&
		    room_state_of_mount(m)->len != command->room_state.len)
			commit_spoil_at(c, COMMIT_E_STATE, i); /* of a plugin that was replaced */
		else if (!room_state_is_current(m, c, command, h))
			commit_spoil_at(c, COMMIT_E_ROOM_STATE, i);
		else if (++n > ROOM_STATE_COMMIT_MAX)
			commit_spoil_at(c, COMMIT_E_LIMIT, i);
	}
	if (n > 0 && c->error == COMMIT_OK && !room_state_fits(m, c))
		commit_spoil_at(c, COMMIT_E_ROOM_STATE_BYTES, COMMIT_WHOLE);
	else if (n > 0 && c->error == COMMIT_OK)
		room_state_prepare(m, c);
}

static void room_state_put(struct room_state *state, uint32_t len, uint64_t version)
{
	struct hub *hub = state->mount->hub;
	room_state_count(hub, room_state_weight(state->name_len, state->len),
			 room_state_weight(state->name_len, len));
	if (state->version == 0)
		room_state_count_one(state, true);
	free(state->bytes);
	state->bytes = state->next;
	state->next = NULL;
	state->len = len;
	state->version = version != 0 ? version : ++hub->room_states.version;
	if (state->occupied)
		return;
	TAILQ_REMOVE(&hub->room_states.empty, state, link);
	room_state_place_rest(state);
}

void room_state_set(struct mount *m, const struct commit *c, const struct command *command)
{
	struct room_state *state = room_state_of(m, commit_text(c, command));
	uint32_t len = command->room_state.len;
	if (!room_state_is_last(c, (uint32_t)(command - c->commands)))
		return;
	if (len == 0) {
		if (state != NULL)
			room_state_empty(state);
		m->room_version = 0;
		return;
	}
	CHECK(state != NULL && state->next != NULL);
	memcpy(state->next, c->arena + command->room_state.text, len);
	state->next[len] = '\0';
	room_state_put(state, len, command->room_state.next);
	m->room_version = state->version;
}

const struct room_state *room_state_of_mount(const struct mount *m)
{
	return room_state_find(m, (struct span){"", 0});
}

bool room_state_mount_begin(struct mount *m, uint32_t size, bool *anew_r)
{
	struct room_state *state = room_state_of(m, (struct span){"", 0});
	*anew_r = state != NULL && state->len > 0 && state->len != size;
	if (size == 0 && state != NULL)
		room_state_empty(state);
	if (size == 0 || (state != NULL && state->len == size))
		return true;
	if (state == NULL && (state = room_state_add(m, (struct span){"", 0})) == NULL)
		return false;
	state->next = calloc(1, size + 1);
	if (state->next == NULL)
		return false;
	room_state_put(state, size, 0);
	return true;
}

void room_state_mount_write(struct mount *m, const void *bytes)
{
	struct room_state *state = room_state_of(m, (struct span){"", 0});
	CHECK(state != NULL && state->len > 0);
	memcpy(state->bytes, bytes, state->len);
	state->version = ++m->hub->room_states.version;
}

/* --- turns ------------------------------------------------------------------------------------ */

static uint64_t room_state_turn_hash(const struct hub *hub, const struct event_held *h)
{
	return hash_bytes(&hub->key, &h, sizeof h);
}

static bool room_state_take_turn(struct room_state *state, struct event_held *h)
{
	struct hub *hub = state->mount->hub;
	if (!hash_table_reserve(&hub->room_states.turns))
		return false;
	state->turn = h;
	h->turn = true;
	hash_table_add(&hub->room_states.turns, &state->by_turn, room_state_turn_hash(hub, h));
	return true;
}

bool room_state_wait(struct mount *m, struct event_held *h, struct span room)
{
	struct room_state *state = room_state_of(m, room);
	CHECK(!h->turn || (state != NULL && state->turn == h));
	if (state == NULL || state->turn == h)
		return true;
	if (state->turn == NULL) {
		room_state_take_turn(state, h);
		return true;
	}
	TAILQ_INSERT_TAIL(&state->waiting, h, link);
	return false;
}

static struct room_state *room_state_whose_turn(const struct hub *hub, const struct event_held *h)
{
	struct hash_link *at =
		hash_table_first(&hub->room_states.turns, room_state_turn_hash(hub, h));
	for (; at != NULL; at = hash_link_next(at)) {
		struct room_state *state = HASH_ENTRY(at, struct room_state, by_turn);
		if (state->turn == h)
			return state;
	}
	return NULL;
}

bool room_state_has_turn(const struct mount *m, const struct event_held *h, struct span room)
{
	const struct room_state *state = h->turn ? room_state_find(m, room) : NULL;
	return state != NULL && state->turn == h;
}

struct event_held *room_state_next(struct mount *m, struct event_held *h)
{
	if (!h->turn)
		return NULL;
	struct room_state *state = room_state_whose_turn(m->hub, h);
	CHECK(state != NULL && state->mount == m);
	hash_table_remove(&m->hub->room_states.turns, &state->by_turn);
	state->turn = NULL;
	h->turn = false;
	struct event_held *next = TAILQ_FIRST(&state->waiting);
	if (next != NULL)
		TAILQ_REMOVE(&state->waiting, next, link);
	if (next != NULL) {
		bool taken = room_state_take_turn(state, next);
		CHECK(taken); /* one has just left the table, which has room since */
	} else if (!room_state_is_needed(state)) {
		room_state_remove(state);
	}
	return next;
}
