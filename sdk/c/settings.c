#include "c/settings.h"

#include <stdlib.h>

#include "common/abi.h"

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
		if (!abi_setting_ok(plugin, key, why, cap))
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
	const tova_setting_spec *spec = abi_setting(plugin, key);
	return value != NULL ? value : spec != NULL ? spec->fallback : NULL;
}

void settings_free(struct settings *s)
{
	json_decref(s->json);
	s->json = NULL;
}
