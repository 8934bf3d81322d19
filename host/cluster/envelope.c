#include "cluster/envelope.h"

#include <string.h>

#define ENVELOPE_BINARY 1u
#define ENVELOPE_UNKEPT 2u

/* --- writing ---------------------------------------------------------------------------------- */

static void envelope_put(struct buffer *to, uint64_t value, unsigned bytes)
{
	char text[8];
	for (unsigned i = 0; i < bytes; i++)
		text[i] = (char)(value >> (8 * (bytes - 1 - i)));
	buffer_add(to, text, bytes);
}

static void envelope_put_text(struct buffer *to, struct span text, unsigned bytes)
{
	envelope_put(to, text.n, bytes);
	buffer_add(to, text.p, text.n);
}

static void envelope_put_names(struct buffer *to, const struct selection_names *names)
{
	envelope_put(to, names->n, 2);
	for (uint32_t i = 0; i < names->n; i++)
		envelope_put_text(to, names->v[i], 1);
}

static void envelope_put_selection(struct buffer *to, const struct selection *s)
{
	struct buffer text = {0};
	envelope_put(&text, s->all, 1);
	envelope_put_names(&text, &s->rooms);
	envelope_put_names(&text, &s->except_users);
	envelope_put_names(&text, &s->except_rooms);
	to->failed = to->failed || text.failed;
	envelope_put_text(to, (struct span){text.p, text.n}, 4);
	buffer_free(&text);
}

void envelope_add_count(struct buffer *to, const struct envelope_count *count)
{
	envelope_put_text(to, count->channel, 2);
	envelope_put(to, count->series, 8);
	envelope_put(to, count->number, 8);
}

void envelope_add(struct buffer *to, const struct envelope *e, const struct selection *selection)
{
	buffer_add(to, "tv", 2);
	envelope_put(to, ENVELOPE_PROTOCOL, 1);
	envelope_put(to, e->kind, 1);
	envelope_put(to,
		     (e->binary ? ENVELOPE_BINARY : 0) | (e->unkept ? ENVELOPE_UNKEPT : 0), 1);
	envelope_put(to, e->host, 8);
	envelope_put(to, e->series, 8);
	envelope_put(to, e->number, 8);
	envelope_put(to, e->key, 8);
	if (selection != NULL)
		envelope_put_selection(to, selection);
	if (e->kind == ENVELOPE_CLOSE)
		envelope_put(to, e->code, 2);
	if (e->kind == ENVELOPE_MARK)
		envelope_put(to, e->mark, 8);
	if (e->kind == ENVELOPE_HOST) {
		envelope_put_text(to, e->id, 1);
		envelope_put_text(to, e->version, 1);
		envelope_put_text(to, e->machine, 1);
		envelope_put_text(to, e->form, 2);
		envelope_put(to, e->n_counts, 2);
		buffer_add(to, e->counts.p, e->counts.n);
	}
	if (e->kind < ENVELOPE_MARK)
		buffer_add(to, e->data.p, e->data.n);
}

/* --- reading ---------------------------------------------------------------------------------- */

struct cursor {
	const uint8_t *p;
	size_t n;
	bool bad;
};

static uint64_t cursor_number(struct cursor *c, unsigned bytes)
{
	uint64_t value = 0;
	if (c->bad || c->n < bytes) {
		c->bad = true;
		return 0;
	}
	for (unsigned i = 0; i < bytes; i++)
		value = value << 8 | c->p[i];
	c->p += bytes;
	c->n -= bytes;
	return value;
}

static struct span cursor_text(struct cursor *c, unsigned bytes)
{
	size_t n = (size_t)cursor_number(c, bytes);
	struct span text = {(const char *)c->p, n};
	if (c->bad || c->n < n) {
		c->bad = true;
		return (struct span){"", 0};
	}
	c->p += n;
	c->n -= n;
	return text;
}

static void cursor_names(struct cursor *c, struct selection_names *names)
{
	uint64_t n = cursor_number(c, 2);
	c->bad = c->bad || n > RULES_LIST_MAX;
	names->n = 0;
	for (uint64_t i = 0; !c->bad && i < n; i++) {
		struct span name = cursor_text(c, 1);
		c->bad = c->bad || !rules_name_ok(name);
		names->v[names->n++] = name;
	}
}

static bool cursor_selection(struct cursor *c, struct selection *s)
{
	selection_init(s);
	uint64_t all = cursor_number(c, 1);
	cursor_names(c, &s->rooms);
	cursor_names(c, &s->except_users);
	cursor_names(c, &s->except_rooms);
	s->all = all == 1;
	return !c->bad && c->n == 0 && all <= 1 && (s->all ? s->rooms.n == 0 : s->rooms.n > 0);
}

void envelope_selection(const struct envelope *e, struct selection *s_r)
{
	struct cursor c = {(const uint8_t *)e->selection.p, e->selection.n, false};
	bool ok = cursor_selection(&c, s_r);
	(void)ok; /* it was looked at when it was read */
}

static bool cursor_count(struct cursor *c, struct envelope_count *count_r)
{
	count_r->channel = cursor_text(c, 2);
	count_r->series = cursor_number(c, 8);
	count_r->number = cursor_number(c, 8);
	return !c->bad;
}

bool envelope_count(struct envelope *e, struct envelope_count *count_r)
{
	struct cursor c = {(const uint8_t *)e->counts.p, e->counts.n, false};
	if (e->n_counts == 0 || !cursor_count(&c, count_r))
		return false;
	e->n_counts--;
	e->counts = (struct span){(const char *)c.p, c.n};
	return true;
}

static void envelope_read_host(struct envelope *e, struct cursor *c)
{
	struct envelope_count count;
	e->id = cursor_text(c, 1);
	e->version = cursor_text(c, 1);
	e->machine = cursor_text(c, 1);
	e->form = cursor_text(c, 2);
	e->n_counts = (uint16_t)cursor_number(c, 2);
	e->counts = (struct span){(const char *)c->p, c->n};
	c->bad = c->bad || e->id.n == 0 || e->n_counts > ENVELOPE_COUNTS_MAX;
	for (uint16_t i = 0; !c->bad && i < e->n_counts; i++)
		cursor_count(c, &count);
	c->bad = c->bad || c->n > 0;
}

static void envelope_read_selection(struct envelope *e, struct cursor *c)
{
	struct selection s;
	e->selection = cursor_text(c, 4);
	struct cursor within = {(const uint8_t *)e->selection.p, e->selection.n, c->bad};
	c->bad = c->bad || !cursor_selection(&within, &s);
}

bool envelope_read(struct envelope *e_r, struct span bytes)
{
	struct cursor c = {(const uint8_t *)bytes.p, bytes.n, false};
	*e_r = (struct envelope){.kind = 0};
	if (cursor_number(&c, 2) != ('t' << 8 | 'v') ||
	    cursor_number(&c, 1) != ENVELOPE_PROTOCOL)
		return false;
	e_r->kind = (uint8_t)cursor_number(&c, 1);
	uint64_t flags = cursor_number(&c, 1);
	e_r->binary = (flags & ENVELOPE_BINARY) != 0;
	e_r->unkept = (flags & ENVELOPE_UNKEPT) != 0;
	e_r->host = cursor_number(&c, 8);
	e_r->series = cursor_number(&c, 8);
	e_r->number = cursor_number(&c, 8);
	e_r->key = cursor_number(&c, 8);
	if (c.bad || e_r->kind == 0 || e_r->kind >= ENVELOPE_KINDS || flags > 3)
		return false;
	if (e_r->kind == ENVELOPE_AMONG || e_r->kind == ENVELOPE_CLOSE)
		envelope_read_selection(e_r, &c);
	if (e_r->kind == ENVELOPE_CLOSE)
		e_r->code = (uint16_t)cursor_number(&c, 2);
	if (e_r->kind == ENVELOPE_MARK)
		e_r->mark = cursor_number(&c, 8);
	if (e_r->kind == ENVELOPE_HOST)
		envelope_read_host(e_r, &c);
	if (e_r->kind >= ENVELOPE_MARK)
		return !c.bad && c.n == 0;
	e_r->data = (struct span){(const char *)c.p, c.n};
	return !c.bad && e_r->number > 0;
}
