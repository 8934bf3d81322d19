#include "handler/script.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "handler/script_env.h"
#include "hub/admission.h"
#include "hub/delivery.h"
#include "hub/hub.h"

#define SCRIPT_TICK_MS 50
#define SCRIPT_READ 16384
#define SCRIPT_LINE_MAX (16u << 20)
#define SCRIPT_COMMAND_MAX (1u << 20)

struct script_stream {
	struct loop_watch watch;
	struct script *script;
	int fd; /* -1: closed */
	char *bytes;
	size_t len, cap;
};

/* One process and its connection. */
struct script {
	TAILQ_ENTRY(script) link;
	struct scripts *set;
	struct session *session; /* NULL: it has ended, the process may go on a little */
	struct process *process; /* NULL: it has ended */
	struct script_stream in, out, commands;
	bool binary;		      /* as --script-binary was when it started */
	struct event_held *writing; /* the message that waits for room in the pipe, partly written: in.bytes has the rest */
	uint64_t kill_at;	    /* 0: lives as long as its connection */
};

struct scripts {
	struct handler base;
	struct processes *processes;
	char *command;
	bool binary;
	unsigned max, rate, n, started; /* started: in this second */
	uint64_t second, close_ms;
	TAILQ_HEAD(, script) list;
	struct loop_timer tick;
};

static struct mount *script_mount(const struct script *x)
{
	return x->set->base.mount;
}

static uint64_t scripts_now(const struct scripts *set)
{
	return loop_now(set->base.mount->hub->loop);
}

/* --- streams ------------------------------------------------------------------------------------------------------------------------- */

static void stream_watch(struct script_stream *s, bool on)
{
	if (s->fd >= 0)
		loop_watch_set(&s->watch, on);
}

static void stream_close(struct script_stream *s)
{
	if (s->fd < 0)
		return;
	stream_watch(s, false);
	close(s->fd);
	s->fd = -1;
}

static bool stream_append(struct script_stream *s, const void *bytes, size_t n)
{
	if (s->cap - s->len < n) {
		size_t cap = s->cap * 2 > s->len + n ? s->cap * 2 : s->len + n;
		char *wider = realloc(s->bytes, cap);
		if (wider == NULL)
			return false;
		s->bytes = wider;
		s->cap = cap;
	}
	memcpy(s->bytes + s->len, bytes, n);
	s->len += n;
	return true;
}

static void stream_drop_front(struct script_stream *s, size_t n)
{
	s->len -= n;
	memmove(s->bytes, s->bytes + n, s->len);
}

static bool stream_has_input(const struct script_stream *s)
{
	int n = 0;
	return ioctl(s->fd, FIONREAD, &n) == 0 && n > 0;
}

static bool stream_open(struct script_stream *s, struct script *x, bool reads, void (*run)(void *arg), int *theirs_r)
{
	int pipe[2];
	if (!descriptors_pipe(&script_mount(x)->hub->loop->descriptors, DESCRIPTORS_CLIENT, pipe))
		return false;
	s->script = x;
	s->fd = pipe[reads ? 0 : 1];
	*theirs_r = pipe[reads ? 1 : 0];
	fcntl(s->fd, F_SETFL, O_NONBLOCK);
	loop_watch_init(script_mount(x)->hub->loop, &s->watch, s->fd, !reads, run, s);
	return true;
}

/* --- the end ------------------------------------------------------------------------------------------------------------------------- */

static void script_free(struct script *x)
{
	stream_close(&x->in);
	stream_close(&x->out);
	stream_close(&x->commands);
	free(x->in.bytes);
	free(x->out.bytes);
	free(x->commands.bytes);
	if (x->session != NULL)
		x->session->route = NULL;
	if (x->process != NULL)
		process_abandon(x->process);
	TAILQ_REMOVE(&x->set->list, x, link);
	x->set->n--;
	free(x);
}

/* Its message can not be written any more; the connection is ending. */
static void script_settle_writing(struct script *x)
{
	struct event_held *e = x->writing;
	x->writing = NULL;
	if (e == NULL)
		return;
	commit_begin(&script_mount(x)->commit, e->event.session);
	delivery_settle(script_mount(x), e, HANDLER_DONE, (struct span){0});
}

/* --- what it says -------------------------------------------------------------------------------------------------------------------- */

static void script_complain(struct script *x, const char *what, struct span line)
{
	LOG(script_mount(x)->hub->log, LOG_WARN, LOG_HANDLER, what, LOG_STR("mount", script_mount(x)->path),
	    LOG_SPAN("line", ((struct span){line.p, line.n < 200 ? line.n : 200})));
}

static void script_commit(struct script *x, struct span line)
{
	struct mount *m = script_mount(x);
	if (!delivery_commit(m))
		script_complain(x, commit_error_text(m->commit.error), line);
}

static void script_say(struct script *x, struct span bytes)
{
	struct commit *c = &script_mount(x)->commit;
	if (x->session == NULL || x->session->ended)
		return;
	commit_begin(c, x->session);
	commit_send(c, x->session->local, x->binary, bytes.p, bytes.n);
	script_commit(x, bytes);
}

/* Returns how much of the buffer was used: whole lines, without CR where there is one. */
static size_t script_take_lines(struct script *x, char *bytes, size_t len, void (*take)(struct script *x, struct span line))
{
	size_t used = 0;
	char *lf;
	while ((lf = memchr(bytes + used, '\n', len - used)) != NULL) {
		size_t n = (size_t)(lf - (bytes + used));
		take(x, (struct span){bytes + used, n > 0 && lf[-1] == '\r' ? n - 1 : n});
		used += n + 1;
	}
	return used;
}

static size_t script_take_binary(struct script *x, const char *bytes, size_t len)
{
	size_t used = 0;
	uint32_t n;
	while (len - used >= sizeof n) {
		memcpy(&n, bytes + used, sizeof n);
		n = ntohl(n);
		if (len - used - sizeof n < n)
			break;
		script_say(x, (struct span){bytes + used + sizeof n, n});
		used += sizeof n + n;
	}
	return used;
}

static void script_on_out(void *arg)
{
	struct script_stream *s = arg;
	struct script *x = s->script;
	char bytes[SCRIPT_READ];
	ssize_t n = read(s->fd, bytes, sizeof bytes);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0 || !stream_append(s, bytes, (size_t)n)) {
		stream_close(s);
		return;
	}
	size_t used = x->binary ? script_take_binary(x, s->bytes, s->len) : script_take_lines(x, s->bytes, s->len, script_say);
	stream_drop_front(s, used);
	if (s->len > SCRIPT_LINE_MAX) {
		script_complain(x, "a script's line is longer than 16 MiB: it is killed", (struct span){s->bytes, s->len});
		if (x->process != NULL) /* else it has ended, and this is the last of it */
			process_kill(x->process, SIGKILL);
		s->len = 0;
		stream_close(s);
	}
	/* A client that reads slowly slows its script down. */
	if (x->session != NULL && !x->session->ended &&
	    conn_unread(session_conn(x->session)) > session_conn(x->session)->conns->limits.queue_max / 2)
		stream_watch(s, false);
}

/* --- what it commands ---------------------------------------------------------------------------------------------------------------- */

static struct span script_word(struct span *rest)
{
	const char *space = rest->n > 0 ? memchr(rest->p, ' ', rest->n) : NULL;
	struct span word = {rest->p, space != NULL ? (size_t)(space - rest->p) : rest->n};
	size_t used = word.n + (space != NULL);
	rest->p += used;
	rest->n -= used;
	return word;
}

static uint16_t script_code(struct span word)
{
	unsigned code = 0;
	for (size_t i = 0; i < word.n && word.p[i] >= '0' && word.p[i] <= '9' && code < 10000; i++)
		code = code * 10 + (unsigned)(word.p[i] - '0');
	return (uint16_t)code;
}

static uint64_t script_target(struct script *x, struct span text)
{
	struct session_id id;
	return session_id_parse(text, &id) && id.host == script_mount(x)->hub->host_id ? id.local : 0;
}

/* key=KEY in front of a command gives what it sends a conflation key. */
static struct span script_key(struct span *rest)
{
	struct span after = *rest, word = script_word(&after);
	if (word.n < 4 || memcmp(word.p, "key=", 4) != 0)
		return (struct span){0};
	*rest = after;
	return (struct span){word.p + 4, word.n - 4};
}

static void script_add_command(struct script *x, struct commit *c, struct span rest)
{
	struct span verb = script_word(&rest);
	uint64_t own = x->session->local;
	if (span_eq(verb, SPAN("join")))
		commit_join(c, own, rest);
	else if (span_eq(verb, SPAN("leave")))
		commit_leave(c, own, rest);
	else if (span_eq(verb, SPAN("broadcast")))
		commit_broadcast(c, false, rest.p, rest.n, 0);
	else if (span_eq(verb, SPAN("broadcast_others")))
		commit_broadcast(c, false, rest.p, rest.n, own);
	else if (span_eq(verb, SPAN("broadcast_to")) || span_eq(verb, SPAN("broadcast_to_others"))) {
		struct span room = script_word(&rest);
		commit_broadcast_to(c, room, false, rest.p, rest.n, verb.n > sizeof "broadcast_to" ? own : 0);
	} else if (span_eq(verb, SPAN("send"))) {
		struct span to = script_word(&rest);
		commit_send(c, script_target(x, to), false, rest.p, rest.n);
	} else if (span_eq(verb, SPAN("close"))) {
		struct span code = script_word(&rest);
		commit_close(c, own, code.n > 0 ? script_code(code) : CLOSE_NORMAL, rest);
	} else {
		commit_spoil(c, COMMIT_E_ARG);
	}
}

static void script_command(struct script *x, struct span line)
{
	struct commit *c = &script_mount(x)->commit;
	struct span rest = line, key = script_key(&rest);
	if (x->session == NULL || x->session->ended || line.n == 0)
		return;
	commit_begin(c, x->session);
	script_add_command(x, c, rest);
	commit_key(c, key);
	script_commit(x, line);
}

static void script_on_commands(void *arg)
{
	struct script_stream *s = arg;
	char bytes[SCRIPT_READ];
	ssize_t n = read(s->fd, bytes, sizeof bytes);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0 || !stream_append(s, bytes, (size_t)n)) {
		stream_close(s);
		return;
	}
	stream_drop_front(s, script_take_lines(s->script, s->bytes, s->len, script_command));
	if (s->len > SCRIPT_COMMAND_MAX) {
		script_complain(s->script, "a script's command is longer than 1 MiB", (struct span){s->bytes, s->len});
		stream_close(s);
	}
}

/* --- what it is told ----------------------------------------------------------------------------------------------------------------- */

static void script_on_in(void *arg)
{
	struct script_stream *s = arg;
	while (s->len > 0) {
		ssize_t n = write(s->fd, s->bytes, s->len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			stream_watch(s, true);
			return;
		}
		if (n < 0) { /* it does not read any more; its end will be told */
			s->len = 0;
			stream_close(s);
			break;
		}
		stream_drop_front(s, (size_t)n);
	}
	stream_watch(s, false);
	script_settle_writing(s->script);
}

static void script_write(struct script *x, struct event_held *e)
{
	const struct hub_event *m = &e->event;
	uint32_t head = htonl((uint32_t)m->message.len);
	bool ok = (!x->binary || stream_append(&x->in, &head, sizeof head)) &&
		  stream_append(&x->in, m->message.bytes, m->message.len) && (x->binary || stream_append(&x->in, "\n", 1));
	if (!ok)
		x->in.len = 0;
	x->writing = e;
	script_on_in(&x->in);
}

/* --- its life ------------------------------------------------------------------------------------------------------------------------ */

/* What it had still to say is said, then its connection ends as it did. */
static void script_ended(void *ctx, struct process *process, int status)
{
	struct script *x = ctx;
	char text[64];
	(void)process;
	x->process = NULL;
	bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
	while (x->commands.fd >= 0 && stream_has_input(&x->commands))
		script_on_commands(&x->commands);
	while (x->out.fd >= 0 && stream_has_input(&x->out))
		script_on_out(&x->out);
	if (x->out.len > 0 && !x->binary)
		script_say(x, (struct span){x->out.bytes, x->out.len});
	if (!good && x->kill_at == 0)
		script_complain(x, "a script failed", span_of(process_status_text(status, text, sizeof text)));
	struct session *s = x->session;
	script_settle_writing(x);
	if (s != NULL && !s->ended)
		hub_close_session(s, good ? CLOSE_NORMAL : CLOSE_INTERNAL, good ? (struct span){0} : SPAN("the script failed"),
				  false);
	script_free(x);
}

static bool script_start_process(struct script *x, const struct event_request *facts)
{
	char conn[SESSION_ID_TEXT];
	int theirs[3] = {-1, -1, -1};
	session_id_text(hub_session_id(script_mount(x)->hub, x->session), conn);
	char **env = script_env_make(facts, conn);
	bool ok = env != NULL && stream_open(&x->in, x, false, script_on_in, &theirs[0]) &&
		  stream_open(&x->out, x, true, script_on_out, &theirs[1]) &&
		  stream_open(&x->commands, x, true, script_on_commands, &theirs[2]);
	struct process_spec spec = {
		.name = conn,
		.command = x->set->command,
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
	script_env_free(env);
	if (x->process == NULL)
		LOG(script_mount(x)->hub->log, LOG_ERROR, LOG_HANDLER, "a script can not be started",
		    LOG_STR("mount", script_mount(x)->path), LOG_ERRNO(error));
	stream_watch(&x->out, true);
	stream_watch(&x->commands, true);
	return x->process != NULL;
}

static struct script *script_new(struct scripts *set, struct session *s)
{
	struct script *x = s != NULL ? calloc(1, sizeof *x) : NULL;
	if (x == NULL)
		return NULL;
	*x = (struct script){.set = set, .session = s, .binary = set->binary};
	x->in.fd = x->out.fd = x->commands.fd = -1;
	TAILQ_INSERT_TAIL(&set->list, x, link);
	set->n++;
	set->started++;
	s->route = x;
	return x;
}

/* --- events -------------------------------------------------------------------------------------------------------------------------- */

static bool scripts_has_room(struct scripts *set)
{
	uint64_t second = scripts_now(set) / 1000;
	if (second != set->second)
		set->started = 0;
	set->second = second;
	return set->n < set->max && set->started < set->rate;
}

static void script_upgrade(struct scripts *set, struct event_held *e)
{
	static const struct event_answer none;
	struct event_answer answer = none;
	if (!scripts_has_room(set)) {
		answer.status = 503;
		event_answer_header(&answer, "Retry-After", "1");
		LOG(set->base.mount->hub->log, LOG_WARN, LOG_LIMIT, "as many scripts as --max-scripts or --script-rate allow",
		    LOG_STR("mount", set->base.mount->path), LOG_U64("scripts", set->n));
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
	commit_begin(&set->base.mount->commit, s);
	delivery_settle(set->base.mount, e, HANDLER_DONE, (struct span){0});
	if (!ok)
		hub_close_session(s, CLOSE_INTERNAL, SPAN("the script can not be started"), false);
}

static void script_close(struct scripts *set, struct event_held *e, struct script *x)
{
	if (x != NULL) {
		x->session = NULL;
		e->event.session->route = NULL;
		stream_close(&x->in);
		x->kill_at = scripts_now(set) + set->close_ms;
	}
	commit_begin(&set->base.mount->commit, e->event.session);
	delivery_settle(set->base.mount, e, HANDLER_DONE, (struct span){0});
}

static void script_give(struct handler *h, struct event_held *e)
{
	struct scripts *set = (struct scripts *)h;
	struct script *x = e->event.session != NULL ? e->event.session->route : NULL;
	if (e->event.kind == EVENT_UPGRADE) {
		script_upgrade(set, e);
	} else if (e->event.kind == EVENT_OPEN) {
		script_open(set, e);
	} else if (e->event.kind == EVENT_CLOSE) {
		script_close(set, e, x);
	} else if (x != NULL && x->in.fd >= 0) {
		script_write(x, e);
	} else {
		commit_begin(&h->mount->commit, e->event.session);
		delivery_settle(h->mount, e, HANDLER_DONE, (struct span){0});
	}
}

static void script_forget(struct handler *h, struct session *s)
{
	struct script *x = s->route;
	(void)h;
	if (x != NULL)
		x->session = NULL;
	s->route = NULL;
}

/* --- time ---------------------------------------------------------------------------------------------------------------------------- */

static void script_tick(struct script *x, uint64_t now)
{
	/* It does not take the messages that came before its connection ended, which its close event has to wait for. */
	if (x->kill_at == 0 && x->writing != NULL && x->session != NULL && x->session->ended)
		x->kill_at = now + x->set->close_ms;
	if (x->kill_at != 0 && now >= x->kill_at && x->process != NULL)
		process_kill(x->process, now - x->kill_at >= x->set->close_ms ? SIGKILL : SIGTERM);
	if (x->session == NULL || x->session->ended ||
	    conn_unread(session_conn(x->session)) <= session_conn(x->session)->conns->limits.queue_max / 2)
		stream_watch(&x->out, true);
}

static void scripts_on_tick(void *arg)
{
	struct scripts *set = arg;
	uint64_t now = scripts_now(set);
	struct script *x;
	TAILQ_FOREACH (x, &set->list, link)
		script_tick(x, now);
	loop_timer_set(&set->tick, SCRIPT_TICK_MS);
}

/* --- the handler --------------------------------------------------------------------------------------------------------------------- */

static void scripts_stop(struct handler *h)
{
	struct scripts *set = (struct scripts *)h;
	struct script *next;
	loop_timer_cancel(&set->tick);
	for (struct script *x = TAILQ_FIRST(&set->list); x != NULL; x = next) {
		next = TAILQ_NEXT(x, link);
		script_free(x);
	}
}

static void scripts_free(struct handler *h)
{
	struct scripts *set = (struct scripts *)h;
	free(set->command);
	free(set);
}

static const struct handler_ops script_ops = {.give = script_give,
					      .forget = script_forget,
					      .stop = scripts_stop,
					      .free = scripts_free};

bool script_is(const struct mount *m)
{
	return m->handler->ops == &script_ops;
}

const char *script_runs(const struct mount *m)
{
	return ((const struct scripts *)m->handler)->command;
}

unsigned script_count(const struct mount *m)
{
	return ((const struct scripts *)m->handler)->n;
}

bool script_set(struct mount *m, const struct script_settings *set)
{
	struct scripts *s = (struct scripts *)m->handler;
	char *command = strdup(set->command);
	if (command == NULL)
		return false;
	free(s->command);
	s->command = command;
	s->binary = set->binary;
	s->max = set->max;
	s->rate = set->rate;
	s->close_ms = set->close_ms;
	return true;
}

bool script_attach(struct mount *m, const struct script_settings *set, struct processes *processes, char *why, size_t why_cap)
{
	struct scripts *s = calloc(1, sizeof *s);
	if (s == NULL) {
		snprintf(why, why_cap, "no memory");
		return false;
	}
	*s = (struct scripts){
		.base = {.ops = &script_ops,
			 .mount = m,
			 .wants = EVENT_BIT(EVENT_UPGRADE) | EVENT_BIT(EVENT_OPEN) | EVENT_BIT(EVENT_MESSAGE) |
				  EVENT_BIT(EVENT_CLOSE)},
		.processes = processes,
	};
	m->handler = &s->base;
	if (!script_set(m, set)) {
		snprintf(why, why_cap, "no memory");
		free(s);
		m->handler = NULL;
		return false;
	}
	TAILQ_INIT(&s->list);
	loop_timer_init(m->hub->loop, &s->tick, scripts_on_tick, s);
	loop_timer_set(&s->tick, SCRIPT_TICK_MS);
	return true;
}
