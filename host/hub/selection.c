#include "hub/selection.h"

#include <string.h>

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
