/* One loaded library at one mount: from its file to its end. */
#include <stdio.h>
#include <stdlib.h>

#include "base/digest.h"
#include "handler/plugin/plugin_instance.h"
#include "hub/delivery.h"

static void plugin_instance_on_wake(void *arg)
{
	struct plugin_instance *i = arg;
	CHECK_IS(i, CHECK_PLUGIN_INSTANCE);
	struct hub_event e = {.kind = EVENT_WAKE};
	delivery_submit(i->plugin->base.mount, NULL, &e);
}

void plugin_instance_free(struct plugin_instance *i)
{
	if (i == NULL)
		return;
	loop_waker_remove(&i->waker);
	free(i->mount_data);
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

struct plugin_instance *plugin_instance_new(struct plugin *p, const char *path,
					    const struct settings_pair *pairs, size_t n, char *why,
					    size_t cap)
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
	uint32_t size = i->lib.plugin.mount_size;
	i->mount_data = size > 0 ? malloc(size) : NULL;
	if (size > 0 && i->mount_data == NULL) {
		snprintf(why, cap, "no memory");
		plugin_instance_free(i);
		return NULL;
	}
	loop_waker_add(p->base.mount->hub->loop, &i->waker, plugin_instance_on_wake, i);
	return i;
}

bool plugin_instance_start(struct plugin_instance *i, struct commit *c, char *why, size_t cap)
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

void plugin_instance_stop(struct plugin_instance *i)
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
	       (t->on_back != NULL ? EVENT_BIT(EVENT_BACK) : 0) |
	       (t->on_join != NULL ? EVENT_BIT(EVENT_JOIN) : 0) |
	       (t->on_leave != NULL ? EVENT_BIT(EVENT_LEAVE) : 0);
}

void plugin_use(struct plugin *p, struct plugin_instance *i)
{
	p->now = i;
	p->base.wants = plugin_instance_wants(i);
	p->base.mount->data_size = p->base.mount->commit.data_size = i->lib.plugin.data_size;
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
