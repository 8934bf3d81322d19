#include "hub/selection.h"

#include <string.h>

#include "hub/mount.h"

#define SELECTION_EXCEPT UINT16_MAX /* the mark of a room whose members are left out */

void selection_init(struct selection *s)
{
	s->all = false;
	s->rooms.n = s->except_users.n = s->except_rooms.n = s->n_except = 0;
}

bool selection_add_name(struct selection_names *names, struct span name)
{
	if (names->n == RULES_LIST_MAX)
		return false;
	names->v[names->n++] = name;
	return true;
}

bool selection_names_has(const struct selection_names *names, uint32_t n, struct span name)
{
	for (uint32_t i = 0; i < n; i++)
		if (span_eq(names->v[i], name))
			return true;
	return false;
}

bool selection_add_except(struct selection *s, uint64_t local)
{
	if (s->n_except == RULES_LIST_MAX)
		return false;
	s->except[s->n_except++] = local;
	return true;
}

/* --- as bytes --------------------------------------------------------------------------------- */

/* A number of names, then of each its length and its bytes. */
static size_t selection_names_size(const struct selection_names *names)
{
	size_t size = sizeof names->n;
	for (uint32_t i = 0; i < names->n; i++)
		size += sizeof(uint32_t) + names->v[i].n;
	return size;
}

size_t selection_size(const struct selection *s)
{
	return 1 + selection_names_size(&s->rooms) + selection_names_size(&s->except_users) +
	       selection_names_size(&s->except_rooms) + sizeof s->n_except +
	       s->n_except * sizeof *s->except;
}

static uint8_t *selection_put(uint8_t *to, const void *bytes, size_t n)
{
	if (n > 0)
		memcpy(to, bytes, n);
	return to + n;
}

static uint8_t *selection_put_names(uint8_t *to, const struct selection_names *names)
{
	to = selection_put(to, &names->n, sizeof names->n);
	for (uint32_t i = 0; i < names->n; i++) {
		uint32_t n = (uint32_t)names->v[i].n;
		to = selection_put(to, &n, sizeof n);
		to = selection_put(to, names->v[i].p, n);
	}
	return to;
}

void selection_write(const struct selection *s, uint8_t *to)
{
	*to++ = s->all;
	to = selection_put_names(to, &s->rooms);
	to = selection_put_names(to, &s->except_users);
	to = selection_put_names(to, &s->except_rooms);
	to = selection_put(to, &s->n_except, sizeof s->n_except);
	selection_put(to, s->except, s->n_except * sizeof *s->except);
}

static const uint8_t *selection_take(const uint8_t *from, void *bytes, size_t n)
{
	if (n > 0)
		memcpy(bytes, from, n);
	return from + n;
}

static const uint8_t *selection_take_names(const uint8_t *from, struct selection_names *names)
{
	from = selection_take(from, &names->n, sizeof names->n);
	for (uint32_t i = 0; i < names->n; i++) {
		uint32_t n;
		from = selection_take(from, &n, sizeof n);
		names->v[i] = (struct span){(const char *)from, n};
		from += n;
	}
	return from;
}

void selection_read(struct selection *s, const uint8_t *from)
{
	s->all = *from++;
	from = selection_take_names(from, &s->rooms);
	from = selection_take_names(from, &s->except_users);
	from = selection_take_names(from, &s->except_rooms);
	from = selection_take(from, &s->n_except, sizeof s->n_except);
	selection_take(from, s->except, s->n_except * sizeof *s->except);
}

/* --- who they are ----------------------------------------------------------------------------- */

/* A room's mark says from which place on it is one of those walked: a member that is in one of an
 * earlier place was met there. */
static void selection_mark(struct selection_walk *w, bool on)
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
	selection_mark(w, true);
}

void selection_walk_again(struct selection_walk *w)
{
	w->place = w->member = 0;
	w->room = NULL;
}

void selection_walk_end(struct selection_walk *w)
{
	selection_mark(w, false);
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
static bool selection_takes(const struct selection *s, const struct session *to, uint32_t place)
{
	for (uint32_t i = 0; i < room_count(&to->rooms); i++) {
		uint16_t mark = to->rooms.list->v[i].room->mark;
		if (mark == SELECTION_EXCEPT || (mark > 0 && mark < place))
			return false;
	}
	return !selection_leaves_out(s, to);
}

/* The next that is met, selected or not. */
static struct session *selection_meet(struct selection_walk *w)
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
	while ((to = selection_meet(w)) != NULL)
		if (selection_takes(w->selection, to, w->place + 1))
			return to;
	return NULL;
}
