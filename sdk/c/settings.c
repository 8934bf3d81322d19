#include "settings.h"

#include <stdlib.h>

static bool settings_is_known(const tova_plugin *plugin, const char *key)
{
	const tova_setting_spec *spec = plugin->settings;
	while (spec != NULL && spec->name != NULL && strcmp(spec->name, key) != 0)
		spec++;
	return spec == NULL || spec->name != NULL;
}

static void settings_name_known(const tova_plugin *plugin, char *why, size_t cap)
{
	const tova_setting_spec *spec = plugin->settings;
	if (spec->name == NULL)
		snprintf(why, cap, " none");
	for (int n = 0; spec->name != NULL && n >= 0 && (size_t)n < cap; spec++) {
		const char *comma = spec == plugin->settings ? ""
				    : spec[1].name != NULL   ? ","
							     : " or";
		n += snprintf(why + n, cap - (size_t)n, "%s %s", comma, spec->name);
	}
}

static bool settings_check(const struct settings *s, const tova_plugin *plugin, char *why,
			   size_t cap)
{
	const char *key;
	json_t *value;
	json_object_foreach(s->json, key, value)
	{
		if (!json_is_string(value)) {
			snprintf(why, cap, "TOVA_SETTINGS: the value of \"%s\" is not a text", key);
			return false;
		}
		if (settings_is_known(plugin, key))
			continue;
		int n = snprintf(why, cap, "the plugin %s has no setting \"%s\"; expected",
				 plugin->name, key);
		if (n > 0 && (size_t)n < cap)
			settings_name_known(plugin, why + n, cap - (size_t)n);
		return false;
	}
	return true;
}

bool settings_read(struct settings *s, const tova_plugin *plugin, const tova_pair *pairs, size_t n,
		   char *why, size_t why_cap)
{
	const char *text = getenv("TOVA_SETTINGS");
	json_error_t error;
	s->json = text != NULL && text[0] != '\0' ? json_loads(text, 0, &error) : json_object();
	if (!json_is_object(s->json)) {
		snprintf(why, why_cap, "TOVA_SETTINGS is not a JSON object");
		settings_free(s);
		return false;
	}
	for (size_t i = 0; i < n; i++) {
		if (json_object_set_new(s->json, pairs[i].name, json_string(pairs[i].value)) != 0) {
			snprintf(why, why_cap, "the setting \"%s\" is not UTF-8", pairs[i].name);
			settings_free(s);
			return false;
		}
	}
	if (settings_check(s, plugin, why, why_cap))
		return true;
	settings_free(s);
	return false;
}

const char *settings_get(const struct settings *s, const tova_plugin *plugin, const char *key)
{
	const char *value = json_string_value(json_object_get(s->json, key));
	const tova_setting_spec *spec = plugin->settings;
	if (value != NULL || spec == NULL)
		return value;
	while (spec->name != NULL && strcmp(spec->name, key) != 0)
		spec++;
	return spec->name != NULL ? spec->fallback : NULL;
}

void settings_free(struct settings *s)
{
	json_decref(s->json);
	s->json = NULL;
}
