/* settings: what the operator has set for the handler. */
#ifndef TOVA_SDK_SETTINGS_H
#define TOVA_SDK_SETTINGS_H

#include <jansson.h>
#include <stdbool.h>

#include "tova_plugin.h"

struct settings {
	json_t *json; /* an object of texts */
};

/* The pairs count before those of TOVA_SETTINGS. A setting that the plugin does not know is
 * refused. False with a sentence in why. */
bool settings_read(struct settings *s, const tova_plugin *plugin, const tova_pair *pairs, size_t n,
		   char *why, size_t why_cap);
/* Its value, or the plugin's fallback, or NULL. */
const char *settings_get(const struct settings *s, const tova_plugin *plugin, const char *key);
void settings_free(struct settings *s);

#endif
