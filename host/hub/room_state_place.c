/* room_state_place: where a state stands, and since when nobody is in its room. */
#include "base/check.h"
#include "hub/hub.h"
#include "hub/room_state.h"

struct room_state *room_state_place_find(const struct hash_table *states, uint64_t hash,
					 struct span room)
{
	struct hash_link *at = hash_table_first(states, hash);
	for (; at != NULL; at = hash_link_next(at)) {
		struct room_state *state = HASH_ENTRY(at, struct room_state, place);
		if (state->name_len == room.n && memcmp(state->name, room.p, room.n) == 0)
			return state;
	}
	return NULL;
}

void room_state_place_rest(struct room_state *state)
{
	struct room_states *all = &state->mount->hub->room_states;
	state->left_at = loop_now(state->mount->hub->loop);
	TAILQ_INSERT_TAIL(&all->empty, state, link);
	if (!loop_timer_is_set(&all->tick))
		loop_timer_set(&all->tick, all->ms);
}

struct room_state *room_state_enter(const struct hash_table *states, uint64_t hash,
				    struct span room)
{
	struct room_state *state = room_state_place_find(states, hash, room);
	if (state == NULL)
		return NULL;
	CHECK(!state->occupied);
	state->occupied = true;
	TAILQ_REMOVE(&state->mount->hub->room_states.empty, state, link);
	return state;
}

void room_state_leave(struct room_state *state)
{
	CHECK(state->occupied);
	state->occupied = false;
	room_state_place_rest(state);
}
