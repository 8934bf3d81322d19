#include "handler/plugin/plugin.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/digest.h"
#include "handler/plugin/plugin_instance.h"
#include "hub/delivery.h"

/* --- one callback ----------------------------------------------------------------------------- */

/* callbacks: then a look at the clock, and one at the end of each turn */
#define PLUGIN_LOOK_EVERY 16

static void plugin_begin(struct plugin *p, enum plugin_phase phase, const struct hub_event *e,
			 struct commit *c)
{
	p->phase = phase;
	p->event = e;
	p->commit = c;
	p->data_used = false;
	p->fail_len = 0;
	/* makes sure that the turn's time is known: plugin_look counts from it */
	loop_now(p->base.mount->hub->loop);
}

/* Nothing may be called any more. */
static void plugin_idle(struct plugin *p)
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

static void plugin_on_turn(void *arg)
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
		result = (e->kind == EVENT_OPEN ? t->on_open
						: t->on_back)(&p->now->api,
							      plugin_ws(p->base.mount->hub, e->session),
							      &request.request);
	plugin_request_free(&request);
	return result;
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

/* What is rarer than messages, and apart from them, so that they pay for none of it. */
static __attribute__((noinline)) int plugin_call(struct plugin *p, const struct hub_event *e)
{
	switch (e->kind) {
	case EVENT_UPGRADE:
	case EVENT_OPEN:
	case EVENT_BACK:
		return plugin_on_request(p, e);
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

static void plugin_keep_data(struct plugin *p, const struct hub_event *e)
{
	if (e->session != NULL)
		memcpy(e->session->data, p->data, p->base.mount->data_size);
	else if (e->kind == EVENT_UPGRADE)
		e->answer->data = p->data;
}

static enum handler_result plugin_deliver(struct handler *h, const struct hub_event *e,
					  struct commit *c, struct span *why_r)
{
	struct plugin *p = (struct plugin *)h;
	plugin_begin(p, e->kind == EVENT_UPGRADE ? PLUGIN_UPGRADE : PLUGIN_COMMANDS, e, c);
	int result = e->kind == EVENT_MESSAGE ? plugin_on_message(p, e) : plugin_call(p, e);
	plugin_end(p, e->kind);
	if (result != 0) {
		*why_r = plugin_why(p, c);
		return HANDLER_FAILED;
	}
	if (p->data_used && c->error == COMMIT_OK)
		plugin_keep_data(p, e);
	return HANDLER_DONE;
}

static void plugin_drop_kept(struct plugin *p)
{
	free(p->kept);
	p->kept = NULL;
	p->kept_len = 0;
}

/* --- instances -------------------------------------------------------------------------------- */

static void plugin_on_wake(void *arg)
{
	struct plugin_instance *i = arg;
	CHECK_IS(i, CHECK_PLUGIN_INSTANCE);
	struct hub_event e = {.kind = EVENT_WAKE};
	delivery_submit(i->plugin->base.mount, NULL, &e);
}

static void plugin_instance_free(struct plugin_instance *i)
{
	if (i == NULL)
		return;
	loop_waker_remove(&i->waker);
	library_unload(&i->lib);
	for (size_t k = 0; k < i->n_pairs; k++) {
		free(i->pairs[k].key);
		free(i->pairs[k].value);
	}
	free(i->pairs);
	i->magic = CHECK_GONE;
	free(i);
}

static bool plugin_instance_copy_settings(struct plugin_instance *i,
					  const struct settings_pair *pairs, size_t n)
{
	i->pairs = calloc(n + 1, sizeof *i->pairs);
	for (size_t k = 0; i->pairs != NULL && k < n; k++) {
		i->pairs[k] = (struct plugin_pair){strdup(pairs[k].key), strdup(pairs[k].value)};
		i->n_pairs = k + 1;
		if (i->pairs[k].key == NULL || i->pairs[k].value == NULL)
			return false;
	}
	return i->pairs != NULL;
}

/* A setting that the plugin does not know is a mistake that nobody would notice. */
static bool plugin_instance_check_settings(const struct plugin_instance *i, const char **key_r,
					   char *why, size_t cap)
{
	for (size_t k = 0; k < i->n_pairs; k++) {
		if (abi_setting_ok(&i->lib.plugin, i->pairs[k].key, why, cap))
			continue;
		*key_r = i->pairs[k].key;
		return false;
	}
	return true;
}

bool plugin_check(const char *path, const struct settings_pair *pairs, size_t n_pairs,
		  const char **key_r, char *why, size_t why_cap)
{
	struct plugin_instance *i = calloc(1, sizeof *i);
	const char *key = NULL;
	*key_r = NULL;
	bool ok = i != NULL && plugin_instance_copy_settings(i, pairs, n_pairs);
	if (!ok)
		snprintf(why, why_cap, "no memory");
	ok = ok && library_load(&i->lib, path, why, why_cap) &&
	     plugin_instance_check_settings(i, &key, why, why_cap);
	for (size_t k = 0; key != NULL && k < n_pairs; k++)
		if (strcmp(pairs[k].key, key) == 0)
			*key_r = pairs[k].key;
	plugin_instance_free(i);
	return ok;
}

static struct plugin_instance *plugin_instance_new(struct plugin *p, const char *path,
						   const struct settings_pair *pairs, size_t n,
						   char *why, size_t cap)
{
	struct plugin_instance *i = calloc(1, sizeof *i);
	const char *key;
	if (i == NULL || !plugin_instance_copy_settings(i, pairs, n)) {
		snprintf(why, cap, "no memory");
		plugin_instance_free(i);
		return NULL;
	}
	/* Before it is read: what comes in between is seen by the next reload. */
	if (!plugin_file_digest(pairs, n, i->file_digest))
		i->file_digest[0] = '\0';
	i->magic = CHECK_PLUGIN_INSTANCE;
	i->api.host = &plugin_host;
	i->plugin = p;
	if (!library_load(&i->lib, path, why, cap) ||
	    !plugin_instance_check_settings(i, &key, why, cap)) {
		plugin_instance_free(i);
		return NULL;
	}
	loop_waker_add(p->base.mount->hub->loop, &i->waker, plugin_on_wake, i);
	return i;
}

/* What runs while no event is delivered, be it of an instance that no mount has yet. A handler of
 * signals has nothing else to find it by. */
static struct {
	const struct plugin_instance *volatile instance;
	const char *volatile callback;
} plugin_special;

static void plugin_special_begin(const struct plugin_instance *i, const char *callback)
{
	plugin_special.callback = callback;
	plugin_special.instance = i;
}

static void plugin_special_end(struct plugin *p)
{
	plugin_idle(p);
	plugin_special.instance = NULL;
}

/* start(): its commands are collected, and committed by the caller once nothing can fail any
 * more. */
static bool plugin_instance_start(struct plugin_instance *i, struct commit *c, char *why,
				  size_t cap)
{
	struct plugin *p = i->plugin;
	if (i->lib.plugin.start == NULL)
		return true;
	commit_begin(c, NULL);
	plugin_begin(p, PLUGIN_START, NULL, c);
	plugin_special_begin(i, "start");
	int result = i->lib.plugin.start(&i->api);
	plugin_special_end(p);
	if (result == 0 && c->error == COMMIT_OK)
		return true;
	snprintf(why, cap, "its start() failed: %s",
		 result == 0	   ? commit_error_text(c->error)
		 : p->fail_len > 0 ? p->fail
				   : "it gave no reason");
	commit_drop(c);
	return false;
}

static void plugin_instance_stop(struct plugin_instance *i)
{
	if (i->lib.plugin.stop == NULL)
		return;
	plugin_begin(i->plugin, PLUGIN_SILENT, NULL, NULL);
	plugin_special_begin(i, "stop");
	i->lib.plugin.stop(&i->api);
	plugin_special_end(i->plugin);
}

/* Events without a callback are not delivered. */
static unsigned plugin_instance_wants(const struct plugin_instance *i)
{
	const tova_plugin *t = &i->lib.plugin;
	return (t->on_upgrade != NULL ? EVENT_BIT(EVENT_UPGRADE) : 0) |
	       (t->on_open != NULL ? EVENT_BIT(EVENT_OPEN) : 0) |
	       (t->on_message != NULL ? EVENT_BIT(EVENT_MESSAGE) : 0) |
	       (t->on_close != NULL ? EVENT_BIT(EVENT_CLOSE) : 0) |
	       (t->on_error != NULL ? EVENT_BIT(EVENT_ERROR) : 0) |
	       (t->on_timer != NULL ? EVENT_BIT(EVENT_TIMER) : 0) |
	       (t->on_reply != NULL ? EVENT_BIT(EVENT_REPLY) : 0) |
	       (t->on_wake != NULL ? EVENT_BIT(EVENT_WAKE) : 0) |
	       (t->on_away != NULL ? EVENT_BIT(EVENT_AWAY) : 0) |
	       (t->on_back != NULL ? EVENT_BIT(EVENT_BACK) : 0);
}

static void plugin_use(struct plugin *p, struct plugin_instance *i)
{
	p->now = i;
	p->base.wants = plugin_instance_wants(i);
	p->base.mount->data_size = p->base.mount->commit.data_size = i->lib.plugin.data_size;
}

/* --- the handler ------------------------------------------------------------------------------ */

static void plugin_stop(struct handler *h)
{
	plugin_instance_stop(((struct plugin *)h)->now);
}

static void plugin_free(struct handler *h)
{
	struct plugin *p = (struct plugin *)h;
	loop_remove_hook(p->base.mount->hub->loop, &p->hook);
	plugin_instance_free(p->now);
	free(p);
}

static const struct handler_ops plugin_ops = {.deliver = plugin_deliver,
					      .stop = plugin_stop,
					      .free = plugin_free};

const char *plugin_interface(void)
{
#define PLUGIN_TEXT_(X) #X
#define PLUGIN_TEXT(X) PLUGIN_TEXT_(X)
	return PLUGIN_TEXT(TOVA_ABI_MAJOR) "." PLUGIN_TEXT(TOVA_ABI_MINOR);
}

bool plugin_is(const struct mount *m)
{
	return m->handler->ops == &plugin_ops;
}

bool plugin_attach(struct mount *m, const char *path, const struct settings_pair *pairs,
		   size_t n_pairs, uint64_t slow_ms, char *why, size_t why_cap)
{
	struct plugin *p = calloc(1, sizeof *p);
	struct commit start;
	if (p == NULL) {
		snprintf(why, why_cap, "no memory");
		return false;
	}
	p->magic = CHECK_PLUGIN;
	p->base = (struct handler){.ops = &plugin_ops, .mount = m};
	p->slow_ms = slow_ms;
	p->thread = pthread_self();
	struct plugin_instance *i = plugin_instance_new(p, path, pairs, n_pairs, why, why_cap);
	commit_init(&start, &m->hub->loop->chunks, i != NULL ? i->lib.plugin.data_size : 0);
	start.hash = m->commit.hash;
	if (i == NULL || !plugin_instance_start(i, &start, why, why_cap)) {
		commit_free(&start);
		plugin_instance_free(i);
		free(p);
		return false;
	}
	p->hook = (struct loop_hook){.run = plugin_on_turn, .arg = p};
	loop_add_hook(m->hub->loop, &p->hook);
	m->handler = &p->base;
	plugin_use(p, i);
	delivery_commit_start(m, &start);
	commit_free(&start);
	return true;
}

/* --- reload ----------------------------------------------------------------------------------- */

static bool plugin_migrate_one(struct plugin_instance *from, struct plugin_instance *to,
			       struct session *s, void **data_r)
{
	struct plugin *p = to->plugin;
	uint32_t size = to->lib.plugin.data_size;
	*data_r = size > 0 ? malloc(size) : NULL;
	if (size > 0 && *data_r == NULL)
		return false;
	plugin_begin(p, PLUGIN_SILENT, NULL, NULL);
	memset(p->data, 0, size);
	p->data_used = true;
	plugin_special_begin(to, "migrate");
	int result = to->lib.plugin.migrate(&to->api, plugin_ws(p->base.mount->hub, s), s->data,
					    from->lib.plugin.data_size, from->lib.plugin.version);
	plugin_special_end(p);
	if (size > 0)
		memcpy(*data_r, p->data, size);
	return result == 0;
}

/* Makes the data of every session anew, all or none. Between two events no ended session waits for
 * its close event here. */
static bool plugin_migrate_all(struct plugin_instance *from, struct plugin_instance *to, char *why,
			       size_t cap)
{
	struct mount *m = to->plugin->base.mount;
	void **data = calloc(m->n_sessions + 1, sizeof *data);
	bool ok = data != NULL;
	uint32_t n = 0;
	for (; ok && n < m->n_sessions; n++)
		ok = plugin_migrate_one(from, to, mount_session(m, n), &data[n]);
	for (uint32_t k = 0; k < n; k++) {
		if (ok) {
			struct session *s = mount_session(m, k);
			free(s->data);
			s->data = data[k];
		} else {
			free(data[k]);
		}
	}
	free(data);
	if (!ok)
		snprintf(why, cap, "its migrate() failed: %s",
			 to->plugin->fail_len > 0 ? to->plugin->fail : "it gave no reason");
	return ok;
}

/* Data of the same size is the same data, unless it holds pointers into the old library's
 * memory. */
static bool plugin_instance_take_data(struct plugin_instance *from, struct plugin_instance *to,
				      char *why, size_t cap)
{
	const tova_plugin *old = &from->lib.plugin, *new = &to->lib.plugin;
	bool same = old->data_size == new->data_size;
	if (new->migrate != NULL && (!same || (old->flags & TOVA_LOCAL_DATA) != 0))
		return plugin_migrate_all(from, to, why, cap);
	if (same && (old->flags & TOVA_LOCAL_DATA) == 0)
		return true;
	/* local data of the same version: its pointers are to the heap, by the plugin's own
	 * promise */
	if (same && strcmp(old->version, new->version) == 0)
		return true;
	snprintf(
		why, cap,
		"%s %s keeps %u bytes for each connection%s and %s %s keeps %u, and the new one has no migrate()",
		old->name, old->version, old->data_size,
		(old->flags & TOVA_LOCAL_DATA) != 0 ? " with pointers in them" : "", new->name,
		new->version, new->data_size);
	return false;
}

/* What it hands over is at p->kept. */
static void plugin_instance_save(struct plugin_instance *i)
{
	struct plugin *p = i->plugin;
	if (i->lib.plugin.on_save == NULL)
		return;
	plugin_begin(p, PLUGIN_SAVE, NULL, NULL);
	plugin_special_begin(i, "on_save");
	int result = i->lib.plugin.on_save(&i->api);
	plugin_special_end(p);
	if (result == 0)
		return;
	LOG(p->base.mount->hub->log, LOG_WARN, LOG_RELOAD,
	    "the plugin could not save what it knows, and begins anew",
	    LOG_STR("mount", p->base.mount->path), LOG_STR("plugin", i->lib.plugin.name),
	    LOG_SPAN("error", ((struct span){p->fail, p->fail_len})));
	plugin_drop_kept(p);
}

/* Each key is there once. */
static bool plugin_instance_has_settings(const struct plugin_instance *i,
					 const struct settings_pair *pairs, size_t n)
{
	bool same = i->n_pairs == n;
	for (size_t k = 0; same && k < n; k++) {
		size_t j = 0;
		while (j < n && strcmp(i->pairs[j].key, pairs[k].key) != 0)
			j++;
		same = j < n && strcmp(i->pairs[j].value, pairs[k].value) == 0;
	}
	return same;
}

static bool plugin_instance_is_file(const struct plugin_instance *i, const char *path)
{
	char mine[DIGEST_TEXT], other[DIGEST_TEXT];
	return digest_of(i->lib.fd, mine) && digest_file(path, other) && strcmp(mine, other) == 0;
}

bool plugin_file_digest(const struct settings_pair *pairs, size_t n_pairs,
			char digest_r[DIGEST_TEXT])
{
	digest_r[0] = '\0';
	for (size_t k = 0; k < n_pairs; k++)
		if (strcmp(pairs[k].key, "file") == 0)
			return digest_file(pairs[k].value, digest_r);
	return true;
}

bool plugin_is_current(const struct mount *m, const char *path, const struct settings_pair *pairs,
		       size_t n_pairs)
{
	const struct plugin_instance *i = ((const struct plugin *)m->handler)->now;
	char digest[DIGEST_TEXT];
	return plugin_instance_has_settings(i, pairs, n_pairs) &&
	       plugin_instance_is_file(i, path) && plugin_file_digest(pairs, n_pairs, digest) &&
	       strcmp(digest, i->file_digest) == 0;
}

void plugin_set_slow(struct mount *m, uint64_t slow_ms)
{
	((struct plugin *)m->handler)->slow_ms = slow_ms;
}

bool plugin_reload(struct mount *m, const char *path, const struct settings_pair *pairs,
		   size_t n_pairs, char *why, size_t why_cap)
{
	struct plugin *p = (struct plugin *)m->handler;
	struct plugin_instance *old = p->now,
			       *new = plugin_instance_new(p, path, pairs, n_pairs, why, why_cap);
	struct commit start;
	if (new == NULL)
		return false;
	commit_init(&start, &m->hub->loop->chunks, new->lib.plugin.data_size);
	start.hash = m->commit.hash;
	plugin_instance_save(old);
	bool started = plugin_instance_start(new, &start, why, why_cap);
	plugin_drop_kept(p);
	if (!started) {
		plugin_instance_free(new);
		return false;
	}
	if (!plugin_instance_take_data(old, new, why, why_cap)) {
		commit_drop(&start);
		commit_free(&start);
		plugin_instance_stop(new);
		plugin_instance_free(new);
		return false;
	}
	plugin_instance_stop(old);
	plugin_use(p, new);
	plugin_instance_free(old);
	delivery_commit_start(m, &start);
	commit_free(&start);
	return true;
}

/* --- last words ------------------------------------------------------------------------------- */

static bool plugin_site_of(const struct plugin_instance *i, const char *callback,
			   struct plugin_site *site_r)
{
	*site_r = (struct plugin_site){.mount = i->plugin->base.mount->path,
				       .plugin = i->lib.plugin.name,
				       .version = i->lib.plugin.version,
				       .callback = callback};
	return true;
}

static bool plugin_site_of_event(const struct plugin *p, struct plugin_site *site_r)
{
	static const char *const callbacks[EVENT_KINDS] =
		{[EVENT_UPGRADE] = "on_upgrade", [EVENT_OPEN] = "on_open",
		 [EVENT_MESSAGE] = "on_message", [EVENT_CLOSE] = "on_close",
		 [EVENT_ERROR] = "on_error",	 [EVENT_TIMER] = "on_timer",
		 [EVENT_REPLY] = "on_reply",	 [EVENT_WAKE] = "on_wake",
		 [EVENT_AWAY] = "on_away",	 [EVENT_BACK] = "on_back"};
	plugin_site_of(p->now, callbacks[p->event->kind], site_r);
	site_r->sequence = p->event->sequence;
	if (p->event->session != NULL && p->event->kind != EVENT_UPGRADE)
		hub_session_text(p->event->session, site_r->conn);
	return true;
}

bool plugin_running(const struct hub *hub, struct plugin_site *site_r)
{
	const struct plugin_instance *special = plugin_special.instance;
	if (special != NULL)
		return plugin_site_of(special, plugin_special.callback, site_r);
	for (const struct mount *m = hub->mounts; m != NULL; m = m->next) {
		if (m->handler == NULL || !plugin_is(m))
			continue;
		const struct plugin *p = (const struct plugin *)m->handler;
		if (p->phase != PLUGIN_IDLE && p->event != NULL)
			return plugin_site_of_event(p, site_r);
	}
	return false;
}

void plugin_name_for_core(const struct hub *hub)
{
	for (const struct mount *m = hub->mounts; m != NULL; m = m->next)
		if (m->handler != NULL && plugin_is(m))
			library_name_for_core(&((struct plugin *)m->handler)->now->lib);
	if (plugin_special.instance != NULL)
		library_name_for_core((struct library *)&plugin_special.instance->lib);
}

const char *plugin_name(const struct mount *m)
{
	return ((const struct plugin *)m->handler)->now->lib.plugin.name;
}

const char *plugin_version(const struct mount *m)
{
	return ((const struct plugin *)m->handler)->now->lib.plugin.version;
}
