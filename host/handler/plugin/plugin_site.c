/* Where a process is that crashes: in which plugin, and which of its callbacks. */

#include "handler/plugin/plugin_instance.h"

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
		 [EVENT_AWAY] = "on_away",	 [EVENT_BACK] = "on_back",
		 [EVENT_JOIN] = "on_join",	 [EVENT_LEAVE] = "on_leave"};
	plugin_site_of(p->now, callbacks[p->event->kind], site_r);
	site_r->sequence = p->event->sequence;
	if (p->event->session != NULL && p->event->kind != EVENT_UPGRADE)
		hub_session_text(p->event->session, site_r->conn);
	return true;
}

bool plugin_running(const struct hub *hub, struct plugin_site *site_r)
{
	const char *callback;
	const struct plugin_instance *special = plugin_special_now(&callback);
	if (special != NULL)
		return plugin_site_of(special, callback, site_r);
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
	const char *callback;
	const struct plugin_instance *special = plugin_special_now(&callback);
	if (special != NULL)
		library_name_for_core((struct library *)&special->lib);
}
