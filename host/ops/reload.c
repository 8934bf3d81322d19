#include "ops/reload.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "base/check.h"
#include "handler/worker/codec.h"

struct reload_part {
	const struct mount *mount;
	enum reload_outcome outcome;
	uint64_t awaited;
	char *why; /* NULL: it did not fail, or there is no memory for it */
};

struct reload {
	LIST_ENTRY(reload) others;
	reload_answer *answer; /* NULL: nobody waits any more */
	void *ctx;
	const struct mount *only;
	uint64_t changed, waiting;
	char *wrong;
	bool begun, read, refused;
	size_t n, n_mounts;
	struct reload_part parts[]; /* a place for each mount */
};

void reloads_free(struct reloads *all)
{
	struct reload *r;
	loop_timer_cancel(&all->begin);
	while ((r = LIST_FIRST(&all->waits)) != NULL) {
		LIST_REMOVE(r, others);
		for (size_t i = 0; i < r->n; i++)
			free(r->parts[i].why);
		free(r->wrong);
		free(r);
	}
}

/* --- the answer ------------------------------------------------------------------------------- */

static void reload_write_part(struct codec_out *o, const struct reload_part *p)
{
	static const char *const outcomes[] = {[RELOAD_UNCHANGED] = "unchanged",
					       [RELOAD_REPLACED] = "replaced",
					       [RELOAD_NEXT] = "next connection",
					       [RELOAD_FAILED] = "failed"};
	codec_raw(o, "{\"mount\":", 9);
	codec_string(o, span_of(p->mount->path));
	codec_member_text(o, "outcome", span_of(outcomes[p->outcome]));
	if (p->outcome == RELOAD_FAILED)
		codec_member_text(o, "error", span_of(p->why != NULL ? p->why : "no memory"));
	codec_raw(o, "}", 1);
}

static void reload_write(struct codec_out *o, const struct reload *r)
{
	if (r->read) {
		codec_member_uint(o, "changed", r->changed);
		codec_member_uint(o, "waiting_for_a_restart", r->waiting);
	}
	codec_member_raw(o, "mounts", "[");
	for (size_t i = 0; i < r->n; i++) {
		codec_raw(o, ",", i > 0);
		reload_write_part(o, &r->parts[i]);
	}
	codec_raw(o, "]", 1);
}

/* In one line, though several things may be wrong. */
static void reload_one_line(const char *why, char *line, size_t cap)
{
	size_t n = 0;
	for (; *why != '\0' && n + 3 < cap; why++) {
		if (*why == '\n')
			line[n++] = ';';
		line[n++] = *why == '\n' ? ' ' : *why;
	}
	line[n] = '\0';
}

/* The sentence for who reads no more than that: of the first that failed. False: nothing did. */
static bool reload_write_error(struct codec_out *o, const struct reload *r)
{
	char text[1024], why[900];
	if (r->refused) {
		codec_member_text(o, "error", span_of(r->wrong != NULL ? r->wrong : "no memory"));
		return true;
	}
	for (size_t i = 0; i < r->n; i++) {
		const struct reload_part *p = &r->parts[i];
		if (p->outcome != RELOAD_FAILED)
			continue;
		reload_one_line(p->why != NULL ? p->why : "no memory", why, sizeof why);
		int n = snprintf(text, sizeof text,
				 "the handler of %s was not replaced, the old one goes on: %s",
				 p->mount->path, why);
		codec_member_text(o, "error",
				  (struct span){text, (size_t)n < sizeof text ? (size_t)n
									      : sizeof text - 1});
		return true;
	}
	return false;
}

static void reload_end(struct reloads *all, struct reload *r)
{
	struct codec_out o = {.n = 0};
	reload_write(&o, r);
	bool failed = reload_write_error(&o, r);
	LIST_REMOVE(r, others);
	all->n--;
	if (r->answer != NULL)
		r->answer(r->ctx, !failed && !codec_failed(&o),
			  codec_failed(&o) ? SPAN(",\"error\":\"no memory for an answer\"")
					   : (struct span){o.text.p, o.text.n});
	codec_free(&o);
	for (size_t i = 0; i < r->n; i++)
		free(r->parts[i].why);
	free(r->wrong);
	free(r);
}

static void reload_look(struct reloads *all, struct reload *r)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->parts[i].outcome == RELOAD_COMING)
			return;
	reload_end(all, r);
}

/* --- asked for -------------------------------------------------------------------------------- */

static struct reload *reload_first_waiting(const struct reloads *all)
{
	struct reload *r, *oldest = NULL;
	LIST_FOREACH(r, &all->waits, others) /* the newest is first */
	oldest = r->begun ? oldest : r;
	return oldest;
}

/* Not in the turn of whoever asks: what he is asked by, and with what token, may change. */
static void reload_on_begin(void *arg)
{
	struct reloads *all = arg;
	CHECK_IS(all, CHECK_RELOADS);
	struct reload *r;
	while ((r = reload_first_waiting(all)) != NULL) {
		r->begun = true;
		all->run(all->ctx, r->only, r);
		reload_look(all, r);
	}
}

void reloads_init(struct reloads *all, struct hub *hub,
		  void (*run)(void *ctx, const struct mount *only, struct reload *r), void *ctx)
{
	*all = (struct reloads){.magic = CHECK_RELOADS, .hub = hub, .run = run, .ctx = ctx};
	LIST_INIT(&all->waits);
	loop_timer_init(hub->loop, &all->begin, reload_on_begin, all);
}

const char *reload_begin(struct reloads *all, const struct mount *only, reload_answer *answer,
			 void *ctx)
{
	size_t n = 0;
	for (const struct mount *m = all->hub->mounts; m != NULL; m = m->next)
		n++;
	if (all->n == RELOADS_MAX)
		return "too many reloads are waited for already";
	struct reload *r = calloc(1, sizeof *r + n * sizeof *r->parts);
	if (r == NULL)
		return "no memory for a reload";
	*r = (struct reload){.answer = answer, .ctx = ctx, .only = only, .n_mounts = n};
	LIST_INSERT_HEAD(&all->waits, r, others);
	all->n++;
	loop_timer_set(&all->begin, 0);
	return NULL;
}

void reload_forget(struct reloads *all, const void *ctx)
{
	struct reload *r;
	LIST_FOREACH(r, &all->waits, others)
	if (r->ctx == ctx)
		r->answer = NULL;
}

/* --- what is told ----------------------------------------------------------------------------- */

void reload_wrong(struct reload *r, const char *why)
{
	if (r == NULL)
		return;
	r->refused = true;
	r->wrong = strdup(why);
}

void reload_read(struct reload *r, uint64_t changed, uint64_t waiting)
{
	if (r == NULL)
		return;
	r->read = true;
	r->changed = changed;
	r->waiting = waiting;
}

static void reload_record(struct mount *m, enum reload_outcome outcome, const char *why)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	if (outcome == RELOAD_REPLACED)
		mount_deployed(m, now.tv_sec);
	else if (outcome == RELOAD_FAILED)
		mount_not_deployed(m, now.tv_sec, why);
}

void reload_mount(struct reload *r, struct mount *m, enum reload_outcome outcome, const char *why,
		  uint64_t awaited)
{
	reload_record(m, outcome, why);
	if (r == NULL)
		return;
	CHECK(r->n < r->n_mounts); /* mounts do not come while the host runs */
	r->parts[r->n++] =
		(struct reload_part){.mount = m,
				     .outcome = outcome,
				     .awaited = awaited,
				     .why = outcome == RELOAD_FAILED ? strdup(why) : NULL};
}

void reload_on_workers(void *ctx, struct mount *m, uint64_t number, const char *why)
{
	struct reloads *all = ctx;
	CHECK_IS(all, CHECK_RELOADS);
	struct reload *r, *next;
	reload_record(m, why != NULL ? RELOAD_FAILED : RELOAD_REPLACED, why);
	for (r = LIST_FIRST(&all->waits); r != NULL; r = next) {
		bool touched = false;
		next = LIST_NEXT(r, others);
		for (size_t i = 0; i < r->n; i++) {
			struct reload_part *p = &r->parts[i];
			if (p->mount != m || p->outcome != RELOAD_COMING || p->awaited > number)
				continue;
			p->outcome = why != NULL ? RELOAD_FAILED : RELOAD_REPLACED;
			p->why = why != NULL ? strdup(why) : NULL;
			touched = true;
		}
		if (touched)
			reload_look(all, r);
	}
}
