#include "c/worker.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "c/event.h"
#include "c/link.h"
#include "c/pulse.h"
#include "c/reply.h"
#include "c/run.h"
#include "c/say.h"
#include "c/settings.h"
#include "c/tova_worker.h"
#include "common/crash.h"
#include "common/id.h"

#define WORKER_TURN 64 /* messages read before others have their turn */
/* acknowledgements wait for each other, but not for handlers that take their time */
#define WORKER_LATE_NS 1000000
#define WORKER_PUSHES 64	      /* unanswered ones, at which on_wake waits */
#define WORKER_LEAVE_MS 2000	      /* for the host to close after `bye` */
#define WORKER_REACH_NS 1000000000ull /* without a link, after which that is said */
#define WORKER_LINK_MAX 256

struct worker {
	struct worker *before; /* of an earlier tova_worker_run */
	tova_plugin plugin;    /* fields that its version does not know are zero */
	const tova_worker_options *options;
	struct settings settings;
	struct link link;
	struct task *task; /* in which callbacks run */
	struct task_mount mount;
	struct run *run;   /* of the last event */
	struct run *runs;  /* whose event is settled later */
	bool may_go_on;	   /* one of those */
	struct batch_reader in;
	struct pending pending;
	struct batch out;
	struct buffer message; /* being sent; kept for its memory */
	struct pollfd fds[3];  /* the link's, the eventfd, the signals */
	struct pulse pulse;
	pthread_mutex_t lock; /* of ended, and of what becomes of link_id */
	struct task *ended, **ended_end;
	atomic_bool woken;
	char link_id[WORKER_LINK_MAX]; /* empty: there is none */
	unsigned greeted;	       /* the pipe on which hello was said */
	unsigned links;
	uint64_t reach_by;     /* when it is said that there is no host */
	uint64_t leaves_since; /* when it was told to, or has begun to; 0: it stays */
	uint64_t sequence;     /* of callbacks that are no event of the host */
	size_t n_deferred;
	/* a host has started it, and is to start another when this one has no link */
	bool supervised;
	bool missed; /* it was said that there is no host */
	/* draining: no more events come; leaving: none are taken. What was begun is settled */
	bool draining, leaving;
	bool stopping; /* nothing is */
	int failed;    /* the exit code of a failure */
};

const tova_plugin *worker_plugin(const struct worker *w)
{
	return &w->plugin;
}

struct task_mount *worker_mount_data(struct worker *w)
{
	return &w->mount;
}

unsigned worker_link(const struct worker *w)
{
	return w->link_id[0] != '\0' ? w->links : 0;
}

const char *worker_setting(const struct worker *w, const char *key)
{
	return settings_get(&w->settings, &w->plugin, key);
}

struct pending *worker_pending(struct worker *w)
{
	return &w->pending;
}

static void worker_nudge(struct worker *w)
{
	const uint64_t one = 1;
	ssize_t written = write(w->fds[1].fd, &one, sizeof one);
	(void)written; /* full means that it is readable already */
}

void worker_wake(struct worker *w)
{
	atomic_store(&w->woken, true);
	worker_nudge(w);
}

static uint64_t worker_now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void worker_fail(struct worker *w, const char *why)
{
	say(TOVA_LOG_ERROR, "%s", why);
	w->failed = 1;
}

/* --- sending ---------------------------------------------------------------------------------- */

/* Where things are said now; NULL while there is no link. */
static struct batch *worker_out(struct worker *w)
{
	return w->link_id[0] != '\0' ? &w->out : NULL;
}

static void worker_send(struct worker *w, const char *link)
{
	buffer_clear(&w->message);
	batch_write(&w->out, link, &w->message);
	batch_clear(&w->out);
	if (w->message.failed)
		worker_fail(w, "no memory: what was under way is left to another worker");
	else
		link_send(&w->link, &w->message); /* a link that broke meanwhile is noticed below */
}

static void worker_flush(struct worker *w)
{
	if (!batch_is_empty(&w->out) && w->link_id[0] != '\0')
		worker_send(w, w->link_id);
}

static void worker_on_full(void *ctx)
{
	worker_flush(ctx);
}

static void worker_say(struct worker *w, const char *object)
{
	if (worker_out(w) != NULL)
		batch_add(&w->out, object, strlen(object), NULL, 0);
}

static const char *worker_option(const char *given, const char *name)
{
	return given != NULL ? given : getenv(name);
}

static void worker_member(struct buffer *b, const char *key, const char *value)
{
	if (value == NULL || value[0] == '\0')
		return;
	buffer_addf(b, ",\"%s\":", key);
	buffer_add_json(b, value, strlen(value));
}

static void worker_hello(struct worker *w)
{
	const tova_worker_options *o = w->options;
	struct buffer b = {0};
	char name[256];
	snprintf(name, sizeof name, "%s %s (%d)", w->plugin.name, w->plugin.version, (int)getpid());
	buffer_addf(&b, "{\"t\":\"hello\",\"v\":1");
	worker_member(&b, "token", worker_option(o->token, "TOVA_TOKEN"));
	worker_member(&b, "mount", worker_option(o->mount, "TOVA_MOUNT"));
	worker_member(&b, "name", o->name != NULL ? o->name : name);
	buffer_addf(&b, ",\"events\":[");
	event_write_wants(&w->plugin, &b);
	buffer_addf(&b, "],\"runs\":%d,\"claims\":true", RUN_MAX);
	if ((w->plugin.flags & TOVA_ROOM_STATE) != 0)
		buffer_addf(&b, ",\"room_state\":true");
	if (w->plugin.mount_size > 0)
		buffer_addf(&b, ",\"mount_size\":%u", w->plugin.mount_size);
	buffer_addf(&b, "}");
	batch_clear(&w->out); /* acknowledgements of a link that is gone mean nothing */
	batch_add(&w->out, b.p, b.n, NULL, 0);
	w->out.text.failed |= b.failed;
	worker_send(w, NULL);
	buffer_free(&b);
}

static void worker_set_link(struct worker *w, const char *link)
{
	pthread_mutex_lock(&w->lock);
	snprintf(w->link_id, sizeof w->link_id, "%s", link);
	pthread_mutex_unlock(&w->lock);
}

/* In the thread that answers for this one while a callback takes its time. */
static void worker_pulse(void *ctx)
{
	struct worker *w = ctx;
	char text[WORKER_LINK_MAX + 32], id[WORKER_LINK_MAX];
	pthread_mutex_lock(&w->lock);
	memcpy(id, w->link_id, sizeof id);
	pthread_mutex_unlock(&w->lock);
	if (id[0] == '\0' || strpbrk(id, "\"\\") != NULL)
		return;
	int n = snprintf(text, sizeof text, "[{\"t\":\"pong\",\"link\":\"%s\"}]", id);
	link_pulse(&w->link, text, (size_t)n);
}

/* Pipes come and go; what the last one brought may still wait to be read. */
static void worker_look_at_link(struct worker *w)
{
	unsigned pipe;
	link_tend(&w->link);
	bool up = link_is_up(&w->link, &pipe);
	if (w->link_id[0] != '\0' && (!up || pipe != w->greeted)) {
		worker_set_link(w, "");
		batch_clear(&w->out);
		w->reach_by = worker_now_ns() + WORKER_REACH_NS;
		say(TOVA_LOG_WARN, "the connection to the host ended");
		if (w->supervised)
			worker_fail(w, "the host is gone");
	}
	if (up && pipe != w->greeted && !w->stopping) {
		w->greeted = pipe;
		w->missed = false;
		worker_hello(w);
	}
}

/* The link dials on and on and does not say why it fails; somebody may want to know that it
 * does. */
static void worker_miss_host(struct worker *w)
{
	unsigned pipe;
	if (w->link_id[0] != '\0' || w->missed || worker_now_ns() < w->reach_by)
		return;
	if (link_is_up(&w->link, &pipe)) {
		w->reach_by = worker_now_ns() + WORKER_REACH_NS;
		return;
	}
	w->missed = true;
	say(TOVA_LOG_WARN, "can not reach the host at %s",
	    worker_option(w->options->url, "TOVA_URL"));
}

/* --- callbacks -------------------------------------------------------------------------------- */

/* What was asked is asked behind what was commanded, so that the answer knows of it. */
static void worker_ask(struct worker *w, struct task *t)
{
	for (struct query *q; (q = t->queries) != NULL;) {
		t->queries = q->next;
		pending_query(&w->pending, q, worker_out(w));
	}
}

/* Of an event, here or of a link that is gone. Returns whether it was acknowledged. */
static bool worker_settle(struct worker *w, struct task *t, const char *failure)
{
	/* it is delivered again */
	if (t->link != worker_link(w))
		return false;
	if (failure != NULL)
		task_refuse(t, failure, &w->out);
	else if (task_acknowledge(t, &w->out))
		worker_ask(w, t);
	else
		failure = "refused";
	return failure == NULL;
}

/* In one line, as the host tells the last one of a process that has ended. */
static void worker_say_failure(const char *callback, const char *failure)
{
	char line[1024];
	size_t n = 0;
	for (; *failure != '\0' && n + 3 < sizeof line; failure++) {
		if (*failure == '\n')
			line[n++] = ';';
		line[n++] = *failure == '\n' ? ' ' : *failure;
	}
	say(TOVA_LOG_WARN, "%s failed: %.*s", callback, (int)n, line);
}

/* Of a callback that answers no event: its commands are a push. False: it failed, which is
 * logged. */
static bool worker_settle_push(struct worker *w, struct task *t, int result, const char *callback,
			       bool lasting)
{
	const char *failure = task_failure(t, result);
	struct push *push = NULL;
	if (failure == NULL && t->commands.text.n > 0) {
		push = pending_make_push(&w->pending, &t->commands.text, &t->commands.binary);
		failure = push == NULL ? "the host does not keep up" : NULL;
	}
	if (failure != NULL) {
		worker_say_failure(callback, failure);
		return false;
	}
	if (push != NULL) {
		push->lasting = lasting;
		pending_push(&w->pending, push, worker_out(w));
	}
	worker_ask(w, t);
	return true;
}

/* An event that was settled later: what follows it may be handled, but not within the callback that
 * may be running. */
static void worker_end_run(struct worker *w, const struct task *t, bool done)
{
	struct run *r = w->run;
	if (r == NULL || r->link != t->link || r->s != t->s)
		for (r = w->runs; r != NULL && (r->link != t->link || r->s != t->s); r = r->next)
			;
	if (r == NULL)
		return;
	run_end(r, t, done);
	w->may_go_on = true;
}

/* A task that has ended brings an acknowledgement or a push; frees it. */
static void worker_take(struct worker *w, struct task *t)
{
	if (t->is_event) {
		w->n_deferred--;
		worker_end_run(w, t,
			       worker_settle(w, t,
					     task_failure(t, t->aborted || t->retry ? -1 : 0)));
	} else {
		if (t->push != NULL)
			pending_push(&w->pending, t->push, worker_out(w));
		worker_ask(w, t);
	}
	task_free(t);
}

void worker_submit(struct worker *w, struct task *t)
{
	if (pthread_equal(pthread_self(), w->task->thread)) {
		worker_take(w, t);
		return;
	}
	t->next = NULL;
	pthread_mutex_lock(&w->lock);
	*w->ended_end = t;
	w->ended_end = &t->next;
	pthread_mutex_unlock(&w->lock);
	worker_nudge(w);
}

static void worker_begin(struct worker *w, enum task_phase phase)
{
	task_begin(w->task, phase);
	w->task->event.sequence = ++w->sequence;
}

/* --- events ----------------------------------------------------------------------------------- */

/* The run of an event that follows none. One that is settled later keeps its own. */
static struct run *worker_new_run(struct worker *w)
{
	if (w->run == NULL || w->run->listed)
		w->run = calloc(1, sizeof *w->run);
	if (w->run == NULL)
		worker_fail(w, "no memory for an event: it is left to another worker");
	return w->run;
}

/* Behind the callback. */
static void worker_end_event(struct worker *w, struct run *r, int result)
{
	struct task *t = w->task;
	if (!t->deferred) {
		run_end(r, t, worker_settle(w, t, task_failure(t, result)));
	} else {
		w->n_deferred++; /* from here on: it may have been ended already */
		if (!r->listed) {
			r->listed = true;
			r->next = w->runs;
			w->runs = r;
		}
	}
	task_clear(t);
}

static void worker_message(struct worker *w, struct run *r, const struct task_facts *facts,
			   bool binary, void *bytes, size_t n)
{
	struct task *t = w->task;
	task_begin_event(t, TASK_COMMANDS, facts);
	run_begin(r, t);
	int result =
		task_bring_data_over(t) ? event_call_message(t, &w->plugin, binary, bytes, n) : -1;
	worker_end_event(w, r, result);
}

static void worker_read_who(const struct batch_object *o, struct who *who_r)
{
	who_r->text[WHO_SUBJECT] = (char *)batch_text(&o->subject).p;
	who_r->text[WHO_USER] = (char *)batch_text(&o->user).p;
	who_r->text[WHO_INFO] = (char *)batch_text(&o->info).p;
	if (o->claims.p != NULL) {
		who_r->text[WHO_CLAIMS] = (char *)o->claims.p;
		who_r->text[WHO_CLAIMS][o->claims.n] = '\0'; /* as batch_text does */
	}
	who_r->text[WHO_TRACEPARENT] = (char *)batch_text(&o->traceparent).p;
	who_r->text[WHO_TRACESTATE] = (char *)batch_text(&o->tracestate).p;
	for (int i = 0; i < WHO_TEXTS; i++)
		who_r->has[i] = who_r->text[i] != NULL;
}

static void worker_read_room(struct worker *w, const struct batch_object *o, tova_room_state *room_r)
{
	struct batch_bytes name = batch_text(&o->room), kept = batch_text(&o->room_state);
	if (kept.p == NULL)
		kept = batch_room_state_bin(&w->in, o);
	*room_r = (tova_room_state){.size = sizeof *room_r,
				    .room = (const char *)name.p,
				    .data = kept.n > 0 ? (const void *)kept.p : "",
				    .len = kept.n,
				    .version = o->room_version};
}

/* The host tells what it has where that is something else than this process has made of it. */
static void worker_read_mount(struct worker *w, const struct batch_object *o)
{
	struct batch_bytes kept = batch_mount_state_bin(&w->in, o);
	if (o->mount_version == 0 || w->mount.size == 0)
		return;
	memset(w->mount.bytes, 0, w->mount.size); /* of another size it was another plugin's */
	if (kept.n == w->mount.size)
		memcpy(w->mount.bytes, kept.p, kept.n);
	w->mount.version = o->mount_version;
}

static bool worker_read_facts(struct worker *w, const struct batch_object *o,
			      struct task_facts *facts_r)
{
	struct batch_bytes conn = batch_text(&o->conn), state = batch_text(&o->state);
	if (state.p == NULL)
		state = batch_state_bin(&w->in, o);
	*facts_r = (struct task_facts){.s = o->s,
				       .seq = o->seq,
				       .attempt = (uint32_t)o->attempt,
				       .has_ws = conn.p != NULL,
				       .state = state.p,
				       .state_len = state.n};
	worker_read_who(o, &facts_r->who);
	if (o->room.p != NULL && o->room_version != BATCH_NO_VERSION)
		worker_read_room(w, o, &facts_r->room);
	worker_read_mount(w, o);
	struct span id = {(const char *)conn.p, conn.n};
	return o->s > 0 && (conn.p == NULL || id_parse(id, &facts_r->ws.hi, &facts_r->ws.lo));
}

/* It follows the event before it: that may have failed, or be settled later. */
static bool worker_on_follower(struct worker *w, const struct batch_object *o, bool binary,
			       struct batch_bytes bytes)
{
	struct run *r = w->run;
	if (r == NULL || r->link != worker_link(w) || o->s == 0)
		return false;
	/* it comes again */
	if (r->outcome == RUN_FAILED)
		return true;
	if (r->outcome == RUN_UNDER_WAY || r->waiting != NULL) {
		if (!run_wait(r, binary, bytes.p, bytes.n))
			worker_fail(w, "no memory for a message: it is left to another worker");
		return true;
	}
	struct task_facts facts = run_next(r);
	if (facts.s != o->s)
		return false;
	worker_message(w, r, &facts, binary, bytes.p, bytes.n);
	return true;
}

static bool worker_on_message_event(struct worker *w, const struct batch_object *o)
{
	struct batch_bytes bytes = batch_bin(&w->in, o);
	struct task_facts facts;
	bool binary = bytes.p != NULL;
	if (!binary)
		bytes = batch_text(&o->data);
	if (bytes.p == NULL)
		return false;
	if (o->run > 1)
		return worker_on_follower(w, o, binary, bytes);
	if (!worker_read_facts(w, o, &facts))
		return false;
	struct run *r = worker_new_run(w);
	if (r != NULL)
		worker_message(w, r, &facts, binary, bytes.p, bytes.n);
	return true;
}

static bool worker_on_other_event(struct worker *w, const struct batch_object *o, json_t *json)
{
	enum task_phase phase = json_is(&o->t, "upgrade") ? TASK_UPGRADE : TASK_COMMANDS;
	struct task *t = w->task;
	struct task_facts facts;
	struct run *r;
	if (!worker_read_facts(w, o, &facts))
		return false;
	if ((r = worker_new_run(w)) == NULL)
		return true;
	facts.has_ws = facts.has_ws && phase != TASK_UPGRADE;
	facts.is_close = json_is(&o->t, "close");
	facts.json = json_incref(json);
	task_begin_event(t, phase, &facts);
	run_begin(r, t);
	worker_end_event(w, r, task_bring_data_over(t) ? event_call(t, &w->plugin) : -1);
	return true;
}

/* What waited behind an event that was settled later. */
static void worker_go_on(struct worker *w, struct run *r)
{
	struct run_message *message;
	if (r->outcome == RUN_FAILED || r->link != worker_link(w) || w->leaving)
		run_clear(r);
	while (r->outcome == RUN_DONE && (message = run_take(r)) != NULL) {
		struct task_facts facts = run_next(r);
		worker_message(w, r, &facts, message->binary, message->bytes, message->n);
		free(message);
	}
}

static void worker_go_on_all(struct worker *w)
{
	struct run *r, **at;
	while (w->may_go_on && w->failed == 0 && !w->stopping) {
		w->may_go_on = false;
		for (at = &w->runs; (r = *at) != NULL;) {
			worker_go_on(w, r);
			if (r->outcome == RUN_UNDER_WAY) {
				at = &r->next;
				continue;
			}
			*at = r->next;
			r->listed = false;
			if (r != w->run)
				run_free(r);
		}
	}
}

static void worker_on_reply(struct worker *w, json_t *object)
{
	struct query *query = pending_reply(&w->pending, object);
	const char *error = json_string_value(json_object_get(object, "error"));
	if (query == NULL)
		return;
	bool paged = query->kind == TOVA_QUERY_MEMBERS || query->kind == TOVA_QUERY_USERS;
	if (error == NULL && paged && !pending_add_page(query, object)) {
		pending_query(&w->pending, query, worker_out(w));
		return;
	}
	if (error != NULL) {
		say(TOVA_LOG_WARN, "a query was refused: %s", error);
	} else {
		worker_begin(w, TASK_COMMANDS);
		w->task->callback = "on_reply";
		int result = reply_deliver(w->task, &w->plugin, query, object);
		w->task->callback = NULL;
		worker_settle_push(w, w->task, result, "on_reply", false);
		task_clear(w->task);
	}
	pending_free_query(query);
}

static void worker_on_woken(struct worker *w)
{
	if (w->plugin.on_wake == NULL || w->stopping || w->link_id[0] == '\0' ||
	    w->pending.n_pushes >= WORKER_PUSHES || !atomic_exchange(&w->woken, false))
		return;
	worker_begin(w, TASK_COMMANDS);
	w->task->callback = "on_wake";
	int result = w->plugin.on_wake(&w->task->api);
	w->task->callback = NULL;
	worker_settle_push(w, w->task, result, "on_wake", false);
	task_clear(w->task);
}

/* --- what the host says ----------------------------------------------------------------------- */

static void worker_on_welcome(struct worker *w, json_t *object)
{
	const char *link = json_string_value(json_object_get(object, "link"));
	const char *host = json_string_value(json_object_get(object, "host"));
	if (link == NULL || strlen(link) >= sizeof w->link_id || link[0] == '\0') {
		worker_fail(w, "the host's welcome names no link");
		return;
	}
	worker_set_link(w, link);
	w->links++;
	say(TOVA_LOG_DEBUG, "linked to tova-host %s", host != NULL ? host : "");
	pending_repeat(&w->pending, &w->out);
}

static void worker_on_bye(struct worker *w, json_t *object)
{
	const char *error = json_string_value(json_object_get(object, "error"));
	w->stopping = true;
	/* A process that is being ended is known no more when it says hello. */
	if (error != NULL && !w->leaving) {
		say(TOVA_LOG_ERROR, "the host ends the link: %s", error);
		w->failed = 1;
	}
}

static void worker_on_done(struct worker *w, json_t *object)
{
	const char *error;
	pending_done(&w->pending, object, worker_out(w), &error);
	if (error != NULL)
		say(TOVA_LOG_WARN, "the host refused commands that answer no event: %s", error);
}

static void worker_on_json(struct worker *w, const struct batch_object *o, json_t *json)
{
	if (json_is(&o->t, "welcome"))
		worker_on_welcome(w, json);
	else if (json_is(&o->t, "bye"))
		worker_on_bye(w, json);
	else if (w->link_id[0] == '\0')
		return; /* left over from a link that is gone */
	else if (event_is(json_string_value(json_object_get(json, "t"))) && !w->leaving &&
		 !worker_on_other_event(w, o, json))
		worker_fail(w, "the host sent an event that makes no sense");
	else if (json_is(&o->t, "reply"))
		worker_on_reply(w, json);
	else if (json_is(&o->t, "done"))
		worker_on_done(w, json);
}

static void worker_on_object(struct worker *w, const struct batch_object *o)
{
	if (o->t.p == NULL) {
		worker_fail(w, "the host sent something that has no type");
	} else if (json_is(&o->t, "message")) {
		if (w->link_id[0] != '\0' && !w->leaving && !worker_on_message_event(w, o))
			worker_fail(w, "the host sent a message that makes no sense");
	} else if (json_is(&o->t, "ping")) {
		worker_say(w, "{\"t\":\"pong\"}");
	} else if (json_is(&o->t, "drain")) {
		w->draining = w->draining || w->link_id[0] != '\0';
	} else {
		json_t *json = batch_json(o);
		if (json == NULL)
			worker_fail(w, "a message of the host can not be read");
		else
			worker_on_json(w, o, json);
		json_decref(json);
	}
}

static void worker_on_message(struct worker *w, const struct link_message *message)
{
	const char *why;
	const struct batch_object *o;
	if (!batch_read(&w->in, message->bytes, message->len, &why)) {
		say(TOVA_LOG_ERROR, "a message of the host can not be read: %s", why);
		w->failed = 1;
		return;
	}
	uint64_t since = worker_now_ns();
	while (w->failed == 0 && !w->stopping && (o = batch_next(&w->in)) != NULL) {
		worker_on_object(w, o);
		if (w->may_go_on)
			worker_go_on_all(w);
		if (worker_now_ns() - since < WORKER_LATE_NS)
			continue;
		worker_flush(w);
		since = worker_now_ns();
	}
}

/* --- the loop --------------------------------------------------------------------------------- */

static void worker_receive(struct worker *w)
{
	struct link_message message;
	for (int n = 0;
	     n < WORKER_TURN && w->failed == 0 && !w->stopping && link_receive(&w->link, &message);
	     n++) {
		worker_on_message(w, &message);
		link_release(&message);
		worker_flush(w);
	}
	if (w->link.lost)
		worker_fail(
			w,
			"no memory for a message of the host: what it brought is left to another worker");
}

static void worker_take_ended(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	struct task *t = w->ended;
	w->ended = NULL;
	w->ended_end = &w->ended;
	pthread_mutex_unlock(&w->lock);
	while (t != NULL) {
		struct task *next = t->next;
		worker_take(w, t);
		t = next;
	}
}

static void worker_take_signal(struct worker *w)
{
	struct signalfd_siginfo info;
	if (read(w->fds[2].fd, &info, sizeof info) != sizeof info)
		return;
	/* from the terminal, for the host */
	if (info.ssi_signo == SIGINT && w->supervised)
		return;
	/* told twice */
	if (w->leaving)
		_exit(1);
	w->leaving = true;
	w->leaves_since = worker_now_ns();
}

/* Of the link: for as long as it takes, but for who leaves. */
static bool worker_patience(void *ctx, int fd, uint64_t since)
{
	struct worker *w = ctx;
	struct pollfd fds[2] = {{.fd = fd, .events = POLLOUT},
				{.fd = w->fds[2].fd, .events = POLLIN}};
	uint64_t from = since > w->leaves_since ? since : w->leaves_since,
		 until = from + WORKER_LEAVE_MS * 1000000ull;
	uint64_t now = worker_now_ns();
	if (w->leaves_since != 0 && now >= until)
		return false;
	poll(fds, 2, fd < 0 ? 0 : w->leaves_since != 0 ? (int)((until - now) / 1000000) + 1 : -1);
	if (fds[1].revents != 0)
		worker_take_signal(w);
	return true;
}

/* Deferred events are settled before the worker leaves. */
static bool worker_goes_on(const struct worker *w)
{
	bool ends = w->draining || w->leaving;
	return w->failed == 0 && !w->stopping &&
	       (!ends || (w->n_deferred > 0 && w->link_id[0] != '\0'));
}

/* Whichever is sooner; -1: never. */
static int worker_sooner(int a, int b)
{
	return a < 0 || (b >= 0 && b < a) ? b : a;
}

static void worker_wait(struct worker *w, int timeout_ms)
{
	uint64_t count;
	w->fds[0] = (struct pollfd){.fd = link_fd(&w->link), .events = POLLIN};
	pulse_set_busy(&w->pulse, false);
	int ready = poll(w->fds, 3, worker_sooner(timeout_ms, link_wait_ms(&w->link)));
	pulse_set_busy(&w->pulse, true);
	if (ready <= 0)
		return;
	/* Emptied before anything is looked at, so that what happens from here on wakes again. */
	if (w->fds[1].revents != 0 && read(w->fds[1].fd, &count, sizeof count) < 0)
		return;
	if (w->fds[2].revents != 0)
		worker_take_signal(w);
}

/* How long until the host is missed. */
static int worker_reach_ms(const struct worker *w)
{
	uint64_t now = worker_now_ns();
	if (w->link_id[0] != '\0' || w->missed)
		return -1;
	return w->reach_by > now ? (int)((w->reach_by - now) / 1000000) + 1 : 0;
}

static void worker_loop(struct worker *w)
{
	while (worker_goes_on(w)) {
		worker_wait(w, worker_reach_ms(w));
		worker_look_at_link(w);
		worker_miss_host(w);
		worker_receive(w);
		worker_look_at_link(w); /* it may have come to its end in there */
		worker_take_ended(w);
		worker_go_on_all(w);
		worker_on_woken(w);
		worker_flush(w);
	}
}

/* The host reads what was sent before it closes; to close here would cut that off. */
static void worker_leave(struct worker *w)
{
	unsigned pipe;
	uint64_t until = worker_now_ns() + WORKER_LEAVE_MS * 1000000ull, now;
	w->leaves_since = w->leaves_since != 0 ? w->leaves_since : worker_now_ns();
	worker_say(w, "{\"t\":\"bye\"}");
	worker_flush(w);
	w->stopping = true;
	while (link_is_up(&w->link, &pipe) && pipe == w->greeted &&
	       (now = worker_now_ns()) < until) {
		struct link_message message;
		worker_wait(w, (int)((until - now) / 1000000) + 1);
		while (link_receive(&w->link, &message))
			link_release(&message);
	}
}

/* --- start and stop --------------------------------------------------------------------------- */

static bool worker_start_plugin(struct worker *w)
{
	if (w->plugin.start == NULL)
		return true;
	task_begin(w->task, TASK_COMMANDS);
	w->task->callback = "start";
	int result = w->plugin.start(&w->task->api);
	w->task->callback = NULL;
	bool ok = worker_settle_push(w, w->task, result, "start", true);
	task_clear(w->task);
	return ok;
}

static void worker_stop_plugin(struct worker *w)
{
	if (w->plugin.stop == NULL)
		return;
	task_begin(w->task, TASK_SILENT);
	w->task->callback = "stop";
	w->plugin.stop(&w->task->api);
	task_clear(w->task);
}

/* [signal handler] One line, as say() writes them, by write(2) alone. */
static void worker_on_crash(void *ctx, const char *signal, bool own)
{
	const struct worker *w = ctx;
	const struct task *t = w->task;
	const char *callback = own ? t->callback : NULL;
	char id[TOVA_WS_TEXT] = "", seq[20], *at = seq + sizeof seq;
	size_t n_seq = 0;
	if (callback != NULL && t->is_event) {
		if (!tova_ws_eq(t->event.ws, TOVA_NONE)) /* else it is one of the mount */
			id_text(t->event.ws.hi, t->event.ws.lo, id);
		uint64_t rest = t->event.sequence;
		do
			*--at = (char)('0' + rest % 10);
		while ((rest /= 10) > 0);
		n_seq = (size_t)(seq + sizeof seq - at);
	}
	const struct span parts[] = {
		SPAN("<3>the worker crashes: signal="),
		span_of(signal),
		SPAN(" plugin="),
		span_of(w->plugin.name),
		SPAN(" version="),
		span_of(w->plugin.version),
		callback != NULL ? SPAN(" callback=") : SPAN(""),
		span_of(callback != NULL ? callback : ""),
		*id != '\0' ? SPAN(" conn=") : SPAN(""),
		span_of(id),
		n_seq > 0 ? SPAN(" seq=") : SPAN(""),
		{at, n_seq},
		SPAN("\n"),
	};
	say_parts(parts, sizeof parts / sizeof *parts);
	w->options->on_crash(w->options->on_crash_ctx);
}

static bool worker_init(struct worker *w, const tova_worker_options *options)
{
	sigset_t set;
	const char *supervised = getenv("TOVA_SUPERVISED");
	w->options = options;
	w->supervised = supervised != NULL && strcmp(supervised, "1") == 0;
	w->out.full = worker_on_full;
	w->out.ctx = w;
	w->ended_end = &w->ended;
	w->task = calloc(1, sizeof *w->task);
	if (w->task == NULL || !pending_init(&w->pending) ||
	    pthread_mutex_init(&w->lock, NULL) != 0)
		return false;
	w->task->api.host = &task_host;
	w->task->worker = w;
	w->task->thread = pthread_self();
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0)
		return false;
	w->fds[1] = (struct pollfd){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .events = POLLIN};
	w->fds[2] = (struct pollfd){.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK),
				    .events = POLLIN};
	return w->fds[1].fd >= 0 && w->fds[2].fd >= 0;
}

/* SSL_CERT_FILE is what OpenSSL calls it. */
static const char *worker_ca_file(const tova_worker_options *o)
{
	const char *file = worker_option(o->ca_file, "TOVA_CA_FILE");
	return file != NULL ? file : getenv("SSL_CERT_FILE");
}

static int worker_run(struct worker *w)
{
	char why[512];
	const tova_worker_options *o = w->options;
	const struct link_tls tls = {worker_ca_file(o),
				     worker_option(o->cert_file, "TOVA_CERT_FILE")};
	const char *url = worker_option(o->url, "TOVA_URL");
	if (url == NULL) {
		say(TOVA_LOG_ERROR, "there is no TOVA_URL: whom should this worker work for?");
		return 2;
	}
	if (!worker_start_plugin(w))
		return 1;
	w->link.patience = worker_patience;
	w->link.ctx = w;
	if (!link_open(&w->link, url, &tls, w->fds[1].fd, why, sizeof why)) {
		say(TOVA_LOG_ERROR, "%s", why);
		worker_stop_plugin(w);
		return 2;
	}
	w->reach_by = worker_now_ns() + WORKER_REACH_NS;
	if (!pulse_start(&w->pulse, worker_pulse, w))
		say(TOVA_LOG_WARN, "no thread to answer pings while a callback takes its time");
	worker_loop(w);
	worker_flush(w);
	worker_stop_plugin(w);
	worker_leave(w);
	pulse_end(&w->pulse);
	return w->failed;
}

int tova_worker_run(const tova_plugin *plugin, const tova_worker_options *options)
{
	static const tova_worker_options none = {.size = sizeof none};
	const tova_worker_options *o = options != NULL ? options : &none;
	char why[1024];
	if (plugin->abi_major != TOVA_ABI_MAJOR || plugin->abi_minor > TOVA_ABI_MINOR ||
	    plugin->data_size > RULES_DATA_MAX ||
	    (plugin->size >= sizeof *plugin && plugin->mount_size > RULES_ROOM_STATE_MAX)) {
		say(TOVA_LOG_ERROR,
		    "%s: it needs another version of the worker library, or more than %d bytes for each connection, or %d for its mount",
		    plugin->name, RULES_DATA_MAX, RULES_ROOM_STATE_MAX);
		return 2;
	}
	/* Never freed: nng's threads, and those of a handler that did not join them, may outlive
	 * this call. So that leak checkers do not take it for lost, it is kept where they look. */
	static struct worker *_Atomic kept;
	struct worker *w = calloc(1, sizeof *w);
	if (w != NULL)
		w->before = atomic_exchange(&kept, w);
	if (w == NULL || !worker_init(w, o)) {
		say(TOVA_LOG_ERROR, "the worker can not be set up: %s", strerror(errno));
		return 1;
	}
	memcpy(&w->plugin, plugin,
	       plugin->size < sizeof w->plugin ? plugin->size : sizeof w->plugin);
	w->mount.size = w->plugin.mount_size;
	w->mount.bytes = calloc(1, w->mount.size + 1);
	if (w->mount.bytes == NULL) {
		say(TOVA_LOG_ERROR, "no memory for what is kept for the mount");
		return 1;
	}
	if (!settings_read(&w->settings, &w->plugin, o->settings, o->n_settings, why, sizeof why)) {
		say(TOVA_LOG_ERROR, "%s", why);
		return 2;
	}
	bool last_words =
		o->size >= offsetof(tova_worker_options, on_crash_ctx) + sizeof o->on_crash_ctx &&
		o->on_crash != NULL;
	if (last_words)
		crash_watch(worker_on_crash, w);
	int code = worker_run(w);
	if (last_words)
		crash_unwatch();
	return code;
}
