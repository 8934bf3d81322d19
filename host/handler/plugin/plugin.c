#include "handler/plugin/plugin.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/digest.h"
#include "handler/plugin/plugin_instance.h"
#include "hub/delivery.h"

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

/* There is what it keeps for its mount: what there was, if that has the same size. */
static bool plugin_instance_begin_mount(const struct plugin_instance *i, char *why, size_t cap)
{
	struct mount *m = i->plugin->base.mount;
	bool anew;
	if (!room_state_mount_begin(m, i->lib.plugin.mount_size, &anew)) {
		snprintf(why, cap, "no memory for what it keeps for its mount");
		return false;
	}
	if (anew)
		LOG(m->hub->log, LOG_NOTICE, LOG_RELOAD,
		    "what the plugin keeps for its mount has another size than before: it begins with zeroes",
		    LOG_STR("mount", m->path), LOG_STR("plugin", i->lib.plugin.name));
	return true;
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
	if (i == NULL || !plugin_instance_begin_mount(i, why, why_cap) ||
	    !plugin_instance_start(i, &start, why, why_cap)) {
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

const char *plugin_name(const struct mount *m)
{
	return ((const struct plugin *)m->handler)->now->lib.plugin.name;
}

const char *plugin_version(const struct mount *m)
{
	return ((const struct plugin *)m->handler)->now->lib.plugin.version;
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
		"%s %s keeps %u bytes for each connection%s and %s %s keeps %u, and the new one "
		"has no migrate()",
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
	if (!plugin_instance_take_data(old, new, why, why_cap) ||
	    !plugin_instance_begin_mount(new, why, why_cap)) {
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
