/* supervisor: keeps the pool's processes running, and replaces them by a new generation. */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>

#include "base/check.h"
#include "common/random.h"
#include "handler/worker/link.h"
#include "handler/worker/supervisor.h"
#include "handler/worker/suspect.h"

#define CHILD_DELAY_MS 100 /* before the first restart that follows a useless life */
#define CHILD_DELAY_MAX_MS 30000
#define CHILD_LIVED_MS 10000 /* so long counts as useful */
/* useless lives in a row after which it is said once and then no more */
#define CHILD_CRASH_LOOP 5
#define CHILD_LOST_MS 200
#define CHILD_TERM_MS 3000 /* to leave after drain, and again after TERM */

static struct hub *supervisor_child_hub(const struct child *c)
{
	return c->pool->base.mount->hub;
}

static uint64_t supervisor_child_now(const struct child *c)
{
	return loop_now(supervisor_child_hub(c)->loop);
}

/* --- start ------------------------------------------------------------------------------------ */

static void supervisor_child_ended(void *ctx, struct process *process, int status);

static char *supervisor_child_variable(const char *name, const char *value)
{
	char *line = NULL;
	return asprintf(&line, "%s=%s", name, value) < 0 ? NULL : line;
}

static struct process *supervisor_child_spawn(struct child *c)
{
	struct pool *p = c->pool;
	const struct pool_program *program =
		p->coming != 0 && c->generation == p->coming ? &p->next : &p->program;
	char *env[8] = {
		supervisor_child_variable("TOVA_URL", sp_url(p->own)),
		supervisor_child_variable("TOVA_TOKEN", c->token),
		supervisor_child_variable("TOVA_MOUNT", p->base.mount->path),
		supervisor_child_variable("TOVA_WORKER", c->name),
		supervisor_child_variable("TOVA_SETTINGS",
					  program->settings != NULL ? program->settings : "{}"),
		supervisor_child_variable("TOVA_SUPERVISED", "1"),
	};
	struct process_spec spec = {
		.name = c->name,
		.command = program->command,
		.argv = (const char *const *)program->argv,
		.env = (const char *const *)env,
		.mount = p->base.mount->path,
		.in = -1,
		.out = -1,
		.extra = -1,
	};
	struct process *process =
		process_start(p->shared.processes, &spec, supervisor_child_ended, c);
	int error = errno;
	for (size_t i = 0; i < sizeof env / sizeof *env; i++)
		free(env[i]);
	errno = error;
	return process;
}

/* A token of its own for each life: it tells whose link a hello comes on, and nothing of an earlier
 * life can say it. */
static bool supervisor_child_new_token(struct child *c)
{
	struct session_id half[2];
	if (!random_bytes(half, sizeof half))
		return false;
	session_id_text(half[0], c->token);
	session_id_text(half[1], c->token + SESSION_ID_TEXT - 1);
	return true;
}

static void supervisor_child_schedule(struct child *c)
{
	unsigned shift = c->failures < 9 ? c->failures : 9;
	uint64_t delay =
		c->failures == 0 || c->excused ? 0 : (uint64_t)CHILD_DELAY_MS << (shift - 1);
	uint32_t random = 0;
	delay = delay > CHILD_DELAY_MAX_MS ? CHILD_DELAY_MAX_MS : delay;
	/* nobody else may be starting again at the same time */
	if (!random_bytes(&random, sizeof random))
		random = 0;
	c->restart_at = supervisor_child_now(c) + delay / 2 + (delay > 0 ? random % delay : 0);
}

/* A host whose handler never came up is no service, however green it looks. */
static void supervisor_child_check_attempts(const struct child *c)
{
	const struct pool *p = c->pool;
	if (p->start_attempts == 0 || p->known || c->starts < p->start_attempts)
		return;
	LOG(supervisor_child_hub(c)->log, LOG_ERROR, LOG_WORKER,
	    "a worker never came up: the host gives up; see --start-attempts",
	    LOG_STR("mount", p->base.mount->path), LOG_STR("worker", c->name),
	    LOG_U64("starts", c->starts));
	p->shared.failed(p->shared.failed_ctx, p->base.mount);
}

static void supervisor_child_start(struct child *c)
{
	CHECK(c->process == NULL && c->worker == NULL);
	c->starts++;
	c->started = supervisor_child_now(c);
	c->useful = c->stopping = c->excused = false;
	c->kill_at = 0;
	c->process = supervisor_child_new_token(c) ? supervisor_child_spawn(c) : NULL;
	if (c->process != NULL)
		return;
	LOG(supervisor_child_hub(c)->log, LOG_ERROR, LOG_WORKER, "a worker can not be started",
	    LOG_STR("mount", c->pool->base.mount->path), LOG_STR("worker", c->name),
	    LOG_ERRNO(errno));
	c->failures++;
	supervisor_child_schedule(c);
	supervisor_child_check_attempts(c);
}

static bool supervisor_child_add(struct pool *p, unsigned index, unsigned generation)
{
	struct child *c = calloc(1, sizeof *c);
	if (c == NULL)
		return false;
	*c = (struct child){.magic = CHECK_CHILD,
			    .pool = p,
			    .index = index,
			    .generation = generation,
			    .next = p->children};
	snprintf(c->name, sizeof c->name, generation > 1 ? "worker %u, generation %u" : "worker %u",
		 index + 1, generation);
	p->children = c;
	supervisor_child_start(c);
	return true;
}

bool supervisor_start(struct pool *p)
{
	p->generation = 1;
	for (unsigned i = 0; i < p->program.count; i++)
		if (!supervisor_child_add(p, i, 1))
			return false;
	return true;
}

/* Not one that is being ended: it is to take no more events. */
struct child *supervisor_find(struct pool *p, const struct json_string *token)
{
	for (struct child *c = p->children; c != NULL; c = c->next)
		if (c->process != NULL && c->worker == NULL && c->kill_at == 0 &&
		    codec_text_is(token, c->token))
			return c;
	return NULL;
}

/* --- end -------------------------------------------------------------------------------------- */

static void supervisor_child_free(struct child *c)
{
	struct child **at = &c->pool->children;
	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	for (struct child *other = c->pool->children; other != NULL; other = other->next)
		if (other->relieves == c)
			other->relieves = NULL;
	if (c->worker != NULL)
		c->worker->child = NULL;
	if (c->process != NULL)
		process_abandon(c->process);
	c->magic = CHECK_GONE;
	free(c);
}

static void supervisor_child_log_death(struct child *c, int status)
{
	char text[64];
	bool loops = c->failures >= CHILD_CRASH_LOOP;
	process_status_text(status, text, sizeof text);
	supervisor_child_hub(c)->loop->stats.worker_deaths++;
	if (!loops || !c->crash_said)
		LOG(supervisor_child_hub(c)->log, loops ? LOG_ERROR : LOG_WARN, LOG_WORKER,
		    loops ? "a worker keeps dying; it is started again ever more rarely, and this "
			    "is not said again"
			  : "a worker died",
		    LOG_STR("mount", c->pool->base.mount->path), LOG_STR("worker", c->name),
		    LOG_STR("how", text),
		    LOG_U64("lived_ms", supervisor_child_now(c) - c->started));
	c->crash_said = loops;
}

static void supervisor_give_up_generation(struct pool *p, const char *why);

/* As the log has it, for who has asked for it and may not see that. */
static void supervisor_child_died_coming(const struct child *c)
{
	char why[512], text[64];
	process_status_text(c->status, text, sizeof text);
	snprintf(why, sizeof why, "a new worker died before all were ready: %s%s%s", text,
		 c->said[0] != '\0' ? "; the last that it said: " : "", c->said);
	supervisor_give_up_generation(c->pool, why);
}

/* Is another process coming in its place? */
static bool supervisor_child_is_relieved(const struct child *c)
{
	const struct child *other = c->pool->children;
	while (other != NULL && other->relieves != c)
		other = other->next;
	return other != NULL;
}

/* Process and link have ended. */
static void supervisor_child_judge(struct child *c)
{
	struct pool *p = c->pool;
	CHECK(c->process == NULL);
	if (c->stopping || c->generation < p->generation) {
		supervisor_child_free(c);
		return;
	}
	if (c->useful || supervisor_child_now(c) - c->started >= CHILD_LIVED_MS)
		c->failures = 0;
	else if (!c->excused)
		c->failures++;
	supervisor_child_log_death(c, c->status);
	if (supervisor_child_is_relieved(c)) {
		supervisor_child_free(c);
		return;
	}
	if (c->generation == p->coming) {
		supervisor_child_died_coming(c);
		return;
	}
	supervisor_child_schedule(c);
	supervisor_child_check_attempts(c);
}

static void supervisor_child_ended(void *ctx, struct process *process, int status)
{
	struct child *c = ctx;
	CHECK(c->magic == CHECK_CHILD && c->process == process);
	c->process = NULL;
	c->status = status;
	snprintf(c->said, sizeof c->said, "%s", process_last_line(process));
	c->deaths++;
	/* supervisor_lost follows, at the latest when a grandchild has held it open for long
	 * enough */
	if (c->worker != NULL)
		link_finish(c->worker);
	else
		supervisor_child_judge(c);
}

void supervisor_kill(struct child *c, const char *why)
{
	LOG(supervisor_child_hub(c)->log, LOG_WARN, LOG_WORKER, "a worker is killed",
	    LOG_STR("mount", c->pool->base.mount->path), LOG_STR("worker", c->name),
	    LOG_STR("error", why));
	if (c->process != NULL)
		process_kill(c->process, SIGKILL);
}

void supervisor_lost(struct child *c, bool leaving)
{
	if (c->process == NULL) {
		supervisor_child_judge(c);
		return;
	}
	/* Without its link it is of no use. If it has died, how it did is worth waiting for. */
	c->kill_at =
		supervisor_child_now(c) + (leaving || c->stopping ? CHILD_TERM_MS : CHILD_LOST_MS);
}

/* --- generations ------------------------------------------------------------------------------ */

static void supervisor_child_retire(struct child *c)
{
	c->stopping = true;
	c->kill_at = supervisor_child_now(c) + CHILD_TERM_MS;
	if (c->worker != NULL)
		link_drain(c->worker);
	else if (c->process != NULL)
		process_kill(c->process, SIGTERM);
}

static void supervisor_retire_below(struct pool *p, unsigned generation)
{
	struct child *next;
	for (struct child *c = p->children; c != NULL; c = next) {
		next = c->next;
		if (c->generation >= generation || c->stopping)
			continue;
		if (c->process != NULL)
			supervisor_child_retire(c);
		else
			supervisor_child_free(c);
	}
}

bool supervisor_retire_all(struct pool *p)
{
	supervisor_retire_below(p, UINT_MAX);
	return p->children == NULL;
}

static struct child *supervisor_first_of(const struct pool *p, unsigned generation)
{
	struct child *c = p->children;
	while (c != NULL && c->generation != generation)
		c = c->next;
	return c;
}

static void supervisor_give_up_generation(struct pool *p, const char *why)
{
	LOG(p->base.mount->hub->log, LOG_ERROR, LOG_RELOAD,
	    "the new workers did not come up, the old ones go on",
	    LOG_STR("mount", p->base.mount->path), LOG_STR("error", why));
	unsigned coming = p->coming;
	uint64_t number = p->next.number;
	struct child *c;
	p->coming = 0;
	/* Each time from the start: to cut a link may end others. */
	while ((c = supervisor_first_of(p, coming)) != NULL) {
		if (c->worker != NULL) {
			struct worker *w = c->worker;
			w->child = NULL;
			c->worker = NULL;
			link_cut(w, "its generation did not come up", false);
		}
		supervisor_child_free(c);
	}
	pool_reloaded(p, number, why);
}

bool supervisor_relieve(struct child *c)
{
	struct pool *p = c->pool;
	if (!supervisor_child_add(p, c->index, c->generation))
		return false;
	p->children->relieves = c;
	free(p->program.digest); /* it may have loaded another file than the others */
	p->program.digest = NULL;
	return true;
}

/* All of the coming generation are ready: they serve, the others finish what they have. */
void supervisor_ready(struct child *ready)
{
	struct pool *p = ready->pool;
	unsigned n = 0;
	struct child *relieved = ready->relieves;
	ready->relieves = NULL;
	if (relieved != NULL)
		supervisor_child_retire(relieved);
	if (p->coming == 0 || ready->generation != p->coming)
		return;
	for (const struct child *c = p->children; c != NULL; c = c->next)
		n += c->generation == p->coming && c->worker != NULL &&
		     c->worker->state == WORKER_READY && c->process != NULL;
	if (n < p->next.count)
		return;
	p->generation = p->coming;
	p->coming = 0;
	p->base.wants = ready->worker->wants;
	pool_program_free(&p->program);
	p->program = p->next;
	p->next = (struct pool_program){.command = NULL};
	supervisor_retire_below(p, p->generation);
	suspect_renew(p);
	LOG(p->base.mount->hub->log, LOG_NOTICE, LOG_RELOAD,
	    "new workers serve, the old ones leave", LOG_STR("mount", p->base.mount->path),
	    LOG_U64("generation", p->generation), LOG_U64("workers", p->program.count));
	pool_reloaded(p, p->program.number, NULL);
	pool_run(p);
}

/* Starts the generation that p->next describes. */
static void supervisor_begin_generation(struct pool *p)
{
	unsigned coming = p->generation + 1;
	for (const struct child *c = p->children; c != NULL; c = c->next)
		coming = c->generation >= coming ? c->generation + 1 : coming;
	p->coming = coming;
	p->coming_until = loop_now(p->base.mount->hub->loop) + p->ready_ms;
	for (unsigned i = 0; i < p->next.count && p->coming == coming; i++)
		if (!supervisor_child_add(p, i, coming))
			supervisor_give_up_generation(p, "no memory");
}

static bool supervisor_same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* What was asked for last. */
static const struct pool_program *supervisor_newest(const struct pool *p)
{
	return p->later_program.count > 0 ? &p->later_program
	       : p->coming != 0		  ? &p->next
					  : &p->program;
}

static bool supervisor_is_current(const struct pool *p, const struct worker_settings *set)
{
	const struct pool_program *newest = supervisor_newest(p);
	bool same = set->digest != NULL && newest->digest != NULL &&
		    strcmp(set->digest, newest->digest) == 0 && set->count == newest->count &&
		    supervisor_same_text(set->settings, newest->settings);
	size_t i = 0;
	while (same && set->argv[i] != NULL && newest->argv[i] != NULL &&
	       strcmp(set->argv[i], newest->argv[i]) == 0)
		i++;
	return same && set->argv[i] == NULL && newest->argv[i] == NULL;
}

enum worker_reload worker_reload(struct mount *m, const struct worker_settings *set,
				 uint64_t *number_r)
{
	struct pool *p = pool_of(m->handler);
	struct pool_program next;
	if (p->program.count == 0)
		return WORKER_UNCHANGED;
	if (supervisor_is_current(p, set)) {
		LOG(m->hub->log, LOG_INFO, LOG_RELOAD,
		    "the plugin's file is the same: its workers are left alone",
		    LOG_STR("mount", m->path));
		*number_r = supervisor_newest(p)->number;
		return supervisor_newest(p) != &p->program ? WORKER_COMING : WORKER_UNCHANGED;
	}
	if (!pool_program_copy(&next, set) || next.count == 0) {
		pool_program_free(&next);
		LOG(m->hub->log, LOG_ERROR, LOG_RELOAD,
		    "no memory for new workers, the old ones go on", LOG_STR("mount", m->path));
		return WORKER_NO_MEMORY;
	}
	*number_r = next.number = ++p->reloads;
	/* One that is asked for while another comes may be newer than what that has loaded: it
	 * follows it. */
	bool later = supervisor_newest(p) != &p->program;
	struct pool_program *where = later ? &p->later_program : &p->next;
	pool_program_free(where);
	*where = next;
	if (!later) {
		supervisor_begin_generation(p);
		return p->coming != 0 ? WORKER_COMING : WORKER_NO_MEMORY;
	}
	LOG(m->hub->log, LOG_NOTICE, LOG_RELOAD,
	    "a generation of workers is being started already; another follows it",
	    LOG_STR("mount", m->path));
	return WORKER_COMING;
}

/* --- time ------------------------------------------------------------------------------------- */

static void supervisor_child_tick(struct child *c, uint64_t now)
{
	struct pool *p = c->pool;
	if (c->process == NULL) {
		if (c->worker == NULL && now >= c->restart_at) {
			free(p->program.digest); /* it may load another file than the others have */
			p->program.digest = NULL;
			supervisor_child_start(c);
		}
	} else if (c->kill_at != 0) {
		/* it may finish what it has, which --handler-timeout bounds */
		if (c->worker != NULL && c->worker->n_flying > 0)
			c->kill_at = now + CHILD_TERM_MS;
		else if (now >= c->kill_at)
			process_kill(c->process,
				     now - c->kill_at >= CHILD_TERM_MS ? SIGKILL : SIGTERM);
	} else if (!child_is_up(c) && !c->stopping && c->generation != p->coming &&
		   now - c->started >= p->ready_ms) {
		supervisor_kill(c, c->worker == NULL
					   ? "it did not say hello within --ready-timeout"
					   : "its on_start did not end within --ready-timeout");
	}
}

void supervisor_tick(struct pool *p, uint64_t now)
{
	struct child *next;
	if (p->coming != 0 && now >= p->coming_until)
		supervisor_give_up_generation(
			p,
			"they did not all say hello and end their on_start within --ready-timeout");
	if (p->coming == 0 && p->later_program.count > 0) {
		pool_program_free(&p->next);
		p->next = p->later_program;
		p->later_program = (struct pool_program){.command = NULL};
		supervisor_begin_generation(p);
	}
	for (struct child *c = p->children; c != NULL; c = next) {
		next = c->next;
		supervisor_child_tick(c, now);
	}
}

void supervisor_stop_all(struct pool *p)
{
	struct child *next;
	for (struct child *c = p->children; c != NULL; c = next) {
		next = c->next;
		if (c->worker != NULL)
			c->worker->child = NULL;
		c->worker = NULL;
		supervisor_child_free(c);
	}
}

/* --- for people ------------------------------------------------------------------------------- */

void supervisor_describe(const struct child *c, struct codec_out *o)
{
	char text[64];
	if (c == NULL)
		return;
	codec_member_uint(o, "starts", c->starts);
	if (c->deaths > 0)
		codec_member_text(o, "last_exit",
				  span_of(process_status_text(c->status, text, sizeof text)));
}

void supervisor_count_unlinked(const struct pool *p, struct worker_states *n)
{
	for (const struct child *c = p->children; c != NULL; c = c->next) {
		if (c->worker != NULL)
			continue;
		n->down += c->process == NULL;
		n->starting += c->process != NULL && !c->stopping;
		n->draining += c->process != NULL && c->stopping;
	}
}

void supervisor_describe_unlinked(const struct pool *p, struct codec_out *o, bool *any)
{
	uint64_t now = loop_now(p->base.mount->hub->loop);
	for (const struct child *c = p->children; c != NULL; c = c->next) {
		if (c->worker != NULL)
			continue;
		codec_raw(o, ",", *any);
		codec_raw(o, "{\"mount\":", 9);
		codec_string(o, span_of(p->base.mount->path));
		codec_member_text(o, "name", span_of(c->name));
		codec_member_raw(o, "state", c->process != NULL ? "\"launched\"" : "\"down\"");
		codec_member_raw(o, "attached", "false");
		codec_member_uint(o, "pid",
				  c->process != NULL ? (uint64_t)process_pid(c->process) : 0);
		codec_member_uint(o, "generation", c->generation);
		codec_member_uint(o, "connections", 0);
		codec_member_uint(o, "under_way", 0);
		codec_member_uint(o, "settled", 0);
		supervisor_describe(c, o);
		if (c->process == NULL)
			codec_member_uint(o, "next_start_ms",
					  c->restart_at > now ? c->restart_at - now : 0);
		codec_object_end(o);
		*any = true;
	}
}
