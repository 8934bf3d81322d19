/* selection_walk: whom a selection is for, one by one. */
#include "hub/mount.h"
#include "hub/selection.h"

#define SELECTION_EXCEPT UINT16_MAX /* the mark of a room whose members are left out */

/* A room's mark says from which place on it is one of those walked: a member that is in one of an
 * earlier place was met there. */
static void selection_walk_mark(struct selection_walk *w, bool on)
{
	const struct selection *s = w->selection;
	for (uint32_t i = s->rooms.n; i > 0; i--) {
		struct room *r = room_find(&w->mount->rooms, s->rooms.v[i - 1]);
		w->unknown += on && r == NULL;
		if (r != NULL)
			r->mark = on ? (uint16_t)i : 0;
	}
	for (uint32_t i = 0; i < s->except_rooms.n; i++) {
		struct room *r = room_find(&w->mount->rooms, s->except_rooms.v[i]);
		if (r != NULL)
			r->mark = on ? SELECTION_EXCEPT : 0;
	}
}

void selection_walk_begin(struct selection_walk *w, const struct selection *s,
			  const struct mount *m)
{
	*w = (struct selection_walk){.selection = s, .mount = m};
	selection_walk_mark(w, true);
}

void selection_walk_again(struct selection_walk *w)
{
	w->place = w->member = 0;
	w->room = NULL;
}

void selection_walk_end(struct selection_walk *w)
{
	selection_walk_mark(w, false);
}

bool selection_leaves_out(const struct selection *s, const struct session *to)
{
	for (uint32_t i = 0; i < s->n_except; i++)
		if (s->except[i] == to->local)
			return true;
	const char *user = s->except_users.n > 0 ? identity_user(to) : NULL;
	for (uint32_t i = 0; user != NULL && i < s->except_users.n; i++)
		if (span_eq(s->except_users.v[i], span_of(user)))
			return true;
	return false;
}

/* place: of the room in which it was met, from 1; 0: none. */
static bool selection_walk_takes(const struct selection *s, const struct session *to,
				 uint32_t place)
{
	for (uint32_t i = 0; i < room_count(&to->rooms); i++) {
		uint16_t mark = to->rooms.list->v[i].room->mark;
		if (mark == SELECTION_EXCEPT || (mark > 0 && mark < place))
			return false;
	}
	return !selection_leaves_out(s, to);
}

/* The next that is met, selected or not. */
static struct session *selection_walk_meet(struct selection_walk *w)
{
	const struct selection *s = w->selection;
	if (s->all)
		return w->member < w->mount->n_sessions ? mount_session(w->mount, w->member++)
							: NULL;
	for (; w->place < s->rooms.n; w->place++, w->member = 0, w->room = NULL) {
		if (w->room == NULL)
			w->room = room_find(&w->mount->rooms, s->rooms.v[w->place]);
		/* a name that comes twice has the mark of its first place */
		if (w->room != NULL && w->room->mark == w->place + 1 && w->member < w->room->n)
			return room_session(w->room, w->member++);
	}
	return NULL;
}

struct session *selection_walk_next(struct selection_walk *w)
{
	struct session *to;
	while ((to = selection_walk_meet(w)) != NULL)
		if (selection_walk_takes(w->selection, to, w->place + 1))
			return to;
	return NULL;
}
