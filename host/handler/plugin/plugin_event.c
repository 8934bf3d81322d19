/* One callback, and which event is told by which. */
#include <stdlib.h>

#include "handler/plugin/plugin_instance.h"
#include "hub/delivery.h"
#include "ws/request.h"

/* --- one callback ----------------------------------------------------------------------------- */

/* callbacks: then a look at the clock, and one at the end of each turn */
#define PLUGIN_LOOK_EVERY 16

void plugin_begin(struct plugin *p, enum plugin_phase phase, const struct hub_event *e,
		  struct commit *c)
{
	p->phase = phase;
	p->event = e;
	p->commit = c;
	p->data_used = p->mount_used = false;
	p->fail_len = 0;
	/* makes sure that the turn's time is known: plugin_look counts from it */
	loop_now(p->base.mount->hub->loop);
}

void plugin_idle(struct plugin *p)
{
	p->phase = PLUGIN_IDLE;
	if (p->scratch.first != NULL)
		scratch_clear(&p->scratch);
}

/* How long did the callbacks take since the last look, or since the turn began? A clock for each
 * would cost more than short ones do. */
static void plugin_look(struct plugin *p)
{
	struct hub *hub = p->base.mount->hub;
	uint64_t began = loop_now(hub->loop), now = loop_clock();
	if (p->stamp > began)
		began = p->stamp;
	if (now - began >= p->slow_ms && now > began)
		LOG(hub->log, LOG_WARN, LOG_PLUGIN_SLOW,
		    "a callback took long; nothing else happened meanwhile",
		    LOG_STR("mount", p->base.mount->path),
		    LOG_STR("plugin", p->now->lib.plugin.name),
		    LOG_STR("callback", event_name(p->last)), LOG_U64("callbacks", p->calls),
		    LOG_U64("ms", now - began));
	p->stamp = now;
	p->calls = 0;
}

void plugin_on_turn(void *arg)
{
	struct plugin *p = arg;
	CHECK_IS(p, CHECK_PLUGIN);
	if (p->calls > 0)
		plugin_look(p);
}

static void plugin_end(struct plugin *p, enum event_kind what)
{
	plugin_idle(p);
	p->last = what;
	if (++p->calls == PLUGIN_LOOK_EVERY)
		plugin_look(p);
}

/* --- events ----------------------------------------------------------------------------------- */

static int plugin_on_request(struct plugin *p, const struct hub_event *e)
{
	const tova_plugin *t = &p->now->lib.plugin;
	struct plugin_request request;
	if (!plugin_request_build(&request, e->request)) {
		static const char text[] = "no memory for the request";
		return plugin_host.fail(&p->now->api, text, sizeof text - 1);
	}
	int result;
	if (e->kind == EVENT_UPGRADE)
		result = t->on_upgrade(&p->now->api, &request.request);
	else
		result = (e->kind == EVENT_OPEN
				  ? t->on_open
				  : t->on_back)(&p->now->api,
						plugin_ws(p->base.mount->hub, e->session),
						&request.request);
	plugin_request_free(&request);
	return result;
}

/* One that waited: its head is read again. */
static __attribute__((noinline)) int plugin_on_request_again(struct plugin *p,
							     const struct hub_event *e)
{
	struct request again;
	struct event_request facts = *e->request;
	struct hub_event whole = *e;
	if (!request_parse_kept(&again, facts.head)) {
		static const char text[] = "its request can not be read again";
		return plugin_host.fail(&p->now->api, text, sizeof text - 1);
	}
	facts.request = &again;
	whole.request = &facts;
	return plugin_on_request(p, &whole);
}

static int plugin_on_message(struct plugin *p, const struct hub_event *e)
{
	tova_payload message = {
		.size = sizeof message,
		.data = e->message.bytes,
		.len = e->message.len,
		.kind = e->message.binary ? TOVA_BINARY : TOVA_TEXT,
	};
	if (!e->message.binary)
		p->commit->checked = (struct span){message.data, message.len};
	uint8_t *end = e->message.bytes + e->message.len, behind = *end;
	*end = '\0'; /* so that text is a C string */
	int result =
		p->now->lib.plugin.on_message(&p->now->api,
					      plugin_ws(p->base.mount->hub, e->session), &message);
	*end = behind;
	return result;
}

static int plugin_on_close(struct plugin *p, const struct hub_event *e)
{
	const struct room_memberships *left = e->close.rooms;
	uint32_t n = room_count(left);
	const char **rooms = n > 0 ? malloc(n * sizeof *rooms) : NULL;
	tova_close why = {
		.size = sizeof why,
		.code = e->close.code,
		.reason = e->close.reason.n > 0 ? e->close.reason.p : "",
		.reason_len = e->close.reason.n,
		.rooms = rooms,
		.n_rooms = rooms != NULL ? n : 0,
	};
	for (size_t i = 0; i < why.n_rooms; i++)
		rooms[i] = room_name(left, (uint32_t)i);
	int result = p->now->lib.plugin.on_close(&p->now->api,
						 plugin_ws(p->base.mount->hub, e->session), &why);
	free(rooms);
	return result;
}

static int plugin_on_error(struct plugin *p, const struct hub_event *e)
{
	tova_error error = {
		.size = sizeof error,
		.kind = (uint32_t)e->error.kind,
		.text = e->error.text.n > 0 ? e->error.text.p : "",
		.text_len = e->error.text.n,
	};
	return p->now->lib.plugin.on_error(&p->now->api, plugin_ws(p->base.mount->hub, e->session),
					   &error);
}

static int plugin_on_timer(struct plugin *p, const struct hub_event *e)
{
	tova_timer timer = {
		.size = sizeof timer,
		.ws = plugin_ws(p->base.mount->hub, e->session),
		.name = e->timer.name,
		.id = e->timer.id,
		.delay_ms = e->timer.delay_ms,
		.period_ms = e->timer.period_ms,
	};
	return p->now->lib.plugin.on_timer(&p->now->api, &timer);
}

static int plugin_on_presence(struct plugin *p, const struct hub_event *e)
{
	const struct event_presence *who = e->presence;
	tova_presence presence = {
		.size = sizeof presence,
		.room = event_presence_room(who).p,
		.room_len = who->room_len,
		.user = event_presence_user(who).p,
		.user_len = who->user_len,
		.info = event_presence_info(who).p,
		.info_len = who->info_len,
		.ws = {.hi = who->host, .lo = who->conn},
		.users = who->users,
	};
	const tova_plugin *lib = &p->now->lib.plugin;
	return e->kind == EVENT_JOIN ? lib->on_join(&p->now->api, &presence)
				     : lib->on_leave(&p->now->api, &presence);
}

/* What is rarer than messages, and apart from them, so that they pay for none of it. */
static __attribute__((noinline)) int plugin_call(struct plugin *p, const struct hub_event *e)
{
	switch (e->kind) {
	case EVENT_UPGRADE:
	case EVENT_OPEN:
	case EVENT_BACK:
		return e->request->request != NULL ? plugin_on_request(p, e)
						   : plugin_on_request_again(p, e);
	case EVENT_CLOSE:
		return plugin_on_close(p, e);
	case EVENT_ERROR:
		return plugin_on_error(p, e);
	case EVENT_TIMER:
		return plugin_on_timer(p, e);
	case EVENT_REPLY:
		return plugin_reply(p->now, &e->query);
	case EVENT_WAKE:
		return p->now->lib.plugin.on_wake(&p->now->api);
	case EVENT_AWAY:
		return p->now->lib.plugin.on_away(&p->now->api,
						  plugin_ws(p->base.mount->hub, e->session),
						  e->away.code);
	case EVENT_JOIN:
	case EVENT_LEAVE:
		return plugin_on_presence(p, e);
	case EVENT_MESSAGE:
	case EVENT_KINDS:
		break;
	}
	return 0;
}

static struct span plugin_why(const struct plugin *p, const struct commit *c)
{
	return p->fail_len > 0 ? (struct span){p->fail, p->fail_len}
	       /* it handed on what a command returned */
	       : c->error != COMMIT_OK ? span_of(commit_error_text(c->error))
				       : SPAN("the plugin gave no reason");
}

/* The callback's changes of what it keeps are part of its commit, and as late. */
static void plugin_on_applied(void *ctx, const struct hub_event *e)
{
	struct plugin *p = ctx;
	CHECK_IS(p, CHECK_PLUGIN);
	if (p->mount_used)
		room_state_mount_write(p->base.mount, p->now->mount_data);
	if (!p->data_used)
		return;
	if (e->session != NULL)
		memcpy(e->session->data, p->data, p->base.mount->data_size);
	else if (e->kind == EVENT_UPGRADE)
		e->answer->data = p->data;
}

enum handler_result plugin_deliver(struct handler *h, const struct hub_event *e, struct commit *c,
				   struct span *why_r)
{
	struct plugin *p = (struct plugin *)h;
	plugin_begin(p, e->kind == EVENT_UPGRADE ? PLUGIN_UPGRADE : PLUGIN_COMMANDS, e, c);
	int result = e->kind == EVENT_MESSAGE ? plugin_on_message(p, e) : plugin_call(p, e);
	plugin_end(p, e->kind);
	if (result != 0) {
		*why_r = plugin_why(p, c);
		return HANDLER_FAILED;
	}
	if (p->data_used || p->mount_used) {
		c->applied = plugin_on_applied;
		c->applied_ctx = p;
	}
	return HANDLER_DONE;
}

void plugin_drop_kept(struct plugin *p)
{
	free(p->kept);
	p->kept = NULL;
	p->kept_len = 0;
}

/* What runs while no event is delivered, be it of an instance that no mount has yet. A handler of
 * signals has nothing else to find it by. */
static struct {
	const struct plugin_instance *volatile instance;
	const char *volatile callback;
} plugin_special;

void plugin_special_begin(const struct plugin_instance *i, const char *callback)
{
	plugin_special.callback = callback;
	plugin_special.instance = i;
}

void plugin_special_end(struct plugin *p)
{
	plugin_idle(p);
	plugin_special.instance = NULL;
}

const struct plugin_instance *plugin_special_now(const char **callback_r)
{
	*callback_r = plugin_special.callback;
	return plugin_special.instance;
}
