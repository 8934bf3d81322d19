/* script_out: what scripts write, on standard output and descriptor 3, in the order in which they
 * wrote it: see script.h. */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "handler/script/script_parts.h"
#include "net/conn.h"

/* of standard output: a line, or with --script-binary a message */
#define OUT_LINE_MAX (16u << 20)
#define OUT_COMMAND_MAX (1u << 20) /* of descriptor 3: a line */
#define OUT_EVENTS 64		   /* descriptors that are asked about at a time */
/* of a turn of the loop that scripts may take, from when they are looked at */
#define OUT_TURN_US 4000
#define OUT_SHARE 64 /* lines of one script before the next has its turn */
/* times in a turn that it is asked who has written meanwhile */
#define OUT_ROUNDS 16

static uint64_t script_out_clock(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static bool script_out_is_out(const struct script_stream *s)
{
	return s == &s->script->out;
}

/* --- what has been read and not been used ----------------------------------------------------- */

/* Counted with what connections hold, and bounded together with that. */
static void script_out_count(struct script_stream *s)
{
	script_loop(s->script)->lent += buffer_memory(&s->in) - s->counted;
	s->counted = buffer_memory(&s->in);
}

static void script_out_empty(struct script_stream *s)
{
	buffer_free(&s->in);
	s->scanned = 0;
	script_out_count(s);
}

/* What remains of a line that has been very long is not kept in its memory. */
static void script_out_tidy(struct script_stream *s)
{
	if (s->in.n == 0)
		buffer_free(&s->in);
	else
		buffer_shrink(&s->in, s->script->set->page);
	script_out_count(s);
}

static void script_out_close(struct script_stream *s)
{
	if (s->fd < 0)
		return;
	epoll_ctl(s->script->set->epoll, EPOLL_CTL_DEL, s->fd, NULL);
	close(s->fd);
	s->fd = -1;
}

void script_stream_forget(struct script_stream *s)
{
	script_out_close(s);
	script_out_empty(s);
	s->dropped = true;
}

/* One page in packet mode: one write at a time. */
bool script_stream_open(struct script_stream *s, struct script *x, int *theirs_r)
{
	struct epoll_event what = {.events = EPOLLIN | EPOLLET, .data.ptr = s};
	int pipe[2];
	if (!descriptors_pipe(&script_loop(x)->descriptors, DESCRIPTORS_CLIENT, pipe))
		return false;
	s->script = x;
	s->fd = pipe[0];
	*theirs_r = pipe[1];
	return fcntl(pipe[0], F_SETFL, O_NONBLOCK) == 0 && fcntl(pipe[1], F_SETFL, O_DIRECT) == 0 &&
	       fcntl(pipe[1], F_SETPIPE_SZ, (int)x->set->page) == (int)x->set->page &&
	       epoll_ctl(x->set->epoll, EPOLL_CTL_ADD, s->fd, &what) == 0;
}

/* --- who fails -------------------------------------------------------------------------------- */

void script_fail(struct script *x, const char *why)
{
	script_stream_forget(&x->out);
	script_stream_forget(&x->commands);
	if (x->failed != NULL)
		return;
	x->failed = why;
	script_log(x, LOG_WARN, why, (struct span){NULL, 0}, NULL);
	if (x->process != NULL) /* else it has ended, and this is the last of it */
		process_kill(x->process, SIGKILL);
}

/* --- who gives way ---------------------------------------------------------------------------- */

static size_t script_out_held(const struct script *x)
{
	return x->out.counted + x->commands.counted;
}

static struct script *script_out_longest(const struct scripts *set)
{
	struct script *x, *longest = NULL;
	for (const struct mount *m = set->base.mount->hub->mounts; m != NULL; m = m->next) {
		if (m->handler->ops != set->base.ops)
			continue;
		TAILQ_FOREACH (x, &scripts_of(m->handler)->list, link)
			if (longest == NULL || script_out_held(x) > script_out_held(longest))
				longest = x;
	}
	return longest;
}

static void script_out_relieve(struct script *x)
{
	const uint64_t most = x->set->settings.unread_max;
	const struct loop *loop = script_loop(x);
	struct script *longest;
	while (most != 0 && loop->lent > most && (longest = script_out_longest(x->set)) != NULL &&
	       script_out_held(longest) > 0)
		script_fail(
			longest,
			"the unfinished lines of all scripts take a quarter of --max-buffered, "
			"and this one's is the longest");
}

/* --- reading ---------------------------------------------------------------------------------- */

static bool script_out_is_too_long(const struct script_stream *s)
{
	return s->in.n > (script_out_is_out(s) ? OUT_LINE_MAX : OUT_COMMAND_MAX);
}

/* One packet: see script.h. Where nobody can write any more all that is there, which is no more
 * than that. */
static void script_out_read(struct script_stream *s)
{
	struct script *x = s->script;
	ssize_t n = -1;
	while (s->fd >= 0 && n != 0) {
		if (!buffer_reserve(&s->in, x->set->page)) {
			script_fail(x, "no memory for what it has written");
			return;
		}
		script_out_count(s);
		n = read(s->fd, s->in.p + s->in.n, x->set->page);
		if (n < 0)
			break;
		s->in.n += (size_t)n;
		if (!s->hung_up)
			break;
	}
	if (n == 0 || s->last || (n < 0 && errno != EAGAIN && errno != EINTR))
		script_out_close(s);
	if (s->in.n == 0)
		script_out_empty(s);
	script_out_relieve(x);
}

/* --- lines ------------------------------------------------------------------------------------ */

static void script_out_say(struct script *x, char *line, size_t n)
{
	struct commit *c = &script_mount(x)->commit;
	struct script_message message;
	char shown[SCRIPT_SHOWN];
	struct span said = {shown, n < SCRIPT_SHOWN ? n : SCRIPT_SHOWN};
	if (x->session == NULL) {
		x->late++;
		return;
	}
	memcpy(shown, line, said.n); /* it is unescaped where it stands */
	const char *why = script_message_read(line, n, (enum script_framing)x->framing, &message);
	if (why != NULL) {
		script_log(x, LOG_WARN, why, said, "--script-lines json");
		return;
	}
	if (x->parted)
		return;
	commit_begin(c, x->session);
	commit_send(c, x->session->local, message.binary, message.bytes.p, message.bytes.n);
	script_commit(x, said);
}

static void script_out_use(struct script_stream *s, size_t head, size_t n, size_t tail)
{
	char *line = s->in.p + head;
	bool out = script_out_is_out(s);
	buffer_drop(&s->in, head + n + tail); /* its memory stays until more is read */
	s->scanned = 0;
	if (tail > 0 && n > 0 && line[n - 1] == '\r')
		n--;
	if (out)
		script_out_say(s->script, line, n);
	else
		script_command(s->script, line, n);
}

static bool script_out_use_frame(struct script_stream *s)
{
	uint32_t n;
	if (s->in.n < sizeof n)
		return false;
	memcpy(&n, s->in.p, sizeof n);
	n = be32toh(n);
	if (n > OUT_LINE_MAX) {
		script_fail(s->script, "a script's message is longer than 16 MiB");
		return false;
	}
	if (s->in.n - sizeof n < n)
		return false;
	script_out_use(s, sizeof n, n, 0);
	return true;
}

static bool script_out_use_line(struct script_stream *s)
{
	char *lf = s->in.n > s->scanned ? memchr(s->in.p + s->scanned, '\n', s->in.n - s->scanned)
					: NULL;
	s->scanned = s->in.n;
	if (lf == NULL)
		return false;
	script_out_use(s, 0, (size_t)(lf - s->in.p), 1);
	return true;
}

/* A last line needs no end. */
static bool script_out_use_rest(struct script_stream *s)
{
	if (s->fd >= 0 || s->in.n == 0)
		return false;
	if (script_out_is_out(s) && s->script->framing == SCRIPT_FRAMES) {
		script_log(s->script, LOG_WARN, "a script's last message ends too early",
			   (struct span){NULL, 0}, NULL);
		buffer_drop(&s->in, s->in.n);
		return false;
	}
	script_out_use(s, 0, s->in.n, 0);
	return true;
}

/* The next message or command; false: there is none yet. */
static bool script_out_use_one(struct script_stream *s)
{
	if (s->dropped || s->in.n == 0)
		return false;
	bool frames = script_out_is_out(s) && s->script->framing == SCRIPT_FRAMES;
	if (frames ? script_out_use_frame(s) : script_out_use_line(s))
		return true;
	if (s->dropped)
		return false;
	if (!frames && script_out_is_too_long(s)) {
		script_fail(s->script, script_out_is_out(s)
					       ? "a script's line is longer than 16 MiB"
					       : "a script's command is longer than 1 MiB");
		return false;
	}
	return script_out_use_rest(s);
}

/* --- turns ------------------------------------------------------------------------------------ */

/* A client that reads slowly slows its script down. */
static bool script_out_waits(struct script *x)
{
	struct conn *c =
		x->session != NULL && !x->parted && !x->over ? session_conn(x->session) : NULL;
	x->slowed = c != NULL && conn_load(c).unread > c->conns->limits.queue_max / 2;
	return x->slowed;
}

/* Of a process that is over: what it has left without an end. */
static bool script_out_use_rests(struct script *x)
{
	return x->over && x->n_due == 0 &&
	       (script_out_use_one(&x->out) || script_out_use_one(&x->commands));
}

/* False: there is nothing to do for now. */
static bool script_out_step(struct script *x)
{
	struct script_stream *s = x->current;
	if (s != NULL && script_out_use_one(s))
		return true;
	if (s != NULL)
		script_out_tidy(s);
	x->current = NULL;
	if (script_out_use_rests(x))
		return true;
	if (x->n_due == 0 || script_out_waits(x))
		return false;
	s = x->due[0];
	x->due[0] = x->due[1];
	x->n_due--;
	s->due = false;
	script_out_read(s);
	x->current = s;
	return true;
}

void script_wake(struct script *x)
{
	if (x->ready)
		return;
	x->ready = true;
	TAILQ_INSERT_TAIL(&x->set->ready, x, ready_link);
}

static void script_out_sleep(struct script *x)
{
	TAILQ_REMOVE(&x->set->ready, x, ready_link);
	x->ready = false;
}

static void script_out_is_due(struct script_stream *s, uint32_t events)
{
	struct script *x = s->script;
	s->hung_up = s->hung_up || (events & (EPOLLHUP | EPOLLERR)) != 0;
	if (!s->due)
		x->due[x->n_due++] = s;
	s->due = true;
	script_wake(x);
}

/* Takes down who has written, in that order. */
static bool scripts_collect(struct scripts *set)
{
	struct epoll_event events[OUT_EVENTS];
	int n = epoll_wait(set->epoll, events, OUT_EVENTS, 0);
	for (int i = 0; i < n; i++)
		script_out_is_due(events[i].data.ptr, events[i].events);
	return n > 0;
}

/* Gives one script its share. */
static void script_out_run(struct script *x, uint64_t until)
{
	unsigned n = 0;
	while (script_out_step(x))
		if (++n >= OUT_SHARE || script_out_clock() >= until) {
			script_out_sleep(x);
			script_wake(x); /* behind the others */
			return;
		}
	script_out_sleep(x);
	if (x->over)
		x->set->finish(x);
}

void scripts_run(struct scripts *set)
{
	uint64_t until = script_out_clock() + OUT_TURN_US;
	unsigned rounds = 0;
	struct script *x;
	if (set->running)
		return;
	set->running = true;
	do {
		while ((x = TAILQ_FIRST(&set->ready)) != NULL && script_out_clock() < until)
			script_out_run(x, until);
	} while (TAILQ_EMPTY(&set->ready) && ++rounds < OUT_ROUNDS && script_out_clock() < until &&
		 scripts_collect(set));
	set->running = false;
	if (!TAILQ_EMPTY(&set->ready))
		loop_timer_set(&set->more, 0);
}

/* Whoever was before is still before: what is ready comes behind what is taken down already. */
static void scripts_on_readable(void *arg)
{
	struct scripts *set = arg;
	CHECK_IS(set, CHECK_SCRIPTS);
	scripts_collect(set);
	scripts_run(set);
}

static void scripts_on_more(void *arg)
{
	scripts_run(arg);
}

void script_out_last(struct script *x)
{
	struct script_stream *const both[] = {&x->out, &x->commands};
	scripts_collect(x->set);
	for (int i = 0; i < 2; i++) {
		both[i]->last = true;
		if (!both[i]->due)
			script_out_close(both[i]);
	}
	script_wake(x);
}

bool scripts_out_open(struct scripts *set, void (*finish)(struct script *x))
{
	set->finish = finish;
	set->page = (size_t)sysconf(_SC_PAGESIZE);
	set->epoll = descriptors_take(&set->base.mount->hub->loop->descriptors, DESCRIPTORS_HOST,
				      epoll_create1(EPOLL_CLOEXEC));
	if (set->epoll < 0)
		return false;
	loop_watch_init(set->base.mount->hub->loop, &set->watch, set->epoll, false,
			scripts_on_readable, set);
	loop_timer_init(set->base.mount->hub->loop, &set->more, scripts_on_more, set);
	return loop_watch_set(&set->watch, true);
}

void scripts_out_close(struct scripts *set)
{
	loop_timer_cancel(&set->more);
	if (set->epoll < 0)
		return;
	loop_watch_set(&set->watch, false);
	close(set->epoll);
	set->epoll = -1;
}
