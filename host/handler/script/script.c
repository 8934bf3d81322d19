#include "handler/script/script.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "common/json.h"
#include "common/utf8.h"
#include "handler/script/script_env.h"
#include "handler/script/script_parts.h"
#include "hub/access.h"
#include "hub/admission.h"
#include "hub/delivery.h"
#include "hub/session_trace.h"
#include "hub/trace.h"
#include "ws/frame.h"

#define SCRIPT_TICK_MS 50
#define SCRIPT_WRITES 16 /* into a pipe, one after the other, before others have their turn */

static uint64_t scripts_now(const struct scripts *set)
{
	return loop_now(set->base.mount->hub->loop);
}

/* --- words about it --------------------------------------------------------------------------- */

static void script_say_late(const struct script *x)
{
	if (x->late > 0)
		LOG(script_mount(x)->hub->log, LOG_NOTICE, LOG_HANDLER,
		    "what a script said behind its last words was not done: --close-timeout was "
		    "over",
		    LOG_STR("mount", script_mount(x)->path), LOG_STR("conn", x->id), LOG_TRACE_ID(x->session),
		    LOG_U64("lines", x->late));
}

/* --- events that it holds --------------------------------------------------------------------- */

static void script_settle(struct mount *m, struct event_held *e)
{
	commit_begin(&m->commit, e->event.session);
	delivery_settle(m, e, HANDLER_DONE, (struct span){0});
}

/* Its message is written, or can not be written any more. */
static void script_settle_writing(struct script *x)
{
	struct event_held *e = x->writing;
	x->writing = NULL;
	free(x->said);
	x->said = NULL;
	if (e != NULL)
		script_settle(script_mount(x), e);
}

/* Its last words are said, and leave before our close frame. */
static void script_settle_closing(struct script *x)
{
	struct event_held *e = x->closing;
	if (e == NULL)
		return;
	x->closing = NULL;
	hub_echo_close(e->event.session);
	e->event.session->route = NULL;
	x->session = NULL;
	script_settle(script_mount(x), e);
}

/* --- what it is told -------------------------------------------------------------------------- */

static void script_close_in(struct script *x)
{
	if (x->in_fd < 0)
		return;
	loop_watch_set(&x->in_watch, false);
	close(x->in_fd);
	x->in_fd = -1;
}

static void script_is_deaf(struct script *x)
{
	if (!x->deaf && !x->over)
		script_log(
			x, LOG_INFO,
			"a script has closed its standard input: what its client sends is dropped",
			(struct span){NULL, 0}, NULL);
	x->deaf = true;
}

/* False: no more goes into the pipe for now. */
static bool script_write_some(struct script *x)
{
	char bytes[SCRIPT_WRITE];
	size_t n = script_writer_fill(&x->writer, bytes, sizeof bytes);
	ssize_t written = write(x->in_fd, bytes, n);
	if (written < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (written < 0) { /* it does not read any more */
		script_close_in(x);
		script_is_deaf(x);
		return true;
	}
	script_writer_wrote(&x->writer, (size_t)written);
	x->term_at = 0; /* it reads: it has the time to read on */
	return true;
}

static void script_on_in(void *arg)
{
	struct script *x = arg;
	CHECK_IS(x, CHECK_SCRIPT);
	for (int i = 0; x->in_fd >= 0 && !script_writer_is_done(&x->writer); i++)
		if (i == SCRIPT_WRITES || !script_write_some(x)) {
			loop_watch_set(&x->in_watch, true);
			return;
		}
	if (x->in_fd >= 0)
		loop_watch_set(&x->in_watch, false);
	script_settle_writing(x);
}

static void script_write(struct script *x, struct event_held *e)
{
	const struct hub_event *m = &e->event;
	const struct span bytes = {(const char *)m->message.bytes, m->message.len};
	script_writer_begin(&x->writer, (enum script_framing)x->framing, bytes, m->message.binary);
	CHECK(x->writing == NULL);
	x->writing = e;
	script_on_in(x);
}

/* An event that it has asked for, as a line of JSON that is no message. NULL without memory. */
static char *script_event_line(const struct hub_event *e)
{
	char *line = NULL, remote[ADDRESS_TEXT];
	struct request r;
	int n = -1;
	if (e->kind == EVENT_AWAY) {
		n = asprintf(&line, "{\"away\":%u}", e->away.code);
	} else if (request_parse_kept(&r, e->request->head)) {
		bool said = utf8_valid(r.query.p, r.query.n);
		char *query = malloc(JSON_ESCAPED_MAX(r.query.n) + 1);
		if (query == NULL)
			return NULL;
		query[json_escape(query, r.query.p, said ? r.query.n : 0)] = '\0';
		n = asprintf(&line, "{\"back\":{\"remote_addr\":\"%s\",\"query\":%s}}",
			     address_text(&e->request->remote, remote), query);
		free(query);
	}
	return n >= 0 ? line : NULL;
}

static void script_write_event(struct script *x, struct event_held *e)
{
	bool asked = (x->events & EVENT_BIT(e->event.kind)) != 0;
	x->said = asked ? script_event_line(&e->event) : NULL;
	if (x->said == NULL) {
		script_settle(script_mount(x), e);
		return;
	}
	script_writer_begin(&x->writer, SCRIPT_LINES, span_of(x->said), false);
	x->writing = e;
	script_on_in(x);
}

/* --- the end ---------------------------------------------------------------------------------- */

static void script_free(struct script *x)
{
	script_say_late(x);
	script_close_in(x);
	script_stream_forget(&x->out);
	script_stream_forget(&x->commands);
	if (x->session != NULL)
		x->session->route = NULL;
	if (x->process != NULL)
		process_abandon(x->process);
	if (x->ready)
		TAILQ_REMOVE(&x->set->ready, x, ready_link);
	CHECK(x->magic == CHECK_SCRIPT && x->set->n > 0);
	TAILQ_REMOVE(&x->set->list, x, link);
	x->set->n--;
	x->magic = CHECK_GONE;
	free(x->said);
	free(x);
}

static void script_log_death(const struct script *x)
{
	char how[64];
	process_status_text(x->status, how, sizeof how);
	LOG(script_mount(x)->hub->log, LOG_WARN, LOG_HANDLER, "a script failed",
	    LOG_STR("mount", script_mount(x)->path), LOG_STR("conn", x->id), LOG_TRACE_ID(x->session), LOG_STR("how", how));
}

/* Its connection ends as it did. */
static void script_finish(struct script *x)
{
	bool good = WIFEXITED(x->status) && WEXITSTATUS(x->status) == 0 && x->failed == NULL;
	if (!good && x->failed == NULL && x->term_at == 0 && x->closing == NULL)
		script_log_death(x);
	struct session *s = x->session;
	script_settle_writing(x);
	if (s != NULL && !s->ended)
		access_ended_by(s, "handler");
	if (s != NULL && !s->ended)
		hub_close_session(s, good ? CLOSE_NORMAL : CLOSE_INTERNAL,
				  good ? (struct span){0} : SPAN("the script failed"), false);
	script_settle_closing(x);
	script_free(x);
}

/* What it had still to say is said first. */
static void script_ended(void *ctx, struct process *process, int status)
{
	struct script *x = ctx;
	CHECK(x->magic == CHECK_SCRIPT && x->process == process);
	x->process = NULL;
	x->status = status;
	x->over = true;
	script_close_in(x);
	script_out_last(x);
	scripts_run(x->set);
}

/* Its time for last words is over: it acts for nobody any more, and is told to go. */
static void script_let_go(struct script *x, uint64_t now)
{
	x->kill_at = now + x->set->settings.close_ms;
	script_close_in(x);
	if (x->process != NULL)
		process_kill(x->process, SIGTERM);
	script_settle_writing(x);
	script_settle_closing(x);
}

/* --- the start -------------------------------------------------------------------------------- */

static bool script_open_in(struct script *x, int *theirs_r)
{
	int pipe[2];
	if (!descriptors_pipe(&script_loop(x)->descriptors, DESCRIPTORS_CLIENT, pipe))
		return false;
	x->in_fd = pipe[1];
	*theirs_r = pipe[0];
	loop_watch_init(script_loop(x), &x->in_watch, x->in_fd, true, script_on_in, x);
	return fcntl(x->in_fd, F_SETFL, O_NONBLOCK) == 0;
}

/* Which program of the folder is it for? As of script_folder_find. */
static int script_find(const struct scripts *set, const struct event_request *facts,
		       struct script_found *found_r, const char **why_r)
{
	const char *mount = set->base.mount->path;
	size_t n = mount[1] == '\0' ? 0 : strlen(mount);
	struct request r;
	*why_r = "no memory";
	if (!request_parse_kept(&r, facts->head))
		return 503;
	return script_folder_find(set->settings.folder, (struct span){r.path.p + n, r.path.n - n},
				  found_r, why_r);
}

static bool script_start_process(struct script *x, const struct event_request *facts)
{
	struct script_found found;
	const char *const argv[] = {found.file, NULL};
	const char *why;
	const bool one_of = x->set->settings.folder != NULL;
	if (one_of && script_find(x->set, facts, &found, &why) != 0) {
		/* it was there when the upgrade was answered */
		script_log(x, LOG_ERROR, why, (struct span){NULL, 0}, NULL);
		return false;
	}
	int theirs[3] = {-1, -1, -1};
	char **env =
		script_env_make(facts,
				&(struct script_env_facts){.conn = x->id,
							   .subprotocols =
								   script_mount(x)->subprotocols,
							   .found = one_of ? &found : NULL});
	bool ok = env != NULL && script_open_in(x, &theirs[0]) &&
		  script_stream_open(&x->out, x, &theirs[1]) &&
		  script_stream_open(&x->commands, x, &theirs[2]);
	struct process_spec spec = {
		.name = x->id,
		.command = x->set->settings.command,
		.argv = argv,
		.env = (const char *const *)env,
		.mount = script_mount(x)->path,
		.in = theirs[0],
		.out = theirs[1],
		.extra = theirs[2],
	};
	if (ok)
		x->process = process_start(x->set->processes, &spec, script_ended, x);
	int error = errno;
	for (int i = 0; i < 3; i++)
		if (theirs[i] >= 0)
			close(theirs[i]);
	script_env_free(&env);
	if (x->process == NULL)
		LOG(script_mount(x)->hub->log, LOG_ERROR, LOG_HANDLER,
		    "a script can not be started", LOG_STR("mount", script_mount(x)->path),
		    LOG_STR("conn", x->id), LOG_TRACE_ID(x->session), LOG_ERRNO(error));
	return x->process != NULL;
}

static struct script *script_new(struct scripts *set, struct session *s)
{
	struct script *x = calloc(1, sizeof *x);
	if (x == NULL)
		return NULL;
	*x = (struct script){.magic = CHECK_SCRIPT,
			     .set = set,
			     .session = s,
			     .framing = (uint8_t)set->settings.framing,
			     .in_fd = -1};
	x->out = x->commands = (struct script_stream){.script = x, .fd = -1};
	hub_session_text(s, x->id);
	TAILQ_INSERT_TAIL(&set->list, x, link);
	set->n++;
	set->started++;
	s->route = x;
	return x;
}

/* --- events ----------------------------------------------------------------------------------- */

static bool scripts_has_room(struct scripts *set)
{
	uint64_t second = scripts_now(set) / 1000;
	if (second != set->second)
		set->started = 0;
	set->second = second;
	return set->n < set->settings.max && set->started < set->settings.rate;
}

/* Refuses what names no program of the folder. */
static void script_upgrade_found(struct scripts *set, struct event_held *e,
				 struct event_answer *answer)
{
	struct script_found found;
	const char *why;
	answer->status = script_find(set, e->event.request, &found, &why);
	if (answer->status == 0)
		return;
	answer->why = why;
	answer->body = strdup(why);
	answer->body_len = answer->body != NULL ? strlen(why) : 0;
}

static void script_upgrade(struct scripts *set, struct event_held *e)
{
	static const struct event_answer none;
	struct event_answer answer = none;
	if (!scripts_has_room(set)) {
		answer.status = 503;
		event_answer_header(&answer, "Retry-After", "1");
		LOG(set->base.mount->hub->log, LOG_WARN, LOG_LIMIT,
		    "as many scripts as --max-scripts or --script-rate allow",
		    LOG_STR("mount", set->base.mount->path), LOG_U64("scripts", set->n));
	} else if (set->settings.folder != NULL) {
		script_upgrade_found(set, e, &answer);
	}
	admission_answered(set->base.mount, e, &answer, NULL);
}

static void script_open(struct scripts *set, struct event_held *e)
{
	struct session *s = e->event.session;
	struct script *x = script_new(set, s);
	bool ok = x != NULL && script_start_process(x, e->event.request);
	if (!ok && x != NULL)
		script_free(x);
	script_settle(set->base.mount, e);
	if (!ok)
		access_ended_by(s, "handler");
	if (!ok)
		hub_close_session(s, CLOSE_INTERNAL, SPAN("the script can not be started"), false);
}

/* It has until term_at for what it has still to say, to its client, unless it has closed that
 * itself, and in the connection's name. */
static void script_close(struct script *x, struct event_held *e)
{
	script_close_in(x);
	x->closing = e;
	x->term_at = scripts_now(x->set) + x->set->settings.close_ms;
	if (x->kill_at != 0) /* it has had that */
		script_settle_closing(x);
	else if (x->parted)
		hub_echo_close(e->event.session);
	if (x->slowed)
		script_wake(x);
}

static void script_give(struct handler *h, struct event_held *e)
{
	struct scripts *set = scripts_of(h);
	struct script *x = e->event.session != NULL ? e->event.session->route : NULL;
	if (h->mount->hub->traces != NULL)
		trace_given(h->mount, &e->event, "script");
	if (e->event.kind == EVENT_UPGRADE) {
		script_upgrade(set, e);
	} else if (e->event.kind == EVENT_OPEN) {
		script_open(set, e);
	} else if (e->event.kind == EVENT_CLOSE && x != NULL) {
		script_close(x, e);
	} else if (x != NULL && x->in_fd >= 0 && e->event.kind == EVENT_MESSAGE) {
		script_write(x, e);
	} else if (x != NULL && x->in_fd >= 0 && e->event.kind != EVENT_CLOSE) {
		script_write_event(x, e);
	} else {
		if (e->event.kind == EVENT_CLOSE)
			hub_echo_close(e->event.session);
		script_settle(h->mount, e);
	}
}

static void script_forget(struct handler *h, struct session *s)
{
	struct script *x = s->route;
	CHECK(x == NULL || x->magic == CHECK_SCRIPT);
	(void)h;
	if (x != NULL)
		x->session = NULL;
	s->route = NULL;
}

/* --- time ------------------------------------------------------------------------------------- */

static void script_tick(struct script *x, uint64_t now)
{
	/* It does not take the messages that came before its connection ended, which its close
	 * event has to wait for. */
	if (x->term_at == 0 && x->writing != NULL && x->session != NULL && x->session->ended)
		x->term_at = now + x->set->settings.close_ms;
	if (x->kill_at != 0 && now >= x->kill_at && x->process != NULL)
		process_kill(x->process, SIGKILL);
	else if (x->kill_at == 0 && x->term_at != 0 && now >= x->term_at)
		script_let_go(x, now);
	if (x->slowed)
		script_wake(x);
}

static void scripts_on_tick(void *arg)
{
	struct scripts *set = arg;
	CHECK_IS(set, CHECK_SCRIPTS);
	uint64_t now = scripts_now(set);
	struct script *x;
	TAILQ_FOREACH (x, &set->list, link)
		script_tick(x, now);
	scripts_run(set);
	loop_timer_set(&set->tick, SCRIPT_TICK_MS);
}

/* --- the handler ------------------------------------------------------------------------------ */

/* Each has its end in sight: see script_tick. */
static bool scripts_leave(struct handler *h)
{
	return TAILQ_EMPTY(&scripts_of(h)->list);
}

static void scripts_stop(struct handler *h)
{
	struct scripts *set = scripts_of(h);
	struct script *x;
	loop_timer_cancel(&set->tick);
	while ((x = TAILQ_FIRST(&set->list)) != NULL)
		script_free(x);
	scripts_out_close(set);
}

static void scripts_free(struct handler *h)
{
	struct scripts *set = scripts_of(h);
	free(set->runs);
	free(set);
}

static const struct handler_ops script_ops = {.answers_until_closed = true,
					      .give = script_give,
					      .forget = script_forget,
					      .leave = scripts_leave,
					      .stop = scripts_stop,
					      .free = scripts_free};

bool script_is(const struct mount *m)
{
	return m->handler->ops == &script_ops;
}

const char *script_runs(const struct mount *m)
{
	return scripts_of(m->handler)->runs;
}

unsigned script_count(const struct mount *m)
{
	return scripts_of(m->handler)->n;
}

bool script_set(struct mount *m, const struct script_settings *set)
{
	struct scripts *s = scripts_of(m->handler);
	char *runs = strdup(set->command != NULL ? set->command : set->folder);
	if (runs == NULL)
		return false;
	free(s->runs);
	s->runs = runs;
	s->settings = *set;
	s->settings.command = set->command != NULL ? runs : NULL;
	s->settings.folder = set->command != NULL ? NULL : runs;
	return true;
}

static struct scripts *scripts_new(struct mount *m, struct processes *processes)
{
	struct scripts *s = calloc(1, sizeof *s);
	if (s == NULL)
		return NULL;
	*s = (struct scripts){
		.magic = CHECK_SCRIPTS,
		.base = {.ops = &script_ops,
			 .mount = m,
			 .wants = EVENT_BIT(EVENT_UPGRADE) | EVENT_BIT(EVENT_OPEN) |
				  EVENT_BIT(EVENT_MESSAGE) | EVENT_BIT(EVENT_CLOSE)},
		.processes = processes,
		.epoll = -1,
	};
	TAILQ_INIT(&s->list);
	TAILQ_INIT(&s->ready);
	loop_timer_init(m->hub->loop, &s->tick, scripts_on_tick, s);
	return s;
}

bool script_attach(struct mount *m, const struct script_settings *set, struct processes *processes,
		   char *why, size_t why_cap)
{
	struct scripts *s = scripts_new(m, processes);
	m->handler = s != NULL ? &s->base : NULL;
	if (s == NULL || !script_set(m, set) || !scripts_out_open(s, script_finish)) {
		snprintf(why, why_cap, "%s",
			 s != NULL && s->runs != NULL ? strerror(errno) : "no memory");
		if (s != NULL)
			scripts_free(&s->base);
		m->handler = NULL;
		return false;
	}
	loop_timer_set(&s->tick, SCRIPT_TICK_MS);
	return true;
}
