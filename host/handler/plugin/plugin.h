/* plugin: a handler in the host's own process. */
#ifndef TOVA_HANDLER_PLUGIN_PLUGIN_H
#define TOVA_HANDLER_PLUGIN_PLUGIN_H

#include "settings/settings.h"
#include "base/digest.h"
#include "hub/mount.h"

/* Loads the library and starts it at this mount, whose handler it becomes. False with a sentence in
 * why. */
bool plugin_attach(struct mount *m, const char *path, const struct settings_pair *pairs,
		   size_t n_pairs, uint64_t slow_ms, char *why, size_t why_cap);

/* The version of tova_plugin.h that plugins are offered, as text. */
const char *plugin_interface(void);

/* Is the mount's handler a plugin in the host? It has one. */
bool plugin_is(const struct mount *m);

/* Does the library load, and does it know these settings? Nothing of it is started. False with a
 * sentence in why, and with *key_r: the setting that it does not know, or NULL. */
bool plugin_check(const char *path, const struct settings_pair *pairs, size_t n_pairs,
		  const char **key_r, char *why, size_t why_cap);

/* Between two events: loads the file anew and puts the new library in the old one's place, which is
 * stopped and unloaded. Every connection and its data stay. False with a sentence in why: the old
 * one goes on as if nothing had happened. */
bool plugin_reload(struct mount *m, const char *path, const struct settings_pair *pairs,
		   size_t n_pairs, char *why, size_t why_cap);

/* The digest of the file that the setting called file names (see tova_setting_spec); "": there is
 * no such setting. False if it can not be read. */
bool plugin_file_digest(const struct settings_pair *pairs, size_t n_pairs,
			char digest_r[DIGEST_TEXT]);

/* Does it run what this file holds, with these settings, and what file they name? */
bool plugin_is_current(const struct mount *m, const char *path, const struct settings_pair *pairs,
		       size_t n_pairs);
/* --plugin-slow from now on. */
void plugin_set_slow(struct mount *m, uint64_t slow_ms);

/* What of a plugin runs at this moment, for the last words of a host that crashes: good in a
 * signal's handler on the mounts' thread. */
struct plugin_site {
	const char *mount, *plugin, *version, *callback;
	char conn[SESSION_ID_TEXT]; /* whose event it is; empty: the mount's, or none */
	uint64_t sequence;	    /* of the event; 0: none */
};
/* False: none does. */
bool plugin_running(const struct hub *hub, struct plugin_site *site_r);
/* See library_name_for_core; of each plugin. */
void plugin_name_for_core(const struct hub *hub);

/* Name and version, for people. */
const char *plugin_name(const struct mount *m);
const char *plugin_version(const struct mount *m);

#endif
